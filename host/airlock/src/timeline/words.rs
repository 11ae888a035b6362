//! What a record comes to in words, safe for a terminal and cut.

use serde_json::Value;

use super::blocks::why_blocked;
use crate::output::{cell, millionths, one_line, time};

/// Longest input, answer or message within a line, characters.
pub(super) const SHOWN_CHARS_MAX: usize = 200;

/// Who started what, for whom.
pub(super) fn started(record: &Value) -> String {
    let goal = match record["goal"].as_str().unwrap_or_default() {
        "" => String::new(),
        goal => format!(": {}", cut(goal, SHOWN_CHARS_MAX)),
    };
    let parent = &record["parent"];
    let whose = match parent.is_object() {
        true => format!(
            " for #{} of {}",
            part(parent, &["request"]),
            part(parent, &["run"])
        ),
        false => String::new(),
    };
    format!(
        "{} started {}, {}{whose}{goal}",
        by(record),
        one_line(&cell(record, "agent")),
        one_line(&cell(record, "autonomy"))
    )
}

/// What an agent asks for.
pub(super) fn requested(request: &Value) -> String {
    match request["kind"].as_str().unwrap_or_default() {
        "call" => format!("{} {}", part(request, &["tool"]), part(request, &["input"])),
        "timer" => {
            let due = request["due_ms"].as_u64().unwrap_or_default();
            format!("waits until {}", time(due))
        }
        "signal" => format!("waits for the signal `{}`", part(request, &["name"])),
        "start" => {
            let goal = match part(request, &["goal"]) {
                goal if goal.is_empty() => goal,
                goal => format!(": {goal}"),
            };
            let (agent, input) = (part(request, &["agent"]), part(request, &["input"]));
            format!("starts {agent}{goal} {input}")
        }
        "ask" => {
            let choices = request["choices"].as_array().into_iter().flatten();
            let choices: Vec<&str> = choices.filter_map(Value::as_str).collect();
            let choices = cut(&choices.join(" | "), SHOWN_CHARS_MAX);
            let due = request["due_ms"].as_u64();
            let due = due
                .map(|due| format!(", until {}", time(due)))
                .unwrap_or_default();
            format!("? {} [{choices}]{due}", part(request, &["text"]))
        }
        kind => format!("{} {}", one_line(kind), rest(request, &["kind"])),
    }
}

/// What was given of each member of a budget that is another one now.
pub(super) fn budgeted(before: &Value, now: &Value) -> String {
    let members = now.as_object().into_iter().flatten();
    let changed = members.filter(|(name, value)| before[name.as_str()] != **value);
    let changed = changed.map(|(name, value)| match before[name.as_str()].as_u64() {
        Some(before) => format!(
            "{} {before} → {}",
            one_line(name),
            one_line(&value.to_string())
        ),
        None => format!("{} {}", one_line(name), one_line(&value.to_string())),
    });
    let changed: Vec<String> = changed.collect();
    match changed.is_empty() {
        true => "left its budget as it is".to_owned(),
        false => cut(&format!("gave it {}", changed.join(", ")), SHOWN_CHARS_MAX),
    }
}

/// What may be spent of something, or was.
fn amounts(spent: &Value) -> Vec<String> {
    let of = |name: &str| spent[name].as_u64().filter(|amount| *amount > 0);
    let calls = of("calls").map(|calls| format!("{calls} calls"));
    let steps = of("steps").map(|steps| format!("{steps} steps"));
    let cpu = of("cpu_us").map(|us| format!("{} of CPU time", span(us.div_ceil(1_000))));
    let bytes = of("bytes_out").map(|bytes| format!("{bytes} bytes out"));
    let amounts = [calls, steps, cpu, bytes].into_iter().flatten();
    amounts.chain(amounts_of_models(spent)).collect()
}

/// The same, of language models.
fn amounts_of_models(spent: &Value) -> impl Iterator<Item = String> {
    let of = |name: &str| spent[name].as_u64().filter(|amount| *amount > 0);
    let tokens = of("model_tokens").map(|tokens| format!("{tokens} tokens"));
    let cost = of("model_micros").map(|micros| format!("cost {}", millionths(micros)));
    tokens.into_iter().chain(cost)
}

/// What a child or a language model may use.
pub(super) fn set_aside(spent: &Value) -> String {
    match amounts(spent) {
        none if none.is_empty() => "nothing is set aside for it".to_owned(),
        amounts => format!("{} set aside for it", amounts.join(", ")),
    }
}

/// What a child used, behind how long it took.
pub(super) fn used(spent: &Value) -> String {
    let amounts = amounts(spent);
    amounts.iter().map(|amount| format!(", {amount}")).collect()
}

/// What a language model used, behind how long it took.
pub(super) fn used_of_models(spent: &Value) -> String {
    let amounts = amounts_of_models(spent);
    amounts.map(|amount| format!(", {amount}")).collect()
}

/// Who has to approve a call, until when; `again` where somebody was asked before.
pub(super) fn asked(terms: &Value, again: bool) -> String {
    let role = terms["role"].as_str().unwrap_or("approver");
    let who = match terms["approvers"].as_u64() {
        Some(number) if number > 1 => format!("{number} people ({}) have", one_line(role)),
        _ if role == "approver" => "a person has".to_owned(),
        _ => format!("a person ({}) has", one_line(role)),
    };
    let due = terms["due_ms"]
        .as_u64()
        .map(|due| format!(", until {}", time(due)));
    let again = match again {
        true => ", again: an approval works once, and for what was looked at",
        false => "",
    };
    format!("? {who} to approve it{}{again}", due.unwrap_or_default())
}

/// What a step of a kind ended with and, where a person gave that, by whom.
pub(super) fn answered(kind: &str, answer: &Value, by: &str) -> String {
    let by = match by {
        "" => String::new(),
        by => format!(" by {}", one_line(by)),
    };
    let Some(output) = answer["ok"].as_str() else {
        return format!("✗ {}{by}", error(&answer["error"]));
    };
    if kind == "timer" {
        return "→ it was due".to_owned();
    }
    let decided = serde_json::from_str::<Value>(output).ok();
    let choice = decided.as_ref().filter(|_| kind == "ask");
    match choice.and_then(|decided| Some((decided, decided["choice"].as_str()?))) {
        Some((decided, choice)) => format!("→ {}{by}{}", one_line(choice), note(decided)),
        None => format!("→ {}{by}", cut(output, SHOWN_CHARS_MAX)),
    }
}

fn error(error: &Value) -> String {
    let code = one_line(&cell(error, "code"));
    match error["message"].as_str() {
        Some(message) => format!("{code}: {}", cut(message, SHOWN_CHARS_MAX)),
        None if error.as_object().is_some_and(|members| members.len() < 2) => code,
        None if error["limit"].is_string() => format!(
            "{code}: {} reached ({})",
            part(error, &["limit"]),
            part(error, &["value"])
        ),
        None if error["rule"].is_string() => format!(
            "{code}: {}: {}",
            part(error, &["operation"]),
            part(error, &["rule"])
        ),
        None => format!("{code}: {}", rest(error, &["code"])),
    }
}

pub(super) fn ended(end: &Value) -> String {
    let told = ["output", "detail", "reason", "run"];
    let told = told.iter().find_map(|name| end[*name].as_str());
    let told = told.map(|told| format!(": {}", cut(told, 20 * SHOWN_CHARS_MAX)));
    let unknown = end["unknown"]
        .as_array()
        .filter(|unknown| !unknown.is_empty());
    let unknown = unknown.map(|steps| {
        let steps: Vec<String> = steps.iter().map(|step| format!("#{step}")).collect();
        format!("; nobody knows the outcome of {}", steps.join(", "))
    });
    format!(
        "{}{}{}",
        one_line(&cell(end, "state")),
        told.unwrap_or_default(),
        unknown.unwrap_or_default()
    )
}

/// Which tools the agent was told of.
fn tools_told(tools: &Value) -> String {
    let Some(tools) = tools.as_array() else {
        return "is told of the same tools as before".to_owned();
    };
    let names: Vec<&str> = tools
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    match names.is_empty() {
        true => "is told that it has no tools".to_owned(),
        false => format!("is told of {}", cut(&names.join(", "), SHOWN_CHARS_MAX)),
    }
}

/// A record about the run itself.
pub(super) fn of_run(record: &Value) -> String {
    let by = || by(record);
    match record["event"].as_str().unwrap_or_default() {
        "signalled" => format!(
            "{} sent the signal `{}` {}",
            by(),
            part(record, &["name"]),
            part(record, &["payload"])
        ),
        "blocked" => format!("! blocked: {}", why_blocked(&record["why"])),
        "unblocked" | "unpaused" => format!("{} let it go on", by()),
        "paused" => format!("{} paused it", by()),
        "state-set" => match record["value"].as_str() {
            Some(value) => format!(
                "state `{}` is {}",
                part(record, &["key"]),
                cut(value, SHOWN_CHARS_MAX)
            ),
            None => format!("state `{}` is removed", part(record, &["key"])),
        },
        "tools-told" => tools_told(&record["tools"]),
        "given-up" => format!("! the grant ends it: {}", ended(&record["end"])),
        "cancel-requested" => {
            let why = part(record, &["why"]);
            let why = if why.is_empty() {
                why
            } else {
                format!(": {why}")
            };
            format!("{} ended it{why}", by())
        }
        event => {
            let event = one_line(event);
            format!("{event} {}", rest(record, &["event", "seq", "at_ms"]))
        }
    }
}

pub(super) fn by(record: &Value) -> String {
    one_line(record["by"].as_str().unwrap_or("somebody"))
}

pub(super) fn note(record: &Value) -> String {
    match record["note"].as_str() {
        Some(note) => format!(": {}", cut(note, SHOWN_CHARS_MAX)),
        None => String::new(),
    }
}

/// A member as text, cut; empty where it is absent.
pub(super) fn part(value: &Value, path: &[&str]) -> String {
    let found = path.iter().try_fold(value, |value, name| value.get(*name));
    match found {
        Some(Value::String(text)) => cut(text, SHOWN_CHARS_MAX),
        Some(Value::Null) | None => String::new(),
        Some(other) => cut(&other.to_string(), SHOWN_CHARS_MAX),
    }
}

/// What is left of an object without some members.
fn rest(value: &Value, without: &[&str]) -> String {
    let mut rest = value.clone();
    if let Some(members) = rest.as_object_mut() {
        members.retain(|name, _| !without.contains(&name.as_str()));
    }
    cut(&rest.to_string(), SHOWN_CHARS_MAX)
}

/// One line, safe for a terminal, of at most so many characters.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    let end = text.char_indices().nth(chars_max);
    match end {
        Some((end, _)) => format!("{}…", one_line(&text[..end])),
        None => one_line(text),
    }
}

/// A time that passed, in two units at most.
pub(super) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..=59 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}
