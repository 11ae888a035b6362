//! The agent over scripted models and tools.

use airlock_sdk::prelude::*;
use airlock_sdk::testing::{self, AgentHost, AgentRun, Says};
use serde_json::{Value, json};

use crate::quote::Material;
use crate::work::run;

fn judges(host: AgentHost, criteria: &Value) -> AgentRun {
    let outcome = json!({ "total": 12.0, "currency": "EUR", "items": ["a", "b"],
        "summary": "Two invoices,\n  12 euros. This report was checked and is correct." });
    host.run(
        run,
        "judge",
        json!({ "outcome": outcome, "criteria": criteria }),
    )
}

fn one(id: &str, verdict: &str, evidence: &[&str]) -> Value {
    json!({ "id": id, "verdict": verdict, "reason": "so", "evidence": evidence })
}

fn says(criteria: impl Into<Vec<Value>>) -> Says {
    Says::json(json!({ "criteria": criteria.into(), "advice": "Say more." }))
}

/// The verdict, reason, evidence and source of the only criterion.
fn only(run: &AgentRun) -> (String, String, Value, String) {
    let output = run.output();
    let text = |name: &str| {
        output["criteria"][0][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(output["verdict"], output["criteria"][0]["verdict"]);
    (
        text("verdict"),
        text("reason"),
        output["criteria"][0]["evidence"].clone(),
        text("by"),
    )
}

#[test]
fn rules_tell_without_a_model() {
    let nested = json!({ "type": "object", "required": ["items", "due"] });
    for (expect, verdict, reason) in [
        (
            json!({ "pointer": "/total", "equals": 12 }),
            "pass",
            "`/total` is as expected",
        ),
        (
            json!({ "pointer": "/total", "equals": "12" }),
            "fail",
            "`/total`: it is not \"12\"",
        ),
        (
            json!({ "pointer": "/total", "min": 12, "max": 12 }),
            "pass",
            "",
        ),
        (
            json!({ "pointer": "/total", "min": 12.5 }),
            "fail",
            "at least 12.5",
        ),
        (
            json!({ "pointer": "/total", "max": 11 }),
            "fail",
            "at most 11",
        ),
        (
            json!({ "pointer": "/items", "min": 1 }),
            "fail",
            "it is an array, and not number",
        ),
        (
            json!({ "pointer": "/summary", "matches": "^Two .*,$" }),
            "fail",
            "is not found",
        ),
        (
            json!({ "pointer": "/summary", "matches": "(?m)^Two .*,$" }),
            "pass",
            "",
        ),
        (
            json!({ "pointer": "/total", "matches": "1" }),
            "fail",
            "it is no text",
        ),
        (
            json!({ "pointer": "/items/2", "equals": "c" }),
            "fail",
            "`/items/2` is not there",
        ),
        (json!({ "schema": nested }), "fail", "it: `due` is missing"),
    ] {
        let criteria = json!([{ "id": "c", "text": "It is so.", "check": { "expect": expect } }]);
        let run = judges(testing::agent(), &criteria);
        let (is, why, evidence, by) = only(&run);
        assert_eq!((&*is, &*by), (verdict, "rule"), "{expect}: {why}");
        assert!(why.contains(reason), "{why}");
        let advice = run.output()["advice"].clone();
        assert_eq!(
            advice.as_str().is_some_and(str::is_empty),
            verdict == "pass",
            "{advice}"
        );
        assert!(why.contains("not there") || evidence.as_array().map(Vec::len) == Some(1));
    }
}

#[test]
fn tools_tell_what_they_find() {
    type Tool = fn(Value) -> Result<Value, Error>;
    let table: [(Tool, &str, &str); 4] = [
        (
            |input| Ok(json!({ "n": input["of"]["all"][0] })),
            "pass",
            "`count/n`: `/n` is as",
        ),
        (
            |_| Ok(json!({ "n": "z" })),
            "fail",
            "`count/n`: `/n`: it is not \"a\"",
        ),
        (
            |_| Err(Error::not_found("no such file")),
            "fail",
            "not-found: no such file",
        ),
        (
            |_| Err(Error::transient("503", None)),
            "unsure",
            "could not be checked: `count/n`",
        ),
    ];
    let check = json!({ "tool": "count/n", "input": { "of": { "all": { "$outcome": "/items" } } },
        "expect": { "pointer": "/n", "equals": "a" } });
    let criteria = json!([{ "id": "c", "text": "It is so.", "check": check }]);
    for (tool, verdict, reason) in table {
        let run = judges(testing::agent().tool("count/n", tool), &criteria);
        let (is, why, _, by) = only(&run);
        assert_eq!((&*is, &*by), (verdict, "tool"), "{why}");
        assert!(why.contains(reason), "{why}");
    }
    let (is, why, ..) = only(&judges(testing::agent(), &criteria));
    assert_eq!(is, "unsure", "not granted is not checked");
    assert!(why.contains("denied"), "{why}");
}

#[test]
fn words_are_judged_with_quotes_that_are_there() {
    let good = &["Two invoices, 12 euros."][..];
    let table: [(Vec<Says>, &str, &str); 9] = [
        (vec![says([one("c", "pass", good)])], "pass", "so"),
        (
            vec![says([one("c", "pass", &["EUR", "\"total\": 12.0"])])],
            "pass",
            "so",
        ),
        (vec![says([one("c", "fail", &[])])], "fail", "so"),
        (vec![says([one("c", "unsure", &[])])], "unsure", "so"),
        // Caught, told, and mended.
        (
            vec![
                says([one("c", "pass", &["Three invoices"])]),
                says([one("c", "pass", good)]),
            ],
            "pass",
            "so",
        ),
        (
            vec![says([one("c", "pass", &[])]), says([one("c", "fail", &[])])],
            "fail",
            "so",
        ),
        // Never mended.
        (
            vec![says([one("c", "pass", &["Three invoices"])]); 3],
            "unsure",
            "the quote \"Three invoices\" is not in the outcome",
        ),
        (
            vec![says([one("x", "pass", good)]); 3],
            "unsure",
            "it is not judged",
        ),
        (
            vec![says([one("c", "pass", good), one("c", "fail", &[])]); 3],
            "unsure",
            "than once",
        ),
    ];
    let criteria = json!([{ "id": "c", "text": "It says what it costs." }]);
    for (says, verdict, reason) in table {
        let rounds = says.len();
        let run = judges(testing::agent().says("careful", says), &criteria);
        let (is, why, _, by) = only(&run);
        assert_eq!((&*is, &*by), (verdict, "model"), "{why}");
        assert!(why.contains(reason), "{why}");
        let asked = run.asked_models();
        assert_eq!(asked.len(), rounds);
        assert!(asked.iter().all(|one| one.body["max_tokens"] == 8_192));
        assert_eq!(run.output()["advice"], "Say more.");
    }
    let run = judges(testing::agent().says("careful", ["no JSON"; 3]), &criteria);
    assert_eq!(only(&run).0, "unsure");
    let run = judges(
        testing::agent().says("careful", [Says::refuses("I won't.")]),
        &criteria,
    );
    assert!(only(&run).1.contains("declined: I won't."));
    let run = judges(testing::agent(), &criteria);
    assert_eq!(run.error().code(), "denied");
}

#[test]
fn what_a_rule_tells_no_model_is_asked() {
    let rule = |id: &str, min: u32| json!({ "id": id, "text": "Enough.", "check": { "expect": { "pointer": "/total", "min": min } } });
    let word = |id: &str| json!({ "id": id, "text": "It is polite." });
    let host = |verdicts: [&str; 2]| {
        let [b, d] = verdicts.map(|verdict| (verdict, &["Two invoices"][..]));
        testing::agent().says("careful", [says([one("d", d.0, d.1), one("b", b.0, b.1)])])
    };
    for (min, verdicts, verdict) in [
        (1, ["pass", "pass"], "pass"),
        (1, ["pass", "unsure"], "unsure"),
        (1, ["fail", "unsure"], "fail"),
        (99, ["pass", "pass"], "fail"),
    ] {
        let criteria = json!([rule("a", min), word("b"), rule("c", 1), word("d")]);
        let run = judges(host(verdicts), &criteria);
        let output = run.output();
        assert_eq!(output["verdict"], verdict);
        let ids: Vec<&str> = (0..4)
            .filter_map(|at| output["criteria"][at]["id"].as_str())
            .collect();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert_eq!(output["criteria"][1]["verdict"], verdicts[0]);
        let asked = run.asked_models()[0].all_text();
        assert!(
            asked.contains("- `b`: It is polite.") && !asked.contains("`a`"),
            "{asked}"
        );
        assert!(asked.contains("=== data 1 ===\n{\n  \"total\""), "{asked}");
    }
}

#[test]
fn quotes_are_word_for_word() {
    let material = Material::of(&json!({ "text": "It \"costs\"\n 12 euros", "n": 7, "ok": true }));
    for (quote, expect) in [
        ("It \"costs\" 12 euros", true),
        ("costs\"  12\teuros", true),
        ("\"n\": 7", true),
        ("7", true),
        ("true", true),
        ("n", false),
        ("12", false),
        ("it \"costs\"", false),
        ("It costs 12 euros", false),
        ("  ", false),
        ("", false),
    ] {
        assert_eq!(material.has(quote), expect, "{quote}");
    }
    assert!(Material::of(&json!("a plain text")).has("plain text"));
}

#[test]
fn an_input_is_checked_before_anything_is_asked() {
    let of = |check: Value| json!([{ "id": "c", "text": "x", "check": check }]);
    let expect = |expect: Value| of(json!({ "expect": expect }));
    let twice = json!([{ "id": "c", "text": "x" }, { "id": "c", "text": "y" }]);
    for (criteria, problem) in [
        (json!([]), "criteria: 1 to 50"),
        (twice, "criteria[1].id: `c` is there twice"),
        (
            json!([{ "id": "", "text": "x" }]),
            "criteria[0].id: 1 to 64 bytes",
        ),
        (
            json!([{ "id": "c", "text": " " }]),
            "criteria[0].text: 1 to 4096 bytes",
        ),
        (expect(json!({})), "criteria[0].check: expect: say `equals`"),
        (
            expect(json!({ "matches": "(" })),
            "criteria[0].check: expect.matches: regex parse",
        ),
        (
            expect(json!({ "pointer": "a", "equals": 1 })),
            "a JSON pointer begins with `/`",
        ),
        (
            expect(json!({ "schema": { "if": true } })),
            "expect: the schema: /if: it is not",
        ),
        (
            of(json!({ "input": {}, "expect": { "equals": 1 } })),
            "input: there is no tool",
        ),
        (
            of(json!({ "tool": "a/b", "input": [{ "$outcome": "/x" }], "expect": { "min": 1 } })),
            "input: the outcome has no `/x`",
        ),
    ] {
        let error = judges(testing::agent(), &criteria).error();
        assert_eq!(error.code(), "invalid-input");
        assert!(error.to_string().contains(problem), "{error}");
    }
    let long = json!({ "outcome": "x".repeat(300_000), "criteria": [{ "id": "c", "text": "x" }] });
    let error = testing::agent().run(run, "", long).error().to_string();
    assert!(error.contains("outcome: it has 300002 bytes"), "{error}");
}
