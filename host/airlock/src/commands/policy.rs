//! `airlock apply`: the difference between a policy file and what is in force,
//! and making it so.
//!
//! What must stay true: components are read, checked and compared before
//! anything changes, whether or not it is to be applied.

use std::path::Path;

use airlock_runtime::{Failure as _, Policy, PolicyError, Problem};
use anyhow::{Context, Result};
use serde_json::Value;

use super::Session;
use super::described::changes;
use super::order::idle;
use super::plugins::{Then, component_file, join, send};
use crate::cli;
use crate::client::{Request, encode};
use crate::exit::{Failure, Misuse};
use crate::output::{Format, cell, print, print_error};

/// A policy whose components are known, and what it would change.
struct Plan {
    policy: Policy,
    diff: Value,
    components: Vec<Component>,
}

/// A component that is to be installed.
struct Component {
    plugin: String,
    source: String,
    bytes: Vec<u8>,
}

pub(super) fn apply(session: &Session, args: &cli::Apply) -> Result<()> {
    let plan = Plan::new(session, &args.policy)?;
    let mut diff = plan.diff.clone();
    if let Some(plugin) = goes_back(&diff).filter(|_| args.yes && !args.downgrade) {
        return Err(Misuse(format!(
            "the policy goes back to a version of `{plugin}` that was installed before the active one: add --downgrade"
        ))
        .into());
    }
    if args.yes {
        let applied = plan.carry_out(session, args)?;
        if session.format == Format::Json {
            return session.format.show(&applied, |_| String::new());
        }
        diff = applied["diff"].clone();
    }
    session.format.show(&diff, |diff| {
        let end = match (args.yes, is_empty(diff)) {
            (true, _) if !plan.components.is_empty() => "applied",
            (_, true) => "nothing to change",
            (true, false) => "applied",
            (false, false) if goes_back(diff).is_some() => {
                "not applied; add --yes --downgrade to apply it"
            }
            (false, false) => "not applied; add --yes to apply it",
        };
        format!("{}{end}", diff_text(diff, &plan.policy))
    })?;
    warn(&plan.policy)
}

/// Tells of rules that never hold.
fn warn(policy: &Policy) -> Result<()> {
    for (plugin, entry) in &policy.plugins {
        let grants = serde_json::to_value(&entry.grants)?;
        for found in idle(&grants) {
            print_error(&found.text(plugin, &grants));
        }
    }
    Ok(())
}

impl Plan {
    fn new(session: &Session, file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let mut policy = Policy::parse(&text).map_err(failure)?;
        for entry in policy.plugins.values_mut() {
            // Without a digest, the component that is there now is meant.
            if let (Some(source), None) = (&entry.source, &entry.digest) {
                entry.digest = Some(airlock_runtime::digest(&read(file, source)?));
            }
        }
        let mut plan = Self {
            diff: ask(session, "/v1/policy/diff", &policy)?["diff"].clone(),
            policy,
            components: Vec::new(),
        };
        plan.check_missing(session, file)?;
        if !plan.components.is_empty() {
            plan.diff = ask(session, "/v1/policy/diff", &plan.policy)?["diff"].clone();
        }
        Ok(plan)
    }

    /// Reads the components that the server lacks and has them checked. Only this
    /// program reads them: a server never fetches what a request names.
    fn check_missing(&mut self, session: &Session, file: &Path) -> Result<()> {
        let plugins = self.diff["plugins"].as_array().into_iter().flatten();
        for plugin in plugins.filter(|plugin| plugin["missing"] == true) {
            let name = cell(plugin, "plugin");
            let entry = self.policy.plugins.get(&name);
            let digest = entry.and_then(|entry| entry.digest.as_deref());
            let Some(source) = entry.and_then(|entry| entry.source.clone()) else {
                return Err(no_source(name, digest));
            };
            let bytes = read(file, &source)?;
            send(&session.api, &name, bytes.clone(), digest, Then::Check)
                .map_err(|error| hinted(error, &format!("it is `{name}`, from {source}")))?;
            self.components.push(Component {
                plugin: name,
                source,
                bytes,
            });
        }
        Ok(())
    }

    fn carry_out(&self, session: &Session, args: &cli::Apply) -> Result<Value> {
        let mut installed: Vec<String> = Vec::new();
        for component in &self.components {
            let Component {
                plugin,
                source,
                bytes,
            } = component;
            send(&session.api, plugin, bytes.clone(), None, Then::Install)
                .map_err(|error| stopped(error, &installed))?;
            installed.push(plugin.clone());
            if session.format == Format::Text {
                print(&format!("installed {plugin} from {source}"))?;
            }
        }
        let (why, downgrade) = (encode(&args.why), args.downgrade);
        let path = format!("/v1/policy/apply?why={why}&downgrade={downgrade}");
        ask(session, &path, &self.policy).map_err(|error| stopped(error, &installed))
    }
}

fn read(policy: &Path, source: &str) -> Result<Vec<u8>> {
    let base = policy.parent().unwrap_or(Path::new("."));
    let component = component_file(&base.join(source))?;
    std::fs::read(&component).with_context(|| format!("reading {}", component.display()))
}

fn ask(session: &Session, path: &str, policy: &Policy) -> Result<Value> {
    let policy = serde_json::to_value(policy)?;
    session
        .api
        .value(&Request::json("POST", path.to_owned(), &policy))
}

fn failure(error: PolicyError) -> Failure {
    Failure {
        status: error.status(),
        code: error.code().to_owned(),
        problem: serde_json::to_value(Problem::of(&error)).unwrap_or_default(),
        hint: String::new(),
    }
}

fn no_source(plugin: String, digest: Option<&str>) -> anyhow::Error {
    let named = digest.map(str::to_owned);
    let mut refused = failure(PolicyError::NotInstalled {
        plugin: plugin.clone(),
        digest: named.unwrap_or_default(),
    });
    if digest.is_none() {
        refused.problem["detail"] = Value::from(format!("`{plugin}` is not installed"));
    }
    hinted(
        refused.into(),
        "the policy names no `source` to install it from",
    )
}

/// The failure with what to know beside it.
fn hinted(error: anyhow::Error, hint: &str) -> anyhow::Error {
    match error.downcast::<Failure>() {
        Ok(failure) => Failure {
            hint: hint.to_owned(),
            ..failure
        }
        .into(),
        Err(other) => other.context(hint.to_owned()),
    }
}

/// The failure with what was done before it.
fn stopped(error: anyhow::Error, installed: &[String]) -> anyhow::Error {
    let applied = error.downcast_ref::<Failure>().map_or_else(
        || "-".to_owned(),
        |failure| join(&failure.problem["applied"]),
    );
    let applied = match applied.as_str() {
        "-" => "nothing was applied".to_owned(),
        names => format!("applied before it: {names}"),
    };
    match installed.is_empty() {
        true => hinted(error, &applied),
        false => hinted(
            error,
            &format!("{applied}; installed: {}", installed.join(", ")),
        ),
    }
}

fn is_empty(diff: &Value) -> bool {
    let plugins = diff["plugins"].as_array().into_iter().flatten();
    plugins.into_iter().all(|plugin| {
        plugin["changes"].as_array().is_none_or(Vec::is_empty)
            && plugin["missing"] != true
            && plugin["digest_now"] == plugin["digest_after"]
    })
}

/// A plugin of which it goes back to an earlier version.
fn goes_back(diff: &Value) -> Option<String> {
    let mut plugins = diff["plugins"].as_array().into_iter().flatten();
    let back = plugins.find(|plugin| plugin["downgrade"] == true)?;
    Some(cell(back, "plugin"))
}

fn diff_text(diff: &Value, policy: &Policy) -> String {
    let mut text = String::new();
    for plugin in diff["plugins"].as_array().into_iter().flatten() {
        let name = cell(plugin, "plugin");
        let source = policy
            .plugins
            .get(&name)
            .and_then(|entry| entry.source.as_deref());
        let source = source.unwrap_or_default();
        text.push_str(&format!("[{name}]"));
        let (now, after) = (cell(plugin, "digest_now"), cell(plugin, "digest_after"));
        match (plugin["missing"] == true, plugin["digest_now"].is_null()) {
            (true, true) => text.push_str(&format!(
                " is not installed; {after} will be, from {source}"
            )),
            (true, false) => text.push_str(&format!(
                " {now} -> {after}, which will be installed from {source}"
            )),
            (false, _) if plugin["downgrade"] == true => {
                text.push_str(&format!(" {now} -> {after}, which was installed before it"))
            }
            (false, _) if now != after => text.push_str(&format!(" {now} -> {after}")),
            (false, _) => {}
        }
        text.push_str(&changes(&plugin["version_changes"]));
        text.push('\n');
        for change in plugin["changes"].as_array().into_iter().flatten() {
            text.push_str(&change_text(change));
        }
    }
    match join(&diff["unnamed"]).as_str() {
        "-" => {}
        names => text.push_str(&format!(
            "installed and not in the policy, so they stay as they are: {names}\n"
        )),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_installed_is_named() {
        let table = [
            (None, "`zz` is not installed [component-not-installed]"),
            (
                Some("sha256:1"),
                "`zz`: the component sha256:1 is not installed; install it first",
            ),
        ];
        for (digest, expect) in table {
            let told = no_source("zz".to_owned(), digest).to_string();
            assert!(told.starts_with(expect), "{told}");
        }
    }
}
