//! Each example, run as its README says, by the real binary over its own files: to its
//! end with the model as scripted, and to a clean end with models that are bad.

mod bad;
mod code;
mod content;
mod finance;
mod operations;
mod real;
mod security;
mod support;

use airlock_examples::runs::Run;
use airlock_examples::stage::Stage;
use serde_json::Value;

/// An example whose policy is in force.
fn staged(example: &str) -> Stage {
    let stage = Stage::open(example).expect("the example starts");
    stage.set_up().expect("its policy is in force");
    stage
}

/// Runs the commands of the README's last block; what they printed.
fn as_the_readme_says(stage: &Stage) -> String {
    let blocks = stage.blocks().expect("commands");
    let ran = stage.shell(&blocks[2]).expect("a shell");
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert_eq!(
        stage.models.left(),
        0,
        "the script is not used up: {}",
        ran.out
    );
    ran.out
}

/// A JSON file of the example.
fn file(stage: &Stage, name: &str) -> Value {
    let text = stage.text(name).expect("a file");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The lines of a file of JSON lines.
fn lines(stage: &Stage, name: &str) -> Vec<Value> {
    let text = stage.text(name).expect("a file");
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON lines")
}

#[track_caller]
fn ends(run: &Run<'_>, word: &str, about: &str) {
    let end = run.end().expect("an end");
    assert!(
        end.word() == word && end.about.contains(about),
        "not {word} with {about:?}: {end:#?}"
    );
}
