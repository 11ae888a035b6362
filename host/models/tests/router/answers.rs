//! What goes well, in each protocol.

use std::collections::BTreeSet;

use airlock_fake_models::{Call, Counted, Damage, Reply, What};
use airlock_models::{Ask, EmbedRequest, Event, Finish, Message, OutputSchema, Part, ToolCall};

use super::harness::{KEY, PLENTY, PROTOCOLS, key, question, said, tool, world};

fn reply(text: &str) -> Reply {
    Reply {
        text: text.to_owned(),
        usage: Some(Counted {
            input: 1_000,
            cached: 400,
            output: 100,
        }),
        ..Reply::default()
    }
}

#[tokio::test]
async fn each_protocol_answers_whole_and_streamed() {
    for role in PROTOCOLS {
        // Longer than the key, as much of which is always held back.
        let hello = "Héllo wörld 🎉".repeat(10);
        let world = world([What::Answer(reply(&hello)), What::Answer(reply(&hello))]).await;
        let whole = world.ask(&question(role, "hi")).await.expect("an answer");
        assert_eq!(whole.text, hello, "{role}");
        assert_eq!((whole.finish, whole.model.as_str()), (Finish::Stop, role));
        assert_eq!(
            (
                whole.usage.input_tokens,
                whole.usage.cached_tokens,
                whole.usage.output_tokens
            ),
            (1_000, 400, 100)
        );
        // 600 at 2, 400 at 1, 100 at 10 a million.
        assert_eq!(
            (whole.spent.cost_micros, whole.spent.tokens),
            (2_600, 1_100)
        );
        let (streamed, events) = world.stream(&question(role, "hi")).await;
        assert_eq!(streamed.expect("an answer"), whole, "{role}");
        assert_eq!(
            events[0],
            Event::Started {
                model: role.to_owned()
            }
        );
        assert_eq!(said(&events), whole.text);
        assert!(events.len() > 3, "it came in pieces: {events:?}");
        let seen = world.server.seen();
        let (name, value) = match role {
            "claude" => ("x-api-key", KEY.to_owned()),
            _ => ("authorization", format!("Bearer {KEY}")),
        };
        assert!(seen.iter().all(|seen| seen.header(name) == Some(&value)));
        assert!(seen.iter().all(|seen| !seen.text.contains(KEY)));
        assert_eq!(
            seen[0].header("host"),
            Some(world.server.address().to_string().as_str())
        );
    }
}

#[tokio::test]
async fn tools_are_called_and_their_results_go_back() {
    for role in PROTOCOLS {
        let call = |id: &str, path: &str| Call {
            id: id.to_owned(),
            name: "files_read".to_owned(),
            arguments: format!("{{\"path\":\"{path}\"}}"),
        };
        let calls = Reply {
            text: "I look.".to_owned(),
            calls: vec![call("c1", "a"), call("c2", "b")],
            ..reply("")
        };
        let steps = [
            What::Answer(calls.clone()),
            What::Answer(calls),
            What::text("done"),
        ];
        let world = world(steps).await;
        let mut request = question(role, "read a and b");
        request.tools = vec![tool("files/read")];
        let whole = world.ask(&request).await.expect("an answer");
        let (streamed, events) = world.stream(&request).await;
        assert_eq!(streamed.expect("an answer"), whole, "{role}");
        assert_eq!(whole.finish, Finish::ToolCalls);
        assert!(whole.faults.is_empty(), "{:?}", whole.faults);
        let names: Vec<&str> = whole.calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(
            names,
            ["files/read", "files/read"],
            "the name that the request has"
        );
        let begun: Vec<&Event> = events
            .iter()
            .filter(|event| matches!(event, Event::Call { .. }))
            .collect();
        assert_eq!(begun.len(), 2);
        request.messages.push(Message::Assistant {
            text: whole.text.clone(),
            calls: whole.calls.clone(),
        });
        for ToolCall { id, .. } in whole.calls {
            request.messages.push(Message::Tool {
                call: id,
                text: "content".to_owned(),
                failed: false,
            });
        }
        let last = world.ask(&request).await.expect("an answer");
        assert_eq!(
            last.text, "done",
            "{role}: the server found calls and results in order"
        );
    }
}

/// Servers that count calls from the start in each answer, or give them no id at all.
#[tokio::test]
async fn calls_of_later_answers_have_ids_of_their_own() {
    for (role, id) in PROTOCOLS
        .iter()
        .flat_map(|role| [(role, "call_0"), (role, "")])
    {
        let calls = || {
            let call = Call {
                id: id.to_owned(),
                name: "files_read".to_owned(),
                arguments: "{}".to_owned(),
            };
            What::Answer(Reply {
                calls: vec![call],
                ..reply("I look.")
            })
        };
        let world = world([calls(), calls(), calls(), calls(), What::text("done")]).await;
        let mut request = question(role, "read");
        request.tools = vec![tool("files/read")];
        let mut ids = BTreeSet::new();
        for turn in 0..2 {
            let whole = world.ask(&request).await.expect("an answer");
            let (streamed, events) = world.stream(&request).await;
            assert_eq!(streamed.expect("an answer"), whole, "{role}");
            let told = events.iter().find_map(|event| match event {
                Event::Call { id, .. } => Some(id.clone()),
                _ => None,
            });
            let own = whole.calls[0].id.clone();
            assert!(
                id.is_empty() || told.as_ref() == Some(&own),
                "{role}: {told:?}"
            );
            ids.insert(own);
            assert_eq!(ids.len(), turn + 1, "{role}: {ids:?}");
            request.messages.push(Message::Assistant {
                text: whole.text.clone(),
                calls: whole.calls.clone(),
            });
            request.messages.push(Message::Tool {
                call: whole.calls[0].id.clone(),
                text: "content".to_owned(),
                failed: false,
            });
        }
        let last = world.ask(&request).await.expect("it can go on");
        assert_eq!(last.text, "done", "{role}");
    }
}

#[tokio::test]
async fn streams_are_read_whatever_their_form() {
    let damages = [
        Damage {
            write_bytes: 1,
            ..Damage::default()
        },
        Damage {
            crlf: true,
            write_bytes: 7,
            ..Damage::default()
        },
        Damage {
            pings: true,
            piece_chars: 1,
            ..Damage::default()
        },
        Damage {
            pings: true,
            crlf: true,
            piece_chars: 1_000,
            ..Damage::default()
        },
    ];
    for role in PROTOCOLS {
        for damage in &damages {
            let reply = Reply {
                damage: damage.clone(),
                ..reply("zwölf Boxkämpfer 🎉🎉")
            };
            let world = world([What::Answer(reply)]).await;
            let (answer, events) = world.stream(&question(role, "hi")).await;
            let answer = answer.unwrap_or_else(|failure| panic!("{role} {damage:?}: {failure:?}"));
            assert_eq!(answer.text, "zwölf Boxkämpfer 🎉🎉");
            assert_eq!(said(&events), answer.text);
        }
    }
}

#[tokio::test]
async fn ends_of_all_kinds_are_told() {
    let cases = [("length", Finish::Length), ("a_new_reason", Finish::Other)];
    for role in ["chat", "claude"] {
        for (finish, expected) in cases {
            let reply = Reply {
                finish: Some(finish.to_owned()),
                ..reply("so far")
            };
            let world = world([What::Answer(reply)]).await;
            let answer = world.ask(&question(role, "hi")).await.expect("an answer");
            assert_eq!(answer.finish, expected, "{role}");
        }
    }
    for role in PROTOCOLS {
        let refused = Reply {
            finish: Some("content-filter".to_owned()),
            ..reply("x")
        };
        let world = world([What::Answer(refused)]).await;
        let answer = world.ask(&question(role, "hi")).await.expect("an answer");
        assert!(
            matches!(answer.finish, Finish::ContentFilter | Finish::Refusal),
            "{role}"
        );
    }
}

#[tokio::test]
async fn what_was_not_counted_is_estimated_and_never_less() {
    for role in PROTOCOLS {
        let silent = Reply {
            usage: None,
            ..reply("four words of text")
        };
        let world = world([What::Answer(silent.clone()), What::Answer(silent)]).await;
        let request = question(role, "hi");
        let bound = world.router.bound(&request).expect("a bound");
        for answer in [world.ask(&request).await, world.stream(&request).await.0] {
            let answer = answer.expect("an answer");
            assert!(answer.usage.estimated, "{role}");
            assert_eq!(answer.usage.output_tokens, 18);
            assert!(answer.usage.input_tokens >= 2);
            assert!(answer.spent.cost_micros > 0 && answer.spent.cost_micros <= bound.cost_micros);
        }
    }
}

#[tokio::test]
async fn an_answer_has_the_form_that_was_asked_for() {
    for role in PROTOCOLS {
        let world = world([What::text(r#"{"n": 1}"#)]).await;
        let mut request = question(role, "hi");
        request.output = Some(OutputSchema {
            name: "form".to_owned(),
            schema: r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#
                .to_owned(),
            strict: true,
        });
        let answer = world.ask(&request).await.expect("an answer");
        assert!(answer.faults.is_empty(), "{:?}", answer.faults);
        let seen = &world.server.seen()[0].text;
        assert!(seen.contains("json_schema"), "{seen}");
    }
}

#[tokio::test]
async fn images_go_where_they_are_seen() {
    for role in PROTOCOLS {
        let world = world([What::text("a cat")]).await;
        let mut request = question(role, "what is it?");
        let Message::User { parts } = &mut request.messages[0] else {
            panic!("a question")
        };
        parts.push(Part::Image {
            media_type: "image/png".to_owned(),
            data: "aGk=".to_owned(),
        });
        let without = world
            .router
            .bound(&question(role, "what is it?"))
            .expect("a bound");
        let with = world.router.bound(&request).expect("a bound");
        assert!(
            with.tokens >= without.tokens + 1_000,
            "an image counts as configured"
        );
        world.ask(&request).await.expect("an answer");
        assert!(world.server.seen()[0].text.contains("aGk="));
    }
}

#[tokio::test]
async fn texts_become_vectors() {
    let vectors = Reply {
        dimensions: 3,
        ..reply("")
    };
    let world = world([What::Answer(vectors.clone()), What::Answer(vectors)]).await;
    let conversation = key();
    let ask = Ask {
        permitted: None,
        caller: "test",
        conversation: &conversation,
        allowance: PLENTY,
        told: None,
        meter: None,
    };
    let texts = ["a", "b a@b.test", "c"].map(str::to_owned).to_vec();
    let request = EmbedRequest {
        role: "search".to_owned(),
        texts,
        dimensions: None,
    };
    let found = world.router.embed(&request, ask).await.expect("vectors");
    assert_eq!(found.vectors.len(), 3);
    assert_ne!(found.vectors[0], found.vectors[2]);
    assert_eq!(
        (found.model.as_str(), found.spent.cost_micros),
        ("vectors", 1_000)
    );
    assert!(!world.server.seen()[0].text.contains("a@b.test"));
    let bound = world.router.bound_embed(&request).expect("a bound");
    assert!(bound.tokens > 0 && bound.cost_micros > 0);
    let wrong = EmbedRequest {
        role: "chat".to_owned(),
        ..request.clone()
    };
    let failure = world
        .router
        .embed(&wrong, ask)
        .await
        .expect_err("it makes none");
    assert!(
        failure.error.to_string().contains("makes answers"),
        "{failure:?}"
    );
    let failure = world
        .ask(&question("search", "hi"))
        .await
        .expect_err("it makes no answers");
    assert!(
        failure.error.to_string().contains("makes vectors"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn an_answer_is_the_same_bytes_and_comes_back() {
    let world = world([What::error(500, "server_error", "x"), What::text("hi")]).await;
    let answer = world.ask(&question("fast", "hi")).await.expect("an answer");
    let text = serde_json::to_string(&answer).expect("it is written");
    let back: airlock_models::Answer = serde_json::from_str(&text).expect("it is read");
    assert_eq!(back, answer);
    assert_eq!(serde_json::to_string(&back).expect("it is written"), text);
    assert!(text.starts_with(r#"{"text":"hi","finish":"stop","usage":{"input_tokens":10,"output_tokens":5},"model":"responses","attempts":[{"model":"chat","why":"server","fate":"answered","#), "{text}");
}

#[tokio::test]
async fn what_cannot_be_asked_is_never_sent() {
    let world = world([]).await;
    let mut bad = question("chat", "hi");
    bad.messages.push(Message::Tool {
        call: "c".to_owned(),
        text: String::new(),
        failed: false,
    });
    let mut schema = question("chat", "hi");
    schema.output = Some(OutputSchema {
        name: "x".to_owned(),
        schema: r#"{"$ref":"https://a.test"}"#.to_owned(),
        strict: false,
    });
    let mut stops = question("responses", "hi");
    stops.stop = vec!["END".to_owned()];
    for (request, expected) in [
        (bad, "no call `c`"),
        (schema, "output.schema: "),
        (question("slow", "hi"), "no role `slow`"),
        (stops, "no stop texts"),
    ] {
        let failure = world.ask(&request).await.expect_err(expected);
        assert!(failure.error.to_string().contains(expected), "{failure:?}");
        assert!(matches!(
            failure.error,
            airlock_models::ModelError::InvalidInput { .. }
        ));
        assert_eq!(failure.spent, airlock_models::Spent::default());
    }
    assert!(world.server.seen().is_empty());
}
