//! A run's state: a pure fold over its journal.
//!
//! What must stay true: the same records give the same state; nothing here knows
//! a clock, a store or an agent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use airlock_sandbox::agent::{AgentTool, Memory, Note, PlanTask, Request, RequestId};
use airlock_sandbox::{CallError, EffectClass};

use super::event::{Block, End, Event, Record, Start, Told};
use super::loops::Repeats;
use super::people::{self, Approval, Terms};
use super::signals::Signals;
use super::spending::Spent;
use super::talks;
use super::talks::Talks;
use super::weight;

/// What the journal says of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RunState {
    pub(crate) start: Option<Start>,
    pub(crate) started_ms: u64,
    pub(crate) last_ms: u64,
    /// Records so far.
    pub(crate) len: u64,
    /// About how many bytes they have.
    pub(crate) bytes: u64,
    /// Requests without an answer.
    pub(crate) requests: BTreeMap<RequestId, Asked>,
    /// Requests so far: the number of the next one.
    pub(crate) asked: RequestId,
    /// Calls, children and changes of the memory of which the agent was told that they
    /// may have happened.
    pub(crate) unknown: Vec<RequestId>,
    /// Open questions to people.
    pub(crate) questions: BTreeSet<RequestId>,
    /// What was used, what is set aside for children apart.
    pub(crate) spent: Spent,
    /// What is set aside for children that have not ended.
    pub(crate) reserved: BTreeMap<RequestId, Spent>,
    /// Children that were asked for, and when.
    pub(crate) children: Vec<(RequestId, u64)>,
    pub(super) repeats: Repeats,
    /// The tool that was called last and has answered, and how often it gave that
    /// answer to that input.
    pub(crate) repeated: Option<(String, u64)>,
    pub(crate) memory: Memory,
    /// What was asked of models and what they said.
    pub(super) talks: Talks,
    /// The tools that the agent was told of last.
    pub(super) tools: Arc<Vec<AgentTool>>,
    /// Signals that the agent was not given yet.
    pub(crate) signals: Signals,
    pub(crate) plan: Vec<PlanTask>,
    /// The latest report: done, total, message.
    pub(crate) progress: Option<(f64, Option<f64>, String)>,
    pub(crate) blocked: Option<Block>,
    pub(crate) paused: bool,
    /// Who paused it, since it last went on.
    pub(crate) paused_by: BTreeSet<String>,
    pub(crate) cancelling: bool,
    /// How it is to end, where no person ended it.
    pub(crate) given_up: Option<End>,
    pub(crate) end: Option<End>,
}

/// A request that has no answer, and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) at_ms: u64,
    /// From 1.
    pub(crate) attempt: u32,
    /// When the next attempt may begin.
    pub(crate) not_before_ms: u64,
    /// The class under which it was begun: it may have happened.
    pub(crate) begun: Option<EffectClass>,
    pub(crate) cancel_asked: bool,
    pub(crate) detached: bool,
    /// An attempt before this one may have happened, and may be made again as it was.
    pub(crate) lost: bool,
    /// Whether it happened is not known, and a person has to say: what is known.
    pub(crate) unknown: Option<String>,
    /// What a person has to approve before the call is made.
    pub(crate) to_approve: Option<String>,
    /// Under which terms, and who did so far.
    pub(crate) terms: Terms,
    pub(crate) approvals: Vec<Approval>,
    /// What a person approved.
    pub(crate) approved: Option<String>,
}

impl RunState {
    /// The state after `records`.
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply(record);
        }
        state
    }

    /// Goes on by one record.
    pub(crate) fn apply(&mut self, record: &Record) {
        if self.len == 0 {
            self.started_ms = record.at_ms;
        }
        self.len += 1;
        self.bytes += weight::of(&record.event);
        self.last_ms = record.at_ms;
        match &record.event {
            Event::Started(start) => self.started(start),
            Event::Requested { id, request, begun } => {
                self.requested(*id, request, *begun, record.at_ms);
            }
            Event::Begun { id, class } => self.with(*id, |asked| asked.begins(*class)),
            Event::Retried {
                id,
                attempt,
                after_ms,
                lost,
                ..
            } => self.retried(*id, *attempt, *after_ms, *lost),
            Event::Answered {
                id, answer, used, ..
            } => self.answered(*id, answer, used),
            Event::Recorded { id, .. } => self.recorded(*id),
            Event::Reserved { id, spent } => drop(self.reserved.insert(*id, *spent)),
            Event::StateSet { key, value } => self.memory.set(key, value.as_deref()),
            Event::CancelAsked { id } => self.with(*id, |asked| asked.cancel_asked = true),
            Event::Detached { id, ends, unread } => self.let_go(*id, *ends, unread.as_ref()),
            Event::Noted(note) => self.noted(note),
            Event::Signalled { name, payload, .. } => self.signals.came(name, payload),
            Event::Blocked {
                why: Block::UnknownOutcome { id, detail },
            } => self.with(*id, |asked| asked.unknown = Some(detail.clone())),
            Event::Blocked { why } => self.blocked = Some(why.clone()),
            Event::Unblocked { .. } => {
                self.blocked = None;
                self.repeats.forget();
            }
            Event::ApprovalAsked { .. }
            | Event::Approved { .. }
            | Event::QuestionEscalated { .. }
            | Event::Withheld { .. }
            | Event::GivenUp { .. } => people::apply(self, record),
            Event::Budgeted { budget, .. } => {
                if let Some(start) = &mut self.start {
                    start.budget = budget.clone();
                }
            }
            Event::Paused { by } => {
                self.paused = true;
                self.paused_by.insert(by.clone());
            }
            Event::Unpaused { .. } => {
                self.paused = false;
                self.paused_by.clear();
            }
            Event::CancelRequested { .. } => self.cancelling = true,
            Event::Ended { end, .. } => self.end = Some(end.clone()),
            Event::Woke { ready, cpu_us, .. } => {
                self.spent.cpu_us += cpu_us;
                self.signals.delivered(ready);
            }
            Event::Used { used } => self.spent.add(used),
            Event::ToolsTold { tools: Some(tools) } => self.tools = Arc::new(tools.clone()),
            Event::ToolsTold { tools: None } => {}
        }
        people::count(self, &record.event);
    }

    /// Requests without an answer.
    pub(crate) fn open(&self) -> impl Iterator<Item = (RequestId, &Asked)> {
        self.requests.iter().map(|(id, asked)| (*id, asked))
    }

    /// Whether a request has its answer.
    pub(crate) fn is_answered(&self, id: RequestId) -> bool {
        id < self.asked && !self.requests.contains_key(&id)
    }

    /// The next moment at which something of it is due.
    pub(crate) fn wake_ms(&self) -> Option<u64> {
        let dues = self.open().filter_map(|(_, asked)| match asked.waits() {
            Waits::Until(due_ms) => Some(due_ms),
            Waits::Here | Waits::ForSomebody => None,
        });
        dues.min()
    }

    /// Why it does not go on until a person decides.
    pub(crate) fn block(&self) -> Option<Block> {
        let mut open = self.open();
        let unknown = open.find_map(|(id, asked)| {
            let detail = asked.unknown.clone()?;
            Some(Block::UnknownOutcome { id, detail })
        });
        unknown.or_else(|| self.blocked.clone())
    }

    /// Whether none of its calls and children begins until a person decides.
    pub(crate) fn holds_effects(&self) -> bool {
        self.blocked.as_ref().is_some_and(Block::holds_effects)
    }

    fn started(&mut self, start: &Start) {
        self.spent = start.spent;
        self.memory = start.state.clone();
        for (name, payload) in &start.signals {
            self.signals.came(name, payload);
        }
        self.start = Some(start.clone());
    }

    fn recorded(&mut self, id: RequestId) {
        self.spent.steps += 1;
        self.asked = id + 1;
    }

    fn requested(
        &mut self,
        id: RequestId,
        request: &Request,
        begun: Option<EffectClass>,
        at_ms: u64,
    ) {
        let asked = Asked {
            request: request.clone(),
            at_ms,
            attempt: 1,
            not_before_ms: at_ms,
            begun,
            cancel_asked: false,
            detached: false,
            lost: false,
            unknown: None,
            to_approve: None,
            terms: Terms::default(),
            approvals: Vec::new(),
            approved: None,
        };
        self.spent.steps += 1;
        // One that is refused for want of budget is none.
        let calls = matches!(request, Request::Call { .. }) && self.left_calls() > 0;
        self.spent.calls += u64::from(calls);
        if let Request::Start { .. } = request {
            self.children.push((id, at_ms));
        }
        self.talks.asked(id, request);
        self.asked = id + 1;
        self.requests.insert(id, asked);
    }

    /// What a request to a model had set aside is free again: what its attempt took
    /// is another record.
    fn retried(&mut self, id: RequestId, attempt: u32, after_ms: u64, lost: bool) {
        let asked = self.requests.get(&id);
        if asked.is_some_and(|asked| talks::is_model(&asked.request)) {
            self.reserved.remove(&id);
        }
        self.with(id, |asked| asked.retried(attempt, after_ms, lost));
    }

    fn answered(&mut self, id: RequestId, answer: &Told, used: &Spent) {
        self.reserved.remove(&id);
        self.spent.add(used);
        let Some(asked) = self.requests.remove(&id) else {
            return;
        };
        self.repeated = self.repeats.count(&asked.request, answer);
        self.took_signal(id, &asked, answer);
        self.talks.answered(id, answer);
        let unknown = matches!(answer, Told::Error(CallError::Unknown { .. }));
        let acts = matches!(
            asked.request,
            Request::Call { .. } | Request::Start { .. } | Request::Memory { .. }
        );
        if unknown && acts {
            self.unknown.push(id);
        }
    }

    fn noted(&mut self, note: &Note) {
        match note {
            Note::Plan { tasks } => self.plan.clone_from(tasks),
            Note::Progress {
                done,
                total,
                message,
            } => self.progress = Some((*done, *total, message.clone())),
            Note::Log { .. } => {}
        }
    }

    pub(super) fn with(&mut self, id: RequestId, change: impl FnOnce(&mut Asked)) {
        if let Some(asked) = self.requests.get_mut(&id) {
            change(asked);
        }
    }
}

/// What a request without an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Work that goes on in this process, or is to be taken up.
    Here,
    /// A moment, milliseconds since 1970.
    Until(u64),
    /// A person, or another run.
    ForSomebody,
}

impl Asked {
    pub(crate) fn waits(&self) -> Waits {
        match &self.request {
            Request::Timer { due_ms } => Waits::Until(*due_ms),
            Request::Ask { due_ms, .. } => due_ms.map_or(Waits::ForSomebody, Waits::Until),
            Request::Signal { .. } | Request::Start { .. } | Request::Record { .. } => {
                Waits::ForSomebody
            }
            Request::Call { .. } | Request::Memory { .. } if self.unknown.is_some() => {
                Waits::ForSomebody
            }
            Request::Call { .. } if self.to_approve.is_some() => {
                self.terms.due_ms.map_or(Waits::ForSomebody, Waits::Until)
            }
            Request::Call { .. }
            | Request::Chat { .. }
            | Request::Embed { .. }
            | Request::Memory { .. } => Waits::Here,
        }
    }

    fn begins(&mut self, class: EffectClass) {
        self.begun = Some(class);
        self.not_asked();
    }

    /// An approval covers all attempts that may be the same effect; after one that
    /// may not be repeated, it is asked for again.
    fn retried(&mut self, attempt: u32, after_ms: u64, lost: bool) {
        if self.unknown.is_some() {
            self.approved = None;
        }
        // Whoever says that an unknown one is made again has said what became of it.
        self.lost = (self.lost || lost) && self.unknown.is_none();
        self.attempt = attempt;
        self.not_before_ms = after_ms;
        self.begun = None;
        self.unknown = None;
        self.not_asked();
    }
}
