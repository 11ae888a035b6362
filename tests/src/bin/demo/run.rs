//! The job as a durable run: started, killed in the middle, started again,
//! approved, and held against what the outside saw of it.

use std::collections::BTreeSet;

use airlock::output::{cell, table};
use airlock_tests::runs::Desk;
use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Stage;
use crate::page::Page;

/// Contracts that are in the journal when the server is killed.
const FETCHED_AT_KILL: usize = 6;

pub(crate) fn reconcile(stage: &mut Stage, page: &mut Page) -> Result<()> {
    let desk = Desk::new(stage.server()?)?;
    page.step("Start the agent as a run: POST /v1/runs");
    let contracts = format!("{}/v1/contracts", stage.contracts.base());
    let input = json!({
        "invoices": "/invoices", "contracts": contracts, "report": "/out/report.html",
    });
    let run = desk.start("reconcile", &input)?;
    page.line(&format!(
        "{run} works: every request and every answer goes into its journal"
    ));

    let before = fetched_so_far(&desk, &run)?;
    page.step("Kill the server in the middle (SIGKILL), and start it again:");
    let pid = stage.crash()?;
    page.line(&format!(
        "process {pid} is dead; {} contracts had been fetched, others were under way",
        before.len()
    ));
    let desk = Desk::over(stage.server()?, &desk.token);
    let asked = desk.asked(&run, 1)?;
    page.line("the run went on from its journal, by itself, up to a question for a person");

    page.step("A person decides: GET and POST /v1/approvals");
    page.line(&cell(&asked[0], "text"));
    page.line("   approve: once, and for this very call with this very input");
    desk.decide(&asked[0], "approve")?;
    let end = desk.end(&run)?;
    show_result(&desk, &run, &end, page)?;
    check_effects(stage, &desk, &run, &before, page)
}

/// Waits for the kill's moment; gives the contracts that are in the journal.
fn fetched_so_far(desk: &Desk, run: &str) -> Result<BTreeSet<String>> {
    desk.until(run, |_| {
        let fetched = fetched(&desk.events(run)?);
        Ok((fetched.len() >= FETCHED_AT_KILL).then_some(fetched))
    })
}

/// The contracts whose answers are among these records.
fn fetched(events: &[Value]) -> BTreeSet<String> {
    let answered = |id: &Value| {
        let mut answers = events.iter().filter(|event| event["event"] == "answered");
        answers.any(|event| event["id"] == *id)
    };
    let calls = events
        .iter()
        .filter(|event| event["request"]["tool"] == "fetch/get");
    let done = calls.filter(|call| answered(&call["id"]));
    let id = |call: &Value| {
        let input: Value = serde_json::from_str(call["request"]["input"].as_str()?).ok()?;
        let (_, id) = input["url"].as_str()?.rsplit_once('/')?;
        Some(id.to_owned())
    };
    done.filter_map(id).collect()
}

/// The demo ends with an error when the result is not right: the input has 24
/// lines that disagree and 2 invoices booked twice.
fn show_result(desk: &Desk, run: &str, end: &Value, page: &mut Page) -> Result<()> {
    page.step("What came of it (airlock runs show):");
    let output = end["output"]
        .as_str()
        .with_context(|| format!("no output: {end}"))?;
    let output: Value = serde_json::from_str(output)?;
    page.line(&format!(
        "{} lines disagree with their contract",
        output["disagree"]
    ));
    page.line(&format!("{} invoices are booked twice", output["twice"]));
    page.line(&format!("the report is {}", cell(&output, "report")));
    page.line("the first of them:");
    page.line(&sample(&desk.events(run)?)?);
    anyhow::ensure!(
        output["disagree"] == 24 && output["twice"] == 2 && output["files"] == 6,
        "not what the invoices hold: {output}"
    );
    Ok(())
}

/// The first findings, from the journal: it holds every answer.
fn sample(events: &[Value]) -> Result<String> {
    let found = events.iter().find_map(|event| {
        let answer: Value = serde_json::from_str(event["answer"]["ok"].as_str()?).ok()?;
        answer["rows"][0].get("finding")?;
        Some(answer)
    });
    let found = found.context("no findings in the journal")?;
    let fields = ["invoice", "date", "supplier", "contract_id", "finding"];
    let rows = airlock::output::rows(&found["rows"], &fields);
    Ok(table(
        &["INVOICE", "DATE", "SUPPLIER", "CONTRACT", "FINDING"],
        &rows[..rows.len().min(6)],
    ))
}

/// Holds the run against what the outside saw: the service's own count of what
/// it was asked for, and the calls on record in the audit.
fn check_effects(
    stage: &Stage,
    desk: &Desk,
    run: &str,
    before: &BTreeSet<String>,
    page: &mut Page,
) -> Result<()> {
    page.step("Was anything done twice? What the outside saw:");
    let counts = stage.contracts.counts();
    let again = before
        .iter()
        .filter(|id| counts.get(*id) != Some(&1))
        .count();
    page.line(&format!(
        "contracts service: {} contracts; {} were fetched before the kill, {again} of these again after it",
        counts.len(),
        before.len()
    ));
    let under_way = counts.values().filter(|&&count| count > 1).count();
    page.line(&format!(
        "   {under_way} that were under way then were asked for once more: they are read-only"
    ));
    let written = calls_of(stage, "files/write")?;
    page.line(&format!(
        "audit: files/write was called {written} time, by {run}"
    ));
    let asked = fetched(&desk.events(run)?);
    anyhow::ensure!(again == 0, "fetched again: {counts:?}, {before:?}");
    anyhow::ensure!(counts.values().all(|&count| count <= 2), "{counts:?}");
    anyhow::ensure!(asked.iter().eq(counts.keys()), "{asked:?}, {counts:?}");
    anyhow::ensure!(written == 1, "{written} calls of files/write");
    let report = stage.out.join("report.html");
    anyhow::ensure!(report.is_file(), "{} is not there", report.display());
    Ok(())
}

/// Calls of a tool that are on record.
fn calls_of(stage: &Stage, tool: &str) -> Result<usize> {
    let page = stage.server()?.api().get("/v1/audit?limit=1000")?;
    let records = page["records"].as_array().context("no records")?;
    let of_it = records
        .iter()
        .filter(|record| record["action"] == "call.done" && record["subject"] == tool);
    Ok(of_it.count())
}
