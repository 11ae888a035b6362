//! `airlock run`, `airlock runs`, `airlock signal`, `airlock approvals`.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::plugins::list_of;
use super::{Session, read_input};
use crate::cli::{Approvals, Halt, Run, Runs, Signal};
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{Format, cell, json_text, print, table, time};

/// How often a run that is followed is asked for news.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Longest text of one step in a timeline, characters.
const SHOWN_CHARS_MAX: usize = 160;

pub(super) fn start(session: &Session, command: &Run) -> Result<()> {
    let input = match command.input.as_str() {
        "-" => read_input(std::path::Path::new("-"))?,
        text => text.as_bytes().to_vec(),
    };
    let input = parse(&String::from_utf8_lossy(&input), "the input")?;
    let mut body = json!({
        "agent": command.agent, "goal": command.goal, "input": input,
        "autonomy": command.autonomy,
    });
    if let Some(calls) = command.calls {
        body["budget"] = json!({ "calls": calls });
    }
    let run: Value = session
        .api
        .value(&Request::json("POST", "/v1/runs", &body))?;
    let id = cell(&run, "id");
    if !command.follow {
        return session.format.show(&run, |run| {
            format!(
                "{}: airlock runs show {}",
                cell(run, "status"),
                cell(run, "id")
            )
        });
    }
    if session.format == Format::Text {
        print(&id)?;
    }
    follow(session, &id)
}

/// Shows records as they come, until the run has ended or waits for a person.
fn follow(session: &Session, id: &str) -> Result<()> {
    let mut from = 0;
    loop {
        let run = session.api.get(&path(id))?;
        from = events(session, id, from)?;
        let waits = matches!(run["status"].as_str(), Some("blocked")) || asks(&run);
        if run.get("end").is_some() || waits {
            events(session, id, from)?;
            return match session.format {
                Format::Json => print(&json_text(&run)?),
                Format::Text => print(&ending(&run)),
            };
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}

fn asks(run: &Value) -> bool {
    let mut open = run["waits_for"].as_array().into_iter().flatten();
    open.any(|open| open["request"]["kind"] == "ask" || open["to_approve"] == true)
}

/// Prints a run's records from `from` on; gives where the next ones begin.
fn events(session: &Session, id: &str, mut from: u64) -> Result<u64> {
    loop {
        let page = session
            .api
            .get(&format!("{}/events?from={from}&limit=1000", path(id)))?;
        let records = page["events"].as_array().cloned().unwrap_or_default();
        for record in &records {
            match session.format {
                Format::Json => print(&serde_json::to_string(record)?)?,
                Format::Text => print(&line(record))?,
            }
        }
        from += records.len() as u64;
        if records.len() < 1_000 {
            return Ok(from);
        }
    }
}

pub(super) fn run(session: &Session, command: Runs) -> Result<()> {
    match command {
        Runs::List => {
            let answer = session.api.get("/v1/runs")?;
            session.format.show(&answer, list_text)
        }
        Runs::Show { id } => {
            let run = session.api.get(&path(&id))?;
            if session.format == Format::Json {
                return print(&json_text(&run)?);
            }
            print(&head(&run))?;
            events(session, &id, 0)?;
            print(&ending(&run))
        }
        Runs::Events { id } => events(session, &id, 0).map(drop),
        Runs::Cancel { id, why } => act(session, &id, "cancel", &json!({ "why": why })),
        Runs::Pause { id } => act(session, &id, "pause", &json!({})),
        Runs::Resume {
            id,
            request,
            retry,
            fail,
            record,
            events,
        } => {
            let outcome = match record {
                Some(text) => Some(json!({ "record": parse(&text, "the output")? })),
                None if retry => Some(json!("retry")),
                None if fail => Some(json!("fail")),
                None => None,
            };
            let budget = events.map(|events| json!({ "events": events }));
            let body = json!({ "request": request, "outcome": outcome, "budget": budget });
            act(session, &id, "resume", &body)
        }
    }
}

pub(super) fn signal(session: &Session, command: &Signal) -> Result<()> {
    let payload = parse(&command.payload, "the payload")?;
    let action = format!("signals/{}", encode(&command.name));
    act(
        session,
        &command.id,
        &action,
        &json!({ "payload": payload }),
    )
}

pub(super) fn halt(session: &Session, command: &Halt) -> Result<()> {
    let body = json!({ "halted": !command.lift, "why": command.why });
    let view: Value = session
        .api
        .value(&Request::json("POST", "/v1/halt", &body))?;
    session
        .format
        .show(&view, |view| match view["halted"].as_bool() {
            Some(true) => "everything stands still; `airlock halt --lift` lets it go on".to_owned(),
            _ => "it goes on".to_owned(),
        })
}

pub(super) fn approvals(session: &Session, command: Approvals) -> Result<()> {
    match command {
        Approvals::List => {
            let answer = session.api.get("/v1/approvals")?;
            session.format.show(&answer, approvals_text)
        }
        Approvals::Decide { id, decision, note } => {
            let body = json!({ "decision": decision, "note": note });
            let path = format!("/v1/approvals/{}", encode(&id));
            session.api.ok(&Request::json("POST", &path, &body))?;
            session
                .format
                .show(&json!({ "decided": id }), |_| format!("decided {id}"))
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/runs/{}", encode(id))
}

fn act(session: &Session, id: &str, action: &str, body: &Value) -> Result<()> {
    let path = format!("{}/{action}", path(id));
    let run: Value = session.api.value(&Request::json("POST", &path, body))?;
    session.format.show(&run, |run| cell(run, "status"))
}

fn parse(text: &str, what: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| Misuse(format!("{what} is not JSON: {error}")).into())
}

fn list_text(answer: &Value) -> String {
    let runs = list_of(answer, "runs");
    let lines: Vec<Vec<String>> = runs
        .as_array()
        .into_iter()
        .flatten()
        .map(|run| {
            vec![
                cell(run, "id"),
                cell(run, "agent"),
                cell(run, "status"),
                run["started_ms"].as_u64().map(time).unwrap_or_default(),
                cell(run, "goal"),
            ]
        })
        .collect();
    table(&["RUN", "AGENT", "STATUS", "STARTED", "GOAL"], &lines)
}

fn approvals_text(answer: &Value) -> String {
    let approvals = list_of(answer, "approvals");
    let lines: Vec<Vec<String>> = approvals
        .as_array()
        .into_iter()
        .flatten()
        .map(|asked| {
            let choices = asked["choices"].as_array().into_iter().flatten();
            let choices: Vec<&str> = choices.filter_map(Value::as_str).collect();
            vec![
                cell(asked, "id"),
                cell(asked, "agent"),
                choices.join("|"),
                cell(asked, "text"),
            ]
        })
        .collect();
    table(&["QUESTION", "AGENT", "CHOICES", "TEXT"], &lines)
}

fn head(run: &Value) -> String {
    let mut text = format!(
        "{} · {} · {}\n",
        cell(run, "id"),
        cell(run, "agent"),
        cell(run, "status")
    );
    for task in run["plan"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "  [{}] {}\n",
            cell(task, "state"),
            cell(task, "title")
        ));
    }
    text
}

/// What is left to say of a run: its end, or what it waits for.
fn ending(run: &Value) -> String {
    if let Some(end) = run.get("end") {
        let rest = ["output", "detail", "reason", "run"];
        let rest = rest.iter().find_map(|name| end.get(*name)?.as_str());
        return shown(
            &format!("{}: {}", cell(end, "state"), rest.unwrap_or_default()),
            4_096,
        );
    }
    if let Some(blocked) = run.get("blocked") {
        return shown(&format!("blocked: {blocked}"), 4_096);
    }
    let open = run["waits_for"].as_array().into_iter().flatten();
    let open: Vec<String> = open
        .map(|open| {
            shown(
                &format!("waits for {}: {}", open["id"], open["request"]),
                1_024,
            )
        })
        .collect();
    open.join("\n")
}

/// One record in a line that a person can read.
fn line(record: &Value) -> String {
    let at = record["at_ms"].as_u64().map(time).unwrap_or_default();
    let what = cell(record, "event");
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
fn shown(text: &str, chars_max: usize) -> String {
    let text = airlock_sandbox::inspect::text::escape(text).into_owned();
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
