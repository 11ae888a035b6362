//! What an administrator may grant of `agents`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Op;
use crate::gate::{Allowed, Missing};

const AGENT_BYTES_MAX: usize = 160;

/// One agent that may be started as a child, e.g. `{ agent = "checker" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The agent's plugin.
    pub agent: String,
}

impl Rule {
    pub(super) fn validate(&self) -> Result<(), String> {
        let agent = &self.agent;
        if agent.len() > AGENT_BYTES_MAX {
            return Err(format!("agent is over {AGENT_BYTES_MAX} bytes"));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        match !agent.is_empty() && agent.chars().all(allowed) {
            true => Ok(()),
            false => Err(format!(
                "agent `{}` is not the name of a plugin",
                agent.escape_debug()
            )),
        }
    }
}

pub(super) fn decide(rules: &[Rule], op: &Op) -> Result<Allowed, Missing> {
    let index = rules.iter().position(|rule| rule.agent == op.agent);
    index.map(Allowed::Rule).ok_or_else(|| {
        let agent = op.agent.escape_debug();
        Missing::new(format!(
            "no agents rule names `{agent}`; needed: agents = [{{ agent = \"{agent}\" }}]"
        ))
    })
}
