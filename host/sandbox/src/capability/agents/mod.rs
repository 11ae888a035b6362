//! The `agents` room: which other agents an agent may start as its children.
//! Nothing is linked: an agent asks the host that runs it, which asks this room.
//!
//! What must stay true: an agent that no rule names is not started, whoever
//! started the one that asks.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod grant;
#[cfg(test)]
pub(crate) mod tests;

pub use grant::Rule;

/// The capability `agents`.
pub enum Agents {}

/// Starting one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Its plugin.
    pub agent: String,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "start {}", self.agent.escape_debug())
    }
}

impl Capability for Agents {
    const NAME: &'static str = "agents";
    const SUMMARY: &'static str = "Start other agents as children (agents only).";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[];
    type Rule = Rule;
    type Op = Op;
    type Prepared = ();
    type State = ();

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.agents
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        format!("agent = {:?}", rule.agent)
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        Given::all_if(rule.agent == wanted.agent)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        grant::decide(&grants.agents, op)
    }

    /// What a child changes is for its own tools to say.
    fn writes(_: &Op) -> bool {
        false
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        match words {
            ["start", agent] => Ok(Op {
                agent: (*agent).to_owned(),
            }),
            _ => Err("expected `start AGENT`".to_owned()),
        }
    }

    fn prepare(_: &PrepareContext<'_>) -> Result<(), PrepareError> {
        Ok(())
    }

    fn state(_: &CallContext, _: &Arc<()>) {}

    fn link(_: &mut Linker<CallState>) -> wasmtime::Result<()> {
        Ok(())
    }
}
