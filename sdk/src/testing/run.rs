//! One run of an agent under test: what it asks for, what answers it, and when.
//!
//! What must stay true: the same requests lead to the same answers at the same
//! moments of the run's own clock; no real clock is looked at; what is done again
//! is answered as it was before.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use serde_json::Value;

use super::bounds;
use super::chats::{self, Chats};
use super::models::Told;
use super::result::{End, Note};
use super::script::Script;
use super::signals::{Signal, Signals};
use super::step::{Request, Step};
use crate::Error;
use crate::agent::{EffectClass, Outcome, ToolInfo};

/// An answer and how long it takes, milliseconds; `None`: there is none to come.
pub(crate) type Coming = Option<(u64, Result<String, Error>)>;

/// Requests after which a run does not go on: it goes round in circles.
const STEPS_MAX: usize = 100_000;
const CALLS_MAX: usize = 10_000;
const QUESTIONS_MAX: usize = 64;
const CHILDREN_MAX: usize = 1_000;
/// Equal calls with equal answers.
const REPEATS_MAX: usize = 20;

/// What a run begins with.
#[derive(Clone)]
pub(crate) struct Begins {
    pub(crate) at_ms: u64,
    pub(crate) signals: Signals,
    pub(crate) state: BTreeMap<String, String>,
    pub(crate) script: Rc<RefCell<Script>>,
}

/// What an agent did the first time, and how that was answered.
pub(crate) struct Before {
    pub(crate) steps: Vec<Step>,
    answers: Vec<Coming>,
    pub(crate) end: Option<End>,
}

/// A request.
struct Asked {
    request: Request,
    /// As it was given.
    given: Coming,
    /// When it comes, and what; may change while it has not come.
    answer: Option<(u64, Result<String, Error>)>,
    signal: Option<Signal>,
    /// A wait reported it.
    told: bool,
    read: bool,
    /// Its handle is the agent's and was neither cancelled nor dropped.
    held: bool,
    /// It is let go of, and over with that.
    gone: bool,
}

/// A run.
pub(crate) struct Run {
    pub(crate) script: Rc<RefCell<Script>>,
    before: Option<Rc<Before>>,
    pub(crate) started_ms: u64,
    pub(crate) now_ms: u64,
    asked: Vec<Asked>,
    calls: usize,
    children: usize,
    questions: Vec<usize>,
    /// Waits for signals that have none.
    awaiting: Vec<usize>,
    pub(crate) steps: Vec<Step>,
    /// The tools it was told of.
    pub(crate) told: Told,
    pub(crate) chats: Chats,
    pub(crate) signals: Signals,
    pub(crate) state: BTreeMap<String, String>,
    repeats: HashMap<(String, String, String), usize>,
    pub(crate) end: Option<End>,
    /// What it does that it did not do before.
    pub(crate) differs: Option<String>,
}

impl Run {
    pub(crate) fn new(begins: &Begins, before: Option<Rc<Before>>) -> Self {
        Self {
            script: Rc::clone(&begins.script),
            before,
            started_ms: begins.at_ms,
            now_ms: begins.at_ms,
            asked: Vec::new(),
            calls: 0,
            children: 0,
            questions: Vec::new(),
            awaiting: Vec::new(),
            steps: Vec::new(),
            told: Told::new(),
            chats: Chats::default(),
            signals: begins.signals.clone(),
            state: begins.state.clone(),
            repeats: HashMap::new(),
            end: None,
            differs: None,
        }
    }

    /// What is held against the next time.
    pub(crate) fn as_before(&self) -> Before {
        Before {
            steps: self.steps.clone(),
            answers: self.asked.iter().map(|asked| asked.given.clone()).collect(),
            end: self.end.clone(),
        }
    }

    /// Nothing more of the agent is executed.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some() || self.differs.is_some()
    }

    fn fails(&mut self, error: Error) {
        self.end = Some(End::Failed(error));
    }

    /// The agent does something; `false`: that ended the run.
    fn does(&mut self, step: Step) -> bool {
        let at = self.steps.len();
        let before = self.before.as_ref();
        let differs = before.and_then(|before| match before.steps.get(at) {
            Some(known) if step.is(known) => None,
            Some(known) => Some(format!(
                "the first time, as its step {at}, it {known}\n  again, it {step}"
            )),
            None => Some(format!(
                "the first time it ended after {at} steps\n  again, it {step}"
            )),
        });
        self.differs = differs;
        if self.differs.is_none() {
            self.steps.push(step);
        }
        self.differs.is_none()
    }

    /// The agent asks for something; gives the request's number, and whether it is
    /// for the test to answer.
    pub(crate) fn asks(&mut self, request: Request, held: bool) -> Option<(usize, bool)> {
        if let Err(error) = bounds::request(&request) {
            self.fails(error);
            return None;
        }
        if !self.does(Step::Asked(request.clone())) {
            return None;
        }
        let id = self.asked.len();
        if id >= STEPS_MAX {
            self.end = Some(End::Blocked(format!("it made {STEPS_MAX} requests")));
            return None;
        }
        let refused = self.refused(id, &request);
        match &request {
            Request::Call { .. } => self.calls += 1,
            Request::Start { .. } => self.children += 1,
            Request::Ask(_) => self.questions.push(id),
            Request::Signal { .. } => self.awaiting.push(id),
            _ => {}
        }
        self.asked.push(Asked {
            request,
            given: None,
            answer: None,
            signal: None,
            told: false,
            read: false,
            held,
            gone: false,
        });
        let known = self.before.as_ref().map(|before| before.answers.get(id));
        let (coming, live) = match (refused, known) {
            (Some(error), _) => (Some((0, Err(error))), false),
            (None, Some(known)) => (known.cloned().flatten(), false),
            (None, None) => (None, true),
        };
        self.answers(id, coming);
        Some((id, live && !self.is_over()))
    }

    /// What the agent is told at once: there is not enough left, or the host refuses
    /// what models are asked.
    fn refused(&mut self, id: usize, request: &Request) -> Option<Error> {
        let (name, used, most) = match request {
            Request::Chat { request, after } => {
                let told = |id: &usize| self.asked.get(*id).is_none_or(|asked| !asked.told);
                if after.as_ref().is_some_and(told) {
                    let why = "after: nothing has reported its answer yet";
                    return Some(Error::invalid_input(why));
                }
                return self.chats.ask(id, request, *after, &self.told).err();
            }
            Request::Embed { request } => return chats::check_embed(request).err(),
            Request::Call { .. } => ("calls", self.calls, CALLS_MAX),
            Request::Start { .. } => ("children", self.children, CHILDREN_MAX),
            Request::Ask(_) => {
                let open = self.questions.iter().filter(|id| {
                    let gone = self.asked[**id].gone;
                    !gone && !self.has_answer(**id)
                });
                ("questions", open.count(), QUESTIONS_MAX)
            }
            _ => return None,
        };
        (used >= most).then(|| Error::limit(name, most.to_string()))
    }

    /// What becomes of a request.
    pub(crate) fn answers(&mut self, id: usize, coming: Coming) {
        let asked = &mut self.asked[id];
        if let (Request::Call { tool, input }, Some((_, answer))) = (&asked.request, &coming) {
            let times = self
                .repeats
                .entry((tool.clone(), input.clone(), format!("{answer:?}")))
                .or_default();
            *times += 1;
            if *times >= REPEATS_MAX {
                let why = format!("it called `{tool}` {times} times with the same answer");
                self.end = Some(End::Blocked(why));
            }
        }
        let at_ms = |after: u64| self.now_ms.saturating_add(after);
        if let Some((_, answer)) = &coming {
            self.chats.answered(id, answer);
        }
        asked.answer = coming.clone().map(|(after, answer)| (at_ms(after), answer));
        asked.given = coming;
    }

    fn has_answer(&self, id: usize) -> bool {
        let answer = self.asked[id].answer.as_ref();
        answer.is_some_and(|(at_ms, _)| *at_ms <= self.now_ms)
    }

    /// Signals whose time it is reach those that wait for them.
    fn signals_come(&mut self) {
        self.signals.come(self.now_ms);
        let (asked, signals) = (&mut self.asked, &mut self.signals);
        self.awaiting.retain(|id| {
            let asked = &mut asked[*id];
            let Request::Signal { name } = &asked.request else {
                return false;
            };
            if asked.gone || asked.answer.is_some() {
                return false;
            }
            let Some(signal) = signals.take(name) else {
                return true;
            };
            asked.answer = Some((self.now_ms, Ok(signal.payload.clone())));
            asked.signal = Some(signal);
            false
        });
    }

    /// Which of `ids` have an answer now.
    pub(crate) fn ready(&mut self, ids: &[usize]) -> Vec<usize> {
        self.signals_come();
        let ready = ids.iter().copied().filter(|id| self.has_answer(*id));
        let ready: Vec<usize> = ready.collect();
        for id in &ready {
            self.asked[*id].told = true;
        }
        ready
    }

    /// Lets the clock go on until one of `ids` has its answer; where none ever has,
    /// the run ends.
    pub(crate) fn wait(&mut self, ids: &[usize]) -> Vec<usize> {
        loop {
            let ready = self.ready(ids);
            if !ready.is_empty() {
                return ready;
            }
            let answers = ids.iter().filter_map(|id| self.asked[*id].answer.as_ref());
            let next = answers.map(|(at_ms, _)| *at_ms);
            let Some(next_ms) = next.chain(self.signals.next_ms()).min() else {
                let waits = ids.iter().map(|id| self.asked[*id].request.to_string());
                self.end = Some(End::Waits(waits.collect()));
                return Vec::new();
            };
            self.now_ms = self.now_ms.max(next_ms);
        }
    }

    /// The answer that a wait reported.
    pub(crate) fn answer(&mut self, id: usize) -> Option<Result<String, Error>> {
        let asked = &mut self.asked[id];
        if !asked.told {
            return None;
        }
        asked.read = true;
        asked.answer.clone().map(|(_, answer)| answer)
    }

    /// The agent asks for a request to end.
    pub(crate) fn cancel(&mut self, id: usize) {
        if !self.does(Step::Cancelled(id)) {
            return;
        }
        self.asked[id].held = false;
        if self.has_answer(id) {
            return;
        }
        let error = match &self.asked[id].request {
            Request::Call { tool, .. } => match self.script.borrow().class(tool) {
                EffectClass::ReadOnly => Error::Cancelled,
                _ => Error::unknown("the call was cancelled while it ran"),
            },
            _ => Error::Cancelled,
        };
        self.asked[id].answer = Some((self.now_ms, Err(error)));
    }

    /// The agent lets go of a request. One that has no effect of its own is over.
    pub(crate) fn let_go(&mut self, id: usize) {
        let asked = &self.asked[id];
        let unread = asked.signal.is_some() && !asked.read;
        if (!asked.told || unread) && !self.does(Step::LetGo(id)) {
            return;
        }
        let asked = &mut self.asked[id];
        asked.held = false;
        asked.gone = matches!(
            asked.request,
            Request::Sleep { .. } | Request::Ask(_) | Request::Signal { .. }
        );
        if let Some(signal) = asked.signal.take().filter(|_| unread) {
            self.signals.put_back(signal);
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        match bounds::note(&note) {
            Ok(()) => drop(self.does(Step::Noted(note))),
            Err(error) => self.fails(error),
        }
    }

    pub(crate) fn tools(&mut self) -> Vec<ToolInfo> {
        self.does(Step::ToolsTold);
        let tools = self.script.borrow().tools();
        let named = tools.iter().map(|tool| (tool.name.clone(), tool.clone()));
        self.told = named.collect();
        tools
    }

    pub(crate) fn set_state(&mut self, key: &str, value: Option<&str>) {
        if let Err(error) = bounds::state(&self.state, key, value) {
            return self.fails(error);
        }
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        let step = Step::StateSet {
            key: key.clone(),
            value: value.clone(),
        };
        if self.does(step) {
            match value {
                Some(value) => drop(self.state.insert(key, value)),
                None => drop(self.state.remove(&key)),
            }
        }
    }

    /// The agent ends from inside: what it holds it lets go of.
    pub(crate) fn finish(&mut self, end: Result<Outcome, Error>) {
        for asked in &mut self.asked {
            asked.held = false;
            if let Some(signal) = asked.signal.take().filter(|_| !asked.read) {
                self.signals.put_back(signal);
            }
        }
        self.ended(end);
    }

    /// The agent has ended.
    pub(crate) fn ended(&mut self, end: Result<Outcome, Error>) {
        let open = self.asked.iter().filter(|asked| asked.held && !asked.told);
        let open: Vec<String> = open.map(|asked| asked.request.to_string()).collect();
        self.end = Some(match end {
            _ if !open.is_empty() => End::OpenHandles(open),
            Ok(Outcome::Done(output)) => match serde_json::from_str(&output) {
                Ok(output) => End::Done(output),
                Err(error) => End::Failed(Error::permanent(format!(
                    "the agent's result is not JSON: {error}"
                ))),
            },
            Ok(Outcome::ContinueAsNew(input)) => {
                let input: Value = serde_json::from_str(&input).unwrap_or_default();
                match bounds::input(&input) {
                    Ok(()) => End::ContinuesAsNew(input),
                    Err(error) => End::Failed(error.context("what it goes on with")),
                }
            }
            Err(error) => End::Failed(error),
        });
    }

    /// What it did before and not again, where it ended without a difference so far.
    pub(crate) fn ended_as_before(&mut self) {
        let Some(before) = self.before.clone().filter(|_| self.differs.is_none()) else {
            return;
        };
        self.differs = match before.steps.get(self.steps.len()) {
            Some(known) => Some(format!("the first time it {known}\n  again, it ends there")),
            None if before.end != self.end => Some(format!(
                "the first time it ended so: {:?}\n  again, so: {:?}",
                before.end, self.end
            )),
            None => None,
        };
    }
}
