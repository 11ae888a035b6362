use super::{Cost, Rule};
use crate::capability::Cases;

pub(crate) const CASES: Cases = Cases {
    grants: r#"models = [{ role = "fast" }, { role = "vision-2", images = true }]"#,
    allowed: &["ask fast", "ask vision-2", "ask vision-2 images"],
    denied: &[
        "ask fast images",
        "ask fas",
        "ask fast2",
        "ask Fast",
        "ask *",
        "ask careful",
    ],
};

fn rule(text: &str) -> Result<Rule, String> {
    let rule: Rule = toml::from_str(text).map_err(|error| error.to_string())?;
    rule.validate().map(|()| rule)
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    let long = format!("role = \"{}\"", "a".repeat(65));
    let table = [
        ("role = \"\"", "is not a name"),
        ("role = \"*\"", "is not a name"),
        ("role = \"Fast\"", "is not a name"),
        ("role = \"a b\"", "is not a name"),
        (long.as_str(), "is not a name"),
        ("role = \"a\"\noutput_tokens = 0", "at least 1"),
        ("role = \"a\"\nday_cost = \"-1\"", "is not an amount"),
        ("role = \"a\"\nday_cost = \"1.0000001\"", "is not an amount"),
        ("role = \"a\"\nday_cost = \"1e3\"", "is not an amount"),
        ("role = \"a\"\nday_cost = \"\"", "is not an amount"),
        ("role = \"a\"\nday_cost = \"1.\"", "is not an amount"),
        ("role = \"a\"\nday_cost = \".5\"", "is not an amount"),
        (
            "role = \"a\"\nday_cost = \"18446744073710\"",
            "is not an amount",
        ),
        ("role = \"a\"\nday_cost = 5", "invalid type"),
        ("role = \"a\"\nretry = { attempts = 0 }", "attempts"),
        ("role = \"a\"\ncost = \"1\"", "unknown field"),
    ];
    for (text, expect) in table {
        let complaint = rule(text).expect_err(text);
        assert!(complaint.contains(expect), "{text}: {complaint}");
    }
    let most = format!("role = \"{}\"\noutput_tokens = 1", "a".repeat(64));
    assert!(rule(&most).is_ok());
}

#[test]
fn a_cost_is_exact() {
    let table = [
        ("0", 0, "0"),
        ("20", 20_000_000, "20"),
        ("0.15", 150_000, "0.15"),
        ("1.500000", 1_500_000, "1.5"),
        ("0.000001", 1, "0.000001"),
        ("18446744073709.551615", u64::MAX, "18446744073709.551615"),
    ];
    for (text, micros, shown) in table {
        let cost: Cost = text.parse().expect(text);
        assert_eq!((cost.micros, cost.to_string().as_str()), (micros, shown));
    }
    assert!("18446744073709.551616".parse::<Cost>().is_err());
}

/// Editors check grants by this.
#[test]
fn the_schema_says_what_a_cost_looks_like() {
    let schema = serde_json::to_value(schemars::schema_for!(Rule)).expect("a schema");
    let cost = &schema["$defs"]["Cost"];
    assert_eq!(cost["type"], "string", "{schema}");
    assert_eq!(cost["pattern"], r"^[0-9]+(\.[0-9]{1,6})?$");
}
