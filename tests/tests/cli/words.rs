//! What the command line prints, and how it ends, where something is wrong: words
//! of plugins, output that is lost, errors for people and for scripts.

use std::net::TcpListener;
use std::time::Duration;

use airlock::harness::Server;
use airlock_tests::{airlock, component};
use serde_json::Value;

use crate::{Place, path};

/// No word of a plugin reaches the terminal as an instruction to it: the plugin's
/// error names the path that it was asked for.
pub(crate) fn hostile_words(place: &Place) {
    let call = |path: &str| {
        let input = format!(r#"{{"path": "/inbox/{path}"}}"#);
        place.run(&["tool", "call", "files/read", &input])
    };
    for (path, shown) in [
        (r"\u001b[31mred", "\\u{1b}[31mred"),
        (r"\u009b31mred", "\\u{9b}31mred"),
        (r"\u202egnp.exe", "\\u{202e}gnp.exe"),
    ] {
        let ran = call(path);
        assert_ne!(ran.code, 0, "{}", ran.out);
        let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!ran.err.contains(raw), "{path}: {:?}", ran.err);
        assert!(
            ran.err.contains(shown),
            "{path} is not named: {:?}",
            ran.err
        );
    }
    // Outside of what is granted, the path is on record.
    let denied = r#"{"path": "/elsewhere/\u009b31m\u202e.txt"}"#;
    let ran = place.run(&["tool", "call", "files/read", denied]);
    assert_ne!(ran.code, 0, "{}", ran.out);
    let exported = place.ok(&["audit", "export"]);
    let raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!exported.contains(raw), "{exported:?}");
    let mut records = exported.lines().map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
    });
    assert!(
        records.any(|record| {
            let operation = record["detail"]["operation"].as_str().unwrap_or_default();
            operation.starts_with("read /elsewhere/") && operation.contains('\u{202e}')
        }),
        "the path is not on record: {exported}"
    );
}

/// The administrator's token beside a data directory would open everything there
/// to whoever runs another server.
#[test]
fn the_token_beside_a_data_directory_goes_to_its_own_server_alone() {
    let place = Place::new();
    let stranger = TcpListener::bind("127.0.0.1:0").expect("binds");
    stranger.set_nonblocking(true).expect("a listener");
    let address = stranger.local_addr().expect("an address");
    let refused = || {
        let base = format!("http://{address}");
        let ran = place.run(&["--server", &base, "plugin", "list"]);
        assert_eq!(ran.code, 2, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains("no token for"), "{}", ran.err);
        let asked = stranger.accept().map(|_| ());
        let asked = asked.expect_err("it was asked").kind();
        assert_eq!(asked, std::io::ErrorKind::WouldBlock);
    };
    place.ok(&["token", "create", "x", "--role", "viewer"]);
    refused();
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    refused();
    let localhost = server.base().replace("127.0.0.1", "localhost") + "/";
    for own in [server.base(), &localhost] {
        place.ok(&["--server", own, "plugin", "list"]);
    }
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}

/// A body over the limit is refused with its code, not by a broken connection; a
/// large one within it is taken.
pub(crate) fn large_bodies(place: &Place) {
    let big = place.folder.join("big.wasm");
    let file = std::fs::File::create(&big).expect("a file");
    file.set_len(65 << 20).expect("its length");
    let add = place.run(&["plugin", "add", "big", &path(&big)]);
    assert_eq!(add.code, 6, "{}{}", add.out, add.err);
    assert!(add.err.contains("body-too-large"), "{}", add.err);
    assert!(add.err.contains("no setting changes"), "{}", add.err);

    let echo = path(&component("airlock-plugin-echo"));
    place.ok(&["plugin", "add", "echo", &echo]);
    let call = ["tool", "call", "echo/echo", "-"];
    for (bytes, code) in [(900_000, 0), (1_100_000, 6)] {
        let ran = place.run_with(&call, &format!("{{\"a\":\"{}\"}}", "x".repeat(bytes)));
        assert_eq!(ran.code, code, "{bytes}: {}", ran.err);
        let raised = "the limit `input` of `echo`; an administrator can raise it: airlock grant echo --limit input=…";
        for word in ["body-too-large", raised] {
            assert_eq!(ran.err.contains(word), code == 6, "{}", ran.err);
        }
    }
    place.ok(&["plugin", "remove", "echo"]);
}

/// What could not be written is a failure; a reader that went away is none.
pub(crate) fn lost_output(place: &Place) {
    let role = ["token", "create", "lost", "--role", "viewer"];
    let commands: [&[&str]; 6] = [
        &["plugin", "list"],
        &["plugin", "list", "--json"],
        &["tool", "call", "files/read", r#"{"path": "/inbox/a.txt"}"#],
        &role,
        &["audit", "export"],
        &["completions", "bash"],
    ];
    for args in commands {
        let full = std::fs::File::create("/dev/full").expect("the device");
        let output = place.command(args).stdout(full).output().expect("it ends");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {err}");
        assert!(
            err.contains("writing to standard output"),
            "{args:?}: {err}"
        );

        let closed = || std::io::pipe().expect("a pipe").1;
        let mut command = place.command(args);
        let status = command.stdout(closed()).stderr(closed()).status();
        assert_eq!(status.expect("it ends").code(), Some(0), "{args:?}");
    }
}

/// With `--json` an error is a problem on standard output, whoever found it.
pub(crate) fn problems(place: &Place) {
    let policy = place.folder.join("bad.toml");
    std::fs::write(&policy, "plugins = 3").expect("a file");
    let policy = path(&policy);
    let cases: [(&[&str], i32, &str); 11] = [
        (&["plugin", "add", "gone", "gone.wasm"], 1, "failed"),
        (&["apply", "gone.toml"], 1, "failed"),
        (&["apply", &policy], 5, "invalid-policy"),
        (&["revoke", "files", "files", "4"], 2, "usage"),
        (&["revoke", "files", "kv"], 2, "usage"),
        (&["restore", "gone.db", "--data", "elsewhere"], 1, "failed"),
        (&["selftest", "--class", "none"], 2, "usage"),
        (&["new", "No Name"], 2, "usage"),
        (&["nonsense"], 2, "usage"),
        (&["tool", "call", "files/read", "{"], 2, "usage"),
        (&["tool", "call", "files/read", "[]"], 5, "invalid-input"),
    ];
    for (args, exit, code) in cases {
        let ran = place.run(&[args, &["--json"]].concat());
        assert_eq!(ran.code, exit, "{args:?}: {}{}", ran.out, ran.err);
        let problem: Value = serde_json::from_str(&ran.out)
            .unwrap_or_else(|_| panic!("{args:?}: {}{}", ran.out, ran.err));
        assert_eq!(problem["code"], code, "{args:?}: {problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(
            !detail.is_empty() && ran.err.is_empty(),
            "{args:?}: {}",
            ran.err
        );
    }
}
