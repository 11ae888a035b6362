//! Plugins as the API shows them.

use std::collections::BTreeMap;

use airlock_sandbox::{EffectClass, Grants, Limits};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::Effects;
use crate::problem::Problem;
use crate::remote::McpServerView;

/// A component to install as a version of a plugin.
#[derive(Debug, Clone)]
pub struct InstallRequest {
    /// The plugin's name, see [`crate::names::plugin_name`].
    pub name: String,
    /// The component's bytes.
    pub component: Bytes,
    /// `sha256:…` that the bytes must have; checked before anything else.
    pub digest: Option<String>,
    /// Make it the active version, which only an administrator may where the
    /// plugin has another active version. A plugin's first version becomes
    /// active anyway: it has no grants.
    pub activate: bool,
    /// Only check it: nothing is installed. What it asks for is kept, so that a
    /// policy that names its digest can be compared with it.
    pub check: bool,
    /// Why, for the audit.
    pub why: String,
}

/// Makes an installed version the active one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateRequest {
    /// `sha256:…` of an installed version.
    pub digest: String,
    /// Needed to go back to a version that was installed before the active one.
    #[serde(default)]
    pub downgrade: bool,
    /// Why, for the audit.
    #[serde(default)]
    pub why: String,
}

/// An install under way or ended. Kept in memory for an hour; the list of
/// plugins is the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Unique.
    pub id: String,
    /// `install`.
    pub kind: String,
    /// The plugin's name.
    pub plugin: String,
    /// Where it stands.
    pub state: OperationState,
    /// When it was asked for, milliseconds since 1970.
    pub started_ms: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// What it made, once it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Waiting for its turn.
    Queued,
    /// Being validated, compiled, inspected.
    Running,
    /// Done.
    Succeeded,
    /// Ended without effect.
    Failed,
}

/// A version that was installed, and what it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Installed {
    /// The plugin's name.
    pub plugin: String,
    /// The component.
    pub digest: String,
    /// Whether it is the active version now.
    pub active: bool,
    /// Whether it is an agent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_agent: bool,
    /// `false`: it is an MCP server of others, outside of any sandbox; absent
    /// otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub sandboxed: bool,
    /// What it asks for beyond the version active before it, and whose claims
    /// about effects changed; empty for a first version.
    pub changes: VersionChanges,
}

/// What removing a plugin did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// The plugin's name.
    pub plugin: String,
    /// It was installed until now; otherwise only data that an earlier removal
    /// had kept was erased.
    pub uninstalled: bool,
    /// What it kept in `kv`, which is gone; absent: it was asked to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased: Option<ErasedData>,
}

/// Data that was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErasedData {
    /// Namespaces of documents.
    #[serde(default)]
    pub namespaces: u64,
    /// Pairs of key and value.
    pub pairs: u64,
    /// Their size as they were stored, bytes.
    pub bytes: u64,
}

/// What one version asks for beyond another.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VersionChanges {
    /// Wants the other version does not have.
    pub new_wants: Vec<WantView>,
    /// Capabilities it imports and the other does not.
    pub new_capabilities: Vec<String>,
    /// Tools it adds.
    pub new_tools: Vec<String>,
    /// Tools it lacks.
    pub removed_tools: Vec<String>,
    /// Tools whose claim about effects changed.
    pub changed_effects: Vec<EffectsChange>,
    /// Tools that say other things of themselves, or take or give other ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_tools: Vec<ToolChange>,
}

/// What callers, and models that choose between tools, see otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToolChange {
    /// The tool; empty: the agent itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool: String,
    /// What it says of itself now, where it said something else before. Models
    /// read it: it is to be read before it is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How its input differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<SchemaChange>,
    /// How its output differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<SchemaChange>,
}

impl ToolChange {
    pub(crate) fn says_something(&self) -> bool {
        self.description.is_some() || self.input.is_some() || self.output.is_some()
    }
}

/// How an object's JSON Schema differs from the one before, by its members; all
/// lists empty: elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SchemaChange {
    /// Members that must be there and did not have to.
    pub required: Vec<String>,
    /// Members there were not.
    pub added: Vec<String>,
    /// Members there are no more.
    pub removed: Vec<String>,
    /// Members that are something else.
    pub changed: Vec<String>,
}

impl std::fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = [
            ("needs", &self.required),
            ("takes", &self.added),
            ("no longer takes", &self.removed),
            ("other", &self.changed),
        ];
        let said = all.iter().filter(|(_, names)| !names.is_empty());
        let said: Vec<String> = said
            .map(|(what, names)| format!("{what} {}", names.join(", ")))
            .collect();
        match said.is_empty() {
            true => f.write_str("changed"),
            false => f.write_str(&said.join("; ")),
        }
    }
}

/// A tool that claims other effects than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectsChange {
    /// The tool.
    pub tool: String,
    /// The claim before.
    pub from: EffectsView,
    /// The claim now.
    pub to: EffectsView,
    /// The grants name the tool's class: it is refused until that is granted
    /// again. Otherwise nobody vouched for the claim: it is called as `plain`, or as
    /// `destructive` where it says that.
    #[serde(default)]
    pub refused: bool,
    /// The tool's class was granted for this very claim: it holds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vouched: bool,
}

/// A tool's claim about its effects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectsView {
    /// Changes nothing outside the call.
    pub read_only: bool,
    /// Twice is the same as once.
    pub idempotent: bool,
    /// May delete or overwrite what cannot be brought back.
    pub destructive: bool,
    /// Reaches systems outside the host.
    pub open_world: bool,
}

impl From<&Effects> for EffectsView {
    fn from(effects: &Effects) -> Self {
        Self {
            read_only: effects.read_only,
            idempotent: effects.idempotent,
            destructive: effects.destructive,
            open_world: effects.open_world,
        }
    }
}

/// Something a plugin asks for, beside whether rules of that capability are
/// granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WantView {
    /// The capability.
    pub capability: String,
    /// The scope, as a TOML inline value.
    pub scope: String,
    /// Why.
    pub reason: String,
    /// Whether the plugin is of use without it.
    pub optional: bool,
    /// Whether exactly this rule is granted; a wider one may be too, see
    /// `explain`.
    pub granted: bool,
}

/// A plugin in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginSummary {
    /// The name.
    pub name: String,
    /// The active version.
    pub digest: String,
    /// Names of its tools.
    pub tools: Vec<String>,
    /// Whether it is an agent: it is run, and has no tools.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_agent: bool,
    /// `false`: it is an MCP server of others, and nothing holds it to what is
    /// granted; absent otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub sandboxed: bool,
    /// How many versions are installed.
    pub versions: usize,
    /// The version of the grants in force; 0: never granted anything.
    pub grants_version: u64,
    /// Capabilities with at least one granted rule.
    pub granted: Vec<String>,
    /// Wants that are not granted as they were asked for.
    pub wants_ungranted: usize,
}

/// What an agent says it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentView {
    /// For those who choose between agents.
    pub description: String,
    /// JSON Schema (2020-12) of its input.
    pub input_schema: Value,
}

/// A plugin in full.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginDetail {
    /// The name.
    pub name: String,
    /// The version that is shown: the active one, or the one that was asked for.
    pub digest: String,
    /// All versions, oldest first.
    pub versions: Vec<VersionView>,
    /// The tools of that version.
    pub tools: Vec<ToolView>,
    /// What it is for, where it is an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentView>,
    /// `false`: it is an MCP server of others, and nothing holds it to what is
    /// granted; absent otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub sandboxed: bool,
    /// The server, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<McpServerView>,
    /// What it asks for, beside what is granted.
    pub wants: Vec<WantView>,
    /// Capabilities whose interfaces it imports.
    pub capabilities: Vec<String>,
    /// Interfaces it imports.
    pub imports: Vec<String>,
    /// The version of the grants in force; 0: never granted anything.
    pub grants_version: u64,
    /// What is granted.
    pub grants: Grants,
    /// The limits in force.
    pub limits: Limits,
    /// Set when the grants cannot be put in force (e.g. a granted directory is
    /// gone): calls are refused, and this says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// An installed version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionView {
    /// The component.
    pub digest: String,
    /// When it was installed, milliseconds since 1970.
    pub installed_ms: u64,
    /// By whom.
    pub installed_by: String,
    /// Size of the component, bytes.
    pub component_bytes: u64,
    /// Whether it is the active one.
    pub active: bool,
}

/// A tool as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolView {
    /// Its plugin.
    pub plugin: String,
    /// Its name within the plugin.
    pub name: String,
    /// For people; the component's, so only where the administrator left the
    /// description to it, or inspects the plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it does; the administrator's words where there are some.
    pub description: String,
    /// What the component says it does, where the administrator put other words
    /// in its place. Only where a plugin is inspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_description: Option<String>,
    /// JSON Schema of the input.
    pub input_schema: Value,
    /// JSON Schema of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// The effect class in force.
    pub class: EffectClass,
    /// What the tool claims; only a default shown when granting.
    pub claim: EffectsView,
    /// The claim is not the one that was granted: the tool is refused until its
    /// effects are granted again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claim_changed: bool,
    /// `false`: it is called at an MCP server of others, outside of any sandbox;
    /// absent otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub sandboxed: bool,
    /// Its server says something else of it than what was accepted, or lists it no
    /// more: it is refused until an administrator accepts that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tool_changed: bool,
}

pub(crate) fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
pub(crate) fn is_yes(is: &bool) -> bool {
    *is
}

/// A tool's claims by tool, pinned with a grant.
pub type Claims = BTreeMap<String, EffectsView>;
