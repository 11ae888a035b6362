//! Schedules and webhooks over HTTP.

use airlock_runtime::Role;
use airlock_sandbox::testing::built;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::server::{Answer, Server};

async fn server() -> Server {
    let server = Server::start().await;
    server.install("prober", built("agent_prober")).await;
    server
}

fn start() -> Value {
    json!({ "agent": "prober", "input": { "steps": [] } })
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_made_shown_changed_and_removed() {
    let server = server().await;
    let token = server.token("ann", &[Role::Caller], None).await;
    let send = async |method: &str, path: &str, body: Value| {
        let target = format!("/v1/schedules{path}");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        server.with(&token, method, &target, body).await
    };
    let body = json!({ "name": "nightly", "cron": "0 3 * * *", "zone": "Europe/Berlin", "start": start() });
    let made = send("POST", "", body.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        send("POST", "", body.clone()).await.verdict(),
        "409 schedule-exists"
    );
    let shown = send("GET", "/nightly", Value::Null).await.json();
    assert_eq!(
        (&shown["by"], &shown["catch_up"]),
        (&json!("ann"), &json!("once"))
    );
    let next = shown["next_ms"].as_array().expect("times");
    assert_eq!(next.len(), 3, "{shown}");
    assert!(next[0].as_u64() > Some(airlock_runtime::now_ms()));
    let paused = send("POST", "/nightly/pause", Value::Null).await.json();
    assert_eq!(
        (&paused["paused"], &paused["next_ms"]),
        (&json!(true), &json!([]))
    );
    send("POST", "/nightly/resume", Value::Null).await;
    let changed = json!({ "cron": "@hourly", "start": start(), "overlap": "queue" });
    assert_eq!(
        send("PUT", "/nightly", changed).await.json()["overlap"],
        "queue"
    );
    let other = send("PUT", "/daily", body).await;
    assert_eq!(
        other.verdict(),
        "422 schedule-invalid",
        "the path has another name"
    );
    let listed = send("GET", "", Value::Null).await.json();
    assert_eq!(listed["schedules"].as_array().map(Vec::len), Some(1));
    assert_eq!(send("DELETE", "/nightly", Value::Null).await.status, 204);
    assert_eq!(
        send("GET", "/nightly", Value::Null).await.verdict(),
        "404 schedule-not-found"
    );
    server.stopped().await;
}

const SECRET: &str = "a secret of some length";

fn signature(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let mac = mac.finalize().into_bytes();
    let digits: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_needs_no_token_and_opens_nothing_else() {
    let server = server().await;
    let hook = json!({ "name": "push", "scheme": "github", "secret": SECRET, "start": start() });
    let made = server.admin("POST", "/v1/hooks", hook.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json().get("secret"), None, "it was given");
    let body = r#"{"ref":"main"}"#;
    let right = signature(body);
    let id = ("x-github-delivery", "1");
    let send = async |name: &str, headers: &[(&str, &str)], body: &str| -> Answer {
        let target = format!("/v1/hooks/{name}");
        server.send("POST", &target, headers, body.to_owned()).await
    };
    let signed = ("x-hub-signature-256", right.as_str());
    let first = send("push", &[id, signed], body).await;
    assert_eq!(first.status, 202, "{first:?}");
    let again = send("push", &[id, signed], body).await;
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));

    let zeros = format!("sha256={}", "0".repeat(64));
    let wrong = ("x-hub-signature-256", zeros.as_str());
    let huge = format!("\"{}\"", "x".repeat(512 << 10));
    let sized = signature(&huge);
    type Case<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str, &'a str);
    let table: [Case<'_>; 8] = [
        ("wrong", "push", vec![id, wrong], body, "403 hook-refused"),
        ("nobody", "pull", vec![id, signed], body, "403 hook-refused"),
        (
            "another body",
            "push",
            vec![id, signed],
            "{}",
            "403 hook-refused",
        ),
        ("none", "push", vec![id], body, "400 hook-header"),
        ("no id", "push", vec![signed], body, "400 hook-header"),
        (
            "two",
            "push",
            vec![id, signed, wrong],
            body,
            "400 bad-header",
        ),
        (
            "two ids",
            "push",
            vec![id, id, signed],
            body,
            "400 bad-header",
        ),
        (
            "form",
            "push",
            vec![id, signed, ("content-type", "text/plain")],
            body,
            "415 unsupported-media-type",
        ),
    ];
    for (what, name, headers, body, expect) in table {
        let answer = send(name, &headers, body).await;
        assert_eq!(answer.verdict(), expect, "{what}: {answer:?}");
    }
    let large = send("push", &[id, ("x-hub-signature-256", &sized)], &huge).await;
    assert_eq!(large.verdict(), "413 body-too-large");
    // The signature is good for nothing else.
    for (method, target) in [
        ("GET", "/v1/hooks"),
        ("POST", "/v1/hooks"),
        ("DELETE", "/v1/hooks/push"),
        ("POST", "/v1/hooks/push/rotate"),
        ("POST", "/v1/runs"),
    ] {
        let answer = server.send(method, target, &[id, signed], body).await;
        assert_eq!(answer.verdict(), "401 unauthenticated", "{method} {target}");
    }
    let runs = server.admin("GET", "/v1/runs", "").await.json();
    assert_eq!(runs["runs"].as_array().map(Vec::len), Some(1), "{runs}");

    let rotated = server.admin("POST", "/v1/hooks/push/rotate", "{}").await;
    assert!(rotated.json()["secret"].is_string(), "{rotated:?}");
    let over = send("push", &[("x-github-delivery", "2"), signed], body).await;
    assert_eq!(over.verdict(), "403 hook-refused");
    let listed = server.admin("GET", "/v1/hooks", "").await.json();
    assert_eq!(listed["hooks"][0]["name"], "push");
    assert_eq!(listed["hooks"][0].get("secret"), None, "{listed}");
    assert_eq!(
        server.admin("DELETE", "/v1/hooks/push", "").await.status,
        204
    );
    server.stopped().await;
}

/// A secret that was made is in one reply alone, with a key or without.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_was_made_is_told_once() {
    let server = server().await;
    let hook = json!({ "name": "paid", "start": start() }).to_string();
    let bearer = format!("Bearer {}", server.admin);
    let headers = [("authorization", &*bearer), ("idempotency-key", "k")];
    let made = server
        .send("POST", "/v1/hooks", &headers, hook.clone())
        .await;
    let secret = made.json()["secret"].as_str().map(str::to_owned);
    assert!(secret.is_some_and(|secret| secret.starts_with("whsec_")));
    let again = server.send("POST", "/v1/hooks", &headers, hook).await;
    assert_eq!(again.verdict(), "409 reply-not-kept");
    server.stopped().await;
}

/// Whoever gives a webhook its secret has it act, and in no other name.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_acts_for_whoever_gave_it_its_secret() {
    let server = server().await;
    let hook = json!({ "name": "push", "scheme": "github", "secret": SECRET, "start": start() });
    let made = server.admin("POST", "/v1/hooks", hook.to_string()).await;
    assert_eq!(made.json()["hook"]["by"], "admin");
    let scope: &[&str] = &["prober"];
    let token = server.token("ann", &[Role::Admin], Some(scope)).await;
    let rotate = json!({ "secret": SECRET }).to_string();
    let path = "/v1/hooks/push/rotate";
    let rotated = server.with(&token, "POST", path, rotate.clone()).await;
    assert_eq!(rotated.json()["hook"]["by"], "ann", "{rotated:?}");
    let signed = signature("{}");
    let headers = [
        ("x-github-delivery", "1"),
        ("x-hub-signature-256", &*signed),
    ];
    let taken = server.send("POST", "/v1/hooks/push", &headers, "{}").await;
    assert_eq!(taken.status, 202, "{taken:?}");
    let run = taken.json()["run"].as_str().expect("a run").to_owned();
    let run = server.admin("GET", &format!("/v1/runs/{run}"), "").await;
    assert_eq!(run.json()["by"], "ann");
    // It goes with that token, and another one's secret has it go on.
    let tokens = server.runtime.tokens();
    let ann = tokens.iter().find(|token| token.principal == "ann");
    let revoke = format!("/v1/tokens/{}", ann.expect("a token").id);
    let revoked = server.admin("DELETE", &revoke, "").await.json();
    assert_eq!(revoked["hooks"], json!(["push"]));
    let headers = [
        ("x-github-delivery", "2"),
        ("x-hub-signature-256", &*signed),
    ];
    let refused = server.send("POST", "/v1/hooks/push", &headers, "{}").await;
    assert_eq!(refused.verdict(), "403 hook-revoked");
    let rotated = server.admin("POST", path, rotate).await;
    assert_eq!(rotated.json()["hook"]["by"], "admin");
    let taken = server.send("POST", "/v1/hooks/push", &headers, "{ }").await;
    assert_eq!(taken.verdict(), "403 hook-refused", "another body");
    server.stopped().await;
}

/// One caller's schedules leave others half of the room; a replaced one counts once.
#[tokio::test(flavor = "multi_thread")]
async fn one_caller_does_not_take_all_room_for_schedules() {
    const LONG: usize = 900_000;
    let server = server().await;
    let ann = server.token("ann", &[Role::Caller], None).await;
    let bob = server.token("bob", &[Role::Caller], None).await;
    let set = async |token: &str, method: &str, path: &str, name: &str, length: usize| {
        let steps = json!([{ "tell": { "text": "x".repeat(length) } }]);
        let start = json!({ "agent": "prober", "input": { "steps": steps } });
        let body = json!({ "name": name, "cron": "@yearly", "start": start });
        let target = format!("/v1/schedules{path}");
        server.with(token, method, &target, body.to_string()).await
    };
    for n in 0..9 {
        let made = set(&ann, "POST", "", &format!("ann-{n}"), LONG).await;
        assert_eq!(made.verdict(), "201", "{n}");
    }
    let refused = set(&ann, "POST", "", "ann-more", LONG).await;
    assert_eq!(refused.verdict(), "409 schedules-full");
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("your schedules together"), "{detail}");
    let again = set(&ann, "PUT", "/ann-3", "ann-3", LONG).await;
    assert_eq!(again.verdict(), "200", "the same again");
    assert_eq!(set(&bob, "POST", "", "bob", LONG).await.verdict(), "201");
    // As an administrator she makes more; what she has, she may replace as before.
    let admin = server.token("ann", &[Role::Admin], None).await;
    let more = set(&admin, "POST", "", "ann-more", LONG).await;
    assert_eq!(more.verdict(), "201");
    for (method, path, name, length, expect) in [
        ("PUT", "/ann-3", "ann-3", LONG, "200"),
        ("PUT", "/ann-3", "ann-3", LONG + 1, "409 schedules-full"),
        ("PUT", "/ann-3", "ann-3", LONG - 1, "200"),
        ("PUT", "/ann-3", "ann-3", LONG, "409 schedules-full"),
        ("PUT", "/bob", "bob", 1, "409 schedule-exists"),
        ("PUT", "/ann-new", "ann-new", 1, "409 schedules-full"),
    ] {
        let answer = set(&ann, method, path, name, length).await;
        assert_eq!(answer.verdict(), expect, "{path} {length}");
    }
    server.stopped().await;
}

/// What is listed, and what is kept of many schedules, has a bound in bytes; so has
/// a page of the audit, where each is on record.
#[tokio::test(flavor = "multi_thread")]
async fn schedules_with_long_inputs_make_no_list_and_no_page_long() {
    let server = server().await;
    let steps = json!([{ "tell": { "text": "x".repeat(900_000) } }]);
    let start = json!({ "agent": "prober", "input": { "steps": steps } });
    let set = async |method: &str, path: &str, name: &str| {
        let body = json!({ "name": name, "cron": "@yearly", "start": start });
        let target = format!("/v1/schedules{path}");
        let answer = server.admin(method, &target, body.to_string()).await;
        answer.verdict()
    };
    for n in 0..18 {
        assert_eq!(set("POST", "", &format!("s{n}")).await, "201");
    }
    assert_eq!(set("POST", "", "more").await, "409 schedules-full");
    assert_eq!(set("PUT", "/s3", "s3").await, "200", "the same again");
    let listed = server.admin("GET", "/v1/schedules", "").await;
    assert!(listed.body.len() < 20_000, "{} bytes", listed.body.len());
    let listed = listed.json()["schedules"]
        .as_array()
        .expect("a list")
        .clone();
    assert_eq!(listed.len(), 18);
    for schedule in &listed {
        assert_eq!(schedule["start"]["input"], Value::Null, "{schedule}");
        assert!(
            schedule["input_bytes"].as_u64() > Some(900_000),
            "{schedule}"
        );
    }
    let one = server.admin("GET", "/v1/schedules/s3", "").await.json();
    assert_eq!((&one["start"], one.get("input_bytes")), (&start, None));

    for (direction, first) in [("from", 0), ("before", u64::MAX >> 1)] {
        let (mut seqs, mut next) = (Vec::new(), Some(first));
        while let Some(at) = next {
            let target = format!("/v1/audit?limit=1000&{direction}={at}");
            let answer = server.admin("GET", &target, "").await;
            assert!(answer.body.len() < 1_100_000, "{} bytes", answer.body.len());
            let page = answer.json();
            let records = page["records"].as_array().expect("records").iter();
            seqs.extend(records.map(|record| record["seq"].as_u64().expect("a number")));
            next = page["next"].as_u64();
        }
        if direction == "before" {
            seqs.reverse();
        }
        assert!(seqs.len() > 18, "{direction}: {seqs:?}");
        assert_eq!(
            seqs,
            (0..seqs.len() as u64).collect::<Vec<_>>(),
            "{direction}"
        );
    }
    server.stopped().await;
}
