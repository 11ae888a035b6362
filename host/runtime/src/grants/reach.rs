//! What a token that is limited to some plugins may grant to them.
//!
//! What must stay true: rules that reach what belongs to the whole host (its
//! directories, its secrets, its own and its private addresses) or to plugins
//! outside the scope come from a token that is not limited, and such a token also
//! chooses the component that uses them, and which of its tools only read. What
//! narrows such a rule (those before it, or below its directory) goes only
//! together with it.

use airlock_sandbox::capability::{files, http, memory, tools};
use airlock_sandbox::{EffectClass, Grants};

use crate::plugins::PluginError;
use crate::principal::Principal;

const FILES: &str =
    "`files` rules, which name directories of the host (one that is there stays with all below it)";
const TOOLS: &str =
    "`tools` rules of plugins that it does not reach (one that is there stays with all before it)";
const HTTP: &str = "`http` rules with `secret`, `allow_private` or `allow_own` (one that is there stays with all before it)";
const MODELS: &str = "`models` rules: what they cost is everybody's";
const MEMORY: &str = "`memory` rules of `shared/` namespaces, which others have too";
const AGENTS: &str = "`agents` rules of plugins that it does not reach";
const CLASS: &str = "another class than `read-only` beside rules that reach the host";

/// Refuses rules in `after` that reach what belongs to the host or to other
/// plugins, unless they stand in `before` already and reach no further now.
pub(crate) fn check(
    who: &Principal,
    plugin: &str,
    before: &Grants,
    after: &Grants,
) -> Result<(), PluginError> {
    if !who.is_scoped() {
        return Ok(());
    }
    match beyond(who, before, after) {
        None => Ok(()),
        Some(rule) => Err(PluginError::BeyondScope {
            plugin: plugin.to_owned(),
            rule,
        }),
    }
}

/// The first kind of rules that reaches too far.
fn beyond(who: &Principal, before: &Grants, after: &Grants) -> Option<&'static str> {
    // All are named, so that the next capability is thought of here.
    let Grants {
        files,
        http,
        tools,
        agents,
        models,
        memory,
        clocks: _,
        config: _,
        env: _,
        kv: _,
        log: _,
        random: _,
        secrets: _,
        effects: _,
    } = after;
    let outside = |plugin: &str| !who.may_see(plugin);
    let others = |rules: &[tools::Rule]| -> Vec<tools::Rule> {
        let others = rules.iter().filter(|rule| outside(plugin_of(rule)));
        others.cloned().collect()
    };
    let mut started = agents.iter().filter(|rule| outside(&rule.agent));
    let reaching = http.iter().any(reaches);
    if !files.iter().all(|rule| is_kept(rule, &before.files, files)) {
        return Some(FILES);
    }
    if !are_kept(&others(&before.tools), &others(tools), |_| true) {
        return Some(TOOLS);
    }
    if !started.all(|rule| before.agents.contains(rule)) {
        return Some(AGENTS);
    }
    if !are_kept(&before.models, models, |_| true) {
        return Some(MODELS);
    }
    if !are_kept(&before.memory, memory, is_shared) {
        return Some(MEMORY);
    }
    if !are_kept(&before.http, http, reaches) {
        return Some(HTTP);
    }
    let kept = !files.is_empty() || reaching || memory.iter().any(is_shared);
    (kept && widens(before, after)).then_some(CLASS)
}

/// Whether a directory was granted already, and still is with all that were
/// granted below it: of those that cover a path, the longest decides.
fn is_kept(rule: &files::Rule, before: &[files::Rule], after: &[files::Rule]) -> bool {
    let mut below = before
        .iter()
        .filter(|other| rule.below(&other.guest).is_some());
    before.contains(rule) && below.all(|other| after.contains(other))
}

/// Whether each of the rules that `count` stood there already, and still stands
/// behind all that it stood behind: the first that covers an operation decides.
fn are_kept<R: PartialEq>(before: &[R], after: &[R], count: fn(&R) -> bool) -> bool {
    let mut counted = after.iter().enumerate().filter(|(_, rule)| count(rule));
    counted.all(|(at, rule)| {
        let stood = before.iter().position(|other| other == rule);
        stood.is_some_and(|stood| {
            let mut earlier = before[..stood].iter();
            earlier.all(|other| after[..at].contains(other))
        })
    })
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

/// Whether a rule is of what others have too.
fn is_shared(rule: &memory::Rule) -> bool {
    rule.namespace.starts_with("shared/")
}

fn reaches(rule: &http::Rule) -> bool {
    rule.secret.is_some() || rule.allow_private || rule.allow_own
}
