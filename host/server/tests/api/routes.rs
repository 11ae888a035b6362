//! The table of routes against what the server does: who may, and what the
//! OpenAPI document says.

use std::collections::BTreeSet;

use airlock_runtime::Role;
use airlock_server::{Access, ROUTES, Route};
use serde_json::Value;

use crate::guests;
use crate::server::Server;

/// The path with the names of things there are.
fn target(route: &Route) -> String {
    route
        .path
        .replace("{plugin}", "echo")
        .replace("{tool}", "run")
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
        let expect = if route.access == Access::Public {
            200
        } else {
            401
        };
        assert_eq!(
            nobody.status, expect,
            "{} {target} without a token",
            route.method
        );
        for (role, token) in &tokens {
            let allowed = route.access == Access::Public
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
            Access::Public | Access::Roles(_) => {
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
