//! `cargo xtask demo`: builds everything and runs the demo program.

use anyhow::Result;

use crate::cargo::{ensure_guest_target, run as cargo_run};
use crate::{cargo, components};

/// Plugins that the demo installs.
const PLUGINS: [&str; 6] = [
    "fetch",
    "files",
    "table",
    "report",
    "javascript",
    "reconcile",
];

/// The command.
pub fn run(args: &[String]) -> Result<()> {
    ensure_guest_target()?;
    eprintln!("xtask: building the host and the plugins; the first time takes some minutes");
    let names: Vec<String> = PLUGINS
        .iter()
        .map(|name| format!("airlock-plugin-{name}"))
        .collect();
    let mut build = vec![
        "build",
        "--target",
        cargo::GUEST_TARGET,
        "--profile",
        "guest",
    ];
    for name in &names {
        build.extend(["-p", name]);
    }
    cargo_run("cargo", &build)?;
    let mut build = vec!["build", "--bins"];
    let selection = components::workspace()?;
    build.extend(selection.iter().map(String::as_str));
    cargo_run("cargo", &build)?;
    let debug = cargo::target_dir().join("debug");
    let status = cargo::command(debug.join("airlock-demo"))
        .arg("--airlock")
        .arg(debug.join("airlock"))
        .arg("--components")
        .arg(components::dir())
        .args(args)
        .status()?;
    anyhow::ensure!(status.success(), "the demo failed ({status})");
    Ok(())
}
