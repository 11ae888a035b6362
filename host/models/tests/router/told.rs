//! What servers tell of the host's key, and what that comes to.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use airlock_fake_models::{Call, FakeModels, Reply, Script, What};
use airlock_models::{
    Ask, Client, EmbedRequest, Event, Key, Mask, ModelError, Redactor, Router, Secret, Secrets,
};

use super::faults::raw;
use super::harness::{KEY, PLENTY, PROTOCOLS, Usual, key, question, tool, world};

/// All that was told of one kind, together.
fn joined(events: &[Event]) -> String {
    let texts = events.iter().map(|event| match event {
        Event::Text { text } | Event::Refusal { text } | Event::Arguments { text, .. } => text,
        Event::Call { id, .. } => id,
        Event::Started { model } => model,
    });
    texts.map(String::as_str).collect()
}

/// A gateway that puts what it was sent into its answer, or a server that means ill.
#[tokio::test]
async fn a_key_that_a_server_repeats_reaches_nobody() {
    let escaped = KEY.replace('s', "\\u0073");
    for role in PROTOCOLS {
        let reply = |calls: bool| Reply {
            text: format!("You sent {KEY}, {KEY}{KEY} and\nhunter2-and-more, didn't you? ")
                .repeat(3),
            calls: match calls {
                true => vec![
                    Call {
                        id: format!("call_{KEY}"),
                        name: "files_read".to_owned(),
                        arguments: format!(r#"{{"path":"{escaped} {KEY}","{KEY}":1}}"#),
                    },
                    Call {
                        id: "c2".to_owned(),
                        name: KEY.to_owned(),
                        arguments: "{}".to_owned(),
                    },
                ],
                false => Vec::new(),
            },
            ..Reply::default()
        };
        let refusal = Reply {
            refusal: (role != "claude").then(|| format!("I don't take {KEY}.")),
            ..reply(false)
        };
        for reply in [reply(true), refusal] {
            let mut request = question(role, "hi");
            request.tools = vec![tool("files/read")];
            let world = world([What::Answer(reply.clone()), What::Answer(reply)]).await;
            let whole = world.ask(&request).await.expect("an answer");
            let (streamed, events) = world.stream(&request).await;
            let streamed = streamed.expect("an answer");
            assert!(
                whole
                    .text
                    .starts_with("You sent [secret], [secret][secret] and")
            );
            for answer in [&whole, &streamed] {
                let text = serde_json::to_string(answer).expect("it is written");
                for hidden in [KEY, "hunter2", &escaped, "u0073k-pro", "provider-key"] {
                    assert!(!text.contains(hidden), "{role}: {text}");
                }
                assert!(answer.calls.iter().all(|call| !call.id.contains('[')));
            }
            let told = joined(&events);
            for hidden in [KEY, "u0073k-pro", "provider-key"] {
                assert!(!told.contains(hidden), "{role}: {told}");
            }
            assert!(events.len() > 3, "it came in pieces");
        }
    }
}

/// Half of a key is no key to whoever looks for it: what a server says of a failure is
/// searched before it is cut.
#[tokio::test]
async fn no_part_of_a_key_is_left_where_words_are_cut() {
    for before in (0..600).step_by(7) {
        for spelled in [KEY.to_owned(), KEY.replace("key-", "key-\\n")] {
            let words = format!("{}{spelled} and more", "x ".repeat(before / 2));
            let body = format!(r#"{{"error":{{"message":"{words}"}}}}"#);
            let world = world([raw(400, &[], &body)]).await;
            let failure = world.ask(&question("chat", "hi")).await;
            let told = format!("{:?}", failure.expect_err("it is refused"));
            let whole = spelled == KEY;
            assert!(!whole || !told.contains("sk-p"), "{before}: {told}");
            assert!(told.len() < 2_000, "{}", told.len());
        }
    }
}

/// Another value each time that the key is asked for.
struct Changing(AtomicUsize);

impl Secrets for Changing {
    fn get(&self, _: &str) -> Option<Secret> {
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        Some(Secret::new(format!("value-{count:04}-of-a-key")))
    }

    fn all(&self) -> Vec<Secret> {
        Vec::new()
    }

    /// Finds it backwards too.
    fn key(&self, name: &str) -> Option<Key> {
        let value = self.get(name)?;
        let backwards: String = value.expose().chars().rev().collect();
        let mask: Mask = std::sync::Arc::new(move |text| {
            let text = std::str::from_utf8(text).ok()?;
            let masked = text.replace(&backwards, &"*".repeat(backwards.len()));
            (masked != text).then(|| masked.into_bytes())
        });
        Some(Key {
            value,
            mask: Some(mask),
        })
    }
}

/// What was sent is what comes back, whatever the key is by then, in the spellings that
/// the host knows.
#[tokio::test]
async fn a_key_that_changes_meanwhile_is_told_by_no_attempt() {
    let said = |number: usize| {
        let key = format!("value-{number:04}-of-a-key");
        let backwards: String = key.chars().rev().collect();
        format!("bad token {key}, {backwards} !")
    };
    // One value is asked for before the request, for what may not leave, and one by each
    // attempt.
    let server = FakeModels::start(Script::of([
        What::error(503, "overloaded", &said(1)),
        What::error(503, "overloaded", &said(2)),
        What::text(&said(3)),
    ]))
    .await
    .expect("it listens");
    let usual = Usual {
        retries: 2,
        ..Usual::default()
    };
    let config = usual.config(&server.base_url());
    let mut only = config.clone();
    only.models.retain(|name, _| name == "chat");
    only.roles.retain(|name, _| name == "chat");
    only.providers.retain(|name, _| name == "chat");
    let redactor = Redactor::new(&only.redaction, "").expect("patterns");
    let client = Client::new(None).expect("a client");
    let vault = std::sync::Arc::new(Changing(AtomicUsize::new(0)));
    let router = Router::new(&only, redactor, client, vault).expect("a router");
    let heard = Mutex::new(Vec::new());
    let hear = |event| heard.lock().expect("no panic").push(event);
    let conversation = key();
    let ask = Ask {
        caller: "test",
        conversation: &conversation,
        allowance: PLENTY,
        told: Some(&hear),
        meter: None,
        permitted: None,
    };
    let answer = router.ask(&question("chat", "hi"), ask).await;
    let answer = answer.expect("the third time");
    assert_eq!(answer.attempts.len(), 2);
    let sent: Vec<String> = server
        .seen()
        .iter()
        .filter_map(|seen| seen.header("authorization").map(str::to_owned))
        .collect();
    assert!(sent[2].ends_with("value-0003-of-a-key"), "{sent:?}");
    let told = format!(
        "{answer:?} {}",
        joined(&heard.into_inner().expect("no panic"))
    );
    for hidden in ["-of-a-key", "value-0", "fo-1000"] {
        assert!(!told.contains(hidden), "{told}");
    }
    assert!(!format!("{answer:?}").contains("yek-a-fo"), "{answer:?}");
}

/// More of a stream than is of use is not worked on to its end.
#[tokio::test]
async fn a_stream_that_is_too_long_is_given_up() {
    let usual = Usual {
        answer_bytes: 64 << 20,
        ..Usual::default()
    };
    let long = Reply {
        text: "x".repeat((1 << 20) + 1),
        ..Reply::default()
    };
    let world = usual.world([What::Answer(long)]).await;
    let (answer, _) = world.stream(&question("chat", "hi")).await;
    let failure = answer.expect_err("it is too long");
    let ModelError::Limit { limit, value } = &failure.error else {
        panic!("{failure:?}");
    };
    assert_eq!(
        (limit.as_str(), value.as_str()),
        ("answer_bytes", "1048576")
    );
    assert!(failure.spent.unsure_tokens > 0, "it may be on the bill");
}

/// What is set aside for vectors is what leaves: a word may be longer than what it
/// stands for.
#[tokio::test]
async fn vectors_of_what_is_redacted_fit_their_bound() {
    let world = world([What::Answer(Reply {
        dimensions: 3,
        ..Reply::default()
    })])
    .await;
    let request = EmbedRequest {
        role: "search".to_owned(),
        texts: vec!["a@b.ch ".repeat(100)],
        dimensions: None,
    };
    let conversation = key();
    let ask = Ask {
        caller: "test",
        conversation: &conversation,
        allowance: world.router.bound_embed(&request).expect("a bound"),
        told: None,
        meter: None,
        permitted: None,
    };
    world.router.embed(&request, ask).await.expect("vectors");
    assert!(world.server.seen()[0].text.contains("[email-"));
}
