//! The demo ends by itself, with the right result.

use std::process::Command;

use airlock_tests::{airlock, component};

#[test]
fn the_demo_does_its_job() {
    let table = component("airlock-plugin-table");
    let output = Command::new(env!("CARGO_BIN_EXE_airlock-demo"))
        .arg("--airlock")
        .arg(airlock())
        .arg("--components")
        .arg(table.parent().expect("a folder"))
        .output()
        .expect("it starts");
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{page}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "process ",
        "is dead; ",
        "0 of these again after it",
        "audit: files/write was called 1 time",
        "May `reconcile` call `files/write`",
        "24 lines disagree",
        "2 invoices are booked twice",
        "/out/report.html",
        "\"denied\"",
        "\"limit\"",
        "whole:",
    ] {
        assert!(
            page.contains(part),
            "the page does not say `{part}`:\n{page}"
        );
    }
}
