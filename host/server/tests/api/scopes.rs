//! What a token that is limited to some plugins, or that only reads, gets at by
//! ways that look like its own.

use airlock_runtime::Role;
use serde_json::{Value, json};

use crate::guests;
use crate::server::Server;

const GRANTS: &str = "/v1/plugins/echo/grants";

async fn verdict(server: &Server, token: &str, method: &str, path: &str, body: &Value) -> String {
    let answer = server.with(token, method, path, body.to_string()).await;
    answer.verdict()
}

/// A class is what holds a tool back beside rules that it could write by.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_bounds_the_class_of_tools_beside_rules_that_reach() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let folder = server.runtime.config().data_dir.with_file_name("granted");
    std::fs::create_dir(&folder).expect("a folder");
    let files = json!([{ "host": folder, "guest": "/d", "access": "read-write" }]);
    let kept = json!({ "files": files, "effects": { "run": "read-only" } });
    server.grant("echo", kept.clone(), json!({})).await;
    let token = server
        .token("scoped", &[Role::Admin], Some(&["echo"]))
        .await;

    for effects in [
        json!({}),
        json!({ "run": "plain" }),
        json!({ "run": "idempotent" }),
    ] {
        let update = json!({ "grants": { "files": files, "effects": effects } });
        let policy = json!({ "plugins": { "echo": update } });
        for (method, path, body) in [
            ("PUT", GRANTS, &update),
            ("POST", "/v1/policy/diff", &policy),
            ("POST", "/v1/policy/apply", &policy),
        ] {
            let found = verdict(&server, &token, method, path, body).await;
            assert_eq!(found, "403 outside-scope", "{path}: {effects}");
        }
    }
    let shown = server.admin("GET", "/v1/plugins/echo", "").await.json();
    assert_eq!(shown["grants"], kept);

    // So it is beside each kind of rule that reaches.
    for (kind, rule) in [
        (
            "http",
            json!({ "url": "http://127.0.0.1/**", "allow_private": true }),
        ),
        ("memory", json!({ "namespace": "shared/a" })),
    ] {
        let class = json!({ "run": "read-only" });
        let kept = json!({ kind: [rule], "effects": class });
        server.grant("echo", kept, json!({})).await;
        let update = json!({ "grants": { kind: [rule], "effects": { "run": "plain" } } });
        let found = verdict(&server, &token, "PUT", GRANTS, &update).await;
        assert_eq!(found, "403 outside-scope", "{kind}");
    }
    server.grant("echo", kept.clone(), json!({})).await;

    let beside = json!({ "files": files, "effects": kept["effects"], "kv": [{ "bucket": "b" }] });
    for grants in [beside, json!({ "effects": { "run": "plain" } })] {
        let update = json!({ "grants": grants });
        let found = verdict(&server, &token, "PUT", GRANTS, &update).await;
        assert_eq!(found, "200", "{update}");
    }
    server.stopped().await;
}

/// Whoever chooses the component chooses what is done by the rules that stand.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_chooses_no_component_beside_rules_that_reach() {
    let server = Server::start().await;
    let earlier = server.install("echo", guests::echo()).await;
    let active = server.install("echo", guests::echo_other()).await;
    let folder = server.runtime.config().data_dir.with_file_name("granted");
    std::fs::create_dir(&folder).expect("a folder");
    let grants = json!({ "files": [{ "host": folder, "guest": "/d", "access": "read" }] });
    server.grant("echo", grants.clone(), json!({})).await;
    let token = server
        .token("scoped", &[Role::Admin], Some(&["echo"]))
        .await;
    for (digest, expect) in [
        (Value::Null, "200"),
        (active["installed"]["digest"].clone(), "200"),
        (earlier["installed"]["digest"].clone(), "403 outside-scope"),
    ] {
        let entry = json!({ "digest": digest, "grants": grants });
        let policy = json!({ "plugins": { "echo": entry } });
        for path in ["/v1/policy/diff", "/v1/policy/apply?downgrade=true"] {
            let found = verdict(&server, &token, "POST", path, &policy).await;
            assert_eq!(found, expect, "{path}: {digest}");
        }
    }
    let plugin = server.admin("GET", "/v1/plugins/echo", "").await.json();
    assert_eq!(plugin["digest"], active["installed"]["digest"]);
    server.stopped().await;
}

/// Comparing a policy opens what it names only for those who may grant it: for
/// anybody else, all paths look alike.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_tells_nothing_of_the_hosts_disk_to_those_who_may_not_grant() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let data = server.runtime.config().data_dir.clone();
    let there = data.with_file_name("there");
    std::fs::create_dir(&there).expect("a folder");
    let viewer = server.token("viewer", &[Role::Viewer], None).await;
    let operator = server.token("operator", &[Role::Operator], None).await;
    let scoped = server
        .token("scoped", &[Role::Admin], Some(&["echo"]))
        .await;
    for (token, expect) in [
        (&viewer, ["200"; 3]),
        (&operator, ["200"; 3]),
        (&scoped, ["403 outside-scope"; 3]),
        (
            &server.admin,
            ["200", "422 grants-not-in-force", "422 reserved-directory"],
        ),
    ] {
        let mut found = Vec::new();
        for host in [&there, &data.with_file_name("missing"), &data] {
            let files = json!([{ "host": host, "guest": "/d", "access": "read" }]);
            let policy = json!({ "plugins": { "echo": { "grants": { "files": files } } } });
            found.push(verdict(&server, token, "POST", "/v1/policy/diff", &policy).await);
        }
        assert_eq!(found, expect);
    }
    server.stopped().await;
}

/// One principal's tokens share its keys, and not what a reply shows.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_reply_is_given_to_tokens_of_the_same_reach_alone() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    server.install("other", guests::echo_other()).await;
    let whole = server.token("ann", &[Role::Admin], None).await;
    let limited = server.token("ann", &[Role::Admin], Some(&["echo"])).await;
    let again = server.token("ann", &[Role::Admin], Some(&["echo"])).await;
    let body = json!({ "plugins": { "echo": {} } }).to_string();
    let apply = async |token: &str, key: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("idempotency-key", key)];
        let path = "/v1/policy/apply";
        server.send("POST", path, &headers, body.clone()).await
    };
    let shown = apply(&whole, "one").await;
    assert_eq!(shown.json()["diff"]["unnamed"], json!(["other"]));
    let refused = apply(&limited, "one").await;
    assert_eq!(refused.verdict(), "422 idempotency-key-reused");

    let own = apply(&limited, "two").await;
    assert_eq!(own.json()["diff"]["unnamed"], json!([]));
    let replayed = apply(&again, "two").await;
    assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
    assert_eq!(replayed.body, own.body);
    let refused = apply(&whole, "two").await;
    assert_eq!(refused.verdict(), "422 idempotency-key-reused");
    let call = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("idempotency-key", "three")];
        server
            .send("POST", "/v1/tools/echo/run", &headers, "1")
            .await
            .verdict()
    };
    assert_eq!(call(&whole).await, "200");
    assert_eq!(call(&limited).await, "422 idempotency-key-reused");
    server.stopped().await;
}

/// serde takes the last of two; a reader may have seen the first.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_named_twice_is_refused() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let policies = [
        r#"{"plugins":{"echo":{},"echo":{"grants":{"kv":[{"bucket":"b"}]}}}}"#,
        r#"{"plugins":{"echo":{"grants":{},"grants":{"kv":[{"bucket":"b"}]}}}}"#,
        r#"{"plugins":{"echo":{"grants":{"effects":{"run":"read-only","run":"plain"}}}}}"#,
        r#"{"plugins":{"echo":{"descriptions":{"run":"Reads.","run":"Writes."}}}}"#,
    ];
    for policy in policies {
        for path in ["/v1/policy/diff", "/v1/policy/apply"] {
            let refused = server.admin("POST", path, policy).await;
            assert_eq!(refused.verdict(), "400 invalid-body", "{policy}");
        }
    }
    let update = r#"{"grants":{"effects":{"run":"read-only","run":"plain"}}}"#;
    let refused = server.admin("PUT", GRANTS, update).await;
    assert_eq!(refused.verdict(), "400 invalid-body");
    server.stopped().await;
}

/// The first rule that covers an operation decides, and of directories the
/// longest: what another granted is not widened by taking a part of it away.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_keeps_rules_only_with_what_narrows_them() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    server.admin("PUT", "/v1/secrets/k1", "s3cr3t-value").await;
    let folder = server.runtime.config().data_dir.with_file_name("granted");
    let other = folder.with_file_name("other");
    for folder in [&folder, &other] {
        std::fs::create_dir(folder).expect("a folder");
    }
    let token = server
        .token("scoped", &[Role::Admin], Some(&["echo"]))
        .await;
    let asked = json!({ "tool": "pay/send", "approval": "always", "approvers": 2 });
    let free = json!({ "tool": "pay/*", "approval": "never" });
    let own = json!({ "tool": "echo/*" });
    let all = json!({ "host": folder, "guest": "/d", "access": "read-write" });
    let keep = json!({ "host": other, "guest": "/d/keep", "access": "read" });
    let few = json!({ "url": "https://a.example.com/x/*", "secret": "k1", "rate": "1/min" });
    let bare = json!({ "url": "https://a.example.com/x/*" });
    let many = json!({ "url": "https://a.example.com/*", "secret": "k1" });
    type Case<'a> = (&'a str, Value, Vec<(Value, &'a str)>);
    let refused = "403 outside-scope";
    let table: [Case<'_>; 4] = [
        (
            "tools",
            json!([asked, own, free]),
            vec![
                (json!([free]), refused),
                (json!([free, asked]), refused),
                (json!([own, asked, free]), "200"),
                (json!([asked]), "200"),
            ],
        ),
        (
            "files",
            json!([all, keep]),
            vec![
                (json!([all]), refused),
                (json!([keep, all]), "200"),
                (json!([keep]), "200"),
            ],
        ),
        (
            "http",
            json!([few, many]),
            vec![
                (json!([many]), refused),
                (json!([many, few]), refused),
                (json!([bare, few, many]), "200"),
                (json!([few]), "200"),
            ],
        ),
        (
            "http",
            json!([bare, many]),
            vec![
                (json!([many]), refused),
                (json!([many, bare]), refused),
                (json!([bare]), "200"),
            ],
        ),
    ];
    for (capability, before, cases) in table {
        for (after, expect) in cases {
            let set = server.grant("echo", json!({ capability: before }), json!({}));
            set.await;
            let update = json!({ "grants": { capability: after } });
            let policy = json!({ "plugins": { "echo": update } });
            for (method, path, body) in [
                ("POST", "/v1/policy/diff", &policy),
                ("POST", "/v1/policy/apply", &policy),
                ("PUT", GRANTS, &update),
            ] {
                let found = verdict(&server, &token, method, path, body).await;
                assert_eq!(found, expect, "{path}: {before} to {after}");
            }
        }
    }
    // Nor by going back to when it was so.
    let wide = server.grant("echo", json!({ "tools": [free] }), json!({}));
    let version = wide.await["version"].clone();
    let both = json!({ "tools": [asked, free] });
    server.grant("echo", both, json!({})).await;
    let back = format!("{GRANTS}/rollback");
    let body = json!({ "version": version });
    assert_eq!(
        verdict(&server, &token, "POST", &back, &body).await,
        refused
    );
    server.stopped().await;
}

/// A digest is no right to see what another plugin has.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_tells_nothing_of_components_of_other_plugins() {
    let server = Server::start().await;
    let echo = server.install("echo", guests::echo_read_only()).await;
    server.install("other", guests::echo_other()).await;
    let scope: &[&str] = &["other"];
    let token = server.token("scoped", &[Role::Admin], Some(scope)).await;
    let digest = &echo["installed"]["digest"];
    let unknown = format!("sha256:{}", "0".repeat(64));
    let compared = async |token: &str, digest: &Value| {
        let policy = json!({ "plugins": { "other": { "digest": digest } } }).to_string();
        let shown = server.with(token, "POST", "/v1/policy/diff", policy).await;
        shown.json()["diff"]["plugins"][0].clone()
    };
    let changes = async |token: &str, digest: &Value| -> Value {
        compared(token, digest).await["version_changes"].clone()
    };
    let nothing = changes(&token, &json!(unknown)).await;
    let shown = changes(&server.admin, digest).await;
    assert_ne!(shown, nothing);
    assert_eq!(changes(&token, digest).await, nothing);
    // What was checked as a version of its own, it is compared with.
    let check = "/v1/plugins?name=other&wait=true&check=true";
    let checked = server.with(&token, "POST", check, guests::echo_read_only());
    assert_eq!(checked.await.status, 201);
    assert_eq!(changes(&token, digest).await, shown);
    server.stopped().await;
}
