//! Plugins and tools as listings show them.

use std::collections::BTreeMap;

use airlock_sandbox::Grants;
use serde_json::{Map, Value};

use crate::engine::{Manifest, Want};
use crate::plugins::{
    Active, AgentView, EffectsChange, EffectsView, PluginDetail, PluginError, PluginSummary,
    ToolView, VersionChanges, VersionView, WantView, claims,
};
use crate::principal::Principal;
use crate::runtime::Runtime;

impl Runtime {
    /// The plugins that `who` may see, by name.
    pub async fn plugins(&self, who: &Principal) -> Vec<PluginSummary> {
        let mut list = Vec::new();
        for (slot, active) in self.registry.all() {
            if who.may_see(&slot.name) {
                let versions = slot.row.lock().await.versions.len();
                list.push(summary(&active, versions));
            }
        }
        list
    }

    /// One plugin in full.
    ///
    /// # Errors
    /// There is none, or it is outside the token's scope.
    pub async fn plugin(&self, who: &Principal, name: &str) -> Result<PluginDetail, PluginError> {
        let (slot, active) = self.installed(who, name)?;
        let digest = active.manifest.digest.clone();
        let row = slot.row.lock().await.clone();
        let version = |version: crate::plugins::registry::VersionRow| VersionView {
            active: version.digest == digest,
            digest: version.digest,
            installed_ms: version.installed_ms,
            installed_by: version.installed_by,
            component_bytes: version.component_bytes,
        };
        let versions = row.versions.into_iter().map(version).collect();
        let broken = self.prepared(std::sync::Arc::clone(&active)).await.err();
        Ok(PluginDetail {
            name: name.to_owned(),
            versions,
            tools: tools_inspected(&active),
            agent: active.manifest.agent.as_ref().map(|agent| AgentView {
                description: agent.description.clone(),
                input_schema: agent.input_schema.clone(),
            }),
            wants: wants(&active.manifest, &active.grants.grants),
            capabilities: active.manifest.capabilities.clone(),
            imports: active.manifest.imports.clone(),
            grants_version: active.grants.version,
            grants: active.grants.grants.clone(),
            limits: active.grants.limits.clone(),
            broken,
            digest,
        })
    }

    /// All tools of the plugins that `who` may see.
    pub fn tools(&self, who: &Principal) -> Vec<ToolView> {
        let visible = self.registry.all().into_iter();
        visible
            .filter(|(slot, _)| who.may_see(&slot.name))
            .flat_map(|(_, active)| tools(&active))
            .collect()
    }
}

fn summary(active: &Active, versions: usize) -> PluginSummary {
    let manifest = &active.manifest;
    let grants = &active.grants.grants;
    let wants = wants(manifest, grants);
    PluginSummary {
        name: active.name.clone(),
        digest: manifest.digest.clone(),
        tools: manifest
            .tools
            .iter()
            .map(|tool| tool.name.clone())
            .collect(),
        is_agent: manifest.agent.is_some(),
        versions,
        grants_version: active.grants.version,
        granted: rules(grants).into_iter().map(|(name, _)| name).collect(),
        wants_ungranted: wants.iter().filter(|want| !want.granted).count(),
    }
}

fn tools(active: &Active) -> Vec<ToolView> {
    let view = |tool: &crate::engine::ToolInfo| {
        let terms = active.tool(&tool.name)?;
        let written = active.grants.descriptions.get(&tool.name);
        Some(ToolView {
            plugin: active.name.clone(),
            name: tool.name.clone(),
            title: tool.title.clone().filter(|_| written.is_none()),
            description: written.unwrap_or(&tool.description).clone(),
            own_description: None,
            input_schema: tool.input_schema.clone(),
            output_schema: tool.output_schema.clone(),
            class: terms.class,
            claim: EffectsView::from(&tool.effects),
            claim_changed: terms.claim_changed,
        })
    };
    active.manifest.tools.iter().filter_map(view).collect()
}

/// With what the component itself says of them.
fn tools_inspected(active: &Active) -> Vec<ToolView> {
    let mut tools = tools(active);
    for tool in &mut tools {
        let mut own = active.manifest.tools.iter();
        let Some(own) = own.find(|own| own.name == tool.name) else {
            continue;
        };
        tool.title.clone_from(&own.title);
        tool.own_description =
            (own.description != tool.description).then(|| own.description.clone());
    }
    tools
}

/// Rules by capability, as JSON; without the classes of tools.
pub(crate) fn rules(grants: &Grants) -> Map<String, Value> {
    let json = serde_json::to_value(grants).unwrap_or_default();
    let all = json.as_object().cloned().unwrap_or_default();
    all.into_iter()
        .filter(|(_, rules)| rules.is_array())
        .collect()
}

/// What a component asks for, beside what is granted.
fn wants(manifest: &Manifest, grants: &Grants) -> Vec<WantView> {
    let granted = rules(grants);
    manifest
        .wants
        .iter()
        .map(|want| view(want, &granted))
        .collect()
}

fn view(want: &Want, granted: &Map<String, Value>) -> WantView {
    WantView {
        capability: want.capability.clone(),
        scope: want.scope.clone(),
        reason: want.reason.clone(),
        optional: want.optional,
        granted: is_granted(want, granted),
    }
}

/// Whether exactly the rules that the want spells are among the granted ones.
fn is_granted(want: &Want, granted: &Map<String, Value>) -> bool {
    let text = format!("{} = [{}]", want.capability, want.scope);
    let Ok(asked) = toml::from_str::<Grants>(&text) else {
        return false;
    };
    let asked = rules(&asked);
    let has = |name: &String, rule: &Value| {
        granted
            .get(name)
            .and_then(Value::as_array)
            .is_some_and(|rules| rules.contains(rule))
    };
    let mut all = asked.iter().flat_map(|(name, rules)| {
        rules
            .as_array()
            .into_iter()
            .flatten()
            .map(move |rule| (name, rule))
    });
    !asked.is_empty() && all.all(|(name, rule)| has(name, rule))
}

/// What `after` asks for beyond `before`.
pub(crate) fn version_changes(before: &Manifest, after: &Manifest) -> VersionChanges {
    let (old, new) = (claims(before), claims(after));
    let changed = |(tool, to): (&String, &EffectsView)| {
        let from = old.get(tool).filter(|from| *from != to)?;
        Some(EffectsChange {
            tool: tool.clone(),
            from: *from,
            to: *to,
        })
    };
    let same = |a: &Want, b: &Want| a.capability == b.capability && a.scope == b.scope;
    let new_want = |want: &&Want| !before.wants.iter().any(|old| same(old, want));
    let none = Map::new();
    VersionChanges {
        new_wants: after
            .wants
            .iter()
            .filter(new_want)
            .map(|want| view(want, &none))
            .collect(),
        new_capabilities: beyond(&before.capabilities, &after.capabilities),
        new_tools: keys_beyond(&old, &new),
        removed_tools: keys_beyond(&new, &old),
        changed_effects: new.iter().filter_map(changed).collect(),
    }
}

fn beyond(before: &[String], after: &[String]) -> Vec<String> {
    after
        .iter()
        .filter(|name| !before.contains(name))
        .cloned()
        .collect()
}

fn keys_beyond<T>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Vec<String> {
    after
        .keys()
        .filter(|name| !before.contains_key(*name))
        .cloned()
        .collect()
}
