//! What an agent asks models, and what it makes of their answers.

use airlock_sdk::agent::{Chat, Fault, Finish, Reply, ToolChoice, Unusable, embed, embed_with};
use airlock_sdk::testing::Says;

use super::*;

#[derive(Debug, Serialize, Deserialize, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
struct Sum {
    total: u64,
}

/// A host with a tool, and a model that says these one after the other.
fn says<S: Into<Says>>(says: impl IntoIterator<Item = S>) -> AgentHost {
    let sum = json!({ "type": "object", "required": ["path"],
        "properties": { "path": { "type": "string" } } });
    testing::agent()
        .tool("files/read", |input| Ok(json!({ "read": input["path"] })))
        .tool_info(ToolInfo {
            name: "files/read".to_owned(),
            description: "Reads.".to_owned(),
            input_schema: sum,
            output_schema: None,
            class: EffectClass::ReadOnly,
        })
        .says("fast", says)
}

fn chat() -> Chat {
    Chat::new("fast").system("Be brief.").tools(&agent::tools())
}

#[test]
fn a_conversation_sends_what_is_new_and_goes_two_ways() {
    let host = says([
        Says::call("files/read", json!({ "path": "a" }))
            .and_call("note", json!({ "total": 1 }))
            .costs(7),
        Says::text("left"),
        Says::text("right").tokens(5, 6),
    ]);
    let ran = run(host, || async {
        let mut chat = chat()
            .own_tool::<Sum>("note", "Notes a sum.")
            .tool_choice(ToolChoice::Auto)
            .max_tokens(99)
            .temperature(0.25)
            .stop("END")
            .seed(4);
        chat.user("Look at this.").image("image/png", "iVBO");
        let reply = chat.ask().await?;
        assert_eq!(
            (reply.finish, &*reply.model),
            (Finish::ToolCalls, "scripted")
        );
        let [read, note] = reply.calls.as_slice() else {
            panic!("two calls: {reply:?}")
        };
        assert_eq!(note.parse::<Sum>()?, Sum { total: 1 });
        assert!(read.parse::<Sum>().is_err());
        let output: Value = agent::call(&read.name, &read.parse::<Value>()?).await?;
        chat.failed(note, "no").result(read, &output);
        let mut other = chat.clone();
        let left = chat.ask().await?.text;
        // What was told twice counts once, as it was told last.
        other.result(note, "noted").user("And now?");
        let right = other.ask().await?;
        assert_eq!(right.usage.output_tokens, 6);
        assert_eq!((chat.spent().tokens, other.spent().tokens), (220, 121));
        assert_eq!(chat.spent().cost_micros, 7);
        Outcome::done(&json!([left, right.text]))
    });
    assert_eq!(ran.output(), json!(["left", "right"]));
    let asked = ran.asked_models();
    let [first, left, right] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!((first.new, first.messages.len()), (2, 2));
    assert_eq!(first.tools, ["files/read", "note"]);
    assert_eq!(first.body["temperature_milli"], 250);
    assert_eq!(first.body["tools"][0], "files/read");
    assert_eq!(first.body["tools"][1]["description"], "Notes a sum.");
    assert_eq!(first.messages[1]["parts"][1]["media_type"], "image/png");
    let result = r#"{"read":"a"}"#.to_owned();
    assert_eq!(
        left.results(),
        [(true, "no".to_owned()), (false, result.clone())]
    );
    assert_eq!((left.new, left.messages.len()), (2, 5));
    assert_eq!(
        right.results(),
        [(false, result), (false, "noted".to_owned())]
    );
    assert_eq!(right.last_text(), "And now?");
    assert_eq!(right.new_messages().len(), 3);
    assert!(!right.all_text().contains("left"), "{}", right.all_text());
}

#[test]
fn turn_after_turn_has_its_own_calls_and_results() {
    let call = || Says::call("files/read", json!({ "path": "a" }));
    let done = Says::json(json!({ "total": 3 }));
    let ran = run(says([call(), call(), call(), done]), || async {
        let mut chat = chat().output::<Sum>();
        chat.user("go");
        let mut ids = Vec::new();
        loop {
            let reply = chat.ask().await?;
            assert_eq!(
                reply.faults,
                [],
                "a form is asked for, and calls come first"
            );
            let [call] = reply.calls.as_slice() else {
                ids.sort();
                ids.dedup();
                assert_eq!(ids.len(), 3);
                return Outcome::done(&reply.parse::<Sum>()?.total);
            };
            ids.push(call.id.clone());
            chat.result(call, "text");
        }
    });
    assert_eq!(ran.output(), 3);
    let asked = ran.asked_models();
    let new: Vec<usize> = asked.iter().map(|asked| asked.new).collect();
    assert_eq!(new, [2, 1, 1, 1]);
}

#[test]
fn after_an_error_it_goes_on_from_the_last_answer() {
    let host = says([
        Says::text("one"),
        Says::fails(Error::transient("busy", None)),
        Says::nothing(),
        Says::text("two"),
    ]);
    let ran = run(host, || async {
        let mut chat = chat();
        chat.user("1").ask().await?;
        let busy = chat.user("2").ask().await.map_err(|error| error.code());
        assert_eq!(busy.map(|reply| reply.text), Err("transient"));
        assert!(chat.ask().await?.is_empty());
        Outcome::done(&chat.user("3").ask().await?.text)
    });
    assert_eq!(ran.output(), "two");
    let new = ran.asked_models();
    let new: Vec<usize> = new.iter().map(|asked| asked.new).collect();
    assert_eq!(new, [2, 1, 1, 2]);
}

/// What a test of faults asks with.
type Asks = fn(Chat) -> Chat;

#[test]
fn faults_are_found_and_told() {
    let plain: Asks = |chat| chat;
    let summed: Asks = |chat| chat.output::<Sum>();
    let good = || json!({ "path": "a" });
    let table: [(Asks, Says, &str); 11] = [
        (
            plain,
            Says::call("files/write", json!({})),
            "there is no tool `files/write`",
        ),
        (
            plain,
            Says::nothing().and_call_raw("files/read", "{"),
            "are not a JSON object: EOF",
        ),
        (
            plain,
            Says::call("files/read", json!([])),
            "it is no JSON object",
        ),
        (
            plain,
            Says::call("files/read", json!({})),
            "takes: `path` is missing",
        ),
        (
            plain,
            Says::call("files/read", json!({ "path": 5 })),
            "takes at `/path`: it is a number",
        ),
        (
            |chat| chat.own_tool::<Sum>("note", ""),
            Says::call("note", json!({ "total": -1 })),
            "at `/total`: it has to be at least 0",
        ),
        (
            |chat| chat.tool_choice(ToolChoice::Required),
            "text".into(),
            "a tool has to be called",
        ),
        (
            |chat| chat.tool_choice(ToolChoice::Tool("files/read".to_owned())),
            "text".into(),
            "`files/read` has to be called",
        ),
        (
            |chat| chat.tool_choice(ToolChoice::None),
            Says::call("files/read", good()),
            "no tool may be called",
        ),
        (summed, "about 5".into(), "has to be JSON and nothing else"),
        (
            summed,
            Says::json(json!({ "total": "5" })),
            "at `/total`: it is a string",
        ),
    ];
    for (asks, wrong, told) in table {
        // As it stands, told once and mended, and never mended.
        let mended = || match told {
            told if told.contains("to be called") => Says::call("files/read", good()),
            _ => Says::json(json!({ "total": 5 })),
        };
        let ran = run(says([wrong.clone(), mended()]), || async {
            let mut chat = asks(chat());
            chat.user("go");
            let reply = chat.ask_repaired(1).await?;
            assert!(reply.faults.is_empty(), "{reply:?}");
            Outcome::done(&1)
        });
        assert_eq!(ran.output(), 1);
        let again = &ran.asked_models()[1];
        let told_again: Vec<String> = again
            .new_messages()
            .iter()
            .map(ToString::to_string)
            .collect();
        let told_again = told_again.join("\n");
        assert!(told_again.contains(told), "{told}: {told_again}");
        let ran = run(says([wrong.clone(), wrong]), || async {
            let mut chat = asks(chat());
            match chat.user("go").ask_repaired(1).await {
                Err(Unusable::Faulty(reply)) => {
                    assert_eq!(reply.faults.len(), 1);
                    Err(Unusable::Faulty(reply).into())
                }
                other => panic!("{told}: {other:?}"),
            }
        });
        let error = ran.error();
        assert_eq!(error.code(), "permanent");
        assert!(error.to_string().contains(told), "{error}");
    }
}

#[test]
fn a_call_beside_a_wrong_one_is_not_made_either() {
    let both = Says::call("files/read", json!({ "path": "a" })).and_call("x", json!({}));
    let host = says([both, "done".into()]);
    let ran = run(host, || async {
        let mut chat = chat();
        let reply = chat.user("go").ask_repaired(3).await?;
        Outcome::done(&reply.text)
    });
    let results = ran.asked_models()[1].results();
    assert_eq!(results.len(), 2);
    assert!(
        results
            .iter()
            .all(|(failed, text)| *failed && text.starts_with("not called"))
    );
    assert!(results[0].1.contains("ask for it again"), "{results:?}");
    assert!(ran.calls().is_empty());
}

#[test]
fn what_is_no_answer_has_its_own_error() {
    let filtered = || Says::text("I").finish(Finish::ContentFilter);
    let table: [(Says, &str, &str); 6] = [
        (
            Says::refuses("I won't."),
            "declined: I won't.",
            "it declined: I won't.",
        ),
        (filtered(), "the provider's filter", "the provider's filter"),
        (
            Says::text("{").finish(Finish::Length),
            "is cut",
            "it is cut",
        ),
        (Says::nothing(), "stays empty", "has to be JSON"),
        (
            Error::limit("model-tokens", "10").into(),
            "limit: model-tokens (10)",
            "",
        ),
        (
            Error::denied("models", "ask fast", "no").into(),
            "denied: models",
            "",
        ),
    ];
    for (says_so, repaired, parsed) in table {
        // An empty answer has a fault where a form is asked for.
        let host = says([says_so.clone()]);
        let ran = run(host, || async {
            let mut chat = chat();
            let reply = chat.user("go").ask_repaired(0).await?;
            Outcome::done(&reply.text)
        });
        let error = ran.error().to_string();
        assert!(error.contains(repaired), "{error}");
        let ran = run(says([says_so]), || async {
            let mut chat = chat().output::<Sum>();
            let reply: Reply = chat.user("go").ask().await?;
            assert!(
                reply.declined().is_none() || reply.faults.is_empty(),
                "{reply:?}"
            );
            Outcome::done(&reply.parse::<Sum>()?)
        });
        let error = ran.error().to_string();
        assert!(error.contains(parsed), "{error}");
    }
    let ran = run(says(["{\"total\":1}"]), || async {
        let reply = chat().user("go").ask().await?;
        Outcome::done(&reply.parse::<Sum>()?)
    });
    assert_eq!(ran.output(), json!({ "total": 1 }), "any JSON can be read");
}

#[test]
fn what_the_host_refuses_is_refused() {
    type Asks = fn(&mut Chat);
    type Case = (fn(Chat) -> Chat, Asks, &'static str);
    let user: Asks = |chat| {
        chat.user("go");
    };
    let table: [Case; 13] = [
        (
            |_| Chat::new("other"),
            user,
            "denied: models (ask other): no models rule names `other`",
        ),
        (
            |_| Chat::new("fast").tool("files/none"),
            user,
            "tools[0]: `files/none` is none that",
        ),
        (
            |chat| chat.tool("files/read"),
            user,
            "tools[1]: `files/read` is there twice",
        ),
        (
            |chat| chat.own_tool::<Sum>("a/b", ""),
            user,
            "tools[1].name",
        ),
        (
            |chat| chat.own_tool_with("a", "", &json!(5)),
            user,
            "tools[1].input_schema",
        ),
        (
            |chat| chat.tool_choice(ToolChoice::Tool("x".to_owned())),
            user,
            "no tool `x`",
        ),
        (
            |_| Chat::new("fast").tool_choice(ToolChoice::Required),
            user,
            "there is no tool",
        ),
        (
            |chat| chat.output_with("a", &json!(true)),
            user,
            "output.schema",
        ),
        (
            |chat| chat.temperature(2.1),
            user,
            "temperature_milli: 0 to 2000",
        ),
        (|chat| chat.max_tokens(0), user, "max_tokens: at least 1"),
        (
            |chat| chat.stop("a").stop("b").stop("c").stop("d").stop("e"),
            user,
            "4 stop texts",
        ),
        (|chat| chat, |_| {}, "nobody asks anything"),
        (
            |chat| chat,
            |chat| {
                chat.user("");
            },
            "messages[1]: a part is empty",
        ),
    ];
    for (set, asks, expect) in table {
        let ran = run(says(["never"]), || async {
            let mut chat = set(chat());
            asks(&mut chat);
            Outcome::done(&chat.ask().await?.text)
        });
        let error = ran.error().to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn each_call_needs_a_result_before_it_goes_on() {
    let call = || Says::call("files/read", json!({ "path": "a" }));
    type Turn = fn(Chat, &Reply) -> Chat;
    let table: [(Turn, &str); 4] = [
        (
            |mut chat, _| chat.user("and?").clone(),
            "the call `call-0` before has no result",
        ),
        (|chat, _| chat, "the call `call-0` has no result"),
        (
            |mut chat, reply| {
                let mut other = reply.calls[0].clone();
                other.id = "call-9".to_owned();
                chat.result(&reply.calls[0], "a")
                    .result(&other, "b")
                    .clone()
            },
            "no call `call-9` waits for a result",
        ),
        (
            |mut chat, reply| chat.result(&reply.calls[0], "a").clone().system("late"),
            "instructions stand before all else",
        ),
    ];
    for (turn, expect) in table {
        let ran = run(says([call(), "well".into()]), || async {
            let mut chat = chat();
            let reply = chat.user("go").ask().await?;
            let mut wrong = turn(chat.clone(), &reply);
            let error = wrong.ask().await.expect_err("it is refused").to_string();
            assert!(error.contains(expect), "{error}");
            // Refused is not asked: the same can be said better.
            let text = chat.result(&reply.calls[0], "a").ask().await?.text;
            Outcome::done(&text)
        });
        assert_eq!(ran.output(), "well");
    }
    // Arguments that were none are kept without them.
    let broken = Says::nothing().and_call_raw("files/read", "{\"pa");
    let ran = run(says([broken, "well".into()]), || async {
        let mut chat = chat();
        let reply = chat.user("go").ask_repaired(1).await?;
        Outcome::done(&reply.text)
    });
    let kept = &ran.asked_models()[1].messages[2];
    assert_eq!(kept["calls"][0]["arguments"], "{}");
}

#[test]
fn models_take_time_and_may_be_given_up() {
    let slow = || Says::text("late").takes(2 * HOUR);
    let ran = run(says([slow(), "soon".into()]), || async {
        let mut chat = chat();
        chat.user("go");
        let late = agent::timeout(chat.ask(), HOUR).await;
        assert!(late.is_err());
        Outcome::done(&chat.ask().await?.text)
    });
    assert_eq!((ran.output(), ran.took()), (json!("soon"), HOUR));
    let ran = run(says([slow(), slow()]), || async {
        let mut one = chat();
        one.user("go");
        let mut two = one.clone();
        let both = agent::join(one.ask(), two.ask()).await;
        Outcome::done(&json!([both.0?.text, both.1?.text]))
    });
    assert_eq!(
        (ran.output(), ran.took()),
        (json!(["late", "late"]), 2 * HOUR)
    );
}

#[test]
fn what_is_asked_again_has_to_be_the_same() {
    let told = panics(says(vec!["yes"; 1]), || async {
        let all: HashMap<u32, u32> = (0..8).map(|n| (n, n)).collect();
        let mut chat = chat();
        Outcome::done(&chat.user(&format!("{all:?}")).ask().await?.text)
    });
    assert!(
        told.contains("it asks a model {\"role\":\"fast\""),
        "{told}"
    );
    let told = panics(says(["one"]), || async {
        let mut chat = chat();
        chat.user("1").ask().await?;
        Outcome::done(&chat.user("2").ask().await?.text)
    });
    assert!(
        told.contains("has 1 answers, and it is asked for one more: 2"),
        "{told}"
    );
}

#[test]
fn texts_become_vectors() {
    let host = || testing::agent().embeds("near", |text| vec![text.len() as f32, 0.5]);
    let ran = run(host(), || async {
        let vectors = embed("near", &["a", "bcd"]).await?;
        assert_eq!((vectors.spent.tokens, &*vectors.model), (4, "scripted"));
        Outcome::done(&vectors.vectors)
    });
    assert_eq!(ran.output(), json!([[1.0, 0.5], [3.0, 0.5]]));
    for (role, texts, expect) in [
        ("far", vec!["a"], "denied: models (ask far)"),
        ("near", vec![], "texts: there is none"),
        ("near", vec!["a", ""], "texts: one is empty"),
        ("near", vec!["a"; 2_049], "limit: texts (2048)"),
    ] {
        let ran = run(host(), || async {
            Outcome::done(&embed_with(role, &texts, 2).await?.vectors)
        });
        let error = ran.error().to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn a_request_has_a_size() {
    let ran = run(says(["never"]), || async {
        let mut chat = chat();
        Outcome::done(&chat.user(&"x".repeat(1 << 20)).ask().await?.text)
    });
    assert_eq!(
        ran.error().to_string(),
        "limit: request (the request: 1048576 bytes)"
    );
}

/// An answer of a host that says more than this SDK knows.
#[test]
fn what_is_new_in_an_answer_is_no_error() {
    let answer = json!({ "text": "a", "finish": "exhausted", "new": 1, "model": "m",
        "faults": [{ "fault": "smell", "at": "/" }], "usage": { "input_tokens": 1, "new": 2 },
        "attempts": [], "spent": { "tokens": 1, "cost_micros": 0 } });
    let reply: Reply = serde_json::from_value(answer).expect("it is read");
    assert_eq!(
        (reply.finish, &reply.faults[..]),
        (Finish::Other, &[Fault::Other][..])
    );
    assert_eq!(reply.faults[0].call(), None);
}
