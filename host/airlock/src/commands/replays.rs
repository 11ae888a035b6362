//! `airlock runs replay` and `fork`: what another version of an agent would have
//! done, and a run that goes on from a step of another.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::plugins::{Then, send};
use super::runs::{input, path, shown};
use super::{Session, read_input};
use crate::client::Request;
use crate::exit::Found;
use crate::output::{Format, cell, json_text, print};

/// Longest text of a step, characters.
const STEP_CHARS_MAX: usize = 300;

pub(super) fn replay(session: &Session, id: &str, agent: Option<&str>) -> Result<()> {
    let agent = version(session, id, agent)?;
    let request = Request::json(
        "POST",
        format!("{}/replay", path(id)),
        &json!({ "agent": agent }),
    );
    let replay: Value = session.api.value(&request)?;
    match session.format {
        Format::Json => print(&json_text(&replay)?)?,
        Format::Text => print(&text(&replay))?,
    }
    match replay["verdict"].as_str() {
        Some("differs") => Err(Found("the replay differs from the journal".to_owned()).into()),
        _ => Ok(()),
    }
}

pub(super) fn fork(
    session: &Session,
    id: &str,
    at: u64,
    typed: Option<&str>,
    agent: Option<&str>,
) -> Result<()> {
    let input = typed.map(input).transpose()?;
    let agent = version(session, id, agent)?;
    let body = json!({ "at": at, "input": input, "agent": agent });
    let request = Request::json("POST", format!("{}/fork", path(id)), &body);
    let run: Value = session.api.value(&request)?;
    session.format.show(&run, |run| {
        let (status, id) = (cell(run, "status"), cell(run, "id"));
        format!("{status}: airlock runs show {id}")
    })
}

/// What the API calls a version. A file is installed under the run's agent first,
/// without becoming active.
pub(super) fn version(session: &Session, id: &str, agent: Option<&str>) -> Result<Option<String>> {
    let Some(name) = agent else { return Ok(None) };
    let is_file = name.contains('/') || Path::new(name).extension().is_some_and(|e| e == "wasm");
    if !is_file {
        return Ok(Some(name.to_owned()));
    }
    let bytes = read_input(Path::new(name))?;
    let run = session.api.get(&path(id))?;
    let installed = send(
        &session.api,
        &cell(&run, "agent"),
        bytes,
        None,
        Then::Install,
    )?;
    Ok(Some(cell(&installed, "digest")))
}

fn text(replay: &Value) -> String {
    let mut lines = vec![format!(
        "{} against {}",
        cell(replay, "run"),
        cell(replay, "digest")
    )];
    let mut at = 0;
    for difference in replay["differences"].as_array().into_iter().flatten() {
        let after = difference["after"].as_u64().unwrap_or_default();
        same(&mut lines, after.saturating_sub(at));
        lines.push(format!("  {}", cell(difference, "kind").replace('-', " ")));
        for (member, sign) in [("recorded", '-'), ("replayed", '+')] {
            if let Some(step) = difference.get(member) {
                lines.push(format!("    {sign} {}", step_text(step)));
            }
        }
        // One that was removed takes no place in the replay.
        at = after + u64::from(difference.get("replayed").is_some());
    }
    let seen = at.saturating_sub(counted(replay));
    same(
        &mut lines,
        replay["same"]
            .as_u64()
            .unwrap_or_default()
            .saturating_sub(seen),
    );
    let number = |name: &str| replay[name].as_u64().unwrap_or_default();
    for (count, what) in [
        (number("more_differences"), "more differences"),
        (
            number("not_reached"),
            "steps of the journal were not reached",
        ),
    ] {
        if count > 0 {
            lines.push(format!("  … {count} {what}"));
        }
    }
    if let Some(why) = replay["stopped"].as_str() {
        lines.push(format!("stopped: {}", shown(why, STEP_CHARS_MAX)));
    }
    lines.push(format!(
        "{}: {} of {} steps are the same; {} µs of CPU, {} µs",
        cell(replay, "verdict").replace('-', " "),
        number("same"),
        number("steps"),
        number("cpu_us"),
        number("elapsed_us")
    ));
    lines.join("\n")
}

/// Differences that take a place in the replay.
fn counted(replay: &Value) -> u64 {
    let all = replay["differences"].as_array().into_iter().flatten();
    all.filter(|difference| difference.get("replayed").is_some())
        .count() as u64
}

fn same(lines: &mut Vec<String>, count: u64) {
    match count {
        0 => {}
        1 => lines.push("  … 1 step is the same".to_owned()),
        count => lines.push(format!("  … {count} steps are the same")),
    }
}

fn step_text(step: &Value) -> String {
    let what = shown(&cell(step, "what"), STEP_CHARS_MAX);
    match step["request"].as_u64() {
        Some(request) => format!("request {request}: {what}"),
        None => what,
    }
}
