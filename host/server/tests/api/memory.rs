//! Documents over the API: who may, what is refused with which code, and what a token
//! that is limited to some plugins sees.

use airlock_runtime::Role;
use serde_json::{Value, json};

use crate::guests;
use crate::server::Server;

const DOCUMENT: &str = "/v1/memory/shared/handbook/travel%2Frates.md%2300001";

async fn put(server: &Server, path: &str, body: Value) -> String {
    let answer = server.admin("PUT", path, body.to_string()).await;
    answer.verdict()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_written_found_and_deleted() {
    let server = Server::start().await;
    let empty = server.admin("GET", "/v1/memory", "").await.json();
    assert_eq!(empty, json!({ "namespaces": [] }));
    let source = json!({ "uri": "travel/rates.md", "lines": [5, 7], "headings": ["Rates"] });
    let document = json!({ "text": "70 francs a day", "labels": { "kind": "fact" },
        "vector": [1.0, 0.0], "source": source });
    assert_eq!(put(&server, DOCUMENT, document).await, "200");
    let got = server.admin("GET", DOCUMENT, "").await.json();
    assert_eq!(
        (&got["id"], &got["version"], &got["provenance"]["by"]),
        (&json!("travel/rates.md#00001"), &json!(1), &json!("admin")),
        "{got}"
    );
    let searched = async |body: Value| {
        let path = "/v1/memory/search";
        server.admin("POST", path, body.to_string()).await
    };
    for look in [
        json!({ "text": "francs" }),
        json!({ "vector": [0.9, 0.1] }),
        json!({ "text": "francs", "vector": [0.9, 0.1], "labels": { "kind": "fact" } }),
    ] {
        let mut body = look.clone();
        body["namespaces"] = json!(["shared/handbook", "shared/none"]);
        let hits = searched(body).await.json();
        assert_eq!(hits["hits"][0]["source"], source, "{look}: {hits}");
    }
    let table = [
        (
            json!({ "text": "x", "expect": "absent" }),
            "409 document-changed",
        ),
        (
            json!({ "text": "x", "expect": { "version": 3 } }),
            "409 document-changed",
        ),
        (
            json!({ "text": "x".repeat(300 << 10) }),
            "413 document-too-large",
        ),
        (json!({ "text": "x", "vector": [1.0] }), "400 vector-length"),
        (json!({ "text": "x", "ttl_ms": 0 }), "400 invalid-request"),
        (
            json!({ "text": "x", "embed": "near" }),
            "404 models-not-configured",
        ),
        (json!({ "txt": "x" }), "400 invalid-body"),
    ];
    // One vector is there already.
    put(
        &server,
        "/v1/memory/shared/handbook/b",
        json!({ "vector": [0.0, 1.0] }),
    )
    .await;
    for (body, expect) in table {
        assert_eq!(put(&server, DOCUMENT, body.clone()).await, expect, "{body}");
    }
    for (path, expect) in [
        ("/v1/memory/agent/echo/a", "409 namespace-not-shared"),
        ("/v1/memory/run/run_1/a", "409 namespace-not-shared"),
        ("/v1/memory/other/echo/a", "400 invalid-request"),
        ("/v1/memory/shared/..%2F/a", "400 invalid-request"),
    ] {
        assert_eq!(
            put(&server, path, json!({ "text": "x" })).await,
            expect,
            "{path}"
        );
    }
    let asked = searched(json!({ "namespaces": [], "text": "x" })).await;
    assert_eq!(asked.verdict(), "400 invalid-request");
    let deleted = server
        .admin("DELETE", "/v1/memory/shared/handbook?why=old", "")
        .await
        .json();
    assert_eq!(deleted["documents"], 2, "{deleted}");
    let hits = searched(json!({ "namespaces": ["shared/handbook"], "text": "francs" })).await;
    assert_eq!(hits.json(), json!({ "hits": [] }));
    for (method, path, expect) in [
        ("GET", DOCUMENT, "404 document-not-found"),
        ("DELETE", DOCUMENT, "404 document-not-found"),
        (
            "GET",
            "/v1/memory/shared/handbook",
            "404 namespace-not-found",
        ),
        (
            "DELETE",
            "/v1/memory/shared/handbook",
            "404 namespace-not-found",
        ),
    ] {
        assert_eq!(
            server.admin(method, path, "").await.verdict(),
            expect,
            "{method} {path}"
        );
    }
    server.stopped().await;
}

/// A value comes back as it was written, and a document goes only in the version that
/// was meant.
#[tokio::test(flavor = "multi_thread")]
async fn values_and_versions_are_what_they_were() {
    let server = Server::start().await;
    let value = r#"{"n":12345678901234567890123,"x":1.10}"#;
    let body = format!("{{\"value\":{value}}}");
    assert_eq!(server.admin("PUT", DOCUMENT, body).await.verdict(), "200");
    let got = server.admin("GET", DOCUMENT, "").await.body;
    let got = String::from_utf8_lossy(&got);
    assert!(got.contains(&format!("\"value\":{value}")), "{got}");
    let delete = async |query: &str| {
        let path = format!("{DOCUMENT}{query}");
        server.admin("DELETE", &path, "").await.verdict()
    };
    for (query, expect) in [
        ("?expect=2", "409 document-changed"),
        ("?expect=x", "400 bad-query"),
        ("?expected=1", "400 bad-query"),
        ("?expect=1&why=old", "204"),
        ("?expect=1", "409 document-changed"),
        ("", "404 document-not-found"),
    ] {
        assert_eq!(delete(query).await, expect, "{query}");
    }
    server.stopped().await;
}

/// A role that is not there is the request's fault, before anything else is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_not_there_is_told_at_once() {
    let server = Server::start().await;
    let config = "currency = 'USD'\n\
        providers.own = { kind = 'openai-compatible', base_url = 'http://127.0.0.1:9' }\n\
        models.small = { provider = 'own', id = 'small', context_tokens = 4000, output_tokens_max = 100, prices = { input = '1', output = '2' } }\n\
        roles.fast = { models = ['small'], retries = 0 }\n";
    let list = async || server.admin("GET", "/v1/models", "").await.verdict();
    let reload = async || {
        server
            .admin("POST", "/v1/models/reload", "")
            .await
            .verdict()
    };
    assert_eq!(reload().await, "404 models-not-configured");
    // A file that is put there later is found.
    let file = server.dir.path().join("models.toml");
    std::fs::write(&file, config).expect("written");
    assert_eq!(list().await, "404 models-not-configured");
    assert_eq!(reload().await, "200");
    assert_eq!(list().await, "200");
    let files = json!([{ "path": "a.md", "chunks": [{ "text": "x", "source": {} }] }]);
    let space = "shared/books";
    let asks = [
        (
            "/v1/memory/search",
            json!({ "namespaces": [space], "text": "x", "embed": "bogus" }),
        ),
        (
            "/v1/memory/import",
            json!({ "namespace": space, "embed": "bogus", "files": files }),
        ),
        (
            "/v1/memory/import",
            json!({ "namespace": space, "embed": "fast", "no_embed": true }),
        ),
        (
            "/v1/memory/import",
            json!({ "namespace": space, "prefix": "o" }),
        ),
        (
            "/v1/memory/import",
            json!({ "namespace": space, "prefix": "../" }),
        ),
        (
            "/v1/memory/search",
            json!({ "namespaces": [space], "text": "x", "limit": 101 }),
        ),
        (
            "/v1/memory/search",
            json!({ "namespaces": [space], "text": "x", "limit": 0 }),
        ),
    ];
    for (path, body) in asks {
        let answer = server.admin("POST", path, body.to_string()).await;
        assert_eq!(answer.verdict(), "400 invalid-request", "{body}");
    }
    let put = json!({ "text": "x", "embed": "bogus" });
    assert_eq!(
        self::put(&server, DOCUMENT, put).await,
        "400 invalid-request"
    );
    // Nothing to look for is no error, with a role as without one.
    let body = json!({ "namespaces": [space], "text": " ", "embed": "fast" });
    let answer = server
        .admin("POST", "/v1/memory/search", body.to_string())
        .await;
    assert_eq!(answer.json(), json!({ "hits": [] }));
    // The one in force stays where the file is gone.
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(reload().await, "422 models-invalid");
    assert_eq!(list().await, "200");
    server.stopped().await;
}

/// Files in chunks: whole, again without effect, and gone.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_imported_in_chunks() {
    let server = Server::start().await;
    let chunk = |text: &str, page: u32| json!({ "text": text, "source": { "page": page } });
    let import = async |body: Value| {
        let path = "/v1/memory/import";
        server.admin("POST", path, body.to_string()).await
    };
    let files = json!([
        { "path": "a.pdf", "chunks": [chunk("one", 1), chunk("two", 2)] },
        { "path": "\u{202e}b", "chunks": [chunk("hidden", 1)] },
    ]);
    let body = json!({ "namespace": "shared/books", "files": files });
    let said = import(body.clone()).await.json();
    assert_eq!(said["files"][0]["written"], 2, "{said}");
    assert_eq!(said["files"][1]["outcome"], "refused", "{said}");
    let again = import(body).await.json();
    assert_eq!(again["files"][0]["outcome"], "unchanged", "{again}");
    let refused = json!([{ "path": "a.pdf", "reason": "damaged" }, { "path": "c.png", "reason": "no", "passed_over": true }]);
    let stays = import(json!({ "namespace": "shared/books", "refused": refused }))
        .await
        .json();
    let expect = json!([
        { "path": "a.pdf", "outcome": "refused", "reason": "damaged", "passed_over": false, "kept": 2 },
        { "path": "c.png", "outcome": "refused", "reason": "no", "passed_over": true, "kept": 0 },
    ]);
    assert_eq!(stays["files"], expect);
    let pruned = import(json!({ "namespace": "shared/books", "there": [] }))
        .await
        .json();
    assert_eq!(
        pruned["files"][0],
        json!({ "path": "a.pdf", "outcome": "gone", "removed": 2 })
    );
    for namespace in ["agent/echo", "run/run_1"] {
        let refused = import(json!({ "namespace": namespace, "files": [] })).await;
        assert_eq!(refused.verdict(), "409 namespace-not-shared");
    }
    server.stopped().await;
}

/// A viewer sees what there is, an operator what is in it, an administrator changes
/// it; a token that is limited to some plugins sees what those keep for themselves.
#[tokio::test(flavor = "multi_thread")]
async fn who_sees_which_documents() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    put(&server, DOCUMENT, json!({ "text": "x" })).await;
    let viewer = server.token("viewer", &[Role::Viewer], None).await;
    let operator = server.token("operator", &[Role::Operator], None).await;
    let scoped = server
        .token("scoped", &[Role::Admin], Some(&["echo"]))
        .await;
    let search = json!({ "namespaces": ["shared/handbook"], "text": "x" }).to_string();
    let table = [
        ("GET", "/v1/memory", "", ["200", "200", "200"]),
        (
            "GET",
            "/v1/memory/shared/handbook",
            "",
            ["403 forbidden", "200", "404 namespace-not-found"],
        ),
        (
            "GET",
            DOCUMENT,
            "",
            ["403 forbidden", "200", "404 namespace-not-found"],
        ),
        (
            "POST",
            "/v1/memory/search",
            &search,
            ["403 forbidden", "200", "404 namespace-not-found"],
        ),
        (
            "GET",
            "/v1/memory/agent/echo",
            "",
            [
                "403 forbidden",
                "404 namespace-not-found",
                "404 namespace-not-found",
            ],
        ),
        (
            "GET",
            "/v1/memory/agent/echo2.0a",
            "",
            [
                "403 forbidden",
                "404 namespace-not-found",
                "404 namespace-not-found",
            ],
        ),
        (
            "GET",
            "/v1/memory/run/run_1",
            "",
            [
                "403 forbidden",
                "404 namespace-not-found",
                "404 namespace-not-found",
            ],
        ),
        (
            "PUT",
            DOCUMENT,
            "{}",
            ["403 forbidden", "403 forbidden", "403 outside-scope"],
        ),
        (
            "DELETE",
            "/v1/memory/shared/handbook",
            "",
            ["403 forbidden", "403 forbidden", "403 outside-scope"],
        ),
        (
            "POST",
            "/v1/memory/import",
            "{}",
            ["403 forbidden", "403 forbidden", "403 outside-scope"],
        ),
    ];
    for (method, path, body, expect) in table {
        for (token, expect) in [&viewer, &operator, &scoped].into_iter().zip(expect) {
            let answer = server.with(token, method, path, body.to_owned()).await;
            assert_eq!(answer.verdict(), expect, "{method} {path}");
        }
    }
    let seen = server.with(&scoped, "GET", "/v1/memory", "").await.json();
    assert_eq!(seen, json!({ "namespaces": [] }));
    let grants = |namespace: &str| {
        json!({ "grants": { "memory": [{ "namespace": namespace }] } }).to_string()
    };
    for (namespace, expect) in [("agent", "200"), ("shared/handbook", "403 outside-scope")] {
        let path = "/v1/plugins/echo/grants";
        let answer = server.with(&scoped, "PUT", path, grants(namespace)).await;
        assert_eq!(answer.verdict(), expect, "{namespace}");
    }
    server.stopped().await;
}
