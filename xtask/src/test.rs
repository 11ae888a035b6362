//! `cargo xtask test`: set up, build what the tests run, run every test.

use anyhow::Result;

use crate::cargo::{self, works};
use crate::components;

/// Runs every test of the workspace; arguments go to the test runner.
pub fn run_tests(extra: &[String]) -> Result<()> {
    let guests = components::packages("tests/guests")?;
    let mut args = if works("cargo", &["nextest", "--version"]) {
        vec!["nextest", "run", "--workspace"]
    } else {
        eprintln!("xtask: cargo-nextest is not installed; using cargo test, which is slower");
        vec![
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
        ]
    };
    for guest in &guests {
        args.extend(["--exclude", guest]);
    }
    // Every failure is shown, not only the first.
    if extra.is_empty() {
        args.push("--no-fail-fast");
    }
    args.extend(extra.iter().map(String::as_str));
    cargo::run("cargo", &args)?;
    if extra.is_empty() {
        let mut docs = vec!["test", "--quiet", "--doc", "--workspace"];
        for guest in &guests {
            docs.extend(["--exclude", guest]);
        }
        cargo::run("cargo", &docs)?;
    }
    Ok(())
}

/// The command.
pub fn run(extra: &[String]) -> Result<()> {
    components::build_all()?;
    run_tests(extra)
}
