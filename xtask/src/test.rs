//! `cargo xtask test`: set up, build what the tests run, run every test.

use anyhow::Result;

use crate::cargo::{self, works};
use crate::components;

/// Runs every test of the workspace; arguments go to the test runner.
pub fn run_tests(extra: &[String]) -> Result<()> {
    let selection = components::workspace()?;
    let mut args = if works("cargo", &["nextest", "--version"]) {
        vec!["nextest", "run"]
    } else {
        eprintln!("xtask: cargo-nextest is not installed; using cargo test, which is slower");
        vec!["test", "--lib", "--bins", "--tests", "--examples"]
    };
    args.extend(selection.iter().map(String::as_str));
    // Every failure is shown, not only the first.
    if extra.is_empty() {
        args.push("--no-fail-fast");
    }
    args.extend(extra.iter().map(String::as_str));
    cargo::run("cargo", &args)?;
    if extra.is_empty() {
        let mut docs = vec!["test", "--quiet", "--doc"];
        docs.extend(selection.iter().map(String::as_str));
        cargo::run("cargo", &docs)?;
    }
    Ok(())
}

/// The command.
pub fn run(extra: &[String]) -> Result<()> {
    components::build_all()?;
    run_tests(extra)
}
