//! What providers' refusals mean.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::config::Redaction;
use crate::error::{Fate, ModelError, Why};
use crate::protocol::failure::{of_error, of_response, of_value, retry_after_ms};
use crate::redact::{Redactor, Search};

fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let all = all.iter();
    all.map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    })
    .collect()
}

/// 1994-11-06 08:49:37 GMT.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
}

/// In figures as in JSON.
#[test]
fn each_why_has_one_name() {
    let names = [
        "unfit",
        "circuit-open",
        "busy",
        "budget",
        "denied",
        "connect",
        "timeout",
        "rate-limit",
        "quota",
        "server",
        "key",
        "missing",
        "rejected",
        "refusal",
        "cut",
        "garbled",
        "faulty",
    ];
    for name in names {
        let why: Why = serde_json::from_value(name.into()).expect(name);
        assert_eq!(why.name(), name);
    }
}

/// However a provider says that a conversation is too long for its model, the agent
/// is told so: it can begin a shorter one. What only sounds like it is no limit.
#[test]
fn a_conversation_that_is_too_long_is_told_as_that() {
    let said = [
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000",
        "This model's maximum context length is 8192 tokens. However, you requested 9000",
        "the request exceeds the available context size, try increasing it",
        "Your input exceeds the context window of this model.",
        "the input length exceeds the context length",
        "The number of tokens to keep from the initial prompt is greater than the context length",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575).",
        "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
    ];
    let is_limit = |status: u16, body: &serde_json::Value| {
        let status = StatusCode::from_u16(status).expect("a status");
        let failed = of_response(
            status,
            &HeaderMap::new(),
            body.to_string().as_bytes(),
            now(),
        );
        let within = of_error(&of_value(body));
        let limit = |error: &ModelError| matches!(error, ModelError::Limit { limit, .. } if limit == "context_tokens");
        (limit(&failed.error), limit(&within.error))
    };
    for message in said {
        let body = json!({ "error": { "message": message, "type": "invalid_request_error" } });
        for status in [400, 413, 422] {
            assert_eq!(is_limit(status, &body), (true, true), "{status} {message}");
        }
        assert!(!is_limit(500, &body).0, "{message}");
    }
    for word in ["context_length_exceeded", "exceed_context_size_error"] {
        let body = json!({ "error": { "message": "no", "type": word } });
        assert_eq!(is_limit(400, &body), (true, true), "{word}");
    }
    for other in ["max_tokens is too large: 64000", "Request too large"] {
        let body = json!({ "error": { "message": other, "type": "invalid_request_error" } });
        assert_eq!(is_limit(400, &body), (false, false), "{other}");
    }
}

#[test]
fn each_refusal_has_its_meaning() {
    let openai = |code: &str, message: &str| {
        format!(r#"{{"error":{{"message":"{message}","type":"x","param":null,"code":"{code}"}}}}"#)
    };
    let html = "<html><head><title>502 Bad Gateway</title></head></html>".to_owned();
    let anthropic = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#;
    let azure = r#"{"error":{"code":"bad","message":"filtered","innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#;
    let cases = [
        (
            400,
            openai("invalid_value", "Bad temperature"),
            Why::Rejected,
            Fate::Answered,
            "invalid input: the provider answered 400 Bad Request: Bad temperature",
        ),
        (
            400,
            openai("content_filter", "Filtered"),
            Why::Refusal,
            Fate::Answered,
            "denied: ",
        ),
        (
            400,
            openai("invalid_prompt", "Flagged"),
            Why::Refusal,
            Fate::Answered,
            "denied: ",
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#.to_owned(),
            Why::Quota,
            Fate::Answered,
            "permanent: the provider answered 400 Bad Request: Your credit balance is too low",
        ),
        (
            400,
            azure.to_owned(),
            Why::Refusal,
            Fate::Answered,
            "denied: ",
        ),
        (
            400,
            openai("context_length_exceeded", "Too long"),
            Why::Rejected,
            Fate::Answered,
            "limit context_tokens reached (the provider answered 400 Bad Request: Too long)",
        ),
        (
            401,
            openai("invalid_api_key", "Incorrect API key provided: sk-123"),
            Why::Key,
            Fate::Answered,
            "permanent: the provider refused the host's key (401 Unauthorized)",
        ),
        (
            403,
            openai("unsupported_country_region_territory", "Country"),
            Why::Key,
            Fate::Answered,
            "permanent: the provider lets the host's key not do that, or not from here (403 Forbidden)",
        ),
        (
            402,
            String::new(),
            Why::Quota,
            Fate::Answered,
            "permanent: the provider answered 402 Payment Required",
        ),
        (
            404,
            openai("model_not_found", "No such model"),
            Why::Missing,
            Fate::Answered,
            "permanent: the provider answered 404 Not Found: No such model",
        ),
        (
            410,
            String::new(),
            Why::Missing,
            Fate::Answered,
            "permanent: ",
        ),
        (
            400,
            openai("model_decommissioned", "It is retired"),
            Why::Missing,
            Fate::Answered,
            "permanent: the provider answered 400 Bad Request: It is retired",
        ),
        (408, String::new(), Why::Timeout, Fate::Unknown, "unknown: "),
        (
            409,
            String::new(),
            Why::Server,
            Fate::Answered,
            "transient: ",
        ),
        (
            413,
            r#"{"type":"error","error":{"type":"request_too_large","message":"big"}}"#.to_owned(),
            Why::Rejected,
            Fate::Answered,
            "invalid input: ",
        ),
        (
            422,
            r#"{"detail":"no"}"#.to_owned(),
            Why::Rejected,
            Fate::Answered,
            "invalid input: the provider answered 422 Unprocessable Entity: no",
        ),
        (
            429,
            openai("rate_limit_exceeded", "Slow down"),
            Why::RateLimit,
            Fate::Answered,
            "transient: the provider answered 429 Too Many Requests: Slow down",
        ),
        (
            429,
            openai("insufficient_quota", "Pay"),
            Why::Quota,
            Fate::Answered,
            "permanent: ",
        ),
        (
            500,
            html.clone(),
            Why::Server,
            Fate::Answered,
            "transient: the provider answered 500 Internal Server Error",
        ),
        (
            502,
            html,
            Why::Server,
            Fate::Answered,
            "transient: the provider answered 502 Bad Gateway",
        ),
        (
            503,
            r#"{"error":"loading model"}"#.to_owned(),
            Why::Server,
            Fate::Answered,
            "transient: the provider answered 503 Service Unavailable: loading model",
        ),
        (
            503,
            r#"[{"error":{"message":"wrapped"}}]"#.to_owned(),
            Why::Server,
            Fate::Answered,
            "transient: the provider answered 503 Service Unavailable: wrapped",
        ),
        (504, String::new(), Why::Timeout, Fate::Unknown, "unknown: "),
        (
            529,
            anthropic.to_owned(),
            Why::Server,
            Fate::Answered,
            "transient: the provider answered 529: Overloaded",
        ),
        (524, String::new(), Why::Timeout, Fate::Unknown, "unknown: "),
        (
            599,
            String::new(),
            Why::Server,
            Fate::Answered,
            "transient: ",
        ),
        (
            302,
            String::new(),
            Why::Rejected,
            Fate::Answered,
            "permanent: the provider sent a redirect (302 Found); none is followed",
        ),
    ];
    for (status, body, why, fate, text) in cases {
        let status = StatusCode::from_u16(status).expect("a status");
        let failed = of_response(status, &HeaderMap::new(), body.as_bytes(), now());
        assert_eq!(
            (failed.why, failed.fate),
            (why, fate),
            "{status}: {failed:?}"
        );
        assert!(
            failed.error.to_string().starts_with(text),
            "{status}: {}",
            failed.error
        );
        assert!(!failed.error.to_string().contains("sk-123"));
    }
}

#[test]
fn what_a_provider_says_is_one_bounded_line() {
    let body = format!(r#"{{"message":"a\nb\u0007c\u202e {}"}}"#, "é".repeat(1_000));
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let failed = of_response(status, &HeaderMap::new(), body.as_bytes(), now());
    let redactor = Redactor::new(&Redaction::default(), "").expect("patterns");
    let told = Search::new(&[], None).told(&redactor, failed);
    let text = told.error.to_string();
    assert!(text.contains("a b c  é"), "{text}");
    assert!(text.len() < 520, "{} bytes", text.len());
    assert!(!text.chars().any(char::is_control));
}

#[test]
fn a_wait_is_read_in_each_form() {
    type Given = &'static [(&'static str, &'static str)];
    let cases: &[(Given, Option<u64>)] = &[
        (&[], None),
        (&[("retry-after", "2")], Some(2_000)),
        (&[("retry-after", " 0.5 ")], Some(500)),
        (
            &[("retry-after-ms", "1500"), ("retry-after", "9")],
            Some(1_500),
        ),
        (
            &[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")],
            Some(10_000),
        ),
        (&[("retry-after", "Sun, 06 Nov 1994 08:49:07 GMT")], Some(0)),
        (&[("retry-after", "soon")], None),
        (&[("retry-after", "-3")], None),
        (&[("retry-after", "nan")], None),
        (&[("retry-after", "1e300")], Some(24 * 3_600_000)),
        (
            &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")],
            Some(24 * 3_600_000),
        ),
    ];
    for (given, expected) in cases {
        let map: HeaderMap = given
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                (name, HeaderValue::from_str(value).expect("a value"))
            })
            .collect();
        assert_eq!(retry_after_ms(&map, now()), *expected, "{given:?}");
    }
    let limited = headers(&[("retry-after", "7")]);
    let failed = of_response(StatusCode::TOO_MANY_REQUESTS, &limited, b"", now());
    assert!(matches!(
        failed.error,
        ModelError::Transient {
            retry_after_ms: Some(7_000),
            ..
        }
    ));
}
