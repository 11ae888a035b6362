//! The `config` room: `wasi:config` in the forms that components were built
//! against, over the values an administrator wrote into the grant.
//!
//! What must stay true: a value reaches the guest only by a rule with its key.

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

/// The capability `config`.
pub enum Config {}

/// An operation of `config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Read the value of a key.
    Get {
        /// The key.
        key: String,
    },
    /// List all keys with their values.
    GetAll,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get { key } => write!(f, "get {}", key.escape_debug()),
            Self::GetAll => f.write_str("get-all"),
        }
    }
}

impl Capability for Config {
    const NAME: &'static str = "config";
    const SUMMARY: &'static str = "Read the configuration values named in the grant.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[
        ("wasi:config/store", &["0.2.0-rc.1", "0.2.0-draft"]),
        ("wasi:config/runtime", &["0.2.0-draft"]),
    ];
    type Rule = Rule;
    type Op = Op;
    type Prepared = ();
    type State = ();

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.config
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        format!("key = {:?}", rule.key)
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        // The value is for the administrator to know.
        Given::all_if(rule.key == wanted.key)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        grant::decide(&grants.config, op)
    }

    fn writes(_: &Op) -> bool {
        false
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        match words {
            ["get", key] => Ok(Op::Get {
                key: (*key).to_owned(),
            }),
            ["get-all"] => Ok(Op::GetAll),
            _ => Err("expected `get KEY` or `get-all`".to_owned()),
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
