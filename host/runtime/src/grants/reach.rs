//! What a token that is limited to some plugins may grant to them.
//!
//! What must stay true: rules that reach what belongs to the whole host (its
//! directories, its secrets, its own and its private addresses) or to plugins
//! outside the scope come from a token that is not limited, and such a token also chooses the component that
//! uses them, and which of its tools only read.

use airlock_sandbox::capability::{http, tools};
use airlock_sandbox::{EffectClass, Grants};

use crate::plugins::PluginError;
use crate::principal::Principal;

/// Refuses rules in `after` that reach what belongs to the host, unless they
/// stand in `before` already.
pub(crate) fn check(
    who: &Principal,
    plugin: &str,
    before: &Grants,
    after: &Grants,
) -> Result<(), PluginError> {
    if !who.is_scoped() {
        return Ok(());
    }
    let refused = |rule: &'static str| {
        let plugin = plugin.to_owned();
        Err(PluginError::BeyondScope { plugin, rule })
    };
    if !after.files.iter().all(|rule| before.files.contains(rule)) {
        return refused("`files` rules, which name directories of the host");
    }
    let mut outside = after
        .tools
        .iter()
        .filter(|rule| !who.may_see(plugin_of(rule)));
    if !outside.all(|rule| before.tools.contains(rule)) {
        return refused("`tools` rules of plugins that it does not reach");
    }
    let reaching = || after.http.iter().filter(|rule| reaches(rule));
    if !reaching().all(|rule| before.http.contains(rule)) {
        return refused("`http` rules with `secret`, `allow_private` or `allow_own`");
    }
    let kept = !after.files.is_empty() || reaching().next().is_some();
    if kept && widens(before, after) {
        return refused("another class than `read-only` beside rules that reach the host");
    }
    Ok(())
}

/// Whether a tool that only read may do more.
fn widens(before: &Grants, after: &Grants) -> bool {
    let read_only = Some(&EffectClass::ReadOnly);
    let mut tools = before.effects.keys();
    tools.any(|tool| before.effects.get(tool) == read_only && after.effects.get(tool) != read_only)
}

/// An agent calls tools with the reach of whoever starts its run.
fn plugin_of(rule: &tools::Rule) -> &str {
    rule.tool.split_once('/').map_or("", |(plugin, _)| plugin)
}

fn reaches(rule: &http::Rule) -> bool {
    rule.secret.is_some() || rule.allow_private || rule.allow_own
}
