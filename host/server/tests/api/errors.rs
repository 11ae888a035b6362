//! Requests that are wrong, and what they get: a table of status and code.

use airlock_runtime::Role;
use expect_test::{Expect, expect};

use crate::guests;
use crate::server::Server;

async fn check(server: &Server, line: &str, headers: &[(&str, &str)], body: &str, expect: Expect) {
    let (method, target) = line.split_once(' ').expect("a method and a target");
    let bearer = format!("Bearer {}", server.admin);
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend_from_slice(headers);
    let answer = server.send(method, target, &all, body.to_owned()).await;
    expect.assert_eq(&answer.verdict());
    for name in [
        "x-content-type-options",
        "cache-control",
        "content-security-policy",
        "x-request-id",
    ] {
        assert!(answer.header(name).is_some(), "{line} lacks {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_a_problem_with_its_code() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let json = ("content-type", "application/json");
    let s = &server;
    check(s, "GET /nowhere", &[], "", expect!["404 route-not-found"]).await;
    check(
        s,
        "GET /v1/runs/none/nowhere",
        &[],
        "",
        expect!["404 route-not-found"],
    )
    .await;
    for (line, body, expect) in [
        ("GET /v1/runs/none", "", expect!["404 run-not-found"]),
        (
            "GET /v1/schedules/none",
            "",
            expect!["404 schedule-not-found"],
        ),
        (
            "POST /v1/schedules",
            r#"{"name":"x","cron":"0 0 31 2 *","start":{"agent":"echo"}}"#,
            expect!["422 schedule-invalid"],
        ),
        ("POST /v1/hooks/none", "{}", expect!["400 hook-header"]),
        ("DELETE /v1/hooks/none", "", expect!["404 hook-not-found"]),
        (
            "POST /v1/runs",
            r#"{"agent":"echo"}"#,
            expect!["422 not-an-agent"],
        ),
        (
            "POST /v1/runs",
            r#"{"agent":"none"}"#,
            expect!["404 plugin-not-found"],
        ),
        (
            "POST /v1/runs/none/cancel",
            "",
            expect!["404 run-not-found"],
        ),
        (
            "POST /v1/approvals/none.1",
            r#"{"decision":"yes"}"#,
            expect!["404 approval-not-found"],
        ),
    ] {
        check(s, line, &[json], body, expect).await;
    }
    check(
        s,
        "PATCH /v1/plugins",
        &[],
        "",
        expect!["405 method-not-allowed"],
    )
    .await;
    check(
        s,
        "GET /v1/tools/echo/run",
        &[],
        "",
        expect!["405 method-not-allowed"],
    )
    .await;
    check(
        s,
        "GET /v1/plugins/none",
        &[],
        "",
        expect!["404 plugin-not-found"],
    )
    .await;
    check(s, "GET /v1/plugins/%ff", &[], "", expect!["400 bad-path"]).await;
    check(
        s,
        "GET /v1/plugins/NOT%20ONE",
        &[],
        "",
        expect!["400 bad-name"],
    )
    .await;
    check(
        s,
        "GET /v1/plugins/..%2f..%2fetc",
        &[],
        "",
        expect!["400 bad-name"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/none/run",
        &[json],
        "{}",
        expect!["404 plugin-not-found"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/none",
        &[json],
        "{}",
        expect!["404 tool-not-found"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/run",
        &[json],
        "{",
        expect!["400 invalid-json"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/run",
        &[json],
        r#"{"a":[{"b":1,"b":2}]}"#,
        expect!["400 member-twice"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/run",
        &[json],
        "",
        expect!["400 invalid-json"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/run",
        &[("content-type", "text/plain")],
        "{}",
        expect!["415 unsupported-media-type"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/run",
        &[json],
        &"1".repeat((1 << 20) + 1),
        expect!["413 body-too-large"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/run",
        &[json, ("airlock-timeout-ms", "0")],
        "{}",
        expect!["400 bad-header"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/run",
        &[json, ("idempotency-key", "a b")],
        "{}",
        expect!["400 bad-idempotency-key"],
    )
    .await;
    check(
        s,
        "POST /v1/tools/echo/run",
        &[json, ("idempotency-key", "a"), ("idempotency-key", "b")],
        "{}",
        expect!["400 bad-header"],
    )
    .await;
    check(
        s,
        "PUT /v1/plugins/echo/grants",
        &[json],
        "",
        expect!["400 body-missing"],
    )
    .await;
    check(
        s,
        "PUT /v1/plugins/echo/grants",
        &[json],
        "[]",
        expect!["400 invalid-body"],
    )
    .await;
    check(
        s,
        "PUT /v1/plugins/echo/grants",
        &[json],
        r#"{"grants":{"fils":[]}}"#,
        expect!["400 invalid-body"],
    )
    .await;
    check(
        s,
        "PUT /v1/plugins/echo/grants",
        &[json],
        r#"{"grants":{"effects":{"ran":"plain"}}}"#,
        expect!["422 invalid-grants"],
    )
    .await;
    check(
        s,
        "PUT /v1/plugins/echo/grants",
        &[json],
        r#"{"limits":{"cpu":"0s"}}"#,
        expect!["400 invalid-body"],
    )
    .await;
    check(
        s,
        "PUT /v1/plugins/echo/grants",
        &[json],
        r#"{"expected_version":7}"#,
        expect!["409 changed-meanwhile"],
    )
    .await;
    check(
        s,
        "PUT /v1/plugins/echo/grants",
        &[json],
        r#"{"grants":{"files":[{"host":"/no/such/place","guest":"/x","access":"read"}]}}"#,
        expect!["422 grants-not-in-force"],
    )
    .await;
    check(
        s,
        "POST /v1/plugins/echo/grants/rollback",
        &[],
        "",
        expect!["409 grants-version-in-force"],
    )
    .await;
    check(
        s,
        "POST /v1/plugins/echo/grants/rollback",
        &[json],
        r#"{"version":9}"#,
        expect!["404 grants-version-not-found"],
    )
    .await;
    check(
        s,
        "POST /v1/plugins/echo/explain",
        &[json],
        r#"{"capability":"x","operation":"y"}"#,
        expect!["422 invalid-grants"],
    )
    .await;
    check(
        s,
        "POST /v1/plugins/echo/activate",
        &[json],
        r#"{"digest":"sha256:0"}"#,
        expect!["400 bad-name"],
    )
    .await;
    check(
        s,
        "POST /v1/plugins?name=echo&wait=true",
        &[],
        "not wasm",
        expect!["422 component-invalid"],
    )
    .await;
    check(
        s,
        "POST /v1/plugins?name=Echo",
        &[],
        "x",
        expect!["400 bad-name"],
    )
    .await;
    check(
        s,
        "POST /v1/plugins?nam=x",
        &[],
        "x",
        expect!["400 bad-query"],
    )
    .await;
    check(
        s,
        "POST /v1/plugins?name=x",
        &[json],
        "x",
        expect!["415 unsupported-media-type"],
    )
    .await;
    check(
        s,
        "POST /v1/policy/diff",
        &[json],
        r#"{"plugins":{"A":{}}}"#,
        expect!["400 bad-name"],
    )
    .await;
    check(
        s,
        "POST /v1/policy/apply",
        &[("content-type", "application/toml")],
        "[plugins.x]\nfoo = 1",
        expect!["400 invalid-policy"],
    )
    .await;
    check(
        s,
        "POST /v1/policy/apply",
        &[("content-type", "application/toml")],
        "[plugins.x]",
        expect!["409 component-not-installed"],
    )
    .await;
    check(
        s,
        "POST /v1/tokens",
        &[json],
        r#"{"principal":"","roles":["viewer"]}"#,
        expect!["400 bad-name"],
    )
    .await;
    check(
        s,
        "POST /v1/tokens",
        &[json],
        r#"{"principal":"a","roles":[]}"#,
        expect!["400 bad-request"],
    )
    .await;
    check(
        s,
        "POST /v1/tokens",
        &[json],
        r#"{"principal":"a","roles":["root"]}"#,
        expect!["400 invalid-body"],
    )
    .await;
    check(
        s,
        "DELETE /v1/tokens/none",
        &[],
        "",
        expect!["404 token-not-found"],
    )
    .await;
    check(
        s,
        "PUT /v1/secrets/a%20b",
        &[],
        "value",
        expect!["400 secret-name-invalid"],
    )
    .await;
    check(
        s,
        "PUT /v1/secrets/a",
        &[],
        "",
        expect!["400 secret-value-invalid"],
    )
    .await;
    check(
        s,
        "DELETE /v1/secrets/none",
        &[],
        "",
        expect!["404 secret-not-found"],
    )
    .await;
    check(
        s,
        "GET /v1/audit?limit=0",
        &[],
        "",
        expect!["400 bad-request"],
    )
    .await;
    check(
        s,
        "GET /v1/audit?from=1&before=2",
        &[],
        "",
        expect!["400 bad-request"],
    )
    .await;
    check(
        s,
        "POST /v1/audit/verify",
        &[json],
        r#"{"head":"x"}"#,
        expect!["400 bad-request"],
    )
    .await;
    check(
        s,
        "GET /v1/calls?limit=9999",
        &[],
        "",
        expect!["400 bad-request"],
    )
    .await;
    check(
        s,
        "GET /v1/operations/none",
        &[],
        "",
        expect!["404 operation-not-found"],
    )
    .await;
    check(
        s,
        "GET /v1/plugins",
        &[("host", "evil.example")],
        "",
        expect!["421 host-not-allowed"],
    )
    .await;
    check(
        s,
        "GET /v1/plugins",
        &[("origin", "https://evil.example")],
        "",
        expect!["403 origin-not-allowed"],
    )
    .await;
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_refused_alike_whatever_is_wrong_with_them() {
    let server = Server::start().await;
    let revoked = server.token("gone", &[Role::Admin], None).await;
    let id = revoked.split('_').nth(1).expect("an id");
    assert_eq!(
        server
            .admin("DELETE", &format!("/v1/tokens/{id}"), "")
            .await
            .status,
        200
    );
    let (start, _) = server.admin.rsplit_once('_').expect("an id and a secret");
    let wrong = format!("{start}_{}", "0".repeat(64));
    let mut bodies = Vec::new();
    for token in [
        revoked.as_str(),
        &wrong,
        "airlock_0_0",
        "nonsense",
        "airlock__",
    ] {
        let answer = server.with(token, "GET", "/v1/plugins", "").await;
        assert_eq!(answer.verdict(), "401 unauthenticated", "{token}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        bodies.push(answer.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
    for header in [
        "",
        "Bearer",
        "Basic abc",
        &format!("Token {}", server.admin),
    ] {
        let answer = server
            .send("GET", "/v1/plugins", &[("authorization", header)], "")
            .await;
        assert_eq!(answer.verdict(), "401 unauthenticated", "{header}");
    }
    server
        .eventually("refusals are on record", async || {
            server.audited("auth.refused").await.len() >= 9
        })
        .await;
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_header_names_this_server() {
    let server = Server::start().await;
    let port = server.address.port();
    let bearer = format!("Bearer {}", server.admin);
    let table = [
        (format!("127.0.0.1:{port}"), "200"),
        ("127.0.0.1".to_owned(), "200"),
        (format!("localhost:{port}"), "200"),
        ("LOCALHOST".to_owned(), "200"),
        (format!("[::1]:{port}"), "200"),
        ("localhost.evil.example".to_owned(), "421 host-not-allowed"),
        ("evil.example".to_owned(), "421 host-not-allowed"),
        ("127.0.0.1.evil.example".to_owned(), "421 host-not-allowed"),
        ("127.0.0.1:99999".to_owned(), "421 host-not-allowed"),
        ("localhost:80:80".to_owned(), "421 host-not-allowed"),
        ("10.0.0.1".to_owned(), "421 host-not-allowed"),
        ("user@localhost".to_owned(), "421 host-not-allowed"),
        (String::new(), "421 host-not-allowed"),
    ];
    for (host, expect) in table {
        let headers = [("host", host.as_str()), ("authorization", bearer.as_str())];
        let answer = server.send("GET", "/v1/plugins", &headers, "").await;
        assert_eq!(answer.verdict(), expect, "{host:?}");
    }
    let probe = server
        .send("GET", "/healthz", &[("host", "pod-7")], "")
        .await;
    assert_eq!(probe.status, 200);
    let origin = format!("http://127.0.0.1:{port}");
    let headers = [
        ("origin", origin.as_str()),
        ("authorization", bearer.as_str()),
    ];
    assert_eq!(
        server.send("GET", "/v1/plugins", &headers, "").await.status,
        200
    );
    server.stopped().await;
}
