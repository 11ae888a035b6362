//! `airlock approvals`: the inbox of those whom agents ask.

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::plugins::list_of;
use crate::cli::Approvals;
use crate::client::{Request, encode};
use crate::output::{cell, json_text, one_line, table, time};

pub(super) fn run(session: &Session, command: Approvals) -> Result<()> {
    match command {
        Approvals::List => {
            let answer = session.api.get("/v1/approvals")?;
            session.format.show(&answer, list_text)
        }
        Approvals::Show { id } => {
            let asked = session.api.get(&path(&id))?;
            session.format.show(&asked, show_text)
        }
        Approvals::Approve { id, note } => decide(session, &id, "approve", note),
        Approvals::Deny { id, note } => decide(session, &id, "deny", note),
        Approvals::Decide { id, decision, note } => decide(session, &id, &decision, note),
    }
}

fn path(id: &str) -> String {
    format!("/v1/approvals/{}", encode(id))
}

fn decide(session: &Session, id: &str, decision: &str, note: Option<String>) -> Result<()> {
    let body = json!({ "decision": decision, "note": note });
    session.api.ok(&Request::json("POST", path(id), &body))?;
    let decided = json!({ "decided": id, "decision": decision });
    session
        .format
        .show(&decided, |_| format!("{decision}: {id}"))
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
    table(&header, &lines)
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

fn show_text(asked: &Value) -> String {
    let name = |name: &str| one_line(&cell(asked, name));
    let mut lines = vec![name("text"), String::new()];
    let mut row = |label: &str, text: String| lines.push(format!("  {label:<9} {text}"));
    row("question", name("id"));
    row(
        "run",
        format!(
            "{} of {}, started by {}",
            name("run"),
            name("agent"),
            name("by")
        ),
    );
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
        lines.push(json_text(payload).unwrap_or_default());
    }
    lines.join("\n")
}
