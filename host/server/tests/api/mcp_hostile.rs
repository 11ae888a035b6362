//! The Model Context Protocol against clients that mean no good, or are confused.

use airlock_fuzz::{json_damage, text_damage};
use airlock_runtime::Role;
use airlock_server::{McpConfig, ServerConfig};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::guests;
use crate::mcp_client::{ACCEPT, CURRENT, Client, EARLIER};
use crate::server::Server;

/// A request that is right but for what a case changes.
struct Case<'a> {
    says: &'a str,
    method: &'a str,
    change: &'a [(&'a str, &'a str)],
    body: String,
    expect: &'a str,
}

fn ping() -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }).to_string()
}

fn begin() -> String {
    let params = json!({
        "protocolVersion": EARLIER[0], "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string()
}

fn cases() -> Vec<Case<'static>> {
    let case = |says, change, body, expect| Case {
        says,
        method: "POST",
        change,
        body,
        expect,
    };
    vec![
        case(
            "no token",
            &[("authorization", "")],
            begin(),
            "401 unauthenticated",
        ),
        case(
            "another's",
            &[("authorization", "Bearer airlock_0_0")],
            begin(),
            "401 unauthenticated",
        ),
        case(
            "a name of another site",
            &[("host", "evil.test")],
            begin(),
            "421 host-not-allowed",
        ),
        case(
            "a page's",
            &[("origin", "http://evil.test")],
            begin(),
            "403 origin-not-allowed",
        ),
        case("nothing", &[], String::new(), "400 body-missing"),
        case("no JSON", &[], "{".to_owned(), "400 invalid-json"),
        case(
            "another encoding",
            &[],
            "{\"a\":\"\u{0}\"}".to_owned(),
            "400 invalid-json",
        ),
        case("no message", &[], "{}".to_owned(), "400 invalid-message"),
        case(
            "an argument twice",
            &[],
            ping().replacen('{', r#"{"params":{"arguments":{"a":1,"\u0061":2}},"#, 1),
            "400 member-twice",
        ),
        case(
            "no JSON, twice",
            &[],
            r#"{"a":1,"a":2"#.to_owned(),
            "400 invalid-json",
        ),
        case("a number", &[], "1".to_owned(), "400 invalid-message"),
        case(
            "several",
            &[],
            format!("[{},{}]", ping(), ping()),
            "400 invalid-message",
        ),
        case("deep", &[], "[".repeat(100_000), "400 invalid-json"),
        case(
            "another media type",
            &[("content-type", "text/plain")],
            begin(),
            "415 unsupported-media-type",
        ),
        case(
            "no stream",
            &[("accept", "application/json")],
            begin(),
            "406 not-acceptable",
        ),
        case(
            "a beginning under a version without sessions",
            &[("mcp-protocol-version", CURRENT)],
            begin().replace(EARLIER[0], CURRENT),
            "200",
        ),
        case("no session", &[], ping(), "400 bad-message"),
        case(
            "a session there is not",
            &[("mcp-session-id", "x")],
            ping(),
            "404 session-not-found",
        ),
        case(
            "a version there is not",
            &[("mcp-protocol-version", "1999-01-01")],
            ping(),
            "400 bad-message",
        ),
        Case {
            says: "no session to hear",
            method: "GET",
            change: &[],
            body: String::new(),
            expect: "400 bad-message",
        },
        Case {
            says: "no session to end",
            method: "DELETE",
            change: &[],
            body: String::new(),
            expect: "400 bad-message",
        },
        Case {
            says: "another method",
            method: "PUT",
            change: &[],
            body: String::new(),
            expect: "405 method-not-allowed",
        },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_does_not_reach_the_protocol() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin);
    let right = [
        ("authorization", bearer.as_str()),
        ("accept", ACCEPT),
        ("content-type", "application/json"),
    ];
    for case in cases() {
        let kept = |(name, _): &&(&str, &str)| !case.change.iter().any(|(other, _)| other == name);
        let mut headers: Vec<(&str, &str)> = right.iter().filter(kept).copied().collect();
        headers.extend(case.change.iter().filter(|(_, value)| !value.is_empty()));
        let answer = server.send(case.method, "/mcp", &headers, case.body).await;
        assert_eq!(answer.verdict(), case.expect, "{}: {answer:?}", case.says);
        if answer.status == 401 {
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Bearer"),
                "{}",
                case.says
            );
        }
        if case.expect.ends_with("invalid-json") {
            assert_eq!(answer.json()["error"]["code"], -32_700, "{}", case.says);
        }
        if case.expect.ends_with("invalid-message") || case.expect.ends_with("member-twice") {
            assert_eq!(answer.json()["error"]["code"], -32_600, "{}", case.says);
        }
    }
    server.stopped().await;
}

/// Without the body: it is refused for what it says of its length.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_is_not_read() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        server.admin,
        (4 << 20) + 1
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut reply = Vec::new();
    // A reset after the reply is as good as an end.
    let _ = stream.read_to_end(&mut reply).await;
    let reply = String::from_utf8_lossy(&reply);
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    assert!(reply.contains("\"body-too-large\""), "{reply}");
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_errors_of_the_protocol() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let current = Client::current(&server, &server.admin);
    let earlier = Client::begin(&server, &server.admin, EARLIER[0]).await;
    let tool = |name: &str| json!({ "name": name, "arguments": {} });
    let table = [
        ("nonsense/method", json!({}), -32_601),
        ("resources/list", json!({}), -32_601),
        ("prompts/list", json!({}), -32_601),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "x" }, "argument": { "name": "a", "value": "" } }),
            -32_601,
        ),
        ("tools/call", json!({}), -32_602),
        (
            "tools/call",
            json!({ "name": "echo__run", "arguments": [] }),
            -32_602,
        ),
        ("tools/call", tool("none__run"), -32_602),
        ("tools/call", tool("echo__none"), -32_602),
        ("tools/call", tool("echo/run"), -32_602),
        ("tools/call", tool("echo"), -32_602),
        ("tools/call", tool(""), -32_602),
        ("tools/call", tool("../secrets"), -32_602),
        ("tools/call", tool("a-H00000000000000000000"), -32_602),
    ];
    for (method, params, code) in table {
        for client in [&current, &earlier] {
            let found = client.error(method, params.clone()).await;
            assert_eq!(found, code, "{method} {params}");
        }
    }
    // The version without sessions has no such method.
    let bogus = json!({ "level": "bogus" });
    let found = earlier.error("logging/setLevel", bogus.clone()).await;
    assert_eq!(found, -32_602);
    let found = current.error("logging/setLevel", bogus).await;
    assert_eq!(found, -32_601);
    // A version that this server does not speak, in the request itself.
    let mut params = json!({});
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2199-01-01");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params });
    let bearer = format!("Bearer {}", server.admin);
    let headers = [
        ("authorization", bearer.as_str()),
        ("accept", ACCEPT),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2199-01-01"),
        ("mcp-method", "tools/list"),
    ];
    let answer = server
        .send("POST", "/mcp", &headers, message.to_string())
        .await;
    let error = &answer.json()["error"];
    assert_eq!(answer.status, 400, "{answer:?}");
    let supported = error["data"]["supported"].as_array().expect("a list");
    assert!(supported.contains(&json!(CURRENT)), "{error}");
    server.stopped().await;
}

/// A session is its token's: another's finds nothing there, of the same person too.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_belongs_to_its_token() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let anna = server.token("anna", &[Role::Caller], None).await;
    let tokens = [
        server.token("anna", &[Role::Caller], None).await,
        server.token("ben", &[Role::Caller], None).await,
        server.admin.clone(),
    ];
    let own = Client::begin(&server, &anna, EARLIER[0]).await;
    let session = own.session.clone().expect("a session");
    for token in &tokens {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("accept", ACCEPT),
            ("content-type", "application/json"),
            ("mcp-session-id", session.as_str()),
            ("mcp-protocol-version", EARLIER[0]),
        ];
        for (method, body) in [
            ("POST", ping()),
            ("GET", String::new()),
            ("DELETE", String::new()),
        ] {
            let answer = server.send(method, "/mcp", &headers, body).await;
            assert_eq!(answer.verdict(), "404 session-not-found", "{method}");
        }
    }
    let result = own.call("echo__run", json!({ "a": 1 })).await;
    assert_eq!(
        result["structuredContent"],
        json!({ "a": 1 }),
        "it is still there"
    );
    server
        .eventually("the attempts are on record", async || {
            !server.audited("auth.refused").await.is_empty()
        })
        .await;
    server.stopped().await;
}

/// A token that was revoked does nothing more, and its sessions are over.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_acts_no_more() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "55s" }))
        .await;
    let token = server.token("anna", &[Role::Caller], None).await;
    let client = Client::begin(&server, &token, EARLIER[0]).await;
    let current = Client::current(&server, &token);
    let mut stream = client.listen().await;
    let wants = json!({ "notifications": { "toolsListChanged": true } });
    let (mut subscribed, _) = current.open("subscriptions/listen", wants).await;
    let (mut call, under_way) = client
        .open("tools/call", json!({ "name": "sleep__run" }))
        .await;
    server.a_call_runs().await;
    // Its id stays its own until it is answered.
    client.go_back_to(under_way);
    let answer = client.post("tools/list", json!({})).await;
    assert_eq!(answer.verdict(), "400 id-in-use");
    let answer = client.post("tools/list", json!({})).await;
    assert_eq!(answer.verdict(), "200");
    client.go_back_to(under_way + 1);
    let answer = client.post("tools/list", json!({})).await;
    assert_eq!(answer.verdict(), "200", "that one was answered");
    let id = token.split('_').nth(1).expect("its id");
    let revoked = server
        .admin("DELETE", &format!("/v1/tokens/{id}"), "")
        .await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let ended = [
        stream.rest().await,
        subscribed.rest().await,
        call.rest().await,
    ];
    let results = ended
        .iter()
        .flatten()
        .filter(|said| said["result"]["content"].is_array())
        // That it was cancelled may still be told.
        .filter(|said| said["result"]["_meta"]["airlock/error"]["code"] != "cancelled");
    assert_eq!(results.count(), 0, "{ended:?}");
    server
        .eventually("the call has ended", async || {
            server.figure("airlock_calls_in_flight").await == 0
        })
        .await;
    let cancelled = async || {
        let calls = server.admin("GET", "/v1/calls", "").await.json();
        calls["calls"][0]["outcome"] == "cancelled"
    };
    server
        .eventually("it is on record as cancelled", cancelled)
        .await;
    for client in [&client, &current] {
        let answer = client.post("tools/list", json!({})).await;
        assert_eq!(answer.verdict(), "401 unauthenticated");
    }
    server.stopped().await;
}

/// There are so many sessions at most; one that is ended, or in which nothing
/// happens, makes room.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded_in_number_and_time() {
    let config = ServerConfig {
        mcp: McpConfig {
            sessions_max: 3,
            sessions_of_token_max: 2,
            session_idle: std::time::Duration::from_secs(2),
            ..McpConfig::default()
        },
        ..ServerConfig::default()
    };
    let server = Server::start_with(config).await;
    let anna = server.token("anna", &[Role::Caller], None).await;
    let ben = server.token("ben", &[Role::Caller], None).await;
    let try_begin = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("authorization", bearer.as_str()),
            ("accept", ACCEPT),
            ("content-type", "application/json"),
        ];
        let answer = server.send("POST", "/mcp", &headers, begin()).await;
        let session = answer.header("mcp-session-id").map(str::to_owned);
        (answer.verdict(), session)
    };
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let (verdict, session) = try_begin(&anna).await;
        assert_eq!(verdict, "200");
        sessions.push(session.expect("a session"));
    }
    assert_eq!(try_begin(&anna).await.0, "429 too-many-sessions");
    assert_eq!(try_begin(&ben).await.0, "200");
    assert_eq!(try_begin(&ben).await.0, "503 overloaded");
    // Without a session there is always room.
    let current = Client::current(&server, &ben);
    assert_eq!(current.tools().await, Vec::<Value>::new());
    let bearer = format!("Bearer {anna}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("mcp-session-id", sessions[0].as_str()),
    ];
    let ended = server.send("DELETE", "/mcp", &headers, "").await;
    assert!(ended.status < 300, "{ended:?}");
    server
        .eventually("a session that was ended leaves its place", async || {
            try_begin(&anna).await.0 == "200"
        })
        .await;
    server
        .eventually("a session that nothing happens in is over", async || {
            try_begin(&ben).await.0 == "200"
        })
        .await;
    server.stopped().await;
}

/// Messages of both kinds that were right once: whatever becomes of them, the
/// server answers, with no failure of its own, and goes on.
#[test]
fn fuzz_no_message_makes_the_server_fail() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(async {
        let server = Server::start().await;
        server.install("echo", guests::echo()).await;
        server
    });
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": CURRENT,
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {} },
        "progressToken": 1, "airlock/idempotency-key": "k", "airlock/timeout-ms": 10_000,
    });
    let params = json!({ "name": "echo__run", "arguments": { "a": [1] }, "_meta": meta });
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let begin: Value = serde_json::from_str(&begin()).expect("JSON");
    let bearer = format!("Bearer {}", server.admin);
    let send = |current: bool, body: String| {
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("accept", ACCEPT),
            ("content-type", "application/json"),
        ];
        if current {
            headers.push(("mcp-protocol-version", CURRENT));
            headers.push(("mcp-method", "tools/call"));
            headers.push(("mcp-name", "echo__run"));
        }
        runtime.block_on(server.send("POST", "/mcp", &headers, body))
    };
    assert_eq!(send(true, call.to_string()).status, 200);
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..airlock_fuzz::cases(24)
    });
    let checked = runner.run(&(json_damage(), text_damage()), |(tree, text)| {
        for (current, valid) in [(true, &call), (false, &begin)] {
            let bodies = [tree.to(valid).to_string(), text.to(&valid.to_string())];
            for body in bodies {
                let answer = send(current, body.clone());
                // As many sessions as there may be is an answer too.
                let failed = answer.status >= 500 && answer.status != 503;
                prop_assert!(!failed, "{body}: {answer:?}");
            }
        }
        Ok(())
    });
    checked.expect("no failure");
    assert_eq!(send(true, call.to_string()).status, 200);
    runtime.block_on(server.stopped());
}
