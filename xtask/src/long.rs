//! What takes longer than CI allows, each with a short form that CI runs.

use anyhow::{Context, Result, bail};

use crate::cargo::{self, flag, number, root};

/// Fuzzing: the property tests with many more cases.
pub fn fuzz(args: &[String]) -> Result<()> {
    let seconds = if flag(args, "--quick") {
        5
    } else {
        number(args, "--seconds", 1800)?
    };
    eprintln!("xtask: fuzz, {seconds} s a target");
    let status = cargo::command("cargo")
        .args([
            "test",
            "--workspace",
            "--lib",
            "--tests",
            "--",
            "fuzz_",
            "--nocapture",
        ])
        .env("AIRLOCK_FUZZ_SECONDS", seconds.to_string())
        .status()
        .context("starting cargo test")?;
    anyhow::ensure!(status.success(), "fuzzing found something ({status})");
    Ok(())
}

/// Kill -9 under load.
pub fn crash(args: &[String]) -> Result<()> {
    let rounds = number(args, "--rounds", 200)?;
    let status = cargo::command("cargo")
        .args([
            "nextest",
            "run",
            "--workspace",
            "--no-capture",
            "-E",
            "test(kill9)",
        ])
        .env("AIRLOCK_KILL_ROUNDS", rounds.to_string())
        .status()
        .context("starting cargo nextest")?;
    anyhow::ensure!(status.success(), "a crash lost something ({status})");
    Ok(())
}

/// Power loss: the disk rebuilt at crash points.
pub fn powerloss(args: &[String]) -> Result<()> {
    let states = number(args, "--states", 1000)?;
    let script = root().join("tests/powerloss/run.sh");
    if !script.is_file() {
        bail!("{} is missing", script.display());
    }
    cargo::run("bash", &[&script.to_string_lossy(), &states.to_string()])
}
