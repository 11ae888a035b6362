//! Lists of runs, their export and their removal over HTTP.

use airlock_runtime::Role;
use airlock_sandbox::testing::built;
use serde_json::json;

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
    let newest: Vec<String> = runs.iter().rev().cloned().collect();
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
