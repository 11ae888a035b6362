//! A request to the memory, brought to its answer.
//!
//! What must stay true: a change that an agent asked for happens once, whatever dies:
//! its intent is durable before it, and that it happened is written down with it; an
//! answer that is in the journal is not asked for again.

#[cfg(test)]
mod tests;

use std::time::Duration;

use airlock_memory::{Memory as Documents, MemoryError, MemoryHome, Provenance, Reads, Wanted};
use airlock_sandbox::agent::{Request, RequestId};
use airlock_sandbox::capability::memory::{self, Answer, Memory, Op, Owner, Queued, Task};
use airlock_sandbox::gate::RunPermit;
use airlock_sandbox::{CallError, Denial, EffectClass};

use super::event::{Autonomy, Event, Told};
use super::fold::Asked;
use super::spending::Spent;
use super::under_way::{Goes, Perform, UnderWay};
use super::{permit, step};

/// How often a memory that is busy, or failed, is asked, and how long apart.
const ATTEMPTS: u32 = 3;
const WAIT: Duration = Duration::from_millis(300);

/// The namespace that is the run's own.
const NOTES: &str = "run";

/// A request that is brought to its answer.
#[derive(Clone)]
pub(super) struct MemoryStep {
    work: UnderWay,
}

/// How far a request came.
enum Came {
    Answer(Answer),
    Queued(Task, Queued),
    Denied(Denial),
}

/// What became of a change that is ended while nobody makes it: whether one that was
/// begun happened is written down with it. `None`: that is not known here.
pub(super) fn what_happened(
    home: &MemoryHome,
    run: &str,
    id: RequestId,
    asked: &Asked,
) -> Option<Told> {
    let Request::Memory { request } = &asked.request else {
        return None;
    };
    // What is unknown of a fork is what another run did.
    if asked.begun.is_none() || asked.unknown.is_some() {
        return None;
    }
    let Some(written) = home.written_once(run, id).ok()? else {
        return Some(Told::Error(CallError::Cancelled));
    };
    let request = memory::Request::read(request).ok()?;
    let answer = memory::written(&request, Ok(written)).ok()?;
    Some(answer.text().into())
}

impl Perform for MemoryStep {
    fn work(&self) -> &UnderWay {
        &self.work
    }

    async fn attempt(&mut self, asked: Asked) -> Goes {
        let asked = &asked;
        if self.work.session.block_if_full() || self.work.stands_still(None) {
            return Goes::PutOff;
        }
        let Request::Memory { request } = &asked.request else {
            return Goes::Over;
        };
        let request = match memory::Request::read(request) {
            Ok(request) => request,
            Err(message) => return self.settle(Err(CallError::InvalidInput { message })),
        };
        let writes = request.writes();
        let begun = asked.begun.is_some();
        if !begun {
            if let Err(denial) = self.permitted(&request) {
                return self.work.denied(denial);
            }
            let (id, class) = (self.work.id, EffectClass::Plain);
            if writes && !self.work.session.commit([Event::Begun { id, class }]).await {
                return Goes::Over;
            }
        }
        if !self.work.effect.begins() {
            // Ended before anything was done; whoever did so answered.
            return Goes::Over;
        }
        let answer = tokio::select! {
            answer = self.answered(&request, begun) => Some(answer),
            // Nobody else wants what was to be read; what is written is told.
            () = self.work.effect.cancel.notified(), if !writes => None,
        };
        self.work.effect.is_done();
        let Some(answer) = answer else {
            return self.settle(Err(CallError::Cancelled));
        };
        let failed = matches!(&answer, Err(error) if !is_refusal(error));
        if failed && self.work.runtime.ready().is_err() {
            // What it did, if anything, is seen when the host goes on.
            if self.work.runtime.store().health().is_err() {
                self.work.session.die();
            }
            return Goes::PutOff;
        }
        match answer {
            Ok(Came::Answer(answer)) => self.settle(answer.text()),
            Ok(Came::Denied(denial)) => self.work.denied(denial),
            Ok(Came::Queued(..)) => Goes::Over,
            Err(error) => match memory::error_of(error, writes) {
                CallError::Denied(denial) => self.work.denied(denial),
                error => self.settle(Err(error)),
            },
        }
    }
}

impl MemoryStep {
    pub(super) fn new(work: UnderWay) -> Self {
        Self { work }
    }

    /// The answer, asked for again where the memory is busy or failed.
    async fn answered(&self, request: &memory::Request, begun: bool) -> Result<Came, MemoryError> {
        let mut attempt = 1;
        loop {
            // What a host that is gone began may have happened.
            let again = begun || attempt > 1;
            let came = match self.asked_once(request.clone(), again).await {
                Ok(Came::Queued(task, queued)) => {
                    memory::written(task.request(), queued.await).map(Came::Answer)
                }
                came => came,
            };
            match came {
                Err(error) if attempt < ATTEMPTS && !is_refusal(&error) => {
                    tracing::warn!(%error, attempt, run = self.work.session.id, "the memory is asked again");
                }
                came => return came,
            }
            tokio::time::sleep(WAIT * attempt).await;
            attempt += 1;
        }
    }

    /// Reads, or queues the change, off the async threads.
    async fn asked_once(&self, request: memory::Request, again: bool) -> Result<Came, MemoryError> {
        let this = self.clone();
        let work = move |home: &MemoryHome, wanted: &Wanted| match request.writes() {
            true => this.change(&*home.open()?, request, again),
            false => this.read(&home.reads()?.wanted(wanted), request),
        };
        let (agent, ..) = self.whose();
        let io = &self.work.runtime.runs.io;
        self.work.runtime.memory.work(io, &agent, work).await
    }

    fn read(&self, documents: &Reads, request: memory::Request) -> Result<Came, MemoryError> {
        match self.permitted(&request) {
            Ok(permits) => {
                let task = self.task(request, &permits)?;
                memory::read(documents, &task).map(Came::Answer)
            }
            Err(denial) => Ok(Came::Denied(denial)),
        }
    }

    fn change(
        &self,
        documents: &Documents,
        request: memory::Request,
        again: bool,
    ) -> Result<Came, MemoryError> {
        let once = (&*self.work.session.id, self.work.id);
        if again && let Some(written) = documents.written_once(once.0, once.1)? {
            return memory::written(&request, Ok(written)).map(Came::Answer);
        }
        // From here on nothing of the agent's is erased.
        let _turn = self.work.runtime.memory.writing();
        let permits = match self.permitted(&request) {
            Ok(permits) => permits,
            Err(denial) => return Ok(Came::Denied(denial)),
        };
        let task = self.task(request, &permits)?;
        let (agent, by, _) = self.whose();
        let provenance = Provenance {
            by,
            run: Some(self.work.session.id.clone()),
            request: Some(self.work.id.to_string()),
            plugin: Some(agent),
        };
        let queued = memory::write_once(documents, once, &task, &provenance)?;
        Ok(Came::Queued(task, queued))
    }

    /// The request in the places that are the agent's.
    fn task(
        &self,
        request: memory::Request,
        permits: &[RunPermit<Memory>],
    ) -> Result<Task, MemoryError> {
        let (agent, by, _) = self.whose();
        let principal = self.work.runtime.principal_ids.of(&by, &agent);
        let owner = Owner {
            plugin: &agent,
            principal: &principal,
            run: Some(&self.work.session.first),
        };
        Task::of_run(request, permits, owner)
    }

    /// The agent, who started it, and what it does without asking.
    fn whose(&self) -> (String, String, Autonomy) {
        let inner = self.work.session.lock();
        let start = inner.state.start.as_ref();
        start.map_or_else(
            || (String::new(), String::new(), Autonomy::Observe),
            |start| (start.agent.clone(), start.by.clone(), start.autonomy),
        )
    }

    /// The agent's permits for what is asked, one for each namespace.
    fn permitted(&self, request: &memory::Request) -> Result<Vec<RunPermit<Memory>>, Denial> {
        let (agent, _, autonomy) = self.whose();
        let permit = |op: Op| {
            let permit = permit::permit::<Memory>(&self.work.runtime, &agent, op)?;
            let op = permit.op();
            // Its own notes are as its state.
            match autonomy == Autonomy::Observe && op.writes() && op.namespace != NOTES {
                true => Err(Denial::clipped(
                    step::AUTONOMY,
                    &op.to_string(),
                    "the run only observes: this was not written",
                )),
                false => Ok(permit),
            }
        };
        request.ops().into_iter().map(permit).collect()
    }

    fn settle(&self, answer: Result<String, CallError>) -> Goes {
        let events = [self.answer(answer)];
        self.work
            .session
            .settle_all(self.work.id, events, Vec::new());
        Goes::Over
    }

    fn answer(&self, answer: Result<String, CallError>) -> Event {
        Event::Answered {
            id: self.work.id,
            answer: answer.into(),
            by: None,
            used: Spent::default(),
        }
    }
}

/// Whether asking again would not help.
fn is_refusal(error: &MemoryError) -> bool {
    !matches!(
        error,
        MemoryError::Busy { .. } | MemoryError::Store(_) | MemoryError::Index { .. }
    )
}
