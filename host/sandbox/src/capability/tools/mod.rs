//! The `tools` room: which tools of other plugins an agent may call. Nothing is
//! linked: an agent asks the host that runs it, which asks this room.
//!
//! What must stay true: a tool that no rule names is not called, whoever started
//! the agent.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod grant;
#[cfg(test)]
pub(crate) mod tests;

pub use grant::{Approval, Approver, ErrorCode, OnDue, OnError, OnUnknown, Retry, Rule};

/// The capability `tools`.
pub enum Tools {}

/// Calling one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// `plugin/tool`.
    pub tool: String,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.tool.escape_debug())
    }
}

impl Capability for Tools {
    const NAME: &'static str = "tools";
    const SUMMARY: &'static str = "Call tools of other plugins (agents only).";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[];
    type Rule = Rule;
    type Op = Op;
    type Prepared = ();
    type State = ();

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.tools
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        format!("tool = {:?}", rule.tool)
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        rule.gives(wanted)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        grant::decide(&grants.tools, op)
    }

    /// What a tool changes is for its own class to say.
    fn writes(_: &Op) -> bool {
        false
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        match words {
            ["call", tool] => Ok(Op {
                tool: (*tool).to_owned(),
            }),
            _ => Err("expected `call PLUGIN/TOOL`".to_owned()),
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
