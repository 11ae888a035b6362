//! What an agent does, compared with what its journal says, step by step.
//!
//! Up to the first difference this is the comparison that runs are replayed with
//! ([`Replay`]). After it the journal is only a source of answers: a request finds
//! its answer by what it asks for, wherever the journal has it, and the replay
//! goes on until the agent waits for something that has none.
//!
//! What must stay true: a replay without a difference is one that a run goes on
//! with; one with a difference is one that would block it.

use std::collections::HashMap;

use airlock_sandbox::agent::{AgentEnd, AgentTool, Answer, Request, RequestId, Stopped};

use super::super::drive;
use super::super::event::Event;
use super::super::replay::{Began, Replay, Step};
use super::recorded::{Given, Recorded};
use super::rest::{Found, Rest, key, said};
use super::types::{Difference, DifferenceKind, ReplayEnd, ReplayStep, ReplayVerdict, RunReplay};

/// Differences that are told.
const DIFFERENCES_MAX: usize = 1_000;

pub(in super::super) struct Comparison {
    started_ms: u64,
    given: HashMap<RequestId, Given>,
    /// Values that the agent keeps here and not in the journal, by the number of
    /// the replay.
    kept: HashMap<RequestId, Given>,
    recorded_end: Option<ReplayEnd>,
    replay: Replay,
    /// Steps of the journal, waits apart.
    steps: u64,
    /// The number in the journal of each request of the replay, where it is there.
    asked: Vec<Option<RequestId>>,
    /// What the journal has left, after the first difference.
    rest: Option<Rest>,
    stopped: Option<Why>,
}

/// Why a replay does not go on.
enum Why {
    /// It came to the end of a journal that goes on.
    CaughtUp,
    /// It waits for what the journal has no answer to.
    NoAnswer(String),
}

impl Comparison {
    pub(in super::super) fn new(recorded: Recorded) -> Self {
        let steps = recorded.did.iter().filter(|did| !is_wait(&did.event));
        let began = Began {
            seed: &recorded.seed,
            rules: recorded.rules,
            at_ms: recorded.started_ms,
        };
        Self {
            started_ms: recorded.started_ms,
            given: recorded.given,
            kept: HashMap::new(),
            recorded_end: recorded.end,
            steps: steps.count() as u64,
            replay: Replay::new(&began, recorded.did),
            asked: Vec::new(),
            rest: None,
            stopped: None,
        }
    }

    pub(in super::super) fn request(&mut self, request: Request) -> Result<RequestId, Stopped> {
        self.goes_on()?;
        let id = self.asked.len() as RequestId;
        if self.rest.is_none() {
            let (_, step) = self.replay.request(&request);
            if step == Step::Before(()) {
                self.asked.push(Some(id));
                return Ok(id);
            }
            self.leave(&step)?;
        }
        let begun = None;
        let event = Event::Requested { id, request, begun };
        let known = self.place(&event);
        self.asked.push(known);
        if let (None, Some(value)) = (known, kept(event)) {
            let given = Given::kept(value, self.replay.now_ms());
            self.kept.insert(id, given);
        }
        Ok(id)
    }

    /// Something else that the agent does and does not wait for.
    pub(in super::super) fn does(&mut self, event: Event) -> Result<(), Stopped> {
        // A store that goes down drops its handles too; that tells nothing.
        if matches!(event, Event::Detached { .. }) && self.stopped.is_some() {
            return Ok(());
        }
        self.goes_on()?;
        let reported = |id: &RequestId| self.replay.is_delivered(*id);
        let let_go = matches!(&event, Event::Detached { id, .. } if reported(id));
        let unread = matches!(&event, Event::Detached { id, .. } if self.replay.is_unread(*id));
        if self.rest.is_none() {
            let step = match &event {
                Event::CancelAsked { id } => self.replay.cancel(*id),
                Event::Detached { id, .. } => self.replay.detach(*id),
                Event::Noted(note) => self.replay.note(note),
                Event::StateSet { key, value } => self.replay.set_state(key, value.as_deref()),
                _ => Step::Before(()),
            };
            // A journal of before has no record of a signal that was not read.
            if step == Step::Before(()) || (unread && step == Step::New) {
                return Ok(());
            }
            self.leave(&step)?;
        }
        if !let_go || unread {
            self.place(&event);
        }
        Ok(())
    }

    /// The tools that the agent was told of here; after a difference, those it was
    /// told of next, or else last.
    pub(in super::super) fn tools(&mut self) -> Result<Vec<AgentTool>, Stopped> {
        self.goes_on()?;
        if self.rest.is_none() {
            match self.replay.tools() {
                Step::Before(tools) => return Ok(tools),
                step => self.leave(&step)?,
            }
        }
        self.place(&Event::ToolsTold { tools: None });
        let next = self.rest.as_mut().and_then(Rest::next_tools);
        if let Some(tools) = next {
            self.replay.tell(&tools);
        }
        Ok(self.replay.told().to_vec())
    }

    pub(in super::super) fn poll(
        &mut self,
        ids: &[RequestId],
        wait: bool,
    ) -> Result<Vec<RequestId>, Stopped> {
        self.goes_on()?;
        if self.rest.is_none() {
            let step = self.replay.poll(ids, wait);
            match step {
                Step::Before(ready) => return Ok(ready),
                // A look that finds nothing is not in the journal.
                Step::New if !wait && self.recorded_end.is_some() => return Ok(Vec::new()),
                step => self.leave(&step)?,
            }
            let what = format!("waits for the requests {ids:?}");
            let step = ReplayStep {
                request: None,
                what,
            };
            if let Some(rest) = &mut self.rest {
                rest.waited(step);
            }
        }
        let known: Vec<RequestId> = self.of(ids, |own, id| own.replay.is_delivered(id));
        if !known.is_empty() {
            return Ok(known);
        }
        let first = ids
            .iter()
            .filter_map(|id| self.given(*id))
            .min_by_key(|given| given.place);
        let Some((place, at_ms)) = first.map(|given| (given.place, given.at_ms)) else {
            return match wait {
                false => Ok(Vec::new()),
                true => self.stop(Why::NoAnswer(format!("{ids:?}"))),
            };
        };
        let ready = self.of(ids, |own, id| {
            own.given(id).is_some_and(|given| given.place == place)
        });
        self.replay.deliver(&ready, at_ms);
        Ok(ready)
    }

    fn of(&self, ids: &[RequestId], is_it: impl Fn(&Self, RequestId) -> bool) -> Vec<RequestId> {
        ids.iter().copied().filter(|id| is_it(self, *id)).collect()
    }

    /// The journal's answer to a request of the replay.
    fn given(&self, id: RequestId) -> Option<&Given> {
        let known = *self.asked.get(usize::try_from(id).ok()?)?;
        match known {
            Some(known) => self.given.get(&known),
            None => self.kept.get(&id),
        }
    }

    pub(in super::super) fn answer(&mut self, id: RequestId) -> Option<Answer> {
        if !self.replay.is_delivered(id) {
            return None;
        }
        self.replay.read(id);
        self.given(id).map(|given| given.answer.clone().into())
    }

    pub(super) fn is_told(&self, id: RequestId) -> bool {
        self.replay.is_delivered(id)
    }

    pub(in super::super) fn now_ms(&self) -> u64 {
        self.replay.now_ms()
    }

    pub(super) fn started_ms(&self) -> u64 {
        self.started_ms
    }

    pub(super) fn random(&mut self, bytes: &mut [u8]) {
        self.replay.random(bytes);
    }

    /// Whether the agent did all that is in the journal, and nothing else.
    #[cfg(test)]
    pub(in super::super) fn is_used_up(&self) -> bool {
        self.rest.is_none() && self.stopped.is_none() && self.replay.is_live()
    }

    fn goes_on(&self) -> Result<(), Stopped> {
        match self.stopped {
            Some(_) => Err(Stopped),
            None => Ok(()),
        }
    }

    fn stop<T>(&mut self, why: Why) -> Result<T, Stopped> {
        self.stopped = Some(why);
        Err(Stopped)
    }

    /// The first step that the journal does not have next: the end of a journal
    /// that goes on, or a difference.
    fn leave<T>(&mut self, step: &Step<T>) -> Result<(), Stopped> {
        if matches!(step, Step::New) && self.recorded_end.is_none() {
            return self.stop(Why::CaughtUp);
        }
        self.rest = Some(Rest::of(&self.replay, self.steps));
        Ok(())
    }

    /// Finds a step's place in what the journal has left; gives the number of the
    /// request there.
    fn place(&mut self, event: &Event) -> Option<RequestId> {
        let known = |id: RequestId| {
            let known = self.asked.get(usize::try_from(id).ok()?);
            known.copied().flatten()
        };
        // Of a request that the journal does not know, nothing is known.
        let key = key(event, self.replay.now_ms(), known)?;
        self.rest.as_mut()?.place(key, event)
    }

    /// What came of it, once the agent has ended.
    pub(in super::super) fn finish(&mut self, end: AgentEnd) -> RunReplay {
        let ended = ended(end);
        if self.rest.is_none() && ended.is_some() && !self.replay.is_live() {
            self.rest = Some(Rest::of(&self.replay, self.steps));
        }
        let (same, found) = match self.rest.take() {
            None => (self.steps, Found::default()),
            Some(rest) => (rest.same, rest.found(ended.is_some())),
        };
        let mut differences = found.differences;
        if let (Some(recorded), Some(replayed)) = (&self.recorded_end, &ended)
            && recorded != replayed
        {
            differences.push(Difference {
                kind: DifferenceKind::OtherOutcome,
                after: same + differences.len() as u64,
                recorded: Some(outcome(recorded)),
                replayed: Some(outcome(replayed)),
            });
        }
        let verdict = match (differences.is_empty(), &self.recorded_end, &ended) {
            (false, ..) => ReplayVerdict::Differs,
            (true, Some(_), Some(_)) => ReplayVerdict::Same,
            (true, ..) => ReplayVerdict::SameSoFar,
        };
        let more = differences.len().saturating_sub(DIFFERENCES_MAX);
        differences.truncate(DIFFERENCES_MAX);
        RunReplay {
            run: String::new(),
            digest: String::new(),
            recorded_digest: String::new(),
            verdict,
            steps: self.steps,
            same,
            differences,
            more_differences: more as u64,
            not_reached: found.not_reached,
            stopped: self.stopped.as_ref().and_then(Why::told),
            recorded_end: self.recorded_end.clone(),
            replayed_end: ended,
            cpu_us: 0,
            elapsed_us: 0,
        }
    }
}

impl Why {
    fn told(&self) -> Option<String> {
        match self {
            Self::CaughtUp => None,
            Self::NoAnswer(ids) => Some(format!(
                "the agent waits for the requests {ids}, to which the journal has no answer"
            )),
        }
    }
}

/// The value of a request that only keeps one.
fn kept(event: Event) -> Option<String> {
    match event {
        Event::Requested {
            request: Request::Record { value },
            ..
        } => Some(value),
        _ => None,
    }
}

pub(super) fn is_wait(event: &Event) -> bool {
    matches!(event, Event::Woke { .. })
}

fn outcome(end: &ReplayEnd) -> ReplayStep {
    ReplayStep {
        request: None,
        what: said(&format!("{}: {}", end.state, end.detail)),
    }
}

/// How an agent's end is called; `None`: it was stopped.
fn ended(end: AgentEnd) -> Option<ReplayEnd> {
    Some(match end {
        AgentEnd::Stopped | AgentEnd::NoRoom => return None,
        AgentEnd::ContinueAsNew(input) => ReplayEnd::continued(input),
        AgentEnd::OpenHandles(open) => ReplayEnd::of(&drive::open_handles(&open)),
        AgentEnd::Done(output) => ReplayEnd::of(&drive::done(output)),
        AgentEnd::Failed(error) => ReplayEnd::of(&drive::failed(error)),
    })
}
