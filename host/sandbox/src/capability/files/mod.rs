//! The `files` room: `wasi:filesystem` over directories that are opened once per
//! grant. Beside the granted directories each call gets a preopen `/` that holds
//! nothing, so that a path under no grant is seen, denied and audited.
//!
//! What must stay true: an operation needs a permit for its guest path and stays
//! inside the directory of the rule that gave it; no link is made, nothing but
//! regular files and directories is opened, and growth is within the quotas.

use std::sync::Arc;

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};

use super::{CallContext, Capability, Given, Grants, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod backend;
pub mod bench;
mod bind;
mod fault;
pub mod grant;
mod listing;
mod node;
mod open;
mod prepare;
mod quota;
mod reserved;
mod slots;
mod stream;
mod view;

#[cfg(test)]
pub(crate) mod tests;

pub use grant::{Access, Op, Rule, Verb};
pub use node::FilesState;
pub use prepare::{Prepared, check_reserved};
pub use reserved::{Overlap, OverlapKind, Reserved};

/// The capability `files`.
pub enum Files {}

impl HasData for Files {
    type Data<'a> = view::FilesView<'a>;
}

impl Capability for Files {
    const NAME: &'static str = "files";
    const SUMMARY: &'static str = "Read and write files in granted directories.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[
        ("wasi:filesystem/preopens", &["0.2"]),
        ("wasi:filesystem/types", &["0.2"]),
    ];
    type Rule = Rule;
    type Op = Op;
    type Prepared = Prepared;
    type State = FilesState;

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.files
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        format!("guest = {:?}", rule.guest)
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        rule.gives(wanted)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        op.decide(&grants.files)
    }

    fn writes(op: &Op) -> bool {
        op.verb.writes()
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        Op::parse(words)
    }

    fn prepare(cx: &PrepareContext<'_>) -> Result<Prepared, PrepareError> {
        let services = cx.services;
        Prepared::new(&cx.grants.files, &services.reserved, &services.io)
    }

    fn state(_: &CallContext, prepared: &Arc<Prepared>) -> FilesState {
        FilesState::new(prepared)
    }

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        fn view(state: &mut CallState) -> view::FilesView<'_> {
            view::FilesView {
                table: &mut state.table,
                gate: &state.gate,
                room: state.rooms.files(),
            }
        }
        types::add_to_linker::<CallState, Files>(linker, view)?;
        preopens::add_to_linker::<CallState, Files>(linker, view)
    }
}
