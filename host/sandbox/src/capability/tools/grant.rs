//! What an administrator may grant of `tools`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Op;
use crate::gate::{Allowed, Missing};

const TOOL_BYTES_MAX: usize = 160;

/// One tool, or all tools of a plugin, e.g. `{ tool = "files/read" }` or
/// `{ tool = "table/*" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `plugin/tool`, or `plugin/*` for all tools the plugin has and will have.
    pub tool: String,
    /// Whether a person is asked before each call.
    #[serde(default, skip_serializing_if = "Approval::is_default")]
    pub approval: Approval,
    /// Whether whoever started the run may approve its calls.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_approval: bool,
}

/// Whether a person is asked before a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// As the run's autonomy says.
    #[default]
    ByAutonomy,
    /// Always, also in an autonomous run.
    Always,
    /// Never, also for a destructive tool.
    Never,
}

impl Approval {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Rule {
    pub(super) fn validate(&self) -> Result<(), String> {
        let tool = &self.tool;
        if tool.len() > TOOL_BYTES_MAX {
            return Err(format!("tool is over {TOOL_BYTES_MAX} bytes"));
        }
        let name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            !name.is_empty() && name.chars().all(allowed)
        };
        match tool.split_once('/') {
            Some((plugin, tool)) if name(plugin) && (tool == "*" || name(tool)) => Ok(()),
            _ => Err(format!(
                "tool `{}` is not `plugin/tool` or `plugin/*`",
                tool.escape_debug()
            )),
        }
    }

    fn covers(&self, op: &Op) -> bool {
        match (self.tool.strip_suffix("/*"), op.tool.split_once('/')) {
            (Some(plugin), Some((asked, tool))) => plugin == asked && !tool.is_empty(),
            (Some(_), None) => false,
            (None, _) => self.tool == op.tool,
        }
    }
}

pub(super) fn decide(rules: &[Rule], op: &Op) -> Result<Allowed, Missing> {
    let index = rules.iter().position(|rule| rule.covers(op));
    index.map(Allowed::Rule).ok_or_else(|| {
        let tool = op.tool.escape_debug();
        Missing::new(format!(
            "no tools rule covers `{tool}`; needed: tools = [{{ tool = \"{tool}\" }}]"
        ))
    })
}
