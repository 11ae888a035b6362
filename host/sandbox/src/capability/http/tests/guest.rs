//! The same attacks by a real component through the whole sandbox, while a
//! neighbour works. The guest is `tests/guests/evil-http`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::harness::{Say, Server, World, is_whole, ok, until};
use crate::limits::{Limits, Span};
use crate::sandbox::{Plugin, Sandbox};
use crate::testing::{ECHO, TestSandbox, built, config, guest, request};
use crate::{CallError, CallReport, Grants};

const TOOLS: &[&str] = &[
    "ask",
    "ask_each",
    "append_each",
    "hour",
    "drip",
    "half_a_body",
    "headers_out",
    "headers_in",
    "many_fields",
    "many_bodies",
    "many_requests",
    "read_nothing",
    "place_secret",
    "read_in_pieces",
];

/// Far from what a slow machine needs.
fn limits() -> Limits {
    Limits {
        cpu: Span(Duration::from_secs(60)),
        wall: Span(Duration::from_secs(300)),
        ..Limits::default()
    }
}

struct Evil {
    world: World,
    sandbox: TestSandbox,
    plugin: Arc<Plugin>,
    neighbour: Arc<Plugin>,
}

impl Evil {
    fn new(grants: &str, limits: Limits) -> Self {
        Self::on(World::new(), grants, limits)
    }

    fn on(world: World, grants: &str, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let components = Arc::<crate::testing::MemoryComponents>::default();
        let services = Arc::clone(&world.services);
        let sandbox = Sandbox::new(
            config(dir.path()),
            Arc::clone(&services),
            components.clone(),
        )
        .unwrap();
        let audit = Arc::default();
        let sandbox = TestSandbox {
            sandbox,
            services,
            audit,
            components,
            dir,
        };
        let plugin = sandbox.plugin("evil", built("evil_http"), grants, limits, TOOLS);
        let neighbour = sandbox.plugin("echo", guest("", ECHO), "", self::limits(), &["echo"]);
        Self {
            world,
            sandbox,
            plugin,
            neighbour,
        }
    }

    /// Calls a tool while the neighbour works.
    async fn report(&self, tool: &str, input: &Value) -> CallReport {
        let call = request(tool, &input.to_string());
        let evil = self.sandbox.sandbox.call(&self.plugin, call);
        let good = self
            .sandbox
            .sandbox
            .call(&self.neighbour, request("echo", r#"{"n":1}"#));
        let (evil, good) = tokio::join!(evil, good);
        assert_eq!(good.result.as_deref(), Ok(r#"{"n":1}"#), "the neighbour");
        evil
    }

    async fn attack(&self, tool: &str, input: Value) -> Value {
        let output = self.report(tool, &input).await.result.expect("an answer");
        serde_json::from_str(&output).expect("JSON")
    }
}

fn is_limit(report: &CallReport, name: &str) -> bool {
    matches!(&report.result, Err(CallError::Limit { limit, .. }) if limit == name)
}

fn at(server: &Server, path: &str) -> Value {
    json!({ "scheme": "http", "authority": server.address.to_string(), "path": path })
}

fn with(mut input: Value, key: &str, value: impl Into<Value>) -> Value {
    input[key] = value.into();
    input
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_reaches_what_was_granted() {
    let server = Server::new(|_| ok("hello")).await;
    let evil = Evil::new(&server.grant(""), limits());
    let post = with(with(at(&server, "/a?b=1"), "method", "POST"), "body", "abc");
    let report = evil.report("ask", &post).await;
    let told: Value = serde_json::from_str(&report.result.unwrap()).unwrap();
    assert_eq!(
        (&told["status"], &told["body"]),
        (&json!(200), &json!("hello"))
    );
    assert!(server.last().contains("3\r\nabc\r\n"), "{}", server.last());
    assert_eq!(report.denials, []);
    let usage = report
        .usage
        .capabilities
        .iter()
        .find(|usage| usage.capability == "http");
    let usage = usage.expect("http was used");
    assert_eq!((usage.rule, usage.allowed, usage.denied), (Some(0), 1, 0));
    assert!(usage.bytes_in >= 5 && usage.bytes_out >= 3, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_reaches_what_was_not_granted() {
    let inner = Server::new(|_| ok("inner")).await;
    let port = inner.address.port();
    let world = World::new();
    for name in ["allowed.test", "a.allowed.test"] {
        world.names.add(name, &[&["127.0.0.1"]]);
    }
    let grants = format!(
        r#"http = [
            {{ url = "http://allowed.test:{port}/v1/*" }},
            {{ url = "http://*.allowed.test:{port}/v1/*" }},
        ]"#
    );
    let evil = Evil::on(world, &grants, limits());
    let mut hosts = Vec::new();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "169.254.169.254",
        "10.0.0.1",
        "allowed.test.evil.test",
        "evil.test",
        "allowed.test@127.0.0.1",
        "user:pw@allowed.test",
        "x.y.allowed.test",
        "allowed.test.",
        "xallowed.test",
        "allowed.test%2eevil.test",
    ] {
        hosts.push(json!([format!("{host}:{port}"), "/v1/x"]));
    }
    for path in [
        "/v2/x",
        "/v1/..",
        "/v1/../v2/x",
        "/v1/%2e%2e/v2",
        "/v1/..%2fv2",
        "/v1/x/y",
        "//v1/x",
    ] {
        hosts.push(json!([format!("allowed.test:{port}"), path]));
    }
    // A granted name on a private address: the rule does not say `allow_private`.
    for host in ["allowed.test", "ALLOWED.test", "a.allowed.test"] {
        hosts.push(json!([format!("{host}:{port}"), "/v1/x"]));
    }
    let count = hosts.len();
    let report = evil
        .report("ask_each", &json!({ "scheme": "http", "headers": hosts }))
        .await;
    let told: Value = serde_json::from_str(&report.result.unwrap()).unwrap();
    let told = told.as_object().unwrap();
    assert_eq!(told.len(), count);
    for (url, told) in told {
        let granted = url.to_ascii_lowercase().ends_with(
            "allowed.test:PORT /v1/x"
                .replace("PORT", &port.to_string())
                .as_str(),
        );
        let named = ["allowed.test", "ALLOWED.test", "a.allowed.test"];
        let granted = granted
            && named
                .iter()
                .any(|name| url.starts_with(&format!("{name}:")));
        let expected = match granted {
            true => "ErrorCode::DestinationIpProhibited",
            false => "ErrorCode::HttpRequestDenied",
        };
        let refused = told["refused"] == "authority" || told["refused"] == "path";
        assert!(refused || told["error"] == expected, "{url} {told}");
    }
    assert_eq!(inner.connections(), 0);
    let asked = evil.world.names.asked.lock().unwrap().clone();
    assert!(
        asked.iter().all(|name| name.ends_with("allowed.test")),
        "{asked:?}"
    );
    assert!(!report.denials.is_empty());
    for denial in report.denials {
        assert!(
            denial.capability == "http" && !denial.rule.is_empty(),
            "{denial:?}"
        );
        assert!(!denial.operation.contains("pw@"), "{denial:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemes_methods_and_redirects() {
    let inner = Server::new(|_| ok("inner")).await;
    let location = inner.url("/");
    let server = Server::new(move |_| {
        vec![Say::text(format!(
            "HTTP/1.1 307 Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
        ))]
    })
    .await;
    let evil = Evil::new(&server.grant(""), limits());
    let denied = json!({ "error": "ErrorCode::HttpRequestDenied" });
    assert_eq!(
        evil.attack("ask", with(at(&server, "/"), "method", "DELETE"))
            .await,
        denied
    );
    assert_eq!(
        evil.attack("ask", with(at(&server, "/"), "method", "get"))
            .await,
        denied
    );
    assert_eq!(
        evil.attack("ask", with(at(&server, "/"), "method", "CONNECT"))
            .await,
        denied
    );
    assert_eq!(
        evil.attack("ask", with(at(&server, "/"), "scheme", "https"))
            .await,
        denied
    );
    assert_eq!(
        evil.attack("ask", with(at(&server, "/"), "scheme", ""))
            .await,
        denied
    );
    let other = json!({ "error": "ErrorCode::HttpProtocolError" });
    assert_eq!(
        evil.attack("ask", with(at(&server, "/"), "scheme", "file"))
            .await,
        other
    );
    let method = evil
        .attack(
            "ask",
            with(at(&server, "/"), "method", "GET / HTTP/1.1\r\nx: y"),
        )
        .await;
    assert_eq!(method, json!({ "refused": "method" }));
    assert_eq!(server.connections(), 0);
    let moved = evil.attack("ask", at(&server, "/")).await;
    assert_eq!(moved["status"], 307);
    assert_eq!(evil.attack("ask", at(&inner, "/")).await, denied);
    assert_eq!(inner.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_connection_are_the_hosts() {
    let evil = Evil::new("", limits());
    let mut headers = Vec::new();
    for name in [
        "Host",
        "connection",
        "Transfer-Encoding",
        "proxy-authorization",
        "TE",
        "upgrade",
        "X-HTTP-Method-Override",
        "x_original_url",
    ] {
        headers.push(json!([name, "evil.test"]));
    }
    for (name, value) in [
        ("x", "a\r\nhost: evil.test"),
        ("x", "a\0"),
        ("x y", "1"),
        ("x:", "1"),
        ("", "1"),
    ] {
        headers.push(json!([name, value]));
    }
    headers.push(json!(["accept", "text/plain"]));
    let told = evil
        .attack("append_each", json!({ "headers": headers }))
        .await;
    assert_eq!(
        told,
        json!({
            "Host: evil.test": "forbidden", "connection: evil.test": "forbidden",
            "Transfer-Encoding: evil.test": "forbidden", "proxy-authorization: evil.test": "forbidden",
            "TE: evil.test": "forbidden", "upgrade: evil.test": "forbidden",
            "X-HTTP-Method-Override: evil.test": "forbidden", "x_original_url: evil.test": "forbidden",
            "x: a\r\nhost: evil.test": "invalid", "x: a\0": "invalid", "x y: 1": "invalid",
            "x:: 1": "invalid", ": 1": "invalid", "accept: text/plain": "ok",
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_patience_outlasts_the_call() {
    let mute = Server::new(|_| vec![Say::Wait]).await;
    let drip = Server::new(|_| {
        let mut says = vec![Say::text(
            "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n",
        )];
        for _ in 0..100_000 {
            says.push(Say::text("x"));
            says.push(Say::Pause(Duration::from_millis(20)));
        }
        says
    })
    .await;
    for (tool, server) in [("hour", &mute), ("drip", &drip)] {
        let wall = Span(Duration::from_secs(2));
        let evil = Evil::new(&server.grant(""), Limits { wall, ..limits() });
        let began = Instant::now();
        let report = evil.report(tool, &at(server, "/")).await;
        let late = || format!("{tool} {:?}", report.result);
        match &report.result {
            Err(CallError::Limit { limit, .. }) => assert_eq!(limit, "wall"),
            // The request's own clock is set to the same moment.
            Ok(output) => assert!(output.contains("Timeout"), "{output}"),
            Err(_) => panic!("{}", late()),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{}", late());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_body_never_arrives_as_a_whole_one() {
    let server = Server::new(|_| ok("")).await;
    let evil = Evil::new(&server.grant(""), limits());
    let post = with(
        with(at(&server, "/"), "method", "POST"),
        "body",
        "half of it",
    );
    let report = evil.report("half_a_body", &with(post, "amount", 500)).await;
    assert!(report.result.is_err(), "{:?}", report.result);
    until(|| server.last().contains("half of it")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!is_whole(server.last().as_bytes()), "{:?}", server.last());
}

/// A length that no body has would take the next request for one.
#[tokio::test(flavor = "multi_thread")]
async fn a_length_without_a_body_is_not_sent() {
    let server = Server::new(|_| ok("")).await;
    let evil = Evil::new(&server.grant(""), limits());
    let headers = json!([["content-length", "30"]]);
    let report = evil
        .report("headers_in", &with(at(&server, "/"), "headers", headers))
        .await;
    let told = format!("{:?}", report.result);
    assert!(told.contains("HttpRequestBodySize"), "{told}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_holds_for_a_call_is_bounded() {
    let server = Server::new(|request| {
        if request.starts_with("GET /mute") {
            return vec![Say::Wait];
        }
        if request.starts_with("GET /headers") {
            let headers = "x: ".to_owned() + &"y".repeat(30_000);
            return vec![Say::text(format!("HTTP/1.1 200 OK\r\n{headers}\r\n\r\n"))];
        }
        ok(&"x".repeat(1_000_000))
    })
    .await;
    let evil = Evil::new(&server.grant(""), limits());
    let budget = limits().host_memory.0;
    assert_eq!(
        evil.attack("headers_out", json!({ "amount": 12_000 }))
            .await,
        12_000
    );
    let report = evil
        .report("headers_out", &json!({ "amount": 1_000_000 }))
        .await;
    assert!(is_limit(&report, "host_memory"), "{:?}", report.result);
    let answer = evil.attack("headers_in", at(&server, "/headers")).await;
    let error = answer["error"].as_str().unwrap();
    assert!(
        error.starts_with("ErrorCode::HttpResponseHeaderSectionSize"),
        "{error}"
    );
    for (tool, amount) in [("many_fields", 900), ("many_bodies", 300)] {
        let told = evil.attack(tool, json!({ "amount": amount })).await;
        let bytes = told["bytes"].as_u64().unwrap();
        assert!(bytes > 0 && bytes <= budget, "{tool} {told}");
    }
    for (tool, path) in [("many_requests", "/mute"), ("read_nothing", "/")] {
        let report = evil
            .report(tool, &with(at(&server, path), "amount", 900))
            .await;
        assert!(
            is_limit(&report, "host_memory"),
            "{tool} {:?}",
            report.result
        );
    }
    assert!(
        server.connections() <= 2 * 128 + 8,
        "{}",
        server.connections()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_grant_stops_a_call_in_flight() {
    let server = Server::new(|_| {
        let mut says = vec![Say::text(
            "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n",
        )];
        for _ in 0..100_000 {
            says.push(Say::text("x"));
            says.push(Say::Pause(Duration::from_millis(5)));
        }
        says
    })
    .await;
    let evil = Evil::new(&server.grant(""), limits());
    let revoke = async {
        until(|| !server.last().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        evil.plugin.replace(2, Grants::default(), limits()).unwrap();
    };
    let input = at(&server, "/");
    let (report, ()) = tokio::join!(evil.report("drip", &input), revoke);
    let told: Value = serde_json::from_str(&report.result.unwrap()).unwrap();
    assert_eq!(told["end"], "ErrorCode::HttpRequestDenied");
    assert_eq!(report.denials.len(), 1, "{:?}", report.denials);
}

const VALUE: &str = "s3cr3t/Val+ue";

fn echo(request: &str) -> Vec<Say> {
    let value = request
        .lines()
        .find_map(|line| line.strip_prefix("x-key: "))
        .unwrap_or("");
    let path = request.split(' ').nth(1).unwrap();
    let body = format!("{path} {value}");
    let mut says = vec![Say::text(format!(
        "HTTP/1.1 200 OK\r\nx-echo: {value}\r\ntransfer-encoding: chunked\r\n\r\n",
    ))];
    says.extend(
        body.chars()
            .map(|byte| Say::text(format!("1\r\n{byte}\r\n"))),
    );
    says.push(Say::text("0\r\n\r\n"));
    says
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_used_and_never_seen() {
    let (server, other) = (Server::new(echo).await, Server::new(echo).await);
    let world = World::new();
    world.set_secret("key", VALUE).await;
    let bound = server.grant(r#", secret = "key""#);
    let free = other.grant("").replace("http = [", "").replace("}]", "}");
    let grants = bound.replace("}]", &format!("}}, {free}]"));
    let evil = Evil::on(world, &grants, limits());
    let secret = |input: Value| with(input, "secret", "key");
    let header = |input: Value| with(input, "headers", json!([["x-key", "PLACEHOLDER"]]));

    for amount in [1, 3, 4096] {
        let input = with(
            secret(header(at(&server, "/?k=PLACEHOLDER"))),
            "amount",
            amount,
        );
        let told = evil.attack("read_in_pieces", input).await;
        let stars = "*".repeat(VALUE.len());
        assert_eq!(
            told["body"],
            format!("/?k={} {stars}", "*".repeat(VALUE.len() + 4))
        );
        assert!(
            told["headers"]
                .as_array()
                .unwrap()
                .contains(&json!(["x-echo", stars]))
        );
        assert!(server.last().contains(VALUE));
    }
    assert_eq!(evil.world.audit.events.lock().unwrap().len(), 3);

    let denied = json!({ "error": "ErrorCode::HttpRequestDenied" });
    let post = |input: Value| with(with(input, "method", "POST"), "body", "PLACEHOLDER");
    for input in [
        secret(header(at(&other, "/"))),
        secret(at(&other, "/?k=PLACEHOLDER")),
        secret(at(&server, "/PLACEHOLDER")),
        secret(post(at(&server, "/"))),
        secret(with(
            at(&server, "/"),
            "headers",
            json!([["PLACEHOLDER", "1"]]),
        )),
        secret(with(at(&server, "/"), "authority", "PLACEHOLDER.test")),
        with(
            header(secret(at(&server, "/"))),
            "headers",
            json!([["x-key", "PLACEHOLDER"], ["range", "bytes=0-1"]]),
        ),
    ] {
        assert_eq!(
            evil.attack("place_secret", input.clone()).await,
            denied,
            "{input}"
        );
    }
    let sent = other.sent.lock().unwrap().concat();
    assert!(
        !sent.contains("s3cr3t") && !sent.contains("airlock-secret-"),
        "{sent}"
    );
    assert_eq!(evil.world.audit.events.lock().unwrap().len(), 3);

    let report = evil
        .report("place_secret", &with(at(&server, "/"), "secret", "another"))
        .await;
    let Err(CallError::Denied(denial)) = &report.result else {
        panic!("{:?}", report.result);
    };
    assert_eq!(denial.capability, "secrets");
}
