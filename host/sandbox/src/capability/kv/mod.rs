//! The `kv` room: `wasi:keyvalue` over the host's store, on buckets that belong
//! to the plugin, or to the plugin and one of its callers.
//!
//! What must stay true: no key reaches another plugin's or principal's data; a
//! quota holds under any concurrency; what was acknowledged is durable; nothing
//! of a plugin is left once its data was erased.

use std::fmt;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::{CallContext, Capability, Given, Grants, PrepareContext, PrepareError};
use crate::gate::{Allowed, Missing};
use crate::state::CallState;

mod backend;
mod bind;
mod erase;
mod grant;
mod keys;
#[cfg(test)]
pub(crate) mod tests;

pub use backend::{KEY_BYTES_MAX, PAGE_KEYS_MAX, VALUE_BYTES_MAX};
pub use bind::State;
pub use erase::{Erased, erase, holds};
pub use grant::{Access, Rule, Scope};

/// The capability `kv`.
pub enum Kv {}

/// One use of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// What is done.
    pub action: Action,
    /// The bucket's name.
    pub bucket: String,
    /// The key, where it is about a single one.
    pub key: Option<String>,
}

/// What is done with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open it.
    Open,
    /// Read values.
    Get,
    /// Look whether a key is there.
    Exists,
    /// List keys.
    List,
    /// Set values.
    Set,
    /// Remove keys.
    Delete,
    /// Add to a number.
    Increment,
    /// Set a value if it is still what it was.
    Swap,
}

const ACTIONS: [(&str, Action); 8] = [
    ("open", Action::Open),
    ("get", Action::Get),
    ("exists", Action::Exists),
    ("list", Action::List),
    ("set", Action::Set),
    ("delete", Action::Delete),
    ("increment", Action::Increment),
    ("swap", Action::Swap),
];

impl Op {
    fn writes(&self) -> bool {
        use Action::{Delete, Increment, Set, Swap};
        matches!(self.action, Set | Delete | Increment | Swap)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ACTIONS.iter().find(|(_, action)| *action == self.action);
        let name = name.map_or("use", |(name, _)| name);
        write!(f, "{name} {}", self.bucket.escape_debug())?;
        match &self.key {
            Some(key) => write!(f, " {}", key.escape_debug()),
            None => Ok(()),
        }
    }
}

impl Capability for Kv {
    const NAME: &'static str = "kv";
    const SUMMARY: &'static str = "Keep small values in the plugin's own buckets.";
    const INTERFACES: &'static [(&'static str, &'static [&'static str])] = &[
        ("wasi:keyvalue/store", &["0.2.0-draft", "0.2.0-draft2"]),
        ("wasi:keyvalue/atomics", &["0.2.0-draft", "0.2.0-draft2"]),
        ("wasi:keyvalue/batch", &["0.2.0-draft", "0.2.0-draft2"]),
    ];
    type Rule = Rule;
    type Op = Op;
    type Prepared = backend::Backend;
    type State = State;

    fn rules(grants: &Grants) -> &[Rule] {
        &grants.kv
    }

    fn validate(rule: &Rule) -> Result<(), String> {
        rule.validate()
    }

    fn identity(rule: &Rule) -> String {
        format!("bucket = {:?}", rule.bucket)
    }

    fn gives(rule: &Rule, wanted: &Rule) -> Given {
        rule.gives(wanted)
    }

    fn decide(grants: &Grants, op: &Op) -> Result<Allowed, Missing> {
        grant::decide(&grants.kv, op)
    }

    fn writes(op: &Op) -> bool {
        op.writes()
    }

    fn parse_op(words: &[&str]) -> Result<Op, String> {
        let expected = || {
            let names: Vec<&str> = ACTIONS.iter().map(|(name, _)| *name).collect();
            format!(
                "expected `ACTION BUCKET [KEY]` with one of {}",
                names.join(", ")
            )
        };
        let (action, bucket, key) = match words {
            [action, bucket] => (action, bucket, None),
            [action, bucket, key] => (action, bucket, Some((*key).to_owned())),
            _ => return Err(expected()),
        };
        let known = ACTIONS.iter().find(|(name, _)| name == action);
        Ok(Op {
            action: known.ok_or_else(expected)?.1,
            bucket: (*bucket).to_owned(),
            key,
        })
    }

    fn prepare(cx: &PrepareContext<'_>) -> Result<backend::Backend, PrepareError> {
        let store = Arc::clone(&cx.services.store);
        Ok(backend::Backend::new(store, cx.plugin))
    }

    fn state(cx: &CallContext, prepared: &Arc<backend::Backend>) -> State {
        State::new(cx.gate.clone(), Arc::clone(prepared))
    }

    fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
        bind::link(linker)
    }
}
