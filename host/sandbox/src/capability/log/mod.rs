//! The `log` room: stdout, stderr, structured records and progress of a call.
//! Needs no grant and is bounded by the `log` limit; what exceeds it is dropped
//! and counted, and never blocks or fails the guest.
//!
//! What must stay true: nothing a guest writes can start a line, move a cursor
//! or reorder text where people read logs.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, NoRule, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod backend;
mod bind;
mod escape;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use escape::escape;

pub use backend::{LINE_BYTES_MAX, LogBuffer, LogOutput, Progress, RECORD_OVERHEAD_BYTES};

/// The capability `log`.
pub enum Log {}

/// An operation of `log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Write to stdout, stderr or the structured log.
    Write,
    /// Report progress.
    Progress,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Write => "write",
            Self::Progress => "progress",
        })
    }
}

impl Capability for Log {
    const NAME: &'static str = "log";
    const SUMMARY: &'static str =
        "Write to stdout, stderr and a structured log, and report progress.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[
        ("wasi:cli/stdout", &["0.2"]),
        ("wasi:cli/stderr", &["0.2"]),
        ("airlock:tool/host", &["1"]),
    ];
    type Rule = NoRule;
    type Op = Op;
    type Prepared = ();
    type State = LogBuffer;

    fn rules(grants: &Grants) -> &[NoRule] {
        &grants.log
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
            ["write"] => Ok(Op::Write),
            ["progress"] => Ok(Op::Progress),
            _ => Err("expected `write` or `progress`".to_owned()),
        }
    }

    fn prepare(_: &PrepareContext<'_>) -> Result<(), PrepareError> {
        Ok(())
    }

    fn state(cx: &CallContext, _: &Arc<()>) -> LogBuffer {
        LogBuffer::new(cx.gate.clone(), cx.started.into_std(), cx.limits.log.0)
    }

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        bind::link(linker)
    }
}
