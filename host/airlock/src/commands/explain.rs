//! `airlock explain`.

use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::Session;
use super::grants::path;
use super::missing::missing;
use crate::cli;
use crate::client::{Request, encode};
use crate::output::cell;

/// Exits with 3 when the operation would be denied.
pub(super) fn explain(session: &Session, args: &cli::Explain) -> Result<ExitCode> {
    let body = json!({
        "capability": args.capability,
        "operation": args.operation.join(" "),
        "tool": args.tool,
    });
    let path = format!("/v1/plugins/{}/explain", encode(&args.plugin));
    let answer: Value = session.api.value(&Request::json("POST", path, &body))?;
    let asks = asks(session, args, &answer);
    let lacks = lacks(session, args, &answer);
    session.format.show(&answer, |answer| {
        let mut text = explained(&args.capability, answer) + asks.unwrap_or_default();
        for line in &lacks {
            text.push_str(&format!("\n  but {line}"));
        }
        text
    })?;
    Ok(if answer["allowed"] == true {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// What the rule that allows it names and is not there.
fn lacks(session: &Session, args: &cli::Explain, answer: &Value) -> Vec<String> {
    let rule = answer["rule"]
        .as_u64()
        .filter(|_| answer["allowed"] == true);
    let (Some(rule), Ok(current)) = (rule, session.api.get(&path(&args.plugin))) else {
        return Vec::new();
    };
    let prefix = format!("{} rule {rule}: ", args.capability);
    let all = missing(session, &current["grants"]).into_iter();
    let of_rule = all.filter_map(|text| text.strip_prefix(&prefix).map(str::to_owned));
    of_rule.collect()
}

/// Whether a person is asked before a call that is allowed, where its rule says.
fn asks(session: &Session, args: &cli::Explain, answer: &Value) -> Option<&'static str> {
    let rule = answer["rule"].as_u64()?;
    if args.capability != "tools" || answer["allowed"] != true {
        return None;
    }
    let grants = session.api.get(&path(&args.plugin)).ok()?;
    let rule = &grants["grants"]["tools"][usize::try_from(rule).ok()?];
    Some(match rule["approval"].as_str() {
        Some("always") => "\n  once a person has approved it: approval = \"always\"",
        Some("never") => "\n  without asking a person: approval = \"never\"",
        _ => "\n  a person is asked first where the run's autonomy and the tool's class say so",
    })
}

fn explained(capability: &str, answer: &Value) -> String {
    let operation = cell(answer, "operation");
    let because = cell(answer, "because");
    if answer["sandboxed"] == false && answer["allowed"] == true {
        return format!("NOT SANDBOXED: {operation}\n  {because}");
    }
    let mut text = match (answer["allowed"] == true, answer["rule"].as_u64()) {
        (true, Some(rule)) => {
            format!("allowed: {operation}\n  by {capability} rule {rule}: {because}")
        }
        (true, None) => format!("allowed: {operation}\n  {because}"),
        (false, _) => format!("denied: {operation}\n  {because}"),
    };
    let not_for = answer["not_for"].as_array().into_iter().flatten();
    let not_for: Vec<&str> = not_for.filter_map(Value::as_str).collect();
    if !not_for.is_empty() {
        let tools = not_for.join(", ");
        text.push_str(&format!(
            "\n  but denied to {tools}: called as read-only, and this changes something"
        ));
    }
    text
}
