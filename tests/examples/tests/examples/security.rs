//! Security: the weekly report.

use std::fs;

use airlock_examples::models::says;
use airlock_examples::root;
use airlock_examples::services::Page;
use airlock_examples::stage::Stage;
use serde_json::{Value, json};

use crate::bad::{Bad, ends_cleanly};
use crate::{as_the_readme_says, staged};

fn summary(text: &str) -> airlock_fake_models::Step {
    says(json!({ "summary": text }))
}

fn report(stage: &Stage) -> (Value, String) {
    let run = stage.work("security.yaml", &json!({})).expect("a run");
    let output = run.output().expect("an output");
    (output, stage.text("out/report.md").expect("a report"))
}

const NONE: &str = "There is no summary";

#[test]
fn security() {
    let stage = staged("security");
    let printed = as_the_readme_says(&stage);
    assert!(
        printed.contains("RUSTSEC-2021-0003 in smallvec"),
        "{printed}"
    );
    let written = stage.text("out/report.md").expect("a report");
    assert!(!written.contains("RUSTSEC-2099-0001"), "{written}");
    assert!(
        written.contains("| critical | RUSTSEC-2021-0079 | hyper | 0.14.9 |"),
        "{written}"
    );

    // A claim that the data does not bear out, in whatever spelling, is caught.
    for (claim, id) in [
        ("RUSTSEC-2099-0001 is bad.", "RUSTSEC-2099-0001"),
        ("rustsec-2099-0001 is bad.", "RUSTSEC-2099-0001"),
        // It exists, and does not apply to these versions.
        ("See RUSTSEC-2016-0002.", "RUSTSEC-2016-0002"),
        ("CVE-2021-1 is bad.", "CVE-2021-1"),
        (
            "RUSTSEC-2021-0079, and also RUSTSEC-2099-0002",
            "RUSTSEC-2099-0002",
        ),
    ] {
        stage.plays([summary(claim), summary(claim)]);
        let (output, written) = report(&stage);
        assert_eq!(output["unfounded"], json!([id]), "{claim}");
        assert!(
            output["summarised"] == false && written.contains(NONE),
            "{claim}: {written}"
        );
        assert!(stage.models.seen()[1].text.contains(id), "it was told");
    }
    stage.plays([
        summary("RUSTSEC-2099-0001"),
        summary("All is to be updated."),
    ]);
    assert_eq!(report(&stage).0["summarised"], true);
    real(&stage);

    let table = [
        (Bad::Malformed, "done"),
        (Bad::NoProtocol, "done"),
        (Bad::Never, "done"),
        (Bad::Refuses, "done"),
        (Bad::RateLimits, "done"),
        (Bad::ContradictsItself, "done"),
        (Bad::TooLong, "done"),
        (Bad::OverBudget, "done"),
    ];
    ends_cleanly(&stage, &table, || {
        fs::remove_file(stage.path("out/report.md")).expect("there was one");
        let run = stage.work("security.yaml", &json!({})).expect("a run");
        assert!(
            stage
                .text("out/report.md")
                .expect("a report")
                .contains(NONE)
        );
        run
    });
}

/// The whole database, where it is beside the repository.
fn real(stage: &Stage) {
    let Ok(feed) = fs::read_to_string(root().join("../shared/data/rustsec-advisories.jsonl"))
    else {
        println!("skipped: no advisories beside the repository");
        return;
    };
    let page = stage.services.page("/advisories.jsonl").expect("the feed");
    let whole = Page {
        body: feed,
        ..page.clone()
    };
    stage.services.put("/advisories.jsonl", whole);
    stage.plays([summary("RUSTSEC-2021-0079 first.")]);
    let (output, written) = report(stage);
    assert!(
        output["findings"].as_u64() > Some(4) && output["summarised"] == true,
        "{output}"
    );
    assert!(written.contains("RUSTSEC-2021-0079 first."), "{written}");
    stage.services.put("/advisories.jsonl", page);
}
