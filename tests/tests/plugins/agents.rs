//! The agents that ship, with the tools they call, each installed and granted as
//! its README says.

use std::fs;

use airlock_tests::runs::Desk;
use serde_json::{Value, json};

use crate::stage::Stage;

/// An agent with its tools.
fn staged(agent: &'static str, tools: &[&str]) -> (Stage, Desk) {
    let stage = Stage::new(agent);
    let mut policy = stage.least_grants();
    for tool in tools {
        stage.add(tool);
        policy += &stage.least_grants_of(tool);
    }
    stage.apply(&policy.replace("/v1/contracts\"", "/v1/contracts/*\""));
    let desk = Desk::new(stage.server()).expect("an approver");
    (stage, desk)
}

fn reconcile() -> (Stage, Desk, Value) {
    let (stage, desk) = staged("reconcile", &["files", "fetch", "table", "report"]);
    let input = json!({
        "invoices": "/invoices",
        "contracts": format!("{}/v1/contracts", stage.service),
        "secret_headers": { "x-api-key": "contracts-key" },
        "report": "/out/report.html",
    });
    (stage, desk, input)
}

/// Whether a question is about a call of this tool.
fn is_about(question: &Value, tool: &str) -> bool {
    let text = question["text"].as_str().unwrap_or_default();
    text.contains(&format!("`{tool}`"))
}

#[test]
fn reconcile_finishes_what_can_be_read_and_leaves_the_rest_to_a_person() {
    let (stage, desk, input) = reconcile();
    let folder = stage.path("invoices");
    fs::write(folder.join("2026-09.csv"), "invoice,total\nA,1,2\n").expect("a broken one");
    fs::write(folder.join("scan.pdf"), [0xff, 0xd8]).expect("another");
    let run = desk.start("reconcile", &input).expect("started");

    // The two files are asked about while the rest goes on, up to the write.
    let asked = desk.asked(&run, 3).expect("questions");
    assert!(!stage.path("reports/report.html").exists());
    let of = |part: &str| {
        let is = |question: &&Value| {
            question["payload"]["path"]
                .as_str()
                .unwrap_or("")
                .contains(part)
        };
        asked
            .iter()
            .find(is)
            .unwrap_or_else(|| panic!("{asked:#?}"))
    };
    let write = asked
        .iter()
        .find(|question| is_about(question, "files/write"));
    let write = write.unwrap_or_else(|| panic!("{asked:#?}"));
    let page = write["payload"]["content"].as_str().expect("the page");
    assert!(
        page.contains("Not read") && page.contains("2026-09.csv"),
        "{page}"
    );
    desk.decide(write, "approve").expect("approved");
    desk.decide(of("scan.pdf"), "leave out").expect("decided");
    // Somebody puts a good one in its place.
    let good = fs::read_to_string(folder.join("2026-03.csv")).expect("a good one");
    let line = good
        .lines()
        .nth(1)
        .expect("a line")
        .replace("INV-5001", "INV-9001");
    let header = good.lines().next().expect("a header");
    fs::write(folder.join("2026-09.csv"), format!("{header}\n{line}\n")).expect("repaired");
    desk.decide(of("2026-09.csv"), "read again")
        .expect("decided");

    let again = desk.asked(&run, 1).expect("the second write");
    assert!(is_about(&again[0], "files/write"), "{again:#?}");
    desk.decide(&again[0], "approve").expect("approved");
    let end = desk.end(&run).expect("an end");
    assert_eq!(end["state"], "succeeded", "{end}");
    let output: Value =
        serde_json::from_str(end["output"].as_str().expect("output")).expect("JSON");
    let escalated = output["escalated"].as_array().expect("a list");
    assert_eq!(
        (
            &output["files"],
            &output["lines"],
            &output["disagree"],
            &output["twice"]
        ),
        (&json!(7), &json!(351), &json!(24), &json!(2)),
        "{output:#}"
    );
    assert_eq!(escalated.len(), 1, "{output:#}");
    assert_eq!(escalated[0]["path"], "/invoices/scan.pdf");
    assert_eq!(escalated[0]["decision"], "leave out");
    let report = fs::read_to_string(stage.path("reports/report.html")).expect("the report");
    assert!(
        report.contains("scan.pdf") && !report.contains("2026-09.csv"),
        "{report}"
    );
}

#[test]
fn reconcile_changes_nothing_when_a_person_says_no() {
    let (stage, desk, input) = reconcile();
    let run = desk.start("reconcile", &input).expect("started");
    let asked = desk.asked(&run, 1).expect("a question");
    desk.decide(&asked[0], "deny").expect("denied");
    let end = desk.end(&run).expect("an end");
    assert_eq!(end["state"], "succeeded", "{end}");
    let output: Value =
        serde_json::from_str(end["output"].as_str().expect("output")).expect("JSON");
    assert_eq!(output["report"], Value::Null);
    assert!(
        output["not_written"]
            .as_str()
            .expect("a reason")
            .contains("a person said no")
    );
    assert!(!stage.path("reports/report.html").exists());
}

#[test]
fn reconcile_ends_where_it_is_denied_or_told_nonsense() {
    let (stage, desk, mut input) = reconcile();
    input["contracts"] = json!("http://127.0.0.1:9/elsewhere");
    let run = desk.start("reconcile", &input).expect("started");
    let end = desk.end(&run).expect("an end");
    assert_eq!(
        (&end["state"], &end["code"]),
        (&json!("failed"), &json!("denied")),
        "{end}"
    );

    let run = desk
        .start("reconcile", &json!({ "invoices": "/invoices" }))
        .expect("started");
    let end = desk.end(&run).expect("an end");
    assert_eq!(end["code"], "invalid-input", "{end}");
    assert!(!stage.path("reports/report.html").exists());
}
