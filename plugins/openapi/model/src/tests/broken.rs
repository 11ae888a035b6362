//! Documents with something wrong: each says where it is and what to do.

use serde_json::{Value, json};

use super::{ORDERS, document, problems};
use crate::Options;

/// A document with one change, and what is said of it.
fn check(text: &str, options: &Options, says: &[&str]) {
    let found = problems(text, options);
    let shown: String = text.chars().take(300).collect();
    assert_eq!(found.len(), says.len(), "{shown}: {found:#?}");
    for (found, says) in found.iter().zip(says) {
        let parts: Vec<&str> = says.split(" … ").collect();
        assert!(
            found.starts_with(parts[0]) && parts.iter().all(|part| found.contains(part)),
            "{shown}: {found}"
        );
        assert!(
            found.len() < 700 && !found.contains(char::is_control),
            "{found}"
        );
    }
}

#[test]
fn what_is_no_document_says_what_it_is() {
    let json = |value: Value| value.to_string();
    let doc = |key: &str, value: Value| {
        let mut document = document(json!({ "/o": { "get": {} } }));
        document[key] = value;
        document.to_string()
    };
    let without = |key: &str| {
        let mut document = document(json!({ "/o": { "get": {} } }));
        document.as_object_mut().expect("a map").remove(key);
        document.to_string()
    };
    let cases = [
        (String::new(), "1:1: the file is empty"),
        ("  \n".to_owned(), "1:1: the file is empty"),
        ("{".to_owned(), "1:1: this is no JSON: EOF"),
        (
            "{\n \"a\": tru }".to_owned(),
            "2:10: this is no JSON … expected",
        ),
        ("{} {}".to_owned(), "1:4: this is no JSON: trailing"),
        (
            "{\"a\":1,\n\"a\":2}".to_owned(),
            "2:6: `a` is given twice in one map: keep one",
        ),
        ("[1]".to_owned(), "#: this is no OpenAPI document"),
        ("just text".to_owned(), "#: this is no OpenAPI document"),
        ("a: b: c".to_owned(), "1:5: this is no YAML"),
        ("a: 1\nb: 2\na: 3".to_owned(), "3:1: `a` is given twice"),
        ("a: !x 1".to_owned(), "1:4: tags (`!…`) are not taken"),
        ("? [a]\n: 1".to_owned(), "1:3: a key is a text"),
        (
            "a: &x { b: 1 }\nc: { <<: *x }".to_owned(),
            "2:6: merging with `<<` is not taken",
        ),
        (
            "a: &x [*x]".to_owned(),
            "1:8: the alias stands inside of what it repeats",
        ),
        ("a: 1\n---\nb: 2".to_owned(), "2:1: a second document"),
        (
            json(json!({ "a": 1 })),
            "#: this is no OpenAPI document: it has no `openapi`",
        ),
        (
            json(json!({ "swagger": "2.0" })),
            "#/swagger: this is Swagger 2.0 … swagger2openapi",
        ),
        (
            doc("openapi", json!(3.1)),
            "#/openapi: the version is a number: write it in quotes",
        ),
        (
            doc("openapi", json!("4.0.0")),
            "#/openapi: OpenAPI 4.0.0 is not read",
        ),
        (
            doc("openapi", json!("3.10.0")),
            "#/openapi: OpenAPI 3.10.0 is not read",
        ),
        (without("info"), "#: it has no `info`"),
        (
            doc("info", json!([])),
            "#/info: `info` is a list, not a map",
        ),
        (
            doc("info", json!({ "title": "…" })),
            "#/info/title: no plugin's name can be made of `…`",
        ),
        (without("paths"), "#: it has no `paths`"),
        (
            doc("paths", json!([])),
            "#/paths: `paths` is a list, not a map",
        ),
        (doc("paths", json!({})), "#/paths: there is no operation"),
    ];
    for (text, says) in cases {
        check(&text, &Options::default(), &[says]);
    }
}

#[test]
fn a_server_is_one_that_can_be_granted() {
    let of = |servers: Value| {
        let mut document = document(json!({ "/o": { "get": {} } }));
        document["servers"] = servers;
        document.to_string()
    };
    let one = |url: &str| of(json!([{ "url": url }]));
    let cases = [
        (
            of(json!([])),
            "#: it names no server: give one, e.g. --base-url",
        ),
        (of(json!({})), "#/servers: `servers` is a map, not a list"),
        (
            one("/v1"),
            "#/servers/0: its server is `/v1`, relative to where the file is from … --base-url",
        ),
        (one("ftp://a.test"), "#/servers/0 … only http and https"),
        (one("https://u:p@a.test"), "#/servers/0 … a user in it"),
        (
            one("https://a.test/v1?x=1"),
            "#/servers/0 … a query or a fragment",
        ),
        (
            one("https://a.test/v1#x"),
            "#/servers/0 … a query or a fragment",
        ),
        (
            one("https://a.test/*"),
            "#/servers/0 … a character that no server's URL has",
        ),
        (
            one("https://a.test/\" ,x"),
            "#/servers/0 … a character that no server's URL has",
        ),
        (one("https://a.test/\"x"), "#/servers/0 … read in two ways"),
        (
            one("https://a.test/a/../b"),
            "#/servers/0 … read in two ways",
        ),
        (
            one("https://a.test/a%2fb"),
            "#/servers/0 … read in two ways",
        ),
        (one("https://a.test//b"), "#/servers/0 … read in two ways"),
        (one("https://a.test./"), "#/servers/0 … ends with a dot"),
        (one("https://"), "#/servers/0 … which is no URL"),
        (
            one("https://{host}/"),
            "#/servers/0: the variable `host` of `https://{host}/` has no default",
        ),
        (one("https://{host"), "#/servers/0 … `{` without its `}`"),
        (
            of(json!([{ "url": "https://a.test" }, { "url": "https://b.test" }])),
            "#/servers: it names 2 servers … --base-url, of https://a.test, https://b.test",
        ),
    ];
    for (text, says) in cases {
        check(&text, &Options::default(), &[says]);
    }
    let given = |url: &str| Options {
        base_url: Some(url.to_owned()),
        ..Options::default()
    };
    check(&one("/v1"), &given("https://a.test/v1"), &[]);
    check(
        &one("/v1"),
        &given("a.test"),
        &["--base-url a.test: which is no URL"],
    );
    check(&one("/v1"), &given("/v1"), &["--base-url /v1: relative"]);
}

#[test]
fn what_is_wrong_with_an_operation_has_its_place() {
    let get = "#/paths/~1o~1{id}/get";
    let id = json!({ "name": "id", "in": "path", "required": true });
    let parameter = |more: Value| json!({ "parameters": [id, more] });
    let schema = |schema: Value| parameter(json!({ "name": "q", "in": "query", "schema": schema }));
    let body = |body: Value| json!({ "parameters": [id], "requestBody": body });
    let at = |rest: &str| format!("{get}{rest}");
    let cases: Vec<(Value, String)> = vec![
        (
            json!({}),
            at(": the path has `{id}`, and there is no parameter"),
        ),
        (json!(3), at(": an operation is a number, not a map")),
        (
            json!({ "operationId": 7 }),
            at(": `operationId` is no text"),
        ),
        (
            json!({ "operationId": "…" }),
            at(": its `operationId` has no letter"),
        ),
        (
            json!({ "parameters": {} }),
            at("/parameters: `parameters` is a map, not a list"),
        ),
        (
            parameter(json!({ "in": "query" })),
            at("/parameters/1: a parameter has no `name`"),
        ),
        (
            parameter(json!({ "name": "q", "in": "body" })),
            at("/parameters/1: the parameter `q` is `in: body`"),
        ),
        (
            parameter(id.clone()),
            at("/parameters/1: the path parameter `id` is given twice"),
        ),
        (
            parameter(json!({ "name": "x", "in": "path" })),
            at(": the parameter `x` is `in: path`, and the path"),
        ),
        (
            parameter(json!({ "name": "Host", "in": "header" })),
            at("/parameters/1: the header `Host` is the connection's"),
        ),
        (
            parameter(json!({ "name": "a\r\nb", "in": "header" })),
            at("/parameters/1: `a\\r\\nb` is no header's name"),
        ),
        (
            parameter(json!({ "name": "a=b", "in": "cookie" })),
            at("/parameters/1: `a=b` is no cookie's name"),
        ),
        (
            parameter(json!({ "name": "c", "in": "cookie", "schema": { "type": "array" } })),
            at("/parameters/1: the cookie `c` is a list"),
        ),
        (
            parameter(json!({ "name": "q", "in": "query", "style": "matrix" })),
            at("/parameters/1: the query parameter `q` has the style `matrix`"),
        ),
        (
            parameter(json!({ "name": "q", "in": "query", "content": { "text/csv": {} } })),
            at("/parameters/1/content … something else than JSON"),
        ),
        (
            parameter(json!({ "$ref": "other.yaml#/x" })),
            at("/parameters/1: `$ref` leads outside of the file … bundle"),
        ),
        (
            parameter(json!({ "$ref": "https://evil.example.com/x" })),
            at("/parameters/1: `$ref` leads outside"),
        ),
        (
            parameter(json!({ "$ref": "#/components/none" })),
            at("/parameters/1: `$ref` leads to `#/components/none`, and there is nothing"),
        ),
        (
            parameter(json!({ "$ref": "#name" })),
            at("/parameters/1: `$ref` is `#name`, an anchor"),
        ),
        (
            parameter(json!({ "$ref": 1 })),
            at("/parameters/1: `$ref` is no text"),
        ),
        (
            parameter(json!({ "$ref": "#/paths/~1o~1{id}/get/parameters/1" })),
            at(
                "/parameters/1: more than 32 references one after the other, or a reference to itself",
            ),
        ),
        (
            schema(json!("text")),
            at("/parameters/1/schema: a schema is a text, not a map"),
        ),
        (
            schema(json!({ "type": "text" })),
            at("/parameters/1/schema/type: `\"text\"` is no type"),
        ),
        (
            schema(json!({ "type": "object", "properties": [] })),
            at("/parameters/1/schema/properties … not a map"),
        ),
        (
            schema(json!({ "allOf": {} })),
            at("/parameters/1/schema/allOf … not a list"),
        ),
        (
            schema(json!({ "$ref": "#/components/schemas/No" })),
            at("/parameters/1/schema: `$ref` leads to"),
        ),
        (
            schema(json!({ "$dynamicRef": "#x" })),
            at("/parameters/1/schema/$dynamicRef: `$dynamicRef` is not read"),
        ),
        (
            schema(json!({ "enum": [{ "$ref": "http://x" }] })),
            at("/parameters/1/schema/enum: a value with `$ref` in it"),
        ),
        (
            schema(json!({ "enum": "a" })),
            at("/parameters/1/schema/enum: `enum` is no list"),
        ),
        (
            json!({ "parameters": [id], "security": [{ "none": [] }] }),
            at("/security/0: there is no scheme `none`"),
        ),
        (
            json!({ "parameters": [id], "security": [{ "digest": [] }] }),
            at("/security: none of what it asks for can be sent: `digest` is HTTP authentication"),
        ),
        (
            json!({ "parameters": [id], "security": [{ "tls": [] }] }),
            at("/security … a client certificate"),
        ),
        (
            json!({ "parameters": [id], "security": [{ "header": [], "query": [] }] }),
            at("/security … `header` and `query` together are more secrets"),
        ),
        (
            json!({ "parameters": [id], "servers": [{ "url": "https://other.test" }] }),
            at(": it is on another server, https://other.test: leave it out"),
        ),
        (
            json!({ "parameters": [id], "responses": [] }),
            at("/responses: `responses` is a list"),
        ),
    ];
    for (operation, says) in &cases {
        let document = document(json!({ "/o/{id}": { "get": operation } }));
        check(&document.to_string(), &Options::default(), &[says]);
    }
    let post = |rest: &str| format!("#/paths/~1o~1{{id}}/post{rest}");
    let bodies: Vec<(Value, String)> = vec![
        (
            body(json!({})),
            post("/requestBody: the body has no `content`"),
        ),
        (
            body(json!({ "content": {} })),
            post("/requestBody: the body's `content` is empty"),
        ),
        (
            body(json!({ "content": { "a\r\nb": {} } })),
            post("/requestBody/content/a\\r\\nb: `a\\r\\nb` is no media type"),
        ),
        (
            body(
                json!({ "content": { "multipart/form-data": { "encoding": { "f": { "contentType": "a\r\nb" } } } } }),
            ),
            post("/requestBody/content/multipart~1form-data/encoding/f … is no media type"),
        ),
        (
            body(
                json!({ "content": { "multipart/form-data": { "encoding": { "f": { "style": "x" } } } } }),
            ),
            post("/requestBody/content/multipart~1form-data/encoding/f … no style of a form"),
        ),
    ];
    for (operation, says) in &bodies {
        let document = document(json!({ "/o/{id}": { "post": operation } }));
        check(&document.to_string(), &Options::default(), &[says]);
    }
    assert!(cases.len() + bodies.len() >= 25);
}

#[test]
fn a_path_is_read_in_one_way() {
    let cases = [
        ("o", "does not begin with `/`"),
        ("/o?x=1", "write parameters `in: query`"),
        ("/o#x", "a query or a fragment"),
        ("/../o", "read in two ways"),
        ("/o/%2e%2e/x", "read in two ways"),
        ("/o%2fx", "read in two ways"),
        ("//evil.example.com/o", "read in two ways"),
        ("/a//b", "read in two ways"),
        ("/a b", "` `, which must be percent-encoded"),
        ("/ä", "must be percent-encoded"),
        ("/{id", "`{` without its `}`"),
        ("/a\\b", "must be percent-encoded"),
    ];
    for (path, says) in cases {
        let document = document(json!({ path: { "get": { "operationId": "x" } } }));
        let found = problems(&document.to_string(), &Options::default());
        assert!(
            found.len() == 1 && found[0].contains(says),
            "{path}: {found:?}"
        );
    }
}

#[test]
fn names_that_clash_are_told_with_both_places() {
    let of = |one: &str, other: &str| {
        document(
            json!({ "/a": { "get": { "operationId": one } }, "/b": { "get": { "operationId": other } } }),
        )
    };
    let none = Options::default();
    check(
        &of("x", "x").to_string(),
        &none,
        &["#/paths/~1b/get: the `operationId` `x` is that of #/paths/~1a/get too"],
    );
    check(
        &of("listAll", "list_all").to_string(),
        &none,
        &[
            "#/paths/~1b/get: as a tool it would be `list_all`, which #/paths/~1a/get is … --exclude \"GET /b\"",
        ],
    );
    let exclude = Options {
        exclude: vec!["GET /b".to_owned()],
        ..Options::default()
    };
    check(&of("x", "x").to_string(), &exclude, &[]);
    let paths = document(
        json!({ "/a/{b}": { "parameters": [{ "name": "b", "in": "path" }], "get": {} },
        "/a/by_b": { "get": {} } }),
    );
    check(
        &paths.to_string(),
        &none,
        &["#/paths/~1a~1by_b/get: as a tool it would be `get_a_by_b`"],
    );
}

#[test]
fn all_is_told_at_once_or_left_out() {
    let bad = || json!({ "get": { "parameters": [{ "name": "x", "in": "nowhere" }] } });
    let mut paths = json!({ "/good": { "get": { "operationId": "good" } } });
    for number in 0..30 {
        paths[format!("/p{number}")] = bad();
    }
    let text = document(paths).to_string();
    assert_eq!(problems(&text, &Options::default()).len(), 20);
    let skip = Options {
        skip: true,
        ..Options::default()
    };
    let compiled = crate::compile(&text, &skip).expect("what is good");
    assert_eq!((compiled.tools.len(), compiled.notes.len()), (1, 30));
    assert!(compiled.notes[0].starts_with("left out: GET /p0: #/paths/~1p0/get/parameters/0: "));
    let only_bad = document(json!({ "/p": bad() })).to_string();
    check(&only_bad, &skip, &["no operation is left"]);
}

#[test]
fn what_is_asked_for_must_be_there() {
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options
    };
    let cases = [
        (
            with(|o| o.include = vec!["none".to_owned()]),
            "no operation is meant by `none`",
        ),
        (
            with(|o| o.exclude = vec!["/none/*".to_owned()]),
            "no operation is meant by `/none/*`",
        ),
        (
            with(|o| o.exclude = vec!["/*".to_owned()]),
            "#/paths: there is no operation that is asked for",
        ),
        (
            with(|o| o.secrets = vec!["Key".to_owned()]),
            "--secret: `Key` can't name a secret",
        ),
        (
            with(|o| o.secrets = vec!["x=key".to_owned()]),
            "--secret x=…: no operation is sent with `x`; in use: bearer",
        ),
        (
            with(|o| o.auth = Some("basic".to_owned())),
            "--auth basic: no operation can be sent with it; in use: bearer",
        ),
    ];
    for (options, says) in cases {
        check(ORDERS, &options, &[says]);
    }
    let two = document(json!({ "/a": { "get": { "security": [{ "header": [] }] } },
        "/b": { "get": { "security": [{ "bearer": [] }] } } }));
    let common = with(|o| o.secrets = vec!["key".to_owned()]);
    check(
        &two.to_string(),
        &common,
        &["--secret key: several schemes are in use (bearer, header) … --auth"],
    );
}
