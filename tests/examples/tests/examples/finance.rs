//! Finance: invoices against contracts.

use std::collections::BTreeMap;

use airlock_examples::stage::Stage;
use serde_json::{Value, json};

use crate::bad::{Bad, ends_cleanly};
use crate::{as_the_readme_says, ends, staged};

const SMALL: [&str; 2] = ["INV-5066", "INV-5101"];
const LARGE: [&str; 3] = ["INV-5015", "INV-5016", "INV-5087"];

/// What accounting was told, by invoice.
fn held(stage: &Stage) -> Vec<String> {
    let came = stage.services.came();
    let came = came.iter().filter(|came| came.path == "/v1/holds");
    let body = |body: &str| -> Value { serde_json::from_str(body).expect("JSON") };
    let mut held: Vec<String> = came
        .map(|came| {
            body(&came.body)["invoice"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    held.sort();
    held
}

/// The questions of a run by the invoice that they are about.
fn asked(run: &airlock_examples::runs::Run<'_>) -> BTreeMap<String, Value> {
    let questions = run.asked(5).expect("questions");
    let of = |question: Value| {
        let invoice = question["payload"]["json"]["invoice"].as_str();
        (invoice.expect("an invoice").to_owned(), question)
    };
    questions.into_iter().map(of).collect()
}

#[test]
fn finance() {
    let stage = staged("finance");
    as_the_readme_says(&stage);
    let run = stage.latest("workflow").expect("the run");
    let questions = asked(&run);
    let mut all = [&SMALL[..], &LARGE[..]].concat();
    all.sort_unstable();
    assert_eq!(
        questions.keys().map(String::as_str).collect::<Vec<_>>(),
        all
    );
    let why = &questions["INV-5066"]["payload"]["json"]["why"];
    assert_eq!(
        why, "83 pieces, and C-116 allows 60.",
        "after they looked again"
    );
    assert!(held(&stage).is_empty());

    // The team's are an approver's to decide, the board's an administrator's.
    for invoice in LARGE {
        let refused = stage.decide_as("approver", &questions[invoice], "approve");
        let refused = refused.expect_err("not an approver's");
        assert!(format!("{refused:#}").contains("code: 3"), "{refused:#}");
    }
    for invoice in SMALL {
        stage
            .decide_as("approver", &questions[invoice], "approve")
            .expect("an approver's");
    }
    for (invoice, choice) in LARGE.iter().zip(["approve", "deny", "approve"]) {
        stage
            .decide_as("admin", &questions[*invoice], choice)
            .expect("an administrator's");
    }
    run.follow().expect("it goes on");
    ends(&run, "done", "INV-5087");
    assert_eq!(
        held(&stage),
        ["INV-5015", "INV-5066", "INV-5087", "INV-5101"]
    );

    // Without a model nothing is explained, and all of it goes before people.
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
        let run = stage.work("finance.yaml", &json!({})).expect("a run");
        let questions = asked(&run);
        assert_eq!(questions.len(), 5);
        let why = questions
            .values()
            .map(|question| &question["payload"]["json"]["why"]);
        assert!(why.into_iter().all(|why| why == ""));
        run
    });
    assert!(held(&stage).is_empty());
}
