//! Code: a failing test is mended.

use airlock_examples::models::calls;
use airlock_examples::stage::Stage;
use serde_json::json;

use crate::bad::{Bad, ends_cleanly};
use crate::{as_the_readme_says, ends, staged};

fn finish(patch: &str) -> airlock_fake_models::Step {
    calls(
        "finish",
        json!({ "result": { "patch": patch, "why": "so" } }),
    )
}

#[test]
fn code() {
    let stage = staged("code");
    let before = stage.text("project/slug.js").expect("the source");
    let printed = as_the_readme_says(&stage);
    // The first patch did not pass: the second attempt was told how.
    let asked = stage.models.seen();
    assert_eq!(asked.len(), 4, "{printed}");
    assert!(
        asked[0].text.contains("more words: got"),
        "the trace is read: {}",
        asked[0].text
    );
    assert!(
        asked[1].text.contains("slug.test.js"),
        "the code is searched"
    );
    assert!(
        asked[2]
            .text
            .contains("what is between words is one dash: got"),
        "{}",
        asked[2].text
    );
    let question = stage.any_question().expect("a question");
    let patch = question["payload"]["patch"].as_str().expect("the diff");
    assert!(
        patch.contains("-  return title.trim()") && patch.contains("+  return title.trim()"),
        "{patch}"
    );
    assert_eq!(
        stage.text("project/slug.js").expect("the source"),
        before,
        "nothing is written yet"
    );
    stage.decide(&question, "write").expect("decided");
    let run = stage.latest("workflow").expect("the run");
    run.follow().expect("it goes on");
    assert_eq!(run.output().expect("an output")["written"], true);
    let after = stage.text("project/slug.js").expect("the source");
    assert!(after.contains("[^a-z0-9]+"), "{after}");

    // All is well: nobody is asked.
    stage.plays([]);
    let run = stage.work("code.yaml", &json!({})).expect("a run");
    assert_eq!(run.output().expect("an output")["was_failing"], false);
    assert!(stage.models.seen().is_empty());

    std::fs::write(stage.path("project/slug.js"), &before).expect("as it was");
    patches_that_do_nothing(&stage);
    let table = [
        (Bad::Malformed, "escalated"),
        (Bad::NoProtocol, "escalated"),
        (Bad::Never, "escalated"),
        (Bad::Refuses, "escalated"),
        (Bad::RateLimits, "escalated"),
        (Bad::ContradictsItself, "escalated"),
        (Bad::TooLong, "escalated"),
        (Bad::OverBudget, "escalated"),
    ];
    ends_cleanly(&stage, &table, || {
        stage.work("code.yaml", &json!({})).expect("a run")
    });
    assert_eq!(stage.text("project/slug.js").expect("the source"), before);
}

/// Patches that don't fit, or with which the tests never end: a person takes over.
fn patches_that_do_nothing(stage: &Stage) {
    let endless = "--- a\n+++ b\n@@ -1,2 +1,3 @@\n // Makes the part of an address out of a title.\n+for (;;) {}\n function slug(title) {\n";
    for (first, second, about) in [
        (
            "no diff",
            "--- a\n+++ b\n@@ -1,1 +1,1 @@\n-x\n+y\n",
            &["the patch does not fit"][..],
        ),
        // On a busy machine its time is over first.
        ("no diff", endless, &["cpu (", "wall ("]),
    ] {
        stage.plays([finish(first), finish(second)]);
        let run = stage.work("code.yaml", &json!({})).expect("a run");
        let question = run.question().expect("a question");
        let text = question["text"].to_string();
        assert!(
            text.contains("still fail") && about.iter().any(|about| text.contains(about)),
            "{question:#}"
        );
        stage.decide(&question, "taken over").expect("decided");
        run.follow().expect("it goes on");
        ends(&run, "escalated", "");
    }
}
