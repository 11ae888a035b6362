//! Tables: what is read for which type, and what is said when it is not.

use expect_test::{Expect, expect};

use super::super::{LiftError, schema};
use super::wit::ty;
use super::{lift, lower};
use crate::call::CallError;
use crate::limits::ByteSize;
use crate::typed::{json, lift as lifting};

/// Each line is `type <- json`; the answer is the JSON of the value read, or the
/// refusal.
pub(super) fn check(cases: &[(&str, &str)], expected: &Expect) {
    let mut answers = String::new();
    for (wit, json) in cases {
        let ty = ty(wit);
        let answer = match lift(&ty, json) {
            Ok(val) => format!("= {}", lower(&ty, &val)),
            Err(error) => format!("! {error}"),
        };
        answers.push_str(&format!("{wit} <- {json}\n  {answer}\n"));
    }
    expected.assert_eq(&answers);
}

#[test]
fn texts_and_bytes() {
    let cases = [
        ("bool", "true"),
        ("bool", "\"true\""),
        ("bool", "0"),
        ("char", "\"a\""),
        ("char", "\"\\u00e9\""),
        ("char", "\"😀\""),
        ("char", "\"\\ud83d\\ude00\""),
        ("char", "\"\\ud83d\""),
        ("char", "\"\""),
        ("char", "\"ab\""),
        ("char", "97"),
        ("string", "\"\\u0000 \\\" é\""),
        ("string", "\"\\udc00\""),
        ("string", "7"),
        ("string", "null"),
        ("list<u8>", "\"\""),
        ("list<u8>", "\"AA==\""),
        ("list<u8>", "\"AA\""),
        ("list<u8>", "\"AB==\""),
        ("list<u8>", "\"_-8=\""),
        ("list<u8>", "\"not base64\""),
        ("list<u8>", "[1,2]"),
        ("list<u8, 2>", "\"AAE=\""),
        ("list<u8, 2>", "\"AAEC\""),
    ];
    check(
        &cases,
        &expect![[r#"
            bool <- true
              = true
            bool <- "true"
              ! the input: expected `true` or `false`, found `"true"`
            bool <- 0
              ! the input: expected `true` or `false`, found `0`
            char <- "a"
              = "a"
            char <- "\u00e9"
              = "é"
            char <- "😀"
              = "😀"
            char <- "\ud83d\ude00"
              = "😀"
            char <- "\ud83d"
              ! the input: expected a string of one character, found an escape that is no Unicode character
            char <- ""
              ! the input: expected a string of one character, found `""`
            char <- "ab"
              ! the input: expected a string of one character, found `"ab"`
            char <- 97
              ! the input: expected a string of one character, found `97`
            string <- "\u0000 \" é"
              = "\u0000 \" é"
            string <- "\udc00"
              ! the input: expected a string, found an escape that is no Unicode character
            string <- 7
              ! the input: expected a string, found `7`
            string <- null
              ! the input: expected a string, found `null`
            list<u8> <- ""
              = ""
            list<u8> <- "AA=="
              = "AA=="
            list<u8> <- "AA"
              ! the input: expected a string in base64, found `"AA"` (Invalid padding)
            list<u8> <- "AB=="
              ! the input: expected a string in base64, found `"AB=="` (Invalid last symbol 0x42 ('B') at offset 1, decoded as 0b00000001.)
            list<u8> <- "_-8="
              ! the input: expected a string in base64, found `"_-8="` (Invalid symbol 95, offset 0.)
            list<u8> <- "not base64"
              ! the input: expected a string in base64, found `"not base64"` (Invalid symbol 32, offset 3.)
            list<u8> <- [1,2]
              ! the input: expected a string in base64, found an array
            list<u8, 2> <- "AAE="
              = "AAE="
            list<u8, 2> <- "AAEC"
              ! the input: expected 2 bytes as a string in base64, found 3 bytes
        "#]],
    );
}

#[test]
fn parts() {
    let cases = [
        ("list<u16>", "[]"),
        ("list<u16>", "[1, 2, 70000]"),
        ("list<u16>", "{}"),
        ("list<u16>", "1"),
        ("list<u16, 2>", "[1, 2]"),
        ("list<u16, 2>", "[1]"),
        ("list<u16, 2>", "[1, 2, 3]"),
        ("tuple<u8, string>", "[1, \"a\"]"),
        ("tuple<u8, string>", "[1]"),
        ("tuple<u8, string>", "[1, \"a\", 2]"),
        ("tuple<u8, string>", "[\"a\", 1]"),
        (
            "record { first-name: string, age: option<u8> }",
            "{\"first-name\": \"Ada\"}",
        ),
        (
            "record { first-name: string, age: option<u8> }",
            "{\"age\": 36, \"first-name\": \"Ada\"}",
        ),
        (
            "record { first-name: string, age: option<u8> }",
            "{\"age\": 36}",
        ),
        (
            "record { first-name: string, age: option<u8> }",
            "{\"first_name\": \"Ada\"}",
        ),
        (
            "record { first-name: string, age: option<u8> }",
            "{\"first-name\": \"Ada\", \"first-name\": \"Eve\"}",
        ),
        (
            "record { first-name: string, age: option<u8> }",
            "{\"first-name\": \"Ada\", \"age\": 256}",
        ),
        ("record { first-name: string, age: option<u8> }", "[]"),
        (
            "record { a: list<record { b: tuple<u8, s8> }> }",
            "{\"a\": [{\"b\": [1, 2]}, {\"b\": [1, 200]}]}",
        ),
        ("map<string, u8>", "{\"x/y~z\": 1}"),
        ("map<string, u8>", "{\"x/y~z\": 1000}"),
        ("map<string, u8>", "{\"a\": 1, \"a\": 2}"),
        ("map<string, u8>", "[]"),
        (
            "map<u64, bool>",
            "[[1, true], [\"18446744073709551615\", false]]",
        ),
        ("map<u64, bool>", "[[1, true], [\"1\", false]]"),
        ("map<u64, bool>", "[[1]]"),
        ("map<u64, bool>", "{}"),
    ];
    check(
        &cases,
        &expect![[r#"
        list<u16> <- []
          = []
        list<u16> <- [1, 2, 70000]
          ! at /2: expected an integer from 0 to 65535, found `70000`
        list<u16> <- {}
          ! the input: expected an array, found an object
        list<u16> <- 1
          ! the input: expected an array, found `1`
        list<u16, 2> <- [1, 2]
          = [1,2]
        list<u16, 2> <- [1]
          ! the input: expected an array of 2, found an array of 1
        list<u16, 2> <- [1, 2, 3]
          ! the input: expected an array of 2, found more than 2
        tuple<u8, string> <- [1, "a"]
          = [1,"a"]
        tuple<u8, string> <- [1]
          ! the input: expected an array of 2, found an array of 1
        tuple<u8, string> <- [1, "a", 2]
          ! the input: expected an array of 2, found more than 2
        tuple<u8, string> <- ["a", 1]
          ! at /0: expected an integer from 0 to 255, found `"a"`
        record { first-name: string, age: option<u8> } <- {"first-name": "Ada"}
          = {"first-name":"Ada","age":null}
        record { first-name: string, age: option<u8> } <- {"age": 36, "first-name": "Ada"}
          = {"first-name":"Ada","age":36}
        record { first-name: string, age: option<u8> } <- {"age": 36}
          ! the input: expected an object with `first-name`, `age`, found no member `first-name`
        record { first-name: string, age: option<u8> } <- {"first_name": "Ada"}
          ! the input: expected an object with `first-name`, `age`, found an unknown member `"first_name"`
        record { first-name: string, age: option<u8> } <- {"first-name": "Ada", "first-name": "Eve"}
          ! the input: expected each member once, found `"first-name"` twice
        record { first-name: string, age: option<u8> } <- {"first-name": "Ada", "age": 256}
          ! at /age: expected an integer from 0 to 255, found `256`
        record { first-name: string, age: option<u8> } <- []
          ! the input: expected an object with `first-name`, `age`, found an array
        record { a: list<record { b: tuple<u8, s8> }> } <- {"a": [{"b": [1, 2]}, {"b": [1, 200]}]}
          ! at /a/1/b/1: expected an integer from -128 to 127, found `200`
        map<string, u8> <- {"x/y~z": 1}
          = {"x/y~z":1}
        map<string, u8> <- {"x/y~z": 1000}
          ! at /x~1y~0z: expected an integer from 0 to 255, found `1000`
        map<string, u8> <- {"a": 1, "a": 2}
          ! the input: expected each member once, found `"a"` twice
        map<string, u8> <- []
          ! the input: expected an object, found an array
        map<u64, bool> <- [[1, true], ["18446744073709551615", false]]
          = [[1,true],["18446744073709551615",false]]
        map<u64, bool> <- [[1, true], ["1", false]]
          ! at /1: expected each key once, found a key twice
        map<u64, bool> <- [[1]]
          ! at /0: expected an array of a key and a value, found an array of 1
        map<u64, bool> <- {}
          ! the input: expected an array of pairs of a key and a value, found an object
    "#]],
    );
}

#[test]
fn choices() {
    let shape = "variant { nothing, circle(f64), label(option<string>) }";
    let cases = [
        (shape, "\"nothing\""),
        (shape, "{\"circle\": 1.5}"),
        (shape, "{\"label\": null}"),
        (shape, "\"circle\""),
        (shape, "{\"nothing\": null}"),
        (shape, "\"square\""),
        (shape, "{\"square\": 1}"),
        (shape, "{}"),
        (shape, "{\"circle\": 1, \"label\": null}"),
        (shape, "{\"circle\": \"x\"}"),
        (shape, "null"),
        ("enum { red, green }", "\"red\""),
        ("enum { red, green }", "\"blue\""),
        ("enum { red, green }", "1"),
        ("flags { read, write }", "[\"write\", \"read\"]"),
        ("flags { read, write }", "[]"),
        ("flags { read, write }", "[\"read\", \"read\"]"),
        ("flags { read, write }", "[\"exec\"]"),
        ("flags { read, write }", "\"read\""),
        ("option<u8>", "null"),
        ("option<u8>", "1"),
        ("option<u8>", "\"x\""),
        ("option<option<u8>>", "null"),
        ("option<option<u8>>", "{\"some\": null}"),
        ("option<option<u8>>", "{\"some\": 1}"),
        ("option<option<u8>>", "1"),
        ("option<option<u8>>", "{\"none\": 1}"),
        ("option<option<u8>>", "{\"some\": 1, \"x\": 2}"),
        ("option<option<option<u8>>>", "{\"some\": {\"some\": null}}"),
        ("option<option<option<u8>>>", "{\"some\": {\"some\": 7}}"),
        ("result<u8, string>", "{\"ok\": 1}"),
        ("result<u8, string>", "{\"err\": \"no\"}"),
        ("result<u8, string>", "1"),
        ("result<_, string>", "\"ok\""),
        ("result", "\"err\""),
        ("result", "{\"ok\": null}"),
    ];
    check(
        &cases,
        &expect![[r#"
        variant { nothing, circle(f64), label(option<string>) } <- "nothing"
          = "nothing"
        variant { nothing, circle(f64), label(option<string>) } <- {"circle": 1.5}
          = {"circle":1.5}
        variant { nothing, circle(f64), label(option<string>) } <- {"label": null}
          = {"label":null}
        variant { nothing, circle(f64), label(option<string>) } <- "circle"
          ! the input: expected `{"circle": …}`, as this case has a payload, found `"circle"`
        variant { nothing, circle(f64), label(option<string>) } <- {"nothing": null}
          ! the input: expected `"nothing"`, as this case has no payload, found an object
        variant { nothing, circle(f64), label(option<string>) } <- "square"
          ! the input: expected `"nothing"` or `{"circle": …}` or `{"label": …}`, found `"square"`
        variant { nothing, circle(f64), label(option<string>) } <- {"square": 1}
          ! the input: expected `"nothing"` or `{"circle": …}` or `{"label": …}`, found an object with `"square"`
        variant { nothing, circle(f64), label(option<string>) } <- {}
          ! the input: expected `"nothing"` or `{"circle": …}` or `{"label": …}`, found an empty object
        variant { nothing, circle(f64), label(option<string>) } <- {"circle": 1, "label": null}
          ! the input: expected `"nothing"` or `{"circle": …}` or `{"label": …}`, found an object with several members
        variant { nothing, circle(f64), label(option<string>) } <- {"circle": "x"}
          ! at /circle: expected a number of f64, or one of `"NaN"`, `"Infinity"`, `"-Infinity"`, found `"x"`
        variant { nothing, circle(f64), label(option<string>) } <- null
          ! the input: expected `"nothing"` or `{"circle": …}` or `{"label": …}`, found `null`
        enum { red, green } <- "red"
          = "red"
        enum { red, green } <- "blue"
          ! the input: expected one of `"red"`, `"green"`, found `"blue"`
        enum { red, green } <- 1
          ! the input: expected one of `"red"`, `"green"`, found `1`
        flags { read, write } <- ["write", "read"]
          = ["read","write"]
        flags { read, write } <- []
          = []
        flags { read, write } <- ["read", "read"]
          ! at /1: expected each flag once, found `"read"` twice
        flags { read, write } <- ["exec"]
          ! at /0: expected one of `"read"`, `"write"`, found `"exec"`
        flags { read, write } <- "read"
          ! the input: expected an array of `"read"`, `"write"`, found `"read"`
        option<u8> <- null
          = null
        option<u8> <- 1
          = 1
        option<u8> <- "x"
          ! the input: expected an integer from 0 to 255, found `"x"`
        option<option<u8>> <- null
          = null
        option<option<u8>> <- {"some": null}
          = {"some":null}
        option<option<u8>> <- {"some": 1}
          = {"some":1}
        option<option<u8>> <- 1
          ! the input: expected `null` or `{"some": …}`, found `1`
        option<option<u8>> <- {"none": 1}
          ! the input: expected `null` or `{"some": …}`, found an object with `"none"`
        option<option<u8>> <- {"some": 1, "x": 2}
          ! the input: expected `null` or `{"some": …}`, found an object with several members
        option<option<option<u8>>> <- {"some": {"some": null}}
          = {"some":{"some":null}}
        option<option<option<u8>>> <- {"some": {"some": 7}}
          = {"some":{"some":7}}
        result<u8, string> <- {"ok": 1}
          = {"ok":1}
        result<u8, string> <- {"err": "no"}
          = {"err":"no"}
        result<u8, string> <- 1
          ! the input: expected `{"ok": …}` or `{"err": …}`, found `1`
        result<_, string> <- "ok"
          = "ok"
        result <- "err"
          = "err"
        result <- {"ok": null}
          ! the input: expected `"ok"`, as this case has no payload, found an object
    "#]],
    );
}

#[test]
fn not_json() {
    let cases = [
        ("u8", ""),
        ("u8", "1 2"),
        ("u8", "01"),
        ("u8", "0x1"),
        ("list<u16>", "[1,"),
        ("list<u16>", "[1 2]"),
        ("bool", "tru"),
        ("record { a: u8 }", "{\"a\"}"),
        ("record { a: u8 }", "{a: 1}"),
        ("string", "\"a"),
        ("string", "'a'"),
        ("f64", "NaN"),
        ("f64", "1."),
        ("f64", ".5"),
        ("f64", "+1"),
    ];
    check(
        &cases,
        &expect![[r#"
        u8 <- 
          ! the input is not JSON: EOF while parsing a value at line 1 column 0
        u8 <- 1 2
          ! the input is not JSON: trailing characters at line 1 column 3
        u8 <- 01
          ! the input is not JSON: invalid number at line 1 column 2
        u8 <- 0x1
          ! the input is not JSON: trailing characters at line 1 column 2
        list<u16> <- [1,
          ! the input is not JSON: EOF while parsing a value at line 1 column 3
        list<u16> <- [1 2]
          ! the input is not JSON: expected `,` or `]` at line 1 column 4
        bool <- tru
          ! the input is not JSON: EOF while parsing a value at line 1 column 3
        record { a: u8 } <- {"a"}
          ! the input is not JSON: expected `:` at line 1 column 5
        record { a: u8 } <- {a: 1}
          ! the input is not JSON: key must be a string at line 1 column 2
        string <- "a
          ! the input is not JSON: EOF while parsing a string at line 1 column 2
        string <- 'a'
          ! the input is not JSON: expected value at line 1 column 1
        f64 <- NaN
          ! the input is not JSON: expected value at line 1 column 1
        f64 <- 1.
          ! the input is not JSON: invalid number at line 1 column 2
        f64 <- .5
          ! the input is not JSON: expected value at line 1 column 1
        f64 <- +1
          ! the input is not JSON: expected value at line 1 column 1
    "#]],
    );
}

#[test]
fn schemas() {
    let cases = [
        "bool",
        "u8",
        "s64",
        "u64",
        "f32",
        "f64",
        "char",
        "string",
        "list<u8>",
        "list<u8, 4>",
        "list<string>",
        "list<u16, 3>",
        "map<string, u8>",
        "map<u8, bool>",
        "record { a: u8, b: option<u8> }",
        "tuple<u8, string>",
        "variant { a, b, c(u8) }",
        "enum { a, b }",
        "option<option<u8>>",
        "result<u8>",
        "flags { a, b }",
    ];
    let shown: Vec<String> = cases
        .iter()
        .map(|wit| format!("{wit}: {}\n", schema::of(&ty(wit))))
        .collect();
    expect![[r#"
        bool: {"type":"boolean"}
        u8: {"type":"integer","minimum":0,"maximum":255}
        s64: {"anyOf":[{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991},{"type":"string","pattern":"^(0|-?[1-9][0-9]{0,18})$"}],"description":"An integer from -9223372036854775808 to 9223372036854775807; beyond ±9007199254740991 as a decimal string."}
        u64: {"anyOf":[{"type":"integer","minimum":0,"maximum":9007199254740991},{"type":"string","pattern":"^(0|[1-9][0-9]{0,19})$"}],"description":"An integer from 0 to 18446744073709551615; beyond ±9007199254740991 as a decimal string."}
        f32: {"anyOf":[{"type":"number","minimum":-3.4028234663852886e+38,"maximum":3.4028234663852886e+38},{"type":"string","enum":["NaN","Infinity","-Infinity"]}]}
        f64: {"anyOf":[{"type":"number"},{"type":"string","enum":["NaN","Infinity","-Infinity"]}]}
        char: {"type":"string","minLength":1,"maxLength":1}
        string: {"type":"string"}
        list<u8>: {"type":"string","contentEncoding":"base64"}
        list<u8, 4>: {"type":"string","contentEncoding":"base64","minLength":8,"maxLength":8}
        list<string>: {"type":"array","items":{"type":"string"}}
        list<u16, 3>: {"type":"array","items":{"type":"integer","minimum":0,"maximum":65535},"minItems":3,"maxItems":3}
        map<string, u8>: {"type":"object","additionalProperties":{"type":"integer","minimum":0,"maximum":255}}
        map<u8, bool>: {"type":"array","items":{"type":"array","prefixItems":[{"type":"integer","minimum":0,"maximum":255},{"type":"boolean"}],"items":false,"minItems":2,"maxItems":2},"uniqueItems":true}
        record { a: u8, b: option<u8> }: {"type":"object","properties":{"a":{"type":"integer","minimum":0,"maximum":255},"b":{"anyOf":[{"type":"integer","minimum":0,"maximum":255},{"type":"null"}]}},"required":["a"],"additionalProperties":false}
        tuple<u8, string>: {"type":"array","prefixItems":[{"type":"integer","minimum":0,"maximum":255},{"type":"string"}],"items":false,"minItems":2,"maxItems":2}
        variant { a, b, c(u8) }: {"oneOf":[{"type":"string","enum":["a","b"]},{"type":"object","properties":{"c":{"type":"integer","minimum":0,"maximum":255}},"required":["c"],"additionalProperties":false}]}
        enum { a, b }: {"type":"string","enum":["a","b"]}
        option<option<u8>>: {"anyOf":[{"type":"object","properties":{"some":{"anyOf":[{"type":"integer","minimum":0,"maximum":255},{"type":"null"}]}},"required":["some"],"additionalProperties":false},{"type":"null"}]}
        result<u8>: {"oneOf":[{"type":"string","enum":["err"]},{"type":"object","properties":{"ok":{"type":"integer","minimum":0,"maximum":255}},"required":["ok"],"additionalProperties":false}]}
        flags { a, b }: {"type":"array","items":{"type":"string","enum":["a","b"]},"uniqueItems":true}
    "#]].assert_eq(&shown.concat());
}

/// A small text must not become a large value, a long text not a slow refusal.
#[test]
fn hostile_json() {
    let options: Vec<String> = (0..200).map(|n| format!("field-{n}: option<u8>")).collect();
    let wide = format!("list<record {{ {} }}>", options.join(", "));
    let many = format!("[{}1]", "1,".repeat(1_000_000));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: [(&str, &str, String); 8] = [
        ("many elements", "list<u16>", many.clone()),
        (
            "empty records of many options",
            &wide,
            format!("[{}{{}}]", "{},".repeat(100_000)),
        ),
        (
            "a long string",
            "list<string>",
            format!("[\"{}\"]", "x".repeat(2_000_000)),
        ),
        (
            "many bytes",
            "list<u8>",
            format!("\"{}\"", "AAAA".repeat(200_000)),
        ),
        ("deep where a number belongs", "u8", deep.clone()),
        (
            "deep in an unknown member",
            "record { a: u8 }",
            format!("{{\"b\": {deep}}}"),
        ),
        ("many for one", "tuple<u8, u8>", many),
        ("digits", "u64", "9".repeat(1_000_000)),
    ];
    let mut answers = String::new();
    for (name, wit, json) in cases {
        let error = lift(&ty(wit), &json).expect_err(name);
        let shown = CallError::from(error).to_string();
        assert!(shown.len() < 600, "{name}: {shown}");
        answers.push_str(&format!("{name}: {shown}\n"));
    }
    expect![[r#"
        many elements: limit host_memory reached (1MiB)
        empty records of many options: limit host_memory reached (1MiB)
        a long string: limit host_memory reached (1MiB)
        many bytes: limit host_memory reached (1MiB)
        deep where a number belongs: invalid input: the input: expected an integer from 0 to 255, found an array
        deep in an unknown member: invalid input: the input: expected an object with `a`, found an unknown member `"b"`
        many for one: invalid input: the input: expected an array of 2, found more than 2
        digits: invalid input: the input: expected an integer from 0 to 18446744073709551615 (beyond ±9007199254740991 as a decimal string), found `999999999999999999999999999999999999999999999999999999999999…`
    "#]].assert_eq(&answers);
}

/// What is counted is at least what is held.
#[test]
fn the_budget_is_a_bound() {
    let wit = ty("list<tuple<u8, u8>>");
    let json = format!("[{}[1,1]]", "[1,1],".repeat(999));
    let held = 1000 * 3 * size_of::<wasmtime::component::Val>() as u64;
    assert!(matches!(
        lifting::value(&wit, &json, ByteSize(held)),
        Err(LiftError::TooLarge(_))
    ));
    lifting::value(&wit, &json, ByteSize(4 * held)).expect("four times as much is enough");
}

#[test]
fn json_passed_on_as_text() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases = [
        ("{\"a\": [1, \"[[[[\"]}".to_owned(), "ok"),
        (
            "".to_owned(),
            "invalid input: the input is not JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            "1 2".to_owned(),
            "invalid input: the input is not JSON: trailing characters at line 1 column 3",
        ),
        (deep(127), "ok"),
        (
            deep(128),
            "invalid input: the input is nested deeper than 127",
        ),
        (deep(200_000), "limit input reached (64KiB)"),
    ];
    for (text, expected) in cases {
        let answer = match json::check_input(&text, ByteSize(64 << 10)) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!(answer, expected);
    }
    let output = json::check_output("{", ByteSize(10))
        .expect_err("not JSON")
        .to_string();
    assert_eq!(
        output,
        "permanent: the tool's output is not JSON: EOF while parsing an object at line 1 column 1"
    );
}
