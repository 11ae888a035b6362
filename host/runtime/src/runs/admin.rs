//! What people and services do with runs: list, look, signal, pause, cancel.
//!
//! What must stay true: what is acknowledged is durable; each decision is on
//! record with who made it.

use std::sync::Arc;
use std::time::Duration;

use airlock_sandbox::Limits;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::RunError;
use super::event::Event;
use super::fold::RunState;
use super::park::Held;
use super::rows::{self, Row};
use super::session::Session;
use super::trigger;
use super::types::{OpenRequest, ProgressView, RunDetail, RunEvent, RunStatus, RunView};
use crate::halt::OfRun;
use crate::principal::{Principal, Role};
use crate::record;
use crate::runtime::Runtime;
use crate::stop::NotReady;

pub(super) const NOTE_BYTES_MAX: usize = 8 << 10;
/// Most events of one page.
const EVENTS_MAX: usize = 1_000;
/// Most bytes of one page, as they are stored; an event that has more is a page of
/// its own.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of the requests of one run that are shown whole.
const OPEN_BYTES_MAX: usize = 1 << 20;
/// Longest member of the others.
const MEMBER_BYTES_MAX: usize = 512;
/// How long a run that is durable may take until it is looked after, and how often it
/// is looked.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Who sees what others started. Callers see their own runs alone.
pub(super) const READERS: &[Role] = &[Role::Viewer, Role::Operator, Role::Approver];

/// Whether a run is its own, or one of `others` lets it at those of others.
fn reaches(who: &Principal, row: &Row, others: &[Role]) -> bool {
    who.may_see(&row.agent) && (row.by == who.name || who.has_one_of(others))
}

/// A page of a run's journal.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunEvents {
    /// The records, oldest first: as many as were asked for, or those of 1 MiB.
    /// None: there are no more so far.
    pub events: Vec<RunEvent>,
    /// Where the next page begins; absent when this one is the last so far and
    /// the run has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

impl Runtime {
    /// Looks after every run that has not ended, from now on.
    ///
    /// # Errors
    /// The list of runs can't be read. A run that can't be is named in the log.
    pub async fn take_up_runs(self: &Arc<Self>) -> Result<(), airlock_journal::StoreError> {
        self.runs.own(self).await?;
        self.runs.recover(self)?;
        let schedules = crate::schedules::follow(Arc::downgrade(self));
        self.runs.io().spawn(schedules);
        Ok(())
    }

    /// Limits of an agent's attempts: its plugin's.
    pub(crate) fn agent_limits(&self, agent: &str) -> Arc<Limits> {
        let active = self.registry.get(agent);
        active.map_or_else(Arc::default, |(_, active)| Arc::clone(&active.limits))
    }

    /// Where a run stands that has not ended, as far as that is durable.
    pub(super) fn live_status(
        &self,
        row: &Row,
    ) -> Result<Option<RunStatus>, airlock_journal::StoreError> {
        if !row.is_open() {
            return Ok(None);
        }
        if let Some(session) = self.runs.get(&row.id) {
            let inner = session.lock();
            return Ok(Some(match (inner.shown, inner.is_waiting()) {
                (RunStatus::Running, true) => RunStatus::Waiting,
                (shown, _) => shown,
            }));
        }
        let parked = rows::open_row(self.store(), &row.id)?.and_then(|row| row.parked);
        Ok(parked.map(|parked| parked.status))
    }

    /// One run, with what it did. Reads its journal on this thread, see
    /// [`Runtime::looking`].
    ///
    /// # Errors
    /// There is none, or the store failed.
    pub fn run_detail(&self, who: &Principal, id: &str) -> Result<RunDetail, RunError> {
        let row = self.row(who, id, READERS)?;
        let live = self.live_status(&row)?;
        let mut state = RunState::default();
        rows::each(self.store(), id, |record| state.apply(&record))?;
        let run = view(&rows::row(id, &state), live);
        let children = super::children::started(self, id, &state)?;
        let mut detail = detail(run, state, children);
        detail.pruned = self.pruned_links(&detail)?;
        detail.halted = self.halted(&detail);
        Ok(detail)
    }

    /// What the kill switch holds of a run that has not ended.
    fn halted(&self, detail: &RunDetail) -> Vec<String> {
        if detail.end.is_some() {
            return Vec::new();
        }
        let id = &detail.run.id;
        let first = self.first_run(id).unwrap_or_else(|_| id.clone());
        let run = OfRun {
            id,
            first: &first,
            agent: &detail.run.agent,
        };
        let calls = detail.waits_for.iter();
        let tools = calls.filter_map(|open| open.request["tool"].as_str()?.split_once('/'));
        let plugins = tools.map(|(plugin, _)| plugin.to_owned()).collect();
        let parts = self.halts.of(run, plugins).into_iter();
        let all = (self.ready() == Err(NotReady::Halted)).then(|| "everything".to_owned());
        all.into_iter()
            .chain(parts.map(|part| part.to_string()))
            .collect()
    }

    /// A page of a run's journal from record `from`: at most `limit` records, and
    /// of more than one those of 1 MiB. Reads them on this thread, see
    /// [`Runtime::looking`].
    ///
    /// # Errors
    /// There is no such run, or the store failed.
    pub fn run_events(
        &self,
        who: &Principal,
        id: &str,
        from: u64,
        limit: usize,
    ) -> Result<RunEvents, RunError> {
        let row = self.row(who, id, READERS)?;
        let limit = limit.clamp(1, EVENTS_MAX);
        let place = (from, limit);
        let (read, more) = rows::page_within(self.store(), id, place, PAGE_BYTES_MAX)?;
        let next = from.saturating_add(read.len() as u64);
        let last = !row.is_open() && !more;
        let event = |(seq, record)| RunEvent { seq, record };
        Ok(RunEvents {
            events: read.into_iter().map(event).collect(),
            next: (!last).then_some(next),
        })
    }

    pub(super) fn row(&self, who: &Principal, id: &str, others: &[Role]) -> Result<Row, RunError> {
        let found = self.store().get(rows::SPACE, id.as_bytes())?;
        let row = found.map(|bytes| crate::rows::decode::<Row>(rows::SPACE, id.as_bytes(), &bytes));
        let row = row.transpose()?.filter(|row| reaches(who, row, others));
        match row {
            Some(row) => Ok(row),
            None => Err(self.no_run(who, id, others)?),
        }
    }

    /// The run where it goes on. One that has just begun is seen by others before it
    /// is looked after: that is waited for.
    pub(super) async fn open_run(
        self: &Arc<Self>,
        who: &Principal,
        id: &str,
        others: &[Role],
    ) -> Result<Held, RunError> {
        let give_up = Instant::now() + TAKEN_UP_WITHIN;
        loop {
            if let Some(held) = self.open_run_now(who, id, others)? {
                return Ok(held);
            }
            if Instant::now() >= give_up {
                return Err(RunError::NotTakenUp(id.to_owned()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// As [`Runtime::open_run`]; `None`: it is not looked after yet.
    fn open_run_now(
        self: &Arc<Self>,
        who: &Principal,
        id: &str,
        others: &[Role],
    ) -> Result<Option<Held>, RunError> {
        let is_open = || Ok::<_, RunError>(self.row(who, id, others)?.is_open());
        let ended = || Err(RunError::Ended(id.to_owned()));
        if !is_open()? {
            return ended();
        }
        match self.runs.hold(self, id)? {
            // It may have ended since.
            None if !is_open()? => ended(),
            held => Ok(held),
        }
    }

    /// Gives a run a signal; it is kept until the agent waits for it.
    ///
    /// # Errors
    /// The run has ended, the signal makes no sense, or the store failed.
    pub async fn signal_run(
        self: &Arc<Self>,
        who: &Principal,
        id: &str,
        name: &str,
        payload: &Value,
    ) -> Result<(), RunError> {
        let event = trigger::signal(who, name, payload)?;
        let session = self.open_run(who, id, &[Role::Operator]).await?;
        let audit = self.act_of(who, "run.signal", id, json!({ "signal": name }))?;
        let audit = vec![record::op(&audit)];
        session.decide([event], Vec::new(), audit, |state| trigger::room(id, state))?;
        kept(&session).await
    }

    /// Ends a run: what is under way first, then the run.
    ///
    /// # Errors
    /// It has ended already, or the store failed.
    pub async fn cancel_run(
        self: &Arc<Self>,
        who: &Principal,
        id: &str,
        why: &str,
    ) -> Result<(), RunError> {
        crate::names::why(why).map_err(|error| RunError::Invalid(error.to_string()))?;
        let session = self.open_run(who, id, &[Role::Operator]).await?;
        if session.lock().state.cancelling {
            return kept(&session).await;
        }
        let event = Event::CancelRequested {
            by: who.name.clone(),
            why: why.to_owned(),
        };
        let detail = json!({ "why": why });
        self.decide(who, &session, "run.cancel", detail, [event])
            .await?;
        session.stop(super::session::Stop::Cancelled);
        Ok(())
    }

    /// Keeps a run from going on; what is under way ends and is kept.
    ///
    /// # Errors
    /// It has ended, or the store failed.
    pub async fn pause_run(self: &Arc<Self>, who: &Principal, id: &str) -> Result<(), RunError> {
        let session = self.open_run(who, id, &[Role::Operator]).await?;
        let by = who.name.clone();
        if session.lock().state.paused_by.contains(&by) {
            return kept(&session).await;
        }
        let event = [Event::Paused { by }];
        self.decide(who, &session, "run.pause", json!({}), event)
            .await?;
        session.stop(super::session::Stop::Blocked);
        Ok(())
    }

    async fn decide(
        &self,
        who: &Principal,
        session: &Arc<Session>,
        action: &str,
        detail: Value,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<(), RunError> {
        let record = self.act_of(who, action, &session.id, detail)?;
        let audit = vec![record::op(&record)];
        session.decide(events, Vec::new(), audit, |_| Ok(()))?;
        kept(session).await
    }
}

pub(super) async fn kept(session: &Arc<Session>) -> Result<(), RunError> {
    match session.durable().await {
        true => Ok(()),
        false => Err(RunError::NotKept),
    }
}

pub(super) fn bounded(what: &str, len: usize, max: usize) -> Result<(), RunError> {
    match len > max {
        true => Err(RunError::Invalid(format!(
            "{what}: {len} bytes, more than {max}"
        ))),
        false => Ok(()),
    }
}

pub(super) fn view(row: &Row, live: Option<RunStatus>) -> RunView {
    let status = match (row.state.as_str(), live) {
        ("succeeded", _) => RunStatus::Succeeded,
        ("failed", _) => RunStatus::Failed,
        ("escalated", _) => RunStatus::Escalated,
        ("cancelled", _) => RunStatus::Cancelled,
        ("continued", _) => RunStatus::Continued,
        (_, Some(live)) => live,
        ("blocked", None) => RunStatus::Blocked,
        (_, None) => RunStatus::Running,
    };
    RunView {
        id: row.id.clone(),
        agent: row.agent.clone(),
        goal: row.goal.clone(),
        by: row.by.clone(),
        status,
        started_ms: row.started_ms,
        updated_ms: row.updated_ms,
    }
}

/// A request as far as there is room for it: without its long members where there is
/// none, and with its bytes where it had any.
pub(super) fn shown(mut request: Value, room: &mut usize) -> (Value, Option<u64>) {
    let bytes = request.to_string().len();
    if let Some(left) = room.checked_sub(bytes) {
        *room = left;
        return (request, None);
    }
    let mut left_out = None;
    if let Some(members) = request.as_object_mut() {
        members.retain(|_, member| {
            let fits = member.to_string().len() <= MEMBER_BYTES_MAX;
            left_out = left_out.or((!fits).then_some(bytes as u64));
            fits
        });
    }
    (request, left_out)
}

fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn detail(run: RunView, state: RunState, children: Vec<String>) -> RunDetail {
    let mut room = OPEN_BYTES_MAX;
    let open = state.open().map(|(id, asked)| {
        let (request, request_bytes) = shown(json!(asked.request), &mut room);
        OpenRequest {
            id,
            request,
            request_bytes,
            at_ms: asked.at_ms,
            attempt: asked.attempt,
            to_approve: asked.to_approve.is_some(),
        }
    });
    let waits_for = open.collect();
    let blocked = state.block();
    // What it set aside for children that go on is theirs.
    let used = match state.end {
        None => state.used(),
        Some(_) => state.spent,
    };
    let start = state.start;
    let input = start.as_ref().map(|start| start.input.as_str());
    RunDetail {
        run,
        input: input
            .and_then(|input| serde_json::from_str(input).ok())
            .unwrap_or_default(),
        autonomy: start
            .as_ref()
            .map(|start| start.autonomy)
            .unwrap_or_default(),
        budget: start
            .as_ref()
            .map(|start| start.budget.clone())
            .unwrap_or_default(),
        calls: state.spent.calls,
        used,
        state: state
            .memory
            .iter()
            .map(|(key, value)| (key.to_owned(), json_or_text(value)))
            .collect(),
        digest: start
            .as_ref()
            .map(|start| start.digest.clone())
            .unwrap_or_default(),
        forked_from: start.as_ref().and_then(|start| start.forked_from.clone()),
        children,
        parent: start
            .as_ref()
            .and_then(|start| start.parent.as_ref())
            .map(|parent| parent.run.clone()),
        continues: start.and_then(|start| start.continues),
        events: state.len,
        journal_bytes: state.bytes,
        pruned: Vec::new(),
        plan: state.plan,
        progress: state.progress.map(|(done, total, message)| ProgressView {
            done,
            total,
            message,
        }),
        waits_for,
        blocked,
        halted: Vec::new(),
        end: state.end,
        unknown: state.unknown,
    }
}
