use airlock_sdk::testing::call;
use serde_json::{Value, json};

use super::PLUGIN;

fn run(code: &str, input: Value) -> Value {
    call(&PLUGIN, "run", json!({ "code": code, "input": input })).unwrap()
}

#[test]
fn a_script_gives_its_last_value() {
    let cases = [
        ("1 + 1", json!(null), json!(2)),
        (
            "input.rows.map(row => row.n * 2)",
            json!({ "rows": [{ "n": 1 }, { "n": 2.5 }] }),
            json!([2, 5]),
        ),
        (
            "({ a: [1, 'zwei', null, true], b: { c: undefined } })",
            json!(null),
            json!({ "a": [1, "zwei", null, true], "b": {} }),
        ),
        (
            "let total = 0; for (const n of input) total += n; total",
            json!([1, 2, 3]),
            json!(6),
        ),
        ("undefined", json!(null), json!(null)),
        ("(function () {})", json!(null), json!(null)),
        (
            "(async () => { const x = await Promise.resolve(20); return x + 1 })()",
            json!(null),
            json!(21),
        ),
        (
            "JSON.stringify = () => '\"forged\"'; 'real'",
            json!(null),
            json!("real"),
        ),
        (
            "'\\u0000\\ud83d\\ude00'",
            json!(null),
            json!("\u{0}\u{1F600}"),
        ),
        (
            "input",
            json!({ "__proto__": 1, "deep": [[[]]] }),
            json!({ "__proto__": 1, "deep": [[[]]] }),
        ),
        (
            "/(\\d+)-(\\d+)/.exec('a 12-34').slice(1).map(Number)",
            json!(null),
            json!([12, 34]),
        ),
        ("", json!(null), json!(null)),
        ("0 / 0", json!(null), json!(null)),
    ];
    for (code, input, expected) in cases {
        let outcome = run(code, input);
        assert_eq!(
            (&outcome["ok"], &outcome["value"]),
            (&json!(true), &expected),
            "{code}: {outcome}"
        );
    }
}

#[test]
fn what_is_printed_comes_back_in_order() {
    let outcome = run(
        "console.log('a', 1, true); console.warn([1, 2]); console.error(null); 7",
        json!(null),
    );
    let lines: Vec<(&str, &str)> = outcome["console"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (l["level"].as_str().unwrap(), l["text"].as_str().unwrap()))
        .collect();
    assert_eq!(
        lines,
        [("log", "a 1 true"), ("warn", "[ 1, 2 ]"), ("error", "null")]
    );
    assert_eq!(
        (&outcome["value"], &outcome["console_cut"]),
        (&json!(7), &json!(false))
    );
}

#[test]
fn errors_name_their_line() {
    let cases = [
        (
            "let a = 1;\nlet b = 2;\nnothing.here",
            "ReferenceError",
            Some(3),
        ),
        ("\n\nlet x = ;", "SyntaxError", Some(3)),
        (
            "function f() {\n  throw new TypeError('no');\n}\nf()",
            "TypeError: no",
            Some(2),
        ),
        ("throw { code: 5 }", "code: 5", None),
        (
            "(async () => { throw new Error('later') })()",
            "later",
            None,
        ),
        ("const loop = {}; loop.loop = loop; loop", "TypeError", None),
        ("new Promise(() => {})", "never settles", None),
        (
            "require('fs')",
            "ReferenceError: require is not defined",
            None,
        ),
        ("10n ** 2n", "bigint", None),
    ];
    for (code, part, line) in cases {
        let outcome = run(code, json!(null));
        let message = outcome["error"]["message"].as_str().unwrap_or_default();
        assert!(
            outcome["ok"] == false && message.contains(part),
            "{code}: {outcome}"
        );
        assert!(
            !message.contains("script.js") && !message.contains("(native)"),
            "the place is not in the message as well: {message}"
        );
        if let Some(line) = line {
            assert_eq!(outcome["error"]["line"], line, "{code}: {outcome}");
        }
    }
}

#[test]
fn a_script_reaches_nothing() {
    for name in [
        "process",
        "require",
        "fetch",
        "XMLHttpRequest",
        "Deno",
        "Bun",
        "WebAssembly",
        "setTimeout",
        "window",
        "module",
    ] {
        assert_eq!(
            run(&format!("typeof {name}"), json!(null))["value"],
            "undefined",
            "{name}"
        );
    }
    assert_eq!(
        run("import('fs').then(() => 'in', () => 'out')", json!(null))["value"],
        "out"
    );
}

#[test]
fn scripts_do_not_see_each_other() {
    run(
        "globalThis.left = 1; Array.prototype.map = () => 'spoiled'; console.log('old')",
        json!(null),
    );
    let outcome = run("[typeof left, [1].map(x => x + 1)]", json!(null));
    assert_eq!(
        (&outcome["value"], &outcome["console"]),
        (&json!(["undefined", [2]]), &json!([]))
    );
}

#[test]
fn what_is_too_much_is_cut_or_an_error() {
    let deep = run("function f() { return f() + 1 } f()", json!(null));
    assert_eq!(deep["ok"], false);
    assert!(
        deep["error"]["message"].as_str().unwrap().contains("call"),
        "{deep}"
    );
    let lines = run("for (let i = 0; i < 2000; i++) console.log(i)", json!(null));
    assert_eq!(
        (
            lines["console"].as_array().unwrap().len(),
            &lines["console_cut"]
        ),
        (1_000, &json!(true))
    );
    let bytes = run(
        "console.log('é'.repeat(40000)); console.log('more')",
        json!(null),
    );
    assert_eq!(bytes["console"][0]["text"].as_str().unwrap().len(), 65_536);
    assert_eq!(
        (
            bytes["console"].as_array().unwrap().len(),
            &bytes["console_cut"]
        ),
        (1, &json!(true))
    );
    let large = call(&PLUGIN, "run", json!({ "code": " ".repeat(600_000) }));
    assert_eq!(large.map_err(|error| error.code()), Err("invalid-input"));
}
