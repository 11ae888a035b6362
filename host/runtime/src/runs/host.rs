//! A run as its agent's host: what the agent asks and tells is known from the
//! journal, or becomes a record.
//!
//! What must stay true: nothing here blocks; an agent that was stopped is told
//! nothing more.

use std::sync::Arc;

use airlock_journal::store::BoxFuture;
use airlock_sandbox::agent::{AgentHost, AgentTool, Answer, Note, Request, RequestId, Stopped};

use super::event::Event;
use super::replay::{Replay, Step};
use super::session::{Inner, Session, Stop};
use super::{effect, listing, spending, step};
use crate::ids;

impl Session {
    /// The run has used what it may: a person decides. Only what the agent does on
    /// top counts; what is under way still gets its answer.
    fn check_budget(self: &Arc<Self>) -> Result<(), Stopped> {
        let over = {
            let inner = self.lock();
            let live = inner.replay.is_live();
            live.then(|| spending::over(&inner.state, ids::now_ms()))
        };
        let Some(why) = over.flatten() else {
            return Ok(());
        };
        self.block(why);
        Err(Stopped)
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
        let answered = ids.iter().copied().filter(|id| inner.has_answer(*id));
        let ready: Vec<RequestId> = answered.collect();
        if ready.is_empty() {
            return (!wait).then(|| Ok(Vec::new()));
        }
        let now_ms = inner.now_ms();
        let mut woke = inner.replay.deliver(&ready, now_ms);
        if let Event::Woke { cpu_us, .. } = &mut woke {
            *cpu_us = inner.meter.take();
        }
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
        if let Some(ready) = self.compared(step)? {
            return self.kept_safe(ready).await;
        }
        if let Some(seen) = self.look(&mut self.lock(), &ids, wait) {
            return seen;
        }
        // Plans and timers of an agent that waits are seen by others.
        self.kick();
        self.lock().waiting = true;
        let seen = self.wait_warm(&ids, wait).await;
        self.lock().waiting = false;
        seen.unwrap_or_else(|| {
            self.stop(Stop::Parked(ids));
            Err(Stopped)
        })
    }

    /// Values are given back once they are durable.
    async fn kept_safe(&self, ready: Vec<RequestId>) -> Result<Vec<RequestId>, Stopped> {
        let kept = self.wait_for(|inner| {
            let unkept = ready.iter().any(|id| inner.unkept.contains(id));
            match (unkept, &inner.stop) {
                (false, _) => Some(Ok(())),
                (true, Some(_)) => Some(Err(Stopped)),
                (true, None) => None,
            }
        });
        kept.await?;
        Ok(ready)
    }

    /// Waits with a sandbox; `None`: it has waited for long, or another run needs
    /// the place.
    async fn wait_warm(
        &self,
        ids: &[RequestId],
        wait: bool,
    ) -> Option<Result<Vec<RequestId>, Stopped>> {
        let runtime = self.runtime.upgrade()?;
        let warm = runtime.config().agent_warm;
        let look = self.wait_for(|inner| self.look(inner, ids, wait));
        tokio::select! {
            biased;
            seen = look => Some(seen),
            () = runtime.runs.slots.wanted() => None,
            () = tokio::time::sleep(warm) => None,
        }
    }

    /// What a step means for the attempt.
    fn compared<T>(self: &Arc<Self>, step: Step<T>) -> Result<Option<T>, Stopped> {
        match step {
            Step::Before(known) => Ok(Some(known)),
            Step::New => Ok(None),
            Step::Differs(why) => {
                self.block(why);
                Err(Stopped)
            }
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
        self.0.check_budget()?;
        let (step, much) = {
            let mut inner = self.0.lock();
            if inner.stop.is_some() {
                return Err(Stopped);
            }
            let step = step(&mut inner.replay);
            if step == Step::New {
                inner.push(event());
            }
            (step, inner.unwritten.is_much())
        };
        let new = self.0.compared(step)?.is_none();
        if new && (at_once || much) {
            self.0.kick();
        }
        Ok(())
    }
}

impl AgentHost for Host {
    fn request(&self, request: Request) -> Result<RequestId, Stopped> {
        self.0.check_budget()?;
        let (step, id) = {
            let mut inner = self.0.lock();
            if inner.stop.is_some() {
                return Err(Stopped);
            }
            let (id, step) = inner.replay.request(&request);
            if step == Step::New {
                let begun = step::begins_at_once(&self.0, &inner, &request);
                inner.request(id, request, begun);
            }
            (step, id)
        };
        if self.0.compared(step)?.is_none() {
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
        let mut inner = self.0.lock();
        if !inner.replay.is_delivered(id) {
            return None;
        }
        inner.replay.read(id);
        inner.answers.get(&id).cloned().map(Answer::from)
    }

    fn cancel(&self, id: RequestId) -> Result<(), Stopped> {
        let live = self.0.lock().replay.is_live();
        self.does(
            |replay| replay.cancel(id),
            || Event::CancelAsked { id },
            true,
        )?;
        if live {
            effect::cancel(&self.0, id);
        }
        Ok(())
    }

    fn detach(&self, id: RequestId) -> Result<(), Stopped> {
        // A store that goes down drops its handles too; that tells nothing.
        if self.0.lock().stop.is_some() {
            return Ok(());
        }
        let unread = self.0.lock().unread(id);
        let event = || Event::detached(id, unread);
        self.does(|replay| replay.detach(id), event, false)?;
        effect::let_go(&self.0, id);
        Ok(())
    }

    fn note(&self, note: Note) -> Result<(), Stopped> {
        let event = Event::Noted(note.clone());
        self.does(|replay| replay.note(&note), || event, false)
    }

    fn tools(&self) -> Result<Vec<AgentTool>, Stopped> {
        self.0.check_budget()?;
        let start = self.0.lock().state.start.clone();
        let (Some(runtime), Some(start)) = (self.0.runtime.upgrade(), start) else {
            return Err(Stopped);
        };
        let step = {
            let mut inner = self.0.lock();
            if inner.stop.is_some() {
                return Err(Stopped);
            }
            match inner.replay.tools() {
                Step::New => {
                    let tools = listing::tools(&runtime, &start);
                    let told = inner.replay.tell(&tools);
                    inner.push(told);
                    Step::Before(tools)
                }
                step => step,
            }
        };
        self.0.compared(step)?.ok_or(Stopped)
    }

    fn set_state(&self, key: &str, value: Option<&str>) -> Result<(), Stopped> {
        let event = || Event::StateSet {
            key: key.to_owned(),
            value: value.map(str::to_owned),
        };
        self.does(|replay| replay.set_state(key, value), event, false)
    }

    fn is_told(&self, id: RequestId) -> bool {
        self.0.lock().replay.is_delivered(id)
    }

    fn is_live(&self) -> bool {
        self.0.lock().replay.is_live()
    }

    fn spent(&self, cpu_us: u64) {
        let mut inner = self.0.lock();
        // What an attempt does that was ended is done again by the next one, and
        // ending it is the host's doing.
        let counts = inner.replay.is_live() && inner.stop.is_none();
        inner.meter.at(cpu_us, counts);
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
