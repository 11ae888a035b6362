//! What became of a run under test.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::models::ModelRequest;
use super::people::Question;
use super::run::{Before, Run};
use super::step::{Request, Step};
use super::{ProgressReport, script};
use crate::Error;
use crate::agent::{Budget, PlanTask};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum End {
    /// It reached its goal, with this result.
    Done(Value),
    /// It goes on as a new run with this input.
    ContinuesAsNew(Value),
    /// It failed; with [`Error::Escalate`] a person takes over, with
    /// [`Error::Limit`] it may have been over a size of the contract.
    Failed(Error),
    /// It failed (`open-handles`): it ended with requests that it neither awaited,
    /// cancelled nor dropped.
    OpenHandles(Vec<String>),
    /// The host would stop it until a person decides: it goes round in circles, 20
    /// equal calls with equal answers, or 100,000 requests.
    Blocked(String),
    /// It has not ended: it waits for these, and the test gives none of them.
    Waits(Vec<String>),
}

/// What an agent says of its work.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// Its plan, which replaces the one before.
    Plan(Vec<PlanTask>),
    /// How far it is.
    Progress(ProgressReport),
    /// A line of its log.
    Log(String),
}

/// A child that an agent started.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Child {
    /// The agent's plugin.
    pub agent: String,
    /// What it is to reach.
    pub goal: String,
    /// Its input.
    pub input: Value,
    /// What it may use.
    pub budget: Budget,
}

/// What an agent asked for and said, each in order.
#[derive(Default)]
struct Told {
    calls: Vec<(String, Value)>,
    asked: Vec<Question>,
    children: Vec<Child>,
    slept: Vec<Duration>,
    records: Vec<Value>,
    notes: Vec<Note>,
}

impl Told {
    fn of(steps: &[Step]) -> Self {
        let mut told = Self::default();
        for step in steps {
            match step {
                Step::Asked(request) => told.add(request),
                Step::Noted(note) => told.notes.push(note.clone()),
                _ => {}
            }
        }
        told
    }

    fn add(&mut self, request: &Request) {
        let value = |text: &str| serde_json::from_str(text).unwrap_or_default();
        match request {
            Request::Call { tool, input } => self.calls.push((tool.clone(), value(input))),
            Request::Ask(asked) => self.asked.push(script::question(asked)),
            Request::Sleep { ms } => self.slept.push(Duration::from_millis(*ms)),
            Request::Record { value: kept } => self.records.push(value(kept)),
            Request::Start {
                agent,
                goal,
                input,
                budget,
            } => self.children.push(Child {
                agent: agent.clone(),
                goal: goal.clone(),
                input: value(input),
                budget: *budget,
            }),
            Request::Timer { .. }
            | Request::Signal { .. }
            | Request::Chat { .. }
            | Request::Embed { .. }
            | Request::Memory { .. } => {}
        }
    }
}

/// A run of an agent that was: how it ended and what it did.
pub struct AgentRun {
    end: End,
    told: Told,
    pub(super) run: Rc<RefCell<Run>>,
}

impl AgentRun {
    /// Of what the agent did, and of how its run is now.
    pub(super) fn new(before: &Before, run: Rc<RefCell<Run>>) -> Self {
        Self {
            told: Told::of(&before.steps),
            end: before.end.clone().unwrap_or(End::Waits(Vec::new())),
            run,
        }
    }

    /// How it ended.
    #[must_use]
    pub fn end(&self) -> &End {
        &self.end
    }

    /// Its result.
    ///
    /// # Panics
    /// When it did not reach its goal.
    #[must_use]
    #[track_caller]
    pub fn output(&self) -> Value {
        match &self.end {
            End::Done(output) => output.clone(),
            end => panic!("the run did not reach its goal: {end:?}"),
        }
    }

    /// Why it failed.
    ///
    /// # Panics
    /// When it did not, or not by an [`Error`].
    #[must_use]
    #[track_caller]
    pub fn error(&self) -> Error {
        match &self.end {
            End::Failed(error) => error.clone(),
            end => panic!("the run did not fail: {end:?}"),
        }
    }

    /// The input of the run that it goes on as.
    ///
    /// # Panics
    /// When it does not continue as new.
    #[must_use]
    #[track_caller]
    pub fn next_input(&self) -> Value {
        match &self.end {
            End::ContinuesAsNew(input) => input.clone(),
            end => panic!("the run does not go on as another: {end:?}"),
        }
    }

    /// The calls it made, in order, those that were denied too: tool and input.
    #[must_use]
    pub fn calls(&self) -> &[(String, Value)] {
        &self.told.calls
    }

    /// The inputs of its calls of one tool, in order.
    #[must_use]
    pub fn calls_of(&self, tool: &str) -> Vec<&Value> {
        let calls = self.told.calls.iter().filter(|(name, _)| name == tool);
        calls.map(|(_, input)| input).collect()
    }

    /// What it asked people, in order.
    #[must_use]
    pub fn asked(&self) -> &[Question] {
        &self.told.asked
    }

    /// The children it started, in order.
    #[must_use]
    pub fn children(&self) -> &[Child] {
        &self.told.children
    }

    /// What it asked models, in order, but for what was refused at once.
    #[must_use]
    pub fn asked_models(&self) -> Vec<ModelRequest> {
        self.run.borrow().chats.all()
    }

    /// The waits it asked for by `sleep` and `sleep_until`, in order.
    #[must_use]
    pub fn slept(&self) -> &[Duration] {
        &self.told.slept
    }

    /// The values it kept by `record`, in order.
    #[must_use]
    pub fn records(&self) -> &[Value] {
        &self.told.records
    }

    /// What it said of its work, in order.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.told.notes
    }

    /// The lines of its log.
    #[must_use]
    pub fn logs(&self) -> Vec<&str> {
        let logs = self.told.notes.iter().filter_map(|note| match note {
            Note::Log(line) => Some(line.as_str()),
            _ => None,
        });
        logs.collect()
    }

    /// Its plan as it was published last.
    #[must_use]
    pub fn plan(&self) -> &[PlanTask] {
        let plans = self.told.notes.iter().rev();
        let mut plans = plans.filter_map(|note| match note {
            Note::Plan(tasks) => Some(tasks.as_slice()),
            _ => None,
        });
        plans.next().unwrap_or_default()
    }

    /// What a key of its state held in the end.
    #[must_use]
    pub fn state(&self, key: &str) -> Option<Value> {
        let run = self.run.borrow();
        let value = run.state.get(key)?;
        serde_json::from_str(value).ok()
    }

    /// How long it took on its own clock.
    #[must_use]
    pub fn took(&self) -> Duration {
        let run = self.run.borrow();
        Duration::from_millis(run.now_ms - run.started_ms)
    }
}
