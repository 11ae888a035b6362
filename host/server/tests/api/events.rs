//! Calls told as they go.

use std::time::Duration;

use airlock_server::ServerConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::guests;
use crate::server::{Answer, Server};

const ACCEPT: (&str, &str) = ("accept", "text/event-stream");

/// Events: names and data.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let text = String::from_utf8(answer.body.to_vec()).expect("utf-8");
    let mut all = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.is_empty()) {
        let field = |name: &str| -> Vec<&str> {
            block
                .lines()
                .filter_map(|line| line.strip_prefix(name))
                .collect()
        };
        if let [name] = field("event: ")[..] {
            let data = serde_json::from_str(&field("data: ").join("\n")).expect("JSON");
            all.push((name.to_owned(), data));
        }
    }
    all
}

async fn call(server: &Server, tool: &str, input: &str, more: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {}", server.admin);
    let headers = [&[("authorization", bearer.as_str()), ACCEPT], more].concat();
    let target = format!("/v1/tools/{tool}/run");
    server
        .send("POST", &target, &headers, input.to_owned())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_comes_before_the_result() {
    let server = Server::start().await;
    server.install("reports", guests::reports()).await;
    let input = "{\n \"a\":\r\n 1}";
    let told = events(&call(&server, "reports", input, &[]).await);
    let (last, progress) = told.split_last().expect("events");
    assert_eq!(
        (last.0.as_str(), &last.1["output"]),
        ("result", &json!({ "a": 1 }))
    );
    assert!(
        last.1["call_id"].is_string() && last.1["usage"].is_object(),
        "{told:?}"
    );
    assert!(
        progress.iter().all(|(name, _)| name == "progress"),
        "{told:?}"
    );
    let done: Vec<f64> = progress
        .iter()
        .filter_map(|(_, data)| data["done"].as_f64())
        .collect();
    assert!(done.is_sorted() && done.len() <= 3, "{told:?}");
    assert_eq!(
        done.last(),
        Some(&3.0),
        "the last report always comes: {told:?}"
    );
    assert_eq!(
        progress[0].1,
        json!({ "done": done[0], "total": 3.0, "message": "a\\nb c" }),
        "control characters are escaped"
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_says_so_in_an_event_or_plainly_when_it_never_began() {
    let server = Server::start().await;
    server.install("trap", guests::trap()).await;
    server.install("echo", guests::echo()).await;
    let told = events(&call(&server, "trap", "1", &[]).await);
    assert_eq!((told.len(), told[0].0.as_str()), (1, "problem"), "{told:?}");
    assert_eq!(told[0].1["code"], "permanent");
    assert!(told[0].1["call_id"].is_string(), "{told:?}");

    let table = [
        ("nobody", "1", "404 plugin-not-found"),
        ("echo", "{", "400 invalid-json"),
    ];
    for (tool, input, verdict) in table {
        assert_eq!(call(&server, tool, input, &[]).await.verdict(), verdict);
    }
    let key = [("idempotency-key", "k")];
    let first = events(&call(&server, "echo", "7", &key).await);
    let again = call(&server, "echo", "7", &key).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(), first[0].1, "the kept reply, plainly");
    let plain = server.admin("POST", "/v1/tools/echo/run", "1").await;
    assert_eq!(plain.header("content-type"), Some("application/json"));
    server.stopped().await;
}

/// Begins a call with events and reads until something came of it.
async fn begin(server: &Server, tool: &str, more: &str) -> TcpStream {
    begin_with(server, tool, more, "1").await
}

async fn begin_with(server: &Server, tool: &str, more: &str, input: &str) -> TcpStream {
    let request = format!(
        "POST /v1/tools/{tool}/run HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\
         authorization: Bearer {}\r\n{more}content-length: {}\r\n\r\n{input}",
        server.admin,
        input.len()
    );
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(request.as_bytes()).await.expect("writes");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("a reply");
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

async fn outcomes(server: &Server, calls: usize) -> Vec<Value> {
    server
        .eventually("the calls are on record", async || {
            server.audited("call.done").await.len() == calls
        })
        .await;
    let records = server.audited("call.done").await;
    records
        .iter()
        .map(|record| record["outcome"].clone())
        .collect()
}

/// A call that is told as it goes holds its input as any other does.
#[tokio::test(flavor = "multi_thread")]
async fn the_input_of_a_call_that_goes_on_counts_among_the_bodies_held() {
    let server = Server::start_with(ServerConfig {
        bodies_bytes_max: 24 << 10,
        ..ServerConfig::default()
    })
    .await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "55s" }))
        .await;
    let input = format!("\"{}\"", "x".repeat(20 << 10));
    let first = begin_with(&server, "sleep", "", &input).await;
    let large = || server.admin("POST", "/v1/tools/sleep/run", input.clone());
    assert_eq!(large().await.verdict(), "503 overloaded");
    drop(first);
    assert_eq!(outcomes(&server, 1).await, ["cancelled"]);
    let again = begin_with(&server, "sleep", "", &input).await;
    drop(again);
    assert_eq!(outcomes(&server, 2).await, ["cancelled"; 2]);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_call_and_one_that_does_not_read_holds_up_nothing() {
    let server = Server::start().await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "55s" }))
        .await;
    server.install("reports", guests::reports()).await;
    drop(begin(&server, "sleep", "").await);
    assert_eq!(outcomes(&server, 1).await, ["cancelled"]);
    // Nobody reads; the call ends all the same.
    let unread = begin(&server, "reports", "").await;
    assert_eq!(outcomes(&server, 2).await, ["cancelled", "ok"]);
    drop(unread);
    // With a key it goes on.
    drop(begin(&server, "reports", "idempotency-key: k\r\n").await);
    assert_eq!(outcomes(&server, 3).await, ["cancelled", "ok", "ok"]);
    tokio::time::timeout(Duration::from_secs(60), server.stopped())
        .await
        .expect("it stops");
}
