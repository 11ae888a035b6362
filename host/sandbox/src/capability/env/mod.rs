//! The `env` room: environment variables that an administrator wrote into the
//! grant. Arguments are empty and there is no working directory.
//!
//! What must stay true: the host's own environment is never read.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod bind;
mod grant;
#[cfg(test)]
pub(crate) mod tests;

pub use grant::Rule;

/// The capability `env`.
pub enum Env {}

/// Reading one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// The variable's name.
    pub name: String,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {}", self.name.escape_debug())
    }
}

impl Capability for Env {
    const NAME: &'static str = "env";
    const SUMMARY: &'static str = "See the environment variables named in the grant.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] =
        &[("wasi:cli/environment", &["0.2"])];
    type Rule = Rule;
    type Op = Op;
    type Prepared = ();
    type State = ();

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.env
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        format!("name = {:?}", rule.name)
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        // The value is for the administrator to know.
        Given::all_if(rule.name == wanted.name)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        grant::decide(&grants.env, op)
    }

    fn writes(_: &Op) -> bool {
        false
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        match words {
            ["read", name] => Ok(Op {
                name: (*name).to_owned(),
            }),
            _ => Err("expected `read NAME`".to_owned()),
        }
    }

    fn prepare(_: &PrepareContext<'_>) -> Result<(), PrepareError> {
        Ok(())
    }

    fn state(_: &CallContext, _: &Arc<()>) {}

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        bind::link(linker)
    }
}
