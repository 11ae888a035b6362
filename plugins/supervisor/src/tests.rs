//! The agent over scripted models, specialists and people.

use std::time::Duration;

use airlock_sdk::agent::TaskState;
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::fill;
use airlock_sdk::testing::{self, AgentHost, AgentRun, Answer, Says};
use serde_json::{Value, json};

use crate::prompts;
use crate::work::run;

const HOUR: Duration = Duration::from_secs(3_600);

/// Specialists: `law` says what its goal says, and `sums` counts. Asked to look again,
/// `sums` comes to 12 where its goal says that it errs.
fn host<S: Into<Says>>(says: impl IntoIterator<Item = S>) -> AgentHost {
    testing::agent()
        .says("careful", says)
        .child("lawyer", |goal, input| match goal {
            goal if goal.contains("fail") => Err(Error::escalate("there is no contract")),
            goal if goal.contains("Look again") => {
                Ok(json!({ "total": 12, "seen": input["context"]["others"] }))
            }
            goal => Ok(json!({ "total": 12, "did": goal })),
        })
        .child("accountant", |goal, _| match goal {
            goal if goal.contains("Look again") && goal.contains("break") => {
                Err(Error::escalate("the file is gone"))
            }
            goal if goal.contains("Look again") && goal.contains("err") => {
                Ok(json!({ "total": 12 }))
            }
            goal if goal.contains("agree") => Ok(json!({ "total": 12 })),
            _ => Ok(json!({ "total": 11 })),
        })
        .takes("lawyer", HOUR)
        .takes("accountant", HOUR)
}

fn input(more: Value) -> Value {
    let mut input = json!({ "specialists": {
        "law": { "agent": "lawyer", "about": "Contracts.", "input": { "tools": ["files/*"] } },
        "sums": { "agent": "accountant", "about": "Numbers.", "budget": { "model_tokens": 1000 } } } });
    let more = more.as_object().cloned().unwrap_or_default();
    input.as_object_mut().expect("an object").extend(more);
    input
}

fn works(host: AgentHost, more: Value) -> AgentRun {
    host.run(run, "Tell what is owed.", input(more))
}

fn part(id: &str, specialist: &str, goal: &str) -> Value {
    json!({ "id": id, "specialist": specialist, "goal": goal })
}

fn parts(parts: impl Into<Vec<Value>>) -> Says {
    Says::json(json!({ "why": "First these.", "parts": parts.into() }))
}

/// The contract and the sum, the second of which is as `goal` says.
fn both(goal: &str) -> Says {
    parts([part("a", "law", "read"), part("b", "sums", goal)])
}

fn conflict(between: &[&str]) -> Says {
    Says::json(json!({ "conflicts": [{ "about": "the total", "between": between }] }))
}

fn result(result: impl Into<Value>) -> Says {
    Says::json(json!({ "result": result.into() }))
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
}

#[test]
fn work_is_split_done_side_by_side_and_merged() {
    let more = json!({ "context": { "folder": "/x" }, "instructions": "Be brief." });
    let run = works(host([both("agree"), result("12 are owed")]), more);
    assert_eq!((run.output(), run.took()), (json!("12 are owed"), HOUR));
    let [law, sums] = run.children() else {
        panic!("two children: {:?}", run.children());
    };
    assert_eq!((&*law.agent, &*law.goal), ("lawyer", "read"));
    let given = json!({ "tools": ["files/*"], "instructions": "Be brief.",
        "context": { "context": { "folder": "/x" } } });
    assert_eq!(law.input, given);
    assert_eq!(
        (law.budget.model_tokens, sums.budget.model_tokens),
        (None, Some(1000))
    );
    let asked = run.asked_models();
    assert!(asked.iter().all(|one| one.body["max_tokens"] == 8_192));
    let first = asked[0].all_text();
    holds(
        &first,
        &[
            "You lead specialists",
            "- law: Contracts.",
            "Be brief.",
            "{\"folder\":\"/x\"}",
        ],
    );
    let told = asked[1].last_text();
    holds(
        &told,
        &["`a` by law: done\n=== data 1 ===\n{\"total\":12,\"did\":\"read\"}"],
    );
    holds(
        &told,
        &[
            "`b` by sums: done\n=== data 2 ===",
            "Left: 5 answers, 10 parts",
        ],
    );
    assert!(run.plan().iter().all(|part| part.state == TaskState::Done));
    // One at a time.
    let run = works(host([both("agree"), result(1)]), json!({ "parallel": 1 }));
    assert_eq!(run.took(), 2 * HOUR);
}

#[test]
fn those_who_contradict_one_another_look_again() {
    let run = works(
        host([both("err"), conflict(&["a", "b"]), result(12)]),
        json!({}),
    );
    assert_eq!((run.output(), run.took()), (json!(12), 2 * HOUR));
    let again = &run.children()[2..];
    assert_eq!(again.len(), 2);
    holds(
        &again[0].goal,
        &["You had this goal:\nread\n", "It is about: the total"],
    );
    let seen =
        json!({ "yours": { "total": 12, "did": "read" }, "others": { "b": { "total": 11 } } });
    assert_eq!(again[0].input["context"], seen);
    let asked = run.asked_models();
    let told = asked[2].last_text();
    holds(
        &told,
        &[
            "What came of looking again:",
            "`b` by sums: done\n=== data 4 ===\n{\"total\":12}",
        ],
    );
    assert!(run.asked().is_empty(), "no person was needed");
}

#[test]
fn what_stays_a_contradiction_a_person_decides() {
    let says = || {
        [
            both("stay"),
            conflict(&["a", "b"]),
            conflict(&["b", "a"]),
            result(12),
        ]
    };
    let decides = |choice: &'static str| {
        host(says()).decides(move |_| Answer::choice(choice).note("as signed"))
    };
    let run = works(decides("a"), json!({}));
    assert_eq!(run.output(), 12);
    let [question] = run.asked() else {
        panic!("one question: {:?}", run.asked());
    };
    assert_eq!(question.choices, ["b", "a", "none of them"]);
    holds(&question.text, &["contradict one another", "the total"]);
    let payload = question.payload.as_ref().expect("what they said");
    assert_eq!(payload["results"]["b"], json!({ "total": 11 }));
    assert_eq!(run.children().len(), 4, "nobody looks a third time");
    let told = run.asked_models()[3].last_text();
    holds(
        &told,
        &["A person decided about «the total»: a\nThey added: as signed"],
    );
    // Nobody decides.
    let run = works(
        host(says()).decides(|_| Answer::nobody()),
        json!({ "patience_hours": 5 }),
    );
    assert_eq!(run.error().code(), "escalate");
    holds(
        &run.error().to_string(),
        &["nobody decided about a contradiction: the total"],
    );
    assert_eq!(run.took(), 7 * HOUR);
}

/// What a rule finds is settled without the model's word, and against it.
#[test]
fn a_rule_finds_what_the_model_overlooks() {
    let more = || json!({ "agree": ["/total", "/none"] });
    // They agree after a second look.
    let run = works(host([both("err"), result(12)]), more());
    assert_eq!((run.output(), run.children().len()), (json!(12), 4));
    holds(
        &run.children()[2].goal,
        &["`/total` has to be the same: `a` says 12, `b` says 11"],
    );
    // They never do: the model's result has to wait for a person.
    let run = works(
        host([both("stay"), result(11)]).decides(|_| Answer::choice("a")),
        more(),
    );
    assert_eq!((run.output(), run.asked().len()), (json!(11), 1));
    holds(
        &run.asked_models()[1].last_text(),
        &["A person decided", ": a"],
    );
    let run = works(
        host([both("stay"), result(11)]).decides(|_| Answer::nobody()),
        more(),
    );
    assert_eq!(run.error().code(), "escalate");
    // What looking again breaks stays as it was, and a person is asked.
    let run = works(
        host([both("break"), result(11)]).decides(|_| Answer::choice("b")),
        more(),
    );
    assert_eq!(run.output(), 11);
    let told = run.asked_models()[1].last_text();
    holds(
        &told,
        &[
            "its result stays; looking again failed\n",
            "the file is gone",
        ],
    );
    // Where they agree, nobody is asked.
    let run = works(host([both("agree"), result(12)]), more());
    assert_eq!((run.children().len(), run.asked().len()), (2, 0));
}

#[test]
fn a_specialist_that_fails_is_told_of() {
    let first = parts([part("a", "law", "fail"), part("b", "sums", "count")]);
    let second = parts([part("c", "law", "read another")]);
    let run = works(host([first, second, result("mended")]), json!({}));
    assert_eq!(run.output(), "mended");
    let asked = run.asked_models();
    let told = asked[1].last_text();
    holds(
        &told,
        &[
            "`a` by law: failed\n=== data 1 ===\nescalate: there is no contract",
            "`b` by sums: done",
        ],
    );
    let told = asked[2].last_text();
    assert!(
        !told.contains("`a`") && told.contains("`c`"),
        "only news: {told}"
    );
    // One that was not granted, or all of them.
    let first = parts([part("a", "law", "fail")]);
    let give_up = Says::json(json!({ "give_up": "no contract" }));
    let run = works(host([first, result("all is well"), give_up]), json!({}));
    assert_eq!(run.error().code(), "escalate");
    holds(
        &run.asked_models()[2].last_text(),
        &["a result rests on parts, and none is done"],
    );
    holds(
        &run.error().to_string(),
        &["the goal can't be reached: no contract"],
    );
    let kept = run.state("reached").expect("what was reached");
    assert_eq!(kept["parts"][0]["state"], "failed");
    let more = json!({ "specialists": { "law": { "agent": "judge", "about": "Contracts." } } });
    let give_up = Says::json(json!({ "give_up": "denied" }));
    let run = works(host([parts([part("a", "law", "read")]), give_up]), more);
    holds(
        &run.asked_models()[1].last_text(),
        &["`a` by law: failed", "denied"],
    );
}

#[test]
fn an_answer_that_can_not_be_used_is_told() {
    let many: Vec<Value> = (0..13)
        .map(|n| part(&format!("p{n}"), "law", "x"))
        .collect();
    let two = Says::json(json!({ "parts": [part("c", "law", "x")], "result": 1 }));
    let table = [
        (
            two,
            "exactly one of `parts`, `conflicts`, `result` and `give_up`",
        ),
        (Says::json(json!({ "why": "Hm." })), "exactly one of"),
        (parts(many), "at most 10 parts are left"),
        (parts([part("c d", "law", "x")]), "an id is 1 to 40 letters"),
        (
            parts([part("a", "law", "x")]),
            "there is one with this id already",
        ),
        (
            parts([part("c", "law", "x"), part("c", "law", "y")]),
            "there is one with this id already",
        ),
        (parts([part("c", "law", " ")]), "a goal has 1 to 4096 bytes"),
        (conflict(&["a"]), "it is between two parts or more"),
        (conflict(&["a", "a"]), "it is between two parts or more"),
        (conflict(&["a", "z"]), "`z` is no part that is done"),
        (
            Says::json(json!({ "conflicts": [{ "about": "", "between": ["a", "b"] }] })),
            "`about` has 1 to",
        ),
        (
            Says::json(json!({ "parts": [part("c", "cook", "x")] })),
            "law",
        ),
        (Says::text("Let me think."), "JSON"),
    ];
    for (says, problem) in table {
        let run = works(host([both("agree"), says, result("ok")]), json!({}));
        assert_eq!(run.output(), "ok", "{problem}");
        holds(&run.asked_models()[2].last_text(), &[problem]);
        assert_eq!(run.children().len(), 2, "{problem}: nothing of it was done");
    }
}

#[test]
fn it_ends_however_the_model_is() {
    let again = || conflict(&["a", "b"]);
    let more = parts([part("c", "law", "read")]);
    let wrong = || Says::json(json!({ "why": "Hm." }));
    let cases: Vec<(Vec<Says>, Value, &str, &str)> = vec![
        (
            vec![Says::refuses("I can't.")],
            json!({}),
            "escalate",
            "declined",
        ),
        (
            vec![Says::text("no JSON"); 8],
            json!({}),
            "escalate",
            "stays wrong",
        ),
        (
            vec![wrong(), wrong(), wrong(), wrong()],
            json!({}),
            "escalate",
            "the model's answer stays wrong",
        ),
        (
            vec![both("stay"), again(), again(), again()],
            json!({ "max_rounds": 4 }),
            "limit",
            "rounds",
        ),
        (
            vec![both("agree"), more],
            json!({ "max_rounds": 2 }),
            "limit",
            "rounds",
        ),
        (
            vec![Says::fails(Error::limit("model_tokens", "10"))],
            json!({}),
            "limit",
            "model_tokens",
        ),
        (
            vec![Says::fails(Error::permanent("no key"))],
            json!({}),
            "permanent",
            "asking the model",
        ),
    ];
    for (says, more, code, about) in cases {
        let run = works(host(says).decides(|_| Answer::choice("a")), more);
        let error = run.error();
        assert_eq!(error.code(), code, "{error}");
        holds(&error.to_string(), &[about]);
        assert!(run.state("reached").is_some(), "{error}");
    }
}

#[test]
fn what_is_wrong_with_the_input_is_said() {
    let long = "x".repeat(200_000);
    let nine: serde_json::Map<String, Value> = (0..9)
        .map(|n| (format!("s{n}"), json!({ "agent": "a", "about": "" })))
        .collect();
    for (more, problem) in [
        (json!({ "specialists": {} }), "specialists: 1 to 8"),
        (json!({ "specialists": nine }), "specialists: 1 to 8"),
        (
            json!({ "specialists": { "x": { "agent": "a", "about": long } } }),
            "specialists.x: ",
        ),
        (json!({ "agree": ["total"] }), "agree: at most 20"),
        (json!({ "max_rounds": 1 }), "max_rounds: 2 to 20"),
        (json!({ "max_parts": 0 }), "max_parts: 1 to 60"),
        (json!({ "parallel": 9 }), "parallel: 1 to 8"),
        (json!({ "patience_hours": 0 }), "patience_hours: 1 to 8760"),
        (json!({ "context": long }), "context: it has 200002 bytes"),
        (
            json!({ "instructions": long }),
            "instructions: it has 200000 bytes",
        ),
        (
            json!({ "output_schema": 5 }),
            "output_schema: a JSON Schema is an object",
        ),
    ] {
        let run = works(host(["never"]), more);
        assert_eq!(run.error().code(), "invalid-input", "{problem}");
        holds(&run.error().to_string(), &[problem]);
        assert!(run.asked_models().is_empty());
    }
    let empty = host(["never"]).run(run, " ", input(json!({})));
    holds(&empty.error().to_string(), &["goal: it is empty"]);
}

#[test]
fn the_texts_are_whole() {
    let places = [
        "goal",
        "instructions",
        "context",
        "specialists",
        "results",
        "left",
        "rounds",
        "parts",
        "problems",
        "about",
        "choice",
        "note",
    ];
    for (file, text) in prompts::ALL {
        let empty: Vec<(&str, &str)> = places.iter().map(|place| (*place, "")).collect();
        let filled = fill(text, &empty);
        assert!(
            !filled.is_empty() && !filled.contains('{'),
            "{file}: {filled}"
        );
    }
}
