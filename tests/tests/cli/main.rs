//! The command line as a person or a script uses it, once over a data directory
//! that no server owns and once against a server.

mod agents;
mod backfill;
mod held;
mod log;
mod memory;
mod models;
mod new;
mod newcomer;
mod places;
mod rules;
mod words;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use airlock::harness::Server;
use airlock_tests::{airlock, component};
use serde_json::Value;

use log::{asked_log, host_log};
use newcomer::{roles, stumbles};
use places::{no_data, stale_note};
use rules::{at_once, classes, duplicates, earlier_versions, wrong_rules};
use words::{hostile_words, large_bodies, lost_output, problems};

/// The result of one command.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// A data directory and the commands on it.
struct Place {
    _folder: tempfile::TempDir,
    folder: PathBuf,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_path_buf();
        Self {
            data: path.join("data"),
            folder: path,
            _folder: folder,
        }
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(airlock());
        command
            .args(args)
            .env("AIRLOCK_DATA", &self.data)
            .env_remove("AIRLOCK_TOKEN")
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        std::io::Write::write_all(&mut child.stdin.take().expect("stdin"), stdin.as_bytes()).ok();
        let output = child.wait_with_output().expect("it ends");
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that must succeed and returns what it printed.
    fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs a line as a person types it, in a plugin's folder, with another target
    /// directory.
    fn shell(&self, folder: &Path, target: &Path, line: &str) -> String {
        let binaries = airlock().parent().expect("a folder").to_path_buf();
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::iter::once(binaries).chain(std::env::split_paths(&paths));
        let output = Command::new("sh")
            .args([
                "-c",
                &line.replace(" target/", &format!(" {}/", target.display())),
            ])
            .current_dir(folder)
            .env("PATH", std::env::join_paths(paths).expect("paths"))
            .env("CARGO_TARGET_DIR", target)
            .env("AIRLOCK_DATA", &self.data)
            .env_remove("AIRLOCK_TOKEN")
            .output()
            .expect("it starts");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {out}{err}");
        out
    }

    fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{args:?} printed no JSON: {text}"))
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// What a newcomer does, command by command.
fn walk(place: &Place) {
    let files = path(&component("airlock-plugin-files"));
    let inbox = place.folder.join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    std::fs::write(inbox.join("a.txt"), "hello").expect("a file");

    assert!(
        place
            .ok(&["plugin", "add", "files", &files])
            .contains("installed files sha256:")
    );
    let inspected = place.ok(&["plugin", "inspect", "files"]);
    assert!(
        inspected.contains("It asks for") && inspected.contains("because"),
        "{inspected}"
    );

    let call = ["tool", "call", "files/read", r#"{"path": "/inbox/a.txt"}"#];
    let refused = place.run(&call);
    assert_eq!(
        refused.code, 3,
        "without a grant: {}{}",
        refused.out, refused.err
    );
    assert!(
        refused.err.contains("denied") && refused.err.contains("airlock plugin inspect files"),
        "{}",
        refused.err
    );

    let grant = format!(
        "files = [{{ host = \"{}\", guest = \"/inbox\", access = \"read\" }}]",
        path(&inbox)
    );
    place.ok(&["grant", "files", &grant, "--why", "to read the inbox"]);
    assert!(place.ok(&call).contains("hello"));

    assert!(
        place
            .ok(&["explain", "files", "files", "read", "/inbox/a.txt"])
            .starts_with("allowed")
    );
    let denied = place.run(&["explain", "files", "files", "write", "/inbox/a.txt"]);
    assert_eq!(
        (denied.code, denied.out.starts_with("denied")),
        (3, true),
        "{}",
        denied.out
    );

    place.ok(&["revoke", "files", "files", "0"]);
    assert_eq!(place.run(&call).code, 3);
    place.ok(&["rollback", "files", "--why", "it was needed"]);
    assert!(place.ok(&call).contains("hello"));
    let history = place.json(&["grants", "files", "--history"]);
    assert!(
        history["versions"]
            .as_array()
            .is_some_and(|versions| versions.len() == 3),
        "{history}"
    );
}

fn administration(place: &Place) {
    let secret = place.run_with(&["secret", "set", "api-key"], "s3cr3t-value\n");
    assert_eq!(secret.code, 0, "{}", secret.err);
    let listed = place.ok(&["secret", "list"]);
    assert!(
        listed.contains("api-key") && !listed.contains("s3cr3t"),
        "{listed}"
    );
    place.ok(&["secret", "remove", "api-key"]);

    let token = place.json(&[
        "token",
        "create",
        "billing",
        "--role",
        "caller",
        "--plugin",
        "files",
        "--expires",
        "90d",
    ]);
    let id = token["view"]["id"].as_str().expect("an id");
    assert!(place.ok(&["token", "list"]).contains("billing"));
    place.ok(&["token", "revoke", id]);

    let policy = place.folder.join("policy.toml");
    let echo = path(&component("airlock-plugin-echo"));
    std::fs::write(
        &policy,
        format!("[plugins.echo]\nsource = \"{echo}\"\n[plugins.echo.limits]\ncpu = \"200ms\"\n"),
    )
    .expect("a file");
    let shown = place.ok(&["apply", &path(&policy)]);
    assert!(
        shown.contains("not applied") && shown.contains("echo"),
        "{shown}"
    );
    place.ok(&["apply", &path(&policy), "--yes"]);
    assert!(
        place
            .ok(&["apply", &path(&policy)])
            .contains("nothing to change")
    );
    assert!(
        place
            .ok(&["tool", "call", "echo/echo", r#"{"a": 1}"#])
            .contains("\"a\": 1")
    );

    assert!(place.ok(&["audit", "list"]).contains("call.done"));
    let listed = place.json(&["audit", "list"]);
    let records = listed["records"].as_array().expect("records");
    let numbers: Vec<_> = records
        .iter()
        .map(|record| record["seq"].as_u64())
        .collect();
    assert!(
        numbers.len() > 10 && numbers.is_sorted(),
        "newest last, as in text: {numbers:?}"
    );
    let verified = place.json(&["audit", "verify"]);
    assert_eq!(verified["ok"], true, "{verified}");
    let head = verified["head"].as_str().expect("a signed head");
    place.ok(&["audit", "verify", "--head", head]);
    let foreign = place.run(&["audit", "verify", "--head", &foreign_head()]);
    assert_eq!(foreign.code, 9);
    assert!(
        foreign.out.contains("the given head is not authentic"),
        "{}",
        foreign.out
    );
    assert!(!foreign.out.contains("was changed"), "{}", foreign.out);
    let verify = ["audit", "verify", "--json", "--head", &foreign_head()];
    let report: Value = serde_json::from_str(&place.run(&verify).out).expect("one JSON");
    assert_eq!(report["findings"][0]["code"], "head-not-authentic");
    assert_ne!(
        place.run(&["audit", "verify", "--head", "nonsense"]).code,
        0
    );
    assert!(place.ok(&["audit", "export"]).lines().count() > 10);
    place.ok(&["views", "rebuild"]);
    assert!(place.ok(&["views", "usage"]).contains("files"));
    assert!(place.ok(&["views", "stats"]).contains("echo"));
    assert!(place.ok(&["views", "calls"]).contains("files/read"));
    place.ok(&["plugin", "remove", "echo"]);
}

/// A policy is checked as a whole, components and all, before any of it holds.
fn policies(place: &Place) {
    let file = place.folder.join("whole.toml");
    let apply = |text: &str, yes: bool| {
        std::fs::write(&file, text).expect("a file");
        let file = path(&file);
        let args = ["apply", &file, "--yes"];
        place.run(&args[..if yes { 3 } else { 2 }])
    };
    let (echo, keeper) = (
        path(&component("airlock-plugin-echo")),
        path(&component("keeper")),
    );
    let junk = place.folder.join("junk.wasm");
    std::fs::write(&junk, "not a component").expect("a file");
    let nothing = format!("sha256:{}", "0".repeat(64));
    let source = |name: &str, source: &str| format!("[plugins.{name}]\nsource = \"{source}\"\n");
    let good = source("n1", &echo);
    let bad = [
        (source("n2", &path(&junk)), "component-invalid", "n2"),
        (
            format!("{}digest = \"{nothing}\"\n", source("n3", &echo)),
            "digest-mismatch",
            "n3",
        ),
        (
            format!("[plugins.n4]\ndigest = \"{nothing}\"\n"),
            "component-not-installed",
            "n4",
        ),
    ];
    for (text, code, name) in &bad {
        for yes in [false, true] {
            let ran = apply(&format!("{good}{text}"), yes);
            assert_eq!(ran.code, 5, "{name}: {}{}", ran.out, ran.err);
            assert!(ran.err.contains(code), "{name}: {}", ran.err);
            assert!(ran.err.contains(name), "{name}: {}", ran.err);
            assert_eq!(place.run(&["plugin", "inspect", "n1"]).code, 4, "{name}");
        }
    }

    // Another file under `source` is another version.
    assert_eq!(apply(&good, true).code, 0);
    let digest = || place.json(&["plugin", "inspect", "n1"])["digest"].clone();
    let (before, other) = (digest(), source("n1", &keeper));
    let shown = apply(&other, false);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let before_text = before.as_str().expect("a digest");
    assert!(
        shown.out.contains(&format!("{before_text} -> sha256:")),
        "{}",
        shown.out
    );
    assert!(shown.out.contains("new tools: "), "{}", shown.out);
    assert_eq!(digest(), before, "it was only compared");
    let applied = apply(&other, true);
    assert_eq!(applied.code, 0, "{}", applied.err);
    assert_ne!(digest(), before);
    assert!(apply(&other, true).out.contains("nothing to change"));
    // An earlier one is gone back to when it is asked for.
    let shown = apply(&good, false);
    assert!(
        shown.out.contains("was installed before it") && shown.out.contains("--yes --downgrade"),
        "{}",
        shown.out
    );
    let refused = apply(&good, true);
    assert_eq!(refused.code, 2, "{}", refused.out);
    assert!(refused.err.contains("add --downgrade"), "{}", refused.err);
    assert_ne!(digest(), before);
    place.ok(&["apply", &path(&file), "--yes", "--downgrade"]);
    assert_eq!(digest(), before);
    place.ok(&["plugin", "remove", "n1"]);
}

/// Another version waits until it is activated, and going back is asked for.
fn versions(place: &Place) {
    let (echo, keeper) = (
        path(&component("airlock-plugin-echo")),
        path(&component("keeper")),
    );
    let digest = || place.json(&["plugin", "inspect", "two"])["digest"].clone();
    place.ok(&["plugin", "add", "two", &echo]);
    let first = digest();
    let added = place.ok(&["plugin", "add", "two", &keeper]);
    assert!(
        added.contains("not active yet: airlock plugin activate two"),
        "{added}"
    );
    assert_eq!(digest(), first, "it is installed beside it");
    place.ok(&["plugin", "add", "two", &keeper, "--activate"]);
    let second = digest();
    assert_ne!(second, first);
    let first_text = first.as_str().expect("a digest");
    for back in [
        &["plugin", "activate", "two", first_text][..],
        &["plugin", "add", "two", &echo, "--activate"],
    ] {
        let refused = place.run(back);
        assert_eq!(refused.code, 5, "{back:?}: {}", refused.err);
        assert!(
            refused.err.contains("[downgrade]"),
            "{back:?}: {}",
            refused.err
        );
        assert_eq!(digest(), second, "{back:?}");
    }
    place.ok(&["plugin", "activate", "two", first_text, "--downgrade"]);
    assert_eq!(digest(), first);
    place.ok(&["plugin", "remove", "two"]);
}

/// The head of another audit, whose signature is as good.
fn foreign_head() -> String {
    let other = Place::new();
    other.ok(&["token", "create", "other", "--role", "viewer"]);
    let verified = other.json(&["audit", "verify"]);
    verified["head"].as_str().expect("a signed head").to_owned()
}

/// A configuration that can't be used says which file.
fn configuration(place: &Place) {
    let config = place.folder.join("other.toml");
    let missing = place.folder.join("missing.pem");
    std::fs::write(&config, format!("ca_file = \"{}\"", path(&missing))).expect("a file");
    let ran = place.run(&["plugin", "list", "--config", &path(&config)]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(
        ran.err.contains("certificates in") && ran.err.contains("missing.pem"),
        "{}",
        ran.err
    );
}

/// A tool's progress is shown to whoever asks.
fn progress(place: &Place) {
    let prober = path(&component("evil-prober"));
    place.ok(&["plugin", "add", "prober", &prober]);
    let call = ["tool", "call", "prober/flood_progress", r#"{"amount": 5}"#];
    let quiet = place.run(&call);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, ""), "{}", quiet.out);
    let shown = place.run(&[&call[..], &["--progress"]].concat());
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(shown.out, quiet.out);
    let last = shown.err.lines().last().unwrap_or_default();
    assert_eq!(last, "4 still at it", "{}", shown.err);
    let failed = place.run(&["tool", "call", "prober/nothing", "--progress"]);
    assert_eq!(failed.code, 4, "{}", failed.err);
    let failed = place.run(&["tool", "call", "prober/flood_progress", "[]", "--progress"]);
    assert_eq!(failed.code, 5, "{}", failed.err);
    place.ok(&["plugin", "remove", "prober"]);
}

/// What a plugin kept goes with it, unless it is told to stay.
fn removal(place: &Place) {
    let keeper = path(&component("keeper"));
    let kept = "kv = [{ bucket = \"kept\" }]";
    let install = || {
        place.ok(&["plugin", "add", "keeper", &keeper]);
        place.ok(&["grant", "keeper", kept]);
        place.json(&["tool", "call", "keeper/get", r#"{"key": "k"}"#])["output"]["value"].clone()
    };
    assert_eq!(install(), Value::Null);
    let put = [
        "tool",
        "call",
        "keeper/put",
        r#"{"key": "k", "value": "v"}"#,
    ];
    place.ok(&put);
    let kept = place.ok(&["plugin", "remove", "keeper", "--keep-data"]);
    assert!(kept.contains("stays"), "{kept}");
    assert_eq!(install(), "v", "it was kept");
    let erased = place.ok(&["plugin", "remove", "keeper", "--why", "no longer needed"]);
    assert!(erased.contains("erased 2 pairs"), "{erased}");
    assert_eq!(install(), Value::Null, "it was erased");
    place.ok(&["plugin", "remove", "keeper"]);
    assert_eq!(place.run(&["plugin", "remove", "keeper"]).code, 4);
}

/// Wrong input, with the exit code scripts see and a word the text must say.
fn mistakes(place: &Place) {
    let broken = place.folder.join("broken.wasm");
    std::fs::write(&broken, "not a component").expect("a file");
    let broken = path(&broken);
    let cases: [(&[&str], i32, &str); 12] = [
        (&["tool", "call", "nobody/nothing", "{}"], 4, "nobody"),
        (&["tool", "call", "files/read", "{"], 2, "JSON"),
        (
            &["tool", "call", "files/raed", "{}"],
            4,
            "did you mean `read`?",
        ),
        (&["tool", "call", "files", "{}"], 2, "PLUGIN/TOOL"),
        (&["tool", "call", "files", "read", "{}"], 2, "PLUGIN/TOOL"),
        (&["tool", "call", "files/read", r#"{"path": 1}"#], 5, "path"),
        (&["plugin", "add", "broken", &broken], 5, "component"),
        (&["plugin", "add", "Broken Name", &broken], 5, "name"),
        (&["grant", "files", "file = []"], 5, "file"),
        (&["explain", "files", "flies", "read", "/x"], 5, "flies"),
        (&["plugin", "inspect", "nobody"], 4, "nobody"),
        (
            &["plugin", "list", "--server", "127.0.0.1:7480"],
            2,
            "http://127.0.0.1:7480",
        ),
    ];
    for (args, code, word) in cases {
        let ran = place.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert!(
            ran.err.contains(word),
            "{args:?} does not say `{word}`: {}",
            ran.err
        );
        assert!(!ran.err.contains("panicked"), "{args:?}: {}", ran.err);
    }
}

#[test]
fn without_a_server() {
    let place = Place::new();
    no_data(&place);
    walk(&place);
    stumbles(&place);
    hostile_words(&place);
    large_bodies(&place);
    lost_output(&place);
    problems(&place);
    administration(&place);
    stale_note(&place);
    policies(&place);
    versions(&place);
    removal(&place);
    progress(&place);
    asked_log(&place);
    host_log(&place);
    duplicates(&place);
    classes(&place);
    wrong_rules(&place);
    earlier_versions(&place);
    configuration(&place);
    mistakes(&place);
}

#[test]
fn with_a_server() {
    let place = Place::new();
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    assert!(
        place
            .ok(&["plugin", "list"])
            .contains("no plugin is installed")
    );
    walk(&place);
    stumbles(&place);
    roles(&place);
    hostile_words(&place);
    large_bodies(&place);
    lost_output(&place);
    problems(&place);
    administration(&place);
    removal(&place);
    progress(&place);
    asked_log(&place);
    duplicates(&place);
    at_once(&place);
    mistakes(&place);
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_ne!(second.code, 0);
    assert!(
        second.err.contains("in use"),
        "a second server: {}",
        second.err
    );
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
    // Stopping signed a checkpoint over everything.
    let verified = place.json(&["audit", "verify"]);
    assert_eq!(
        (&verified["ok"], &verified["unsigned"]),
        (&true.into(), &1.into())
    );
    let head = verified["head"].as_str().expect("a signed head").to_owned();
    let server = Server::start(&airlock(), &place.data, &[]).expect("it starts again");
    place.ok(&["audit", "verify", "--head", &head]);
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}
