//! The agent over scripted models, workers and judges.

use std::time::Duration;

use airlock_sdk::agent::TaskState;
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::fill;
use airlock_sdk::testing::{self, AgentHost, AgentRun, Says};
use serde_json::{Value, json};

use crate::prompts;
use crate::work::run;

const HOUR: Duration = Duration::from_secs(3_600);

/// A worker that says what it was given, and fails where its goal says so.
fn host<S: Into<Says>>(says: impl IntoIterator<Item = S>) -> AgentHost {
    testing::agent()
        .says("careful", says)
        .child("react", |goal, input| match goal {
            goal if goal.contains("fail") => Err(Error::escalate("there is no key")),
            goal if goal.contains("long") => Ok(json!("x".repeat(300_000))),
            goal => Ok(json!({ "did": goal, "with": input["context"]["results"] })),
        })
        .takes("react", HOUR)
        .tool("count/lines", |input| Ok(json!({ "lines": input["text"] })))
}

fn works(host: AgentHost, input: Value) -> AgentRun {
    host.run(run, "Tell what is in the files.", input)
}

fn task(id: &str, after: &[&str]) -> Value {
    json!({ "id": id, "goal": format!("do {id}"), "after": after })
}

fn tasks(tasks: impl Into<Vec<Value>>) -> Says {
    Says::json(json!({ "why": "First these.", "tasks": tasks.into() }))
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
fn tasks_are_done_side_by_side_and_after_those_they_need() {
    let plan = [
        task("c", &["a", "b"]),
        task("a", &[]),
        task("b", &[]),
        task("d", &["a"]),
    ];
    let input = json!({ "context": { "folder": "/x" }, "instructions": "Be brief.",
        "worker_input": { "tools": ["files/*"], "instructions": "Be exact." } });
    let run = works(host([tasks(plan), result("all")]), input);
    assert_eq!((run.output(), run.took()), (json!("all"), 2 * HOUR));
    let goals: Vec<&str> = run.children().iter().map(|child| &*child.goal).collect();
    assert_eq!(goals[..2], ["do a", "do b"]);
    let c = run
        .children()
        .iter()
        .find(|child| child.goal == "do c")
        .expect("it was done");
    assert_eq!(
        c.input["context"]["results"]["a"],
        json!({ "did": "do a", "with": {} })
    );
    assert_eq!(c.input["context"]["context"], json!({ "folder": "/x" }));
    assert_eq!(c.input["tools"], json!(["files/*"]));
    assert_eq!(
        c.input["instructions"], "Be exact.",
        "the worker's own come first"
    );
    let asked = run.asked_models();
    assert!(asked.iter().all(|one| one.body["max_tokens"] == 8_192));
    holds(
        &asked[0].all_text(),
        &[
            "You plan how",
            "The goal:\nTell",
            "{\"folder\":\"/x\"}",
            "Be brief.",
        ],
    );
    let told = asked[1].last_text();
    holds(
        &told,
        &[
            "`c`: done\n=== data 1 ===\n{\"did\":\"do c\"",
            "`d`: done",
            "Left: 4 answers",
            "26 tasks",
        ],
    );
    assert!(run.plan().iter().all(|task| task.state == TaskState::Done));
    assert_eq!(run.plan()[0].title, "c: do c");
    // One at a time.
    let plan = [task("a", &[]), task("b", &[])];
    let run = works(host([tasks(plan), result(1)]), json!({ "parallel": 1 }));
    assert_eq!(run.took(), 2 * HOUR);
}

#[test]
fn a_task_may_be_one_call_of_a_tool() {
    let count = json!({ "id": "n", "goal": "count", "after": ["a"], "tool": "count/lines",
        "input": { "text": { "$result": "/a/did" } } });
    let lost = json!({ "id": "m", "goal": "count", "after": ["a"], "tool": "count/lines",
        "input": { "text": [{ "$result": "/a/none" }] } });
    let host = host([tasks([task("a", &[]), count, lost]), result(1)]);
    let run = works(host, json!({ "tools": ["count/lines"] }));
    assert_eq!(run.calls_of("count/lines"), [&json!({ "text": "do a" })]);
    let asked = run.asked_models();
    holds(&asked[0].all_text(), &["=== data 0 ===\ncount/lines: "]);
    let told = asked[1].last_text();
    holds(
        &told,
        &[
            "{\"lines\":\"do a\"}",
            "`m`: failed",
            "the results have no `/a/none`",
        ],
    );
}

#[test]
fn a_failure_leaves_out_what_needs_it_and_the_plan_is_revised() {
    let first = [
        task("fail", &[]),
        task("b", &["fail"]),
        task("c", &["b"]),
        task("d", &[]),
    ];
    let host = host([
        tasks(first),
        tasks([task("again", &["d"])]),
        result("mended"),
    ]);
    let run = works(host, json!({}));
    assert_eq!(run.output(), "mended");
    assert_eq!(run.children().len(), 3);
    let asked = run.asked_models();
    let told = asked[1].last_text();
    holds(
        &told,
        &[
            "`fail`: failed\n=== data 1 ===\nescalate: there is no key",
            "`d`: done",
        ],
    );
    holds(
        &told,
        &["`b`: left out, since this one was not done\n=== data 2 ===\nfail\n"],
    );
    holds(&told, &["`c`: left out"]);
    let told = asked[2].last_text();
    assert!(
        !told.contains("`d`") && told.contains("`again`: done"),
        "only news: {told}"
    );
    let skipped = run
        .plan()
        .iter()
        .filter(|task| task.state == TaskState::Skipped);
    assert_eq!(skipped.count(), 2);
}

#[test]
fn a_plan_that_can_not_be_done_is_told() {
    let with = |id: &str, more: Value| {
        let mut task = task(id, &[]);
        for (name, value) in more.as_object().into_iter().flatten() {
            task[name] = value.clone();
        }
        task
    };
    let many: Vec<Value> = (0..4).map(|n| task(&format!("t{n}"), &[])).collect();
    let both = Says::json(json!({ "tasks": [task("a", &[])], "result": 1 }));
    for (wrong, problem) in [
        (both, "exactly one of `tasks`, `result` and `give_up`"),
        (Says::json(json!({ "why": "Hm." })), "exactly one of"),
        (
            Says::json(json!({ "tasks": [{ "id": "a" }] })),
            "at `/tasks/0`: `goal` is missing",
        ),
        (tasks(many), "at most 3 tasks are left"),
        (tasks([task("a/b", &[])]), "`a/b`: an id is 1 to 40 letters"),
        (
            tasks([task("a", &[]), task("a", &[])]),
            "`a`: there is one with this id already",
        ),
        (
            tasks([task("done", &[])]),
            "`done`: there is one with this id already",
        ),
        (
            tasks([with("a", json!({ "goal": " " }))]),
            "a goal has 1 to 4096 bytes",
        ),
        (
            tasks([task("a", &["x"])]),
            "it is after `x`, which is no new task",
        ),
        (tasks([task("a", &["failed"])]), "it is after `failed`"),
        (
            tasks([task("a", &["b"]), task("b", &["a"])]),
            "wait for one another in a circle",
        ),
        (tasks([task("a", &["a"])]), "in a circle"),
        (
            tasks([with("a", json!({ "tool": "mail/send" }))]),
            "there is no tool `mail/send` for it",
        ),
        (
            tasks([with("a", json!({ "input": {} }))]),
            "it has an input and no tool",
        ),
        (
            tasks([with(
                "a",
                json!({ "tool": "count/lines", "input": { "$result": "/done" } }),
            )]),
            "its input needs `done`: put it in `after`",
        ),
    ] {
        let mut first = task("failed", &[]);
        first["goal"] = json!("fail");
        let host = host([tasks([task("done", &[]), first]), wrong, result("mended")]);
        let run = works(host, json!({ "tools": ["count/lines"], "max_tasks": 5 }));
        assert_eq!(run.output(), "mended", "{problem}");
        holds(&run.asked_models()[2].last_text(), &[problem]);
        assert_eq!(run.children().len(), 2, "{problem}");
    }
}

#[test]
fn a_result_is_judged_until_it_passes() {
    let judge = |verdicts: &'static [&'static str]| {
        let mut verdicts = verdicts.iter();
        let criteria = json!([{ "id": "c", "text": "It is polite." }]);
        let host = host([result("rude"), tasks([task("a", &[])]), result("polite")]);
        let host = host.child("verifier", move |_, input| {
            assert_eq!(input["criteria"][0]["id"], "c");
            match verdicts.next() {
                Some(verdict) => Ok(json!({ "verdict": verdict, "advice": "Say please." })),
                None => Err(Error::transient("overloaded", None)),
            }
        });
        works(
            host,
            json!({ "verifier": "verifier", "criteria": criteria, "max_rounds": 3 }),
        )
    };
    let run = judge(&["fail", "pass"]);
    assert_eq!(run.output(), "polite");
    let asked = run.asked_models();
    holds(&asked[0].all_text(), &["these criteria:\n- It is polite."]);
    holds(
        &asked[1].last_text(),
        &[
            "does not meet all criteria:\n=== data 1 ===",
            "Say please.",
            "Left: 2",
        ],
    );
    let outcomes: Vec<&Value> = run
        .children()
        .iter()
        .map(|child| &child.input["outcome"])
        .collect();
    assert_eq!(outcomes, [&json!("rude"), &Value::Null, &json!("polite")]);
    assert_eq!(judge(&["pass"]).output(), "rude");
    assert_eq!(
        judge(&["unsure", "unsure"]).error().to_string(),
        "limit: rounds (3)"
    );
    let gone = judge(&[]).error().to_string();
    assert_eq!(gone, "transient: judging the result: overloaded");
}

#[test]
fn a_result_has_to_fit_its_schema() {
    let schema = json!({ "type": "object", "required": ["n"], "properties": { "n": { "$ref": "#/$defs/n" } },
        "$defs": { "n": { "type": "integer" } } });
    let host = host([result(json!({ "n": "1" })), result(json!({ "n": 1 }))]);
    let run = works(host, json!({ "output_schema": schema }));
    assert_eq!(run.output(), json!({ "n": 1 }));
    holds(
        &run.asked_models()[1].last_text(),
        &["at `/result/n`: it is a string"],
    );
}

#[test]
fn each_end_says_why_and_keeps_what_was_reached() {
    let give_up = Says::json(json!({ "give_up": "There are no files." }));
    let wrong = || tasks([task("a", &["a"])]);
    let table: [(Vec<Says>, &str); 6] = [
        (
            vec![give_up],
            "escalate: the goal can't be reached: There are no files.",
        ),
        (
            vec![wrong(), wrong(), wrong(), wrong()],
            "escalate: the model's plan stays wrong: - the",
        ),
        (
            vec!["no".into(); 4],
            "escalate: the model's answer stays wrong: the answer has to be",
        ),
        (
            vec![Says::refuses("I won't.")],
            "escalate: the model declined: I won't.",
        ),
        (
            vec![
                tasks([task("a", &[])]),
                Error::limit("model-tokens", "9").into(),
            ],
            "limit: model-tokens (9)",
        ),
        (
            vec![tasks([task("a", &[])]), tasks([task("b", &[])])],
            "limit: rounds (2)",
        ),
    ];
    for (says, expect) in table {
        let run = works(host(says), json!({ "max_rounds": 2 }));
        let error = run.error().to_string();
        assert!(error.starts_with(expect), "{error}");
        let reached = run.state("reached").expect("it is kept");
        assert_eq!(run.records(), std::slice::from_ref(&reached), "{expect}");
        assert_eq!(
            reached["tasks"].as_array().map(Vec::len),
            Some(run.children().len())
        );
    }
}

#[test]
fn what_is_long_is_cut() {
    let long = |id: &str| json!({ "id": id, "goal": format!("long {id}") });
    let all: Vec<Value> = (0..30).map(|n| long(&format!("t{n}"))).collect();
    let run = works(
        host([tasks(all), tasks([task("u", &["t0"])]), result(1)]),
        json!({ "max_tasks": 31 }),
    );
    let told = run.asked_models()[1].last_text();
    assert!(told.len() < 110 << 10, "{}", told.len());
    holds(&told, &["bytes are left out here"]);
    let given = run.children()[30].input["context"]["results"]["t0"]
        .as_str()
        .map(str::len);
    assert!(given.is_some_and(|bytes| bytes < 34 << 10), "{given:?}");
    // What is kept fits in the state.
    let noisy = |n: usize| json!({ "id": format!("{}{n:03}", "t".repeat(37)), "goal": "noise" });
    let noise = (0..200).map(noisy).collect::<Vec<Value>>();
    let host = host([tasks(noise)]).child("react", |_, _| Ok(json!("\"\u{1}".repeat(500))));
    let run = works(host, json!({ "max_tasks": 200, "max_rounds": 1 }));
    assert_eq!(run.error().to_string(), "limit: rounds (1)");
    let kept = run.state("reached").expect("it is kept");
    assert_eq!(kept["tasks"].as_array().map(Vec::len), Some(100));
}

#[test]
fn an_input_is_checked_before_anything_is_asked() {
    let long = "x".repeat(200_000);
    for (input, problem) in [
        (json!({ "max_rounds": 0 }), "max_rounds: 1 to 20"),
        (json!({ "max_tasks": 201 }), "max_tasks: 1 to 200"),
        (json!({ "parallel": 17 }), "parallel: 1 to 16"),
        (
            json!({ "context": long }),
            "context: it has 200002 bytes; at most 131072",
        ),
        (
            json!({ "instructions": long }),
            "instructions: it has 200000 bytes",
        ),
        (
            json!({ "output_schema": 5 }),
            "output_schema: a JSON Schema is an object",
        ),
        (
            json!({ "output_schema": { "const": long } }),
            "output_schema: it has",
        ),
        (
            json!({ "criteria": [{ "text": long }] }),
            "criteria: it has",
        ),
        (
            json!({ "verifier": "verifier" }),
            "verifier: there are no criteria",
        ),
        (
            json!({ "tools": ["mail/send"] }),
            "tools[0]: `mail/send` is none of the granted",
        ),
        (json!({ "tools": vec!["a/b"; 31] }), "tools: at most 30"),
    ] {
        let run = works(host(["never"]), input);
        assert_eq!(run.error().code(), "invalid-input");
        holds(&run.error().to_string(), &[problem]);
        assert!(run.asked_models().is_empty());
    }
    let empty = host(["never"]).run(run, "", json!({}));
    holds(&empty.error().to_string(), &["goal: it is empty"]);
}

#[test]
fn the_texts_are_whole() {
    let places = [
        "goal",
        "instructions",
        "criteria",
        "context",
        "tools",
        "results",
        "left",
        "judgement",
        "rounds",
        "tasks",
        "problems",
    ];
    for (file, text) in prompts::ALL {
        let empty: Vec<(&str, &str)> = places.iter().map(|place| (*place, "")).collect();
        let filled = fill(text, &empty);
        let left = filled.replace("{\"$result\"", "");
        assert!(
            !filled.is_empty() && !left.contains('{'),
            "{file}: {filled}"
        );
    }
}
