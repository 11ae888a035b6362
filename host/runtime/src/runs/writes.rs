//! What a run has to say becomes durable: records in order, together with what
//! belongs to them, one write at a time.
//!
//! What must stay true: a write that another process or an earlier one has
//! overtaken is refused by the store, and ends what goes on here; nothing is
//! shown or begun before it is durable.

use std::sync::Arc;
use std::task::{Context, Waker};

use airlock_journal::{Batch, Op, StoreError};

use super::children;
use super::effects;
use super::event::{Event, Record};
use super::fold::RunState;
use super::inbox::Listed;
use super::rows::{self, OpenRow, Parked};
use super::session::{Inner, Session, Stop, standing, waiting};
use super::types::RunStatus;
use super::{RunError, weight};
use crate::runtime::Runtime;

/// Text above which what an agent says is written without waiting for more, and
/// at which one write ends.
const BYTES_MUCH: u64 = 256 << 10;
const WRITE_BYTES: u64 = 1 << 20;

/// What is not durable yet, and what is.
pub(crate) struct Unwritten {
    pub(crate) records: Vec<Record>,
    /// What is written with them.
    pub(crate) beside: Vec<Op>,
    /// What goes on record with them, drafts of the audit.
    pub(crate) audit: Vec<Op>,
    /// About how many bytes the records have.
    bytes: u64,
    /// Somebody writes.
    writing: bool,
    /// How far the writes go that were begun: the next record is appended there.
    begun: Mark,
    /// How far those go that are durable, with what begins then.
    kept: Mark,
    /// Whether the store says that the run has ended.
    ended: bool,
    /// The state in the run's row.
    listed: &'static str,
    /// Whether the store says that nothing of the run goes on.
    parked: bool,
    /// Its questions that are listed.
    inbox: Listed,
}

/// How far the writes of a run go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// Writes since it was loaded.
    writes: u64,
    /// Records of its journal.
    len: u64,
}

impl Mark {
    /// Whether nothing of `other` is missing.
    fn covers(self, other: Self) -> bool {
        self.writes >= other.writes && self.len >= other.len
    }
}

/// One write.
struct Write {
    /// How far it goes.
    mark: Mark,
    records: Vec<Record>,
    ops: Vec<Op>,
    audited: bool,
    /// Where the run stands, when this leads there.
    shown: Option<RunStatus>,
}

impl Unwritten {
    /// Nothing: `state` is what the store has.
    pub(crate) fn new(id: &str, state: &RunState) -> Self {
        let there = Mark {
            writes: 0,
            len: state.len,
        };
        Self {
            records: Vec::new(),
            beside: Vec::new(),
            audit: Vec::new(),
            bytes: 0,
            writing: false,
            begun: there,
            kept: there,
            ended: state.end.is_some(),
            listed: rows::state_name(state),
            parked: false,
            inbox: Listed::new(id, state),
        }
    }

    /// Whether all is durable.
    pub(crate) fn is_empty(&self) -> bool {
        !self.writing && self.is_begun()
    }

    /// Whether all is at least being written.
    fn is_begun(&self) -> bool {
        self.records.is_empty() && self.beside.is_empty() && self.audit.is_empty()
    }

    /// How far the writes go that all is in which is there now. What comes later is not
    /// waited for: an agent may say more and more.
    fn all(&self) -> Mark {
        let is_more = !(self.beside.is_empty() && self.audit.is_empty());
        Mark {
            // What stands beside the records goes with the next write.
            writes: self.begun.writes + u64::from(is_more),
            len: self.begun.len + self.records.len() as u64,
        }
    }

    /// Adds a record.
    pub(super) fn push(&mut self, record: Record) {
        self.bytes += weight::of(&record.event);
        self.records.push(record);
    }

    /// Whether there is enough for a write of its own.
    pub(super) fn is_much(&self) -> bool {
        self.bytes >= BYTES_MUCH
    }

    /// The records of the next write: all, unless they are many and stand alone.
    fn take_records(&mut self) -> Vec<Record> {
        if self.bytes <= WRITE_BYTES || !self.beside.is_empty() || !self.audit.is_empty() {
            self.bytes = 0;
            return std::mem::take(&mut self.records);
        }
        let mut bytes = 0;
        let fit = self.records.iter().take_while(|record| {
            let fits = bytes < WRITE_BYTES && stands_alone(&record.event);
            bytes += weight::of(&record.event);
            fits
        });
        let fit = fit.count();
        if fit == 0 {
            self.bytes = 0;
            return std::mem::take(&mut self.records);
        }
        let rest = self.records.split_off(fit);
        let weights = rest.iter().map(|record| weight::of(&record.event));
        self.bytes = weights.sum();
        std::mem::replace(&mut self.records, rest)
    }

    /// What the store has to say of the state that the records lead to.
    fn of_state(&mut self, id: &str, state: &RunState) -> Vec<Op> {
        let mut ops = self.inbox.ops(id, state);
        let name = rows::state_name(state);
        if name != self.listed {
            self.listed = name;
            ops.push(rows::put(&rows::row(id, state)));
        }
        if state.end.is_some() && !std::mem::replace(&mut self.ended, true) {
            self.audit.push(rows::ended(id, state));
            ops.push(rows::put_open(id, None));
        }
        ops
    }

    /// Whether the store says, or will once all is written, that nothing goes on.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked
    }

    /// What its row says ends with its next record: that it waits, or, where nobody looks
    /// after runs, that it goes on.
    pub(crate) fn row_changes(&mut self) {
        self.parked = true;
    }
}

/// Whether nothing has to be written together with a record: no other one, and
/// nothing that follows from the state it leads to.
fn stands_alone(event: &Event) -> bool {
    matches!(
        event,
        Event::Noted(_) | Event::StateSet { .. } | Event::Recorded { .. } | Event::Woke { .. }
    )
}

impl Inner {
    /// Adds records, and what is written with them.
    pub(super) fn add(
        &mut self,
        events: impl IntoIterator<Item = Event>,
        beside: Vec<Op>,
        audit: Vec<Op>,
    ) {
        self.push_all(events);
        self.unwritten.beside.extend(beside);
        self.unwritten.audit.extend(audit);
    }

    /// Has the store say that nothing of the run goes on, where that is so. A record that
    /// comes between the look and the row would be written before it, and the row would
    /// not be true: both are one step, for whoever has the lock.
    fn park(&mut self, id: &str) -> Option<Parked> {
        let parked = self.parked()?;
        let row = OpenRow {
            parked: Some(parked.clone()),
        };
        self.unwritten.beside.push(rows::put_open(id, Some(&row)));
        self.unwritten.parked = true;
        Some(parked)
    }

    /// What is to be written next.
    fn write(&mut self, id: &str) -> Option<Write> {
        let unwritten = &mut self.unwritten;
        if unwritten.is_begun() {
            unwritten.writing = false;
            return None;
        }
        let records = unwritten.take_records();
        unwritten.begun.writes += 1;
        let mut ops = std::mem::take(&mut unwritten.beside);
        if !records.is_empty() {
            ops.push(rows::append(id, unwritten.begun.len, &records));
            unwritten.begun.len += records.len() as u64;
            unwritten.inbox.told(&records);
            if unwritten.parked {
                // Where nobody looks after it, it waits to be taken up.
                unwritten.parked = !self.looked_after;
                let parked = unwritten.parked.then(|| Parked {
                    wake_ms: Some(0),
                    ..waiting(&self.state, false)
                });
                ops.push(rows::put_open(id, Some(&OpenRow { parked })));
            }
        }
        // What follows from the state is written with the record that led to it.
        let is_there = unwritten.records.is_empty();
        if is_there {
            ops.extend(unwritten.of_state(id, &self.state));
        }
        let audited = !unwritten.audit.is_empty();
        ops.append(&mut unwritten.audit);
        Some(Write {
            mark: unwritten.begun,
            records,
            ops,
            audited,
            shown: is_there.then(|| standing(&self.state)),
        })
    }
}

impl Session {
    /// Adds records and sees to it that they become durable.
    pub(crate) fn push(self: &Arc<Self>, events: impl IntoIterator<Item = Event>) {
        self.push_with(events, Vec::new(), Vec::new());
    }

    /// As [`Session::push`], in one write with `beside` and with `audit`, which
    /// goes on record.
    pub(crate) fn push_with(
        self: &Arc<Self>,
        events: impl IntoIterator<Item = Event>,
        beside: Vec<Op>,
        audit: Vec<Op>,
    ) {
        self.lock().add(events, beside, audit);
        self.kick();
    }

    /// As [`Session::push_with`], where the run is still there to take it and
    /// `may` allows it.
    pub(super) fn decide(
        self: &Arc<Self>,
        events: impl IntoIterator<Item = Event>,
        beside: Vec<Op>,
        audit: Vec<Op>,
        may: impl FnOnce(&RunState) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let mut inner = self.lock();
        if inner.dead || inner.retired {
            return Err(RunError::NotKept);
        }
        if inner.state.end.is_some() {
            return Err(RunError::Ended(self.id.clone()));
        }
        may(&inner.state)?;
        inner.add(events, beside, audit);
        drop(inner);
        self.kick();
        Ok(())
    }

    /// As [`Session::push`]; resolves when they are durable.
    pub(crate) async fn commit(self: &Arc<Self>, events: impl IntoIterator<Item = Event>) -> bool {
        self.push(events);
        self.durable().await
    }

    /// Resolves when all that was pushed so far is durable, and what begins with that
    /// has; `false`: the store failed.
    pub(crate) async fn durable(self: &Arc<Self>) -> bool {
        let all = self.lock().unwritten.all();
        self.is_durable(|unwritten| unwritten.kept.covers(all))
            .await
    }

    /// As [`Session::durable`], with what is pushed meanwhile: for the end of the host,
    /// when nothing goes on that could push without end.
    pub(crate) async fn at_rest(self: &Arc<Self>) {
        // A store that failed has said so.
        self.is_durable(Unwritten::is_empty).await;
    }

    async fn is_durable(self: &Arc<Self>, is_kept: impl Fn(&Unwritten) -> bool) -> bool {
        self.kick();
        self.wait_for(|inner| match inner.dead {
            true => Some(false),
            false => is_kept(&inner.unwritten).then_some(true),
        })
        .await
    }

    /// Says in the store that nothing of the run goes on, with how it waits; `None`: it
    /// goes on. Resolves when that is durable, `false` where the store failed.
    pub(crate) async fn write_parked(self: &Arc<Self>) -> Option<(Parked, bool)> {
        let parked = self.lock().park(&self.id)?;
        Some((parked, self.durable().await))
    }

    /// Starts writing what is pending, unless somebody does.
    pub(crate) fn kick(self: &Arc<Self>) {
        {
            let mut inner = self.lock();
            if inner.unwritten.writing || inner.unwritten.is_begun() || inner.dead {
                drop(inner);
                return self.bump();
            }
            inner.unwritten.writing = true;
        }
        self.bump();
        let Some(runtime) = self.runtime.upgrade() else {
            return self.die();
        };
        // Where its agent runs, if that is who is here: once it is durable, the
        // agent goes on without a change of thread.
        let here = tokio::runtime::Handle::try_current();
        let here = here.unwrap_or_else(|_| runtime.runs.io.clone());
        let mut flush = Box::pin(Arc::clone(self).flush(runtime));
        // Up to where it waits for the disk at once, by whoever is here: the
        // write is queued before another thread wakes.
        let mut nobody = Context::from_waker(Waker::noop());
        if flush.as_mut().poll(&mut nobody).is_pending() {
            here.spawn(flush);
        }
    }

    async fn flush(self: Arc<Self>, runtime: Arc<Runtime>) {
        let mut next = self.lock().write(&self.id);
        while let Some(mut write) = next {
            let ops = std::mem::take(&mut write.ops);
            if let Err(error) = runtime.write(ops, write.audited).await {
                tracing::error!(run = self.id, %error, "a run's records are not kept");
                return self.die();
            }
            self.kept(&write);
            runtime.runs.news.grew(&self.id);
            children::report(&self, &runtime, &write.records);
            for record in &write.records {
                if let Event::Requested { id, begun, .. } = &record.event {
                    effects::begin(&self, *id, *begun);
                }
            }
            next = {
                let mut inner = self.lock();
                // Not before what begins with it has: whoever waits relies on that.
                inner.unwritten.kept = write.mark;
                inner.write(&self.id)
            };
            self.bump();
        }
    }

    /// A write is durable.
    fn kept(&self, write: &Write) {
        let mut inner = self.lock();
        inner.shown = write.shown.unwrap_or(inner.shown);
        for record in &write.records {
            if let Event::Recorded { id, .. } = &record.event {
                inner.unkept.remove(id);
            }
        }
    }

    /// Nothing more is kept, so nothing more may happen.
    pub(crate) fn die(&self) {
        let mut inner = self.lock();
        inner.dead = true;
        inner.unwritten.writing = false;
        inner.stop = Some(Stop::Host);
        drop(inner);
        self.abort_effects();
        self.stop(Stop::Host);
    }

    /// Ends what is under way, without a word.
    pub(super) fn abort_effects(&self) {
        let effects = std::mem::take(&mut self.lock().effects);
        for effect in effects.into_values() {
            effect.abort();
        }
    }
}

impl Runtime {
    /// Writes what belongs to runs, refused where another process owns them.
    pub(super) async fn write(&self, mut ops: Vec<Op>, audited: bool) -> Result<(), StoreError> {
        ops.splice(0..0, self.runs.fence());
        let written = match audited {
            true => self.audit.commit_drafted(Batch { ops }).await.map(drop),
            false => self.commit(ops).await,
        };
        written.inspect_err(|error| self.runs.lost.note(error))
    }
}

#[cfg(test)]
#[path = "writes_tests.rs"]
mod tests;
