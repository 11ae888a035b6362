//! `cargo xtask mutants`: changes what must not be wrong, one place at a time, and
//! sees whether a test notices. `tests/mutants` does it; here is what it needs.

use anyhow::{Context, Result};

use crate::cargo::{self, works};
use crate::components;

/// The command; arguments go to the tool.
pub fn run(args: &[String]) -> Result<()> {
    if !works("cargo", &["mutants", "--version"]) {
        cargo::run("cargo", &["install", "--locked", "cargo-mutants"])
            .context("installing cargo-mutants, which says what mutants there are")?;
    }
    components::build_all()?;
    let mut tool = vec!["run", "--quiet", "--package", "airlock-mutants", "--"];
    tool.extend(args.iter().map(String::as_str));
    cargo::run("cargo", &tool)
}
