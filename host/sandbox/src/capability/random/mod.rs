//! The `random` room: random bytes from the operating system, whichever of the
//! three interfaces asks. Needs no grant and is bounded by the `random` limit.
//!
//! What must stay true: a request is refused before anything is allocated for it.

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

pub use backend::CallRandom;

/// The capability `random`.
pub enum Random {}

/// Getting random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op;

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("read")
    }
}

impl Capability for Random {
    const NAME: &'static str = "random";
    const SUMMARY: &'static str = "Get random bytes, within the `random` limit.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[
        ("wasi:random/random", &["0.2"]),
        ("wasi:random/insecure", &["0.2"]),
        ("wasi:random/insecure-seed", &["0.2"]),
    ];
    type Rule = NoRule;
    type Op = Op;
    type Prepared = ();
    type State = CallRandom;

    fn rules(grants: &Grants) -> &[NoRule] {
        &grants.random
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
            ["read"] => Ok(Op),
            _ => Err("expected `read`".to_owned()),
        }
    }

    fn prepare(_: &PrepareContext<'_>) -> Result<(), PrepareError> {
        Ok(())
    }

    fn state(cx: &CallContext, _: &Arc<()>) -> CallRandom {
        CallRandom::new(cx.gate.clone(), cx.limits.random.0)
    }

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        bind::link(linker)
    }
}
