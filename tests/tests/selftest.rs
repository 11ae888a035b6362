//! The escape suite: `airlock selftest` of the built binary.

use std::process::Command;

use airlock_tests::{airlock, component};
use serde_json::Value;

#[test]
fn every_attack_is_stopped() {
    let guests = component("evil-resources");
    let folder = guests.parent().expect("a folder");
    let output = Command::new(airlock())
        .args(["selftest", "--json", "--guests"])
        .arg(folder)
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {errors}"));
    let outcomes = report["outcomes"].as_array().expect("outcomes");
    let failed: Vec<&Value> = outcomes
        .iter()
        .filter(|outcome| outcome["held"] != true)
        .collect();
    assert!(
        failed.is_empty(),
        "{} attacks were not stopped: {failed:#?}",
        failed.len()
    );
    for class in airlock::selftest::CLASSES {
        let count = outcomes
            .iter()
            .filter(|outcome| outcome["class"] == class)
            .count();
        assert!(count >= 5, "only {count} attacks of class {class}");
    }
    assert!(output.status.success());
}
