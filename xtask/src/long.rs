//! What takes longer than CI allows, each with a short form that CI runs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cargo::{self, number, root};
use crate::components;

/// How many times the cases of a test run each property has in one round.
const FUZZ_SCALE: u64 = 20;

/// What the properties tell, see `tests/fuzz`.
const TOLD: &str = "fuzz:";

/// Fuzzing: the properties over hostile input (`fuzz` in their names) with fresh
/// seeds, round after round, until the time is over; then the cases done of each.
pub fn fuzz(args: &[String]) -> Result<()> {
    let seconds = number(args, "--seconds", 1800)?;
    let scale = number(args, "--scale", FUZZ_SCALE)?;
    // Damaged components are made of real ones.
    components::build_all()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut done = BTreeMap::new();
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        fuzz_round(scale, &mut done)?;
        rounds += 1;
        let cases: u64 = done.values().sum();
        eprintln!("xtask: {rounds} rounds, {cases} cases so far, nothing found");
    }
    anyhow::ensure!(!done.is_empty(), "no property told how many cases it ran");
    for (property, cases) in &done {
        println!("{cases:>12}  {property}");
    }
    println!(
        "{rounds} rounds of {} properties, nothing found",
        done.len()
    );
    Ok(())
}

/// Every property once, with the selection of crates that tests are built with.
fn fuzz_round(scale: u64, done: &mut BTreeMap<String, u64>) -> Result<()> {
    let mut test = cargo::command("cargo");
    test.args(["test", "--quiet", "--lib", "--tests"])
        .args(components::workspace()?);
    test.args(["--", "fuzz", "--nocapture"])
        .env("AIRLOCK_FUZZ_SCALE", scale.to_string())
        .stdout(Stdio::piped());
    let mut child = test.spawn().context("starting cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading what cargo test prints")?;
        match told(&line) {
            Some((property, cases)) => *done.entry(property).or_default() += cases,
            None if line.contains("panicked") || line.contains("FAILED") => eprintln!("{line}"),
            None => {}
        }
    }
    let status = child.wait().context("waiting for cargo test")?;
    anyhow::ensure!(status.success(), "fuzzing found something ({status})");
    Ok(())
}

/// The property and its cases, from `fuzz: PROGRAM PROPERTY CASES`; with
/// `--nocapture` it may stand behind other output.
fn told(line: &str) -> Option<(String, u64)> {
    let (_, rest) = line.split_once(TOLD)?;
    let mut words = rest.split_whitespace();
    let (program, property) = (words.next()?, words.next()?);
    Some((format!("{program} {property}"), words.next()?.parse().ok()?))
}

/// Kill -9 under load.
pub fn crash(args: &[String]) -> Result<()> {
    let rounds = number(args, "--rounds", 200)?;
    components::build_all()?;
    let status = cargo::command("cargo")
        .arg("test")
        .args(components::workspace()?)
        .args(["--test", "kill9", "--test", "runs", "--test", "ledger"])
        .args(["--", "kill", "whatever_dies", "--nocapture"])
        .env("AIRLOCK_KILL_ROUNDS", rounds.to_string())
        .status()
        .context("starting cargo test")?;
    anyhow::ensure!(status.success(), "a crash lost something ({status})");
    Ok(())
}

/// Power loss: the disk rebuilt at crash points, under steps of the store and under
/// runs.
pub fn powerloss(args: &[String]) -> Result<()> {
    let states = number(args, "--states", 1000)?;
    let script = root().join("tests/powerloss/run.sh");
    if !script.is_file() {
        bail!("{} is missing", script.display());
    }
    cargo::run("bash", &[&script.to_string_lossy(), &states.to_string()])
}
