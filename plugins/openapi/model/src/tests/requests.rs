//! Requests, compared with what the standards say by hand.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tool;
use crate::{Carrier, Plan, Request, request};

/// A path, its parameters, an input, and the address behind the server; or the
/// beginning of an error.
type Case = (
    &'static str,
    Value,
    Value,
    Result<&'static str, &'static str>,
);

fn check(cases: &[Case]) {
    for (path, parameters, input, expected) in cases {
        let tool = tool("get", path, json!({ "parameters": parameters }));
        let made = request(&tool.plan, &input.to_string(), None, None);
        let base = "https://api.example.com/v1";
        match (made, expected) {
            (Ok(made), Ok(expected)) => {
                assert_eq!(
                    made.url,
                    format!("{base}{expected}"),
                    "{parameters} {input}"
                );
            }
            (Err(error), Err(expected)) => {
                assert!(error.contains(expected), "{parameters} {input}: {error}");
            }
            (made, expected) => panic!("{parameters} {input}: {made:?}, not {expected:?}"),
        }
    }
}

fn list() -> Value {
    json!(["blue", "black", "brown"])
}

fn map() -> Value {
    json!({ "R": 100, "G": 200, "B": 150 })
}

/// The table of OpenAPI 3.1.1, "Style Examples".
#[test]
fn every_style_is_written_as_openapi_says() {
    let of = |place: &str, style: &str, explode: bool, input: Value, expected: &'static str| {
        let path = if place == "path" { "/{color}" } else { "/c" };
        let parameter = json!([{ "name": "color", "in": place, "style": style, "explode": explode,
            "required": place == "path" }]);
        (path, parameter, json!({ "color": input }), Ok(expected))
    };
    let blue = || json!("blue");
    check(&[
        of("path", "matrix", false, blue(), "/;color=blue"),
        of("path", "matrix", false, list(), "/;color=blue,black,brown"),
        of("path", "matrix", false, map(), "/;color=R,100,G,200,B,150"),
        of("path", "matrix", true, blue(), "/;color=blue"),
        of(
            "path",
            "matrix",
            true,
            list(),
            "/;color=blue;color=black;color=brown",
        ),
        of("path", "matrix", true, map(), "/;R=100;G=200;B=150"),
        of("path", "label", false, blue(), "/.blue"),
        of("path", "label", false, list(), "/.blue,black,brown"),
        of("path", "label", false, map(), "/.R,100,G,200,B,150"),
        of("path", "label", true, list(), "/.blue.black.brown"),
        of("path", "label", true, map(), "/.R=100.G=200.B=150"),
        of("path", "simple", false, blue(), "/blue"),
        of("path", "simple", false, list(), "/blue,black,brown"),
        of("path", "simple", false, map(), "/R,100,G,200,B,150"),
        of("path", "simple", true, list(), "/blue,black,brown"),
        of("path", "simple", true, map(), "/R=100,G=200,B=150"),
        of("query", "form", false, blue(), "/c?color=blue"),
        of("query", "form", false, json!(""), "/c?color="),
        of("query", "form", false, list(), "/c?color=blue,black,brown"),
        of("query", "form", false, map(), "/c?color=R,100,G,200,B,150"),
        of(
            "query",
            "form",
            true,
            list(),
            "/c?color=blue&color=black&color=brown",
        ),
        of("query", "form", true, map(), "/c?R=100&G=200&B=150"),
        of(
            "query",
            "spaceDelimited",
            false,
            list(),
            "/c?color=blue%20black%20brown",
        ),
        of(
            "query",
            "spaceDelimited",
            false,
            map(),
            "/c?color=R%20100%20G%20200%20B%20150",
        ),
        of(
            "query",
            "pipeDelimited",
            false,
            list(),
            "/c?color=blue%7Cblack%7Cbrown",
        ),
        of(
            "query",
            "pipeDelimited",
            false,
            map(),
            "/c?color=R%7C100%7CG%7C200%7CB%7C150",
        ),
        of(
            "query",
            "deepObject",
            true,
            map(),
            "/c?color%5BR%5D=100&color%5BG%5D=200&color%5BB%5D=150",
        ),
        of(
            "query",
            "deepObject",
            true,
            json!({ "a": { "b": [1, { "c": true }] } }),
            "/c?color%5Ba%5D%5Bb%5D%5B0%5D=1&color%5Ba%5D%5Bb%5D%5B1%5D%5Bc%5D=true",
        ),
        of("query", "form", true, json!([]), "/c"),
        of("query", "form", false, json!([]), "/c"),
        of("query", "form", false, json!({}), "/c"),
    ]);
}

#[test]
fn values_are_encoded_and_never_taken_for_anything_else() {
    let id = || json!([{ "name": "id", "in": "path", "required": true }]);
    let q = || json!([{ "name": "q", "in": "query" }]);
    let reserved = || json!([{ "name": "q", "in": "query", "allowReserved": true }]);
    let of = |input: &str| json!({ "id": input });
    let refused = "id: must not";
    let ways = "several ways";
    check(&[
        ("/o/{id}", id(), of("a b"), Ok("/o/a%20b")),
        ("/o/{id}", id(), of("é/x"), Err(refused)),
        ("/o/{id}", id(), of("é"), Ok("/o/%C3%A9")),
        ("/o/{id}", id(), of("a?b#c&d"), Ok("/o/a%3Fb%23c%26d")),
        ("/o/{id}", id(), of("100%"), Ok("/o/100%25")),
        ("/o/{id}", id(), of("..."), Ok("/o/...")),
        ("/o/{id}", id(), of("a..b"), Ok("/o/a..b")),
        (
            "/o/{id}",
            id(),
            of("@evil.example.com"),
            Ok("/o/%40evil.example.com"),
        ),
        ("/o/{id}", id(), of(""), Err("must not be empty")),
        (
            "/o/{id}",
            id(),
            json!({ "id": [] }),
            Err("must not be empty"),
        ),
        (
            "/o/{id}",
            id(),
            json!({ "id": ["a", ""] }),
            Err("must not be empty"),
        ),
        ("/o/{id}", id(), json!({}), Err("id: is missing")),
        (
            "/o/{id}",
            id(),
            json!({ "id": null }),
            Err("id: is missing"),
        ),
        ("/o/{id}", id(), of("."), Err(ways)),
        ("/o/{id}", id(), of(".."), Err(ways)),
        ("/o/{id}", id(), of("../users"), Err(refused)),
        ("/o/{id}", id(), of("..\\users"), Err(refused)),
        ("/o/{id}", id(), of("%2e%2e"), Err(ways)),
        ("/o/{id}", id(), of("%2fusers"), Err(ways)),
        ("/o/{id}", id(), of("..;a"), Err(ways)),
        ("/o/{id}", id(), of("a;b"), Err(ways)),
        ("/o/{id}", id(), of("a\r\nHost: b"), Err(refused)),
        ("/o/{id}", id(), of("a\0"), Err(refused)),
        (
            "/o/{id}",
            id(),
            json!({ "id": ["..", ".."] }),
            Ok("/o/..,.."),
        ),
        (
            "/o/{id}",
            id(),
            json!({ "id": { "..": "a/b" } }),
            Err(refused),
        ),
        (
            "/o/{id}",
            id(),
            json!({ "id": [["a"]] }),
            Err("can't be written in this style"),
        ),
        ("/o/.{id}", id(), of("."), Err(ways)),
        ("/o/x{id}", id(), of(".."), Ok("/o/x..")),
        (
            "/o",
            q(),
            json!({ "q": "a&b=c#d?e/f" }),
            Ok("/o?q=a%26b%3Dc%23d%3Fe%2Ff"),
        ),
        ("/o", q(), json!({ "q": "a\r\nb" }), Ok("/o?q=a%0D%0Ab")),
        ("/o", q(), json!({ "q": { "x&y": "1" } }), Ok("/o?x%26y=1")),
        ("/o", q(), json!({ "q": null }), Ok("/o")),
        (
            "/o",
            q(),
            json!({ "q": 12345678901234567890_u64 }),
            Ok("/o?q=12345678901234567890"),
        ),
        ("/o", q(), json!({ "q": true }), Ok("/o?q=true")),
        (
            "/o",
            q(),
            json!({ "p": 1 }),
            Err("p: is not known; there are q"),
        ),
        (
            "/o",
            json!([]),
            json!({ "p\u{1b}": 1 }),
            Err("p\\u{1b}: is not known; it takes nothing"),
        ),
        (
            "/o",
            reserved(),
            json!({ "q": "a/b?c&d#e+f" }),
            Ok("/o?q=a/b?c%26d%23e%2Bf"),
        ),
        (
            "/o",
            q(),
            json!({ "q": "x".repeat(9000) }),
            Err("more than 8192"),
        ),
    ]);
}

#[test]
fn numbers_go_out_as_they_were_written() {
    let parameter = json!([{ "name": "q", "in": "query", "schema": { "type": "number" } }]);
    let tool = tool("get", "/o", json!({ "parameters": parameter }));
    for number in ["1e400", "0.10", "123456789012345678901234567890"] {
        let made = request(&tool.plan, &format!("{{\"q\":{number}}}"), None, None);
        match made {
            Ok(made) => assert!(made.url.ends_with(&format!("?q={number}")), "{}", made.url),
            Err(error) => assert_eq!((number, error.starts_with("q: ")), ("1e400", true)),
        }
    }
}

#[test]
fn a_value_is_of_its_type() {
    let of = |schema: Value| json!([{ "name": "q", "in": "query", "schema": schema }]);
    let q = |value: Value| json!({ "q": value });
    check(&[
        (
            "/o",
            of(json!({ "type": "integer" })),
            q(json!(3)),
            Ok("/o?q=3"),
        ),
        (
            "/o",
            of(json!({ "type": "integer" })),
            q(json!(-3)),
            Ok("/o?q=-3"),
        ),
        (
            "/o",
            of(json!({ "type": "integer" })),
            q(json!(3.0)),
            Ok("/o?q=3.0"),
        ),
        (
            "/o",
            of(json!({ "type": "integer" })),
            q(json!(3.5)),
            Err("q: must be a whole number"),
        ),
        (
            "/o",
            of(json!({ "type": "integer" })),
            q(json!("3")),
            Err("q: must be a whole number"),
        ),
        (
            "/o",
            of(json!({ "type": "boolean" })),
            q(json!(1)),
            Err("q: must be true or false"),
        ),
        (
            "/o",
            of(json!({ "type": "array" })),
            q(json!("a")),
            Err("q: must be a list"),
        ),
        (
            "/o",
            of(json!({ "type": ["string", "integer"] })),
            q(json!([1])),
            Err("q: must be a text or a whole number"),
        ),
        (
            "/o",
            of(json!({ "type": ["string", "null"] })),
            q(json!(null)),
            Ok("/o"),
        ),
        (
            "/o",
            of(json!({ "anyOf": [{ "type": "string" }] })),
            q(json!(1)),
            Ok("/o?q=1"),
        ),
        (
            "/o",
            of(json!({ "allOf": [{ "type": "string" }] })),
            q(json!(1)),
            Err("must be a text"),
        ),
        (
            "/o",
            json!([{ "name": "q", "in": "query", "content": { "application/json": {} } }]),
            q(json!({ "a": [1, "é"] })),
            Ok("/o?q=%7B%22a%22%3A%5B1%2C%22%C3%A9%22%5D%7D"),
        ),
    ]);
}

#[test]
fn two_parameters_of_one_name_have_names_of_their_own() {
    let parameters = json!([
        { "name": "id", "in": "path", "required": true },
        { "name": "id", "in": "query" },
        { "name": "body", "in": "query" },
        { "name": "filter[a]", "in": "query" },
        { "name": "filter a", "in": "query" },
    ]);
    let input = json!({ "path_id": "p", "query_id": "q", "query_body": "b",
        "query_filter_a": "1", "query_filter_a_2": "2" });
    let expected = "/o/p?id=q&body=b&filter%5Ba%5D=1&filter%20a=2";
    check(&[("/o/{id}", parameters, input, Ok(expected))]);
}

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
    ] {
        let error = sent(operation.clone(), &input, None).expect_err(says);
        assert!(error.contains(says), "{error}");
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
            json!({ "a": { "b": {} } }),
            "body.a: a list or an object",
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
        let error = body(media, none(), none(), input).expect_err(says);
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

/// The plan of a path with three variables and two values of the query.
fn plan_with_everything() -> Plan {
    let parameters = json!([
        { "name": "a", "in": "path", "required": true },
        { "name": "b", "in": "path", "required": true, "style": "label" },
        { "name": "c", "in": "path", "required": true, "style": "matrix", "explode": true },
        { "name": "q", "in": "query", "allowReserved": true },
        { "name": "d", "in": "query", "style": "deepObject" },
    ]);
    tool(
        "get",
        "/o/{a}/x{b}/{c}",
        json!({ "parameters": parameters }),
    )
    .plan
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(2_000))]

    /// Whatever the input is, the server and the path's own parts stay.
    #[test]
    fn fuzz_no_input_leads_elsewhere(
        texts in proptest::collection::vec("[./\\\\%a-f0-9;:@?#&=\r\n\\x00é ,{}~-]{0,12}", 5),
    ) {
        let plan = plan_with_everything();
        let input = json!({ "a": texts[0], "b": [texts[1], texts[0]], "c": { &texts[2]: texts[1] },
            "q": texts[3], "d": { &texts[4]: { &texts[3]: texts[2] } } });
        if let Ok(made) = request(&plan, &input.to_string(), None, None) {
            let url = url::Url::parse(&made.url).expect("a URL");
            prop_assert_eq!(url.origin().ascii_serialization(), "https://api.example.com");
            // Nothing is resolved, added or taken away by whoever reads it.
            let read: Vec<&str> = url.path().split('/').collect();
            prop_assert_eq!(read.len(), 6, "{}", made.url);
            prop_assert_eq!(&read[..3], &["", "v1", "o"]);
            let whole = format!("https://api.example.com{}", url.path());
            prop_assert!(made.url.starts_with(&whole), "{}", made.url);
            prop_assert!(url.fragment().is_none() && made.url.is_ascii());
        }
    }
}
