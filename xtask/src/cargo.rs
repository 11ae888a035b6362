//! Running cargo and other programs, with a line that says what runs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The target that plugins are built for.
pub const GUEST_TARGET: &str = "wasm32-wasip2";

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The target directory that cargo uses here.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A command in the workspace's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs a program, says so, and fails with its name when it fails.
pub fn run(program: &str, args: &[&str]) -> Result<()> {
    let shown = format!("{program} {}", args.join(" "));
    eprintln!("xtask: {shown}");
    let start = Instant::now();
    let status = command(program)
        .args(args)
        .status()
        .with_context(|| format!("starting `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    eprintln!("xtask: done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Whether a program starts and exits with success.
pub fn works(program: &str, args: &[&str]) -> bool {
    let status = command(program)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Makes sure that the guest target is installed.
pub fn ensure_guest_target() -> Result<()> {
    let output = command("rustc")
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .output()
        .context("starting rustc")?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && libdir.is_dir() {
        return Ok(());
    }
    run("rustup", &["target", "add", GUEST_TARGET])
        .context("installing the target that plugins are built for")
}

/// Value of `--name N` in the arguments, or the default.
pub fn number(args: &[String], name: &str, default: u64) -> Result<u64> {
    let Some(at) = args.iter().position(|arg| arg == name) else {
        return Ok(default);
    };
    let text = args
        .get(at + 1)
        .with_context(|| format!("{name} needs a number"))?;
    text.parse()
        .with_context(|| format!("{name} needs a number, not `{text}`"))
}

/// Whether a flag is among the arguments.
pub fn flag(args: &[String], name: &str) -> bool {
    args.iter().any(|arg| arg == name)
}
