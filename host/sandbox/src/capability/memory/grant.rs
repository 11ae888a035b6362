//! What an administrator may grant of `memory`, and where what a rule names is.

use std::time::Duration;

use airlock_memory::{Kind, MemoryError, Namespace, Quota};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Op;
use crate::capability::Given;
use crate::capability::kv::Scope;
use crate::gate::{Allowed, Missing};
use crate::limits::{ByteSize, Span};

/// A run's own notes, in a rule and in a request.
const RUN: &str = "run";
/// What a plugin keeps for itself.
const AGENT: &str = "agent";
/// Before the name of what several share.
const SHARED: &str = "shared/";

const QUOTA_BYTES_MAX: u64 = 1 << 40;
const TTL_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// One namespace, e.g. `{ namespace = "shared/handbook" }`, or those of which the
/// names begin alike: `{ namespace = "shared/team-*", access = "write" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `run`: the notes of the agent's run; `agent`: what the plugin keeps for itself;
    /// `shared/NAME`, where a `*` at the end stands for any rest.
    pub namespace: String,
    /// What may be done with it: `read` is get, list and search, `write` everything.
    #[serde(default)]
    pub access: Access,
    /// Documents in the namespace, at most. 1000 unless stated.
    #[serde(default = "default_documents")]
    pub documents: u64,
    /// Bytes of the namespace, at most: ids, texts, values, labels, sources, vectors,
    /// and 128 for each document. 10MiB unless stated.
    #[serde(default = "default_bytes")]
    pub bytes: ByteSize,
    /// How long a document that is written lives at most, e.g. `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// Of `agent` alone: whose it is. Each caller of the plugin has one of its own
    /// (`principal`), or all share it (`plugin`). Default principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
}

/// What may be done with a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Get, list and search.
    #[default]
    Read,
    /// Everything.
    Write,
}

fn default_documents() -> u64 {
    1_000
}

fn default_bytes() -> ByteSize {
    ByteSize(10 << 20)
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'o> {
    /// The plugin.
    pub plugin: &'o str,
    /// The opaque id of whoever it works for.
    pub principal: &'o str,
    /// The run whose notes are `run`; a tool has none.
    pub run: Option<&'o str>,
}

impl Rule {
    pub(super) fn validate(&self) -> Result<(), String> {
        let name = &self.namespace;
        let known = match name.strip_prefix(SHARED) {
            Some(rest) => match rest.strip_suffix('*') {
                Some("") => true,
                begins => Namespace::new(Kind::Shared, begins.unwrap_or(rest)).is_ok(),
            },
            None => [RUN, AGENT].contains(&name.as_str()),
        };
        if !known {
            return Err(format!(
                "namespace `{}` must be `run`, `agent`, or `shared/` and 1 to 128 of A-Z a-z 0-9 . _ -, \
                 the first a letter or a digit, with a `*` at the end for any rest",
                name.escape_debug()
            ));
        }
        if self.scope.is_some() && name != AGENT {
            return Err(format!(
                "scope is of `agent` alone: `{name}` is {}",
                match name.as_str() {
                    RUN => "one run's",
                    _ => "shared by all that were granted it",
                }
            ));
        }
        if self.bytes.0 == 0 || self.bytes.0 > QUOTA_BYTES_MAX {
            let max = ByteSize(QUOTA_BYTES_MAX);
            return Err(format!("bytes = \"{}\" must be 1B to {max}", self.bytes));
        }
        if self.documents == 0 {
            return Err("documents = 0 must be at least 1".to_owned());
        }
        match self.ttl {
            Some(ttl) if ttl.0.as_millis() == 0 || ttl.0 > TTL_MAX => {
                Err(format!("ttl = \"{ttl}\" must be 1ms to 100 years"))
            }
            _ => Ok(()),
        }
    }

    /// How near it comes to a rule that a component asks for.
    pub(super) fn gives(&self, wanted: &Self) -> Given {
        let whose = |rule: &Self| rule.scope.unwrap_or_default();
        let access = self.access == Access::Write || wanted.access == Access::Read;
        let room = self.bytes >= wanted.bytes && self.documents >= wanted.documents;
        let lives = match (self.ttl, wanted.ttl) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ttl), Some(wanted)) => ttl >= wanted,
        };
        let covered = self.covers(&wanted.namespace) && whose(self) == whose(wanted);
        Given::all_if(covered && access && room && lives)
    }

    fn covers(&self, namespace: &str) -> bool {
        match self.namespace.strip_suffix('*') {
            Some(begins) => namespace.starts_with(begins),
            None => self.namespace == namespace,
        }
    }

    /// How much the namespace may hold.
    #[must_use]
    pub fn quota(&self) -> Quota {
        Quota {
            documents_max: self.documents,
            bytes_max: self.bytes.0,
        }
    }

    /// How long a document lives that asks for `asked`.
    #[must_use]
    pub fn ttl_ms(&self, asked: Option<u64>) -> Option<u64> {
        let most = self.ttl.map(|ttl| u64::try_from(ttl.0.as_millis()));
        let most = most.map(|most| most.unwrap_or(u64::MAX));
        asked.map_or(most, |asked| {
            Some(most.map_or(asked, |most| asked.min(most)))
        })
    }

    /// Where the documents of a namespace are that this rule covers.
    ///
    /// # Errors
    /// There is no such namespace for `owner`.
    pub fn place(&self, namespace: &str, owner: Owner<'_>) -> Result<Namespace, MemoryError> {
        match (namespace, owner.run) {
            (RUN, Some(run)) => Namespace::new(Kind::Run, run),
            (RUN, None) => Err(MemoryError::Invalid {
                what: "namespace".to_owned(),
                why: "`run` is the notes of an agent's run; a tool has `agent` and `shared/…`"
                    .to_owned(),
            }),
            (AGENT, _) => match self.scope.unwrap_or_default() {
                Scope::Plugin => agents_own(owner.plugin, None),
                Scope::Principal => agents_own(owner.plugin, Some(owner.principal)),
            },
            (shared, _) => Namespace::parse(shared),
        }
    }
}

/// What a plugin keeps for itself, for all or for one principal. No plugin's name has
/// a dot, so no two have one namespace.
///
/// # Errors
/// The names make none.
pub fn agents_own(plugin: &str, principal: Option<&str>) -> Result<Namespace, MemoryError> {
    match principal {
        None => Namespace::new(Kind::Agent, plugin),
        Some(principal) => Namespace::new(Kind::Agent, &format!("{plugin}.{principal}")),
    }
}

/// Whether a namespace is what `plugin` keeps for itself.
#[must_use]
pub fn is_agents_own(namespace: &Namespace, plugin: &str) -> bool {
    let name = namespace.name();
    let owner = name.split_once('.').map_or(name, |(owner, _)| owner);
    namespace.kind() == Kind::Agent && owner == plugin
}

pub(super) fn decide(rules: &[Rule], op: &Op) -> Result<Allowed, Missing> {
    let name = op.namespace.escape_debug();
    let covering = || {
        let rules = rules.iter().enumerate();
        rules.filter(|(_, rule)| rule.covers(&op.namespace))
    };
    let known = [RUN, AGENT].contains(&op.namespace.as_str())
        || op
            .namespace
            .strip_prefix(SHARED)
            .is_some_and(|rest| Namespace::new(Kind::Shared, rest).is_ok());
    if !known {
        return Err(Missing::new(format!(
            "`{name}` is no namespace: there are `run`, `agent` and `shared/NAME`"
        )));
    }
    let mut allowing = covering().filter(|(_, rule)| !op.writes() || rule.access == Access::Write);
    if let Some((index, _)) = allowing.next() {
        return Ok(Allowed::Rule(index));
    }
    Err(Missing::new(match covering().next() {
        None if op.writes() => format!(
            "no memory rule covers `{name}`; needed: memory = [{{ namespace = \"{name}\", access = \"write\" }}]"
        ),
        None => format!(
            "no memory rule covers `{name}`; needed: memory = [{{ namespace = \"{name}\" }}]"
        ),
        Some((index, rule)) => format!(
            "memory rule {index} grants `{}` with access = \"read\"; needed: access = \"write\"",
            rule.namespace
        ),
    }))
}
