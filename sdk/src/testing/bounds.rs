//! The sizes that the host holds an agent to.
//!
//! What must stay true: they are those of `airlock:agent`, and what an agent that
//! is over one is told is what the host tells it.

use std::collections::BTreeMap;

use super::result::Note;
use super::step::Request;
use crate::Error;

pub(super) const INPUT_BYTES_MAX: usize = 1 << 20;
pub(super) const GOAL_BYTES_MAX: usize = 8 << 10;
const NAME_BYTES_MAX: usize = 160;
const TEXT_BYTES_MAX: usize = 8 << 10;
const MESSAGE_BYTES_MAX: usize = 1 << 10;
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
const CHOICES: std::ops::RangeInclusive<usize> = 2..=16;
const CHOICE_BYTES_MAX: usize = 128;
const TASKS_MAX: usize = 256;

const KEYS_MAX: usize = 64;
const KEY_BYTES_MAX: usize = 128;
const VALUE_BYTES_MAX: usize = 64 << 10;
const STATE_BYTES_MAX: usize = 256 << 10;

fn bound(what: &str, len: usize, max: usize) -> Result<(), Error> {
    match len > max {
        true => Err(Error::limit("request", format!("{what}: {max} bytes"))),
        false => Ok(()),
    }
}

/// Whether this may be asked for; else the run ends.
pub(super) fn request(request: &Request) -> Result<(), Error> {
    match request {
        Request::Call { tool, input } => {
            bound("the tool's name", tool.len(), NAME_BYTES_MAX)?;
            bound("the input", input.len(), INPUT_BYTES_MAX)
        }
        Request::Signal { name } => bound("the signal's name", name.len(), NAME_BYTES_MAX),
        Request::Record { value } => bound("the value", value.len(), INPUT_BYTES_MAX),
        Request::Start {
            agent, goal, input, ..
        } => {
            bound("the agent's name", agent.len(), NAME_BYTES_MAX)?;
            bound("the goal", goal.len(), GOAL_BYTES_MAX)?;
            bound("the input", input.len(), INPUT_BYTES_MAX)
        }
        Request::Ask(question) => {
            bound("the question", question.text.len(), TEXT_BYTES_MAX)?;
            let payload = question.payload.as_ref().map_or(0, String::len);
            bound("the payload", payload, PAYLOAD_BYTES_MAX)?;
            for choice in &question.choices {
                bound("a choice", choice.len(), CHOICE_BYTES_MAX)?;
            }
            match CHOICES.contains(&question.choices.len()) {
                true => Ok(()),
                false => Err(Error::limit("request", "2 to 16 choices")),
            }
        }
        Request::Chat { request, .. }
        | Request::Embed { request }
        | Request::Memory { request } => bound("the request", request.len(), INPUT_BYTES_MAX),
        Request::Sleep { .. } | Request::Timer { .. } => Ok(()),
    }
}

/// Whether this may be said; else the run ends.
pub(super) fn note(note: &Note) -> Result<(), Error> {
    match note {
        Note::Plan(tasks) => {
            bound("the plan's tasks", tasks.len(), TASKS_MAX)?;
            let titles = tasks.iter().map(|task| task.title.len());
            bound(
                "a task's title",
                titles.max().unwrap_or(0),
                MESSAGE_BYTES_MAX,
            )
        }
        Note::Progress(report) => bound("the message", report.message.len(), MESSAGE_BYTES_MAX),
        Note::Log(message) => bound("the log record", message.len(), TEXT_BYTES_MAX),
    }
}

/// Whether a key may be set to a value, or removed; else the run ends.
pub(super) fn state(
    held: &BTreeMap<String, String>,
    key: &str,
    value: Option<&str>,
) -> Result<(), Error> {
    let over = |value: String| Err(Error::limit("state", value));
    if key.len() > KEY_BYTES_MAX {
        return over(format!("a key: {KEY_BYTES_MAX} bytes"));
    }
    let Some(value) = value else { return Ok(()) };
    if value.len() > VALUE_BYTES_MAX {
        return over(format!("a value: {VALUE_BYTES_MAX} bytes"));
    }
    if !held.contains_key(key) && held.len() >= KEYS_MAX {
        return over(format!("{KEYS_MAX} keys"));
    }
    let others = held.iter().filter(|(other, _)| *other != key);
    let bytes: usize = others.map(|(key, value)| key.len() + value.len()).sum();
    match bytes + key.len() + value.len() > STATE_BYTES_MAX {
        true => over(format!("all keys and values: {STATE_BYTES_MAX} bytes")),
        false => Ok(()),
    }
}

/// A run's input: a JSON object.
pub(super) fn input(input: &serde_json::Value) -> Result<(), Error> {
    if !input.is_object() {
        return Err(Error::invalid_input("input: a JSON object is needed"));
    }
    match input.to_string().len() > INPUT_BYTES_MAX {
        true => Err(Error::invalid_input(format!(
            "input: more than {INPUT_BYTES_MAX} bytes"
        ))),
        false => Ok(()),
    }
}
