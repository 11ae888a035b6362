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

const COMMANDS: [&str; 20] = [
    "serve",
    "plugin",
    "grant",
    "revoke",
    "grants",
    "rollback",
    "explain",
    "tool",
    "schedules",
    "hooks",
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
}

/// What the server starts is no command, whatever is typed.
#[test]
fn no_text_lists_what_is_not_for_people() {
    for args in [
        &["--help"][..],
        &[],
        &["nonsense"],
        &["__comp"],
        &["--json"],
    ] {
        let output = airlock(args);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            !said.is_empty() && !said.contains("__compile"),
            "{args:?}: {said}"
        );
    }
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
        &["new", "fn"],
        &["new", "self"],
        &["new", "serde-json"],
        &["new", "good", "--into", "/nonexistent"],
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
    let make = ["--data", text, "token", "create", "x", "--role", "viewer"];
    assert_eq!(airlock(&make).status.code(), Some(0));
    assert_eq!(airlock(&list).status.code(), Some(0));
}

#[test]
fn every_subcommand_has_an_example() {
    let groups = [
        "plugin",
        "tool",
        "schedules",
        "hooks",
        "secret",
        "token",
        "audit",
        "views",
    ];
    let mut seen = 0;
    for group in groups {
        let help = text(&[group, "--help"]);
        let commands = help.split("Commands:\n").nth(1).expect("commands");
        let commands = commands.split("\n\n").next().unwrap_or_default();
        let names = commands.lines().filter_map(|line| {
            let name = line.strip_prefix("  ")?.split(' ').next()?;
            (!name.is_empty() && name != "help").then_some(name)
        });
        for name in names {
            let own = text(&[group, name, "--help"]);
            assert!(own.contains("Example"), "{group} {name}: {own}");
            seen += 1;
        }
    }
    assert!(seen >= 29, "{seen} subcommands");
    for command in COMMANDS.iter().filter(|name| !groups.contains(name)) {
        assert!(text(&[command, "--help"]).contains("Example"), "{command}");
    }
}

#[test]
fn an_empty_variable_names_no_server() {
    let place = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_airlock"))
        .args(["token", "create", "x", "--role", "viewer", "--data"])
        .arg(place.path().join("data"))
        .env("AIRLOCK_SERVER", "")
        .output()
        .expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
}
