//! A run that is looked after in this process: its state, what waits to become
//! durable, and the effects under way. To its agent it is the host.
//!
//! What must stay true: the effect of a request begins after its record is
//! durable; what a person or another agent can see is durable; an answer is
//! given once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use airlock_journal::Batch;
use airlock_journal::store::BoxFuture;
use airlock_sandbox::CallError;
use airlock_sandbox::agent::{AgentHost, Answer, Note, Request, RequestId, Stopped};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::drive::Next;
use super::effects;
use super::event::{Block, Event, Record, Told};
use super::fold::RunState;
use super::replay::{Replay, Step};
use super::rows;
use crate::ids;
use crate::runtime::Runtime;

/// How long a waiting agent keeps its sandbox.
const WARM: Duration = Duration::from_secs(10);

/// Why an attempt was ended by its host.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub(crate) runtime: Weak<Runtime>,
    inner: Mutex<Inner>,
    /// Counts changes of state, for whoever waits for one.
    changed: watch::Sender<u64>,
}

/// What changes.
pub(crate) struct Inner {
    pub(crate) state: RunState,
    /// The same as far as it is durable: what others may see.
    pub(crate) seen: RunState,
    replay: Replay,
    pending: Vec<Record>,
    /// What is written together with them.
    beside: Option<Batch>,
    flushing: bool,
    /// The store failed: nothing more is kept.
    dead: bool,
    stop: Option<Stop>,
    /// Everything stands still.
    halted: bool,
    effects: HashMap<RequestId, AbortHandle>,
    /// The agent waits for an answer.
    waiting: bool,
}

impl Session {
    /// A run with these records in its journal; none for one that begins.
    pub(crate) fn new(id: String, runtime: &Arc<Runtime>, records: &[Record]) -> Arc<Self> {
        let mut state = RunState::default();
        for record in records {
            state.apply(record);
        }
        Arc::new(Self {
            id,
            runtime: Arc::downgrade(runtime),
            inner: Mutex::new(Inner {
                seen: state.clone(),
                state,
                replay: Replay::default(),
                pending: Vec::new(),
                beside: None,
                flushing: false,
                dead: false,
                stop: None,
                halted: false,
                effects: HashMap::new(),
                waiting: false,
            }),
            changed: watch::Sender::new(0),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_it` gives something.
    pub(crate) async fn wait_for<T>(&self, mut is_it: impl FnMut(&mut Inner) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(found) = is_it(&mut self.lock()) {
                return found;
            }
            // The sender lives as long as this session.
            let _ = changed.changed().await;
        }
    }

    /// Adds records and sees to it that they become durable.
    pub(crate) fn push(self: &Arc<Self>, events: impl IntoIterator<Item = Event>) {
        let mut inner = self.lock();
        for event in events {
            inner.push(event);
        }
        drop(inner);
        self.kick();
    }

    /// Adds a last record together with `batch`, in one write.
    pub(crate) async fn commit_with(self: &Arc<Self>, event: Event, batch: Batch) -> bool {
        {
            let mut inner = self.lock();
            inner.push(event);
            inner.beside = Some(batch);
        }
        self.durable().await
    }

    /// As [`Session::push`]; resolves when they are durable.
    pub(crate) async fn commit(self: &Arc<Self>, events: impl IntoIterator<Item = Event>) -> bool {
        self.push(events);
        self.durable().await
    }

    /// Resolves when all that was pushed is durable; `false`: the store failed.
    pub(crate) async fn durable(self: &Arc<Self>) -> bool {
        self.kick();
        self.wait_for(|inner| match inner.dead {
            true => Some(false),
            false => (!inner.flushing && inner.pending.is_empty()).then_some(true),
        })
        .await
    }

    /// Gives a request its answer, unless it has one.
    pub(crate) fn answer(self: &Arc<Self>, id: RequestId, told: Told, by: Option<String>) -> bool {
        let mut inner = self.lock();
        let open = inner.state.requests.get(&id);
        if inner.dead
            || inner.state.end.is_some()
            || open.is_none_or(|asked| asked.answer.is_some())
        {
            return false;
        }
        inner.effects.remove(&id);
        inner.push(Event::Answered {
            id,
            answer: told,
            by,
        });
        drop(inner);
        self.kick();
        true
    }

    /// Adds what a person decided about a request, unless it is settled already.
    pub(crate) fn settle_question(self: &Arc<Self>, id: RequestId, event: Event) -> bool {
        let mut inner = self.lock();
        let open = inner.state.requests.get(&id);
        let settled = open.is_none_or(|asked| match event {
            Event::Approved { .. } => asked.answer.is_some() || asked.to_approve.is_none(),
            _ => asked.answer.is_some(),
        });
        if settled || inner.dead || inner.state.end.is_some() {
            return false;
        }
        inner.push(event);
        drop(inner);
        self.kick();
        true
    }

    /// The agent does not go on in this attempt.
    pub(crate) fn stop(&self, stop: Stop) {
        self.lock().stop.get_or_insert(stop);
        self.bump();
    }

    /// The journal is as long as it may be: a person decides. Only what the agent
    /// does on top counts; what is under way still gets its answer.
    fn check_length(self: &Arc<Self>) -> Result<(), Stopped> {
        let events = {
            let inner = self.lock();
            let budget = inner.state.start.as_ref().map(|start| start.budget.events);
            let over = budget.is_some_and(|budget| inner.state.len >= budget);
            (over && inner.replay.is_live()).then_some(inner.state.len)
        };
        let Some(events) = events else { return Ok(()) };
        self.block(Block::Budget { events });
        Err(Stopped)
    }

    /// The kill switch: the attempt under way ends, and none begins.
    pub(crate) fn halt(&self, halted: bool) {
        self.lock().halted = halted;
        match halted {
            true => self.stop(Stop::Blocked),
            false => self.bump(),
        }
    }

    /// Why the attempt was ended, if it was.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.lock().stop.clone()
    }

    /// Another attempt begins, over the records that are durable.
    pub(crate) fn begin(&self, records: Vec<Record>) {
        let mut inner = self.lock();
        let start = inner.state.start.as_ref();
        let seed = start.map(|start| start.seed.clone()).unwrap_or_default();
        inner.replay = Replay::new(seed.as_bytes(), inner.state.started_ms, records);
        if inner.stop != Some(Stop::Host) {
            inner.stop = None;
        }
    }

    /// Notes the task that performs a request.
    pub(crate) fn performing(&self, id: RequestId, task: AbortHandle) {
        self.lock().effects.insert(id, task);
    }

    /// Whether something is under way for a request.
    pub(crate) fn is_performing(&self, id: RequestId) -> bool {
        let inner = self.lock();
        let task = inner.effects.get(&id);
        task.is_some_and(|task| !task.is_finished())
    }

    /// Ends the request: at once where nothing is under way, else by ending the
    /// call. Whether a call that was ended had its effect is not known.
    pub(crate) fn cancel_request(self: &Arc<Self>, id: RequestId, safe: bool) {
        let task = self.lock().effects.remove(&id);
        let under_way = task.is_some();
        if let Some(task) = task {
            task.abort();
        }
        let error = match under_way && !safe {
            true => CallError::Unknown {
                message: "the call was cancelled while it ran".to_owned(),
            },
            false => CallError::Cancelled,
        };
        self.answer(id, Told::Error(error), None);
    }

    /// Nothing more is kept, so nothing more may happen.
    fn die(&self) {
        let mut inner = self.lock();
        inner.dead = true;
        inner.flushing = false;
        inner.stop = Some(Stop::Host);
        let effects = std::mem::take(&mut inner.effects);
        drop(inner);
        for task in effects.into_values() {
            task.abort();
        }
        self.bump();
    }

    fn bump(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Starts writing what is pending, unless somebody does.
    fn kick(self: &Arc<Self>) {
        {
            let mut inner = self.lock();
            if inner.flushing || inner.pending.is_empty() || inner.dead {
                drop(inner);
                return self.bump();
            }
            inner.flushing = true;
        }
        self.bump();
        let Some(runtime) = self.runtime.upgrade() else {
            return self.die();
        };
        let (session, io) = (Arc::clone(self), runtime.runs.io.clone());
        io.spawn(session.flush(runtime));
    }

    async fn flush(self: Arc<Self>, runtime: Arc<Runtime>) {
        loop {
            let (records, row, beside) = {
                let mut inner = self.lock();
                if inner.pending.is_empty() {
                    inner.flushing = false;
                    break;
                }
                let row = rows::row(&self.id, &inner.state);
                let beside = inner.beside.take().unwrap_or_default();
                (std::mem::take(&mut inner.pending), row, beside)
            };
            let batch = rows::append(beside, &self.id, &records, &row);
            if let Err(error) = runtime.store().commit(batch).await {
                tracing::error!(run = self.id, %error, "a run's records are not kept");
                return self.die();
            }
            self.show(&records);
            for record in &records {
                if let Event::Requested { id, .. } = record.event {
                    effects::begin(&self, id);
                }
            }
            self.bump();
        }
        self.bump();
    }

    /// Others may see these records from now on.
    fn show(&self, records: &[Record]) {
        let mut inner = self.lock();
        for record in records {
            inner.seen.apply(record);
        }
    }

    /// Which of `ids` have an answer, as the agent is to see it; `None`: it has
    /// to wait.
    fn look(
        &self,
        inner: &mut Inner,
        ids: &[RequestId],
        wait: bool,
    ) -> Option<Result<Vec<RequestId>, Stopped>> {
        if inner.stop.is_some() {
            return Some(Err(Stopped));
        }
        let has_answer = |id: &RequestId| {
            let asked = inner.state.requests.get(id);
            asked.is_some_and(|asked| asked.answer.is_some())
        };
        let ready: Vec<RequestId> = ids.iter().copied().filter(has_answer).collect();
        if ready.is_empty() {
            return (!wait).then(|| Ok(Vec::new()));
        }
        let now_ms = inner.now_ms();
        let woke = inner.replay.deliver(&ready, now_ms);
        inner.push_at(now_ms, woke);
        Some(Ok(ready))
    }

    async fn wait(
        self: Arc<Self>,
        ids: Vec<RequestId>,
        wait: bool,
    ) -> Result<Vec<RequestId>, Stopped> {
        let step = {
            let mut inner = self.lock();
            if inner.stop.is_some() {
                return Err(Stopped);
            }
            inner.replay.poll(&ids, wait)
        };
        if let Some(ready) = self.settle(step)? {
            return Ok(ready);
        }
        if let Some(seen) = self.look(&mut self.lock(), &ids, wait) {
            return seen;
        }
        // Plans and timers of an agent that waits are seen by others.
        self.kick();
        self.lock().waiting = true;
        let look = self.wait_for(|inner| self.look(inner, &ids, wait));
        let seen = tokio::time::timeout(WARM, look).await;
        self.lock().waiting = false;
        seen.unwrap_or_else(|_| {
            self.stop(Stop::Parked(ids));
            Err(Stopped)
        })
    }

    /// What a step means for the attempt.
    fn settle<T>(self: &Arc<Self>, step: Step<T>) -> Result<Option<T>, Stopped> {
        match step {
            Step::Before(known) => Ok(Some(known)),
            Step::New => Ok(None),
            Step::Differs(why) => {
                self.block(why);
                Err(Stopped)
            }
        }
    }

    /// A person has to look at the run.
    pub(crate) fn block(self: &Arc<Self>, why: Block) {
        self.push([Event::Blocked { why }]);
        self.stop(Stop::Blocked);
    }
}

impl Inner {
    pub(crate) fn push(&mut self, event: Event) {
        self.push_at(self.now_ms(), event);
    }

    /// What the agent asks for; a call over its budget is answered at once.
    fn request(&mut self, id: RequestId, request: Request) {
        let budget = self.state.start.as_ref().map(|start| start.budget.calls);
        let call = matches!(request, Request::Call { .. });
        let over = call && budget.is_some_and(|budget| self.state.calls >= budget);
        self.push(Event::Requested { id, request });
        if over {
            let limit = CallError::Limit {
                limit: "calls".to_owned(),
                value: budget.unwrap_or_default().to_string(),
            };
            let (answer, by) = (Told::Error(limit), None);
            self.push(Event::Answered { id, answer, by });
        }
    }

    /// The agent's clock and the record must say the same.
    fn push_at(&mut self, at_ms: u64, event: Event) {
        let record = Record { at_ms, event };
        self.state.apply(&record);
        self.pending.push(record);
        self.match_signals();
    }

    /// Whether the host stops.
    pub(crate) fn is_stopped(&self) -> bool {
        self.dead || self.stop == Some(Stop::Host)
    }

    /// What is to be done next, as `by_state` says unless the host stops.
    pub(crate) fn next(&self, by_state: fn(&RunState) -> Option<Next>) -> Option<Next> {
        match self.is_stopped() {
            true => Some(Next::Stop),
            false if self.halted => None,
            false => by_state(&self.state),
        }
    }

    /// Whether the agent waits, with a sandbox or without.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting || matches!(self.stop, Some(Stop::Parked(_)))
    }

    /// Never less than the last record's.
    fn now_ms(&self) -> u64 {
        ids::now_ms().max(self.state.last_ms)
    }

    /// Signals that came go to requests that wait, in order.
    fn match_signals(&mut self) {
        let waiting = self.state.open().find_map(|(id, asked)| {
            let Request::Signal { name } = &asked.request else {
                return None;
            };
            let payload = self.state.inbox.get(name)?.front()?;
            Some((id, payload.clone()))
        });
        if let Some((id, payload)) = waiting {
            self.push(Event::Answered {
                id,
                answer: Told::Ok(payload),
                by: None,
            });
        }
    }
}

/// A run as its agent's host.
pub(crate) struct Host(pub(crate) Arc<Session>);

impl Host {
    /// What the agent does: known from the journal, or a new record.
    fn does(
        &self,
        step: impl FnOnce(&mut Replay) -> Step<()>,
        event: impl FnOnce() -> Event,
        at_once: bool,
    ) -> Result<(), Stopped> {
        self.0.check_length()?;
        let step = {
            let mut inner = self.0.lock();
            if inner.stop.is_some() {
                return Err(Stopped);
            }
            let step = step(&mut inner.replay);
            if step == Step::New {
                inner.push(event());
            }
            step
        };
        let new = self.0.settle(step)?.is_none();
        if new && at_once {
            self.0.kick();
        }
        Ok(())
    }
}

impl AgentHost for Host {
    fn request(&self, request: Request) -> Result<RequestId, Stopped> {
        self.0.check_length()?;
        let (step, id) = {
            let mut inner = self.0.lock();
            if inner.stop.is_some() {
                return Err(Stopped);
            }
            let (id, step) = inner.replay.request(&request);
            if step == Step::New {
                inner.request(id, request);
            }
            (step, id)
        };
        if self.0.settle(step)?.is_none() {
            self.0.kick();
        }
        Ok(id)
    }

    fn poll(
        &self,
        ids: Vec<RequestId>,
        wait: bool,
    ) -> BoxFuture<'_, Result<Vec<RequestId>, Stopped>> {
        Box::pin(Arc::clone(&self.0).wait(ids, wait))
    }

    fn answer(&self, id: RequestId) -> Option<Answer> {
        let inner = self.0.lock();
        if !inner.replay.is_delivered(id) {
            return None;
        }
        let asked = inner.state.requests.get(&id)?;
        asked.answer.clone().map(Answer::from)
    }

    fn cancel(&self, id: RequestId) -> Result<(), Stopped> {
        let live = self.0.lock().replay.is_live();
        self.does(
            |replay| replay.cancel(id),
            || Event::CancelAsked { id },
            true,
        )?;
        if live {
            effects::cancel(&self.0, id);
        }
        Ok(())
    }

    fn detach(&self, id: RequestId) -> Result<(), Stopped> {
        // A store that goes down drops its handles too; that tells nothing.
        if self.0.lock().stop.is_some() {
            return Ok(());
        }
        self.does(|replay| replay.detach(id), || Event::Detached { id }, false)
    }

    fn note(&self, note: Note) -> Result<(), Stopped> {
        let event = Event::Noted(note.clone());
        self.does(|replay| replay.note(&note), || event, false)
    }

    fn now_ms(&self) -> u64 {
        self.0.lock().replay.now_ms()
    }

    fn started_ms(&self) -> u64 {
        self.0.lock().state.started_ms
    }

    fn random(&self, bytes: &mut [u8]) {
        self.0.lock().replay.random(bytes);
    }
}
