//! What a call gives back for a response.

use serde_json::{Value, json};

use super::tool;
use crate::{Outcome, Plan, Response, outcome};

fn plan(method: &str) -> Plan {
    let operation = json!({ "security": [{ "bearer": [] }],
        "responses": { "200": { "headers": { "X-Total": {} } } } });
    tool(method, "/o", operation).plan
}

fn response(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response {
    Response {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.to_vec(),
        cut: false,
    }
}

#[test]
fn each_status_tells_the_caller_what_to_do() {
    let retry = &[("Retry-After", "7")][..];
    let kind = |outcome: &Outcome| match outcome {
        Outcome::Output(_) => "output",
        Outcome::InvalidInput(_) => "invalid-input",
        Outcome::NotFound(_) => "not-found",
        Outcome::Transient(_, Some(_)) => "transient in 7",
        Outcome::Transient(_, None) => "transient",
        Outcome::Permanent(_) => "permanent",
        Outcome::Unknown(_) => "unknown",
        Outcome::TooLarge(_) => "limit",
    };
    let cases = [
        (200, "get", "output"),
        (201, "post", "output"),
        (204, "delete", "output"),
        (301, "get", "permanent"),
        (304, "get", "permanent"),
        (400, "post", "invalid-input"),
        (401, "get", "permanent"),
        (403, "get", "permanent"),
        (404, "get", "not-found"),
        (405, "get", "permanent"),
        (408, "post", "transient in 7"),
        (409, "post", "permanent"),
        (410, "get", "not-found"),
        (418, "get", "permanent"),
        (422, "post", "invalid-input"),
        (429, "post", "transient in 7"),
        (500, "get", "transient in 7"),
        (500, "put", "transient in 7"),
        (500, "delete", "transient in 7"),
        (500, "post", "unknown"),
        (502, "patch", "unknown"),
        (503, "post", "transient in 7"),
        (505, "get", "permanent"),
        (504, "post", "unknown"),
        (504, "head", "transient in 7"),
        (501, "post", "permanent"),
        (600, "get", "permanent"),
    ];
    for (status, method, expected) in cases {
        let found = outcome(&plan(method), &response(status, retry, b""));
        assert_eq!(kind(&found), expected, "{status} {method}: {found:?}");
    }
    // Who says when knows that it was not begun.
    let silent = [
        (503, "post", "unknown"),
        (503, "patch", "unknown"),
        (503, "get", "transient"),
        (503, "put", "transient"),
        (503, "delete", "transient"),
        (429, "post", "transient"),
    ];
    for (status, method, expected) in silent {
        let found = outcome(&plan(method), &response(status, &[], b""));
        assert_eq!(kind(&found), expected, "{status} {method}: {found:?}");
    }
}

#[test]
fn a_date_to_retry_after_is_one_from_the_servers_own() {
    let of = |after: &str, date: &str| {
        let found = response(503, &[("retry-after", after), ("date", date)], b"");
        match outcome(&plan("get"), &found) {
            Outcome::Transient(_, seconds) => seconds,
            other => panic!("{other:?}"),
        }
    };
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    let cases = [
        (date, date, Some(0)),
        ("Wed, 21 Oct 2026 07:29:01 GMT", date, Some(61)),
        ("Thu, 22 Oct 2026 00:00:00 GMT", date, Some(59_520)),
        (
            "Fri, 01 Jan 2027 00:00:00 GMT",
            "Thu, 31 Dec 2026 23:59:50 GMT",
            Some(10),
        ),
        (
            "Wed, 01 Mar 2028 00:00:00 GMT",
            "Mon, 28 Feb 2028 00:00:00 GMT",
            Some(172_800),
        ),
        (
            "Mon, 01 Mar 2027 00:00:00 GMT",
            "Sun, 28 Feb 2027 00:00:00 GMT",
            Some(86_400),
        ),
        ("Wed, 21 Oct 2026 07:27:59 GMT", date, None),
        ("12", "", Some(12)),
        ("-1", date, None),
        (date, "", None),
        ("soon", date, None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", date, None),
        ("Wed, 99 Oct 2026 07:28:00 GMT", date, None),
        ("Wed, 21 Oct 2026 07:28 GMT", date, None),
    ];
    for (after, date, expected) in cases {
        assert_eq!(of(after, date), expected, "{after} {date}");
    }
}

#[test]
fn an_error_has_the_servers_words_in_one_line() {
    let words = b"{\"detail\":\n \"no\x1b[31m such\"}";
    let found = outcome(&plan("get"), &response(404, &[], words));
    let expected = "the server answered 404: {\"detail\": \"no[31m such\"}";
    assert_eq!(found, Outcome::NotFound(expected.to_owned()));
    let Outcome::InvalidInput(long) = outcome(&plan("post"), &response(422, &[], &[b'x'; 5_000]))
    else {
        panic!("not invalid");
    };
    assert_eq!(
        long.chars().count(),
        "the server answered 422: ".len() + 601
    );
    let mut late = vec![b' '; 16 << 10];
    late.extend(b"words");
    let late = outcome(&plan("get"), &response(404, &[], &late));
    assert_eq!(
        late,
        Outcome::NotFound("the server answered 404".to_owned())
    );
    let Outcome::Permanent(refused) = outcome(&plan("get"), &response(401, &[], b"")) else {
        panic!("not permanent");
    };
    assert!(
        refused.contains("is the secret `shop-key` the right one"),
        "{refused}"
    );
    let away = response(302, &[("location", "https://elsewhere.test/")], b"");
    let Outcome::Permanent(moved) = outcome(&plan("get"), &away) else {
        panic!("not permanent");
    };
    assert!(
        moved.contains("`https://elsewhere.test/`, which is not followed"),
        "{moved}"
    );
}

#[test]
fn an_output_is_what_the_server_sent() {
    let json_type = &[("Content-Type", "application/json; charset=utf-8")][..];
    let text_type = &[("content-type", "text/plain")][..];
    let of = |headers: &[(&str, &str)], body: &[u8]| -> Value {
        match outcome(&plan("get"), &response(200, headers, body)) {
            Outcome::Output(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("{other:?}"),
        }
    };
    let json_body = json!({ "status": 200, "body": { "a": [1, null] } });
    assert_eq!(of(json_type, b"{\"a\":[1,null]}"), json_body);
    assert_eq!(of(json_type, b"\xef\xbb\xbf{\"a\":[1,null]}"), json_body);
    assert_eq!(of(&[], b"{\"a\":[1,null]}"), json_body);
    assert_eq!(
        of(json_type, b"{\"a\":"),
        json!({ "status": 200, "body": "{\"a\":" })
    );
    assert_eq!(of(text_type, b"{}"), json!({ "status": 200, "body": "{}" }));
    assert_eq!(of(text_type, b""), json!({ "status": 200 }));
    assert_eq!(
        of(text_type, b"\xff\x00"),
        json!({ "status": 200, "body_base64": "/wA=" })
    );
    let headers = &[
        ("X-Total", "7"),
        ("Set-Cookie", "a=b"),
        ("ETag", "\"1\""),
        ("Server", "x"),
    ];
    let found = of(headers, b"1");
    assert_eq!(found["headers"], json!({ "etag": "\"1\"", "x-total": "7" }));
    let twice = &[("link", "<a>; rel=next"), ("x-total", "1"), ("Link", "<b>")];
    assert_eq!(
        of(twice, b"1")["headers"],
        json!({ "link": "<a>; rel=next, <b>", "x-total": "1" })
    );
    // What JSON can write and no reader has a value for.
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let unreadable = [
        r#"{"a":"\ud800"}"#.to_owned(),
        r#"{"\udc00":1}"#.to_owned(),
        "[1e999]".to_owned(),
        deep(101),
        deep(120),
    ];
    for text in unreadable {
        let found = of(json_type, text.as_bytes());
        assert_eq!(found, json!({ "status": 200, "body": text }));
    }
    let readable = [r#"{"a":["\ud83d\ude00",-0,1e99,{}]}"#.to_owned(), deep(100)];
    for text in readable {
        let body: Value = serde_json::from_str(&text).expect("JSON");
        let found = of(json_type, text.as_bytes());
        assert_eq!(found, json!({ "status": 200, "body": body }));
    }
    // Numbers as they were written.
    let Outcome::Output(text) = outcome(
        &plan("get"),
        &response(200, json_type, b"[1.10, 12345678901234567890123]"),
    ) else {
        panic!("no output");
    };
    assert_eq!(
        text,
        r#"{"status":200,"body":[1.10, 12345678901234567890123]}"#
    );
}

#[test]
fn what_is_too_long_is_an_error_unless_something_was_done() {
    let mut long = response(200, &[], "[\"é".as_bytes());
    long.cut = true;
    assert!(matches!(outcome(&plan("get"), &long), Outcome::TooLarge(_)));
    let done = |body: &[u8]| {
        long.clone_from(&Response {
            body: body.to_vec(),
            ..long.clone()
        });
        match outcome(&plan("post"), &long) {
            Outcome::Output(text) => serde_json::from_str::<Value>(&text).expect("JSON"),
            other => panic!("{other:?}"),
        }
    };
    let mut done = done;
    assert_eq!(
        done("[\"é".as_bytes()),
        json!({ "status": 200, "body": "[\"é", "cut": true })
    );
    assert_eq!(
        done(b"[\"\xc3"),
        json!({ "status": 200, "body": "[\"", "cut": true })
    );
}
