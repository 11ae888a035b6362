//! A policy is checked as a whole before any of it is applied.

use serde_json::{Value, json};

use crate::guests;
use crate::server::Server;

/// The verdicts of the comparison and of applying, and what was applied.
async fn verdicts(server: &Server, policy: &Value) -> (String, String, Value) {
    let text = policy.to_string();
    let shown = server
        .admin("POST", "/v1/policy/diff", text.clone())
        .await
        .verdict();
    let applied = server.admin("POST", "/v1/policy/apply", text).await;
    (shown, applied.verdict(), applied.json()["applied"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_in_force_is_found_before_anything_changes() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        server.install(name, guests::echo()).await;
    }
    let kv = json!({ "grants": { "kv": [{ "bucket": "b" }] } });
    let missing = server.runtime.config().data_dir.with_file_name("missing");
    let files = json!([{ "host": missing, "guest": "/d", "access": "read" }]);
    let policy = json!({ "plugins": {
        "a": kv, "b": { "grants": { "files": files } }, "c": kv,
    } });
    let refused = "422 grants-not-in-force".to_owned();
    assert_eq!(
        verdicts(&server, &policy).await,
        (refused.clone(), refused, json!([]))
    );
    for name in ["a", "b", "c"] {
        let path = format!("/v1/plugins/{name}/grants");
        let grants = server.admin("GET", &path, "").await.json();
        assert_eq!(grants["version"], 0, "{name}");
    }
    std::fs::create_dir(&missing).expect("a folder");
    let (shown, applied, _) = verdicts(&server, &policy).await;
    assert_eq!((&*shown, &*applied), ("200", "200"));
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_is_checked_and_compared_without_being_installed() {
    let server = Server::start().await;
    let first = server.install("echo", guests::echo()).await;
    let check = |name: &str| format!("/v1/plugins?name={name}&wait=true&check=true");
    let checked = server
        .admin("POST", &check("echo"), guests::echo_read_only())
        .await
        .json();
    let installed = &checked["installed"];
    assert_eq!(installed["active"], false, "{checked}");
    let digest = &installed["digest"];
    let junk = server.admin("POST", &check("new"), "not a component").await;
    assert_eq!(junk.status, 422, "{junk:?}");
    let other = server.admin("POST", &check("new"), guests::spin()).await;
    assert_eq!(other.status, 201, "{other:?}");

    let plugins = server.admin("GET", "/v1/plugins", "").await.json();
    assert_eq!(plugins["plugins"].as_array().map(Vec::len), Some(1));
    let plugin = server.admin("GET", "/v1/plugins/echo", "").await.json();
    assert_eq!(plugin["versions"].as_array().map(Vec::len), Some(1));

    let policy = |effects: Value| {
        let entry = json!({ "digest": digest, "grants": { "effects": effects } });
        json!({ "plugins": { "echo": entry } }).to_string()
    };
    let run = policy(json!({ "run": "read-only" }));
    let diff = server.admin("POST", "/v1/policy/diff", run).await.json();
    let echo = &diff["diff"]["plugins"][0];
    assert_eq!(
        (&echo["missing"], &echo["digest_now"], &echo["digest_after"]),
        (&json!(true), &first["installed"]["digest"], digest)
    );
    let effects = &echo["version_changes"]["changed_effects"][0];
    assert_eq!(effects["to"]["read_only"], true, "{diff}");
    let unknown = policy(json!({ "rum": "read-only" }));
    let refused = server.admin("POST", "/v1/policy/diff", unknown).await;
    assert_eq!(refused.verdict(), "422 invalid-grants");
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_goes_back_to_an_earlier_version_only_when_told_so() {
    let server = Server::start().await;
    let first = server.install("echo", guests::echo()).await;
    server.install("a", guests::echo()).await;
    let second = server.install("echo", guests::echo_other()).await;
    let digest = |installed: &Value| installed["installed"]["digest"].clone();
    let (first, second) = (digest(&first), digest(&second));
    let limits = json!({ "cpu": "1s" });
    let echo = json!({ "digest": first, "limits": limits });
    let policy = json!({ "plugins": { "a": { "limits": limits }, "echo": echo } });
    let diff = server.admin("POST", "/v1/policy/diff", policy.to_string());
    let diff = diff.await.json();
    assert_eq!(diff["diff"]["plugins"][1]["downgrade"], true, "{diff}");
    let text = diff["text"].as_str().expect("text");
    assert!(text.contains("which was installed before it"), "{text}");
    let apply = async |how: &str| {
        let path = format!("/v1/policy/apply{how}");
        server.admin("POST", &path, policy.to_string()).await
    };
    let active =
        async || server.admin("GET", "/v1/plugins/echo", "").await.json()["digest"].clone();
    for how in ["", "?downgrade=false"] {
        let refused = apply(how).await;
        assert_eq!(refused.verdict(), "409 downgrade", "{refused:?}");
        assert_eq!(refused.json()["applied"], json!([]), "nothing is begun");
        assert_eq!(active().await, second);
    }
    let applied = apply("?why=incident&downgrade=true").await;
    assert_eq!(applied.status, 200, "{applied:?}");
    assert_eq!(active().await, first);
    server.stopped().await;
}
