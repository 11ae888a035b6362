//! What takes longer than CI allows, each with a short form that CI runs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, number, root};
use crate::components;

/// Crates with property tests over hostile input: grants and URL rules, JSON to
/// component values, arbitrary bytes as components, API bodies, the audit reader.
const FUZZED: [&str; 5] = [
    "airlock-journal",
    "airlock-sandbox",
    "airlock-runtime",
    "airlock-server",
    "airlock-sdk",
];

/// Cases of each property in one round; CI runs 256.
const CASES_PER_ROUND: &str = "5000";

/// Fuzzing: the property tests with fresh seeds, round after round, until the
/// time is over.
pub fn fuzz(args: &[String]) -> Result<()> {
    let seconds = number(args, "--seconds", 1800)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        let mut test = cargo::command("cargo");
        test.arg("test").env("PROPTEST_CASES", CASES_PER_ROUND);
        for name in FUZZED {
            test.args(["-p", name]);
        }
        let status = test
            .args(["--lib", "--tests", "--", "fuzz"])
            .status()
            .context("starting cargo test")?;
        anyhow::ensure!(status.success(), "fuzzing found something ({status})");
        rounds += 1;
    }
    eprintln!("xtask: {rounds} rounds of {CASES_PER_ROUND} cases for each property, nothing found");
    Ok(())
}

/// Kill -9 under load.
pub fn crash(args: &[String]) -> Result<()> {
    let rounds = number(args, "--rounds", 200)?;
    components::build_all()?;
    cargo::run("cargo", &["build", "-p", "airlock"])?;
    let status = cargo::command("cargo")
        .args([
            "test",
            "-p",
            "airlock-tests",
            "-p",
            "airlock-journal",
            "--test",
            "kill9",
            "--",
            "--nocapture",
        ])
        .env("AIRLOCK_KILL_ROUNDS", rounds.to_string())
        .status()
        .context("starting cargo test")?;
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
