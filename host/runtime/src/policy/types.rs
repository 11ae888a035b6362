//! A policy file, and what it changes.

use std::collections::BTreeMap;

use airlock_sandbox::{Grants, Limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::grants::Descriptions;
use crate::plugins::VersionChanges;

/// A policy file: `[plugins.NAME]` with `source`, `digest`, `grants`, `limits`,
/// `descriptions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// By name. Plugins that are not named are left as they are.
    #[serde(default, deserialize_with = "airlock_sandbox::objects::by_name")]
    pub plugins: BTreeMap<String, PolicyPlugin>,
}

/// How a policy is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApplyPolicy {
    /// Why, for the history and the audit.
    pub why: String,
    /// Also go back to versions that were installed before the active one.
    pub downgrade: bool,
}

/// One plugin of a policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyPlugin {
    /// Where its component comes from; read by the command line, never by the
    /// server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `sha256:…` of the component; a different one does not load. Absent: the
    /// version that is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The rules.
    #[serde(deserialize_with = "airlock_sandbox::objects::only")]
    pub grants: Grants,
    /// The limits.
    #[serde(deserialize_with = "airlock_sandbox::objects::only")]
    pub limits: Limits,
    /// Descriptions of tools in place of the component's own.
    #[serde(deserialize_with = "airlock_sandbox::objects::once")]
    pub descriptions: Descriptions,
}

/// What a policy would change.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyDiff {
    /// Per plugin that the policy names.
    pub plugins: Vec<PluginDiff>,
    /// Installed plugins that the policy does not name.
    pub unnamed: Vec<String>,
}

/// What a policy would change of one plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PluginDiff {
    /// The plugin.
    pub plugin: String,
    /// The component now; absent when the plugin is not installed.
    pub digest_now: Option<String>,
    /// The component after.
    pub digest_after: Option<String>,
    /// The policy's component is not installed: install it first.
    pub missing: bool,
    /// It was installed before the one now: going back to it must be asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub downgrade: bool,
    /// The version of the grants now; 0: nothing ever was granted.
    #[serde(default)]
    pub grants_version_now: u64,
    /// What the component after asks for beyond the one now.
    pub version_changes: VersionChanges,
    /// Changed lines of grants and limits.
    pub changes: Vec<Change>,
}

/// One changed line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// `added`, `removed` or `changed`.
    pub kind: ChangeKind,
    /// E.g. `grants.http`, `grants.effects.submit`, `limits.cpu`.
    pub path: String,
    /// The value before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The value after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What happens to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It goes.
    Removed,
    /// It gets another value.
    Changed,
}

/// What applying a policy did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyApplied {
    /// What changed.
    pub diff: PolicyDiff,
    /// The grants version now in force, by plugin that changed.
    pub grants_versions: BTreeMap<String, u64>,
}
