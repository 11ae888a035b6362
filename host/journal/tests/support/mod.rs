//! Running the crash writer and checker, which are examples of this crate.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Builds the examples like this test was built, and returns where they are.
pub fn examples() -> PathBuf {
    let exe = std::env::current_exe().expect("our own path");
    let profile_dir = exe
        .ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>");
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--examples", "--profile", profile])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(profile_dir.parent().expect("the target directory"))
        .status()
        .expect("cargo");
    assert!(built.success(), "the examples must build");
    profile_dir.join("examples")
}

/// The last step that a writer's output acknowledges in a whole line.
pub fn last_ack(output: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(output).expect("text");
    let (whole, _) = text.rsplit_once('\n')?;
    let last = whole.lines().next_back()?;
    Some(
        last.strip_prefix("ack ")
            .expect("an acknowledgement")
            .parse()
            .expect("a step"),
    )
}

/// Checks a directory and returns the step it is at after the checker's own.
pub fn check(examples: &Path, dir: &Path, acked: u64, in_flight: u64) -> Result<u64, String> {
    let output: Output = Command::new(examples.join("crash_check"))
        .arg(dir)
        .args([acked.to_string(), in_flight.to_string()])
        .output()
        .expect("the checker");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match text.strip_prefix("OK ") {
        Some(step) if output.status.success() => Ok(step.parse().expect("a step")),
        _ => Err(format!(
            "{text} {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
