//! `airlock runs replay` and `fork`: what another version of an agent would have
//! done, and a run that goes on from a step of another.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::plugins::{Then, send};
use super::runs::{input, path, shown};
use super::{Session, read_input};
use crate::client::Request;
use crate::exit::{Found, Misuse};
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
    let plugin = cell(&run, "agent");
    // What could never be its agent does not stay behind as a version of it.
    let checked = send(&session.api, &plugin, bytes.clone(), None, Then::Check)?;
    if checked["is_agent"] != true {
        return Err(Misuse(format!("{name} is no agent, and {plugin} is one")).into());
    }
    let installed = send(&session.api, &plugin, bytes, None, Then::Install)?;
    Ok(Some(cell(&installed, "digest")))
}

fn text(replay: &Value) -> String {
    let mut lines = vec![format!(
        "{} against {}",
        cell(replay, "run"),
        cell(replay, "digest")
    )];
    let number = |name: &str| replay[name].as_u64().unwrap_or_default();
    differences(&mut lines, replay, number("same"));
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
        "{}: {} of {} steps are the same (requests, and what it told and let go of); \
         it took {} µs, {} µs of them CPU time",
        cell(replay, "verdict").replace('-', " "),
        number("same"),
        number("steps"),
        number("elapsed_us"),
        number("cpu_us")
    ));
    lines.join("\n")
}

/// What differs, and between that how many steps do not, of `all` which are the
/// same.
fn differences(lines: &mut Vec<String>, replay: &Value, all: u64) {
    // Steps of the replay, and those of them that are the same.
    let (mut at, mut told) = (0, 0);
    for difference in replay["differences"].as_array().into_iter().flatten() {
        let after = difference["after"].as_u64().unwrap_or_default();
        // The end comes after what was removed too.
        let between = after.saturating_sub(at).min(all.saturating_sub(told));
        same(lines, between);
        told += between;
        lines.push(format!("  {}", cell(difference, "kind").replace('-', " ")));
        for (member, sign) in [("recorded", '-'), ("replayed", '+')] {
            if let Some(step) = difference.get(member) {
                lines.push(format!("    {sign} {}", step_text(step)));
            }
        }
        // One that was removed takes no place in the replay.
        at = after + u64::from(difference.get("replayed").is_some());
    }
    same(lines, all.saturating_sub(told));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A step in a line; `after` of the end counts what was removed, as the API
    /// tells it.
    fn told(kind: &str, after: u64) -> Value {
        let step = json!({ "what": "call a/b", "request": after });
        match kind {
            "removed" => json!({ "kind": kind, "after": after, "recorded": step }),
            "inserted" => json!({ "kind": kind, "after": after, "replayed": step }),
            _ => json!({ "kind": kind, "after": after, "recorded": step, "replayed": step }),
        }
    }

    #[test]
    fn as_many_steps_are_told_to_be_the_same_as_are() {
        let removed = |after: u64| told("removed", after);
        let end = |after: u64| told("other-outcome", after);
        let table = [
            (vec![], 0, vec![]),
            (vec![], 1, vec!["… 1 step is the same"]),
            (
                vec![removed(0), removed(0), removed(0), removed(0), end(4)],
                0,
                vec!["removed", "removed", "removed", "removed", "other outcome"],
            ),
            (
                vec![removed(2), end(6)],
                5,
                vec![
                    "… 2 steps are the same",
                    "removed",
                    "… 3 steps are the same",
                    "other outcome",
                ],
            ),
            (
                vec![told("inserted", 1), told("changed-arguments", 3)],
                4,
                vec![
                    "… 1 step is the same",
                    "inserted",
                    "… 1 step is the same",
                    "changed arguments",
                    "… 2 steps are the same",
                ],
            ),
        ];
        for (differences, same, expect) in table {
            let replay = json!({ "differences": differences, "same": same, "verdict": "differs" });
            let text = text(&replay);
            let lines: Vec<&str> = text.lines().collect();
            let inner = &lines[1..lines.len() - 1];
            let inner: Vec<&str> = inner
                .iter()
                .filter(|line| !line.starts_with("    "))
                .map(|line| line.trim())
                .collect();
            assert_eq!(inner, expect, "{replay}");
        }
    }
}
