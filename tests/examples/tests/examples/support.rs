//! Support: a request for a refund.

use airlock_examples::models::says;
use airlock_examples::stage::Stage;
use serde_json::{Value, json};

use crate::bad::{Bad, ends_cleanly};
use crate::{as_the_readme_says, ends, file, lines, staged};

fn asks(order: &str, amount: Value) -> Value {
    json!({ "kind": "refund", "order": order, "amount": amount })
}

/// What was answered, last.
fn answered(stage: &Stage) -> Option<Value> {
    let came = stage.services.came();
    let mut replies = came.iter().filter(|came| came.path == "/v1/replies");
    let last = replies.next_back()?;
    Some(serde_json::from_str(&last.body).expect("JSON"))
}

#[test]
fn support() {
    let stage = staged("support");
    let printed = as_the_readme_says(&stage);
    assert!(printed.contains("\"decision\":\"refunded\""), "{printed}");
    assert_eq!(stage.services.ledger.refunds("O-1001").len(), 1);
    let answer = answered(&stage).expect("an answer");
    assert_eq!(answer["to"], "ada@example.com");
    assert!(
        answer["text"]
            .as_str()
            .expect("a text")
            .contains("EUR 49.90"),
        "{answer}"
    );
    let asked = stage.models.seen();
    assert!(
        asked
            .iter()
            .all(|seen| !seen.text.contains("ada@example.com")),
        "it is redacted"
    );

    // Outside of the policy a person takes over, and nothing is refunded.
    let ticket = file(&stage, "ticket.json");
    for (order, amount, about) in [
        ("O-1003", json!(null), "95 days ago"),
        ("O-2001", json!(8000), "another customer"),
        ("O-1001", json!(1), "refunded already"),
        ("O-1002", json!(9_000_000), "is left of the order"),
    ] {
        stage.plays([says(asks(order, amount)), says("Hello.")]);
        let run = stage
            .work("support.yaml", &json!({ "ticket": ticket }))
            .expect("a run");
        let decided = lines(&stage, "out/requests.jsonl").pop().expect("a line");
        assert!(
            decided["reason"].to_string().contains(about),
            "{order}: {decided}"
        );
        assert!(stage.services.ledger.refunds(order).len() <= usize::from(order == "O-1001"));
        if order == "O-1001" {
            ends(&run, "done", "declined");
            continue;
        }
        let question = run.question().expect("a question");
        assert!(question["text"].to_string().contains(about), "{question}");
        stage.decide(&question, "taken over").expect("decided");
        run.follow().expect("it goes on");
        ends(&run, "escalated", "");
        assert_eq!(answered(&stage), None, "nothing is answered");
    }
    // Above what is refunded without asking, a person is asked.
    for (decision, refunds) in [("decline", 0), ("refund", 1)] {
        stage.plays([says(asks("O-1002", json!(45_000))), says("Hello.")]);
        let run = stage
            .begin("support.yaml", &json!({ "ticket": ticket }))
            .expect("a run");
        let question = stage.any_question().expect("the child's question");
        assert_eq!(stage.services.ledger.refunds("O-1002").len(), 0);
        stage.decide(&question, decision).expect("decided");
        run.follow().expect("it goes on");
        ends(&run, "done", "");
        assert_eq!(stage.services.ledger.refunds("O-1002").len(), refunds);
    }
    // A model that fails at the end costs the tone.
    stage.plays([says(asks("O-1001", json!(1)))]);
    let run = stage
        .work("support.yaml", &json!({ "ticket": ticket }))
        .expect("a run");
    ends(&run, "done", "declined");
    let answer = answered(&stage).expect("an answer");
    assert!(answer["text"].to_string().contains("O-1001"), "{answer}");

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
    let booked = stage.services.ledger.booked();
    ends_cleanly(&stage, &table, || {
        stage
            .work("support.yaml", &json!({ "ticket": ticket }))
            .expect("a run")
    });
    assert_eq!(stage.services.ledger.booked(), booked);
}
