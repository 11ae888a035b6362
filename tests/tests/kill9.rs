//! Kills the server at random moments under load, and looks whether everything
//! it had acknowledged is there. `AIRLOCK_KILL_ROUNDS` sets how often.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use airlock::client::{Api, Request, encode};
use airlock::commands::install;
use airlock::harness::Server;
use airlock_tests::{airlock, component};
use serde_json::{Value, json};

const WRITERS: usize = 4;

/// Rounds from one look at the whole audit to the next.
const AUDIT_EVERY: usize = 8;

/// What the server acknowledged before it was killed.
#[derive(Debug, Default)]
struct Acknowledged {
    /// Ids of calls that were answered.
    calls: BTreeSet<String>,
    /// Keys that were set.
    keys: BTreeSet<String>,
    /// The reply to each idempotency key.
    replies: Vec<(String, Vec<u8>)>,
    /// The highest version of grants.
    grants: u64,
}

fn rounds() -> usize {
    std::env::var("AIRLOCK_KILL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5)
}

/// Calls, with and without idempotency keys, until the server is gone.
fn write(
    api: Api,
    known: Arc<Mutex<Acknowledged>>,
    stop: Arc<AtomicBool>,
    round: usize,
    writer: usize,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("r{round}-w{writer}-{number}");
            let (input, idempotency) = (json!({ "key": key, "value": key }), format!("key-{key}"));
            let request = Request::json("POST", "/v1/tools/keeper/put", &input)
                .header("idempotency-key", &idempotency);
            let Ok(reply) = api.send(&request) else {
                return;
            };
            if reply.status != 200 {
                continue;
            }
            let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
            let mut known = known.lock().expect("no panic");
            known
                .calls
                .insert(body["call_id"].as_str().expect("a call id").to_owned());
            known.keys.insert(key);
            known.replies.push((idempotency, reply.body));
        }
    })
}

/// Changes grants until the server is gone.
fn grant(api: Api, known: Arc<Mutex<Acknowledged>>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let body = json!({ "grants": { "env": [{ "name": "N", "value": number.to_string() }] }, "why": "load" });
            let Ok(reply) = api.send(&Request::json("PUT", "/v1/plugins/other/grants", &body))
            else {
                return;
            };
            if reply.status != 200 {
                continue;
            }
            let body: Value = serde_json::from_slice(&reply.body).expect("JSON");
            let mut known = known.lock().expect("no panic");
            known.grants = known
                .grants
                .max(body["version"].as_u64().expect("a version"));
        }
    })
}

fn set_up(data: &Path) -> Server {
    let server = Server::start(&airlock(), data, &[]).expect("the server starts");
    let api = server.api();
    for (name, package) in [("keeper", "keeper"), ("other", "airlock-plugin-echo")] {
        let bytes = std::fs::read(component(package)).expect("a component");
        install(&api, name, bytes, None).expect("installed");
    }
    let grants = json!({
        "grants": { "kv": [{ "bucket": "kept", "scope": "plugin", "bytes": "100MiB", "keys": 1_000_000 }], "effects": { "put": "idempotent", "get": "read-only" } },
        "limits": { "wall": "30s" },
    });
    api.ok(&Request::json("PUT", "/v1/plugins/keeper/grants", &grants))
        .expect("granted");
    server
}

/// Every call acknowledged so far is in the audit, which verifies.
fn check_audit(api: &Api, known: &Acknowledged) {
    let report = api
        .value::<Value>(&Request::json("POST", "/v1/audit/verify", &json!({})))
        .expect("verify");
    assert_eq!(report["ok"], true, "{report}");
    let export = api
        .ok(&Request::new("GET", "/v1/audit/export"))
        .expect("export");
    let export = String::from_utf8(export.body).expect("UTF-8");
    let words = export.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let on_record: HashSet<&str> = words.filter(|word| word.starts_with("call_")).collect();
    let calls = known.calls.iter();
    let lost: Vec<_> = calls
        .filter(|id| !on_record.contains(id.as_str()))
        .collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged calls are not in the audit: {lost:?}",
        lost.len()
    );
}

/// What was acknowledged last is there, whole.
fn check(api: &Api, known: &Acknowledged) {
    for key in known.keys.iter().rev().take(50) {
        let reply: Value = api
            .value(&Request::json(
                "POST",
                "/v1/tools/keeper/get",
                &json!({ "key": key }),
            ))
            .expect("get");
        assert_eq!(
            reply["output"]["value"], *key,
            "an acknowledged write is gone"
        );
    }
    let version = api.get("/v1/plugins/other/grants").expect("grants")["version"]
        .as_u64()
        .expect("a version");
    assert!(
        version >= known.grants,
        "grants version {version} is behind the acknowledged {}",
        known.grants
    );
    for (key, body) in known.replies.iter().rev().take(20) {
        let input = json!({ "key": key.trim_start_matches("key-"), "value": key.trim_start_matches("key-") });
        let request =
            Request::json("POST", "/v1/tools/keeper/put", &input).header("idempotency-key", key);
        let again = api.send(&request).expect("a reply");
        assert_eq!(
            String::from_utf8_lossy(&again.body),
            String::from_utf8_lossy(body),
            "another reply for {}",
            encode(key)
        );
    }
}

#[test]
fn kill9_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let known = Arc::new(Mutex::new(Acknowledged::default()));
    let mut server = set_up(&data);
    for round in 0..rounds() {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads: Vec<_> = (0..WRITERS)
            .map(|w| {
                write(
                    server.api(),
                    Arc::clone(&known),
                    Arc::clone(&stop),
                    round,
                    w,
                )
            })
            .collect();
        threads.push(grant(server.api(), Arc::clone(&known), Arc::clone(&stop)));
        // Not the same moment each round, and reproducible.
        std::thread::sleep(Duration::from_millis(100 + (round as u64 * 7919) % 600));
        server.kill().expect("killed");
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("a writer");
        }
        server = Server::start(&airlock(), &data, &[]).expect("the server starts again");
        let known = known.lock().expect("no panic");
        check(&server.api(), &known);
        // Which takes as long as there are records: all of them are looked at in the end.
        if round % AUDIT_EVERY == 0 || round + 1 == rounds() {
            check_audit(&server.api(), &known);
        }
    }
    let known = known.lock().expect("no panic");
    assert!(
        known.calls.len() > rounds(),
        "only {} calls were acknowledged",
        known.calls.len()
    );
    println!(
        "{} rounds, {} calls, grants version {}",
        rounds(),
        known.calls.len(),
        known.grants
    );
}
