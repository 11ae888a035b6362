//! `Idempotency-Key` over HTTP, also across a crash.

use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::idempotency::{Begin, Fingerprint};
use airlock_runtime::{Role, now_ms};
use airlock_server::ServerConfig;
use serde_json::json;

use crate::guests;
use crate::server::{Answer, Server};

async fn call(server: &Server, token: &str, key: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
    server
        .send("POST", "/v1/tools/echo/run", &headers, body.to_owned())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_body_get_the_same_bytes() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let first = call(&server, &server.admin, "k1", "[1]").await;
    let second = call(&server, &server.admin, "k1", "[1]").await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.body, second.body);
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            second.header("idempotency-replayed")
        ),
        (None, Some("true"))
    );
    assert_eq!(
        call(&server, &server.admin, "k1", "[2]").await.verdict(),
        "422 idempotency-key-reused"
    );
    let other = server.token("other", &[Role::Caller], None).await;
    let theirs = call(&server, &other, "k1", "[2]").await;
    assert_eq!(
        (theirs.status, theirs.header("idempotency-replayed")),
        (200, None)
    );
    assert_eq!(
        server.audited("call.done").await.len(),
        2,
        "one per principal"
    );
    let admin = server.admin.clone();
    let dir = server.stopped().await;
    let again = Server::start_in(dir, ServerConfig::default()).await;
    assert_eq!(
        call(&again, &admin, "k1", "[1]").await.body,
        first.body,
        "after a restart"
    );
    again.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_is_neither_repeated_nor_ended_when_its_caller_leaves() {
    let server = Server::start().await;
    server.install("echo", guests::sleep()).await;
    server
        .grant("echo", json!({}), json!({ "wall": "3s" }))
        .await;
    let first = call(&server, &server.admin, "k", "1");
    let left = tokio::time::timeout(Duration::from_secs(1), first).await;
    assert!(left.is_err(), "the caller leaves");
    let busy = call(&server, &server.admin, "k", "1").await;
    assert_eq!(busy.verdict(), "409 idempotency-in-flight");
    assert_eq!(
        call(&server, &server.admin, "k", "2").await.verdict(),
        "422 idempotency-key-reused"
    );
    server
        .eventually("the call ends", async || {
            server.audited("call.done").await.len() == 1
        })
        .await;
    let kept = call(&server, &server.admin, "k", "1").await;
    assert_eq!(
        (kept.verdict().as_str(), kept.header("idempotency-replayed")),
        ("504 limit", Some("true"))
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_lost_in_a_crash_is_unknown() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    // What a crash between intent and outcome leaves behind.
    let print = Fingerprint::of("POST", "/v1/tools/echo/run", b"1");
    let begun = server
        .runtime
        .idempotency()
        .begin("admin", "k", print, now_ms());
    let Ok(Begin::Run(ticket)) = begun else {
        panic!("no ticket")
    };
    server
        .runtime
        .commit(ticket.intent().to_vec())
        .await
        .expect("commits");
    drop(ticket);
    let admin = server.admin.clone();
    let again = Server::start_in(server.stopped().await, ServerConfig::default()).await;
    assert_eq!(
        call(&again, &admin, "k", "1").await.verdict(),
        "409 outcome_unknown"
    );
    assert_eq!(
        call(&again, &admin, "k", "2").await.verdict(),
        "422 idempotency-key-reused"
    );
    assert!(
        again.audited("call.done").await.is_empty(),
        "nothing was repeated"
    );
    again.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administration_takes_keys_too_and_keeps_no_secret() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin);
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
    let install = "/v1/plugins?name=echo&wait=true";
    let first = server.send("POST", install, &headers, guests::echo()).await;
    let second = server.send("POST", install, &headers, guests::echo()).await;
    assert_eq!((first.status, &first.body), (second.status, &second.body));
    let other = server.send("POST", install, &headers, guests::spin()).await;
    assert_eq!(other.verdict(), "422 idempotency-key-reused");
    let headers = [("authorization", bearer.as_str()), ("idempotency-key", "t")];
    let body = r#"{"principal":"ann","roles":["caller"]}"#;
    let made = server.send("POST", "/v1/tokens", &headers, body).await;
    let secret = made.json()["token"].as_str().expect("a token").to_owned();
    let again = server.send("POST", "/v1/tokens", &headers, body).await;
    assert_eq!(again.verdict(), "409 reply-not-kept");
    let named_ann = server
        .runtime
        .tokens()
        .iter()
        .filter(|token| token.principal == "ann")
        .count();
    assert_eq!(named_ann, 1);
    let dir = server.stopped().await;
    let (_, kept) = secret.rsplit_once('_').expect("a secret part");
    let mut files = 0;
    for entry in walk(dir.path()) {
        let bytes = std::fs::read(&entry).expect("reads");
        let found = bytes
            .windows(kept.len())
            .any(|window| window == kept.as_bytes());
        assert!(!found, "the token is in {}", entry.display());
        files += 1;
    }
    assert!(files > 3, "{files} files were searched");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_with_a_key_runs() {
    let server = Arc::new(Server::start().await);
    server.install("echo", guests::echo()).await;
    let mut tasks = Vec::new();
    for _ in 0..12 {
        let server = Arc::clone(&server);
        tasks.push(tokio::spawn(async move {
            call(&server, &server.admin, "k", "7").await
        }));
    }
    let mut fresh = 0;
    for task in tasks {
        let answer = task.await.expect("no panic");
        match answer.verdict().as_str() {
            "200" => fresh += usize::from(answer.header("idempotency-replayed").is_none()),
            other => assert_eq!(other, "409 idempotency-in-flight"),
        }
    }
    assert_eq!(fresh, 1);
    assert_eq!(server.audited("call.done").await.len(), 1);
}

/// A halt ends what has begun; what waits for its turn has not, and its key may be used
/// again once the halt is lifted.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_does_not_begin_when_it_is_halted() {
    let server = Server::start().await;
    server.install("echo", guests::sleep()).await;
    let limits = |wall: &str| json!({ "wall": wall, "concurrency": 1 });
    for (what, part) in [("all", json!({})), ("one", json!({ "plugin": "echo" }))] {
        let halt = async |halted: bool| {
            let mut body = part.clone();
            body["halted"] = halted.into();
            let answer = server.admin("POST", "/v1/halt", body.to_string()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        };
        server.grant("echo", json!({}), limits("60s")).await;
        let keys = [1, 2, 3].map(|n| format!("{what}-{n}"));
        let first = server.admin("POST", "/v1/tools/echo/run", "1");
        let waiting = keys
            .iter()
            .map(|key| call(&server, &server.admin, key, "2"));
        let waiting = futures_util::future::join_all(waiting);
        let meanwhile = async {
            server.a_call_runs().await;
            server
                .eventually("the others wait", async || {
                    server.figure("airlock_calls_waiting").await == 3
                })
                .await;
            halt(true).await;
        };
        let (first, waited, ()) = tokio::join!(first, waiting, meanwhile);
        // It began before the others, or one of them did.
        let all: Vec<String> = waited.iter().chain([&first]).map(Answer::verdict).collect();
        let begun = all.iter().filter(|verdict| *verdict == "503 cancelled");
        assert_eq!(begun.count(), 1, "{all:?}");
        let refused = all.iter().filter(|verdict| *verdict == "503 halted");
        assert_eq!(refused.count(), 3, "{all:?}");
        halt(false).await;
        server.grant("echo", json!({}), limits("2s")).await;
        for (key, answer) in keys.iter().zip(&waited) {
            if answer.verdict() == "503 halted" {
                let again = call(&server, &server.admin, key, "2").await;
                assert_eq!(again.verdict(), "504 limit", "it is made");
            }
        }
    }
    server.stopped().await;
}
