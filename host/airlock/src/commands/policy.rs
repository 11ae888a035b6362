//! `airlock apply`: the difference between a policy file and what is in force,
//! and making it so.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Session;
use super::plugins::{changes, component_file, install};
use crate::cli;
use crate::client::{Request, encode};
use crate::output::{Format, cell, print};

pub(super) fn apply(session: &Session, args: &cli::Apply) -> Result<()> {
    let text = std::fs::read_to_string(&args.policy)
        .with_context(|| format!("reading {}", args.policy.display()))?;
    let mut diff = ask(session, "/v1/policy/diff", &text, "")?["diff"].clone();
    if args.yes {
        install_missing(session, &args.policy, &text, &diff)?;
        let applied = ask(session, "/v1/policy/apply", &text, &args.why)?;
        if session.format == Format::Json {
            return session.format.show(&applied, |_| String::new());
        }
        diff = applied["diff"].clone();
    }
    session.format.show(&diff, |diff| {
        let end = match (args.yes, is_empty(diff)) {
            (_, true) => "nothing to change",
            (true, false) => "applied",
            (false, false) => "not applied; add --yes to apply it",
        };
        format!("{}{end}", diff_text(diff))
    })
}

fn ask(session: &Session, path: &str, policy: &str, why: &str) -> Result<Value> {
    let path = match why.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?why={}", encode(why)),
    };
    session.api.value(&Request::bytes(
        "POST",
        path,
        "application/toml",
        policy.as_bytes().to_vec(),
    ))
}

/// Installs the components that the policy names and the server lacks. Only
/// this program reads them: a server never fetches what a request names.
fn install_missing(session: &Session, file: &Path, text: &str, diff: &Value) -> Result<()> {
    let policy: toml::Table = toml::from_str(text).context("parsing the policy")?;
    for plugin in diff["plugins"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|plugin| plugin["missing"] == true)
    {
        let name = cell(plugin, "plugin");
        let entry = policy.get("plugins").and_then(|plugins| plugins.get(&name));
        let source = entry
            .and_then(|entry| entry.get("source"))
            .and_then(|source| source.as_str());
        let source = source
            .with_context(|| format!("`{name}` is not installed and the policy names no source"))?;
        let digest = entry
            .and_then(|entry| entry.get("digest"))
            .and_then(|digest| digest.as_str());
        let base = file.parent().unwrap_or(Path::new("."));
        let component = component_file(&base.join(source))?;
        let bytes = std::fs::read(&component)
            .with_context(|| format!("reading {}", component.display()))?;
        install(&session.api, &name, bytes, digest)?;
        if session.format == Format::Text {
            print(&format!("installed {name} from {source}"))?;
        }
    }
    Ok(())
}

fn is_empty(diff: &Value) -> bool {
    let plugins = diff["plugins"].as_array().into_iter().flatten();
    plugins.into_iter().all(|plugin| {
        plugin["changes"].as_array().is_none_or(Vec::is_empty)
            && plugin["missing"] != true
            && plugin["digest_now"] == plugin["digest_after"]
    })
}

fn diff_text(diff: &Value) -> String {
    let mut text = String::new();
    for plugin in diff["plugins"].as_array().into_iter().flatten() {
        text.push_str(&format!("[{}]", cell(plugin, "plugin")));
        if plugin["missing"] == true {
            text.push_str(" is not installed; it will be, from its source");
        } else if plugin["digest_now"] != plugin["digest_after"] {
            text.push_str(&format!(
                " {} -> {}",
                cell(plugin, "digest_now"),
                cell(plugin, "digest_after")
            ));
        }
        text.push_str(&changes(&plugin["version_changes"]));
        text.push('\n');
        for change in plugin["changes"].as_array().into_iter().flatten() {
            text.push_str(&change_text(change));
        }
    }
    for name in diff["unnamed"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        text.push_str(&format!(
            "[{name}] is installed and not in the policy; it stays as it is\n"
        ));
    }
    text
}

fn change_text(change: &Value) -> String {
    let path = cell(change, "path");
    let removed = change["from"]
        .as_str()
        .map(|from| format!("  - {path}: {from}\n"))
        .unwrap_or_default();
    let added = change["to"]
        .as_str()
        .map(|to| format!("  + {path}: {to}\n"))
        .unwrap_or_default();
    removed + &added
}
