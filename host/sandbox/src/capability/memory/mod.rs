//! The `memory` room: documents in namespaces, which are a run's own, a plugin's own,
//! or shared by all that were granted them. A tool asks through an interface; an agent
//! asks the host that runs it, which asks this room.
//!
//! What must stay true: no request reaches a namespace that no rule names, nor the
//! plugin's own of another plugin or principal; a quota and a longest life hold for
//! each write; what was acknowledged is durable and found.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod answer;
mod backend;
mod bind;
mod grant;
mod request;
#[cfg(test)]
pub(crate) mod tests;

pub use answer::{
    Answer, DocumentView, EntryView, HitView, ProvenanceView, document_view, entry_view, hit_view,
};
pub use backend::{ANSWER_BYTES_MAX, Queued, Task, error_of, page, read, write_once, written};
pub use bind::State;
pub use grant::{Access, Owner, Rule, agents_own, is_agents_own};
pub use request::Request;

/// The capability `memory`.
pub enum Memory {}

/// One use of a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// What is done.
    pub action: Action,
    /// The namespace as a rule names it: `run`, `agent` or `shared/NAME`.
    pub namespace: String,
    /// The document, where it is about a single one.
    pub id: Option<String>,
}

/// What is done in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read a document.
    Get,
    /// List what there is.
    List,
    /// Look for documents.
    Search,
    /// Write a document.
    Put,
    /// Remove a document.
    Delete,
}

const ACTIONS: [(&str, Action); 5] = [
    ("get", Action::Get),
    ("list", Action::List),
    ("search", Action::Search),
    ("put", Action::Put),
    ("delete", Action::Delete),
];

impl Op {
    /// Whether it changes something.
    #[must_use]
    pub fn writes(&self) -> bool {
        matches!(self.action, Action::Put | Action::Delete)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ACTIONS.iter().find(|(_, action)| *action == self.action);
        let name = name.map_or("use", |(name, _)| name);
        write!(f, "{name} {}", self.namespace.escape_debug())?;
        match &self.id {
            Some(id) => write!(f, " {}", id.escape_debug()),
            None => Ok(()),
        }
    }
}

impl Capability for Memory {
    const NAME: &'static str = "memory";
    const SUMMARY: &'static str = "Keep documents and look them up by words and vectors.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] =
        &[("airlock:memory/memory", &["0.1.0"])];
    type Rule = Rule;
    type Op = Op;
    type Prepared = backend::Backend;
    type State = State;

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.memory
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        format!("namespace = {:?}", rule.namespace)
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        rule.gives(wanted)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        grant::decide(&grants.memory, op)
    }

    fn writes(op: &Op) -> bool {
        op.writes()
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        let expected = || {
            let names: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
            format!(
                "expected `ACTION NAMESPACE [ID]` with one of {}",
                names.join(", ")
            )
        };
        let (action, namespace, id) = match words {
            [action, namespace] => (action, namespace, None),
            [action, namespace, id] => (action, namespace, Some((*id).to_owned())),
            _ => return Err(expected()),
        };
        let known = ACTIONS.iter().find(|(name, _)| name == action);
        Ok(Op {
            action: known.ok_or_else(expected)?.1,
            namespace: (*namespace).to_owned(),
            id,
        })
    }

    fn prepare(cx: &PrepareContext<'_>) -> Result<backend::Backend, PrepareError> {
        Ok(backend::Backend::new(cx.services, cx.plugin))
    }

    fn state(cx: &CallContext, prepared: &Arc<backend::Backend>) -> State {
        State::new(cx.gate.clone(), Arc::clone(prepared))
    }

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        bind::link(linker)
    }
}
