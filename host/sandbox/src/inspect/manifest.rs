//! What is known of an installed component: its tools, what it wants, what it
//! imports. Made once at install, pinned to the digest, kept with the plugin.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is known of an installed component.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// How its tools are called.
    pub kind: Kind,
    /// The contract it was built for, e.g. `airlock:tool@1.0.0`.
    pub contract: Option<String>,
    /// Its tools, at most 256.
    pub tools: Vec<ToolInfo>,
    /// What it is for, where it is an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentInfo>,
    /// What it would like to be granted, at most 64.
    pub wants: Vec<Want>,
    /// Names of all its imports that have functions or resources.
    pub imports: Vec<String>,
    /// The capabilities among them.
    pub capabilities: Vec<String>,
    /// Size of the component.
    pub component_bytes: u64,
    /// Size of its compiled code.
    pub compiled_bytes: u64,
}

/// How a component's tools are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It exports `airlock:tool/tools`.
    ToolWorld,
    /// Its exported functions are its tools; JSON is converted to and from
    /// their types.
    Typed,
    /// It exports `airlock:agent/agent`, and has no tools.
    Agent,
    /// It is no component, but an MCP server of others: its tools are called there,
    /// outside of any sandbox.
    Server,
}

/// What an agent says it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// For those who choose between agents.
    pub description: String,
    /// JSON Schema (2020-12) of the input, an object schema.
    pub input_schema: Value,
}

/// One tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolInfo {
    /// Unique within the plugin, 1 to 64 of `[a-z0-9_-]`.
    pub name: String,
    /// For people.
    pub title: Option<String>,
    /// For the caller who chooses between tools.
    pub description: String,
    /// JSON Schema (2020-12) of the input, an object schema.
    pub input_schema: Value,
    /// JSON Schema (2020-12) of the output, where known.
    pub output_schema: Option<Value>,
    /// The claim about effects; the class in force is the grant's.
    pub effects: Effects,
}

/// What a tool claims about its effects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects {
    /// Changes nothing outside the call.
    pub read_only: bool,
    /// Twice is the same as once.
    pub idempotent: bool,
    /// May delete or overwrite what can't be brought back.
    pub destructive: bool,
    /// Reaches systems outside the host.
    pub open_world: bool,
}

/// A capability the plugin would like to have. It grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The capability's name.
    pub capability: String,
    /// The scope as a TOML value.
    pub scope: String,
    /// The reason, for the administrator.
    pub reason: String,
    /// Whether the plugin is of use without it.
    pub optional: bool,
}

impl Manifest {
    /// Replaces descriptions by those an administrator wrote, by tool name.
    ///
    /// # Errors
    /// The names that are no tools of this component.
    pub fn describe(&mut self, overrides: &BTreeMap<String, String>) -> Result<(), UnknownTools> {
        let unknown: Vec<String> = overrides
            .keys()
            .filter(|name| !self.tools.iter().any(|tool| tool.name == **name))
            .cloned()
            .collect();
        if !unknown.is_empty() {
            return Err(UnknownTools { unknown });
        }
        for tool in &mut self.tools {
            if let Some(text) = overrides.get(&tool.name) {
                tool.description.clone_from(text);
            }
        }
        Ok(())
    }
}

/// Descriptions for tools that do not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no tool is named `{}`", unknown.join("`, `"))]
pub struct UnknownTools {
    /// Their names.
    pub unknown: Vec<String>,
}
