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
