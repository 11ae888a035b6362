//! A run that is looked after in this process: its state, what waits to become
//! durable, and the effects under way. To its agent it is the host.
//!
//! What must stay true: the effect of a request begins after its record is
//! durable; what a person or another agent can see is durable; an answer is
//! given once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use airlock_journal::Op;
use airlock_sandbox::EffectClass;
use airlock_sandbox::agent::{Request, RequestId};
use tokio::sync::Notify;

use super::drive::Next;
use super::effect::Effect;
use super::event::{Block, Event, Record, Told};
use super::fold::{RunState, Waits};
use super::replay::{Began, Replay};
use super::rows::Parked;
use super::spending::{self, Meter, Spent};
use super::types::RunStatus;
use super::writes::Unwritten;
use super::{children, loops};
use crate::ids;
use crate::runtime::Runtime;

/// Why an attempt was ended by its host, the more compelling later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// It waits for long; it is started again when an answer is there.
    Parked(Vec<RequestId>),
    /// A person has to look at it, or paused it.
    Blocked,
    /// It is to end.
    Cancelled,
    /// The host stops, or its store failed.
    Host,
}

/// A run in this process.
pub(crate) struct Session {
    pub(crate) id: String,
    /// The first of those that it continues.
    pub(crate) first: String,
    pub(crate) runtime: Weak<Runtime>,
    inner: Mutex<Inner>,
    /// Told of each change of state, for whoever waits for one.
    changed: Notify,
    /// Told when the attempt is ended: whoever looks after the run is not woken by
    /// each of its steps.
    stopping: Notify,
    /// Whoever starts or ends a child of this run.
    pub(crate) children: tokio::sync::Mutex<()>,
}

/// What changes.
pub(crate) struct Inner {
    pub(crate) state: RunState,
    /// Where it stands, as far as that is durable: what others may see.
    pub(crate) shown: RunStatus,
    pub(crate) replay: Replay,
    /// Answers that the agent may still read.
    pub(crate) answers: HashMap<RequestId, Told>,
    pub(crate) unwritten: Unwritten,
    /// The store failed, or another process owns the runs: nothing more is kept.
    pub(crate) dead: bool,
    pub(crate) stop: Option<Stop>,
    /// Everything stands still.
    halted: bool,
    pub(crate) effects: HashMap<RequestId, Arc<Effect>>,
    /// The agent waits for an answer, in its sandbox.
    pub(crate) waiting: bool,
    /// Who looks at it and keeps it in memory.
    pub(crate) holds: u32,
    /// What it asks for is done here, and its agent works here.
    pub(super) looked_after: bool,
    /// It is no longer looked after here: whoever comes loads it again.
    pub(crate) retired: bool,
    pub(crate) meter: Meter,
    /// Calls that the kill switch keeps from being made, or cut off; calls and
    /// children that a block keeps from it.
    put_off: BTreeSet<RequestId>,
    /// Calls whose intent this process wrote, and that it has not made yet.
    pub(crate) intended: BTreeSet<RequestId>,
    /// Requests to models that wait until others have settled.
    pub(crate) short: BTreeSet<RequestId>,
    /// Values that are to be kept and are not durable yet.
    pub(crate) unkept: BTreeSet<RequestId>,
}

impl Session {
    /// A run with these records in its journal that continues none.
    pub(crate) fn new(id: String, runtime: &Arc<Runtime>, records: &[Record]) -> Arc<Self> {
        Self::of(id.clone(), id, Arc::downgrade(runtime), records)
    }

    /// One that continues `first`, if it is not that itself.
    pub(super) fn of(
        id: String,
        first: String,
        runtime: Weak<Runtime>,
        records: &[Record],
    ) -> Arc<Self> {
        let mut state = RunState::default();
        for record in records {
            state.apply(record);
        }
        Arc::new(Self {
            first,
            runtime,
            inner: Mutex::new(Inner {
                shown: standing(&state),
                unwritten: Unwritten::new(&id, &state),
                state,
                replay: Replay::default(),
                answers: HashMap::new(),
                dead: false,
                stop: None,
                halted: false,
                effects: HashMap::new(),
                waiting: false,
                holds: 0,
                looked_after: false,
                retired: false,
                meter: Meter::default(),
                put_off: BTreeSet::new(),
                intended: BTreeSet::new(),
                short: BTreeSet::new(),
                unkept: BTreeSet::new(),
            }),
            changed: Notify::new(),
            stopping: Notify::new(),
            children: tokio::sync::Mutex::default(),
            id,
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_it` gives something.
    pub(crate) async fn wait_for<T>(&self, is_it: impl FnMut(&mut Inner) -> Option<T>) -> T {
        self.wait_on(&self.changed, is_it).await
    }

    /// Resolves when the attempt is ended, other than by its agent's long wait.
    pub(crate) async fn ends_attempt(&self) {
        let stops = |inner: &mut Inner| {
            let waits = matches!(inner.stop, None | Some(Stop::Parked(_)));
            (!waits).then_some(())
        };
        self.wait_on(&self.stopping, stops).await;
    }

    async fn wait_on<T>(&self, told: &Notify, mut is_it: impl FnMut(&mut Inner) -> Option<T>) -> T {
        loop {
            // It sees what changes from here on, before it is polled too.
            let changed = told.notified();
            if let Some(found) = is_it(&mut self.lock()) {
                return found;
            }
            changed.await;
        }
    }

    /// Gives a request its answer, unless it has one, and puts `audit` on record
    /// with it.
    pub(crate) fn answer(
        self: &Arc<Self>,
        id: RequestId,
        answer: Told,
        by: Option<String>,
        audit: Vec<Op>,
    ) -> bool {
        let used = Spent::default();
        let answered = Event::Answered {
            id,
            answer,
            by,
            used,
        };
        self.settle(answered, audit)
    }

    /// As [`Session::answer`], with what it took.
    pub(crate) fn answer_for(
        self: &Arc<Self>,
        id: RequestId,
        answer: Told,
        audit: Vec<Op>,
        used: Spent,
    ) -> bool {
        let answered = Event::Answered {
            id,
            answer,
            by: None,
            used,
        };
        self.settle(answered, audit)
    }

    /// Adds what becomes of a request, unless that is settled already.
    fn settle(self: &Arc<Self>, event: Event, audit: Vec<Op>) -> bool {
        let settled = self.lock().settle(event, audit);
        self.settled(settled)
    }

    /// Sees to what [`Inner::settle`] did.
    pub(crate) fn settled(self: &Arc<Self>, settled: Settled) -> bool {
        let Settled { is_new, looped } = settled;
        match looped {
            Some(why) => self.block(why),
            None => self.kick(),
        }
        is_new
    }

    /// The agent does not go on in this attempt.
    pub(crate) fn stop(&self, stop: Stop) {
        let mut inner = self.lock();
        if inner.stop.as_ref().is_none_or(|now| *now < stop) {
            inner.stop = Some(stop);
        }
        drop(inner);
        self.stopping.notify_waiters();
        self.bump();
    }

    /// The kill switch: the attempt under way ends, and none begins.
    pub(crate) fn halt(&self, halted: bool) {
        let mut inner = self.lock();
        inner.halted = halted;
        // One that waits without a sandbox goes on waiting.
        if halted && inner.stop.is_none() {
            inner.stop = Some(Stop::Blocked);
        }
        drop(inner);
        self.stopping.notify_waiters();
        self.bump();
    }

    /// Adds what an attempt cost and no record tells, where it is worth one.
    pub(crate) fn tell_cpu(self: &Arc<Self>) {
        self.lock().tell_cpu();
        self.kick();
    }

    /// A call is looked at again when the kill switch is lifted.
    pub(crate) fn put_off(&self, id: RequestId) {
        self.lock().put_off.insert(id);
    }

    /// Looks at the requests again that were put off.
    pub(crate) fn take_up_calls(self: &Arc<Self>) {
        let put_off = std::mem::take(&mut self.lock().put_off);
        for id in put_off {
            super::effects::begin(self, id, None);
        }
    }

    /// Why the attempt was ended, if it was.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.lock().stop.clone()
    }

    /// Another attempt begins, over the records that are durable; `false`: there
    /// is something else to do first.
    pub(crate) fn begin(&self, records: Vec<Record>) -> bool {
        let mut inner = self.lock();
        inner.waiting = false;
        if inner.stop != Some(Stop::Host) {
            inner.stop = None;
        }
        if !inner.may_attempt() {
            return false;
        }
        for record in &records {
            inner.answered(&record.event);
        }
        let start = inner.state.start.as_ref();
        let began = Began {
            seed: start.map_or("", |start| &start.seed),
            rules: start.map_or(0, |start| start.rules),
            at_ms: inner.state.started_ms,
        };
        inner.replay = Replay::new(&began, records);
        inner.meter = Meter::default();
        true
    }

    /// Notes what performs a request, unless something does.
    pub(crate) fn performing(&self, id: RequestId, effect: &Arc<Effect>) -> bool {
        let mut inner = self.lock();
        let open = inner.state.requests.get(&id);
        if inner.dead || inner.retired || open.is_none_or(|asked| asked.unknown.is_some()) {
            return false;
        }
        match inner.effects.entry(id) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert(Arc::clone(effect));
                true
            }
        }
    }

    /// Nothing performs a request any more; it has no answer.
    pub(crate) fn performed(&self, id: RequestId, effect: &Arc<Effect>) {
        self.lock().performed(id, effect);
        self.bump();
    }

    pub(crate) fn bump(&self) {
        self.changed.notify_waiters();
    }

    /// Has a person look at the run where its journal has as much as it may: nothing
    /// that was asked for begins then (`true`). One that is to end does.
    pub(super) fn block_if_full(self: &Arc<Self>) -> bool {
        let why = {
            let inner = self.lock();
            let why = spending::outgrown(&inner.state).filter(|_| !inner.state.cancelling);
            why.map(|why| (why, inner.state.block().is_some()))
        };
        match why {
            None => return false,
            Some((_, true)) => {}
            Some((why, false)) => self.block(why),
        }
        true
    }

    /// A person has to look at the run.
    pub(crate) fn block(self: &Arc<Self>, why: Block) {
        self.push([Event::Blocked { why }]);
        self.stop(Stop::Blocked);
    }
}

/// What became of an event that settles a request.
pub(crate) struct Settled {
    /// Whether it does; else it was settled before, or the run is over.
    pub(super) is_new: bool,
    /// The run goes round in circles.
    pub(super) looped: Option<Block>,
}

impl Inner {
    /// Adds what becomes of a request, unless that is settled already. What was
    /// done is on record in any case.
    pub(crate) fn settle(&mut self, event: Event, audit: Vec<Op>) -> Settled {
        let is_open = match &event {
            Event::Answered { id, .. } => self.state.requests.contains_key(id),
            _ => true,
        };
        let is_new = is_open && !self.is_closed();
        self.unwritten.audit.extend(audit);
        if is_new {
            if let Event::Answered { id, .. } = &event {
                self.effects.remove(id);
            }
            self.push(event);
        }
        let looped = is_new.then(|| loops::found(&self.state)).flatten();
        Settled { is_new, looped }
    }

    pub(crate) fn push(&mut self, event: Event) {
        self.push_at(self.now_ms(), event);
    }

    pub(crate) fn push_all(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.push(event);
        }
    }

    fn tell_cpu(&mut self) {
        if self.dead || self.state.end.is_some() {
            return;
        }
        if let Some(used) = self.meter.take_much() {
            self.push(Event::Used { used });
        }
    }

    /// What the agent asks for; what is over its budget is answered at once.
    pub(crate) fn request(&mut self, id: RequestId, request: Request, begun: Option<EffectClass>) {
        self.tell_cpu();
        if let Request::Record { value } = request {
            let now_ms = self.now_ms();
            self.unkept.insert(id);
            self.replay.keep(id, now_ms);
            return self.push_at(now_ms, Event::Recorded { id, value });
        }
        let admitted = spending::admit(&self.state, &request);
        let begun = begun.filter(|_| admitted.is_ok());
        if begun.is_some() {
            self.intended.insert(id);
        }
        self.push(Event::Requested { id, request, begun });
        match admitted {
            Ok(None) => {}
            Ok(Some(spent)) => self.push(Event::Reserved { id, spent }),
            Err(limit) => self.push(Event::Answered {
                id,
                answer: Told::Error(limit),
                by: None,
                used: Spent::default(),
            }),
        }
    }

    /// Whether a request has its answer, as far as the agent may know.
    pub(crate) fn has_answer(&self, id: RequestId) -> bool {
        self.state.is_answered(id) && !self.unkept.contains(&id)
    }

    /// The agent's clock and the record must say the same. The end is the last
    /// record there is.
    pub(crate) fn push_at(&mut self, at_ms: u64, mut event: Event) {
        if self.state.end.is_some() {
            return;
        }
        if let Event::Ended { unknown, .. } = &mut event {
            unknown.clone_from(&self.state.unknown);
        }
        let record = Record { at_ms, event };
        self.state.apply(&record);
        let may_match = matches!(
            record.event,
            Event::Signalled { .. } | Event::Requested { .. } | Event::Detached { .. }
        );
        self.answered(&record.event);
        if let Event::Retried { id, .. } | Event::Answered { id, .. } = &record.event {
            self.intended.remove(id);
        }
        self.unwritten.push(record);
        if may_match {
            self.match_signals();
        }
    }

    /// Keeps what the agent may read.
    fn answered(&mut self, event: &Event) {
        let (id, answer) = match event {
            Event::Answered { id, answer, .. } => (id, answer.clone()),
            Event::Recorded { id, value } => (id, Told::Ok(value.clone())),
            _ => return,
        };
        // A journal of before may have two; the agent was given the first.
        self.answers.entry(*id).or_insert(answer);
    }

    /// Whether nothing is added to it any more: it has ended, or is another session's.
    pub(crate) fn is_closed(&self) -> bool {
        self.dead || self.retired || self.state.end.is_some()
    }

    /// Whether the kill switch, a block or a journal that has as much as it may keeps
    /// requests from being made.
    pub(crate) fn is_kept(&self) -> bool {
        self.halted || self.state.holds_effects() || spending::outgrown(&self.state).is_some()
    }

    /// Whether the host stops.
    pub(crate) fn is_stopped(&self) -> bool {
        self.dead || self.stop == Some(Stop::Host)
    }

    /// Whether an attempt is what comes next.
    pub(crate) fn may_attempt(&self) -> bool {
        let next = self.next(super::drive::next);
        matches!(next, Some(Next::Attempt(_)))
    }

    /// Whether nobody keeps it from going on as it does.
    pub(crate) fn may_go_on(&self) -> bool {
        self.stop.is_none() && self.may_attempt()
    }

    /// What is to be done next, as `by_state` says unless the host stops.
    pub(crate) fn next(&self, by_state: fn(&RunState) -> Option<Next>) -> Option<Next> {
        match self.is_stopped() {
            true => Some(Next::Stop),
            false if self.halted => None,
            false => by_state(&self.state),
        }
    }

    /// Keeps a request from being begun while a person has to look at the run;
    /// `false`: none has to.
    pub(crate) fn holds_back(&mut self, id: RequestId) -> bool {
        // Children that were let go of begin before their run ends.
        let full = self.state.cancelling && spending::outgrown(&self.state).is_some();
        let holds = self.state.holds_effects() && !full;
        if holds {
            self.put_off.insert(id);
        }
        holds
    }

    /// Whether nothing of it goes on here, or is about to.
    fn is_idle(&self) -> bool {
        let held = self.halted || self.state.holds_effects();
        let put_off = |id| held && self.put_off.contains(&id);
        let mut open = self.state.open();
        open.all(|(id, asked)| asked.waits() != Waits::Here || put_off(id))
    }

    /// Whether the kill switch keeps it from going on.
    pub(crate) fn is_halted(&self) -> bool {
        self.halted
    }

    /// Whether the agent waits, with a sandbox or without.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting || matches!(self.stop, Some(Stop::Parked(_)))
    }

    /// Never less than the last record's.
    pub(crate) fn now_ms(&self) -> u64 {
        ids::now_ms().max(self.state.last_ms)
    }

    /// How it lies in the store when nothing of it goes on: it waits for a moment
    /// or for somebody, and all of it is written.
    pub(crate) fn parked(&self) -> Option<Parked> {
        let stands_still = self.state.block().is_some() || self.state.paused || self.halted;
        let waits = match &self.stop {
            Some(Stop::Parked(ids)) => !ids.iter().any(|id| self.state.is_answered(*id)),
            _ => false,
        };
        let over = self.state.end.is_some() || self.state.cancelling || self.is_stopped();
        let idle = (stands_still || waits) && !self.waiting && !over;
        let starting = self
            .state
            .open()
            .any(|(id, asked)| children::is_child(asked) && self.effects.contains_key(&id));
        let idle =
            idle && !starting && self.unwritten.is_empty() && self.is_idle() && self.holds == 0;
        idle.then(|| waiting(&self.state, self.halted))
    }

    /// The payload of a signal that was reported to the agent and not read.
    pub(crate) fn unread(&self, id: RequestId) -> Option<String> {
        let answer = self.answers.get(&id).filter(|_| self.replay.is_unread(id));
        match answer {
            Some(Told::Ok(payload)) => Some(payload.clone()),
            _ => None,
        }
    }

    /// Signals that came go to requests that wait, in order.
    fn match_signals(&mut self) {
        if let Some((id, payload)) = self.state.waits_for_signal() {
            self.push(Event::Answered {
                id,
                answer: Told::Ok(payload),
                by: None,
                used: Spent::default(),
            });
        }
    }
}

/// How a run lies in the store of which nothing goes on.
pub(super) fn waiting(state: &RunState, halted: bool) -> Parked {
    let held = halted || state.holds_effects();
    Parked {
        // What is due while it stands still is seen to when it goes on.
        wake_ms: state.wake_ms().filter(|_| !held),
        halted,
        has_children: state.open().any(|(_, asked)| children::is_held(asked)),
        status: match standing(state) {
            RunStatus::Running => RunStatus::Waiting,
            status => status,
        },
    }
}

/// Where a run stands by its records alone.
pub(crate) fn standing(state: &RunState) -> RunStatus {
    if state.cancelling {
        RunStatus::Cancelling
    } else if state.block().is_some() {
        RunStatus::Blocked
    } else if state.paused {
        RunStatus::Paused
    } else {
        RunStatus::Running
    }
}
