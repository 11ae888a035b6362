//! Of several media types, and of those that stand for all: which is sent.

use serde_json::{Value, json};

use super::{compiled, document, tool};
use crate::{Request, Tool, request};

/// A tool with a body of these media types.
fn taking(content: Value) -> Tool {
    let body = json!({ "required": true, "content": content });
    tool("patch", "/o", json!({ "requestBody": body }))
}

fn sent(tool: &Tool, input: &str) -> Result<Request, String> {
    request(&tool.plan, input, None, None)
}

fn media(made: &Request) -> &str {
    let mut headers = made.headers.iter();
    let found = headers.find(|(name, _)| name == "content-type");
    found.map_or("", |(_, value)| value)
}

#[test]
fn what_stands_for_all_media_types_is_json_where_its_schema_is_no_text() {
    let mut with = document(json!({ "/o": { "post": {} } }));
    with["components"]["schemas"] = json!({
        "Pod": { "type": "object", "properties": { "a": {} } },
        "Link": { "$ref": "#/components/schemas/Pod" },
        "Text": { "type": "string", "format": "binary" },
    });
    let refers = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let json = "application/json";
    let bytes = "application/octet-stream";
    let cases = [
        ("*/*", refers("Pod"), json),
        ("*/*", refers("Link"), json),
        ("application/*", refers("Pod"), json),
        ("*/*; q=1", refers("Pod"), json),
        ("*/*", json!({ "type": "object" }), json),
        ("*/*", json!({ "type": "array", "items": {} }), json),
        ("*/*", json!({ "type": "integer" }), json),
        ("*/*", json!({ "type": ["object", "null"] }), json),
        ("*/*", json!({ "properties": { "a": {} } }), json),
        ("*/*", json!({ "allOf": [refers("Pod"), {}] }), json),
        (
            "*/*",
            json!({ "oneOf": [refers("Text"), refers("Pod")] }),
            json,
        ),
        ("*/*", json!({ "type": "string" }), bytes),
        (
            "*/*",
            json!({ "type": "string", "format": "binary" }),
            bytes,
        ),
        (
            "*/*",
            json!({ "anyOf": [refers("Text"), { "type": "string" }] }),
            bytes,
        ),
        ("*/*", refers("Text"), bytes),
        ("*/*", json!({}), bytes),
        ("image/*", refers("Pod"), bytes),
        ("text/*", refers("Pod"), "text/plain"),
        ("application/*+json", refers("Pod"), json),
    ];
    for (named, schema, expected) in cases {
        let mut with = with.clone();
        let content = json!({ named: { "schema": schema } });
        with["paths"]["/o"]["post"]["requestBody"] = json!({ "content": content });
        let tool = &compiled(&with).tools[0];
        let input = match expected {
            "application/json" => r#"{ "body": {"a":1.0} }"#,
            _ => r#"{ "body": "aGVsbG8=" }"#,
        };
        let made = sent(tool, input).expect("a request");
        assert_eq!(media(&made), expected, "{named} {schema}");
        let body: &[u8] = match expected {
            "application/json" => br#"{"a":1.0}"#,
            "text/plain" => b"aGVsbG8=",
            _ => b"hello",
        };
        assert_eq!(made.body, body, "{named} {schema}");
    }
    // What has a name goes first.
    let named = taking(json!({ "*/*": { "schema": { "type": "object" } },
        "application/vnd.x+json": {} }));
    let made = sent(&named, r#"{"body":{}}"#).expect("a request");
    assert_eq!(media(&made), "application/vnd.x+json");
}

#[test]
fn a_list_of_changes_is_sent_only_where_it_is_one() {
    let object = || json!({ "schema": { "type": "object" } });
    let list = || json!({ "schema": { "type": "array", "items": {} } });
    let (patch, merge) = (
        "application/json-patch+json",
        "application/merge-patch+json",
    );
    let apply = "application/strategic-merge-patch+json";
    let cases = [
        // As Kubernetes has it.
        (
            json!({ "application/apply-patch+yaml": object(), patch: object(), merge: object(),
            apply: object() }),
            vec![merge, apply, patch],
        ),
        (
            json!({ patch: object(), apply: object() }),
            vec![apply, patch],
        ),
        (
            json!({ patch: list(), merge: object() }),
            vec![patch, merge],
        ),
        (
            json!({ merge: object(), patch: list() }),
            vec![merge, patch],
        ),
        (json!({ patch: object() }), vec![patch]),
        (
            json!({ patch: list(), "application/json": object() }),
            vec!["application/json", patch],
        ),
        // Names of one thing, as ASP.NET has them.
        (
            json!({ "application/json": object(), "text/json": object(),
            "application/*+json": object(), "application/json; charset=utf-8": object() }),
            vec!["application/json"],
        ),
        (
            json!({ "application/json;v=2": object(), "application/json;v=1": object() }),
            vec!["application/json;v=2", "application/json;v=1"],
        ),
        (
            json!({ "application/json": object(), "a\r\nb+json": object() }),
            vec!["application/json"],
        ),
    ];
    for (content, expected) in cases {
        let tool = taking(content.clone());
        let made = sent(&tool, r#"{"body":{}}"#).expect("a request");
        assert_eq!(media(&made), expected[0], "{content}");
        let choice = &tool.listing.input["properties"]["content_type"];
        match expected.len() {
            1 => assert!(choice.is_null(), "{choice}"),
            _ => assert_eq!(choice["enum"], json!(expected), "{content}"),
        }
    }
}

#[test]
fn a_caller_chooses_between_json_types() {
    let (merge, patch) = (
        "application/merge-patch+json",
        "application/json-patch+json",
    );
    let object = json!({ "type": "object" });
    let list = json!({ "type": "array" });
    let tool = taking(json!({ merge: { "schema": object }, patch: { "schema": list } }));
    let told = &tool.listing.input["properties"];
    assert_eq!(told["body"]["anyOf"], json!([object, list]));
    assert_eq!(
        told["content_type"]["description"],
        "What `body` is; application/merge-patch+json unless given."
    );
    let of = |choice: &str| {
        let made = sent(&tool, &format!(r#"{{"body":[1],"content_type":{choice}}}"#));
        made.map(|made| media(&made).to_owned())
    };
    assert_eq!(of(r#""application/json-patch+json""#).as_deref(), Ok(patch));
    assert_eq!(
        of(r#""application/merge-patch+json""#).as_deref(),
        Ok(merge)
    );
    assert_eq!(of("null").as_deref(), Ok(merge));
    let refused = format!("content_type: must be one of {merge}, {patch}");
    for other in [
        r#""text/plain""#,
        r#""a\r\nb: c""#,
        "1",
        r#""""#,
        r#"["a"]"#,
    ] {
        assert_eq!(of(other), Err(refused.clone()), "{other}");
    }
    // Where there is nothing to choose there is no such member, or it is a parameter.
    let one = taking(json!({ merge: {} }));
    let error = sent(&one, r#"{"body":{},"content_type":"application/json"}"#);
    assert_eq!(
        error,
        Err("content_type: is not known; there are body".to_owned())
    );
    let of = |content: Value| {
        let parameters = json!([{ "name": "content_type", "in": "query" }]);
        let operation = json!({ "parameters": parameters, "requestBody": { "content": content } });
        super::tool("post", "/o", operation)
    };
    let made = sent(
        &of(json!({ merge: {} })),
        r#"{"body":{},"content_type":"x"}"#,
    );
    let made = made.expect("a request");
    assert_eq!(media(&made), merge);
    assert!(made.url.ends_with("/o?content_type=x"), "{}", made.url);
    let both = of(json!({ merge: {}, patch: {} }));
    let input = format!(r#"{{"body":{{}},"content_type":"{patch}","query_content_type":"x"}}"#);
    let made = sent(&both, &input).expect("a request");
    assert_eq!(media(&made), patch);
    assert!(made.url.ends_with("/o?content_type=x"), "{}", made.url);
}

#[test]
fn choices_are_bounded() {
    let content = (0..1_000).map(|number| (format!("application/vnd.{number}+json"), json!({})));
    let tool = taking(Value::Object(content.collect()));
    let choices = &tool.listing.input["properties"]["content_type"]["enum"];
    assert_eq!(choices.as_array().map(Vec::len), Some(16));
}

#[test]
fn null_is_sent_where_a_body_may_be_null() {
    let cases = [
        (json!({ "type": ["object", "null"] }), true),
        (
            json!({ "anyOf": [{ "type": "object" }, { "type": "null" }] }),
            true,
        ),
        (json!({ "type": "object" }), false),
        (json!({ "properties": { "a": { "type": "null" } } }), false),
        (json!({}), false),
    ];
    for (schema, is_sent) in cases {
        let tool = taking(json!({ "application/json": { "schema": schema } }));
        let made = sent(&tool, r#"{"body":null}"#);
        match is_sent {
            true => assert_eq!(made.expect("a request").body, b"null", "{schema}"),
            false => assert_eq!(made, Err("body: is missing".to_owned()), "{schema}"),
        }
    }
    let mut old = document(json!({ "/o": { "post": { "requestBody": { "content": {
        "application/json": { "schema": { "type": "object", "nullable": true } } } } } } }));
    old["openapi"] = json!("3.0.3");
    let tool = &compiled(&old).tools[0];
    let made = sent(tool, r#"{"body":null}"#).expect("a request");
    assert_eq!(
        (media(&made), made.body.as_slice()),
        ("application/json", &b"null"[..])
    );
    assert_eq!(sent(tool, "{}").expect("a request").body, b"");
}
