//! Replays a run's journal against a version of its agent, without effects, and
//! tells where and how that version would go another way.
//!
//! What must stay true: nothing here reaches a backend, a clock, a network or a
//! policy; what a replay calls the same is what a run would go on with.

mod host;
mod matching;
mod recorded;
mod rest;
#[cfg(test)]
mod tests;
mod types;

use std::sync::Arc;
use std::time::Duration;

use airlock_sandbox::agent::{AgentEnd, AgentTask};
use airlock_sandbox::inspect::Kind;
use tokio::time::Instant;

pub(super) use matching::Comparison;
pub(super) use recorded::Recorded;
pub use types::{
    Difference, DifferenceKind, ReplayEnd, ReplayRun, ReplayStep, ReplayVerdict, RunReplay,
};

use super::RunError;
use super::event::{Event, Record, Start};
use super::rows;
use crate::plugins::PluginError;
use crate::principal::Principal;
use crate::runtime::Runtime;
use host::Replayed;

/// Replays at a time; further ones wait.
pub(super) const AT_ONCE: usize = 2;

/// What a journal is replayed with.
pub(super) struct Version {
    pub(super) digest: String,
    pub(super) goal: String,
    pub(super) input: String,
}

impl Runtime {
    /// Replays a run's journal against its own or another version of its agent.
    /// Nothing is done and nothing is written.
    ///
    /// # Errors
    /// There is no such run or version, the version can't be run, too many agents
    /// run, or the store failed.
    pub async fn replay_run(
        &self,
        who: &Principal,
        id: &str,
        request: ReplayRun,
    ) -> Result<RunReplay, RunError> {
        self.row(who, id, super::admin::READERS)?;
        let records = rows::all(self.store(), id)?;
        let start = started(id, &records)?;
        let digest = self.version(who, &start, request.agent.as_deref()).await?;
        let version = Version {
            digest,
            goal: start.goal.clone(),
            input: start.input.clone(),
        };
        let recorded = self.read_journal(records)?;
        let mut replay = self.replayed(&start, recorded, version).await?;
        replay.run = id.to_owned();
        Ok(replay)
    }

    /// Replays `recorded`, a run that began with `start`, with `version`.
    pub(super) async fn replayed(
        &self,
        start: &Start,
        recorded: Recorded,
        version: Version,
    ) -> Result<RunReplay, RunError> {
        let turn = self.runs.replays.acquire().await;
        let _turn = turn.map_err(|_| RunError::NoRoom)?;
        let before = Duration::from_micros(recorded.cpu_us);
        let host = Arc::new(Replayed::new(Comparison::new(recorded)));
        let task = AgentTask {
            goal: version.goal,
            input: version.input,
            state: start.state.clone(),
            before,
        };
        let begun = Instant::now();
        let (as_host, limits) = (Arc::clone(&host), self.agent_limits(&start.agent));
        let ran = self
            .sandbox
            .run_agent(&version.digest, as_host, limits, task);
        let report = ran.await.map_err(PluginError::Component)?;
        if report.end == AgentEnd::NoRoom {
            return Err(RunError::NoRoom);
        }
        let mut replay = host.finish(report.end);
        replay.recorded_digest.clone_from(&start.digest);
        replay.digest = version.digest;
        replay.cpu_us = report.cpu_us;
        replay.elapsed_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(replay)
    }

    /// A journal as replays read it.
    pub(super) fn read_journal(&self, records: Vec<Record>) -> Result<Recorded, RunError> {
        Recorded::of(records, |run| -> Result<Option<String>, RunError> {
            let first = rows::page(self.store(), run, 0, 1)?;
            Ok(first.into_iter().find_map(|(_, record)| input(record)))
        })
    }

    /// The component that `agent` names: a digest of an installed version of the
    /// run's agent, or a plugin, whose active version it is; the run's own when
    /// there is no name.
    pub(super) async fn version(
        &self,
        who: &Principal,
        start: &Start,
        agent: Option<&str>,
    ) -> Result<String, RunError> {
        let Some(name) = agent else {
            return Ok(start.digest.clone());
        };
        if !name.starts_with("sha256:") {
            return self.agent_digest(who, name);
        }
        let gone = || PluginError::gone(&start.agent);
        let slot = self.registry.known(&start.agent).ok_or_else(gone)?;
        let known = *name == start.digest || slot.row.lock().await.has(name);
        if !known {
            return Err(RunError::Plugin(PluginError::VersionNotFound {
                plugin: start.agent.clone(),
                digest: name.to_owned(),
            }));
        }
        match self.registry.manifest(name)?.kind {
            Kind::Agent => Ok(name.to_owned()),
            _ => Err(RunError::NotAnAgent(name.to_owned())),
        }
    }
}

/// The first record.
pub(super) fn started(id: &str, records: &[Record]) -> Result<Start, RunError> {
    match records.first().map(|record| &record.event) {
        Some(Event::Started(start)) => Ok(start.clone()),
        _ => Err(RunError::NotFound(id.to_owned())),
    }
}

fn input(record: Record) -> Option<String> {
    match record.event {
        Event::Started(start) => Some(start.input),
        _ => None,
    }
}
