//! `airlock workflow`. What is known of workflows is in the crate `airlock-workflow`.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use airlock_workflow::backfill::{self, Start};
use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::follow::asks;
use super::runs::{NO_SERVER, input, path};
use super::{Session, format_of, read_input};
use crate::cli::{Backfill, Global, Workflow};
use crate::client::{Api, Request};
use crate::exit::{FOUND, Failure, Misuse};
use crate::output::{cell, json_text, print, print_error};

/// How often it is looked whether a run has ended.
const WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(2);

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
        now: SystemTime::now(),
    };
    let backfill::Plan { starts, left_out } = plan.plan().map_err(|problems| {
        let name = args.file.display();
        Misuse(format!("{name}: {}", problems.join(&format!("\n{name}: "))))
    })?;
    if let Some((from, to)) = &left_out {
        print_error(&format!(
            "airlock: {from} to {to} is no whole interval, and is left out"
        ));
    }
    if args.dry_run {
        show(global, &starts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let session = connect()?;
    let (mut working, mut told) = (VecDeque::new(), BTreeSet::new());
    for (count, one) in starts.iter().enumerate() {
        let started = room(&session, &mut working, &mut told, args.at_once)
            .and_then(|()| start(&session, args, one))
            .map(|id| working.extend(id));
        if let Err(error) = started {
            print_error(&format!(
                "airlock: {count} of {} runs were started: the same command goes on from there",
                starts.len()
            ));
            return Err(error);
        }
    }
    if let Api::Local(_) = session.api {
        print_error(NO_SERVER);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(global: &Global, starts: &[Start]) -> Result<()> {
    let one = |start: &Start| json!({ "start": start.start, "end": start.end });
    let shown: Vec<Value> = starts.iter().map(one).collect();
    let shown = json!({ "intervals": shown });
    format_of(global).show(&shown, |_| {
        let lines = starts
            .iter()
            .map(|start| format!("{} {}\n", start.start, start.end));
        lines.collect()
    })
}

/// Waits until fewer than so many runs are at work. Without a server none is.
fn room(
    session: &Session,
    working: &mut VecDeque<String>,
    told: &mut BTreeSet<String>,
    most: u16,
) -> Result<()> {
    if let Api::Local(_) = session.api {
        return Ok(());
    }
    let mut wait = WAIT;
    let mut look = |id: &str| {
        let run: Value = session.api.get(&path(id))?;
        if waits(&run) && told.insert(id.to_owned()) {
            print_error(&format!(
                "airlock: {id} waits for a person: airlock runs show {id}"
            ));
        }
        Ok(run)
    };
    while !has_room(working, most, &mut look)? {
        std::thread::sleep(wait);
        wait = (wait * 2).min(WAIT_MAX);
    }
    Ok(())
}

/// Whether a run waits for a person.
fn waits(run: &Value) -> bool {
    run.get("blocked").is_some() || asks(run).next().is_some()
}

/// Whether fewer than so many are at work, those that have ended left out. A run that
/// goes on as another one is that.
fn has_room(
    working: &mut VecDeque<String>,
    most: u16,
    mut run: impl FnMut(&str) -> Result<Value>,
) -> Result<bool> {
    for _ in 0..working.len() {
        if working.len() < usize::from(most) {
            break;
        }
        let Some(id) = working.pop_front() else { break };
        let run = match run(&id) {
            Ok(run) => run,
            Err(error) => {
                working.push_front(id);
                return Err(error);
            }
        };
        match (run.get("end"), run["end"]["run"].as_str()) {
            (None, _) => working.push_back(id),
            (Some(_), Some(next)) => working.push_back(next.to_owned()),
            (Some(_), None) => {}
        }
    }
    Ok(working.len() < usize::from(most))
}

/// Starts the run of an interval, once; gives its id, unless it was removed since.
fn start(session: &Session, args: &Backfill, one: &Start) -> Result<Option<String>> {
    let body = json!({
        "agent": args.agent,
        "goal": format!("{} to {}", one.start, one.end),
        "input": one.input,
        "autonomy": args.autonomy,
    });
    let request = Request::json("POST", format!("/v1/runs?once={}", one.key), &body);
    let run: Value = match session.api.value(&request) {
        Err(error) if is_pruned(&error) => {
            print_error(&format!(
                "airlock: {} has had its run, which was removed since",
                one.start
            ));
            return Ok(None);
        }
        run => run?,
    };
    session
        .format
        .show(&run, |run| format!("{} {}", one.start, cell(run, "id")))?;
    Ok(run["id"].as_str().map(str::to_owned))
}

fn is_pruned(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<Failure>();
    failure.is_some_and(|failure| failure.code == "run-pruned")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has ended makes room, also where it had ended long ago; what goes on as
    /// another run does not.
    #[test]
    fn no_more_runs_are_at_work_than_asked_for() {
        let of = |id: &str| {
            Ok(match id {
                "ended" => json!({ "end": { "how": "failed" } }),
                "anew" => json!({ "end": { "how": "continued", "run": "next" } }),
                "gone" => return Err(Misuse("no such run".to_owned()).into()),
                _ => json!({ "status": "waiting" }),
            })
        };
        let table: [(&[&str], u16, bool, &[&str]); 7] = [
            (&[], 1, true, &[]),
            (&["works"], 1, false, &["works"]),
            (&["works"], 2, true, &["works"]),
            (&["ended"], 1, true, &[]),
            (&["anew"], 1, false, &["next"]),
            (&["works", "ended"], 2, true, &["works"]),
            (&["works", "more", "ended"], 2, false, &["works", "more"]),
        ];
        for (before, most, room, after) in table {
            let mut working = before.iter().map(|id| (*id).to_owned()).collect();
            let has = has_room(&mut working, most, of).expect("it is known");
            assert_eq!((has, working.len()), (room, after.len()), "{before:?}");
            assert!(after.iter().all(|id| working.contains(&(*id).to_owned())));
        }
        let mut working = VecDeque::from(["gone".to_owned()]);
        has_room(&mut working, 1, of).expect_err("it is not known");
        assert_eq!(working.len(), 1);
    }
}
