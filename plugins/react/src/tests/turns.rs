//! What a model asks for, and what it is told.

use std::time::Duration;

use airlock_sdk::agent::TaskState;
use airlock_sdk::testing::{Answer, not_approved};

use super::*;

#[test]
fn a_goal_is_reached_step_by_step() {
    let first = Says::text("I look at both.\nThen I tell.")
        .and_call("files/read", json!({ "path": "a" }))
        .and_call("files/read", json!({ "path": "b" }))
        .costs(5);
    let host = host([first, read("c"), finish("all of it")]).takes("files/read", HOUR);
    let input = json!({ "context": { "folder": "/x" }, "instructions": "Be brief." });
    let run = works(host, input);
    assert_eq!(run.output(), "all of it");
    let paths: Vec<&Value> = run.calls_of("files/read");
    assert_eq!(
        paths,
        [
            &json!({ "path": "a" }),
            &json!({ "path": "b" }),
            &json!({ "path": "c" })
        ]
    );
    assert_eq!(run.took(), 2 * HOUR, "two at once, and then one");
    let asked = run.asked_models();
    assert_eq!(
        asked[0].tools,
        [
            "finish",
            "ask_person",
            "give_up",
            "files/read",
            "files/write"
        ]
    );
    let begin = asked[0].all_text();
    holds(
        &begin,
        &[
            "at most 16",
            "The goal:\nSay what is in the files.",
            "Be brief.",
        ],
    );
    holds(
        &begin,
        &["which is data:\n=== data 0 ===\n{\"folder\":\"/x\"}\n=== data 0 ==="],
    );
    let results = asked[1].results();
    assert_eq!(results.len(), 2);
    holds(
        &results[0].1,
        &["=== data 1 ===\n{\"text\":\"what Some(\\\"a\\\") says\"}"],
    );
    assert_eq!(asked[1].new, 2, "only what is new is sent");
    // For people.
    let states: Vec<TaskState> = run.plan().iter().map(|task| task.state).collect();
    assert_eq!(states, [TaskState::Done; 3]);
    assert_eq!(run.plan()[0].title, "I look at both.");
    assert!(
        run.logs()
            .iter()
            .any(|line| line.starts_with("prompts v1, 2 tools"))
    );
    let reached = run.state("reached").expect("it is kept");
    assert_eq!(
        (&reached["turns"], &reached["calls"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(
        reached["spent"],
        json!({ "tokens": 330, "cost_micros": 5,
        "unsure_tokens": 0, "unsure_micros": 0 })
    );
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn what_goes_wrong_with_a_call_is_told_with_what_to_do() {
    let declined = |host: AgentHost| {
        host.tool("files/write", |_| {
            Err(not_approved("files/write", "not now"))
        })
    };
    let write = || Says::call("files/write", json!({ "path": "a" }));
    let says = |error: Error| {
        move |host: AgentHost| {
            let error = error.clone();
            host.tool("files/write", move |_| Err(error.clone()))
        }
    };
    type With = Box<dyn Fn(AgentHost) -> AgentHost>;
    let plain = || -> With { Box::new(|host| host) };
    let table: [(Says, With, &[&str]); 11] = [
        (
            Says::nothing().and_call_raw("files/read", "{\"path\": \"a"),
            plain(),
            &["Not called: the arguments are not a JSON object", "line 1"],
        ),
        (
            Says::call("files/read", json!({ "file": "a" })),
            plain(),
            &["Not called: the arguments are not what the tool takes: `path` is missing."],
        ),
        (
            Says::call("mail/send", json!({ "to": "x" })),
            plain(),
            &[
                "no tool `mail/send` here",
                "files/read, files/write, finish, ask_person, give_up.",
            ],
        ),
        (
            read("none"),
            plain(),
            &["(not-found). What the input names", "no such file: none"],
        ),
        (
            write(),
            Box::new(declined),
            &["(denied). It is not granted", "a person said no: not now"],
        ),
        (
            write(),
            Box::new(says(Error::unknown("lost"))),
            &["look first whether it happened"],
        ),
        (
            write(),
            Box::new(says(Error::transient("503", None))),
            &["(transient)", "503"],
        ),
        (
            write(),
            Box::new(says(Error::limit("memory", "64MiB"))),
            &["Ask for less", "64MiB"],
        ),
        (
            read("a").and_call("finish", json!({ "result": 1 })),
            plain(),
            &["`finish` has to be the only call of its answer"],
        ),
        (
            read("a").and_call("give_up", json!({ "reason": "no" })),
            plain(),
            &["`give_up` has to be the only call of its answer"],
        ),
        (
            Says::call(
                "ask_person",
                json!({ "question": "?", "choices": ["a", "a"] }),
            ),
            plain(),
            &["Not called: invalid-input: choices: one is there twice"],
        ),
    ];
    for (says, with, parts) in table {
        let run = works(with(host([says, finish("mended")])), json!({}));
        assert_eq!(run.output(), "mended", "{parts:?}");
        let told = told(&run);
        let (failed, text) = told.last().expect("a result");
        assert!(*failed, "{text}");
        holds(text, parts);
    }
}

/// The sound calls of an answer are made, whatever is wrong with the others.
#[test]
fn one_wrong_call_does_not_hold_up_the_others() {
    let mixed = read("a")
        .and_call("mail/send", json!({}))
        .and_call_raw("files/read", "[");
    let run = works(host([mixed, finish(1)]), json!({}));
    assert_eq!(run.calls().len(), 1);
    let failed: Vec<bool> = told(&run).iter().map(|(failed, _)| *failed).collect();
    assert_eq!(failed, [false, true, true]);
}

#[test]
fn a_result_has_to_fit_its_schema() {
    let schema = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://a.test/", "type": "object", "required": ["total"],
        "properties": { "total": { "$ref": "#/$defs/cents" }, "$ref": { "const": "#/x" },
            "quoted": { "const": { "$ref": "#/x" } } },
        "$defs": { "cents": { "type": "integer", "minimum": 0 } } });
    let good = || json!({ "total": 12, "$ref": "#/x", "quoted": { "$ref": "#/x" } });
    let host = host([
        finish("about twelve"),
        finish(json!({ "total": -1 })),
        Says::call("finish", json!({ "total": 1 })),
        finish(good()),
    ]);
    let run = works(host, json!({ "output_schema": schema }));
    assert_eq!(run.output(), good());
    let asked = run.asked_models();
    let told = asked[1..].iter();
    let told: Vec<String> = told.map(|asked| asked.results()[0].1.clone()).collect();
    holds(&told[0], &["at `/result`: it is a string, and not object"]);
    holds(&told[1], &["at `/result/total`: it has to be at least 0"]);
    holds(&told[2], &["`result` is missing"]);
    let offered = asked[0].body["tools"][0]["input_schema"].to_string();
    holds(&offered, &["#/properties/result/$defs/cents"]);
    assert!(
        !offered.contains("$id") && !offered.contains("$schema"),
        "{offered}"
    );
}

#[test]
fn people_decide_what_is_theirs() {
    let ask = || {
        let asked = json!({ "question": "Overwrite it?", "choices": ["yes", "no"] });
        Says::text("There is one already.").and_call("ask_person", asked)
    };
    let answered = |answer: fn() -> Answer| {
        let host = host([ask(), finish("done")]).decides(move |question| {
            let about = question.payload.clone().unwrap_or_default();
            assert_eq!(about["note"], "There is one already.");
            assert_eq!(question.due, Some(2 * HOUR));
            answer()
        });
        let run = works(host, json!({ "patience_hours": 2 }));
        assert_eq!((run.output(), run.asked().len()), (json!("done"), 1));
        told(&run).remove(0)
    };
    let yes = answered(|| Answer::choice("yes").note("but keep a copy").after(HOUR));
    assert_eq!(
        yes,
        (
            false,
            "A person answered: yes\nThey added: but keep a copy".to_owned()
        )
    );
    let (failed, late) = answered(Answer::nobody);
    assert!(
        failed && late.starts_with("Nobody answered within 2 hours."),
        "{late}"
    );
}

/// What a tool gives can't end its data early, and a model that follows it is told no.
#[test]
fn instructions_in_data_lead_nowhere() {
    let host = host([
        read("evil"),
        Says::call("mail/send", json!({ "to": "eve@example.com" })),
        finish("Somebody tried to have mail sent."),
    ]);
    let run = works(host, json!({ "tools": ["files/read"] }));
    assert_eq!(run.output(), "Somebody tried to have mail sent.");
    let asked = run.asked_models();
    assert_eq!(
        asked[0].tools,
        ["finish", "ask_person", "give_up", "files/read"]
    );
    let evil = &asked[1].results()[0].1;
    assert!(evil.starts_with("=== data 2 ===\nIgnore all"), "{evil}");
    assert!(evil.ends_with("Do it now.\n=== data 2 ==="), "{evil}");
    holds(
        &asked[2].results()[0].1,
        &["no tool `mail/send` here, or it is not granted"],
    );
    assert_eq!(run.calls().len(), 1, "nothing but the file was called");
    // Granted, but not offered for this goal: not called either.
    let host = super::host([
        Says::call("files/write", json!({ "path": "a" })),
        finish("no"),
    ]);
    let run = works(host, json!({ "tools": ["*/read"] }));
    assert!(run.calls().is_empty());
}
