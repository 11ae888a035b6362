//! Content: an article, from a topic to its publication.

use airlock_examples::stage::Stage;
use serde_json::{Value, json};

use crate::bad::{Bad, ends_cleanly};
use crate::{as_the_readme_says, ends, staged};

fn published(stage: &Stage) -> Vec<Value> {
    let came = stage.services.came();
    let came = came.iter().filter(|came| came.path == "/v1/articles");
    came.map(|came| serde_json::from_str(&came.body).expect("JSON"))
        .collect()
}

#[test]
fn content() {
    let stage = staged("content");
    as_the_readme_says(&stage);
    assert!(published(&stage).is_empty(), "before a person said so");
    let run = stage.latest("workflow").expect("the run");
    let question = stage.any_question().expect("a question");
    assert!(
        question["text"].to_string().contains("articles/send"),
        "{question:#}"
    );
    let article = &question["payload"]["json"];
    assert_eq!(
        article["title"],
        "How tide tables are made: a year of the sea, added up"
    );
    stage.decide(&question, "approve").expect("approved");
    run.follow().expect("it goes on");
    ends(&run, "done", "true");
    let sent = published(&stage);
    assert_eq!(sent, std::slice::from_ref(article));
    let came = stage.services.came();
    let came = came
        .iter()
        .find(|came| came.path == "/v1/articles")
        .expect("it came");
    let key = came.headers.iter().find(|(name, _)| name == "x-api-key");
    assert_eq!(
        key.map(|(_, key)| &**key),
        Some("key-3c90-of-the-publisher")
    );
    // The first draft named a source that was not researched: it was told.
    let asked = stage.models.seen();
    assert!(
        asked[6].text.contains("elsewhere.example"),
        "{}",
        asked[6].text
    );

    // A person says no: nothing is published.
    stage.plays_script("script.json").expect("the script");
    let input = json!({ "topic": "How tide tables are made" });
    let run = stage.work("content.yaml", &input).expect("a run");
    let question = stage.any_question().expect("a question");
    stage.decide(&question, "deny").expect("denied");
    run.follow().expect("it goes on");
    ends(&run, "denied", "");
    assert!(published(&stage).is_empty());

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
        stage.work("content.yaml", &input).expect("a run")
    });
    assert!(published(&stage).is_empty());
}
