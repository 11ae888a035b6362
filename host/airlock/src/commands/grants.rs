//! `airlock grant`, `revoke`, `grants`, `rollback`, `explain`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::missing::missing;
use super::order::idle;
use super::plugins::list_of;
use super::refused::{as_given, for_all};
use super::{Session, read_input};
use crate::cli;
use crate::client::{Request, encode};
use crate::exit::{Failure, Misuse};
use crate::output::{cell, print_error, table, time};

/// Attempts at a change of what others change at the same time.
const ATTEMPTS_MAX: u32 = 40;

/// How long to wait before the second attempt; longer before later ones.
const ATTEMPT_WAIT: Duration = Duration::from_millis(5);

/// As routes spell [`path`].
const GRANTS: &str = "/v1/plugins/{plugin}/grants";

pub(super) fn path(plugin: &str) -> String {
    format!("/v1/plugins/{}/grants", encode(plugin))
}

/// Adds rules to those in force, or replaces them.
pub(super) fn grant(session: &Session, args: &cli::Grant) -> Result<()> {
    let text = match (&args.grants, &args.file) {
        (Some(text), _) => text.clone(),
        (None, Some(file)) => {
            String::from_utf8(read_input(file)?).context("the grants are not UTF-8")?
        }
        (None, None) if !args.limits.is_empty() => String::new(),
        (None, None) => return Err(Misuse("give grants, --file or --limit".to_owned()).into()),
    };
    let added: Value = toml::from_str::<toml::Table>(&text)
        .map_err(|error| Misuse(format!("the grants are not TOML: {error}")))
        .and_then(|table| serde_json::to_value(table).map_err(|error| Misuse(error.to_string())))?;
    let limits = limits(&args.limits)?;
    let nothing = added.as_object().is_none_or(Map::is_empty) && limits.is_empty();
    if !args.replace && nothing {
        return Err(Misuse("there are no grants in what was given".to_owned()).into());
    }
    let made = Change {
        plugin: &args.plugin,
        why: &args.why,
        named: added.get("effects"),
        limits,
    };
    let mut sent = Value::Null;
    let now = change(session, &made, |in_force| {
        let mut grants = match args.replace {
            true => json!({}),
            false => in_force.clone(),
        };
        merge(&mut grants, &added)?;
        sent = grants.clone();
        Ok(grants)
    });
    let now = now.map_err(|error| as_given(error, &added, &sent))?;
    session.format.show(&now, version_text)
}

/// Adds rules to those in force, and gives what is in force then.
pub(super) fn add_rules(
    session: &Session,
    plugin: &str,
    rules: &Value,
    why: &str,
) -> Result<Value> {
    let made = Change {
        plugin,
        why,
        named: rules.get("effects"),
        limits: Map::new(),
    };
    change(session, &made, |in_force| {
        let mut grants = in_force.clone();
        merge(&mut grants, rules)?;
        Ok(grants)
    })
}

/// Limits as they are typed, e.g. `cpu=5s`; the server knows which there are.
fn limits(typed: &[String]) -> Result<Map<String, Value>> {
    let limit = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .with_context(|| Misuse(format!("`{text}` is not a limit; write e.g. `cpu=5s`")))?;
        let value = match value.parse::<u64>() {
            Ok(number) => json!(number),
            Err(_) => json!(value),
        };
        Ok((name.to_owned(), value))
    };
    typed.iter().map(limit).collect()
}

/// A change of a plugin's grants.
struct Change<'a> {
    plugin: &'a str,
    why: &'a str,
    /// The classes that were typed, which are granted for what their tools claim
    /// now.
    named: Option<&'a Value>,
    /// In place of those in force.
    limits: Map<String, Value>,
}

/// Changes grants from what is in force, and anew when others changed that
/// meanwhile.
fn change(
    session: &Session,
    made: &Change<'_>,
    mut edit: impl FnMut(&Value) -> Result<Value>,
) -> Result<Value> {
    let Change { plugin, named, .. } = *made;
    for attempt in 1.. {
        let current = session.api.get(&path(plugin));
        let mut current = current.map_err(|error| for_all(error, "PUT", GRANTS))?;
        if let Some(limits) = current["limits"].as_object_mut() {
            limits.extend(made.limits.clone());
        }
        let grants = edit(&current["grants"])?;
        let component = match named {
            Some(named) => {
                let path = format!("/v1/plugins/{}", encode(plugin));
                claimed(&session.api.get(&path)?, named, &grants["effects"])?
            }
            None => None,
        };
        match put(session, plugin, &current, &grants, component, made.why) {
            Err(error) if attempt < ATTEMPTS_MAX && is_changed_meanwhile(&error) => {
                std::thread::sleep(ATTEMPT_WAIT * attempt.min(10));
            }
            now => {
                let now = now?;
                warn(plugin, &now["grants"], &current["grants"]);
                let new = beyond(&now["grants"], &current["grants"]);
                for text in missing(session, &new) {
                    print_error(&format!("new {text}"));
                }
                return Ok(now);
            }
        }
    }
    anyhow::bail!("the grants of {plugin} are changed by others all the time")
}

/// The rules that were not there before.
fn beyond(now: &Value, before: &Value) -> Value {
    let capabilities = now.as_object().into_iter().flatten();
    let fresh = |(name, rules): (&String, &Value)| {
        let known = before[name].as_array().cloned().unwrap_or_default();
        let new = rules
            .as_array()?
            .iter()
            .filter(|rule| !known.contains(rule));
        Some((name.clone(), new.cloned().collect::<Value>()))
    };
    Value::Object(capabilities.filter_map(fresh).collect())
}

/// Tells of new rules that never hold, and of old ones that cover nothing.
fn warn(plugin: &str, now: &Value, before: &Value) {
    for found in idle(now) {
        let rule = &now[found.capability][found.rule];
        let known = before[found.capability].as_array();
        if !found.is_behind() || known.is_none_or(|known| !known.contains(rule)) {
            print_error(&found.text(plugin, now));
        }
    }
}

/// The component that the classes are granted for, where it has tools that are
/// refused since they claim other effects than before, and those were named.
fn claimed(detail: &Value, named: &Value, effects: &Value) -> Result<Option<String>> {
    let tools = detail["tools"].as_array().into_iter().flatten();
    let refused = tools.filter(|tool| tool["claim_changed"] == true);
    let refused: Vec<String> = refused.map(|tool| cell(tool, "name")).collect();
    let is_named = |tool: &String| named.get(tool).is_some();
    if !refused.iter().any(is_named) {
        return Ok(None);
    }
    let mut left = refused.iter().filter(|tool| !is_named(tool));
    match left.find(|tool| effects.get(tool.as_str()).is_some()) {
        None => Ok(detail["digest"].as_str().map(str::to_owned)),
        Some(tool) => Err(Misuse(format!(
            "`{tool}` claims other effects than were granted, too: name its class as well"
        ))
        .into()),
    }
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
    component: Option<String>,
    why: &str,
) -> Result<Value> {
    let body = json!({
        "grants": grants,
        "limits": current["limits"],
        "descriptions": current.get("descriptions").unwrap_or(&json!({})),
        "why": why,
        "expected_version": current["version"],
        "expected_digest": component,
    });
    session
        .api
        .value(&Request::json("PUT", path(plugin), &body))
}

/// Takes a rule, a capability or everything away.
pub(super) fn revoke(session: &Session, args: &cli::Revoke) -> Result<()> {
    let mut meant = None;
    let made = Change {
        plugin: &args.plugin,
        why: &args.why,
        named: None,
        limits: Map::new(),
    };
    let now = change(session, &made, |in_force| {
        let mut grants = in_force.as_object().cloned().unwrap_or_default();
        match &args.capability {
            None => grants.clear(),
            Some(capability) => take_away(&mut grants, args, capability, &mut meant)?,
        }
        Ok(Value::Object(grants))
    })?;
    session.format.show(&now, version_text)
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
        history_text(versions.as_array().map_or(&[], Vec::as_slice))
    })
}

/// Newest first, as the API lists them.
fn history_text(versions: &[Value]) -> String {
    let line = |(at, version): (usize, &Value)| {
        let number = version["version"].as_u64().unwrap_or_default();
        let before = versions.get(at + 1).map(|before| &before["grants"]);
        // The first version changes nothing at all; of the last of a page it is
        // not known what it changed.
        let what = match (before, number) {
            (Some(before), _) => changed(before, &version["grants"]),
            (None, 1) => changed(&Value::Null, &version["grants"]),
            (None, _) => "-".to_owned(),
        };
        let how = match version["restored"].as_u64() {
            Some(restored) => format!("{} to {restored}", cell(version, "action")),
            None => cell(version, "action"),
        };
        vec![
            cell(version, "version"),
            version["at_ms"].as_u64().map(time).unwrap_or_default(),
            cell(version, "by"),
            how,
            what,
            cell(version, "why"),
        ]
    };
    let lines: Vec<Vec<String>> = versions.iter().enumerate().map(line).collect();
    table(&["VERSION", "WHEN", "WHO", "HOW", "RULES", "WHY"], &lines)
}

/// How many rules, or classes of tools, of each capability came and went, e.g.
/// `+1 -2 http`.
fn changed(before: &Value, after: &Value) -> String {
    let rules = |grants: &Value, capability: &str| -> Vec<Value> {
        match &grants[capability] {
            Value::Array(rules) => rules.clone(),
            Value::Object(entries) => {
                let entry = |(name, value)| json!([name, value]);
                entries.iter().map(entry).collect()
            }
            _ => Vec::new(),
        }
    };
    let names = |grants: &Value| -> BTreeSet<String> {
        let members = grants.as_object().into_iter().flatten();
        members.map(|(name, _)| name.clone()).collect()
    };
    let change = |name: String| {
        let (was, is) = (rules(before, &name), rules(after, &name));
        let count = |here: &[Value], there: &[Value], sign: char| match here
            .iter()
            .filter(|rule| !there.contains(rule))
            .count()
        {
            0 => String::new(),
            count => format!("{sign}{count} "),
        };
        let told = count(&is, &was, '+') + &count(&was, &is, '-');
        (!told.is_empty()).then(|| told + &name)
    };
    let all: BTreeSet<String> = &names(before) | &names(after);
    let changes: Vec<String> = all.into_iter().filter_map(change).collect();
    match changes.is_empty() {
        true => "-".to_owned(),
        false => changes.join(", "),
    }
}

pub(super) fn rollback(session: &Session, args: &cli::Rollback) -> Result<()> {
    let body = json!({ "version": args.version, "why": args.why });
    let path = format!("{}/rollback", path(&args.plugin));
    let now: Value = session.api.value(&Request::json("POST", path, &body))?;
    session.format.show(&now, version_text)
}

fn version_text(version: &Value) -> String {
    let at = version["at_ms"]
        .as_u64()
        .filter(|ms| *ms > 0)
        .map(time)
        .unwrap_or_default();
    let held = match version["sandboxed"] == false {
        true => "\nNOT SANDBOXED: an MCP server of others, which no grant holds back",
        false => "",
    };
    let head = format!(
        "{} grants version {} {at}{held}",
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
    fn classes_are_granted_for_what_their_tools_claim_now() {
        let tool = |name: &str, changed: bool| json!({ "name": name, "claim_changed": changed });
        let detail = json!({
            "digest": "sha256:2", "tools": [tool("a", true), tool("b", true), tool("c", false)],
        });
        let (plain, all) = ("plain", json!({ "a": "plain", "b": "plain", "c": "plain" }));
        let table = [
            (
                json!({ "a": plain, "b": plain }),
                &all,
                Ok(Some("sha256:2")),
            ),
            (json!({ "c": plain }), &all, Ok(None)),
            (json!({ "a": plain }), &all, Err("`b` claims other effects")),
            // The other one is granted no class any more.
            (
                json!({ "a": plain }),
                &json!({ "a": plain }),
                Ok(Some("sha256:2")),
            ),
        ];
        for (named, effects, expect) in table {
            let found = claimed(&detail, &named, effects).map_err(|error| error.to_string());
            match (&found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found.as_deref(), expect, "{named}"),
                (Err(found), Err(expect)) => assert!(found.starts_with(expect), "{found}"),
                _ => panic!("{named}: {found:?}"),
            }
        }
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

    #[test]
    fn history_says_what_changed_and_where_it_went_back_to() {
        let versions = [
            json!({ "version": 3, "at_ms": 0, "by": "a", "action": "rollback", "restored": 1, "grants": { "kv": [1] } }),
            json!({ "version": 2, "at_ms": 0, "by": "a", "action": "set", "grants": { "kv": [1, 2], "effects": { "t": "plain" } } }),
            json!({ "version": 1, "at_ms": 0, "by": "a", "action": "set", "grants": { "kv": [1] }, "why": "w" }),
        ];
        let text = history_text(&versions);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert!(
            lines[0].contains("rollback to 1  -1 effects, -1 kv"),
            "{text}"
        );
        assert!(lines[1].contains("+1 effects, +1 kv"), "{text}");
        assert!(
            lines[2].contains("+1 kv") && lines[2].ends_with('w'),
            "{text}"
        );
        let cut = history_text(&versions[..1]);
        assert!(cut.ends_with("rollback to 1  -      -"), "{cut}");
    }
}
