//! The agent over the real `files`, `table` and `report`, on a folder of a test's
//! own; the contracts are the demo's.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use airlock_sdk::agent::TaskState;
use airlock_sdk::prelude::*;
use airlock_sdk::testing::{self, AgentHost, AgentRun, Answer, not_approved};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::work::run;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo");
const BROKEN: &str = "no,table\nat \"all";

/// Two months of the demo's, and a file that can't be read.
fn invoices() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let invoices = folder.path().join("invoices");
    fs::create_dir(&invoices).expect("a folder");
    for name in ["2026-03.csv", "2026-04.csv"] {
        fs::copy(format!("{DEMO}/invoices/{name}"), invoices.join(name)).expect("a copy");
    }
    fs::write(invoices.join("broken.csv"), BROKEN).expect("a file");
    folder
}

fn contracts() -> BTreeMap<String, Value> {
    let text = fs::read_to_string(format!("{DEMO}/contracts.json")).expect("contracts");
    let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let id = |contract: &Value| contract["contract_id"].as_str().map(str::to_owned);
    all.into_iter()
        .filter_map(|contract| Some((id(&contract)?, contract)))
        .collect()
}

fn host() -> AgentHost {
    let contracts = contracts();
    testing::agent()
        .plugin("files", &airlock_plugin_files::PLUGIN)
        .plugin("table", &airlock_plugin_table::PLUGIN)
        .plugin("report", &airlock_plugin_report::PLUGIN)
        .tool("fetch/get", move |input| {
            let id = input["url"].as_str().and_then(|url| url.rsplit('/').next());
            match id.and_then(|id| contracts.get(id)) {
                Some(contract) => Ok(json!({ "json": contract })),
                None => Err(Error::not_found("404")),
            }
        })
}

fn reconcile(host: AgentHost, folder: &Path) -> AgentRun {
    let path = |name: &str| folder.join(name).display().to_string();
    let input = json!({
        "invoices": path("invoices"),
        "contracts": "https://a.test/contracts",
        "report": path("report.html"),
        "patience_hours": 2,
    });
    host.run(run, "reconcile", input)
}

#[test]
fn the_rest_is_finished_whatever_becomes_of_what_cannot_be_read() {
    type Decides = fn() -> Answer;
    let table: [(&str, Decides, Value, u64); 3] = [
        (
            "left out",
            || Answer::choice("leave out").note("old"),
            json!("leave out"),
            0,
        ),
        (
            "read again, later",
            || Answer::choice("read again").after(HOUR),
            Value::Null,
            3,
        ),
        ("nobody answers", Answer::nobody, Value::Null, 2),
    ];
    for (name, decides, decision, hours) in table {
        let folder = invoices();
        let mut asked = 0;
        let host = host().decides(move |question| {
            assert_eq!(question.due, Some(2 * HOUR));
            asked += 1;
            // Once more, and then nobody does.
            match asked {
                1 => decides(),
                _ => Answer::nobody(),
            }
        });
        let run = reconcile(host, folder.path());
        let output = run.output();
        let [escalated] = output["escalated"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
        else {
            panic!("{name}: {output}");
        };
        assert_eq!(escalated["decision"], decision, "{name}");
        assert_eq!(
            (&output["files"], &output["not_written"]),
            (&json!(2), &Value::Null)
        );
        assert!(output["disagree"].as_u64() > Some(0), "{name}: {output}");
        let page = fs::read_to_string(folder.path().join("report.html")).expect("a report");
        assert!(
            page.contains("Not read") && page.contains("broken.csv"),
            "{name}"
        );
        assert_eq!(
            run.took(),
            u32::try_from(hours).map_or(HOUR, |hours| hours * HOUR),
            "{name}"
        );
        let done = run
            .plan()
            .iter()
            .filter(|task| task.state == TaskState::Done);
        assert_eq!(done.count(), 5, "{name}");
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_file_that_was_mended_is_read_again() {
    let folder = invoices();
    let broken = folder.path().join("invoices/broken.csv");
    let host = host().decides(move |_| {
        fs::copy(format!("{DEMO}/invoices/2026-05.csv"), &broken).expect("mended");
        "read again"
    });
    let run = reconcile(host, folder.path());
    let output = run.output();
    assert_eq!(
        (&output["files"], &output["escalated"]),
        (&json!(3), &json!([]))
    );
    assert_eq!(run.asked().len(), 1);
    assert_eq!(run.calls_of("files/write").len(), 2, "a report with it too");
}

#[test]
fn what_fails_ends_the_run_or_is_in_its_result() {
    let refused = || {
        host().tool("files/write", |_| {
            Err(not_approved("files/write", "not now"))
        })
    };
    let folder = invoices();
    let run = reconcile(refused().decides(|_| "leave out"), folder.path());
    let output = run.output();
    assert_eq!(
        (&output["report"], &output["not_written"]),
        (&Value::Null, &json!("a person said no: not now"))
    );
    let gone = host().tool("fetch/get", |_| Err(Error::transient("503", None)));
    let gone = reconcile(gone, folder.path()).error();
    assert_eq!(gone.to_string(), "transient: fetching a contract: 503");
    let cut = host().tool("files/list", |_| Ok(json!({ "entries": [], "cut": true })));
    assert_eq!(reconcile(cut, folder.path()).error().code(), "escalate");
}

/// At most 16 calls are under way, and many files that can't be read are one question.
#[test]
fn many_files_are_one_question() {
    let folder = tempfile::tempdir().expect("a folder");
    let invoices = folder.path().join("invoices");
    fs::create_dir(&invoices).expect("a folder");
    for n in 0..17 {
        fs::write(invoices.join(format!("{n:02}.csv")), BROKEN).expect("a file");
    }
    let run = reconcile(host().decides(|_| "leave out"), folder.path());
    let [asked] = run.asked() else {
        panic!("{:?}", run.asked());
    };
    let files = asked
        .payload
        .as_ref()
        .map(|payload| payload["files"].as_array());
    assert_eq!(files.flatten().map(Vec::len), Some(17));
    let output = run.output();
    let escalated = output["escalated"].as_array().expect("files");
    assert!(
        escalated.iter().all(|file| file["decision"] == "leave out"),
        "{output}"
    );
}
