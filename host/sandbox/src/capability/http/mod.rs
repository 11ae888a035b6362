//! The `http` room: `wasi:http/outgoing-handler`, HTTP/1.1 over TCP or TLS.
//!
//! What must stay true: a name is resolved only after a rule covered its URL,
//! every address is checked, and the one that was checked is dialled; redirects
//! go back to the guest, whose next request is judged like the first; proxies
//! from the environment are ignored; connections never cross plugins.

use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

pub mod address;
mod backend;
mod bind;
pub mod grant;
mod rate;
#[cfg(test)]
pub(crate) mod tests;
pub mod url;

pub use backend::network::Network;
pub use backend::{Prepared, network};
pub use bind::State;
pub use grant::{Op, Rule};

/// The capability `http`.
pub enum Http {}

impl Capability for Http {
    const NAME: &'static str = "http";
    const SUMMARY: &'static str = "Send HTTP requests to granted hosts.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[
        ("wasi:http/types", &["0.2"]),
        ("wasi:http/outgoing-handler", &["0.2"]),
    ];
    type Rule = Rule;
    type Op = Op;
    type Prepared = Prepared;
    type State = State;

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.http
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        rule.identity()
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        rule.gives(wanted)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        grant::decide(grants, op)
    }

    fn writes(op: &Op) -> bool {
        op.method != ::http::Method::GET && op.method != ::http::Method::HEAD
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        grant::parse_op(words)
    }

    fn prepare(cx: &PrepareContext<'_>) -> Result<Prepared, PrepareError> {
        Ok(Prepared::new(cx.services))
    }

    fn state(cx: &CallContext, prepared: &Arc<Prepared>) -> State {
        State::new(cx, prepared)
    }

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        bind::link(linker)
    }
}
