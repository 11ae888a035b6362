//! What goes wrong at a provider, and what is done about it.

use std::collections::BTreeMap;

use airlock_fake_models::{Call, Damage, Raw, Reply, Script, What};
use airlock_models::{Fate, Fault, ModelError, OutputSchema, Spent, ToolChoice, Why};

use super::harness::{KEY, PROTOCOLS, Usual, question, router, tool, world};

pub fn raw(status: u16, headers: &[(&str, &str)], body: &str) -> What {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    What::Raw(Raw {
        status,
        headers: headers.collect::<BTreeMap<_, _>>(),
        body: body.to_owned(),
    })
}

pub fn damaged(damage: Damage) -> What {
    What::Answer(Reply {
        text: "a text of some length".to_owned(),
        damage,
        ..Reply::default()
    })
}

/// Short where nothing comes, so that nothing else can be late.
pub fn patience_ms(what: &What) -> u64 {
    match what {
        What::Never => 100,
        _ => 60_000,
    }
}

/// Each failure of one model is told as what it is; what may have cost is counted.
#[tokio::test]
async fn each_failure_is_told_as_what_it_is() {
    let html = "<html><body>502 Bad Gateway</body></html>";
    let cases = [
        (What::Close, Why::Cut, Fate::Unknown),
        (What::Never, Why::Timeout, Fate::Unknown),
        (raw(500, &[], ""), Why::Server, Fate::Answered),
        (
            raw(502, &[("content-type", "text/html")], html),
            Why::Server,
            Fate::Answered,
        ),
        (
            raw(
                529,
                &[],
                r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#,
            ),
            Why::Server,
            Fate::Answered,
        ),
        (
            raw(429, &[("retry-after", "60")], ""),
            Why::RateLimit,
            Fate::Answered,
        ),
        (
            What::error(429, "insufficient_quota", "pay"),
            Why::Quota,
            Fate::Answered,
        ),
        (
            What::error(400, "invalid_value", "no"),
            Why::Rejected,
            Fate::Answered,
        ),
        (
            What::error(400, "content_filter", "no"),
            Why::Refusal,
            Fate::Answered,
        ),
        (
            What::error(401, "invalid_api_key", "no"),
            Why::Key,
            Fate::Answered,
        ),
        (
            raw(302, &[("location", "http://127.0.0.1:1/")], ""),
            Why::Rejected,
            Fate::Answered,
        ),
        (raw(504, &[], ""), Why::Timeout, Fate::Unknown),
        (
            raw(200, &[("content-type", "application/json")], "{"),
            Why::Garbled,
            Fate::Answered,
        ),
        (
            raw(200, &[("content-type", "text/html")], html),
            Why::Garbled,
            Fate::Answered,
        ),
        (raw(204, &[], ""), Why::Garbled, Fate::Answered),
        (
            damaged(Damage {
                gzip: true,
                ..Damage::default()
            }),
            Why::Garbled,
            Fate::Answered,
        ),
        (
            damaged(Damage {
                cut_after: Some(50),
                ..Damage::default()
            }),
            Why::Cut,
            Fate::Unknown,
        ),
        (
            raw(
                200,
                &[("content-type", "application/json")],
                &"x".repeat(5_000),
            ),
            Why::Garbled,
            Fate::Answered,
        ),
    ];
    for (what, why, fate) in cases {
        let usual = Usual {
            first_byte_ms: patience_ms(&what),
            answer_bytes: 4_000,
            ..Usual::default()
        };
        let world = usual.world([what.clone()]).await;
        let request = question("chat", "hi");
        let bound = world.router.bound(&request).expect("a bound");
        let failure = world.ask(&request).await.expect_err("it failed");
        assert_eq!(failure.attempts.len(), 1, "{what:?}");
        let attempt = &failure.attempts[0];
        assert_eq!(
            (attempt.why, attempt.fate),
            (why, fate),
            "{what:?}: {attempt:?}"
        );
        let unsure = fate == Fate::Unknown || why == Why::Garbled;
        let expected = match unsure {
            true => Spent {
                unsure_tokens: bound.tokens,
                unsure_micros: bound.cost_micros,
                ..Spent::default()
            },
            false => Spent::default(),
        };
        assert_eq!(failure.spent, expected, "{what:?}");
        let unknown = matches!(failure.error, ModelError::Unknown { .. });
        assert_eq!(unknown, fate == Fate::Unknown, "{what:?}: {failure:?}");
    }
}

#[tokio::test]
async fn streams_that_break_off_are_no_answers() {
    let cases = [
        (
            Damage {
                cut_after: Some(3),
                ..Damage::default()
            },
            Why::Cut,
        ),
        (
            Damage {
                stall_after: Some(3),
                ..Damage::default()
            },
            Why::Timeout,
        ),
        (
            Damage {
                error_after: Some(3),
                ..Damage::default()
            },
            Why::Server,
        ),
        (
            Damage {
                gzip: true,
                ..Damage::default()
            },
            Why::Garbled,
        ),
    ];
    for role in PROTOCOLS {
        for (damage, why) in &cases {
            let usual = Usual {
                idle_ms: if damage.stall_after.is_some() {
                    100
                } else {
                    60_000
                },
                ..Usual::default()
            };
            let world = usual.world([damaged(damage.clone())]).await;
            let (answer, _) = world.stream(&question(role, "hi")).await;
            let failure = answer.expect_err("it is no answer");
            assert_eq!(
                failure.attempts[0].why, *why,
                "{role} {damage:?}: {failure:?}"
            );
            assert!(failure.spent.unsure_micros > 0, "{role} {damage:?}");
        }
    }
    for role in ["responses", "claude"] {
        let world = world([damaged(Damage {
            no_end: true,
            ..Damage::default()
        })])
        .await;
        let failure = world
            .stream(&question(role, "hi"))
            .await
            .0
            .expect_err("it is no answer");
        assert_eq!(failure.attempts[0].why, Why::Cut, "{role}");
    }
    let other = Damage {
        other_text: Some("another".to_owned()),
        ..Damage::default()
    };
    let world = world([damaged(other)]).await;
    let failure = world
        .stream(&question("responses", "hi"))
        .await
        .0
        .expect_err("it contradicts itself");
    assert_eq!(failure.attempts[0].why, Why::Garbled);
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_was_sent_nothing() {
    // A port that nobody listens on.
    let url = "http://127.0.0.1:1/v1";
    let router = router(&Usual::default().config(url));
    let conversation = super::harness::key();
    let ask = airlock_models::Ask {
        permitted: None,
        caller: "test",
        conversation: &conversation,
        allowance: super::harness::PLENTY,
        told: None,
        meter: None,
    };
    let failure = router
        .ask(&question("fast", "hi"), ask)
        .await
        .expect_err("nobody listens");
    let fates: Vec<(Why, Fate)> = failure.attempts.iter().map(|a| (a.why, a.fate)).collect();
    assert_eq!(fates, [(Why::Connect, Fate::NotSent); 3]);
    assert!(matches!(failure.error, ModelError::Transient { .. }));
    assert_eq!(failure.spent, Spent::default());
}

#[tokio::test]
async fn what_the_agent_can_repair_is_a_fault() {
    let answer = |calls: Vec<Call>, text: &str| {
        What::Answer(Reply {
            calls,
            text: text.to_owned(),
            ..Reply::default()
        })
    };
    let call = |name: &str, arguments: &str| Call {
        id: "c1".to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
    };
    let cases = [
        (answer(vec![call("files_write", "{}")], ""), "unknown-tool"),
        (
            answer(vec![call("files_read", "{\"path\": ")], ""),
            "arguments-not-json",
        ),
        (
            answer(vec![call("files_read", "[]")], ""),
            "arguments-not-json",
        ),
        (
            answer(vec![call("files_read", "{\"path\": 1}")], ""),
            "arguments-schema",
        ),
        (
            answer(vec![call("files_read", "{}")], ""),
            "arguments-schema",
        ),
        (answer(vec![], "hello"), "output-not-json"),
        (answer(vec![], "{\"n\": \"x\"}"), "output-schema"),
    ];
    for role in ["chat", "claude"] {
        for (what, expected) in &cases {
            let world = world([what.clone()]).await;
            let mut request = question(role, "hi");
            request.tools = vec![tool("files/read")];
            request.output = Some(OutputSchema {
                name: "form".to_owned(),
                schema: r#"{"properties":{"n":{"type":"integer"}}}"#.to_owned(),
                strict: false,
            });
            let answer = world.ask(&request).await.expect("an answer with a fault");
            assert_eq!(answer.faults.len(), 1, "{expected}: {answer:?}");
            let fault = serde_json::to_value(&answer.faults[0]).expect("it is written");
            assert_eq!(fault["fault"], *expected, "{role}: {fault}");
        }
    }
    let mut forced = question("chat", "hi");
    forced.tools = vec![tool("files/read")];
    forced.tool_choice = ToolChoice::Required;
    let world = world([What::text("no")]).await;
    let answer = world.ask(&forced).await.expect("an answer with a fault");
    assert!(
        matches!(answer.faults[..], [Fault::NotCalled { .. }]),
        "{answer:?}"
    );
    let usual = Usual {
        fallback: r#"["faulty"]"#,
        ..Usual::default()
    };
    let good = Reply {
        calls: vec![call("files_read", "{\"path\":\"a\"}")],
        ..Reply::default()
    };
    let world = usual.world([What::text("no"), What::Answer(good)]).await;
    forced.role = "fast".to_owned();
    let answer = world.ask(&forced).await.expect("an answer");
    assert_eq!(
        (answer.model.as_str(), answer.attempts[0].why),
        ("responses", Why::Faulty)
    );
}

#[tokio::test]
async fn keys_and_what_they_open_are_in_no_text() {
    let echo = format!("Incorrect API key provided: {KEY}, hunter2-and-more, me@b.test");
    let cases = [
        What::error(400, "x", &echo),
        What::error(401, "x", &echo),
        What::error(500, "x", &echo),
        raw(
            200,
            &[("content-type", "application/json")],
            &format!("\"{KEY}\""),
        ),
    ];
    for what in cases {
        let world = world([what]).await;
        let failure = world
            .ask(&question("chat", "hi"))
            .await
            .expect_err("it failed");
        let text = format!(
            "{failure:?} {} {:?}",
            serde_json::to_string(&failure).expect("it is written"),
            world.router
        );
        for hidden in [KEY, "hunter2", "me@b.test"] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
    // The server takes another key than the host has.
    let mut script = Script::of([]);
    script.key = Some("another".to_owned());
    let world = Usual::default().with(script).await;
    let failure = world
        .ask(&question("chat", "hi"))
        .await
        .expect_err("the key is wrong");
    assert_eq!(failure.attempts[0].why, Why::Key);
    assert!(!format!("{failure:?}").contains(KEY));
}
