//! The `models` room: which roles of language models an agent may ask, and how much
//! of them. Nothing is linked: an agent asks the host that runs it, which asks this
//! room.
//!
//! What must stay true: a role that no rule names is asked for nothing, whoever
//! started the agent.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod grant;
#[cfg(test)]
pub(crate) mod tests;

pub use super::tools::{ErrorCode, OnError, Retry};
pub use grant::{Cost, Rule};

/// The capability `models`.
pub enum Models {}

/// Asking the models of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The role.
    pub role: String,
    /// Whether images are sent along.
    pub images: bool,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ask {}", self.role.escape_debug())?;
        match self.images {
            true => f.write_str(" images"),
            false => Ok(()),
        }
    }
}

impl Capability for Models {
    const NAME: &'static str = "models";
    const SUMMARY: &'static str = "Ask language models (agents only).";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[];
    type Rule = Rule;
    type Op = Op;
    type Prepared = ();
    type State = ();

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.models
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        format!("role = {:?}", rule.role)
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        rule.gives(wanted)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        grant::decide(&grants.models, op)
    }

    /// An answer changes nothing outside.
    fn writes(_: &Op) -> bool {
        false
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        let op = |role: &str, images| Op {
            role: role.to_owned(),
            images,
        };
        match words {
            ["ask", role] => Ok(op(role, false)),
            ["ask", role, "images"] => Ok(op(role, true)),
            _ => Err("expected `ask ROLE` or `ask ROLE images`".to_owned()),
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
