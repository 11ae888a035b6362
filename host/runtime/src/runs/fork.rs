//! A run that goes on from a step of another: what happened before the step is
//! taken from that run's journal, what comes after it happens anew.
//!
//! What must stay true: an effect that the other run had, or may have had, is not
//! repeated, nor one that it may have had since its backup was made; no approval
//! and no decision about the other run holds for this one; nothing is written into
//! the other run.

use std::collections::BTreeSet;
use std::sync::Arc;

use airlock_journal::Batch;
use airlock_sandbox::EffectClass;
use airlock_sandbox::agent::RequestId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::compare::{ReplayVerdict, RunReplay, Version, started};
use super::event::{Block, Event, Record, Start};
use super::fold::{Asked, RunState};
use super::inbox::Listed;
use super::rows::{self, OpenRow};
use super::session::Session;
use super::talks;
use super::types::RunView;
use super::{RunError, admin, children, new_id, start};
use crate::plugins::PluginError;
use crate::principal::{Principal, Role};
use crate::record;
use crate::runtime::Runtime;

/// Begins a run at a step of another.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkRun {
    /// The first request that is made anew, by its number in the run; what came
    /// before it is taken over. The number of its requests takes all over.
    pub at: u64,
    /// Another input for the agent, a JSON object, at most 1 MiB.
    #[serde(default)]
    pub input: Option<Value>,
    /// Another version of the agent: its name, for the active one, or a digest. One
    /// that is not active takes an administrator. It has to do the same up to the
    /// step.
    #[serde(default)]
    pub agent: Option<String>,
}

/// Where a run comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForkedFrom {
    /// The other run.
    pub run: String,
    /// The first request that this run made itself.
    pub at: u64,
}

impl Runtime {
    /// Begins a run at a step of another. It is durable when this returns.
    ///
    /// Requests before the step that the other run has no answer to are made anew,
    /// except calls that may have happened and that the grant does not call
    /// read-only, and children, which go on: those block the new run until a person
    /// says what became of them. A run of a restored backup that nobody looked at
    /// gives one that waits for an operator as it does itself.
    ///
    /// # Errors
    /// There is no such run, step or version, the version is not one that `who` may
    /// run under these grants, it does something else before the step, the input
    /// makes no sense, or the store failed.
    pub async fn fork_run(
        self: &Arc<Self>,
        who: &Principal,
        id: &str,
        request: ForkRun,
    ) -> Result<RunView, RunError> {
        self.row(who, id, &[Role::Operator])?;
        let records = rows::all(self.store(), id)?;
        let before = started(id, &records)?;
        self.admits_run(who, &before.agent)?;
        let state = RunState::of(&records);
        if request.at > state.asked {
            let asked = state.asked;
            return Err(RunError::NoStep {
                at: request.at,
                asked,
            });
        }
        let digest = self.fork_version(who, &before, request.agent.as_deref());
        let digest = digest.await?;
        let input = request
            .input
            .map(|input| start::input(&input))
            .transpose()?;
        let budget = state.start.as_ref().map(|start| start.budget.clone());
        let start = Start {
            digest,
            input: input.unwrap_or_else(|| before.input.clone()),
            by: who.name.clone(),
            scope: who.plugins.clone(),
            budget: budget.unwrap_or_default(),
            continues: None,
            parent: None,
            // Its time is its own.
            began_ms: Some(crate::ids::now_ms()),
            forked_from: Some(ForkedFrom {
                run: id.to_owned(),
                at: request.at,
            }),
            ..before.clone()
        };
        let taken = taken_over(records, request.at, start.clone());
        self.does_the_same(&before, &start, &taken).await?;
        self.begin_fork(who, &start, with_blocks(taken, &state))
            .await
    }

    /// The component of the new run. It has the grants of the agent, so it is one
    /// that had them or has them, or an administrator says so.
    async fn fork_version(
        &self,
        who: &Principal,
        before: &Start,
        agent: Option<&str>,
    ) -> Result<String, RunError> {
        let active = self.agent_digest(who, &before.agent)?;
        let is_its = |name: &str| name.starts_with("sha256:") || name == before.agent;
        if let Some(other) = agent.filter(|name| !is_its(name)) {
            return Err(RunError::Invalid(format!(
                "agent: a fork runs a version of `{}`, under its grants, not `{}`",
                before.agent,
                other.escape_debug()
            )));
        }
        let digest = self.version(who, before, agent).await?;
        // A plugin that was removed may have left its name to another one.
        let slot = self.registry.known(&before.agent);
        let slot = slot.ok_or_else(|| PluginError::gone(&before.agent))?;
        if !slot.row.lock().await.has(&digest) {
            return Err(RunError::Plugin(PluginError::VersionNotFound {
                plugin: before.agent.clone(),
                digest,
            }));
        }
        let known = digest == before.digest || digest == active;
        match known || who.has_one_of(&[]) {
            true => Ok(digest),
            false => Err(RunError::VersionNotActive(digest)),
        }
    }

    /// Whether the agent of the new run comes to its step at all, where it is not
    /// the one that did.
    async fn does_the_same(
        &self,
        before: &Start,
        start: &Start,
        taken: &[Record],
    ) -> Result<(), RunError> {
        if (&before.digest, &before.input) == (&start.digest, &start.input) {
            return Ok(());
        }
        let version = Version {
            digest: start.digest.clone(),
            goal: start.goal.clone(),
            input: start.input.clone(),
        };
        let recorded = self.read_journal(taken.to_vec())?;
        let replay = self.replayed(start, recorded, version).await?;
        match replay.verdict {
            ReplayVerdict::Differs => Err(RunError::ForkDiffers(first(&replay))),
            ReplayVerdict::Same | ReplayVerdict::SameSoFar => Ok(()),
        }
    }

    async fn begin_fork(
        self: &Arc<Self>,
        who: &Principal,
        start: &Start,
        records: Vec<Record>,
    ) -> Result<RunView, RunError> {
        self.runs.own(self).await?;
        let id = new_id();
        let session = Session::new(id.clone(), self, &records);
        let (row, asked, shown) = {
            let inner = session.lock();
            // Questions that were taken over without an answer are its own.
            let asked = Listed::beginning(&id, &inner.state).ops(&id, &inner.state);
            (rows::row(&id, &inner.state), asked, inner.shown)
        };
        let detail =
            json!({ "agent": start.agent, "digest": start.digest, "from": start.forked_from });
        let audit = self.act_of(who, "run.fork", &id, detail)?;
        let ops = [
            rows::append(&id, 0, &records),
            rows::put(&row),
            rows::put_open(&id, Some(&OpenRow::default())),
            record::op(&audit),
        ];
        let ops = self.runs.fence().into_iter().chain(ops).chain(asked);
        let ops = ops.collect();
        self.audit.commit_drafted(Batch { ops }).await?;
        self.runs.take_up(self, session);
        Ok(admin::view(&row, Some(shown)))
    }
}

/// The first difference, for a message.
fn first(replay: &RunReplay) -> String {
    let step = |step: &Option<super::ReplayStep>| {
        step.as_ref()
            .map_or("nothing".to_owned(), |step| step.what.clone())
    };
    replay
        .differences
        .first()
        .map_or_else(String::new, |first| {
            format!(
                "the journal has {}, it does {}",
                step(&first.recorded),
                step(&first.replayed)
            )
        })
}

/// The records before request `at`, with the answers to the requests before it,
/// whenever they came.
fn taken_over(records: Vec<Record>, at: RequestId, start: Start) -> Vec<Record> {
    let mut before = true;
    let mut start = Some(start);
    let mut taken = Vec::new();
    let asks = records.iter().filter_map(|record| match &record.event {
        Event::Requested { id, request, .. } if talks::is_model(request) => Some(*id),
        _ => None,
    });
    let asks: BTreeSet<RequestId> = asks.collect();
    for Record { at_ms, event } in records {
        before &=
            !matches!(event, Event::Requested { id, .. } | Event::Recorded { id, .. } if id == at);
        let event = match event {
            Event::Started(_) => start.take().map(Event::Started),
            // A request to a model sets its own part aside when it is sent.
            Event::Reserved { id, .. } if asks.contains(&id) => None,
            event => carried(event, before, at),
        };
        taken.extend(event.map(|event| Record { at_ms, event }));
    }
    taken
}

/// What of an event holds for a run that is forked at request `at`; `before`: it
/// happened before the step. What the agent did, what it was given and the signals
/// that it got; nothing of what was done to get there, or decided about that run.
fn carried(event: Event, before: bool, at: RequestId) -> Option<Event> {
    match event {
        Event::Requested { id, request, .. } => before.then_some(Event::Requested {
            id,
            request,
            begun: None,
        }),
        Event::Answered { id, .. } | Event::Withheld { id } => (id < at).then_some(event),
        Event::Woke { .. }
        | Event::Recorded { .. }
        | Event::Reserved { .. }
        | Event::ToolsTold { .. }
        | Event::StateSet { .. }
        | Event::CancelAsked { .. }
        | Event::Detached { .. }
        | Event::Noted(_)
        | Event::Signalled { .. } => before.then_some(event),
        Event::Started(_)
        | Event::Used { .. }
        | Event::Begun { .. }
        | Event::ApprovalAsked { .. }
        | Event::Approved { .. }
        | Event::QuestionEscalated { .. }
        | Event::GivenUp { .. }
        | Event::Budgeted { .. }
        | Event::Paused { .. }
        | Event::Unpaused { .. }
        | Event::Retried { .. }
        | Event::Blocked { .. }
        | Event::Unblocked { .. }
        | Event::CancelRequested { .. }
        | Event::Ended { .. } => None,
    }
}

/// Blocks on each request that was taken over without an answer and may have
/// happened in the other run, which is in `state`, and on what that one did since
/// its backup was made, whatever became of it meanwhile.
fn with_blocks(mut taken: Vec<Record>, state: &RunState) -> Vec<Record> {
    let open = RunState::of(&taken);
    let at_ms = open.last_ms;
    let unknown = open.open().filter(|(id, _)| {
        let there = state.requests.get(id);
        there.is_some_and(may_have_happened)
    });
    let detail = "the run that this one was forked from asked for it, and has no answer";
    let unknown = unknown.map(|(id, _)| Block::UnknownOutcome {
        id,
        detail: detail.to_owned(),
    });
    let restored = state.blocked.clone();
    let restored = restored.filter(|why| matches!(why, Block::Restored { .. }));
    let blocked = unknown.chain(restored).map(|why| Record {
        at_ms,
        event: Event::Blocked { why },
    });
    taken.extend(blocked.collect::<Vec<_>>());
    taken
}

/// A call that may have had an effect, or a child that goes on: the new run would
/// make it under another key, or start another one, so that it would be one more.
fn may_have_happened(asked: &Asked) -> bool {
    let reads = asked.begun == Some(EffectClass::ReadOnly);
    let unclear = asked.unknown.is_some() || asked.lost;
    children::is_child(asked) || unclear || (asked.begun.is_some() && !reads)
}

#[cfg(test)]
#[path = "fork_tests.rs"]
mod tests;
