//! `airlock approvals`: the inbox of those whom agents ask.

use airlock_text::is_unseen;
use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::plugins::list_of;
use super::runs::{KEPT, say_without_server};
use crate::cli::{Approvals, DecideWith};
use crate::client::{Request, encode};
use crate::output::{cell, json_seen, one_line, table, time};

pub(super) fn run(session: &Session, command: Approvals) -> Result<()> {
    match command {
        Approvals::List { agent, after } => {
            let given = [("agent", agent), ("after", after)];
            let given = given.into_iter().filter_map(|(name, value)| {
                let value = value?;
                Some(format!("{name}={}", encode(&value)))
            });
            let query: Vec<String> = given.collect();
            let path = format!("/v1/approvals?{}", query.join("&"));
            let answer = session.api.get(&path)?;
            session.format.show(&answer, list_text)
        }
        Approvals::Show { id } => {
            let asked = session.api.get(&path(&id))?;
            let about = About::of(session, &asked);
            session
                .format
                .show(&asked, |asked| show_text(asked, &about))
        }
        Approvals::Approve { id, with } => decide(session, &id, "approve", with),
        Approvals::Deny { id, with } => decide(session, &id, "deny", with),
        Approvals::Decide { id, decision, with } => decide(session, &id, &decision, with),
    }
}

fn path(id: &str) -> String {
    format!("/v1/approvals/{}", encode(id))
}

/// What is decided is what was looked at: the hash that was named, else the one of
/// the question as it is shown with the decision.
fn decide(session: &Session, id: &str, decision: &str, with: DecideWith) -> Result<()> {
    let asked: Value = match with.binding {
        None => session.api.get(&path(id))?,
        Some(_) => Value::Null,
    };
    let binding = with.binding.as_deref().or(asked["binding"].as_str());
    let body = json!({ "decision": decision, "note": with.note, "binding": binding });
    session.api.ok(&Request::json("POST", path(id), &body))?;
    let decided = json!({ "decided": id, "decision": decision, "binding": binding });
    session.format.show(&decided, |_| match &asked {
        Value::Null => format!("{decision}: {id}"),
        asked => {
            let about = About::of(session, asked);
            format!("{}\n\n{decision}: {id}", show_text(asked, &about))
        }
    })?;
    say_without_server(session, KEPT);
    Ok(())
}

fn list_text(answer: &Value) -> String {
    let approvals = list_of(answer, "approvals");
    let lines: Vec<Vec<String>> = approvals
        .as_array()
        .into_iter()
        .flatten()
        .map(|asked| {
            vec![
                cell(asked, "id"),
                cell(asked, "agent"),
                choices(asked, "|"),
                who(asked),
                asked["due_ms"].as_u64().map(time).unwrap_or_default(),
                cell(asked, "text"),
            ]
        })
        .collect();
    let header = ["QUESTION", "AGENT", "CHOICES", "WHO", "DUE", "TEXT"];
    let listed = table(&header, &lines);
    match answer["next_after"].as_str() {
        Some(run) => format!(
            "{listed}\nmore: airlock approvals list --after {}",
            one_line(run)
        ),
        None => listed,
    }
}

fn choices(asked: &Value, between: &str) -> String {
    let choices = asked["choices"].as_array().into_iter().flatten();
    let choices: Vec<&str> = choices.filter_map(Value::as_str).collect();
    choices.join(between)
}

/// E.g. `approver`, or `2 admin (1 so far)`.
fn who(asked: &Value) -> String {
    let role = cell(asked, "role");
    let so_far = asked["approvals"].as_array().map_or(0, Vec::len);
    match asked["approvers"].as_u64() {
        Some(number) if number > 1 => format!("{number} {role} ({so_far} so far)"),
        _ => role,
    }
}

/// What a question is about, as far as whoever asks may see it.
#[derive(Default)]
struct About {
    run: Value,
}

impl About {
    fn of(session: &Session, asked: &Value) -> Self {
        let path = super::runs::path(&cell(asked, "run"));
        let Ok(run) = session.api.get(&path) else {
            return Self::default();
        };
        Self { run }
    }
}

fn show_text(asked: &Value, about: &About) -> String {
    let name = |name: &str| one_line(&cell(asked, name));
    let mut lines = vec![name("text"), String::new()];
    let mut row = |label: &str, text: String| lines.push(format!("  {label:<10} {text}"));
    row("question", name("id"));
    if let Some(at_ms) = asked["at_ms"].as_u64() {
        row("asked", time(at_ms));
    }
    row(
        "run",
        format!(
            "{} of {}, started by {}",
            name("run"),
            name("agent"),
            name("by")
        ),
    );
    for (label, of, member) in [
        ("goal", &about.run, "goal"),
        ("autonomy", &about.run, "autonomy"),
        ("class", asked, "tool_class"),
        ("tool", asked, "tool_description"),
    ] {
        if let Some(text) = of[member].as_str().filter(|text| !text.is_empty()) {
            row(label, super::described::first_line(text));
        }
    }
    row("choices", one_line(&choices(asked, " | ")));
    row("decided by", one_line(&who(asked)));
    if let Some(due_ms) = asked["due_ms"].as_u64() {
        let then = match asked["on_due"].as_str() {
            Some("escalates") => format!("then {} decides", name("escalates_to")),
            Some("denies") => "then it is denied".to_owned(),
            _ => "then the agent is told that nobody answered".to_owned(),
        };
        row("due", format!("{}, {then}", time(due_ms)));
    }
    for approval in asked["approvals"].as_array().into_iter().flatten() {
        let at = approval["at_ms"].as_u64().map(time).unwrap_or_default();
        let note = approval["note"].as_str().map(|note| format!(": {note}"));
        let note = one_line(&note.unwrap_or_default());
        row(
            "approved",
            format!("by {} {at}{note}", one_line(&cell(approval, "by"))),
        );
    }
    if let Some(binding) = asked["binding"].as_str() {
        row("for", one_line(binding));
    }
    if let Some(payload) = asked.get("payload") {
        lines.push(String::new());
        lines.push(json_seen(payload).unwrap_or_default());
    }
    let shown = lines.join("\n");
    let seen = |c: char| match c != '\n' && is_unseen(c) {
        true => c.escape_unicode().to_string(),
        false => c.to_string(),
    };
    shown.chars().map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_shows_what_is_needed_to_decide_it() {
        let asked = json!({
            "id": "run_1.2", "run": "run_1", "agent": "a", "by": "ada", "text": "call \u{2060}keeper/add?",
            "payload": { "to\u{200b}": "bob" }, "choices": ["approve", "deny"], "role": "approver", "approvers": 1, "at_ms": 0,
        });
        let run = json!({ "goal": "check May", "autonomy": "supervised" });
        let mut of_call = asked.clone();
        of_call["tool_class"] = "destructive".into();
        of_call["tool_description"] = "Adds.\nOne.".into();
        let text = show_text(&of_call, &About { run });
        for row in [
            "asked      1970-01-01 00:00:00Z",
            "goal       check May",
            "autonomy   supervised",
            "class      destructive",
            "tool       Adds. …",
            "decided by approver",
            "call \\u{2060}keeper/add?",
            r#""to\u200b": "bob""#,
        ] {
            assert!(text.contains(row), "{row} in {text}");
        }
        let unseen = show_text(&asked, &About::default());
        assert!(
            !unseen.contains("goal") && unseen.contains("run_1 of a"),
            "{unseen}"
        );
    }
}
