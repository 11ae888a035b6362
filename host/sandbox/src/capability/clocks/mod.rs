//! The `clocks` room: wall time, monotonic time since the call began, and
//! sleeping. Needs no grant.
//!
//! What must stay true: no sleep outlasts the call's deadline.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, NoRule, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod backend;
mod bind;
#[cfg(test)]
pub(crate) mod tests;

pub use backend::CallClocks;

/// The capability `clocks`.
pub enum Clocks {}

/// An operation of `clocks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Read a clock.
    Read,
    /// Wait for a time.
    Sleep,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Sleep => "sleep",
        })
    }
}

impl Capability for Clocks {
    const NAME: &'static str = "clocks";
    const SUMMARY: &'static str = "Read the time and sleep, until the call's deadline.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[
        ("wasi:clocks/wall-clock", &["0.2"]),
        ("wasi:clocks/monotonic-clock", &["0.2"]),
    ];
    type Rule = NoRule;
    type Op = Op;
    type Prepared = ();
    type State = CallClocks;

    fn rules(grants: &Grants) -> &[NoRule] {
        &grants.clocks
    }

    fn validate(rule: &NoRule) -> Result<(), String> {
        match *rule {}
    }

    fn identity(rule: &NoRule) -> String {
        match *rule {}
    }

    fn gives(rule: &NoRule, _: &NoRule) -> Given {
        match *rule {}
    }

    fn decide(_: &Grants, _: &Op) -> Result<Allowed, Missing> {
        Ok(Allowed::Ambient)
    }

    fn writes(_: &Op) -> bool {
        false
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        match words {
            ["read"] => Ok(Op::Read),
            ["sleep"] => Ok(Op::Sleep),
            _ => Err("expected `read` or `sleep`".to_owned()),
        }
    }

    fn prepare(_: &PrepareContext<'_>) -> Result<(), PrepareError> {
        Ok(())
    }

    fn state(cx: &CallContext, _: &Arc<()>) -> CallClocks {
        CallClocks::new(cx.gate.clone(), cx.started, cx.deadline)
    }

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        bind::link(linker)
    }
}
