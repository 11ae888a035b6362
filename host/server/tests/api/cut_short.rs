//! What a call did is on record whatever cut it short.

use std::time::Duration;

use airlock_server::ServerConfig;
use serde_json::{Value, json};

use crate::guests;
use crate::server::Server;

const CALL: &str = "/v1/tools/asks/run";

/// A server on which a call is denied something and then sleeps. The first call,
/// cut short by its own deadline, also loads the component.
async fn start() -> (Server, Value) {
    let config = ServerConfig {
        drain: Duration::from_secs(5),
        ..ServerConfig::default()
    };
    let server = Server::start_with(config).await;
    server.install("asks", guests::asks_and_sleeps()).await;
    server
        .grant("asks", json!({}), json!({ "wall": "55s" }))
        .await;
    let bearer = format!("Bearer {}", server.admin);
    let headers = [
        ("authorization", bearer.as_str()),
        ("airlock-timeout-ms", "10000"),
    ];
    let late = server.send("POST", CALL, &headers, "1").await;
    assert_eq!(late.verdict(), "504 limit", "{late:?}");
    let record = server.audited("call.done").await.remove(0);
    (server, record)
}

fn check(way: &str, record: &Value, outcome: &str, denied: &[Value]) {
    assert_eq!(record["outcome"], outcome, "{way}: {record}");
    let detail = &record["detail"];
    let usage = detail["usage"].as_array().expect("usage");
    let config = usage.iter().find(|one| one["capability"] == "config");
    assert_eq!(config.expect("its usage")["denied"], 1, "{way}: {detail}");
    assert!(
        detail["peak_memory_bytes"].as_u64() >= Some(65_536),
        "{way}: {detail}"
    );
    let mut of_this_call = denied
        .iter()
        .map(|denial| &denial["detail"])
        .filter(|denial| denial["call_id"] == detail["call_id"]);
    let denial = of_this_call.next().expect("a denial");
    assert_eq!(denial["capability"], "config", "{way}: {denial}");
    assert_eq!(of_this_call.next(), None, "{way}: {denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_its_deadline_or_by_a_caller_that_leaves() {
    let (server, record) = start().await;
    let denied = server.audited("denied").await;
    check("deadline", &record, "limit", &denied);
    let call = server.admin("POST", CALL, "1");
    let left = tokio::time::timeout(Duration::from_secs(5), call).await;
    assert!(left.is_err(), "it sleeps");
    server
        .eventually("the call is on record", async || {
            server.audited("call.done").await.len() == 2
        })
        .await;
    let record = server.audited("call.done").await.remove(1);
    let denied = server.audited("denied").await;
    check("a caller that leaves", &record, "cancelled", &denied);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_shutdown() {
    let (mut server, _) = start().await;
    let (answer, ()) = tokio::join!(server.admin("POST", CALL, "1"), async {
        server.a_call_runs().await;
        server.runtime.shutdown(Duration::from_secs(5)).await;
    });
    assert_eq!(answer.verdict(), "503 cancelled");
    let told = answer.json();
    assert_eq!(told["denials"][0]["capability"], "config", "{told}");
    server.stop();
    let dir = server.stopped().await;
    let again = Server::start_in(dir, ServerConfig::default()).await;
    let record = again.audited("call.done").await.remove(1);
    check(
        "shutdown",
        &record,
        "cancelled",
        &again.audited("denied").await,
    );
    again.stopped().await;
}
