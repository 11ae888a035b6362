//! Stopping: not ready first, calls in flight get their time, the rest ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_server::ServerConfig;
use serde_json::json;

use crate::guests;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_first_and_calls_are_refused_with_a_time() {
    let config = ServerConfig {
        unready: Duration::from_secs(4),
        ..ServerConfig::default()
    };
    let mut server = Server::start_with(config).await;
    server.install("echo", guests::echo()).await;
    assert_eq!(server.send("GET", "/readyz", &[], "").await.status, 200);
    server.stop();
    server
        .eventually("it is not ready", async || {
            server.send("GET", "/readyz", &[], "").await.verdict() == "503 not-ready"
        })
        .await;
    assert_eq!(server.send("GET", "/healthz", &[], "").await.status, 200);
    let refused = server.admin("POST", "/v1/tools/echo/run", "1").await;
    assert_eq!(refused.verdict(), "503 shutting-down");
    assert!(refused.header("retry-after").is_some());
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_ends_in_its_time() {
    let mut server = Server::start().await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "3s" }))
        .await;
    let (answer, ()) = tokio::join!(server.admin("POST", "/v1/tools/sleep/run", "1"), async {
        server.a_call_runs().await;
        server.runtime.drain();
    });
    assert_eq!(
        answer.verdict(),
        "504 limit",
        "it had its whole time: {answer:?}"
    );
    server.stop();
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_is_ended_and_on_record() {
    let config = ServerConfig {
        drain: Duration::from_secs(1),
        ..ServerConfig::default()
    };
    let mut server = Server::start_with(config).await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "55s" }))
        .await;
    let (runtime, admin) = (Arc::clone(&server.runtime), server.admin.clone());
    let address = server.address;
    let target = "POST /v1/tools/sleep/run HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n";
    let request = format!("{target}authorization: Bearer {admin}\r\n\r\n1");
    let call = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("connects");
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply).await;
        reply
    });
    server.a_call_runs().await;
    drop(runtime);
    server.stop();
    let started = Instant::now();
    let dir = server.stopped().await;
    assert!(
        started.elapsed() < Duration::from_secs(45),
        "the call sleeps for a minute"
    );
    let reply = call.await.expect("no panic");
    assert!(
        reply.starts_with("HTTP/1.1 503 ") && reply.contains("\"cancelled\""),
        "{reply}"
    );
    let again = Server::start_in(dir, ServerConfig::default()).await;
    let records = again.audited("call.done").await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["outcome"], "cancelled");
    let verified = again.admin("POST", "/v1/audit/verify", "").await.json();
    assert_eq!(verified["ok"], true, "{verified}");
    again.stopped().await;
}

/// The kill switch does not wait for what a stop waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_halt_while_it_stops_ends_what_is_in_flight() {
    let mut server = Server::start().await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "60s" }))
        .await;
    let (answer, ()) = tokio::join!(server.admin("POST", "/v1/tools/sleep/run", "1"), async {
        server.a_call_runs().await;
        server.runtime.drain();
        let halted = server.admin("POST", "/v1/halt", r#"{"halted":true}"#).await;
        assert_eq!(halted.status, 200, "{halted:?}");
    });
    assert_eq!(answer.verdict(), "503 cancelled", "{answer:?}");
    server.stop();
    server.stopped().await;
}
