//! `airlock run`, `airlock runs`, `airlock signal`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::follow::{Until, follow};
use super::halt::holds;
use super::{Session, history, read_input, replays, resume};
use crate::cli::{Run, Runs, Signal};
use crate::client::{Api, Request, encode};
use crate::exit::Misuse;
use crate::output::{Format, cell, json_escaped, json_text, one_line, print, print_error, time};
use crate::timeline::{Timeline, way_on};

/// Records that are asked for at once.
const PAGE: usize = 1_000;

/// Longest text of a record, characters.
const SHOWN_CHARS_MAX: usize = 160;

/// What is said of a run that goes on when a server does.
pub(super) const NO_SERVER: &str =
    "no server looks after this run: start `airlock serve`, and it goes on";

pub(super) fn start(session: &Session, command: &Run) -> Result<ExitCode> {
    let input = input(&command.input)?;
    let mut body = json!({
        "agent": command.agent, "goal": command.goal, "input": input,
        "autonomy": command.autonomy,
    });
    if let Some(budget) = command.budget.json() {
        body["budget"] = budget;
    }
    let run: Value = session
        .api
        .value(&Request::json("POST", "/v1/runs", &body))?;
    let id = cell(&run, "id");
    if !command.follow {
        session.format.show(&run, |run| {
            format!(
                "{}: airlock runs show {}",
                cell(run, "status"),
                cell(run, "id")
            )
        })?;
        if let Api::Local(_) = session.api {
            print_error(NO_SERVER);
        }
        return Ok(ExitCode::SUCCESS);
    }
    match session.format {
        Format::Text => print(&one_line(&id))?,
        Format::Json => print(&json_escaped(run.to_string()))?,
    }
    follow(session, &id, Until::Asked)
}

/// Prints a run's records.
fn events(session: &Session, id: &str) -> Result<()> {
    for record in records(session, id)? {
        match session.format {
            Format::Json => print(&json_escaped(record.to_string()))?,
            Format::Text => print(&line(&record))?,
        }
    }
    Ok(())
}

/// A run's records so far.
pub(super) fn records(session: &Session, id: &str) -> Result<Vec<Value>> {
    let mut records = Vec::new();
    let mut from = 0;
    loop {
        let page = session
            .api
            .get(&format!("{}/events?from={from}&limit={PAGE}", path(id)))?;
        records.extend(page["events"].as_array().into_iter().flatten().cloned());
        // Of a run that goes on there is always a next page; it may be empty so far.
        match page["next"].as_u64() {
            Some(next) if next > from => from = next,
            _ => return Ok(records),
        }
    }
}

pub(super) fn run(session: &Session, command: Runs) -> Result<ExitCode> {
    match command {
        Runs::Events { id, follow: true } => follow(session, &id, Until::Ended),
        other => at_once(session, other).map(|()| ExitCode::SUCCESS),
    }
}

fn at_once(session: &Session, command: Runs) -> Result<()> {
    match command {
        Runs::List(args) => history::list(session, &args),
        Runs::Stats => history::stats(session),
        Runs::Prune {
            older_than,
            agent,
            dry_run,
            why,
        } => {
            let body = json!({
                "older_than_s": history::seconds(&older_than)?, "agent": agent,
                "dry_run": dry_run, "why": why,
            });
            history::prune(session, &body)
        }
        Runs::Export { id } => history::export(session, &id),
        Runs::Show { id } => show(session, &id),
        Runs::Events { id, .. } => events(session, &id),
        Runs::Cancel { id, why } => act(session, &id, "cancel", &json!({ "why": why })),
        Runs::Fork {
            id,
            at,
            input,
            agent,
        } => replays::fork(session, &id, at, input.as_deref(), agent.as_deref()),
        Runs::Replay { id, agent } => replays::replay(session, &id, agent.as_deref()),
        Runs::Pause { id } => {
            let request = Request::new("POST", format!("{}/pause", path(&id)));
            let run: Value = session.api.value(&request)?;
            session.format.show(&run, |run| cell(run, "status"))
        }
        Runs::Resume(args) => resume::resume(session, &args),
    }
}

fn show(session: &Session, id: &str) -> Result<()> {
    let run = session.api.get(&path(id))?;
    if session.format == Format::Json {
        return print(&json_text(&run)?);
    }
    print(&Timeline::of(&records(session, id)?).text(&run))?;
    let mut lines = way_on(&run, airlock_runtime::now_ms());
    if run.get("end").is_none() {
        lines.extend(holds(session, id));
    }
    lines.iter().try_for_each(|line| print(line))
}

pub(super) fn signal(session: &Session, command: &Signal) -> Result<()> {
    if command.name.is_empty() {
        return Err(Misuse("the signal's name is empty".to_owned()).into());
    }
    let payload = parse(&command.payload, "the payload")?;
    let action = format!("signals/{}", encode(&command.name));
    act(
        session,
        &command.id,
        &action,
        &json!({ "payload": payload }),
    )
}

pub(super) fn path(id: &str) -> String {
    format!("/v1/runs/{}", encode(id))
}

pub(super) fn act(session: &Session, id: &str, action: &str, body: &Value) -> Result<()> {
    let path = format!("{}/{action}", path(id));
    let run: Value = session.api.value(&Request::json("POST", &path, body))?;
    session.format.show(&run, |run| cell(run, "status"))
}

/// An agent's input as it was typed.
pub(super) fn input(typed: &str) -> Result<Value> {
    let input = match typed {
        "-" => read_input(std::path::Path::new("-"))?,
        text => text.as_bytes().to_vec(),
    };
    parse(&String::from_utf8_lossy(&input), "the input")
}

pub(super) fn parse(text: &str, what: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| Misuse(format!("{what} is not JSON: {error}")).into())
}

/// One record in a line that a person can read.
fn line(record: &Value) -> String {
    let at = record["at_ms"].as_u64().map(time).unwrap_or_default();
    let what = one_line(&cell(record, "event"));
    let mut rest = record.clone();
    if let Some(members) = rest.as_object_mut() {
        for known in ["seq", "at_ms", "event"] {
            members.remove(known);
        }
    }
    let rest = shown(&rest.to_string(), SHOWN_CHARS_MAX);
    format!("{at}  {what:<16} {rest}")
}

/// Safe for a terminal, and cut.
pub(super) fn shown(text: &str, chars_max: usize) -> String {
    let text = airlock_sandbox::inspect::text::escape(text).into_owned();
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
