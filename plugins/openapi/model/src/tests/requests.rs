//! Requests, compared with what the standards say by hand.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tool;
use crate::{Plan, request};

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

fn nulls() -> Value {
    json!([1, null, 2])
}

fn null_members() -> Value {
    json!({ "a": 1, "b": null })
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
        // What is null is not sent, however deep it is.
        of("path", "simple", false, nulls(), "/1,2"),
        of("path", "simple", true, null_members(), "/a=1"),
        of("query", "form", true, nulls(), "/c?color=1&color=2"),
        of("query", "form", false, nulls(), "/c?color=1,2"),
        of("query", "form", true, json!([null]), "/c"),
        of("query", "form", false, null_members(), "/c?color=a,1"),
        of("query", "pipeDelimited", false, nulls(), "/c?color=1%7C2"),
        of(
            "query",
            "deepObject",
            true,
            null_members(),
            "/c?color%5Ba%5D=1",
        ),
        of(
            "query",
            "deepObject",
            true,
            json!({ "l": [null, 1, { "n": null }] }),
            "/c?color%5Bl%5D%5B0%5D=1",
        ),
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

/// Spring's `Pageable`: an object of which each member is a value of the query, and
/// one of them a list.
#[test]
fn a_list_in_an_object_has_its_name_once_for_each_item() {
    let of = |style: &str, explode: bool| {
        json!([{ "name": "p", "in": "query", "style": style, "explode": explode,
            "schema": { "type": "object" } }])
    };
    let p = |value: Value| json!({ "p": value });
    let nested = Err("p: a list or an object inside of it can't be written in this style");
    let page = || p(json!({ "page": 0, "size": 20, "sort": ["a,desc", "b"] }));
    check(&[
        (
            "/o",
            of("form", true),
            page(),
            Ok("/o?page=0&size=20&sort=a%2Cdesc&sort=b"),
        ),
        (
            "/o",
            of("form", true),
            p(json!({ "sort": [], "a": [1, null, true], "b": null })),
            Ok("/o?a=1&a=true"),
        ),
        (
            "/o",
            of("form", true),
            p(json!({ "sort": [["a"]] })),
            nested,
        ),
        ("/o", of("form", true), p(json!({ "sort": [{}] })), nested),
        ("/o", of("form", true), p(json!({ "sort": {} })), nested),
        ("/o", of("form", false), page(), nested),
    ]);
    // No name of the host's comes in by it.
    let parameters = json!([{ "name": "p", "in": "query" }]);
    let tool = tool(
        "get",
        "/o",
        json!({ "parameters": parameters, "security": [{ "query": [] }] }),
    );
    let error = request(&tool.plan, r#"{"p":{"key":["a"]}}"#, Some("P"), None);
    assert_eq!(error.expect_err("refused"), "`key` is the host's to send");
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
