//! Starts runs.
//!
//! What must stay true: a run is durable when its start is acknowledged; one that
//! may not start now is told so.

use std::sync::Arc;

use airlock_journal::Batch;
use airlock_sandbox::agent::Memory;
use airlock_sandbox::inspect::Kind;
use serde_json::{Value, json};

use super::admin::{bounded, view};
use super::event::{Event, RULES, Record, Start};
use super::prune::PRUNED;
use super::rows;
use super::session::Session;
use super::spending::Spent;
use super::types::{RunStatus, RunView, StartRun};
use super::{RunError, new_id};
use crate::admission::NotAdmitted;
use crate::ids;
use crate::principal::Principal;
use crate::record;
use crate::runtime::Runtime;
use crate::stop::NotReady;

const GOAL_BYTES_MAX: usize = 8 << 10;
const INPUT_BYTES_MAX: usize = 1 << 20;

impl Runtime {
    /// Starts a run; it is durable when this returns.
    ///
    /// # Errors
    /// The agent is not there or not one, the request makes no sense, or the
    /// store failed.
    pub async fn start_run(
        self: &Arc<Self>,
        who: &Principal,
        request: StartRun,
    ) -> Result<RunView, RunError> {
        self.start_run_as(who, new_id(), request, json!({}), Batch::new())
            .await
    }

    /// The same under an id that no run has, with `detail` on record and `beside`
    /// in the same write.
    pub(crate) async fn start_run_as(
        self: &Arc<Self>,
        who: &Principal,
        id: String,
        request: StartRun,
        mut detail: Value,
        beside: Batch,
    ) -> Result<RunView, RunError> {
        self.admits_run(who, &request.agent)?;
        let digest = self.agent_digest(who, &request.agent)?;
        let input = checked_input(&request)?;
        self.runs.own(self).await?;
        let start = Start {
            agent: request.agent,
            digest,
            goal: request.goal,
            input,
            by: who.name.clone(),
            scope: who.plugins.clone(),
            seed: ids::hex(&ids::random::<16>()),
            autonomy: request.autonomy,
            budget: request.budget,
            continues: None,
            forked_from: None,
            began_ms: None,
            spent: Spent::default(),
            state: Memory::default(),
            signals: Vec::new(),
            rules: RULES,
            parent: None,
        };
        detail["agent"] = json!(start.agent);
        let audit = self.act_of(who, "run.start", &id, detail)?;
        let first = Record {
            at_ms: ids::now_ms(),
            event: Event::Started(start),
        };
        let session = Session::new(id.clone(), self, std::slice::from_ref(&first));
        let (ops, row) = {
            let inner = session.lock();
            let row = rows::row(&id, &inner.state);
            (rows::begin(&id, &first, &inner.state), row)
        };
        let mut batch = Batch {
            ops: self.runs.fence().into_iter().collect(),
        };
        batch = batch
            .check(rows::SPACE, id.clone(), None)
            .check(PRUNED, id.clone(), None);
        batch.ops.extend(beside.ops);
        batch.ops.extend(ops);
        let batch = batch.op(record::op(&audit));
        self.audit.commit_drafted(batch).await?;
        self.runs.take_up(self, session);
        Ok(view(&row, Some(RunStatus::Running)))
    }

    /// Whether another run of this agent may start now.
    pub(super) fn admits_run(&self, who: &Principal, agent: &str) -> Result<(), RunError> {
        match self.ready() {
            Ok(()) => {}
            Err(NotReady::Halted) => return Err(NotAdmitted::Halted.into()),
            Err(NotReady::ShuttingDown) => return Err(NotAdmitted::ShuttingDown.into()),
            Err(NotReady::Store | NotReady::Lease | NotReady::Stuck) => {
                return Err(RunError::NotKept);
            }
        }
        if let Some(live) = self.runs.places.full() {
            return Err(RunError::Overloaded(live));
        }
        self.takes_rate(who, agent)
    }

    /// Takes one of the agent's `rate`.
    pub(super) fn takes_rate(&self, who: &Principal, agent: &str) -> Result<(), RunError> {
        match self.registry.get(agent).filter(|_| who.may_see(agent)) {
            Some((slot, _)) => Ok(slot.admission.take_rate()?),
            None => Ok(()),
        }
    }

    pub(super) fn agent_digest(&self, who: &Principal, agent: &str) -> Result<String, RunError> {
        let gone = || self.no_plugin(who, agent);
        let known = self.registry.get(agent).filter(|_| who.may_see(agent));
        let (_, active) = known.ok_or_else(gone)?;
        match active.manifest.kind {
            Kind::Agent => Ok(active.manifest.digest.clone()),
            _ => Err(RunError::NotAnAgent(agent.to_owned())),
        }
    }
}

pub(super) fn checked_input(request: &StartRun) -> Result<String, RunError> {
    bounded("goal", request.goal.len(), GOAL_BYTES_MAX)?;
    input(&request.input)
}

/// An agent's input as it is stored.
pub(super) fn input(input: &Value) -> Result<String, RunError> {
    if !input.is_object() {
        return Err(RunError::Invalid(
            "input: a JSON object is needed".to_owned(),
        ));
    }
    let input = input.to_string();
    bounded("input", input.len(), INPUT_BYTES_MAX)?;
    Ok(input)
}
