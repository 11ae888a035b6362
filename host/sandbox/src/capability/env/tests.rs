use wasmtime_wasi::p2::bindings::cli::environment::Host;

use super::bind::EnvView;
use crate::capability::Cases;
use crate::testing::{Door, grants};

pub(crate) const CASES: Cases = Cases {
    grants: r#"env = [
        { name = "TZ", value = "UTC" },
        { name = "EMPTY", value = "" },
    ]"#,
    allowed: &["read TZ", "read EMPTY"],
    denied: &["read PATH", "read tz", "read TZ=", "read TZ2", "read "],
};

#[test]
fn a_guest_sees_the_named_values_and_nothing_else() {
    for (text, expected) in [
        ("", vec![]),
        (CASES.grants, vec![("EMPTY", ""), ("TZ", "UTC")]),
    ] {
        let gate = Door::new(text).gate();
        let mut view = EnvView { gate: &gate };
        let seen = view.get_environment().unwrap();
        let expected = expected
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(seen, expected.collect::<Vec<_>>());
        assert_eq!(view.get_arguments().unwrap(), Vec::<String>::new());
        assert_eq!(view.initial_cwd().unwrap(), None);
    }
}

#[test]
fn a_revoked_value_is_gone_during_the_call() {
    let door = Door::new(CASES.grants);
    let gate = door.gate();
    let mut view = EnvView { gate: &gate };
    assert_eq!(view.get_environment().unwrap().len(), 2);
    door.cell.replace(2, grants(""));
    assert_eq!(view.get_environment().unwrap(), []);
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    for (name, value, complaint) in [
        ("", "x", "name `` must not be empty nor contain `=` or NUL"),
        (
            "A=B",
            "x",
            "name `A=B` must not be empty nor contain `=` or NUL",
        ),
        (
            "A\0",
            "x",
            "name `A\\0` must not be empty nor contain `=` or NUL",
        ),
        (&"A".repeat(257), "x", "name is over 256 bytes"),
        ("A", "x\0", "value of `A` must not contain NUL"),
        ("A", &"x".repeat(32_769), "value of `A` is over 32768 bytes"),
    ] {
        let (name, value) = (name.to_owned(), value.to_owned());
        let rule = super::Rule { name, value };
        assert_eq!(rule.validate().unwrap_err(), complaint);
    }
    let (name, value) = ("A".repeat(256), "x".repeat(32_768));
    assert_eq!(super::Rule { name, value }.validate(), Ok(()));
}
