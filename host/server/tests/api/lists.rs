//! Lists of runs, their export and their removal over HTTP.

use std::collections::BTreeSet;
use std::time::Duration;

use airlock_journal::chain;
use airlock_runtime::{Principal, Role};
use airlock_sandbox::testing::built;
use serde_json::{Value, json};

use crate::mcp_client::Client;
use crate::server::Server;

/// A server with runs of `prober`, each to its end.
async fn with_runs(count: usize) -> (Server, Vec<String>) {
    let server = Server::start().await;
    server.install("prober", built("agent_prober")).await;
    let mut runs = Vec::new();
    for n in 0..count {
        let steps = json!([{ "tell": { "text": format!("n = {n}, ünï\u{1b}") } }]);
        let body = json!({ "agent": "prober", "input": { "steps": steps } });
        let run = server.admin("POST", "/v1/runs", body.to_string()).await;
        runs.push(run.json()["id"].as_str().expect("an id").to_owned());
    }
    for id in &runs {
        let target = format!("/v1/runs/{id}");
        let ended = async || !server.admin("GET", &target, "").await.json()["end"].is_null();
        server.eventually("it ends", ended).await;
    }
    (server, runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_page_by_page_and_counted() {
    let (server, runs) = with_runs(5).await;
    let viewer = server.token("eve", &[Role::Viewer], None).await;
    let get = async |target: &str| server.with(&viewer, "GET", target, "").await;
    let (mut found, mut before) = (Vec::new(), String::new());
    loop {
        let target = format!("/v1/runs?limit=2&status=succeeded{before}");
        let page = get(&target).await.json();
        let ids = page["runs"].as_array().expect("runs").iter();
        found.extend(ids.map(|run| run["id"].as_str().expect("an id").to_owned()));
        match page["next_before"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    let mut newest = runs.clone();
    newest.sort_by(|a, b| b.cmp(a));
    assert_eq!(found, newest);
    let none = get("/v1/runs?by=nobody").await.json();
    assert_eq!(none, json!({ "runs": [] }));
    for (query, expect) in [
        ("limit=0", "400 bad-request"),
        ("limit=1001", "400 bad-request"),
        ("status=done", "400 bad-query"),
        ("state=open", "400 bad-query"),
    ] {
        let answer = get(&format!("/v1/runs?{query}")).await;
        assert_eq!(answer.verdict(), expect, "{query}");
    }
    let stats = get("/v1/runs/stats").await.json()["agents"][0].clone();
    assert_eq!(
        (&stats["agent"], &stats["started"]),
        (&json!("prober"), &json!(5))
    );
    assert_eq!(stats["ended"], json!({ "succeeded": 5 }));
    assert!(stats["took"]["p90_ms"].is_u64(), "{stats}");
    server.stopped().await;
}

/// The document is whole, and its hashes are those of the chain.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_can_be_checked() {
    #[derive(serde::Deserialize)]
    struct Exported {
        seq: u64,
        hash: String,
        record: Box<serde_json::value::RawValue>,
    }
    #[derive(serde::Deserialize)]
    struct Document {
        format: String,
        stream: String,
        run: Value,
        records: Vec<Exported>,
        head: Value,
    }
    let (server, runs) = with_runs(1).await;
    let answer = server
        .admin("GET", &format!("/v1/runs/{}/export", runs[0]), "")
        .await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let document: Document = serde_json::from_slice(&answer.body).expect("a document");
    assert_eq!(document.format, "airlock-run/1");
    assert_eq!(document.stream, format!("run/{}", runs[0]));
    assert_eq!(document.run["status"], "succeeded");
    let hex = |hash: [u8; 32]| hash.map(|byte| format!("{byte:02x}")).concat();
    let mut hash = [0; 32];
    for (seq, exported) in document.records.iter().enumerate() {
        let payload = exported.record.get().as_bytes();
        hash = chain::next(&hash, document.stream.as_bytes(), seq as u64, payload);
        assert_eq!((exported.seq, &exported.hash), (seq as u64, &hex(hash)));
    }
    assert!(document.records.len() >= 3);
    let head = json!({ "len": document.records.len(), "hash": hex(hash) });
    assert_eq!(document.head, head);
    let told: BTreeSet<String> = document
        .records
        .iter()
        .map(|exported| serde_json::from_str::<Value>(exported.record.get()).expect("JSON"))
        .map(|record| record["event"].as_str().expect("an event").to_owned())
        .collect();
    for event in ["started", "noted", "ended"] {
        assert!(told.contains(event), "{told:?}");
    }
    let none = server.admin("GET", "/v1/runs/none/export", "").await;
    assert_eq!(none.verdict(), "404 run-not-found");
    server.stopped().await;
}

/// Whoever asks again is given the run, also where its reply is kept no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_once_under_its_key() {
    let (server, _) = with_runs(0).await;
    let body = json!({ "agent": "prober", "input": { "steps": [] } }).to_string();
    let start = async |query: &str| {
        let target = format!("/v1/runs{query}");
        server.admin("POST", &target, body.clone()).await
    };
    let first = start("?once=daily/2026-05-01T00:00:00Z/1").await;
    let again = start("?once=daily/2026-05-01T00:00:00Z/1").await;
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other = start("?once=daily/2026-05-02T00:00:00Z/1").await;
    assert_eq!(other.status, 201);
    assert_ne!(first.json()["id"], other.json()["id"]);
    for (query, expect) in [
        ("?once=", "422 invalid-request"),
        ("?once=a%20b", "422 invalid-request"),
        ("?twice=a", "400 bad-query"),
    ] {
        assert_eq!(start(query).await.verdict(), expect, "{query}");
    }
    server.stopped().await;
}

/// An export's parts are as long as one record and a MiB at most.
fn exported_in_parts(server: &Server, id: &str, events: u64) {
    let who = Principal::local_admin("owner");
    let mut export = server.runtime.export_run(&who, id).expect("a run");
    let mut whole = Vec::new();
    while let Some(part) = export.part().expect("reads") {
        assert!(part.len() < 2_200_000, "{} bytes", part.len());
        whole.extend_from_slice(&part);
    }
    let document: Value = serde_json::from_slice(&whole).expect("a document");
    assert_eq!(document["head"]["len"], events);
    assert_eq!(
        document["records"].as_array().map(Vec::len),
        Some(events as usize)
    );
}

/// A page of a journal ends by bytes as well, and `next` says where it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_journal_has_a_bound_in_bytes() {
    let server = Server::start().await;
    server.install("prober", built("agent_prober")).await;
    let steps = json!([{ "signal": { "name": "never" } }]);
    let body = json!({ "agent": "prober", "input": { "steps": steps } });
    let run = server.admin("POST", "/v1/runs", body.to_string()).await;
    let id = run.json()["id"].as_str().expect("an id").to_owned();
    // The last is larger than a page.
    for bytes in [250_000, 250_000, 250_000, 250_000, 250_000, 1_048_000, 10] {
        let body = json!({ "payload": "x".repeat(bytes) }).to_string();
        let target = format!("/v1/runs/{id}/signals/big");
        let signalled = server.admin("POST", &target, body).await;
        assert_eq!(signalled.status, 200, "{}", signalled.verdict());
    }
    let pages = async || {
        let (mut seqs, mut sizes, mut from) = (Vec::new(), Vec::new(), 0);
        loop {
            let target = format!("/v1/runs/{id}/events?limit=1000&from={from}");
            let answer = server.admin("GET", &target, "").await;
            let page = answer.json();
            let events = page["events"].as_array().expect("events").clone();
            sizes.push((events.len(), answer.body.len()));
            seqs.extend(
                events
                    .iter()
                    .map(|event| event["seq"].as_u64().expect("a number")),
            );
            match page["next"].as_u64() {
                Some(next) if !events.is_empty() => from = next,
                _ => return (seqs, sizes),
            }
        }
    };
    let bounded = |sizes: &[(usize, usize)]| {
        let fits = |(events, bytes): &(usize, usize)| {
            *bytes <= 1_200_000 && (*events < 2 || *bytes < 1_060_000)
        };
        assert!(sizes.iter().all(fits), "{sizes:?}");
        assert!(sizes.len() >= 3, "{sizes:?}");
    };
    let (open, sizes) = pages().await;
    bounded(&sizes);
    assert_eq!(
        sizes.last().expect("one").0,
        0,
        "an open run's last page is empty"
    );
    let cancelled = server
        .admin("POST", &format!("/v1/runs/{id}/cancel"), "{}")
        .await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let shown = async || {
        server
            .admin("GET", &format!("/v1/runs/{id}"), "")
            .await
            .json()
    };
    server
        .eventually("it ends", async || !shown().await["end"].is_null())
        .await;
    let (ended, sizes) = pages().await;
    bounded(&sizes);
    assert_ne!(
        sizes.last().expect("one").0,
        0,
        "an ended run's last page says so"
    );
    assert!(ended.starts_with(&open), "{open:?} {ended:?}");
    let events = shown().await["events"].as_u64().expect("a number");
    assert_eq!(ended, (0..events).collect::<Vec<_>>());
    exported_in_parts(&server, &id, events);
    // Over MCP it is followed over the same pages, without waiting.
    let client = Client::current(&server, &server.admin);
    let arguments = json!({ "run": id, "wait_seconds": 100 });
    let waited = client.call("airlock__run_wait", arguments);
    let waited = tokio::time::timeout(Duration::from_secs(50), waited).await;
    let waited = waited.expect("it has ended already");
    assert_eq!(
        waited["structuredContent"]["status"], "cancelled",
        "{waited}"
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_remove_runs() {
    let (server, runs) = with_runs(1).await;
    let body = json!({ "older_than_s": 60 }).to_string();
    let operator = server.token("bob", &[Role::Operator], None).await;
    let refused = server
        .with(&operator, "POST", "/v1/runs/prune", body.clone())
        .await;
    assert_eq!(refused.verdict(), "403 forbidden");
    let pruned = server.admin("POST", "/v1/runs/prune", body).await.json();
    assert_eq!(pruned, json!({ "runs": 0, "records": 0, "dry_run": false }));
    let kept = server
        .admin("GET", &format!("/v1/runs/{}", runs[0]), "")
        .await;
    assert_eq!(kept.status, 200, "it is younger");
    let short = server
        .admin("POST", "/v1/runs/prune", r#"{"older_than_s":1}"#)
        .await;
    assert_eq!(short.verdict(), "422 invalid-request");
    server.stopped().await;
}
