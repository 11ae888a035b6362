//! `airlock plugin add --openapi`: the component that it makes, in the real sandbox
//! behind a real server, against a service on loopback that says what it saw.

mod place;
mod raw;
mod shop;

use std::fs;

use serde_json::{Value, json};

use place::{Place, orders};
use shop::{KEY, Shop};

#[test]
fn each_operation_is_a_tool_like_any_other() {
    let place = Place::new();
    let added = place.add(&[]);
    assert_eq!(
        added["tools"].as_array().map(Vec::len),
        Some(11),
        "{added:#}"
    );
    // Nothing is granted by installing it.
    place.bad("list_orders", json!({}), "denied", "orders-key");
    place.bad("health", json!({}), "denied", "/v1/health");
    assert_eq!(place.shop.seen().len(), 0);
    // What is suggested can be typed; granting it again changes nothing.
    let shown = place.ok(&["plugin", "inspect", "orders"]);
    let command = shown.split("airlock grant orders '").nth(1);
    let command = command.and_then(|rest| rest.split('\'').next());
    place.ok(&["grant", "orders", command.expect("a suggestion")]);
    let granted = place.add(&["--grant"]);
    assert_eq!(
        granted["granted"]["http"].as_array().map(Vec::len),
        Some(2),
        "{granted:#}"
    );
    place.set_secret("orders-key", KEY);

    let page = place.good(
        "list_orders",
        json!({ "status": ["open", "paid"], "limit": 5,
        "filter": { "customer": "a&b" }, "X-Trace-Id": "t-1" }),
    );
    assert_eq!(page["body"]["orders"][0]["id"], "O-1", "{page:#}");
    assert_eq!(page["headers"]["x-total-count"], "1");
    let seen = place.shop.last();
    assert_eq!(
        seen.line,
        "GET /v1/orders?status=open,paid&filter%5Bcustomer%5D=a%26b&limit=5"
    );
    assert_eq!(seen.header("x-trace-id"), Some("t-1"));
    assert_eq!(seen.header("accept"), Some("application/json"));

    let line = json!({ "customer": "ada", "lines": [{ "sku": "S", "quantity": 1.0 }] });
    let (status, placed) = place.call("orders/create_order", &json!({ "body": line }), Some("k-1"));
    assert_eq!(status, 200, "{placed:#}");
    assert_eq!(placed["output"]["status"], 201);
    assert_eq!(placed["output"]["headers"]["location"], "/v1/orders/O-2");
    let seen = place.shop.last();
    assert_eq!(
        seen.body,
        br#"{"customer":"ada","lines":[{"sku":"S","quantity":1.0}]}"#
    );
    assert_eq!(seen.header("content-type"), Some("application/json"));
    let key = seen.header("idempotency-key").expect("the call's key");
    assert_eq!(
        place.good("get_order", json!({ "id": "O-1" }))["headers"]["etag"],
        "\"1\""
    );

    place.good("replace_order", json!({ "id": "O-1", "body": line }));
    place.good(
        "change_order",
        json!({ "id": "O-1", "body": { "note": null } }),
    );
    assert_eq!(
        place.shop.last().header("content-type"),
        Some("application/merge-patch+json")
    );
    assert_eq!(
        place.good("cancel_order", json!({ "id": "O-1" })),
        json!({ "status": 204 })
    );
    place.good(
        "add_note",
        json!({ "id": "O-1", "body": { "text": "a b", "labels": ["x", "y"] } }),
    );
    assert_eq!(place.shop.last().body, b"text=a+b&labels=x&labels=y");
    place.good(
        "attach_file",
        json!({ "id": "O-1", "body": { "title": "t", "file": "aGVsbG8=" } }),
    );
    let seen = place.shop.last();
    let parts = String::from_utf8_lossy(&seen.body).into_owned();
    assert!(
        parts.contains("filename=\"file\"\r\ncontent-type: application/pdf\r\n\r\nhello\r\n"),
        "{parts}"
    );
    assert_eq!(
        place.good("get_label", json!({ "id": "O-1" }))["body_base64"],
        "JVBERv8="
    );
    assert_eq!(
        place.good("get_categories", json!({}))["body"]["name"],
        "all"
    );
    let health = place.good("health", json!({}));
    assert_eq!(health, json!({ "status": 200, "body": "well" }));
    assert_eq!(place.shop.last().header("authorization"), None);
    assert!(!key.is_empty());
}

#[test]
fn each_failure_is_told_as_what_it_is() {
    let place = Place::new();
    place.add(&["--grant"]);
    place.bad("get_order", json!({ "id": "O-1" }), "denied", "orders-key");
    place.set_secret("orders-key", "a wrong key");
    place.bad(
        "get_order",
        json!({ "id": "O-1" }),
        "permanent",
        "is the secret `orders-key` the right one",
    );
    place.set_secret("orders-key", KEY);
    place.bad(
        "get_order",
        json!({ "id": "O-9" }),
        "not-found",
        "404: {\"detail\": \"no such order\"}",
    );
    place.bad("get_order", json!({ "id": "O-429" }), "transient", "429");
    place.bad("get_order", json!({ "id": "O-500" }), "transient", "500");
    place.bad(
        "get_order",
        json!({ "id": "O-302" }),
        "permanent",
        "which is not followed",
    );
    place.bad("get_order", json!({ "id": "O-long" }), "limit", "response");
    place.bad("get_order", json!({}), "invalid-input", "id: is missing");
    place.bad(
        "get_order",
        json!({ "id": 7 }),
        "invalid-input",
        "id: must be a text",
    );
    place.bad(
        "get_order",
        json!({ "id": "O-1", "ids": 1 }),
        "invalid-input",
        "ids: is not known",
    );
    place.bad(
        "create_order",
        json!({}),
        "invalid-input",
        "body: is missing",
    );
    place.bad(
        "create_order",
        json!({ "body": { "customer": "nobody" } }),
        "invalid-input",
        "422",
    );
    place.bad(
        "create_order",
        json!({ "body": { "customer": "crash" } }),
        "unknown",
        "500",
    );
    place.bad(
        "create_order",
        json!({ "body": { "customer": "twice" } }),
        "permanent",
        "409",
    );
    let (_, late) = place.call("orders/get_order", &json!({ "id": "O-429" }), None);
    assert_eq!(late["retry_after_s"], 2, "{late:#}");
}

/// Whatever a caller writes, and whatever the service answers, the requests stay
/// with the one server and below its path.
#[test]
fn no_call_reaches_another_server_or_path() {
    let place = Place::new();
    let elsewhere = Shop::open();
    place
        .shop
        .redirects_to(&format!("{}/orders", elsewhere.base()));
    place.add(&["--grant"]);
    place.set_secret("orders-key", KEY);
    let other = elsewhere.base();
    let hostile = [
        "../../admin",
        "..",
        ".",
        "%2e%2e",
        "%2e%2e%2fadmin",
        "..%2f..%2fadmin",
        "..\\admin",
        "a;b",
        "//evil.example.com",
        "@evil.example.com",
        "?admin=1",
        "#",
        "a\r\nHost: evil.example.com",
        "http://evil.example.com/",
        "\u{2025}",
        "。。",
        "",
    ];
    for id in hostile.iter().copied().chain([other.as_str()]) {
        let (status, body) = place.call("orders/get_order", &json!({ "id": id }), None);
        assert!(matches!(status, 200 | 400..=499), "{id}: {status} {body:#}");
    }
    place.bad(
        "get_order",
        json!({ "id": "O-302" }),
        "permanent",
        "not followed",
    );
    for value in ["a\r\nx-admin: 1", "a\nb", "\0"] {
        place.bad(
            "list_orders",
            json!({ "X-Trace-Id": value }),
            "invalid-input",
            "X-Trace-Id",
        );
    }
    let seen = place.shop.seen();
    assert!(seen.len() >= 5, "only {} requests came", seen.len());
    for seen in seen {
        let path = seen.line.split(' ').nth(1).unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        assert!(
            path.starts_with("/v1/orders/") && query.is_empty(),
            "{}",
            seen.line
        );
        assert_eq!(path.matches('/').count(), 3, "{}", seen.line);
        assert_eq!(seen.header("x-admin"), None);
        assert_eq!(seen.header("host"), Some(place.shop.host().as_str()));
    }
    assert_eq!(elsewhere.seen().len(), 0);

    // What is granted is the document's server: another one is denied to the same
    // component, which asks for it, and so are other methods and other paths.
    let file = orders().display().to_string();
    let args = [
        "plugin",
        "add",
        "orders",
        "--openapi",
        &file,
        "--base-url",
        &other,
        "--activate",
    ];
    place.ok(&args);
    place.bad(
        "get_order",
        json!({ "id": "O-1" }),
        "denied",
        "no rule allows it",
    );
    place.bad("health", json!({}), "denied", "no rule allows it");
    assert_eq!(elsewhere.seen().len(), 0);
    let narrow = format!("http = [{{ url = \"{other}/**\", allow_private = true }}]");
    place.ok(&["grant", "orders", "--replace", &narrow]);
    place.bad("get_order", json!({ "id": "O-1" }), "denied", "orders-key");
    place.good("health", json!({}));
    assert_eq!(elsewhere.seen().len(), 1);
}

/// A document is a version like any component: the same one is the same digest,
/// another one is another, and one can go back.
#[test]
fn a_document_is_a_version_of_its_plugin() {
    let place = Place::new();
    let first = place.add(&[])["installed"]["digest"].clone();
    assert_eq!(place.add(&[])["installed"]["digest"], first);
    let file = place
        .folder
        .path()
        .join("orders.wasm")
        .display()
        .to_string();
    let written = place.add(&["--write", &file]);
    assert_eq!(written["file"], *file);
    // The same where no server is.
    let alone = place.folder.path().join("alone").display().to_string();
    let there = place.add(&["--data", &alone]);
    assert_eq!(there["installed"]["digest"], first);
    let policy = place.folder.path().join("policy.toml");
    let digest = first.as_str().expect("a digest");
    let text = format!("[plugins.shop]\nsource = \"{file}\"\ndigest = \"{digest}\"\n");
    fs::write(&policy, text).expect("a file");
    place.ok(&["apply", &policy.display().to_string(), "--yes"]);

    let changed = fs::read_to_string(orders()).expect("the example");
    let changed = changed.replace("operationId: getOrder", "operationId: findOrder");
    let base = place.shop.base();
    let args = [
        "plugin",
        "add",
        "orders",
        "--openapi",
        "-",
        "--base-url",
        &base,
    ];
    let (code, out, err) = place.run(&args, &changed);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("not active yet") && out.contains("find_order"),
        "{out}"
    );
    let shown = place.ok(&["plugin", "inspect", "orders"]);
    assert!(
        shown.contains("get_order") && !shown.contains("find_order"),
        "{shown}"
    );
    let other = out
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    let other = other.expect("a digest");
    assert_ne!(other, digest);
    place.ok(&["plugin", "activate", "orders", other]);
    assert!(
        place
            .ok(&["plugin", "inspect", "orders"])
            .contains("find_order")
    );
    place.ok(&["plugin", "activate", "orders", digest, "--downgrade"]);
    assert!(!place.ok(&["tool", "list"]).contains("find_order"));
}

#[test]
fn a_document_that_is_wrong_changes_nothing() {
    let place = Place::new();
    let text = fs::read_to_string(orders()).expect("the example");
    let cases = [
        (
            text.replace("openapi: 3.0.3", "openapi: 2.0"),
            5,
            "-:#/openapi: the version is a number",
        ),
        (
            text.replace("in: path, required: true", "in: nowhere"),
            5,
            "-:#/paths/~1orders~1{id}",
        ),
        (
            text.replace("  title: Orders", "  title: [x"),
            5,
            "-:4:10: this is no YAML",
        ),
        (
            text.replace("scheme: bearer", "scheme: digest"),
            5,
            "only bearer and basic are sent",
        ),
        (String::new(), 5, "-:1:1: the file is empty"),
    ];
    for (text, code, says) in &cases {
        let (found, out, err) = place.run(&["plugin", "add", "--openapi", "-"], text);
        assert_eq!((found, out.as_str()), (*code, ""), "{err}");
        assert!(
            err.contains(says) && err.contains("[openapi-invalid]"),
            "{err}"
        );
    }
    let (code, out, _) = place.run(&["plugin", "add", "--openapi", "-", "--json"], &cases[1].0);
    let problem: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}"));
    assert_eq!(code, 5);
    assert!(
        problem["problems"].as_array().map_or(0, Vec::len) > 3,
        "{problem:#}"
    );
    let file = orders().display().to_string();
    for args in [
        &["plugin", "add", "--base-url", "https://x.test"][..],
        &["plugin", "add", "--openapi", "https://x.test/openapi.json"],
        &["plugin", "add", "a", "b.wasm", "--openapi", &file],
        &["plugin", "add", "--openapi", &file, "--include", "nothing"],
        &[
            "plugin",
            "add",
            "--openapi",
            &file,
            "--write",
            "x.wasm",
            "--grant",
        ],
    ] {
        let (code, _, err) = place.run(args, "");
        assert_eq!(code, 2, "{args:?}: {err}");
    }
    assert!(
        place
            .ok(&["plugin", "list"])
            .contains("no plugin is installed")
    );
}

/// The title is the author's: it takes over no plugin and no secret.
#[test]
fn a_document_names_nothing_that_is_there() {
    let place = Place::new();
    place.set_secret("orders-key", KEY);
    let file = orders().display().to_string();
    let base = place.shop.base();
    let add = |more: &[&str]| {
        let args = ["plugin", "add", "--openapi", &file, "--base-url", &base];
        place.run(&[&args[..], more].concat(), "")
    };
    let (code, _, err) = add(&["--grant"]);
    assert_eq!(code, 2, "{err}");
    assert!(
        err.contains("there is a secret orders-key already") && err.contains("--secret orders-key"),
        "{err}"
    );
    assert!(
        place
            .ok(&["plugin", "list"])
            .contains("no plugin is installed")
    );
    let (code, out, err) = add(&[]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("note: there is a secret orders-key already"),
        "{out}"
    );
    for more in [&[][..], &["--activate"]] {
        let (code, _, err) = add(more);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains("there is a plugin orders already"), "{err}");
    }
    let granted = place.add(&["--grant", "--secret", "orders-key"]);
    assert_eq!(
        granted["notes"].as_array().map(Vec::len),
        Some(0),
        "{granted:#}"
    );
    assert_eq!(
        place.good("get_order", json!({ "id": "O-1" }))["status"],
        200
    );
    // What is granted is known from then on.
    assert_eq!(
        place.add(&["--grant"])["notes"].as_array().map(Vec::len),
        Some(0)
    );
}

/// Airlock's own document makes tools of Airlock itself. The host lets them reach it
/// only where a rule says so.
#[test]
fn airlocks_own_document_makes_tools() {
    let place = Place::new();
    let document = place
        .server
        .api()
        .get("/openapi.json")
        .expect("the document");
    let base = place.server.base().to_owned();
    let args = [
        "plugin",
        "add",
        "self",
        "--openapi",
        "-",
        "--base-url",
        &base,
        "--json",
        "--secret",
        "token=self-token",
    ];
    let (code, out, err) = place.run(&args, &document.to_string());
    assert_eq!(code, 0, "{err}");
    let added: Value = serde_json::from_str(&out).expect("JSON");
    let operations: usize = document["paths"]
        .as_object()
        .expect("paths")
        .values()
        .map(|item| item.as_object().map_or(0, serde_json::Map::len))
        .sum();
    assert_eq!(
        added["tools"].as_array().map(Vec::len),
        Some(operations),
        "{:#}",
        added["notes"]
    );
    assert!(operations > 50, "{operations}");
    place.set_secret("self-token", place.server.token());
    let tool = added["tools"].as_array().into_iter().flatten();
    let mut tool = tool.filter(|tool| tool["path"] == "/v1/whoami");
    let tool = tool.next().expect("whoami")["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let rule = |more: &str| {
        let rule = format!(
            "http = [{{ url = \"{base}/**\", secret = \"self-token\", allow_private = true{more} }}]"
        );
        place.ok(&["grant", "self", "--replace", &rule]);
        place.call(&format!("self/{tool}"), &json!({}), None)
    };
    let (status, body) = rule("");
    assert_eq!((status, &body["code"]), (403, &json!("denied")), "{body:#}");
    let (status, body) = rule(", allow_own = true");
    assert_eq!(status, 200, "{body:#}");
    assert_eq!(
        body["output"]["body"]["roles"],
        json!(["admin"]),
        "{body:#}"
    );
}

/// As many tools as a plugin may have, with as much to tell as a component holds,
/// are installed and called within the usual limits.
#[test]
fn a_large_document_keeps_the_usual_limits() {
    let place = Place::new();
    let values: Vec<String> = (0..700)
        .map(|number| format!("value {number:>10}"))
        .collect();
    let mut paths = json!({});
    for number in 0..256 {
        let schema = json!({ "type": "string", "enum": values });
        let parameter = json!({ "name": "q", "in": "query", "schema": schema });
        paths[format!("/orders/x{number}")] =
            json!({ "get": { "operationId": format!("op{number}"), "parameters": [parameter] } });
    }
    let document =
        json!({ "openapi": "3.1.0", "info": { "title": "Large", "version": "1" }, "paths": paths });
    let base = place.shop.base();
    let args = [
        "plugin",
        "add",
        "--openapi",
        "-",
        "--base-url",
        &base,
        "--grant",
    ];
    let (code, out, err) = place.run(&args, &document.to_string());
    assert_eq!(code, 0, "{out}{err}");
    let (status, body) = place.call("large/op255", &json!({ "q": "value" }), None);
    assert_eq!(status, 404, "{body:#}");
    assert_eq!(place.shop.last().line, "GET /v1/orders/x255?q=value");
}
