use airlock_sdk::Error;
use airlock_sdk::http::{Method, Request, Response};
use airlock_sdk::testing::{Host, context, placeholder_of};
use serde_json::{Value, json};

use super::PLUGIN;

const URL: &str = "https://news.test/v1/articles";

fn call(
    service: impl Fn(&Request) -> Result<Response, Error> + 'static,
    input: Value,
) -> Result<Value, Error> {
    let mut context = context();
    context.idempotency_key = Some("key-7".to_owned());
    let host = Host::new().http(service).secret("news-key");
    let answer = host.run(|| PLUGIN.call("send", &input.to_string(), &context))?;
    Ok(serde_json::from_str(&answer).expect("JSON"))
}

#[test]
fn what_is_sent_is_what_was_given() {
    for (method, is) in [(json!(null), Method::Post), (json!("PUT"), Method::Put)] {
        let mut input = json!({ "url": URL, "json": { "title": "One" },
            "secret_headers": { "x-api-key": "news-key" } });
        if !method.is_null() {
            input["method"] = method;
        }
        let sent = call(
            move |request| {
                let has = |name: &str, value: &str| {
                    let mut headers = request.headers.iter();
                    headers.any(|(given, is)| given == name && is == value)
                };
                assert_eq!((request.method, &*request.url), (is, URL));
                assert_eq!(request.body, br#"{"title":"One"}"#);
                assert!(has("content-type", "application/json"));
                assert!(has("idempotency-key", "key-7"));
                assert!(has("x-api-key", &placeholder_of("news-key")));
                Ok(Response::new(201).with_body(r#"{"id":5}"#))
            },
            input,
        );
        assert_eq!(sent, Ok(json!({ "status": 201, "json": { "id": 5 } })));
    }
}

#[test]
fn answers_and_failures_are_told_as_what_they_are() {
    let long = "x".repeat(20_000);
    let table = [
        (Response::new(204), Ok(json!({ "status": 204 }))),
        (
            Response::new(200).with_body("thanks"),
            Ok(json!({ "status": 200, "text": "thanks" })),
        ),
        (
            Response::new(200).with_body(long.clone()),
            Ok(json!({ "status": 200, "text": long[..16 << 10] })),
        ),
        (
            Response::new(307).with_header("location", "https://evil.test/"),
            Err("permanent"),
        ),
        (Response::new(400), Err("permanent")),
        (Response::new(404), Err("not-found")),
        (Response::new(503), Err("transient")),
        (Response::new(429), Err("transient")),
        (Response::new(500), Err("unknown")),
        (Response::new(504), Err("unknown")),
        (Response::new(408), Err("unknown")),
    ];
    for (response, expect) in table {
        let about = format!("{response:?}");
        let sent = call(
            move |_| Ok(response.clone()),
            json!({ "url": URL, "json": 1 }),
        );
        match (sent, expect) {
            (Ok(sent), Ok(expect)) => assert_eq!(sent, expect, "{about}"),
            (Err(error), Err(code)) => assert_eq!(error.code(), code, "{about}: {error}"),
            (sent, expect) => panic!("{about}: {sent:?}, not {expect:?}"),
        }
    }
}

#[test]
fn what_can_not_be_sent_is_refused() {
    for (input, code) in [
        (json!({ "url": URL }), "invalid-input"),
        (json!({ "url": "no address", "json": 1 }), "invalid-input"),
        (
            json!({ "url": URL, "json": 1, "method": "DELETE" }),
            "invalid-input",
        ),
        (
            json!({ "url": URL, "json": 1, "headers": {} }),
            "invalid-input",
        ),
        (
            json!({ "url": URL, "json": 1, "secret_headers": { "a": "none" } }),
            "denied",
        ),
        (
            json!({ "url": URL, "json": 1, "secret_headers": { "a\nb": "news-key" } }),
            "invalid-input",
        ),
    ] {
        let sent = call(|_| panic!("nothing is sent"), input.clone());
        assert_eq!(sent.expect_err("refused").code(), code, "{input}");
    }
}
