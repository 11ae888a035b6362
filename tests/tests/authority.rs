//! Who may what, end to end: what a component says of itself and what a request
//! says of its sender count for nothing.

use airlock::client::{Api, Remote, Request};
use airlock::commands::install;
use airlock::harness::Server;
use airlock_tests::{airlock, component};
use serde_json::{Value, json};

fn server(folder: &tempfile::TempDir) -> Server {
    Server::start(&airlock(), &folder.path().join("data"), &[]).expect("the server starts")
}

fn add(server: &Server, name: &str, package: &str) {
    let bytes = std::fs::read(component(package)).expect("the component");
    install(&server.api(), name, bytes, None).expect("installed");
}

/// A client with a token of its own, which may call tools.
fn caller(server: &Server, name: &str) -> Api {
    let body = json!({ "principal": name, "roles": ["caller"] });
    let made: Value = server
        .api()
        .value(&Request::json("POST", "/v1/tokens", &body))
        .expect("a token");
    let token = made["token"].as_str().expect("its text");
    Api::Remote(Remote::new(server.base(), token))
}

#[test]
fn a_want_grants_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    add(&server, "files", "airlock-plugin-files");
    let detail = server.api().get("/v1/plugins/files").expect("the plugin");
    let wants = detail["wants"].as_array().expect("wants");
    assert!(!wants.is_empty(), "{detail}");
    assert!(
        wants.iter().all(|want| want["granted"] == false),
        "{detail}"
    );
    let explain = json!({ "capability": "files", "operation": "read /data/a.txt" });
    let path = "/v1/plugins/files/explain";
    let said: Value = server
        .api()
        .value(&Request::json("POST", path, &explain))
        .expect("an explanation");
    assert_eq!(said["allowed"], false, "{said}");
    let input = json!({ "path": "/data/a.txt" });
    let reply = server
        .api()
        .send(&Request::json("POST", "/v1/tools/files/read", &input))
        .expect("an answer");
    assert_eq!(reply.status, 403);
}

/// What one caller keeps, another does not get by claiming to be the first, in
/// headers or in the input; and the audit names who it was.
#[test]
fn a_forged_principal_is_no_principal() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = server(&folder);
    add(&server, "keeper", "keeper");
    let grants = json!({ "grants": { "kv": [{ "bucket": "kept", "scope": "principal" }] } });
    server
        .api()
        .ok(&Request::json("PUT", "/v1/plugins/keeper/grants", &grants))
        .expect("granted");
    let (alice, bob) = (caller(&server, "alice"), caller(&server, "bob"));
    let put = json!({ "key": "a", "value": "alice's own" });
    alice
        .ok(&Request::json("POST", "/v1/tools/keeper/put", &put))
        .expect("kept");
    let get = |api: &Api| {
        let input = json!({ "key": "a", "principal": "alice" });
        let forged = Request::json("POST", "/v1/tools/keeper/get", &input)
            .header("x-principal", "alice")
            .header("airlock-principal", "alice")
            .header("x-forwarded-user", "alice");
        let reply: Value = api.value(&forged).expect("an answer");
        reply["output"]["value"].clone()
    };
    assert_eq!(get(&alice), "alice's own");
    assert_eq!(get(&bob), Value::Null);
    let audit = server.api().get("/v1/audit?limit=1000").expect("the audit");
    let calls: Vec<&Value> = audit["records"]
        .as_array()
        .expect("records")
        .iter()
        .filter(|record| record["subject"] == "keeper/get")
        .map(|record| &record["principal"])
        .collect();
    assert_eq!(calls, ["bob", "alice"], "newest first");
}
