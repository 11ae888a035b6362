//! Plugins and tools as listings show them.

use std::sync::Arc;

use airlock_sandbox::Grants;
use serde_json::{Map, Value};

use crate::engine::{Manifest, Want};
use crate::names;
use crate::plugins::PluginRow;
use crate::plugins::{
    Active, AgentView, EffectsView, PluginDetail, PluginError, PluginSummary, ToolView,
    VersionView, WantView,
};
use crate::principal::Principal;
use crate::remote::is_server;
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

    /// One plugin in full: its active version, or the one with the `digest`, as it
    /// would be under the grants in force.
    ///
    /// # Errors
    /// There is no such plugin or version, or it is outside the token's scope.
    pub async fn plugin(
        &self,
        who: &Principal,
        name: &str,
        digest: Option<&str>,
    ) -> Result<PluginDetail, PluginError> {
        let (slot, in_force) = self.installed(who, name)?;
        let row = slot.row.lock().await.clone();
        let active = self.one_version(&row, &in_force, digest)?;
        let digest = in_force.manifest.digest.clone();
        let version = |version: crate::plugins::registry::VersionRow| VersionView {
            active: version.digest == digest,
            digest: version.digest,
            installed_ms: version.installed_ms,
            installed_by: version.installed_by,
            component_bytes: version.component_bytes,
        };
        let versions = row.versions.into_iter().map(version).collect();
        let broken = match digest == active.manifest.digest {
            true => self.prepared(Arc::clone(&active)).await.err(),
            false => None,
        };
        Ok(PluginDetail {
            sandboxed: !is_server(&active.manifest),
            server: self.server_view(&active).await,
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
            digest: active.manifest.digest.clone(),
        })
    }

    /// The version with a digest, beside the one in force.
    fn one_version(
        &self,
        row: &PluginRow,
        in_force: &Arc<Active>,
        digest: Option<&str>,
    ) -> Result<Arc<Active>, PluginError> {
        let Some(digest) = digest.filter(|digest| *digest != in_force.manifest.digest) else {
            return Ok(Arc::clone(in_force));
        };
        names::digest(digest)?;
        if !row.has(digest) {
            let (plugin, digest) = (in_force.name.clone(), digest.to_owned());
            return Err(PluginError::VersionNotFound { plugin, digest });
        }
        let (manifest, grants) = (
            self.registry.manifest(digest)?,
            Arc::clone(&in_force.grants),
        );
        Ok(Arc::new(Active::new(
            &in_force.name,
            manifest,
            grants,
            None,
        )))
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
        sandboxed: !is_server(manifest),
        versions,
        grants_version: active.grants.version,
        granted: rules(grants).into_iter().map(|(name, _)| name).collect(),
        wants_ungranted: wants.iter().filter(|want| !want.granted).count(),
    }
}

pub(super) fn tools(active: &Active) -> Vec<ToolView> {
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
            sandboxed: active.remote.is_none(),
            tool_changed: terms.withheld.is_some(),
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
    let wants = manifest.wants.iter();
    let asked: Vec<Grants> = wants.clone().map(asked).collect();
    let granted = grants.give_each(&asked);
    wants
        .zip(granted)
        .map(|(want, granted)| view(want, granted))
        .collect()
}

/// The rule that a want spells; none where it is no rule.
fn asked(want: &Want) -> Grants {
    let text = format!("{} = [{}]", want.capability, want.scope);
    toml::from_str(&text).unwrap_or_default()
}

pub(super) fn view(want: &Want, granted: bool) -> WantView {
    WantView {
        capability: want.capability.clone(),
        scope: want.scope.clone(),
        reason: want.reason.clone(),
        optional: want.optional,
        granted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_wider_rule_gives_is_granted() {
        const URL: &str = "url = 'http://127.0.0.1:1/x'";
        let http = |more: &str| format!("{{ {URL}{more} }}");
        let private = ", allow_private = true";
        let table = [
            // What is asked for, what is granted.
            (http(""), http(private), true),
            (http(private), http(private), true),
            (http(private), http(""), false),
            (http(""), String::new(), false),
            (
                http(private),
                "{ url = 'http://127.0.0.1:1/**', allow_private = true }".to_owned(),
                true,
            ),
            (
                http(", methods = ['PUT']"),
                http(", methods = ['GET', 'PUT'], allow_private = true"),
                true,
            ),
            (http(", methods = ['GET', 'PUT']"), http(private), false),
            (http(", secret = 'key'"), http(private), false),
            (http(", response_bytes = '9MiB'"), http(private), false),
            (
                http(""),
                http(", allow_private = true, rate = '1/h'"),
                false,
            ),
            ("'nonsense'".to_owned(), http(private), false),
            ("{ url = 1 }".to_owned(), http(private), false),
        ];
        for (scope, granted, expect) in table {
            let granted = format!("http = [{granted}]");
            let granted: Grants = toml::from_str(&granted).expect(&granted);
            let want = Want {
                capability: "http".to_owned(),
                scope,
                reason: String::new(),
                optional: false,
            };
            let asked = asked(&want);
            assert_eq!(granted.give_each(&[asked]), [expect], "{}", want.scope);
        }
    }
}
