//! `cargo xtask ci`: everything that has to pass before a merge.

use anyhow::Result;

use crate::cargo::{root, run as cargo_run};
use crate::{advisories, components, test};

/// The command.
pub fn run() -> Result<()> {
    format_check()?;
    cargo_run("cargo", &["deny", "check", "bans", "licenses", "sources"])?;
    advisories::run_if_present()?;
    components::build_all()?;
    let selection = components::workspace()?;
    let mut clippy = vec!["clippy", "--all-targets"];
    clippy.extend(selection.iter().map(String::as_str));
    clippy.extend(["--", "-D", "warnings"]);
    cargo_run("cargo", &clippy)?;
    document()?;
    // The demo, the crash tests and the quick form of the benchmarks are among
    // the tests, so that everything is built once, with one set of features.
    test::run(&[])
}

/// Also of the rooms: a macro declares their modules, so `cargo fmt` does not find
/// them.
fn format_check() -> Result<()> {
    cargo_run("cargo", &["fmt", "--all", "--check"])?;
    const ROOMS: &str = "host/sandbox/src/capability";
    let mut check = vec!["--check".to_owned(), "--edition=2024".to_owned()];
    for entry in std::fs::read_dir(root().join(ROOMS))? {
        let entry = entry?;
        if entry.path().join("mod.rs").is_file() {
            let room = entry.file_name().to_string_lossy().into_owned();
            check.push(format!("{ROOMS}/{room}/mod.rs"));
        }
    }
    anyhow::ensure!(check.len() > 10, "the rooms are not in {ROOMS}");
    let check: Vec<&str> = check.iter().map(String::as_str).collect();
    cargo_run("rustfmt", &check)
}

/// Documentation of the crates people read, with warnings as errors.
fn document() -> Result<()> {
    eprintln!("xtask: cargo doc");
    let status = crate::cargo::command("cargo")
        .args(["doc", "--no-deps", "--quiet"])
        .args([
            "-p",
            "airlock-journal",
            "-p",
            "airlock-sandbox",
            "-p",
            "airlock-runtime",
        ])
        .args([
            "-p",
            "airlock-server",
            "-p",
            "airlock-sdk",
            "-p",
            "airlock-models",
            "-p",
            "airlock-mcp",
        ])
        .env("RUSTDOCFLAGS", "-D warnings")
        .status()?;
    anyhow::ensure!(status.success(), "`cargo doc` failed ({status})");
    Ok(())
}
