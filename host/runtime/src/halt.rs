//! The kill switch, for everything or for an agent, a plugin or a run: no call
//! starts, those in flight end, runs stand still, until it is lifted; over
//! restarts too.
//!
//! What must stay true: a halt that was acknowledged holds after any crash; what
//! stands still is what the store says.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use airlock_journal::{Batch, Store, StoreError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;

use crate::principal::Principal;
use crate::problem::Failure;
use crate::record;
use crate::rows::{decode, encode};
use crate::runtime::Runtime;
use crate::stop::Stop;
use crate::tokens::AuthError;

const SPACE: &str = "halt";
const KEY: &[u8] = b"all";

/// Keys of the parts.
const PARTS: &[u8] = b"part/";
const PARTS_END: &[u8] = b"part0";

/// What can be halted by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// All runs of an agent.
    Agent(String),
    /// All calls of a plugin's tools, and its runs.
    Plugin(String),
    /// One run.
    Run(String),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Agent(name) => ("agent", name),
            Self::Plugin(name) => ("plugin", name),
            Self::Run(id) => ("run", id),
        };
        write!(f, "{kind} {}", name.escape_debug())
    }
}

impl Part {
    fn key(&self) -> Vec<u8> {
        [PARTS, self.to_string().as_bytes()].concat()
    }
}

/// The parts that stand still.
pub(crate) struct Halts {
    parts: watch::Sender<BTreeSet<Part>>,
    /// Held by whoever uses the kill switch: what was written last holds.
    turn: tokio::sync::Mutex<()>,
}

/// A run, for what may be halted of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OfRun<'a> {
    pub(crate) id: &'a str,
    /// The first of those that it continues: a run is halted with all that go on
    /// in its place.
    pub(crate) first: &'a str,
    pub(crate) agent: &'a str,
}

impl Halts {
    /// Those that were halted when the host stopped.
    pub(crate) fn open(store: &dyn Store) -> Result<Self, StoreError> {
        let mut parts = BTreeSet::new();
        for (key, row) in store.range(SPACE, PARTS, Some(PARTS_END), usize::MAX)? {
            let halted: PartHalted = decode(SPACE, &key, &row)?;
            parts.insert(halted.part);
        }
        Ok(Self {
            parts: watch::Sender::new(parts),
            turn: tokio::sync::Mutex::default(),
        })
    }

    fn set(&self, part: &Part, halted: bool) {
        self.parts.send_if_modified(|parts| match halted {
            true => parts.insert(part.clone()),
            false => parts.remove(part),
        });
    }

    /// Whether calls of a plugin's tools stand still.
    pub(crate) fn plugin(&self, plugin: &str) -> bool {
        let parts = self.parts.borrow();
        !parts.is_empty() && parts.contains(&Part::Plugin(plugin.to_owned()))
    }

    /// Whether a run stands still.
    pub(crate) fn run(&self, run: OfRun<'_>) -> bool {
        let parts = self.parts.borrow();
        !parts.is_empty() && run.parts().iter().any(|part| parts.contains(part))
    }

    /// Of a run and the plugins whose tools it calls, what stands still.
    pub(crate) fn of(&self, run: OfRun<'_>, plugins: BTreeSet<String>) -> BTreeSet<Part> {
        let own = run.parts().into_iter();
        let of: BTreeSet<Part> = own.chain(plugins.into_iter().map(Part::Plugin)).collect();
        of.intersection(&self.parts.borrow()).cloned().collect()
    }

    /// Resolves when a call of a plugin's tool, for a run or for nobody's, is to
    /// end.
    pub(crate) async fn ends(&self, plugin: &str, run: Option<OfRun<'_>>) {
        let mut changed = self.parts.subscribe();
        loop {
            changed.mark_unchanged();
            if self.plugin(plugin) || run.is_some_and(|run| self.run(run)) {
                return;
            }
            // The sender lives as long as this.
            let _ = changed.changed().await;
        }
    }
}

impl OfRun<'_> {
    fn parts(self) -> [Part; 4] {
        [
            Part::Run(self.id.to_owned()),
            Part::Run(self.first.to_owned()),
            Part::Agent(self.agent.to_owned()),
            Part::Plugin(self.agent.to_owned()),
        ]
    }
}

/// Whether everything stands still, and what else does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HaltView {
    /// Whether everything does.
    pub halted: bool,
    /// Who halted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// What was halted by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartHalted>,
}

/// An agent, a plugin or a run that was halted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartHalted {
    /// Which.
    #[serde(flatten)]
    pub part: Part,
    /// Who halted it.
    pub by: String,
    /// Why.
    pub why: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// Halts, or lifts the halt: of everything, or of the one part that is named.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaltRequest {
    /// Whether it is to stand still.
    pub halted: bool,
    /// Why, for the record.
    #[serde(default)]
    pub why: String,
    /// All runs of an agent.
    #[serde(default)]
    pub agent: Option<String>,
    /// All calls of a plugin's tools; where it is an agent, its runs.
    #[serde(default)]
    pub plugin: Option<String>,
    /// One run, with those that go on in its place; its children not. It is listed
    /// by the id of the first of them.
    #[serde(default)]
    pub run: Option<String>,
}

impl HaltRequest {
    fn part(&self) -> Result<Option<Part>, HaltError> {
        let named = [
            self.agent.clone().map(Part::Agent),
            self.plugin.clone().map(Part::Plugin),
            self.run.clone().map(Part::Run),
        ];
        let mut named = named.into_iter().flatten();
        match (named.next(), named.next()) {
            (part, None) => Ok(part),
            _ => Err(HaltError::Several),
        }
    }
}

/// Why it could not be halted.
#[derive(Debug, thiserror::Error)]
pub enum HaltError {
    /// The reason is too long.
    #[error(transparent)]
    Why(#[from] crate::names::BadName),
    /// More than one part is named.
    #[error("name one of agent, plugin and run")]
    Several,
    /// What is named is not there.
    #[error("there is no {0}")]
    Unknown(Part),
    /// It has tools, and no runs.
    #[error("`{0}` is no agent: halt it as a plugin")]
    NotAnAgent(String),
    /// The run is over: there is nothing to halt.
    #[error("run `{0}` has ended")]
    Ended(String),
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The store: it stands still, and that may not hold over a restart.
    #[error("the halt is not kept")]
    Store(#[from] StoreError),
}

impl Failure for HaltError {
    fn code(&self) -> &'static str {
        match self {
            Self::Why(_) => "bad-name",
            Self::Several => "invalid-request",
            Self::Unknown(_) => "not-found",
            Self::NotAnAgent(_) => "not-an-agent",
            Self::Ended(_) => "run-ended",
            Self::Unauthenticated(error) => error.code(),
            Self::Store(_) => "store-failed",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::Why(_) | Self::Several => 400,
            Self::Unknown(_) => 404,
            Self::NotAnAgent(_) => 422,
            Self::Ended(_) => 409,
            Self::Unauthenticated(error) => error.status(),
            Self::Store(_) => 503,
        }
    }
}

/// How a host begins: halted, when it was halted.
pub(crate) fn begin(store: &dyn Store) -> Result<Stop, StoreError> {
    Ok(match read(store)?.halted {
        true => Stop::Halted,
        false => Stop::No,
    })
}

fn read(store: &dyn Store) -> Result<HaltView, StoreError> {
    let row = store.get(SPACE, KEY)?;
    let view = row.map(|row| decode(SPACE, KEY, &row)).transpose()?;
    Ok(view.unwrap_or_default())
}

impl Runtime {
    /// Whether everything stands still, and why.
    ///
    /// # Errors
    /// The store failed.
    pub fn halt_view(&self) -> Result<HaltView, HaltError> {
        let mut view = read(self.store())?;
        let all = self
            .store()
            .range(SPACE, PARTS, Some(PARTS_END), usize::MAX)?;
        for (key, row) in all {
            view.parts.push(decode(SPACE, &key, &row)?);
        }
        Ok(view)
    }

    /// Makes everything stand still, or lets it go on. Calls in flight are cut
    /// off at once, before that is durable.
    ///
    /// # Errors
    /// The reason is too long, or the store failed.
    pub async fn halt(
        self: &Arc<Self>,
        who: &Principal,
        request: HaltRequest,
    ) -> Result<HaltView, HaltError> {
        crate::names::why(&request.why)?;
        if let Some(part) = request.part()? {
            return self.halt_part(who, part, request).await;
        }
        if request.halted {
            self.set_halted(true);
        }
        let _turn = self.halts.turn.lock().await;
        if request.halted {
            // It may have been lifted by whoever had the turn before.
            self.set_halted(true);
        } else {
            // A halt was at once; what lifts one waited.
            self.check_holds(who)?;
        }
        let action = if request.halted { "halt" } else { "halt.lift" };
        let record = record::admin(who, action, "host", json!({ "why": request.why }));
        let before = read(self.store())?;
        let view = match before.halted && request.halted {
            // Who halts it again is on record; it stands still since the first.
            true => before,
            false => HaltView {
                halted: request.halted,
                by: Some(who.name.clone()),
                why: Some(request.why),
                at_ms: Some(crate::ids::now_ms()),
                parts: Vec::new(),
            },
        };
        let batch = Batch::new()
            .put(SPACE, KEY, encode(&view))
            .op(record::op(&record));
        self.store().commit(batch).await?;
        if !request.halted {
            self.set_halted(false);
        }
        self.halt_view()
    }

    async fn halt_part(
        self: &Arc<Self>,
        who: &Principal,
        part: Part,
        request: HaltRequest,
    ) -> Result<HaltView, HaltError> {
        let named = part.clone();
        let part = self.whole(part)?;
        if request.halted {
            self.check_is_there(&named)?;
            self.set_part(&part, true);
        }
        let _turn = self.halts.turn.lock().await;
        if request.halted {
            self.set_part(&part, true);
        } else {
            self.check_holds(who)?;
        }
        let action = if request.halted { "halt" } else { "halt.lift" };
        let detail = json!({ "why": request.why });
        let record = record::admin(who, action, &part.to_string(), detail);
        let batch = Batch::new().op(record::op(&record));
        let known = self.store().get(SPACE, part.key().as_ref())?.is_some();
        let batch = match request.halted {
            true if known => batch,
            true => {
                let halted = PartHalted {
                    part: part.clone(),
                    by: who.name.clone(),
                    why: request.why,
                    at_ms: crate::ids::now_ms(),
                };
                batch.put(SPACE, part.key(), encode(&halted))
            }
            // One that was halted by its own id, by an earlier version, too.
            false => batch.delete(SPACE, part.key()).delete(SPACE, named.key()),
        };
        self.store().commit(batch).await?;
        if !request.halted {
            self.set_part(&part, false);
            self.set_part(&named, false);
        }
        self.halt_view()
    }

    /// A run by the first of those that it continues.
    fn whole(&self, part: Part) -> Result<Part, HaltError> {
        match part {
            Part::Run(id) => Ok(Part::Run(self.first_run(&id)?)),
            part => Ok(part),
        }
    }

    fn set_part(self: &Arc<Self>, part: &Part, halted: bool) {
        self.halts.set(part, halted);
        if let (true, Part::Plugin(name)) = (halted, part) {
            self.close_servers(|plugin| plugin == name);
        }
        self.runs.halt(self, halted);
    }

    fn check_is_there(&self, part: &Part) -> Result<(), HaltError> {
        let there = match part {
            Part::Plugin(name) => self.registry.get(name).is_some(),
            Part::Agent(name) => match self.registry.get(name) {
                Some((_, active)) if active.manifest.agent.is_none() => {
                    return Err(HaltError::NotAnAgent(name.clone()));
                }
                found => found.is_some(),
            },
            Part::Run(id) => match self.current_run(id)? {
                Some(run) if !run.is_open() => return Err(HaltError::Ended(id.clone())),
                run => run.is_some(),
            },
        };
        match there {
            true => Ok(()),
            false => Err(HaltError::Unknown(part.clone())),
        }
    }

    fn set_halted(self: &Arc<Self>, halted: bool) {
        self.stop.send_if_modified(|stop| {
            *stop = match (*stop, halted) {
                (Stop::No, true) => Stop::Halted,
                (Stop::Halted, false) => Stop::No,
                // It stops anyway, and now without waiting for what is in flight.
                (Stop::Draining, true) => Stop::Now,
                _ => return false,
            };
            true
        });
        if halted {
            self.close_servers(|_| true);
        }
        self.runs.halt(self, halted);
    }

    /// Ends the connections to MCP servers, and with them their programs.
    fn close_servers(&self, which: impl Fn(&str) -> bool) {
        let all = self.registry.all().into_iter();
        for (slot, active) in all.filter(|(slot, _)| which(&slot.name)) {
            if let Some(remote) = &active.remote {
                tracing::info!(
                    plugin = slot.name,
                    "the connection to an MCP server is ended"
                );
                remote.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_refusals_are_told_apart() {
        let agent = Part::Agent("a".to_owned());
        let run = Part::Run("run_1\n".to_owned());
        let plugin = Part::Plugin("a".to_owned());
        let shown = [&agent, &plugin, &run].map(Part::to_string);
        assert_eq!(shown, ["agent a", "plugin a", "run run_1\\n"]);
        for (error, status) in [
            (HaltError::Several, 400),
            (HaltError::Unknown(agent), 404),
            (HaltError::Ended("run_1".to_owned()), 409),
        ] {
            assert_eq!(error.status(), status, "{error}");
        }
    }
}
