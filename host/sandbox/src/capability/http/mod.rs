//! The `http` room.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Grants, NoRule, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

pub mod network;
#[cfg(test)]
pub(crate) mod tests;

pub use network::Network;

/// The capability `http`.
pub enum Http {}

/// An operation of `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op(String);

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Capability for Http {
    const NAME: &'static str = "http";
    const SUMMARY: &'static str = "Send HTTP requests to granted hosts.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[];
    type Rule = NoRule;
    type Op = Op;
    type Prepared = ();
    type State = ();

    fn rules(grants: &Grants) -> &[NoRule] {
        &grants.http
    }
    fn validate(rule: &NoRule) -> Result<(), String> {
        match *rule {}
    }
    fn decide(_: &Grants, _: &Op) -> Result<Allowed, Missing> {
        Ok(Allowed::Ambient)
    }
    fn writes(_: &Op) -> bool {
        false
    }
    fn parse_op(words: &[&str]) -> Result<Op, String> {
        Ok(Op(words.join(" ")))
    }
    fn prepare(_: &PrepareContext<'_>) -> Result<(), PrepareError> {
        Ok(())
    }
    fn state(_: &CallContext<'_>, _: &Arc<()>) {}
    fn link(_: &mut Linker<CallState>) -> wasmtime::Result<()> {
        Ok(())
    }
}
