//! `airlock grant`, `revoke`, `grants`, `rollback`, `explain`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::plugins::list_of;
use super::{Session, read_input};
use crate::cli;
use crate::client::{Request, encode};
use crate::exit::Misuse;
use crate::output::{cell, table, time};

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
    let current = session.api.get(&path(&args.plugin))?;
    let mut grants = if args.replace {
        json!({})
    } else {
        current["grants"].clone()
    };
    merge(&mut grants, &added)?;
    put(session, &args.plugin, &current, &grants, &args.why)
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

fn put(session: &Session, plugin: &str, current: &Value, grants: &Value, why: &str) -> Result<()> {
    let body = json!({
        "grants": grants,
        "limits": current["limits"],
        "descriptions": current.get("descriptions").unwrap_or(&json!({})),
        "why": why,
        "expected_version": current["version"],
    });
    let now: Value = session
        .api
        .value(&Request::json("PUT", path(plugin), &body))?;
    session.format.show(&now, version_text)
}

/// Takes a rule, a capability or everything away.
pub(super) fn revoke(session: &Session, args: &cli::Revoke) -> Result<()> {
    let current = session.api.get(&path(&args.plugin))?;
    let mut grants = current["grants"].as_object().cloned().unwrap_or_default();
    match (&args.capability, args.rule) {
        (None, _) => grants = Map::new(),
        (Some(capability), rule) => {
            let rules = grants
                .get_mut(capability)
                .with_context(|| nothing(&args.plugin, capability))?;
            let list = rules
                .as_array_mut()
                .filter(|list| rule.is_none_or(|index| index < list.len()));
            match (list, rule) {
                (Some(list), Some(index)) => drop(list.remove(index)),
                (_, None) => drop(grants.remove(capability)),
                (None, Some(index)) => {
                    return Err(Misuse(format!(
                        "{} has no {capability} rule {index}",
                        args.plugin
                    ))
                    .into());
                }
            }
        }
    }
    put(
        session,
        &args.plugin,
        &current,
        &Value::Object(grants),
        &args.why,
    )
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
    let body = json!({ "capability": args.capability, "operation": args.operation.join(" ") });
    let path = format!("/v1/plugins/{}/explain", encode(&args.plugin));
    let answer: Value = session.api.value(&Request::json("POST", path, &body))?;
    session.format.show(&answer, |answer| {
        let operation = cell(answer, "operation");
        match (answer["allowed"] == true, answer["rule"].as_u64()) {
            (true, Some(rule)) => format!(
                "allowed: {operation}\n  by {} rule {rule}: {}",
                args.capability,
                cell(answer, "because")
            ),
            (true, None) => format!("allowed: {operation}\n  {}", cell(answer, "because")),
            (false, _) => format!("denied: {operation}\n  {}", cell(answer, "because")),
        }
    })?;
    Ok(if answer["allowed"] == true {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
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
