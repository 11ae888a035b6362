//! Headers, cookies, secrets and bodies of requests.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{compiled, tool};
use crate::{Carrier, Request, request};

fn sent(operation: Value, input: &Value, key: Option<&str>) -> Result<Request, String> {
    let tool = tool("post", "/o", operation);
    let secret = tool.plan.auth.is_some().then_some("PLACEHOLDER");
    request(&tool.plan, &input.to_string(), secret, key)
}

fn header<'r>(made: &'r Request, name: &str) -> Option<&'r str> {
    let mut found = made.headers.iter().filter(|(other, _)| other == name);
    let first = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} twice: {:?}", made.headers);
    first
}

#[test]
fn headers_and_cookies_are_one_line() {
    let operation = || {
        json!({ "parameters": [
            { "name": "X-Tags", "in": "header", "schema": { "type": ["array", "string"] } },
            { "name": "X-Map", "in": "header", "explode": true },
            { "name": "lang", "in": "cookie" },
            { "name": "theme", "in": "cookie" },
            { "name": "Accept", "in": "header" },
            { "name": "Authorization", "in": "header" },
        ], "security": [{ "cookie": [] }] })
    };
    let input = json!({ "X-Tags": ["a", "b"], "X-Map": { "k": 1, "l": 2 }, "lang": "de; x=1",
        "theme": "dark" });
    let made = sent(operation(), &input, None).expect("a request");
    assert_eq!(header(&made, "x-tags"), Some("a,b"));
    assert_eq!(header(&made, "x-map"), Some("k=1,l=2"));
    assert_eq!(
        header(&made, "cookie"),
        Some("lang=de%3B%20x%3D1; theme=dark; session=PLACEHOLDER")
    );
    for hostile in ["a\r\nHost: evil", "a\nb", "a\0", "\u{7f}", "é", "\u{202e}"] {
        let error = sent(operation(), &json!({ "X-Tags": hostile }), None);
        let error = error.expect_err(hostile);
        assert!(
            error.starts_with("X-Tags: ") && error.contains("in one line"),
            "{error}"
        );
        assert!(!error.contains(char::is_control), "{error}");
    }
    for (input, says) in [
        (json!({ "Accept": "x" }), "Accept: is not known"),
        (
            json!({ "Authorization": "x" }),
            "Authorization: is not known",
        ),
        (json!({ "lang": ["a"] }), "a cookie is one value"),
    ] {
        let error = sent(operation(), &input, None).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_key_of_the_call_is_passed_on_where_the_service_takes_one() {
    let takes = json!({ "parameters": [{ "name": "Idempotency-Key", "in": "header" }] });
    let of = |operation: &Value, input: Value, key| {
        let made = sent(operation.clone(), &input, key).expect("a request");
        header(&made, "idempotency-key").map(str::to_owned)
    };
    let own = json!({ "Idempotency-Key": "own" });
    assert_eq!(of(&takes, json!({}), Some("call")).as_deref(), Some("call"));
    assert_eq!(of(&takes, own, Some("call")).as_deref(), Some("own"));
    assert_eq!(of(&takes, json!({}), None), None);
    assert_eq!(of(&json!({}), json!({}), Some("call")), None);
    // One that the service asks for is given by the call, and no caller need know.
    let asks = json!({ "parameters": [
        { "name": "idempotency-key", "in": "header", "required": true },
        { "name": "X-Other", "in": "header" },
    ] });
    assert_eq!(of(&asks, json!({}), Some("call")).as_deref(), Some("call"));
    let told = tool("post", "/o", asks.clone()).listing.input;
    assert_eq!(told.get("required"), None, "{told:#}");
    assert_eq!(
        told["properties"]["idempotency-key"]["description"],
        "The call's own key unless given."
    );
    let error = sent(asks, &json!({}), None).expect_err("no key");
    assert_eq!(error, "idempotency-key: is missing");
    // Of that name elsewhere it is a parameter like others.
    let query =
        json!({ "parameters": [{ "name": "Idempotency-Key", "in": "query", "required": true }] });
    let error = sent(query, &json!({}), Some("call")).expect_err("it is missing");
    assert_eq!(error, "Idempotency-Key: is missing");
}

#[test]
fn a_secret_stands_where_its_scheme_says_and_nowhere_else() {
    let cases = [
        (
            "header",
            Carrier::Header("X-Key".to_owned()),
            "x-key",
            "PLACEHOLDER",
        ),
        (
            "cookie",
            Carrier::Cookie("session".to_owned()),
            "cookie",
            "session=PLACEHOLDER",
        ),
        (
            "bearer",
            Carrier::Bearer,
            "authorization",
            "Bearer PLACEHOLDER",
        ),
        (
            "oauth",
            Carrier::Bearer,
            "authorization",
            "Bearer PLACEHOLDER",
        ),
        (
            "basic",
            Carrier::Basic,
            "authorization",
            "Basic UExBQ0VIT0xERVI=",
        ),
    ];
    for (scheme, carrier, name, value) in cases {
        // A parameter of that name is the host's to send.
        let operation = json!({ "security": [{ scheme: [] }], "parameters": [
            { "name": "x-key", "in": "header" }, { "name": "session", "in": "cookie" }] });
        let tool = tool("post", "/o", operation.clone());
        let auth = tool.plan.auth.clone().expect("a secret");
        assert_eq!((auth.secret.as_str(), auth.carrier), ("shop-key", carrier));
        let made = sent(operation, &json!({}), None).expect("a request");
        assert_eq!(header(&made, name), Some(value), "{scheme}");
        assert!(!made.url.contains("PLACEHOLDER"));
    }
    let operation = json!({ "security": [{ "query": [] }], "parameters": [
        { "name": "key", "in": "query" }, { "name": "more", "in": "query" }] });
    let made = sent(operation.clone(), &json!({ "more": "x" }), None).expect("a request");
    assert_eq!(
        made.url,
        "https://api.example.com/v1/o?more=x&key=PLACEHOLDER"
    );
    for (input, says) in [
        (json!({ "key": "mine" }), "key: is not known"),
        (json!({ "more": { "key": "mine" } }), "the host's to send"),
        (json!({ "more": { "KEY": "mine" } }), "the host's to send"),
        (json!({ "more": { "key[]": "mine" } }), "the host's to send"),
        (
            json!({ "more": { "Key[a][b]": "mine" } }),
            "the host's to send",
        ),
    ] {
        let error = sent(operation.clone(), &input, None).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
    for input in [json!({ "keys": "x" }), json!({ "a[key]": "x" })] {
        let made = sent(operation.clone(), &json!({ "more": input }), None);
        assert!(made.is_ok(), "{input}: {made:?}");
    }
    for (other, name) in [("api.key", "api_key"), ("auth[KEY]", "auth[key]")] {
        let document = json!({ "openapi": "3.1.0", "info": { "title": "Shop" },
            "servers": [{ "url": "https://api.example.com" }],
            "components": { "securitySchemes": {
                "k": { "type": "apiKey", "in": "query", "name": name } } },
            "paths": { "/o": { "get": { "security": [{ "k": [] }],
                "parameters": [{ "name": "more", "in": "query" }] } } } });
        let tool = &compiled(&document).tools[0];
        let input = json!({ "more": { other: "mine" } }).to_string();
        let error = request(&tool.plan, &input, Some("P"), None).expect_err(other);
        assert!(error.contains("the host's to send"), "{error}");
    }
}

fn body(media: &str, encoding: Value, schema: Value, input: Value) -> Result<Request, String> {
    let content = json!({ media: { "schema": schema, "encoding": encoding } });
    let operation = json!({ "requestBody": { "required": true, "content": content } });
    sent(operation, &json!({ "body": input }), None)
}

#[test]
fn bodies_are_written_as_their_media_types_are() {
    let form = "application/x-www-form-urlencoded";
    let none = || json!({});
    let cases = [
        (
            "application/json",
            none(),
            json!({ "b": [1.50, "é"] }),
            r#"{"b":[1.5,"é"]}"#,
        ),
        ("application/merge-patch+json", none(), json!(null), ""),
        ("text/plain", none(), json!("a\nb"), "a\nb"),
        ("application/xml", none(), json!("<a/>"), "<a/>"),
        (
            "application/octet-stream",
            none(),
            json!("aGVsbG8="),
            "hello",
        ),
        ("image/png", none(), json!("aGVsbG8="), "hello"),
        (
            form,
            none(),
            json!({ "a b": "c d+e", "l": ["1", "2"], "n": null, "t": true }),
            "a+b=c+d%2Be&l=1&l=2&t=true",
        ),
        (
            form,
            json!({ "l": { "style": "form", "explode": false } }),
            json!({ "l": [1, 2] }),
            "l=1,2",
        ),
        (
            form,
            json!({ "m": { "style": "deepObject" } }),
            json!({ "m": { "a": { "b": 1 }, "c": [2] } }),
            "m%5Ba%5D%5Bb%5D=1&m%5Bc%5D%5B0%5D=2",
        ),
        // Without a style, what is nested is JSON.
        (
            form,
            none(),
            json!({ "m m": { "a": [1, "b c"] }, "l": [{ "x": 1 }, null, 2], "n": [1, null] }),
            "m+m=%7B%22a%22%3A%5B1%2C%22b+c%22%5D%7D&l=%7B%22x%22%3A1%7D&l=2&n=1",
        ),
        (
            form,
            json!({ "m": { "explode": true } }),
            json!({ "m": { "a": 1, "b": null } }),
            "a=1",
        ),
    ];
    for (media, encoding, input, expected) in cases {
        if input.is_null() {
            let error = body(media, encoding, none(), input).expect_err("it is missing");
            assert_eq!(error, "body: is missing");
            continue;
        }
        let made = body(media, encoding, none(), input).expect(media);
        assert_eq!(String::from_utf8_lossy(&made.body), expected, "{media}");
        assert_eq!(header(&made, "content-type"), Some(media));
    }
    for (media, input, says) in [
        ("text/plain", json!({}), "must be a text"),
        ("image/png", json!("no base64!"), "must be base64"),
        (form, json!([]), "must be an object"),
        (
            form,
            json!({ "styled": { "b": {} } }),
            "body.styled: a list or an object",
        ),
        (
            "multipart/form-data",
            json!({ "a\r\nb": 1 }),
            "no part can have this name",
        ),
        (
            "multipart/form-data",
            json!({ "a\"; b=\"": 1 }),
            "no part can have this name",
        ),
    ] {
        let encoding = json!({ "styled": { "style": "form" } });
        let error = body(media, encoding, none(), input).expect_err(says);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn json_goes_out_byte_for_byte() {
    let content = json!({ "application/json": {} });
    let tool = tool(
        "post",
        "/o",
        json!({ "requestBody": { "content": content } }),
    );
    let written = r#"{ "n": 1.10, "big": 123456789012345678901234567890 }"#;
    let made = request(&tool.plan, &format!("{{\"body\": {written}}}"), None, None);
    assert_eq!(made.expect("a request").body, written.as_bytes());
}

#[test]
fn parts_of_a_form_cannot_end_it() {
    let schema = json!({ "type": "object", "properties": {
        "file": { "type": "string", "format": "binary" },
        "pages": { "type": "array", "items": { "type": "string", "contentMediaType": "image/png" } },
    } });
    let encoding = json!({ "file": { "contentType": "application/pdf, image/png" } });
    let first = "airlock-part-0000000000000000";
    let input = json!({ "title": format!("--{first}--"), "file": "aGVsbG8=", "pages": ["YQ==", "Yg=="],
        "more": { "a": 1 } });
    let made = body(
        "multipart/form-data",
        encoding.clone(),
        schema.clone(),
        input,
    );
    let made = made.expect("a request");
    let boundary = "airlock-part-0000000000000001";
    let expected = [
        "--B\r\ncontent-disposition: form-data; name=\"title\"\r\n\r\n--A--\r\n",
        "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"file\"\r\ncontent-type: application/pdf\r\n\r\nhello\r\n",
        "--B\r\ncontent-disposition: form-data; name=\"pages\"; filename=\"pages\"\r\ncontent-type: application/octet-stream\r\n\r\na\r\n",
        "--B\r\ncontent-disposition: form-data; name=\"pages\"; filename=\"pages\"\r\ncontent-type: application/octet-stream\r\n\r\nb\r\n",
        "--B\r\ncontent-disposition: form-data; name=\"more\"\r\ncontent-type: application/json\r\n\r\n{\"a\":1}\r\n",
        "--B--\r\n",
    ];
    let expected = expected.concat().replace("--B", &format!("--{boundary}"));
    let expected = expected.replace("--A--", &format!("--{first}--"));
    assert_eq!(String::from_utf8_lossy(&made.body), expected);
    let media = header(&made, "content-type").expect("a type");
    assert_eq!(media, format!("multipart/form-data; boundary={boundary}"));
    let error = body(
        "multipart/form-data",
        encoding,
        schema,
        json!({ "file": 1 }),
    );
    assert!(
        error
            .expect_err("no base64")
            .contains("body.file: must be a text of base64")
    );
}

/// A member that is put together of others is a file where one of them is.
#[test]
fn files_are_found_in_what_a_schema_is_put_together_of() {
    let file = || json!({ "type": "string", "format": "binary" });
    let with = |properties: Value| json!({ "type": "object", "properties": properties });
    let cases = [
        with(json!({ "f": file() })),
        with(json!({ "f": { "anyOf": [file(), { "type": "null" }] } })),
        with(json!({ "f": { "oneOf": [{ "type": "null" }, file()] } })),
        with(json!({ "f": { "allOf": [{ "allOf": [file()] }] } })),
        with(json!({ "f": { "type": ["array", "null"], "items": { "anyOf": [file()] } } })),
        with(json!({ "f": { "anyOf": [{ "type": "array", "items": file() }, file()] } })),
        json!({ "allOf": [with(json!({ "title": {} })), with(json!({ "f": file() }))] }),
        json!({ "allOf": [{ "allOf": [with(json!({ "f": file() }))] }] }),
        json!({ "oneOf": [with(json!({ "url": {} })), with(json!({ "f": file() }))] }),
    ];
    for schema in cases {
        let shown = schema.to_string();
        let input = json!({ "f": "aGVsbG8=" });
        let made = body("multipart/form-data", json!({}), schema, input).expect("a request");
        let text = String::from_utf8_lossy(&made.body).into_owned();
        let part =
            "name=\"f\"; filename=\"f\"\r\ncontent-type: application/octet-stream\r\n\r\nhello\r\n";
        assert!(text.contains(part), "{shown}: {text}");
    }
    let text = with(json!({ "f": { "anyOf": [{ "type": "string" }, { "type": "null" }] } }));
    let input = json!({ "f": ["aGVsbG8=", null] });
    let made = body("multipart/form-data", json!({}), text, input).expect("a request");
    let text = String::from_utf8_lossy(&made.body).into_owned();
    assert!(
        text.contains("name=\"f\"\r\n\r\naGVsbG8=\r\n") && text.matches("name=").count() == 1,
        "{text}"
    );
}

/// As many boundaries as fit into a part cost no more than reading it.
#[test]
fn a_boundary_is_found_however_many_are_taken() {
    let taken = 20_000;
    let text: String = (0..taken)
        .map(|number| format!("airlock-part-{number:016x} "))
        .collect();
    let start = Instant::now();
    let input = json!({ "a": text, "b": "airlock-part-" });
    let made = body("multipart/form-data", json!({}), json!({}), input).expect("a request");
    let boundary = format!("multipart/form-data; boundary=airlock-part-{taken:016x}");
    assert_eq!(header(&made, "content-type"), Some(boundary.as_str()));
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}
