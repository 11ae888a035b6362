//! Grants as the API shows and takes them.

use std::collections::BTreeMap;

use airlock_sandbox::{Grants, Limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plugins::{Claims, is_yes, yes};

/// Descriptions that an administrator wrote for tools, by tool, in place of the
/// component's own.
pub type Descriptions = BTreeMap<String, String>;

/// What to grant a plugin from now on. It replaces everything granted before:
/// what is left out is not granted, and limits left out are the defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantsUpdate {
    /// The rules, by capability, and the effect class of tools.
    #[serde(default, deserialize_with = "airlock_sandbox::objects::only")]
    pub grants: Grants,
    /// The limits.
    #[serde(default, deserialize_with = "airlock_sandbox::objects::only")]
    pub limits: Limits,
    /// Descriptions in place of the component's own, 1 to 4,096 bytes each. What
    /// a component says of its tools is read by whoever chooses between them,
    /// often a model; this is the last word.
    #[serde(default, deserialize_with = "airlock_sandbox::objects::once")]
    pub descriptions: Descriptions,
    /// Why, for the history and the audit.
    #[serde(default)]
    pub why: String,
    /// The version this was made from; refused when another is in force by now.
    #[serde(default)]
    pub expected_version: Option<u64>,
    /// The component this is meant for; refused when another is active by now. A
    /// tool that is refused since its claim changed (`effects-changed`) is let in
    /// again by its class with this, or by another class.
    #[serde(default)]
    pub expected_digest: Option<String>,
}

/// One version of a plugin's grants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrantsVersion {
    /// Counts from 1; 0 stands for "nothing was ever granted".
    pub version: u64,
    /// The plugin.
    pub plugin: String,
    /// The component that was active.
    pub digest: String,
    /// The rules.
    pub grants: Grants,
    /// The limits.
    pub limits: Limits,
    /// Descriptions in place of the component's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub descriptions: Descriptions,
    /// What the tools claimed when their classes were granted.
    pub claims: Claims,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// `set`, `revoke`, `rollback`, `policy` or `remove`.
    pub action: String,
    /// For a rollback, the version it went back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<u64>,
    /// `false`: the plugin is an MCP server of others, and nothing holds it to what
    /// is granted; absent otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub sandboxed: bool,
}

/// A page of a plugin's grants history, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GrantsHistory {
    /// The versions.
    pub versions: Vec<GrantsVersion>,
    /// Pass as `before` for the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_before: Option<u64>,
}

/// Goes back to an earlier version of the grants (as a new version).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The version to restore; absent: the one before the one in force.
    #[serde(default)]
    pub version: Option<u64>,
    /// Why.
    #[serde(default)]
    pub why: String,
}

/// Asks whether an operation is allowed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The capability, e.g. `http`.
    pub capability: String,
    /// The operation, words separated by spaces, e.g. `GET https://example.com/`.
    pub operation: String,
    /// As called by this tool, whose effect class may narrow what is allowed.
    #[serde(default)]
    pub tool: Option<String>,
}
