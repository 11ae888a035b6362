//! `cargo xtask bench`: the benchmarks, each a ratio against a floor in the same
//! run.

use anyhow::Result;

use crate::cargo::{self, flag};
use crate::components;

/// The command. `--quick` shortens the rounds and uses the dev profile, so that
/// CI shows that the benchmarks still run; its figures mean nothing.
pub fn run(args: &[String]) -> Result<()> {
    components::build_all()?;
    let quick = flag(args, "--quick");
    let (profile, folder) = if quick {
        ("dev", "debug")
    } else {
        ("release", "release")
    };
    let mut build = vec![
        "build",
        "--profile",
        profile,
        "--bins",
        "--example",
        "search_bench",
    ];
    let selection = components::workspace()?;
    build.extend(selection.iter().map(String::as_str));
    cargo::run("cargo", &build)?;
    let bin = cargo::target_dir().join(folder);
    let status = cargo::command(bin.join("airlock-bench"))
        .arg("--airlock")
        .arg(bin.join("airlock"))
        .arg("--components")
        .arg(components::dir())
        .args(args)
        .status()?;
    anyhow::ensure!(status.success(), "the benchmarks failed ({status})");
    Ok(())
}
