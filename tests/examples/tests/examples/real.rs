//! The examples with a real model, which `AIRLOCK_TEST_MODEL_URL` names (the address of
//! an OpenAI-compatible server, up to `/v1`), with `AIRLOCK_TEST_MODEL` its name there and
//! `AIRLOCK_TEST_MODEL_KEY` its key, where it asks for one. Whatever it says, also as a
//! small local model says it: each run ends done, escalated, out of budget or denied, or
//! waits for a person; none hangs, and nothing crashes.

use std::time::{Duration, Instant};

use airlock_examples::stage::{RealModel, Stage};
use serde_json::{Value, json};

use crate::file;

/// How long one example may take.
const BOUND: Duration = Duration::from_secs(900);

fn inputs(stage: &Stage, example: &str) -> Value {
    match example {
        "support" => json!({ "ticket": file(stage, "ticket.json") }),
        "content" => json!({ "topic": "How tide tables are made" }),
        _ => json!({}),
    }
}

fn ends(example: &str, model: &RealModel) {
    let stage = Stage::open_with(example, Some(model), &|_| {}).expect("the example starts");
    stage.set_up().expect("its policy is in force");
    let workflow = format!("{example}.yaml");
    let run = stage
        .begin(&workflow, &inputs(&stage, example))
        .expect("a run");
    let begun = Instant::now();
    loop {
        let end = run.end().expect("the server answers");
        let waits = stage.questions().expect("the server answers");
        if !matches!(&*end.state, "running" | "waiting") || !waits.is_empty() {
            let word = if waits.is_empty() {
                end.word()
            } else {
                "waiting"
            };
            println!(
                "{example}: {word} after {:?}: {}",
                begun.elapsed(),
                end.about
            );
            let clean = ["done", "escalated", "limit", "denied", "waiting"];
            assert!(clean.contains(&word), "{example}: {end:#?}");
            return;
        }
        assert!(
            begun.elapsed() < BOUND,
            "{example} hangs: {:#}",
            run.show().expect("a run")
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_real_model_ends_each_example() {
    let Some(model) = RealModel::named() else {
        return;
    };
    for example in [
        "support",
        "code",
        "security",
        "operations",
        "content",
        "finance",
    ] {
        ends(example, &model);
    }
}
