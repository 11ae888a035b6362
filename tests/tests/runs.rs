//! Runs of agents in the real server: killed at random moments, and followed
//! from the command line. `AIRLOCK_KILL_ROUNDS` sets how often it is killed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use airlock::client::{Api, Request};
use airlock::commands::install;
use airlock::harness::Server;
use airlock_tests::{airlock, component};
use serde_json::{Value, json};

/// Runs that are started before each kill.
const RUNS: usize = 10;

/// Calls of `keeper/add`, which may not be repeated, in each run.
const ADDS: u64 = 4;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(120);

fn rounds() -> usize {
    let set = std::env::var("AIRLOCK_KILL_ROUNDS").ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(5)
}

fn set_up(data: &Path) -> Server {
    let server = Server::start(&airlock(), data, &[]).expect("the server starts");
    let api = server.api();
    for (name, package) in [("keeper", "keeper"), ("prober", "agent-prober")] {
        let bytes = std::fs::read(component(package)).expect("a component");
        install(&api, name, bytes, None).expect("installed");
    }
    let kept = json!({
        "grants": {
            "kv": [{ "bucket": "kept", "bytes": "100MiB", "keys": 1_000_000 }],
            "effects": { "put": "idempotent", "get": "read-only", "add": "plain" },
        },
        "limits": { "wall": "30s", "concurrency": 64 },
    });
    grant(&api, "keeper", &kept);
    let tools = json!({ "grants": { "tools": [{ "tool": "keeper/*" }] } });
    grant(&api, "prober", &tools);
    server
}

fn grant(api: &Api, plugin: &str, grants: &Value) {
    let path = format!("/v1/plugins/{plugin}/grants");
    api.ok(&Request::json("PUT", &path, grants))
        .expect("granted");
}

fn start(api: &Api, steps: &Value) -> String {
    let body = json!({ "agent": "prober", "goal": "test", "input": { "steps": steps } });
    let run: Value = api
        .value(&Request::json("POST", "/v1/runs", &body))
        .expect("started");
    run["id"].as_str().expect("an id").to_owned()
}

fn show(api: &Api, id: &str) -> Value {
    api.get(&format!("/v1/runs/{id}")).expect("a run")
}

/// Settles what a crash left open, as an operator would who can't look: a call
/// that may have happened is not made again.
fn settle(api: &Api, id: &str) -> u64 {
    let run = show(api, id);
    let Some(request) = run["blocked"]["id"].as_u64() else {
        assert!(run.get("blocked").is_none(), "{run}");
        return 0;
    };
    let body = json!({ "request": request, "outcome": "fail" });
    let path = format!("/v1/runs/{id}/resume");
    u64::from(api.ok(&Request::json("POST", &path, &body)).is_ok())
}

/// Whether the run has ended; then, how many of its calls of `keeper/add` it
/// knows to have happened.
fn ended(api: &Api, id: &str) -> Option<u64> {
    let run = show(api, id);
    let end = run.get("end")?;
    assert_eq!(end["state"], "succeeded", "{run}");
    let page = api.get(&format!("/v1/runs/{id}/events?limit=1000"));
    let events = page.expect("events")["events"].clone();
    let events = events.as_array().expect("a list").clone();
    let adds: Vec<&Value> = events
        .iter()
        .filter(|event| event["request"]["tool"] == "keeper/add")
        .map(|event| &event["id"])
        .collect();
    assert_eq!(adds.len() as u64, ADDS, "each call is asked for once");
    let answered = events.iter().filter(|event| {
        event["event"] == "answered"
            && adds.contains(&&event["id"])
            && event["answer"].get("ok").is_some()
    });
    Some(answered.count() as u64)
}

#[test]
fn runs_survive_kills_and_repeat_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut server = set_up(&data);
    let add = json!({ "call": { "tool": "keeper/add", "input": {} } });
    let put = json!({ "call": { "tool": "keeper/put", "input": { "key": "k", "value": "v" } } });
    let steps = json!([
        { "look": {} }, add, put, { "sleep": { "ms": 60 } },
        { "join": [add, put, { "sleep": { "ms": 40 } }] },
        { "repeat": { "times": 2, "steps": [put, add, { "std-sleep": { "ms": 30 } }] } },
    ]);
    let mut runs = Vec::new();
    let mut unknown = 0;
    for round in 0..rounds() {
        // New ones each time, so that every kill meets runs under way.
        runs.extend((0..RUNS).map(|_| start(&server.api(), &steps)));
        std::thread::sleep(Duration::from_millis(37 * (round as u64 % 11) + 20));
        server.kill().expect("killed");
        server = Server::start(&airlock(), &data, &[]).expect("it starts again");
        let newest = runs.len() - RUNS;
        for id in &runs[newest..] {
            unknown += settle(&server.api(), id);
        }
    }
    let api = server.api();
    let begun = Instant::now();
    let mut known = 0;
    for id in &runs {
        known += loop {
            unknown += settle(&api, id);
            if let Some(adds) = ended(&api, id) {
                break adds;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", show(&api, id));
            std::thread::sleep(Duration::from_millis(20));
        };
    }
    let read = Request::json("POST", "/v1/tools/keeper/get", &json!({ "key": "added" }));
    let read: Value = api.value(&read).expect("a reply");
    let count = read["output"]["value"]
        .as_str()
        .expect("a count")
        .parse::<u64>();
    let count = count.expect("a number");
    assert_eq!(
        known + unknown,
        runs.len() as u64 * ADDS,
        "each call has one end"
    );
    assert!(
        (known..=known + unknown).contains(&count),
        "{count} effects; {known} are known and {unknown} may be"
    );
    let report = Request::json("POST", "/v1/audit/verify", &json!({}));
    let report: Value = api.value(&report).expect("verify");
    assert_eq!(report["ok"], true, "{report}");
}

/// What a command prints, and its exit code.
fn command(server: &Server, args: &[&str]) -> (String, i32) {
    let output = Command::new(airlock())
        .args(args)
        .env("AIRLOCK_SERVER", server.base())
        .env("AIRLOCK_TOKEN", server.token())
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (text, output.status.code().expect("an exit code"))
}

#[test]
fn a_run_is_started_followed_and_decided_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = set_up(&dir.path().join("data"));
    let input = r#"{"steps":[{"tell":{"text":"half\u001b[31m"}},
        {"ask":{"text":"send it?","choices":["yes","no"]}},{"signal":{"name":"go"}}]}"#;
    let run = [
        "run", "prober", "--goal", "send", "--input", input, "--follow",
    ];
    let (text, code) = command(&server, &run);
    assert_eq!(code, 10, "{text}");
    assert!(text.contains("send it?") && text.contains("half"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let id = text.lines().next().expect("the id").to_owned();
    let question = format!("{id}.0");
    assert!(text.contains("used 0 of 10000 calls"), "{text}");
    assert!(text.contains("plan [doing] half"), "{text}");
    assert!(text.trim_end().ends_with(&question), "{text}");

    let (text, _) = command(&server, &["approvals", "list"]);
    assert!(text.contains("yes|no   approver"), "{text}");
    let (text, code) = command(&server, &["approvals", "show", &question]);
    assert!(code == 0 && text.contains("send it?"), "{code} {text}");
    let (text, code) = command(&server, &["approvals", "approve", &question]);
    assert!(
        code != 0 && text.contains("one of `yes`, `no`"),
        "{code} {text}"
    );
    let (text, code) = command(&server, &["approvals", "decide", &question, "perhaps"]);
    assert!(
        code != 0 && text.contains("one of `yes`, `no`"),
        "{code} {text}"
    );
    let (text, code) = command(&server, &["approvals", "decide", &question, "yes"]);
    assert_eq!(code, 0, "{text}");
    let (text, code) = command(&server, &["runs", "pause", &id]);
    assert_eq!((text.trim(), code), ("paused", 0));
    let (text, code) = command(&server, &["runs", "resume", &id]);
    assert_eq!(code, 0, "{text}");
    let (text, code) = command(&server, &["signal", &id, "go", r#"{"n":1}"#]);
    assert_eq!(code, 0, "{text}");
    // Until it has ended.
    let (text, code) = command(&server, &["runs", "events", &id, "--follow"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("#1 → {\"n\":1}"), "{text}");
    let (text, _) = command(&server, &["runs", "events", &id, "--follow", "--json"]);
    let (page, _) = command(&server, &["runs", "events", &id, "--json"]);
    assert_eq!(text, page, "a line for each record");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.last().expect("one")["event"], "ended");

    let (text, _) = command(&server, &["runs", "show", &id]);
    for part in [
        "plan      [doing] half",
        "#0 ? send it? [yes | no]",
        "→ yes by admin",
        "#1 waits for the signal `go`",
        "succeeded: {\"goal\":\"send\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (text, _) = command(&server, &["runs", "list"]);
    assert!(text.contains(&id) && text.contains("succeeded"), "{text}");
    let (text, code) = command(&server, &["runs", "cancel", &id]);
    assert!(code != 0 && text.contains("has ended"), "{code} {text}");
    let (text, code) = command(&server, &["run", "keeper"]);
    assert!(code != 0 && text.contains("not an agent"), "{code} {text}");
}

/// A secret that the command line shows, and where it is not.
#[test]
fn schedules_and_webhooks_are_made_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = set_up(&dir.path().join("data"));
    let steps = r#"{"steps":[]}"#;
    let zone = ["--zone", "Europe/Berlin", "--agent", "prober"];
    let nightly = ["schedules", "add", "nightly", "0 3 * * *"];
    let (text, code) = command(
        &server,
        &[&nightly[..], &zone, &["--input", steps]].concat(),
    );
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("run prober") && text.contains("next  20"),
        "{text}"
    );
    let impossible = ["schedules", "add", "never", "0 0 31 2 *"];
    let (text, code) = command(&server, &[&impossible[..], &zone].concat());
    assert!(
        code == 5 && text.contains("never comes due"),
        "{code} {text}"
    );
    let (text, code) = command(&server, &["schedules", "add", "none", "@daily"]);
    assert!(code == 2 && text.contains("--agent"), "{code} {text}");
    let (text, _) = command(&server, &["schedules", "pause", "nightly"]);
    assert!(text.contains("paused"), "{text}");
    let (text, _) = command(&server, &["schedules", "list"]);
    assert!(
        text.contains("nightly") && text.contains("paused"),
        "{text}"
    );
    let (text, code) = command(&server, &["schedules", "resume", "nightly"]);
    assert!(code == 0 && text.contains("next  20"), "{code} {text}");
    let (text, code) = command(&server, &["schedules", "show", "nightly", "--json"]);
    assert!(
        code == 0 && text.contains("\"catch_up\": \"once\""),
        "{text}"
    );
    assert_eq!(command(&server, &["schedules", "remove", "nightly"]).1, 0);
    assert_eq!(command(&server, &["schedules", "show", "nightly"]).1, 4);

    let add = [
        "hooks", "add", "paid", "--agent", "prober", "--input", steps,
    ];
    let (text, code) = command(&server, &add);
    assert_eq!(code, 0, "{text}");
    let secret = text.lines().next().expect("a line").to_owned();
    assert!(secret.starts_with("whsec_"), "{text}");
    let (text, _) = command(&server, &["hooks", "list", "--json"]);
    assert!(
        text.contains("paid") && !text.contains(&secret[6..]),
        "{text}"
    );
    let (text, code) = command(&server, &["hooks", "rotate", "paid", "--keep", "1h"]);
    assert!(
        code == 0 && text.contains("whsec_") && !text.contains(&secret),
        "{text}"
    );
    let (text, code) = command(&server, &["hooks", "rotate", "paid", "--keep", "soon"]);
    assert!(
        code == 2 && text.contains("`soon` is not a time"),
        "{code} {text}"
    );
    assert_eq!(command(&server, &["hooks", "remove", "paid"]).1, 0);
    assert_eq!(command(&server, &["hooks", "remove", "paid"]).1, 4);
}

/// What the command line says of many runs, and of a whole one.
#[test]
fn runs_are_listed_exported_and_removed_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = set_up(&dir.path().join("data"));
    let api = server.api();
    let mut runs: Vec<String> = (0..3).map(|_| start(&api, &json!([]))).collect();
    // Those of one millisecond are in no order.
    runs.sort();
    let begun = Instant::now();
    while runs.iter().any(|id| show(&api, id).get("end").is_none()) {
        assert!(begun.elapsed() < PATIENCE, "they do not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let list = ["runs", "list", "--status", "succeeded", "--limit", "2"];
    let (text, code) = command(&server, &list);
    assert!(
        code == 0 && text.contains(&runs[2]) && !text.contains(&runs[0]),
        "{text}"
    );
    assert!(
        text.contains(&format!("more: --before {}", runs[1])),
        "{text}"
    );
    let (text, _) = command(
        &server,
        &[&list[..], &["--before", &runs[1], "--json"]].concat(),
    );
    let listed: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(listed["runs"].as_array().map(Vec::len), Some(1), "{text}");
    assert_eq!(listed["runs"][0]["id"], runs[0].as_str());
    let (text, code) = command(&server, &["runs", "list", "--status", "done"]);
    assert!(code == 2 && text.contains("succeeded"), "{code} {text}");
    let (text, code) = command(&server, &["runs", "stats"]);
    assert!(code == 0 && text.contains("3 succeeded"), "{code} {text}");

    let (text, code) = command(&server, &["runs", "export", &runs[0]]);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((code, &document["format"]), (0, &json!("airlock-run/1")));
    assert_eq!(document["head"]["len"], document["run"]["events"]);
    assert_eq!(command(&server, &["runs", "export", "run_none"]).1, 4);
    let prune = ["runs", "prune", "--older-than", "1h"];
    let (text, code) = command(&server, &[&prune[..], &["--dry-run"]].concat());
    assert_eq!(
        (text.trim(), code),
        ("0 runs with 0 records would be removed", 0)
    );
    let (text, code) = command(&server, &["runs", "prune", "--older-than", "1s"]);
    assert!(code == 5 && text.contains("at least `1m`"), "{code} {text}");
    let (text, code) = command(&server, &["runs", "prune", "--older-than", "soon"]);
    assert!(
        code == 2 && text.contains("`soon` is not a time"),
        "{code} {text}"
    );
}

#[test]
fn a_run_is_replayed_and_forked_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = set_up(&dir.path().join("data"));
    let put = |value: &str| json!({ "call": { "tool": "keeper/put", "input": { "key": "k", "value": value } } });
    let by_version =
        json!([put("first"), { "by-version": { "1": [put("one")], "2": [put("two")] } }]);
    let run = start(&server.api(), &by_version);
    wait(&server.api(), &run);
    let (text, code) = command(&server, &["runs", "replay", &run]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("same: 2 of 2 steps"), "{text}");

    let file = dir.path().join("other.wasm");
    let bytes = std::fs::read(component("agent-prober")).expect("a component");
    let name = b"prober-version-1";
    let at = bytes.windows(name.len()).position(|part| part == name);
    let at = at.expect("its version stands in it") + name.len() - 1;
    let other = [&bytes[..at], b"2", &bytes[at + 1..]].concat();
    std::fs::write(&file, other).expect("written");
    let file = file.to_str().expect("UTF-8");
    let (text, code) = command(&server, &["runs", "replay", &run, "--agent", file]);
    assert_eq!(code, 9, "{text}");
    let lines = [
        "… 1 step is the same",
        "changed arguments",
        r#"- request 1: call keeper/put {"key":"k","value":"one"}"#,
        r#"+ request 1: call keeper/put {"key":"k","value":"two"}"#,
        "differs: 1 of 2 steps",
    ];
    for line in lines {
        assert!(text.contains(line), "{line}: {text}");
    }

    let fork = ["runs", "fork", &run, "--at", "1", "--agent", file];
    let (text, code) = command(&server, &fork);
    assert_eq!(code, 0, "{text}");
    let forked = text.split_whitespace().last().expect("its id");
    wait(&server.api(), forked);
    let shown = show(&server.api(), forked);
    assert_eq!(shown["forked_from"], json!({ "run": run, "at": 1 }));
    let (text, code) = command(&server, &["runs", "fork", &run, "--at", "9"]);
    assert!(code == 5 && text.contains("0 to 2"), "{code} {text}");
}

/// Waits until a run has ended well.
fn wait(api: &Api, id: &str) {
    let begun = Instant::now();
    while show(api, id).get("end").is_none() {
        assert!(begun.elapsed() < PATIENCE, "{}", show(api, id));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        show(api, id)["end"]["state"],
        "succeeded",
        "{}",
        show(api, id)
    );
}

/// Whoever may only approve sees what is decided as an administrator does, and is
/// refused nothing by asking.
fn seen_by_an_approver(server: &Server, folder: &Path, question: &str) {
    let (token, code) = command(server, &["token", "create", "boss", "--role", "approver"]);
    assert_eq!(code, 0, "{token}");
    let file = folder.join("boss.token");
    std::fs::write(&file, token.lines().next().expect("a token")).expect("written");
    let file = file.to_str().expect("UTF-8");
    let show = ["approvals", "show", question];
    let (shown, code) = command(server, &[&show[..], &["--token-file", file]].concat());
    assert_eq!(code, 0, "{shown}");
    for part in ["  class      ", "  tool       "] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(shown, command(server, &show).0);
    let (audit, _) = command(server, &["audit", "list", "--json"]);
    assert!(!audit.contains("auth.refused"), "{audit}");
}

#[test]
fn calls_are_approved_from_the_command_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = set_up(&dir.path().join("data"));
    let rule = json!({
        "tool": "keeper/add", "approvers": 2, "own_approval": true, "due": "1h",
        "on_due": "escalate", "escalate_to": "admin", "approval": "always",
    });
    grant(
        &server.api(),
        "prober",
        &json!({ "grants": { "tools": [rule] } }),
    );
    let input = r#"{"steps":[{"call":{"tool":"keeper/add","input":{}}}]}"#;
    let run = ["run", "prober", "--input", input, "--follow"];
    let (text, code) = command(&server, &run);
    assert_eq!(code, 10, "{text}");
    assert!(
        text.contains("? 2 people (approver) have to approve it, until "),
        "{text}"
    );
    let id = text.lines().next().expect("the id").to_owned();
    let question = format!("{id}.0");
    let (text, code) = command(
        &server,
        &["approvals", "approve", &question, "--note", "ok"],
    );
    assert_eq!(code, 0, "{text}");
    let (text, code) = command(&server, &["approvals", "approve", &question]);
    assert!(
        code != 0 && text.contains("somebody else has to"),
        "{code} {text}"
    );
    let other = ["--binding", "sha256:0"];
    let (text, code) = command(
        &server,
        &[&["approvals", "deny", &question][..], &other].concat(),
    );
    assert!(code != 0 && text.contains("asked anew"), "{code} {text}");
    seen_by_an_approver(&server, dir.path(), &question);
    let (text, _) = command(&server, &["approvals", "show", &question]);
    for part in [
        "2 approver (1 so far)",
        "then admin decides",
        "by admin ",
        ": ok",
        "sha256:",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (text, code) = command(&server, &["approvals", "deny", &question, "--note", "no"]);
    assert!(code == 0 && text.contains("sha256:"), "what it was: {text}");
    let (text, _) = command(&server, &["runs", "events", &id, "--follow"]);
    assert!(text.contains("a person said no: no by admin"), "{text}");
    let (text, code) = command(&server, &["approvals", "show", &question]);
    assert!(
        code == 4 && text.contains("no open question"),
        "{code} {text}"
    );
}
