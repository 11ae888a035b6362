//! `airlock grant`, `revoke`, `grants`, `rollback`, `explain`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::plugins::list_of;
use super::{Session, read_input};
use crate::cli;
use crate::client::{Request, encode};
use crate::exit::{Failure, Misuse};
use crate::output::{cell, table, time};

/// Attempts at a change of what others change at the same time.
const ATTEMPTS_MAX: u32 = 40;

/// How long to wait before the second attempt; longer before later ones.
const ATTEMPT_WAIT: Duration = Duration::from_millis(5);

fn path(plugin: &str) -> String {
    format!("/v1/plugins/{}/grants", encode(plugin))
}

/// Adds rules to those in force, or replaces them.
pub(super) fn grant(session: &Session, args: &cli::Grant) -> Result<()> {
    let text = match (&args.grants, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => {
            String::from_utf8(read_input(file)?).context("the grants are not UTF-8")?
        }
        (None, None) => return Err(Misuse("give grants, or --file".to_owned()).into()),
    };
    let added: Value = toml::from_str::<toml::Table>(&text)
        .map_err(|error| Misuse(format!("the grants are not TOML: {error}")))
        .and_then(|table| serde_json::to_value(table).map_err(|error| Misuse(error.to_string())))?;
    change(session, &args.plugin, &args.why, |in_force| {
        let mut grants = match args.replace {
            true => json!({}),
            false => in_force.clone(),
        };
        merge(&mut grants, &added)?;
        Ok(grants)
    })
}

/// Changes grants from what is in force, and anew when others changed that
/// meanwhile.
fn change(
    session: &Session,
    plugin: &str,
    why: &str,
    mut edit: impl FnMut(&Value) -> Result<Value>,
) -> Result<()> {
    for attempt in 1.. {
        let current = session.api.get(&path(plugin))?;
        let grants = edit(&current["grants"])?;
        match put(session, plugin, &current, &grants, why) {
            Err(error) if attempt < ATTEMPTS_MAX && is_changed_meanwhile(&error) => {
                std::thread::sleep(ATTEMPT_WAIT * attempt.min(10));
            }
            now => return session.format.show(&now?, version_text),
        }
    }
    Ok(())
}

fn is_changed_meanwhile(error: &anyhow::Error) -> bool {
    let failure = error.downcast_ref::<Failure>();
    failure.is_some_and(|failure| failure.code == "changed-meanwhile")
}

/// Adds lists to lists and keys to tables.
fn merge(grants: &mut Value, added: &Value) -> Result<()> {
    let into = grants
        .as_object_mut()
        .context("the grants in force are not a table")?;
    for (capability, more) in added.as_object().into_iter().flatten() {
        let slot = into
            .entry(capability.clone())
            .or_insert_with(|| match more {
                Value::Array(_) => json!([]),
                _ => json!({}),
            });
        match (slot, more) {
            (Value::Array(rules), Value::Array(new)) => {
                let fresh: Vec<Value> = new
                    .iter()
                    .filter(|rule| !rules.contains(rule))
                    .cloned()
                    .collect();
                rules.extend(fresh);
            }
            (Value::Object(entries), Value::Object(new)) => entries.extend(new.clone()),
            (slot, more) => *slot = more.clone(),
        }
    }
    Ok(())
}

fn put(
    session: &Session,
    plugin: &str,
    current: &Value,
    grants: &Value,
    why: &str,
) -> Result<Value> {
    let body = json!({
        "grants": grants,
        "limits": current["limits"],
        "descriptions": current.get("descriptions").unwrap_or(&json!({})),
        "why": why,
        "expected_version": current["version"],
    });
    session
        .api
        .value(&Request::json("PUT", path(plugin), &body))
}

/// Takes a rule, a capability or everything away.
pub(super) fn revoke(session: &Session, args: &cli::Revoke) -> Result<()> {
    let mut meant = None;
    change(session, &args.plugin, &args.why, |in_force| {
        let mut grants = in_force.as_object().cloned().unwrap_or_default();
        match &args.capability {
            None => grants.clear(),
            Some(capability) => take_away(&mut grants, args, capability, &mut meant)?,
        }
        Ok(Value::Object(grants))
    })
}

/// Takes one rule or all of a capability. The rule with the number that was given
/// is `meant` from then on, wherever others move it.
fn take_away(
    grants: &mut Map<String, Value>,
    args: &cli::Revoke,
    capability: &str,
    meant: &mut Option<Value>,
) -> Result<()> {
    let rules = grants
        .get_mut(capability)
        .with_context(|| nothing(&args.plugin, capability))?;
    let Some(number) = args.rule else {
        grants.remove(capability);
        return Ok(());
    };
    let mut none = Vec::new();
    let list = rules.as_array_mut().unwrap_or(&mut none);
    let at = match meant {
        Some(rule) => list.iter().position(|other| other == rule),
        None => Some(number).filter(|number| *number < list.len()),
    };
    let missing = || Misuse(format!("{} has no {capability} rule {number}", args.plugin));
    *meant = Some(list.remove(at.ok_or_else(missing)?));
    Ok(())
}

fn nothing(plugin: &str, capability: &str) -> Misuse {
    Misuse(format!(
        "{plugin} has no grant for {capability}; see airlock grants {plugin}"
    ))
}

pub(super) fn show(session: &Session, args: &cli::Grants) -> Result<()> {
    if !args.history {
        let current = session.api.get(&path(&args.plugin))?;
        return session.format.show(&current, version_text);
    }
    let history = session
        .api
        .get(&format!("{}/history", path(&args.plugin)))?;
    session.format.show(&history, |history| {
        let versions = list_of(history, "versions");
        let items = versions.as_array().into_iter().flatten();
        let lines: Vec<Vec<String>> = items
            .map(|version| {
                let at = version["at_ms"].as_u64().map(time).unwrap_or_default();
                vec![
                    cell(version, "version"),
                    at,
                    cell(version, "by"),
                    cell(version, "action"),
                    cell(version, "why"),
                ]
            })
            .collect();
        table(&["VERSION", "WHEN", "WHO", "HOW", "WHY"], &lines)
    })
}

pub(super) fn rollback(session: &Session, args: &cli::Rollback) -> Result<()> {
    let body = json!({ "version": args.version, "why": args.why });
    let path = format!("{}/rollback", path(&args.plugin));
    let now: Value = session.api.value(&Request::json("POST", path, &body))?;
    session.format.show(&now, version_text)
}

/// Exits with 3 when the operation would be denied.
pub(super) fn explain(session: &Session, args: &cli::Explain) -> Result<ExitCode> {
    let body = json!({
        "capability": args.capability,
        "operation": args.operation.join(" "),
        "tool": args.tool,
    });
    let path = format!("/v1/plugins/{}/explain", encode(&args.plugin));
    let answer: Value = session.api.value(&Request::json("POST", path, &body))?;
    session
        .format
        .show(&answer, |answer| explained(&args.capability, answer))?;
    Ok(if answer["allowed"] == true {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

fn explained(capability: &str, answer: &Value) -> String {
    let operation = cell(answer, "operation");
    let because = cell(answer, "because");
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

fn version_text(version: &Value) -> String {
    let at = version["at_ms"]
        .as_u64()
        .filter(|ms| *ms > 0)
        .map(time)
        .unwrap_or_default();
    let head = format!(
        "{} grants version {} {at}",
        cell(version, "plugin"),
        cell(version, "version")
    );
    format!(
        "{}\n{}{}",
        head.trim_end(),
        rules_text(&version["grants"]),
        limits_text(&version["limits"])
    )
}

/// Rules with their numbers, as `revoke` takes them.
pub(crate) fn rules_text(grants: &Value) -> String {
    let mut text = String::new();
    for (capability, rules) in grants.as_object().into_iter().flatten() {
        match rules {
            Value::Array(rules) => {
                for (index, rule) in rules.iter().enumerate() {
                    text.push_str(&format!("  {capability} {index}: {}\n", toml_inline(rule)));
                }
            }
            other => text.push_str(&format!("  {capability}: {}\n", toml_inline(other))),
        }
    }
    if text.is_empty() {
        "  nothing\n".to_owned()
    } else {
        text
    }
}

fn limits_text(limits: &Value) -> String {
    let parts = limits
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name} {}", toml_inline(value).replace('"', "")));
    format!("  limits: {}\n", parts.collect::<Vec<_>>().join(", "))
}

/// JSON as the TOML that could stand in a grants file, on one line.
fn toml_inline(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let parts = entries
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| format!("{k} = {}", toml_inline(v)));
            format!("{{ {} }}", parts.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(toml_inline).collect::<Vec<_>>().join(", ")
        ),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_added_once_and_tables_by_key() {
        let mut grants = json!({ "http": [{ "url": "a" }], "effects": { "get": "read-only" } });
        let added = json!({ "http": [{ "url": "a" }, { "url": "b" }], "effects": { "put": "plain" }, "kv": [{ "bucket": "x" }] });
        merge(&mut grants, &added).expect("merge");
        let expect = json!({
            "http": [{ "url": "a" }, { "url": "b" }],
            "effects": { "get": "read-only", "put": "plain" },
            "kv": [{ "bucket": "x" }],
        });
        assert_eq!(grants, expect);
    }

    #[test]
    fn a_rule_is_taken_away_wherever_it_has_moved_to() {
        let args = cli::Revoke {
            plugin: "p".to_owned(),
            capability: Some("kv".to_owned()),
            rule: Some(1),
            why: String::new(),
        };
        let mut meant = None;
        let mut take = |rules: Value| {
            let mut grants = Map::from_iter([("kv".to_owned(), rules)]);
            take_away(&mut grants, &args, "kv", &mut meant).map(|()| grants["kv"].clone())
        };
        let first = take(json!([{ "bucket": "a" }, { "bucket": "b" }]));
        assert_eq!(first.expect("rule 1"), json!([{ "bucket": "a" }]));
        let moved = take(json!([{ "bucket": "b" }, { "bucket": "c" }]));
        assert_eq!(moved.expect("the same"), json!([{ "bucket": "c" }]));
        let gone = take(json!([{ "bucket": "c" }, { "bucket": "d" }]));
        assert!(gone.expect_err("gone").is::<Misuse>());
    }

    #[test]
    fn rules_read_like_a_grants_file() {
        let grants = json!({ "files": [{ "host": "/srv", "guest": "/data", "access": "read" }], "effects": { "list": "read-only" } });
        let text = rules_text(&grants);
        assert!(
            text.contains("files 0: { host = \"/srv\", guest = \"/data\", access = \"read\" }"),
            "{text}"
        );
        assert!(text.contains("effects: { list = \"read-only\" }"), "{text}");
    }
}
