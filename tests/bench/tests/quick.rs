//! The benchmarks still run; what they measure in this form means nothing.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn the_quick_form_runs() {
    let bench = PathBuf::from(env!("CARGO_BIN_EXE_airlock-bench"));
    let profile = bench.parent().expect("a folder");
    let components = profile
        .parent()
        .expect("the target directory")
        .join("wasm32-wasip2/guest");
    let output = Command::new(&bench)
        .arg("--airlock")
        .arg(profile.join("airlock"))
        .arg("--components")
        .arg(&components)
        .arg("--quick")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "== calls",
        "== rooms",
        "== http",
        "== spawn",
        "== neighbours",
        "== growth",
        "ratio:",
        "== mcp",
        "== models",
        "through the host",
        "== react",
        "react adds",
        "== memory",
        "== runs-steps",
        "a run of one step",
        "== runs-replay",
        "== runs-length",
        "== runs-stored",
        "runs in the store",
        "as it should",
        "== runs-parked",
        "timers due at one moment",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}
