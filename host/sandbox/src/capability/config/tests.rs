use super::bind::ConfigView;
use crate::capability::Cases;
use crate::testing::{Door, grants};

pub(crate) const CASES: Cases = Cases {
    grants: r#"config = [{ key = "currency", value = "CHF" }]"#,
    allowed: &["get currency", "get-all"],
    denied: &["get Currency", "get currency2", "get "],
};

#[test]
fn a_value_needs_its_rule() {
    let denied = |op: &str, rule: &str| Err(format!("denied: config: {op}: {rule}"));
    for (text, key, expected) in [
        (CASES.grants, "currency", Ok(Some("CHF".to_owned()))),
        (CASES.grants, "other", Ok(None)),
        (
            "",
            "other",
            denied(
                "get other",
                "no config rule has key = \"other\"; needed: config = [{ key = \"other\", value = … }]",
            ),
        ),
    ] {
        let gate = Door::new(text).gate();
        let view = ConfigView { gate: &gate };
        assert_eq!(view.get(key.to_owned()), expected);
        assert_eq!(
            gate.denials().is_empty(),
            key == "currency",
            "what was missing is on record"
        );
    }
}

#[test]
fn all_values_are_those_of_the_rules() {
    let door = Door::new(r#"config = [{ key = "b", value = "2" }, { key = "a", value = "1" }]"#);
    let gate = door.gate();
    let view = ConfigView { gate: &gate };
    let pairs = [("a", "1"), ("b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(view.get_all(), Ok(pairs.to_vec()));
    door.cell.replace(2, grants(""));
    let denied = "denied: config: get-all: there is no config rule; needed: ";
    assert!(view.get_all().is_err_and(|error| error.starts_with(denied)));
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    for (key, value, complaint) in [
        ("", "x", "key must not be empty"),
        (&"k".repeat(257), "x", "key is over 256 bytes"),
        ("k", &"x".repeat(65_537), "value of `k` is over 65536 bytes"),
    ] {
        let (key, value) = (key.to_owned(), value.to_owned());
        let rule = super::Rule { key, value };
        assert_eq!(rule.validate().unwrap_err(), complaint);
    }
    let (key, value) = ("k".repeat(256), "x".repeat(65_536));
    assert_eq!(super::Rule { key, value }.validate(), Ok(()));
}
