//! What the binary says about itself.

use std::process::{Command, Output};

fn airlock(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_airlock"))
        .args(args)
        .output()
        .expect("it starts")
}

fn text(args: &[&str]) -> String {
    let output = airlock(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

const COMMANDS: [&str; 18] = [
    "serve",
    "plugin",
    "grant",
    "revoke",
    "grants",
    "rollback",
    "explain",
    "tool",
    "secret",
    "token",
    "audit",
    "views",
    "apply",
    "backup",
    "restore",
    "selftest",
    "new",
    "completions",
];

#[test]
fn every_command_has_help() {
    let help = text(&["--help"]);
    for command in COMMANDS {
        assert!(
            help.contains(&format!("  {command}")),
            "--help does not list {command}"
        );
        let own = text(&[command, "--help"]);
        assert!(
            own.lines().count() > 5,
            "{command} --help says little: {own}"
        );
    }
    assert!(help.contains("Exit codes"));
    assert!(!help.contains("__compile"));
}

#[test]
fn completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&["completions", shell]);
        assert!(script.contains("airlock") && script.len() > 1000, "{shell}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["nonsense"][..],
        &["plugin"],
        &["explain", "a"],
        &["selftest", "--class", "none"],
        &["new", "No Name"],
    ] {
        assert_eq!(airlock(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn directories_that_everybody_can_write_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().expect("a folder");
    let data = place.path().join("data");
    let keys = place.path().join("data-keys");
    let text = data.to_str().expect("UTF-8");
    let list = ["--data", text, "plugin", "list"];
    for directory in [&data, &keys] {
        std::fs::create_dir(directory).expect("a folder");
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(directory, permissions).expect("its mode");
        };
        mode(0o777);
        for args in [&list[..], &["--data", text, "serve"]] {
            let refused = airlock(args);
            let err = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(2), "{args:?}: {err}");
            assert!(err.contains("mode 777") && err.contains("chmod"), "{err}");
        }
        mode(0o700);
    }
    assert_eq!(airlock(&list).status.code(), Some(0));
}
