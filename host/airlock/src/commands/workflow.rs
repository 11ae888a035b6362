//! `airlock workflow`. What is known of workflows is in the crate `airlock-workflow`.

use std::path::Path;
use std::process::ExitCode;

use airlock_workflow::backfill::{self, Start};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::runs::input;
use super::{Session, format_of, read_input};
use crate::cli::{Backfill, Global, Workflow};
use crate::client::Request;
use crate::exit::{FOUND, Misuse};
use crate::output::{cell, json_text, print, print_error};

/// Only what starts runs is asked of a server.
pub(super) fn run(
    global: &Global,
    command: Workflow,
    connect: impl FnOnce() -> Result<Session>,
) -> Result<ExitCode> {
    match command {
        Workflow::Check { files } => check(global, &files),
        Workflow::Schema => {
            print(&json_text(&airlock_workflow::published())?)?;
            Ok(ExitCode::SUCCESS)
        }
        Workflow::Backfill(args) => backfill(global, &args, connect),
    }
}

/// The text of a workflow file.
fn text(file: &Path) -> Result<String> {
    let bytes = read_input(file)?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", file.display()))
}

fn check(global: &Global, files: &[std::path::PathBuf]) -> Result<ExitCode> {
    let mut problems = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let found = airlock_workflow::check(&text(file)?).err();
        problems.extend(found.into_iter().flatten().map(|problem| {
            json!({
                "file": name,
                "line": problem.at.line,
                "column": problem.at.column,
                "message": problem.message,
            })
        }));
    }
    let ok = problems.is_empty();
    let report = json!({ "ok": ok, "problems": problems });
    format_of(global).show(&report, |_| match ok {
        true => format!("checked {}: nothing is wrong", files.len()),
        false => problems.iter().map(line).collect(),
    })?;
    Ok(match ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(FOUND),
    })
}

/// `file:line:column: message`.
fn line(problem: &Value) -> String {
    let member = |name| cell(problem, name);
    format!(
        "{}:{}:{}: {}\n",
        member("file"),
        member("line"),
        member("column"),
        member("message")
    )
}

fn backfill(
    global: &Global,
    args: &Backfill,
    connect: impl FnOnce() -> Result<Session>,
) -> Result<ExitCode> {
    let workflow = text(&args.file)?;
    let Value::Object(inputs) = input(&args.inputs)? else {
        return Err(Misuse("the inputs are no JSON object".to_owned()).into());
    };
    let plan = backfill::Backfill {
        workflow: &workflow,
        agent: &args.agent,
        inputs,
        from: &args.from,
        to: &args.to,
        every: &args.every,
    };
    let starts = plan.starts().map_err(|problems| {
        let name = args.file.display();
        Misuse(format!("{name}: {}", problems.join(&format!("\n{name}: "))))
    })?;
    if args.dry_run {
        let shown: Vec<Value> = starts
            .iter()
            .map(|start| json!({ "start": start.start, "end": start.end }))
            .collect();
        let shown = json!({ "intervals": shown });
        format_of(global).show(&shown, |_| {
            let lines = starts
                .iter()
                .map(|start| format!("{} {}\n", start.start, start.end));
            lines.collect()
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let session = connect()?;
    for (count, one) in starts.iter().enumerate() {
        if let Err(error) = start(&session, args, one) {
            print_error(&format!(
                "airlock: {count} of {} runs were started: the same command goes on from there",
                starts.len()
            ));
            return Err(error);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start(session: &Session, args: &Backfill, one: &Start) -> Result<()> {
    let body = json!({
        "agent": args.agent,
        "goal": format!("{} to {}", one.start, one.end),
        "input": one.input,
        "autonomy": args.autonomy,
    });
    let request =
        Request::json("POST", "/v1/runs", &body).header("idempotency-key", one.key.as_str());
    let run: Value = session.api.value(&request)?;
    session
        .format
        .show(&run, |run| format!("{} {}", one.start, cell(run, "id")))
}
