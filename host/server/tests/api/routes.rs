//! The table of routes against what the server does: who may, and what the
//! OpenAPI document says.

use std::collections::BTreeSet;

use airlock_runtime::Role;
use airlock_server::{Access, ROUTES, Route};
use serde_json::{Value, json};

use crate::guests;
use crate::server::Server;

/// The path with the names of things there are.
fn target(route: &Route) -> String {
    route
        .path
        .replace("{plugin}", "echo")
        .replace("{tool}", "run")
        .replace("{kind}", "shared")
        .replace("{id}", "none")
        .replace("{name}", "none")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_what_the_table_says_and_nothing_else() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, server.token(role.name(), &[role], None).await));
    }
    let mut checked = 0;
    // What deletes comes last, or others would find nothing.
    let mut routes: Vec<&Route> = ROUTES.iter().collect();
    routes.sort_by_key(|route| route.method == "DELETE");
    for route in routes {
        let target = target(route);
        let nobody = server.send(route.method, &target, &[], "").await;
        let expect = match route.access {
            Access::Public => 200,
            // It lacks a signature.
            Access::Signed => 400,
            _ => 401,
        };
        assert_eq!(
            nobody.status, expect,
            "{} {target} without a token",
            route.method
        );
        for (role, token) in &tokens {
            let allowed = matches!(route.access, Access::Public | Access::Signed)
                || *role == Role::Admin
                || route.access.roles().contains(role);
            let answer = server.with(token, route.method, &target, "").await;
            let refused = answer.verdict() == "403 forbidden";
            assert_eq!(
                !refused, allowed,
                "{role} {} {target}: {answer:?}",
                route.method
            );
            assert!(
                answer.status < 500,
                "{role} {} {target}: {answer:?}",
                route.method
            );
            checked += 1;
        }
    }
    assert!(checked >= 30 * Role::ALL.len(), "{checked}");
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_bounds_every_route() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    server.install("other", guests::echo_other()).await;
    let token = server
        .token("scoped", &[Role::Admin], Some(&["other"]))
        .await;
    let (mut of_plugin, mut of_host) = (0, 0);
    for route in ROUTES {
        let answer = server.with(&token, route.method, &target(route), "").await;
        let outside = answer.verdict() == "403 outside-scope";
        match route.access {
            Access::Plugin(_) => of_plugin += 1,
            Access::Host(_) => of_host += 1,
            Access::Public | Access::Signed | Access::Roles(_) => {
                assert!(!outside, "{} {}: {answer:?}", route.method, route.path);
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                let leaks = text.contains("\"echo\"") && route.access != Access::Public;
                assert!(
                    !leaks,
                    "{} {} shows another plugin: {text}",
                    route.method, route.path
                );
                continue;
            }
        }
        assert!(outside, "{} {}: {answer:?}", route.method, route.path);
    }
    assert!(of_plugin >= 10 && of_host >= 10, "{of_plugin} {of_host}");
    let install = server
        .with(&token, "POST", "/v1/plugins?name=echo", guests::echo())
        .await;
    assert_eq!(install.verdict(), "403 outside-scope");
    let policy = r#"{"plugins":{"echo":{}}}"#;
    for path in ["/v1/policy/diff", "/v1/policy/apply"] {
        assert_eq!(
            server.with(&token, "POST", path, policy).await.verdict(),
            "403 outside-scope"
        );
    }
    server.stopped().await;
}

const GRANTS: &str = "/v1/plugins/echo/grants";
const URL: &str = "https://api.example.com/*";

/// The verdict on a JSON body.
async fn by(server: &Server, token: &str, method: &str, path: &str, body: Value) -> String {
    let answer = server.with(token, method, path, body.to_string()).await;
    answer.verdict()
}

/// A server with the plugin `echo`, its digest, and a token that administers it
/// alone.
async fn scoped() -> (Server, String, Value) {
    let server = Server::start().await;
    let installed = server.install("echo", guests::echo()).await;
    server.admin("PUT", "/v1/secrets/k1", "s3cr3t-value").await;
    let token = server
        .token("scoped", &[Role::Admin], Some(&["echo"]))
        .await;
    (server, token, installed["installed"]["digest"].clone())
}

/// What reaches the host is not granted, by none of the ways that grant.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_bounds_what_is_granted() {
    let (server, token, _) = scoped().await;
    let folder = server.runtime.config().data_dir.with_file_name("granted");
    std::fs::create_dir(&folder).expect("a folder");
    let reaching = [
        json!({ "files": [{ "host": folder, "guest": "/d", "access": "read" }] }),
        json!({ "http": [{ "url": URL, "secret": "k1" }] }),
        json!({ "http": [{ "url": URL, "allow_own": true }] }),
        json!({ "http": [{ "url": URL, "allow_private": true }] }),
        json!({ "tools": [{ "tool": "other/run" }, { "tool": "echo/run" }] }),
        json!({ "agents": [{ "agent": "other" }, { "agent": "echo" }] }),
    ];
    for rules in &reaching {
        let update = json!({ "grants": rules });
        let policy = json!({ "plugins": { "echo": update } });
        for (method, path, body) in [
            ("PUT", GRANTS, &update),
            ("POST", "/v1/policy/diff", &policy),
            ("POST", "/v1/policy/apply", &policy),
        ] {
            let verdict = by(&server, &token, method, path, body.clone()).await;
            assert_eq!(verdict, "403 outside-scope", "{path}: {rules}");
            let set = by(&server, &server.admin, method, path, body.clone()).await;
            assert_eq!(set, "200", "{path}: {rules}");
            server.grant("echo", json!({}), json!({})).await;
        }
    }
    let tools = json!([{ "tool": "echo/*" }]);
    let agents = json!([{ "agent": "echo" }]);
    let own = json!({ "http": [{ "url": URL }], "kv": [{ "bucket": "b" }], "tools": tools, "agents": agents });
    let own = json!({ "grants": own });
    assert_eq!(by(&server, &token, "PUT", GRANTS, own).await, "200");
    server.stopped().await;
}

/// What another granted stays as it is, for the component it was granted to, or
/// goes and does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_scope_bounds_what_is_kept() {
    for bound in [
        json!({ "http": [{ "url": URL, "secret": "k1" }] }),
        json!({ "tools": [{ "tool": "other/run" }] }),
        json!({ "agents": [{ "agent": "other" }] }),
    ] {
        a_scope_bounds_what_is_kept_of(bound).await;
    }
}

async fn a_scope_bounds_what_is_kept_of(bound: Value) {
    let (server, token, first) = scoped().await;
    let mut beside = bound.clone();
    beside["kv"] = json!([{ "bucket": "b" }]);
    let bound = server.grant("echo", bound, json!({})).await;
    let update = json!({ "grants": beside });
    assert_eq!(by(&server, &token, "PUT", GRANTS, update).await, "200");

    let install = "/v1/plugins?name=echo&wait=true";
    let active = format!("{install}&activate=true");
    let taken = server.with(&token, "POST", &active, guests::echo_other());
    assert_eq!(taken.await.verdict(), "403 outside-scope");
    let added = server.with(&token, "POST", install, guests::echo_other());
    let second = added.await.json()["installed"]["digest"].clone();
    assert_ne!(second, first);
    let policy = json!({ "plugins": { "echo": { "digest": second, "grants": beside } } });
    for (path, body) in [
        ("/v1/plugins/echo/activate", json!({ "digest": second })),
        ("/v1/policy/apply", policy),
    ] {
        let verdict = by(&server, &token, "POST", path, body).await;
        assert_eq!(verdict, "403 outside-scope", "{path}");
    }

    let taken = server.with(&token, "DELETE", GRANTS, "").await;
    assert_eq!(taken.status, 200, "{taken:?}");
    let (back, body) = (
        format!("{GRANTS}/rollback"),
        json!({ "version": bound["version"] }),
    );
    let verdict = by(&server, &token, "POST", &back, body).await;
    assert_eq!(verdict, "403 outside-scope");
    let shown = server.admin("GET", "/v1/plugins/echo", "").await.json();
    assert_eq!((&shown["digest"], &shown["grants"]), (&first, &json!({})));
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_has_every_route_and_no_other() {
    let server = Server::start().await;
    let document = server.send("GET", "/openapi.json", &[], "").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            described.insert(format!("{} {path}", method.to_ascii_uppercase()));
            let id = operation["operationId"].as_str().expect("an id").to_owned();
            assert!(ids.insert(id), "{operation}");
            assert!(operation["responses"]["default"].is_object());
            let secured = operation["security"].is_array();
            let public = ROUTES.iter().any(|route| {
                route.path == path
                    && route.method.eq_ignore_ascii_case(method)
                    && route.access == Access::Public
            });
            assert_ne!(secured, public, "{method} {path}");
        }
    }
    let table: BTreeSet<String> = ROUTES
        .iter()
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(described, table);
    assert_eq!(table.len(), ROUTES.len(), "no route twice");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let name = reference
            .strip_prefix("#/components/schemas/")
            .expect("a local reference");
        let name = name.split('/').next().expect("a name");
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{reference}"
        );
    }
    server.stopped().await;
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "$ref" => references.push(text.clone()),
                    member => collect(member, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

/// What is wrong with a query is said with the parameter's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_parameter_is_named() {
    let server = Server::start().await;
    for (target, name) in [
        ("/v1/calls?limit=many", "`limit`"),
        ("/v1/calls?before=-1", "`before`"),
        ("/v1/audit?limit=", "`limit`"),
        ("/v1/calls?limt=3", "`limt`"),
        ("/v1/tools/echo/run?log=perhaps", "`log`"),
    ] {
        let (method, body) = match target.contains("tools") {
            true => ("POST", "{}"),
            false => ("GET", ""),
        };
        let answer = server.admin(method, target, body).await;
        assert_eq!(answer.verdict(), "400 bad-query", "{target}: {answer:?}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(name), "{target}: {detail}");
    }
}

/// A page of a token with a scope is as long as it asked, however many calls of
/// other plugins lie between, and so is the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_scoped_token_gets_whole_pages_of_calls() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    server.install("other", guests::echo_other()).await;
    let call = async |plugin: &str| {
        let target = format!("/v1/tools/{plugin}/run");
        assert_eq!(server.admin("POST", &target, "1").await.status, 200);
    };
    for _ in 0..3 {
        call("other").await;
        for _ in 0..4 {
            call("echo").await;
        }
    }
    let token = server
        .token("scoped", &[Role::Viewer], Some(&["other"]))
        .await;
    let page = async |query: &str| {
        let target = format!("/v1/calls?{query}");
        let page = server.with(&token, "GET", &target, "").await.json();
        let calls = page["calls"].as_array().expect("calls").clone();
        assert!(
            calls.iter().all(|call| call["plugin"] == "other"),
            "{calls:?}"
        );
        (calls.len(), page["next_before"].as_u64())
    };
    let (count, next) = page("limit=2").await;
    assert_eq!(count, 2);
    let next = next.expect("there is more");
    assert_eq!(page(&format!("limit=2&before={next}")).await, (1, None));
    assert_eq!(page("limit=100").await.0, 3);
}
