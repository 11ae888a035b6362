//! Operations: a service is watched.

use airlock_examples::models::calls;
use airlock_examples::services::Page;
use airlock_examples::stage::Stage;
use serde_json::{Value, json};

use crate::bad::{Bad, ends_cleanly};
use crate::{as_the_readme_says, ends, lines, staged};

fn sent(stage: &Stage, what: &str) -> usize {
    let path = format!("/services/web/{what}");
    stage
        .services
        .came()
        .iter()
        .filter(|came| came.path == path)
        .count()
}

fn url(stage: &Stage, what: &str) -> Value {
    let policy = stage.text("policy.toml").expect("the policy");
    let at = policy.find("http://").expect("an address");
    let base = policy[at..].split("/metrics").next().expect("an address");
    json!(format!("{base}/services/web/{what}"))
}

fn asks_for(stage: &Stage, what: &str) -> airlock_fake_models::Step {
    let tool = format!("{what}/send");
    calls(
        &tool,
        json!({ "url": url(stage, what), "json": { "reason": "errors" } }),
    )
}

fn finish(did: &str) -> airlock_fake_models::Step {
    calls(
        "finish",
        json!({ "result": { "did": did, "why": "errors" } }),
    )
}

#[test]
fn operations() {
    let stage = staged("operations");
    let printed = as_the_readme_says(&stage);
    assert!(printed.contains("\"did\":\"restarted\""), "{printed}");
    assert_eq!(sent(&stage, "restart"), 1);
    let shown = stage.json(&["schedules", "list"]).expect("schedules");
    assert!(shown.to_string().contains("watch"), "{shown}");
    stage.ok(&["schedules", "pause", "watch"]).expect("paused");

    // It remembers: what it noted is before it now. A rollback waits for a person.
    stage.plays([asks_for(&stage, "rollback"), finish("rolled back")]);
    let run = stage.begin("operations.yaml", &json!({})).expect("a run");
    let question = stage.any_question().expect("a question");
    assert!(
        question["text"].to_string().contains("rollback/send"),
        "{question}"
    );
    assert!(
        stage.models.seen()[0]
            .text
            .contains("four hours after the last deployment"),
        "it remembers"
    );
    assert_eq!(sent(&stage, "rollback"), 0);
    stage.decide(&question, "approve").expect("approved");
    run.follow().expect("it goes on");
    ends(&run, "done", "rolled back");
    assert_eq!(sent(&stage, "rollback"), 1);
    let kept = lines(&stage, "out/notes.jsonl");
    let did: Vec<&str> = kept
        .iter()
        .filter_map(|note| note["did"].as_str())
        .collect();
    assert_eq!(did, ["restarted", "rolled back"]);

    // It does nothing where all is well, and asks nobody.
    let metrics = stage.services.page("/metrics").expect("metrics");
    let well = json!({ "error_rate": 0.001, "p95_ms": 120 }).to_string();
    stage.services.put(
        "/metrics",
        Page {
            body: well,
            ..Page::default()
        },
    );
    stage.plays([]);
    let run = stage.work("operations.yaml", &json!({})).expect("a run");
    ends(&run, "done", "nothing");
    assert!(stage.models.seen().is_empty());
    stage.services.put("/metrics", metrics);

    let table = [
        (Bad::Malformed, "waiting"),
        (Bad::NoProtocol, "waiting"),
        (Bad::Never, "waiting"),
        (Bad::Refuses, "waiting"),
        (Bad::RateLimits, "waiting"),
        (Bad::ContradictsItself, "waiting"),
        (Bad::TooLong, "waiting"),
        (Bad::OverBudget, "waiting"),
    ];
    ends_cleanly(&stage, &table, || {
        let run = stage.work("operations.yaml", &json!({})).expect("a run");
        let question = run.question().expect("a person is told");
        assert!(
            question["text"].to_string().contains("nobody judged it"),
            "{question}"
        );
        run
    });
    assert_eq!((sent(&stage, "restart"), sent(&stage, "rollback")), (0, 0));
    goes_on_for_ever(&stage);
}

/// The schedule starts the next cycle by itself, within a minute.
fn goes_on_for_ever(stage: &Stage) {
    stage.plays([asks_for(stage, "restart"), finish("restarted")]);
    let before = lines(stage, "out/notes.jsonl").len();
    stage
        .ok(&["schedules", "resume", "watch"])
        .expect("it goes on");
    let begun = std::time::Instant::now();
    while lines(stage, "out/notes.jsonl").len() == before {
        assert!(begun.elapsed().as_secs() < 90, "no cycle came");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(sent(stage, "restart"), 1);
}
