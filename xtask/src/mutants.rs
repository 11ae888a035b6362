//! `cargo xtask mutants`: changes what must not be wrong, one place at a time, and
//! sees whether a test notices.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::{self, root, works};
use crate::components;

/// The share of mutants that have to be noticed, percent.
const CAUGHT_MIN: usize = 95;

/// Where what came of them is written, below the target directory.
const OUTPUT: &str = "mutants";

/// Modules that are mutated together, and the tests that are to notice.
struct Part {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
    /// Arguments of `cargo nextest`.
    tests: &'static [&'static str],
}

const PARTS: &[Part] = &[
    Part {
        name: "journal",
        package: "airlock-journal",
        files: &["src/rows.rs", "src/chain.rs", "src/sqlite/writer.rs"],
        tests: &["--lib", "--test", "backends", "--test", "faults"],
    },
    Part {
        name: "audit",
        package: "airlock-journal",
        files: &["src/audit/**"],
        tests: &["--lib", "--test", "audit", "--test", "audit_log"],
    },
    Part {
        name: "gate",
        package: "airlock-sandbox",
        files: &["src/gate.rs", "src/limits.rs", "src/grants/**"],
        tests: &["--lib", "-E", "test(/gate|limits|grants|hostile|coverage/)"],
    },
    Part {
        name: "grants",
        package: "airlock-sandbox",
        files: &["src/capability/*/grant.rs", "src/capability/http/url.rs"],
        tests: &["--lib", "-E", "test(/capability/) & !test(/guest/)"],
    },
    Part {
        name: "access",
        package: "airlock-runtime",
        files: &["src/tokens.rs", "src/principal.rs", "src/grants/reach.rs"],
        tests: &[
            "--lib",
            "--test",
            "runtime",
            "-E",
            "test(/token|reach|policy|grants|principal/)",
        ],
    },
    Part {
        name: "runs",
        package: "airlock-runtime",
        files: &[
            "src/runs/fold.rs",
            "src/runs/spending.rs",
            "src/runs/policy.rs",
            "src/runs/approval.rs",
        ],
        tests: &[
            "--lib",
            "--test",
            "runtime",
            "-E",
            "test(/runs|budgets|bounds|golden/) & !test(/crashing|random|parked/)",
        ],
    },
];

/// The command: all parts, or the one after `--only`.
pub fn run(args: &[String]) -> Result<()> {
    let only = args.iter().position(|arg| arg == "--only");
    let only = only.map(|at| args.get(at + 1).context("--only needs a name"));
    let only = only.transpose()?;
    let parts: Vec<&Part> = PARTS
        .iter()
        .filter(|part| only.is_none_or(|name| part.name == name))
        .collect();
    if parts.is_empty() {
        let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        bail!("there is no such part; there are: {}", names.join(", "));
    }
    if !works("cargo", &["mutants", "--version"]) {
        cargo::run("cargo", &["install", "--locked", "cargo-mutants"])
            .context("installing cargo-mutants")?;
    }
    components::build_all()?;
    let mut survivors = Vec::new();
    for part in parts {
        survivors.extend(part.run()?);
    }
    ensure!(
        survivors.is_empty(),
        "too few noticed: {}",
        survivors.join(", ")
    );
    Ok(())
}

impl Part {
    /// Gives its name where too many survive.
    fn run(&self) -> Result<Option<&'static str>> {
        let output = cargo::target_dir().join(OUTPUT).join(self.name);
        std::fs::create_dir_all(&output)?;
        let mut mutants = cargo::command("cargo");
        mutants
            .args([
                "mutants",
                "--test-tool=nextest",
                "--no-shuffle",
                "--colors=never",
            ])
            .args(["--package", self.package, "--output"])
            .arg(&output);
        for file in self.files {
            let directory = cargo_directory(self.package)?;
            mutants.args(["--file", &format!("{directory}/{file}")]);
        }
        mutants.arg("--").args(self.tests);
        // It ends with failure where some survive: what it writes says how many.
        let status = mutants.status().context("starting cargo mutants")?;
        let written = output.join("mutants.out/outcomes.json");
        let outcomes = std::fs::read(&written)
            .with_context(|| format!("cargo mutants ended with {status} before it began"))?;
        let outcomes: Value = serde_json::from_slice(&outcomes)?;
        Ok((!told(self.name, &outcomes)).then_some(self.name))
    }
}

/// Prints what came of the mutants; whether enough were noticed.
fn told(name: &str, outcomes: &Value) -> bool {
    let (mut caught, mut missed) = (0_usize, 0_usize);
    for outcome in outcomes["outcomes"].as_array().into_iter().flatten() {
        let mutant = &outcome["scenario"]["Mutant"];
        match outcome["summary"].as_str() {
            _ if mutant.is_null() => {}
            Some("CaughtMutant" | "Timeout") => caught += 1,
            Some("MissedMutant") => {
                println!("  survived: {}", mutant["name"].as_str().unwrap_or("?"));
                missed += 1;
            }
            _ => {}
        }
    }
    let all = caught + missed;
    let percent = (caught * 100).checked_div(all).unwrap_or(0);
    println!("{name}: {caught} of {all} noticed ({percent} %, {CAUGHT_MIN} % at least)");
    percent >= CAUGHT_MIN
}

/// Where a package is, from the workspace's root.
fn cargo_directory(package: &str) -> Result<String> {
    let name = package.strip_prefix("airlock-").unwrap_or(package);
    let directory = format!("host/{name}");
    ensure!(
        Path::new(&root()).join(&directory).is_dir(),
        "{directory} is not there"
    );
    Ok(directory)
}
