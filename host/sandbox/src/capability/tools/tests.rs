use crate::capability::Cases;
use crate::testing::grants;

pub(crate) const CASES: Cases = Cases {
    grants: r#"tools = [{ tool = "files/read" }, { tool = "table/*" }]"#,
    allowed: &["call files/read", "call table/query", "call table/x"],
    denied: &[
        "call files/write",
        "call files/readx",
        "call files",
        "call files/*",
        "call table",
        "call table/",
        "call tablex/query",
        "call /",
        "call ",
    ],
};

fn rule(tool: &str) -> super::Rule {
    serde_json::from_value(serde_json::json!({ "tool": tool })).expect("a rule")
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    for tool in [
        "", "files", "/", "files/", "/read", "*/read", "*/*", "a/b/c", "a b/c", "a/b*",
    ] {
        let rule = rule(tool);
        let complaint = rule.validate().expect_err(tool);
        assert!(complaint.contains("plugin/tool"), "{complaint}");
    }
    let long = rule(&format!("a/{}", "b".repeat(159)));
    assert_eq!(long.validate(), Err("tool is over 160 bytes".to_owned()));
    let longest = rule(&format!("a/{}", "b".repeat(158)));
    assert_eq!(longest.validate(), Ok(()));
    assert_eq!(grants(CASES.grants).tools.len(), 2);
}

#[test]
fn who_is_asked_and_what_is_tried_again_has_bounds() {
    let table = [
        ("", None),
        ("approvers = 10", None),
        ("approvers = 0", Some("approvers is 1 to 10")),
        ("approvers = 11", Some("approvers is 1 to 10")),
        ("due = \"24h\"", None),
        ("due = \"366days\"", None),
        ("due = \"0s\"", Some("due is more than nothing")),
        ("due = \"2years\"", Some("at most 366 days")),
        ("on_due = \"escalate\"", Some("needs due and escalate_to")),
        ("due = \"1h\", on_due = \"escalate\"", Some("needs due")),
        (
            "due = \"1h\", on_due = \"escalate\", escalate_to = \"admin\"",
            None,
        ),
        (
            "due = \"1h\", on_due = \"escalate\", escalate_to = \"approver\"",
            Some("another role"),
        ),
        ("escalate_to = \"admin\"", Some("needs on_due")),
        ("retry = {}", None),
        ("retry = { attempts = 1, backoff = \"1s\" }", None),
        (
            "retry = { attempts = 0 }",
            Some("retry.attempts is 1 to 100"),
        ),
        (
            "retry = { attempts = 101 }",
            Some("retry.attempts is 1 to 100"),
        ),
        ("retry = { backoff = \"1m\" }", Some("at most backoff_max")),
        ("retry = { backoff_max = \"25h\" }", Some("and that 24h")),
        ("retry = { backoff = \"24h\", backoff_max = \"24h\" }", None),
        ("on_unknown = \"retry\"", None),
        (
            "on_error = { permanent = \"escalate\", denied = \"abort\" }",
            None,
        ),
    ];
    for (more, expect) in table {
        let comma = if more.is_empty() { "" } else { ", " };
        let text = format!("tools = [{{ tool = \"a/b\"{comma}{more} }}]");
        let rule = grants_unchecked(&text);
        match (rule.validate(), expect) {
            (Ok(()), None) => {}
            (Err(complaint), Some(part)) => assert!(complaint.contains(part), "{complaint}"),
            (got, expect) => panic!("{more}: {got:?}, not {expect:?}"),
        }
        let text = serde_json::to_string(&rule).expect("JSON");
        let back: super::Rule = serde_json::from_str(&text).expect(&text);
        assert_eq!(back, rule, "{text}");
    }
    let plain = serde_json::to_string(&rule("a/b")).expect("JSON");
    assert_eq!(
        plain, r#"{"tool":"a/b"}"#,
        "what was stored before reads the same"
    );
}

/// The one rule of a text whose bounds may be broken.
fn grants_unchecked(text: &str) -> super::Rule {
    #[derive(serde::Deserialize)]
    struct Text {
        tools: [super::Rule; 1],
    }
    let [rule] = toml::from_str::<Text>(text).expect(text).tools;
    rule
}
