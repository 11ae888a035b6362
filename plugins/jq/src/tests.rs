use airlock_sdk::Error;
use airlock_sdk::testing::call;
use serde_json::{Value, json};

use super::PLUGIN;

fn query(filter: &str, input: Value) -> Result<Value, Error> {
    call(
        &PLUGIN,
        "query",
        json!({ "filter": filter, "input": input }),
    )
}

#[test]
fn filters_give_their_outputs() {
    let shop = json!({ "items": [{ "id": 1, "total": 150.5, "tags": ["a"] }, { "id": 2, "total": 20, "tags": [] }] });
    let cases = [
        (".", json!(null), json!([null])),
        (
            ".items[] | select(.total > 100) | {id, total}",
            shop.clone(),
            json!([{ "id": 1, "total": 150.5 }]),
        ),
        ("[.items[].total] | add", shop.clone(), json!([170.5])),
        (".items | map(.id) | @csv", shop.clone(), json!(["1,2"])),
        (
            "@csv",
            json!(["a \"b\"", 1.5, null, true]),
            json!(["\"a \"\"b\"\"\",1.5,,true"]),
        ),
        ("@tsv", json!(["a\tb\\", 1]), json!(["a\\tb\\\\\t1"])),
        (
            "@base64, @uri \"x=\\(.)\"",
            json!("a b"),
            json!(["YSBi", "x=a%20b"]),
        ),
        ("[paths | length] | max", shop.clone(), json!([4])),
        (
            ".items |= sort_by(.total) | .items[0].id",
            shop.clone(),
            json!([2]),
        ),
        (
            "group_by(.k) | map({k: .[0].k, n: length})",
            json!([{ "k": 1 }, { "k": 2 }, { "k": 1 }]),
            json!([[{ "k": 1, "n": 2 }, { "k": 2, "n": 1 }]]),
        ),
        ("empty", json!(1), json!([])),
        ("1, 2, 3", json!(null), json!([1, 2, 3])),
        ("test(\"^a.c$\")", json!("abc"), json!([true])),
        ("try error(\"x\") catch .", json!(null), json!(["x"])),
        (
            ".",
            json!("\u{0}\u{1F600}\"\\"),
            json!(["\u{0}\u{1F600}\"\\"]),
        ),
        (
            ".",
            json!(9_007_199_254_740_993_i64),
            json!([9_007_199_254_740_993_i64]),
        ),
        ("nan", json!(null), json!([null])),
        (
            "[infinite, -infinite]",
            json!(null),
            json!([[f64::MAX, f64::MIN]]),
        ),
        (".a?", json!([1]), json!([])),
    ];
    for (filter, input, expected) in cases {
        let found = query(filter, input).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(
            (&found["outputs"], &found["cut"]),
            (&expected, &json!(false)),
            "{filter}"
        );
    }
}

#[test]
fn variables_and_streams() {
    let found = call(
        &PLUGIN,
        "query",
        json!({ "filter": ".[] | select(. >= $low) * $by", "input": [1, 5, 9], "variables": { "low": 5, "by": 2 } }),
    );
    assert_eq!(found.unwrap()["outputs"], json!([10, 18]));
    let found = call(
        &PLUGIN,
        "query",
        json!({ "filter": ".a", "text": "{\"a\":1}\n{\"a\":2} {\"b\":3}" }),
    );
    assert_eq!(found.unwrap()["outputs"], json!([1, 2, null]));
}

#[test]
fn a_filter_that_never_ends_is_cut() {
    let found = call(
        &PLUGIN,
        "query",
        json!({ "filter": "repeat(1)", "limit": 3 }),
    )
    .unwrap();
    assert_eq!(
        (&found["outputs"], &found["cut"]),
        (&json!([1, 1, 1]), &json!(true))
    );
    let exact = call(
        &PLUGIN,
        "query",
        json!({ "filter": "range(3)", "limit": 3 }),
    )
    .unwrap();
    assert_eq!(exact["cut"], false);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let cases = [
        (".items[", "filter: line 1"),
        ("1 |\n 2 ++", "filter: line 2"),
        ("nosuch(1)", "nosuch"),
        ("$nosuch", "nosuch"),
        (".a.b", "filter: "),
        ("error(\"mine\")", "mine"),
        ("env", "not available"),
        ("$ENV", "ENV"),
        ("halt", "not available"),
        ("1, halt_error", "not available"),
        ("input", "undefined"),
        ("import \"a\" as a; .", "filter: "),
        ("{(1|tostring): 1} | .x |= error", "filter: "),
        (deep.as_str(), "nested deeper"),
    ];
    for (filter, part) in cases {
        match query(filter, json!([1])) {
            Err(Error::InvalidInput(message)) => {
                assert!(message.contains(part), "{filter}: {message}")
            }
            other => panic!("{filter}: {other:?}"),
        }
    }
    let both = call(
        &PLUGIN,
        "query",
        json!({ "filter": ".", "input": 1, "text": "2" }),
    );
    assert!(matches!(both, Err(Error::InvalidInput(_))));
    let broken = call(&PLUGIN, "query", json!({ "filter": ".", "text": "1 {" }))
        .unwrap_err()
        .to_string();
    assert!(broken.contains("value 2"), "{broken}");
}
