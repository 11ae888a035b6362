//! Clients that mean no good: arbitrary bodies, slow ones, many.

use std::time::Duration;

use airlock_fuzz::{json_damage, text_damage};
use airlock_runtime::Role;
use airlock_server::{ROUTES, Route, ServerConfig};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::guests;
use crate::server::Server;

fn json() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
        prop::sample::select(vec![
            "echo",
            "sha256:",
            "admin",
            "files",
            "1h",
            "../x",
            "airlock-head:v1:0"
        ])
        .prop_map(Into::into),
    ];
    let name = prop_oneof![
        "\\PC{0,8}",
        prop::sample::select(vec![
            "grants",
            "limits",
            "effects",
            "plugins",
            "digest",
            "principal",
            "roles",
            "version",
            "why",
            "capability",
            "operation",
            "head",
            "expires_in_s",
            "files",
            "http",
            "kv",
            "cpu",
            "rate",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string().into_bytes())
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        json(),
        prop::collection::vec(any::<u8>(), 0..200),
        Just(b"[".repeat(100_000)),
        Just(b"\0asm\x0d\0\x01\0".to_vec()),
    ]
}

/// A body that the route takes.
fn valid_body(path: &str) -> Value {
    let grants = json!({
        "files": [{ "host": "/srv", "guest": "/a", "access": "read", "bytes": "1GiB" }],
        "http": [{ "url": "https://api.example.com/v1/*", "methods": ["GET"], "rate": "9/s" }],
        "kv": [{ "bucket": "seen", "bytes": "1MiB", "scope": "principal" }],
        "effects": { "run": "read-only" },
    });
    let limits = json!({ "memory": "64MiB", "cpu": "500ms", "wall": "10s", "rate": "100/min" });
    let digest = format!("sha256:{}", "0".repeat(64));
    match path {
        "/v1/plugins/{plugin}/grants" => {
            json!({ "grants": grants, "limits": limits, "why": "fuzz" })
        }
        "/v1/plugins/{plugin}/grants/rollback" => json!({ "version": 1, "why": "fuzz" }),
        "/v1/plugins/{plugin}/explain" => json!({ "capability": "files", "operation": "read /a" }),
        "/v1/plugins/{plugin}/activate" => json!({ "digest": digest, "downgrade": true }),
        "/v1/plugins/{plugin}/mcp" => json!({
            "server": { "url": "https://127.0.0.1:1/mcp", "headers": { "x-key": "key" } }, "check": true,
        }),
        "/v1/policy/diff" | "/v1/policy/apply" => {
            json!({ "plugins": { "echo": { "digest": digest, "grants": grants, "limits": limits } } })
        }
        "/v1/tokens" => {
            json!({ "principal": "a", "roles": ["caller"], "plugins": ["echo"], "expires_in_s": 9 })
        }
        "/v1/audit/verify" => json!({ "head": "airlock-head:v1:0" }),
        "/v1/runs" => {
            json!({ "agent": "echo", "goal": "g", "input": {}, "autonomy": "ask", "budget": { "calls": 1 } })
        }
        "/v1/schedules" | "/v1/schedules/{name}" => json!({
            "name": "x", "cron": "0 3 * * mon-fri", "zone": "Europe/Berlin", "catch_up": "all",
            "catch_up_max": 9, "overlap": "queue", "start": { "agent": "echo", "input": {} },
        }),
        "/v1/hooks" => json!({
            "name": "x", "scheme": "github", "secret": "sixteen characters", "rate_per_min": 9,
            "signal": { "run_at": "/run", "agent": "echo", "name": "n" },
        }),
        "/v1/hooks/{name}/rotate" => json!({ "secret": "sixteen characters", "keep_s": 9 }),
        "/v1/models/try" => json!({ "role": "fast", "text": "hello" }),
        "/v1/memory/search" => json!({
            "namespaces": ["shared/x"], "text": "\"a b\" c", "vector": [0.5, -1.0],
            "labels": { "k": "v" }, "from_ms": 1, "to_ms": 9, "limit": 5,
        }),
        "/v1/memory/import" => json!({
            "namespace": "shared/x", "prefix": "p/", "labels": { "k": "v" }, "there": ["a.md"],
            "no_embed": true, "refused": [{ "path": "b.md", "reason": "r", "passed_over": true }],
            "files": [{ "path": "a.md", "chunks": [{ "text": "t", "source": { "lines": [1, 2] } }] }],
        }),
        "/v1/memory/{kind}/{name}/{id}" => json!({
            "text": "a b c", "value": { "n": 1 }, "labels": { "k": "v" }, "vector": [0.5, -1.0],
            "ttl_ms": 60_000, "source": { "uri": "u", "page": 1 }, "expect": "any",
        }),
        "/v1/halt" => json!({ "halted": false, "why": "fuzz" }),
        "/v1/runs/prune" => json!({ "older_than_s": 1_000_000, "agent": "echo", "dry_run": true }),
        "/v1/runs/{id}/fork" => json!({ "at": 1, "input": {}, "agent": digest }),
        "/v1/runs/{id}/replay" => json!({ "agent": digest }),
        "/v1/runs/{id}/cancel" => json!({ "why": "fuzz" }),
        "/v1/runs/{id}/resume" => {
            json!({ "request": 1, "outcome": { "record": 1 }, "budget": { "events": 9 } })
        }
        "/v1/runs/{id}/signals/{name}" => json!({ "payload": { "a": 1 } }),
        "/v1/approvals/{id}" => json!({ "decision": "yes", "note": "n", "binding": "sha256:0" }),
        _ => json!({ "a": [1, "b", null] }),
    }
}

/// Where a body goes, with everything that the path and query need.
fn target(path: &str) -> String {
    if path == "/v1/plugins" {
        return "/v1/plugins?name=hostile&wait=true".to_owned();
    }
    path.replace("{plugin}", "echo")
        .replace("{tool}", "run")
        .replace("{kind}", "shared")
        .replace("{name}", "x")
}

#[test]
fn fuzz_no_body_makes_the_server_fail() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(async {
        let server = Server::start().await;
        server.install("echo", guests::echo()).await;
        server
    });
    let send = |route: &Route, body: Vec<u8>| {
        runtime.block_on(server.admin(route.method, &target(route.path), body))
    };
    let takes_bodies: Vec<_> = ROUTES
        .iter()
        .filter(|route| matches!(route.method, "POST" | "PUT"))
        .collect();
    assert!(takes_bodies.len() >= 10);
    for route in &takes_bodies {
        let answer = send(route, valid_body(route.path).to_string().into_bytes());
        let verdict = answer.verdict();
        assert!(
            !verdict.contains("invalid-body"),
            "{} {answer:?}",
            route.path
        );
    }
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..airlock_fuzz::cases(24)
    });
    let bodies = (body(), json_damage(), text_damage());
    let checked = runner.run(&bodies, |(noise, tree, text)| {
        for route in &takes_bodies {
            let valid = valid_body(route.path);
            let (tree, text) = (tree.to(&valid).to_string(), text.to(&valid.to_string()));
            for body in [noise.clone(), tree.into_bytes(), text.into_bytes()] {
                let answer = send(route, body);
                let verdict = answer.verdict();
                prop_assert!(
                    answer.status < 500 || verdict.starts_with("502"),
                    "{} {answer:?}",
                    route.path
                );
            }
            // Damage may have made it a halt, which all others would meet.
            if route.path == "/v1/halt" {
                let lifted = send(route, br#"{"halted":false}"#.to_vec());
                prop_assert_eq!(lifted.status, 200, "{:?}", lifted);
            }
        }
        Ok(())
    });
    checked.expect("no failure");
    let healthy = runtime.block_on(server.admin("GET", "/readyz", ""));
    assert_eq!(healthy.status, 200);
    runtime.block_on(server.stopped());
}

/// Sends text as it is, and reads until the server closes.
async fn raw(server: &Server, text: &str) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(text.as_bytes()).await.expect("writes");
    let mut reply = Vec::new();
    // A reset after the reply is as good as an end.
    let _ = stream.read_to_end(&mut reply).await;
    String::from_utf8_lossy(&reply).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_bodies_and_idle_connections_are_given_up() {
    let config = ServerConfig {
        header_read_timeout: Duration::from_millis(500),
        body_read_timeout: Duration::from_millis(500),
        ..ServerConfig::default()
    };
    let server = Server::start_with(config).await;
    let half_a_head = raw(&server, "GET /healthz HTTP/1.1\r\nhost: loc").await;
    assert!(!half_a_head.contains("200 OK"), "{half_a_head}");
    assert_eq!(raw(&server, "").await, "", "an idle connection is closed");
    let admin = &server.admin;
    let half_a_body = format!(
        "POST /v1/tools/x/y HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {admin}\r\ncontent-length: 100\r\n\r\n{{"
    );
    let answer = raw(&server, &half_a_body).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    server.stopped().await;
}

/// Reads a response's bytes until `end` is among them.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.expect("reads");
        assert_ne!(count, 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    text
}

/// Nothing is done for a token that was revoked while the body came.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_takes_its_time_gains_no_rights() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let kv = json!({ "grants": { "kv": [{ "bucket": "b" }] } });
    let policy = json!({ "plugins": { "echo": kv } }).to_string();
    let token = json!({ "principal": "x", "roles": ["admin"] }).to_string();
    let install = "/v1/plugins?name=echo&wait=true&activate=true";
    let table = [
        ("POST", "/v1/tokens", token.into_bytes()),
        (
            "PUT",
            "/v1/plugins/echo/grants",
            kv.to_string().into_bytes(),
        ),
        ("POST", "/v1/policy/apply", policy.into_bytes()),
        ("PUT", "/v1/secrets/k", b"s3cr3t-value".to_vec()),
        ("POST", install, guests::echo_other().to_vec()),
        ("POST", "/v1/tools/echo/run", b"1 ".to_vec()),
    ];
    let before = server.admin("GET", "/v1/plugins/echo", "").await.body;
    for (method, path, body) in table {
        let token = server.token("leaked", &[Role::Admin], None).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("writes");
        // It is asked for the body, so its token was good.
        read_until(&mut stream, "100 Continue").await;
        let (most, last) = body.split_at(body.len() - 1);
        stream.write_all(most).await.expect("writes");
        let tokens = server.runtime.tokens();
        let id = &tokens.last().expect("the newest").id;
        let revoke = format!("/v1/tokens/{id}");
        assert_eq!(server.admin("DELETE", &revoke, "").await.status, 200);
        stream.write_all(last).await.expect("writes");
        let answer = read_until(&mut stream, "}").await;
        assert!(answer.contains("HTTP/1.1 401 "), "{path}: {answer}");
        assert_eq!(server.runtime.tokens().len(), tokens.len(), "{path}");
    }
    let after = server.admin("GET", "/v1/plugins/echo", "").await.body;
    assert_eq!(after, before);
    let secrets = server.admin("GET", "/v1/secrets", "").await.json();
    assert_eq!(secrets["secrets"], json!([]));
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_get_400_and_harm_nobody() {
    let config = ServerConfig {
        header_read_timeout: Duration::from_secs(2),
        ..ServerConfig::default()
    };
    let server = Server::start_with(config).await;
    let many = "x: y\r\n".repeat(200);
    let long = "a".repeat(100_000);
    for (text, expect, described) in [
        ("nonsense\r\n\r\n".to_owned(), "400", false),
        (format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"), "431", false),
        (format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"), "431", false),
        ("GET /v1/plugins HTTP/1.1\r\n\r\n".to_owned(), "400", true),
        ("GET /v1/plugins HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n\r\n".to_owned(), "400", true),
        ("GET http://evil/v1/plugins HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), "400", true),
        ("POST /v1/tokens HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello".to_owned(), "400", false),
    ] {
        let answer = raw(&server, &text).await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(status, expect, "{text:.60} {answer}");
        let problem = answer.contains("application/problem+json");
        assert_eq!(problem, described, "{text:.60} {answer}");
    }
    assert_eq!(server.send("GET", "/healthz", &[], "").await.status, 200);
    server.stopped().await;
}

/// Bodies that are announced and do not come leave their room to others.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_come_hold_nothing() {
    let config = ServerConfig {
        bodies_bytes_max: 5 << 20,
        ..ServerConfig::default()
    };
    let server = Server::start_with(config).await;
    let viewer = server.token("eve", &[Role::Viewer], None).await;
    let mut held = Vec::new();
    for (length, part) in [
        ("transfer-encoding: chunked", "400000\r\n{"),
        ("content-length: 4194304", "{"),
        ("transfer-encoding: chunked", ""),
    ] {
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {viewer}\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        stream.write_all(head.as_bytes()).await.expect("writes");
        // It waits for the body, so it has its room.
        read_until(&mut stream, "100 Continue").await;
        stream.write_all(part.as_bytes()).await.expect("writes");
        held.push(stream);
    }
    let policy = json!({ "plugins": {}, "why": " ".repeat(1 << 20) }).to_string();
    let other = server.admin("POST", "/v1/policy/diff", policy).await;
    assert_ne!(other.status, 503, "{other:?}");
    drop(held);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_held_bodies_are_bounded() {
    let config = ServerConfig {
        connections_max: 2,
        bodies_bytes_max: 64 << 10,
        header_read_timeout: Duration::from_secs(5),
        ..ServerConfig::default()
    };
    let server = Server::start_with(config).await;
    let body = vec![b' '; 128 << 10];
    let large = server.admin("PUT", "/v1/plugins/x/grants", body).await;
    assert_eq!(large.verdict(), "503 overloaded");
    assert_eq!(large.header("retry-after"), Some("1"));
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(TcpStream::connect(server.address).await.expect("connects"));
    }
    server
        .eventually("the third is refused", async || {
            let answer = raw(&server, "").await;
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1")
        })
        .await;
    drop(held);
    server
        .eventually("places are given back", async || {
            let answer = raw(
                &server,
                "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            )
            .await;
            answer.starts_with("HTTP/1.1 200 ")
        })
        .await;
    server.stopped().await;
}
