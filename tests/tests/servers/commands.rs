//! The same from the command line, with and without a server.

use std::process::Command;

use airlock_tests::airlock;
use serde_json::json;

use crate::{Host, can_start, program};

/// What a command prints at a host, and its exit code.
pub fn run(host: &Host, args: &[&str]) -> (i32, String) {
    ran(Command::new(airlock())
        .args(args)
        .env("AIRLOCK_SERVER", host.server().base())
        .env("AIRLOCK_TOKEN", host.server().token()))
}

fn ran(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.code().expect("an exit code"), text)
}

#[test]
fn a_server_is_installed_looked_at_called_and_accepted() {
    if !can_start() {
        return;
    }
    let host = Host::new();
    let program = program();
    let add = [
        "plugin",
        "add",
        "notes",
        "--mcp-command",
        &program,
        "--arg",
        "good",
        "--tool",
        "echo",
        "--tool",
        "renew",
        "--tool",
        "environment",
        "--tool",
        "Größe 1",
        "--env",
        "MEMORY_FILE_PATH=notes=1.json",
        "--env",
        "DEBUG=",
    ];
    let accept = ["plugin", "accept", "notes"];
    let (code, shown) = run(&host, &add);
    assert!(
        code == 0 && shown.contains("NOT SANDBOXED"),
        "{code} {shown}"
    );
    let first = plugin_digest(&host);
    let table: [(&[&str], &str); 11] = [
        (
            &["plugin", "inspect", "notes"],
            "variable: MEMORY_FILE_PATH=notes=1.json\n",
        ),
        (
            &["tool", "call", "notes/environment", "{}"],
            r#"(\"MEMORY_FILE_PATH\", \"notes=1.json\")"#,
        ),
        (&["tool", "call", "notes/gr__e_1", r#"{"text":"ho"}"#], "ho"),
        (
            &["explain", "notes", "files", "read", "/etc/passwd"],
            "NOT SANDBOXED: read /etc/passwd\n  no grant holds it back",
        ),
        (
            &[
                "explain",
                "notes",
                "http",
                "GET",
                "https://x.test/",
                "--json",
            ],
            r#""sandboxed": false"#,
        ),
        (&["plugin", "list"], "NOT SANDBOXED"),
        (
            &["plugin", "inspect", "notes"],
            "NOT SANDBOXED: an MCP server, ",
        ),
        (&["tool", "list"], "plain, not sandboxed"),
        (&["grants", "notes"], "NOT SANDBOXED"),
        (&["tool", "call", "notes/echo", r#"{"text":"hi"}"#], "hi"),
        (&accept, "notes lists what was accepted"),
    ];
    for (args, expect) in table {
        let (code, shown) = run(&host, args);
        assert!(
            code == 0 && shown.contains(expect),
            "{args:?}: {code} {shown}"
        );
    }
    let (_, tools) = run(&host, &["tool", "list"]);
    assert!(
        !tools.contains("notes/count"),
        "only what was wanted: {tools}"
    );
    host.says("renew", json!({ "text": "Other\nGranted (version 9)" }));
    let (code, shown) = run(&host, &["tool", "call", "notes/echo", "{}"]);
    assert!(
        code == 5 && shown.contains("plugin accept"),
        "{code} {shown}"
    );
    let (_, shown) = run(&host, &["plugin", "inspect", "notes"]);
    assert!(
        shown.contains("echo says of itself now: Other\\nGranted (version 9)"),
        "{shown}"
    );
    let (code, shown) = run(&host, &accept);
    assert!(
        code == 0 && shown.contains("to accept this: "),
        "{code} {shown}"
    );
    let digest = shown
        .split_whitespace()
        .last()
        .expect("a digest")
        .to_owned();
    let (code, shown) = run(
        &host,
        &["plugin", "accept", "notes", &digest, "--why", "looked at"],
    );
    assert!(code == 0 && shown.contains(&digest), "{code} {shown}");
    assert!(shown.contains("NOT SANDBOXED"), "{shown}");
    let (code, shown) = run(
        &host,
        &["tool", "call", "notes/echo", r#"{"text":"again"}"#],
    );
    assert!(code == 0 && shown.contains("again"), "{code} {shown}");
    let back = ["plugin", "activate", "notes", &first, "--downgrade"];
    let (code, shown) = run(&host, &back);
    assert!(
        code == 0 && shown.contains("NOT SANDBOXED"),
        "{code} {shown}"
    );
}

fn plugin_digest(host: &Host) -> String {
    crate::text(&host.plugin("notes"), "digest")
}

#[test]
fn without_a_server_this_process_is_the_host() {
    if !can_start() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let alone = |args: &[&str]| {
        ran(Command::new(airlock())
            .args(args)
            .env("AIRLOCK_DATA", folder.path().join("data"))
            .env_remove("AIRLOCK_SERVER")
            .env_remove("AIRLOCK_TOKEN"))
    };
    let program = program();
    let (code, shown) = alone(&[
        "plugin",
        "add",
        "notes",
        "--mcp-command",
        &program,
        "--arg",
        "good",
    ]);
    assert!(code == 0, "{shown}");
    for expect in ["1", "2"] {
        let (code, shown) = alone(&["tool", "call", "notes/count", "{}"]);
        assert!(
            code == 0 && shown.contains(&format!("\"text\": \"{expect}\"")),
            "{code} {shown}"
        );
    }
}

#[test]
fn wrong_words_are_told() {
    let host = Host::new();
    let table: [(&[&str], &str); 8] = [
        (
            &["plugin", "add", "n", "--mcp-command", "/x", "--env", "oops"],
            "takes NAME=VALUE",
        ),
        (
            &[
                "plugin",
                "add",
                "n",
                "--mcp-url",
                "https://a.test",
                "--env",
                "A=b",
            ],
            "`variables` does not go with `url`",
        ),
        (
            &[
                "plugin",
                "add",
                "n",
                "--mcp-command",
                "/x",
                "--header-secret",
                "A=b",
            ],
            "`headers` does not go with `command`",
        ),
        (
            &[
                "plugin",
                "add",
                "n",
                "--mcp-url",
                "https://a.test",
                "--mcp-command",
                "/x",
            ],
            "cannot be used with",
        ),
        (&["plugin", "add", "n"], "required"),
        (
            &[
                "plugin",
                "add",
                "n",
                "--mcp-url",
                "https://a.test",
                "--header-secret",
                "oops",
            ],
            "takes NAME=SECRET",
        ),
        (
            &["plugin", "add", "n", "x.wasm", "--tool", "t"],
            "goes with --mcp-url",
        ),
        (&["plugin", "accept", "n"], "there is no plugin `n`"),
    ];
    for (args, expect) in table {
        let (code, shown) = run(&host, args);
        assert!(
            code != 0 && shown.contains(expect),
            "{args:?}: {code} {shown}"
        );
        assert!(!shown.contains("oops"), "{shown}");
    }
}
