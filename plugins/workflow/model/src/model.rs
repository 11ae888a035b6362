//! A workflow that was read and checked.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::problem::Place;
use crate::schema::Schema;
use crate::template::{Expression, Template};

/// A whole file.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// What it is called.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Calls under way at once, of all its workflows together.
    pub parallel: usize,
    /// What runs.
    pub main: Block,
    /// What its steps run.
    pub blocks: BTreeMap<String, Block>,
}

/// Steps with inputs and outputs: a workflow, or a sub-workflow.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// What it takes.
    pub inputs: BTreeMap<String, Schema>,
    /// What it gives.
    pub outputs: Vec<Output>,
    /// What it does, in the order of the file.
    pub steps: Vec<Step>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl Block {
    /// What its input has to be.
    #[must_use]
    pub fn input(&self) -> Schema {
        Schema::object(&self.inputs)
    }

    /// The place of a step.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.id == id)
    }
}

/// A value that a workflow gives.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub at: Place,
    /// What it is.
    pub value: Template,
    /// What it has to be.
    pub schema: Option<Schema>,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it stands.
    pub at: Place,
    /// Its name in expressions.
    pub id: String,
    /// What people see.
    pub name: Option<String>,
    /// What it does.
    pub action: Action,
    /// Places of the steps that end before it begins, those that its expressions
    /// name included; sorted.
    pub needs: Vec<usize>,
    /// How they have to end.
    pub trigger: Trigger,
    /// Whether it runs.
    pub when: Option<Expression>,
    /// The list that it runs for, item by item.
    pub for_each: Option<Template>,
    /// How many items at once.
    pub max_parallel: Option<usize>,
    /// When it is tried again.
    pub retry: Retry,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// What becomes of the run when it has failed.
    pub on_error: OnError,
    /// What undoes it.
    pub compensate: Option<Compensate>,
    /// What its output is made of.
    pub output: Option<Template>,
    /// What its output has to be.
    pub returns: Option<Schema>,
}

impl Step {
    /// What people see.
    #[must_use]
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Calls a tool.
    Tool {
        /// `plugin/tool`.
        tool: String,
        /// Its input.
        with: Template,
    },
    /// Runs another agent.
    Agent(Box<AgentAction>),
    /// Asks a language model.
    Model(Box<ModelAction>),
    /// Asks a person.
    Approval(Box<Approval>),
    /// Waits.
    Wait(Wait),
    /// Runs a sub-workflow.
    Workflow {
        /// Its name.
        name: String,
        /// Its input.
        with: Template,
    },
    /// Works out a value.
    Value(Template),
}

impl Action {
    /// The key that says so.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tool { .. } => "tool",
            Self::Agent(_) => "agent",
            Self::Model(_) => "model",
            Self::Approval(_) => "approval",
            Self::Wait(_) => "wait",
            Self::Workflow { .. } => "workflow",
            Self::Value(_) => "value",
        }
    }
}

/// A run of another agent.
#[derive(Clone, Debug)]
pub struct AgentAction {
    /// The agent's plugin.
    pub agent: String,
    /// A text.
    pub goal: Template,
    /// Its input.
    pub with: Template,
    /// What it may use.
    pub budget: Budget,
}

/// What a run of an agent may use; what is absent is for the host to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Calls of tools.
    pub calls: Option<u64>,
    /// Requests of any kind.
    pub steps: Option<u64>,
    /// Records of its journal.
    pub events: Option<u64>,
    /// Time.
    pub wall: Option<Duration>,
    /// CPU time.
    pub cpu: Option<Duration>,
    /// Tokens of language models.
    pub model_tokens: Option<u64>,
    /// Cost of language models, millionths of the host's currency.
    pub model_micros: Option<u64>,
}

/// A question to a language model.
#[derive(Clone, Debug)]
pub struct ModelAction {
    /// The role that the administrator gave models.
    pub role: String,
    /// What it is told of its task: a text.
    pub system: Option<Template>,
    /// What it is asked: a text.
    pub prompt: Template,
    /// What its answer has to be; a text without it.
    pub schema: Option<Schema>,
    /// How long its answer may be; 8192 tokens without it.
    pub max_tokens: Option<u64>,
}

/// A question to a person.
#[derive(Clone, Debug)]
pub struct Approval {
    /// A text.
    pub text: Template,
    /// The answers.
    pub choices: Vec<String>,
    /// What is shown beside it.
    pub payload: Option<Template>,
    /// How long somebody may answer.
    pub due: Option<Duration>,
    /// What becomes of the step, by choice.
    pub on: BTreeMap<String, OnChoice>,
    /// What becomes of it when nobody answered.
    pub on_due: OnDue,
}

/// What an answer means for the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChoice {
    /// It is done.
    Continue,
    /// It has failed.
    Fail,
    /// It counts as skipped.
    Skip,
    /// A person takes over the run.
    Escalate,
}

/// What no answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDue {
    /// As this.
    As(OnChoice),
    /// As this choice.
    Choice(String),
}

/// What is waited for.
#[derive(Clone, Debug)]
pub enum Wait {
    /// A time: a text such as `5m`, or seconds.
    For(Template),
    /// A moment: a text of RFC 3339.
    Until(Template),
    /// A signal: its name.
    Signal(String),
}

/// How the steps before it have to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// All are done.
    #[default]
    AllSuccess,
    /// All have ended, however.
    AllDone,
    /// None has failed; some may have been skipped.
    NoneFailed,
    /// One is done.
    OneSuccess,
    /// One has failed.
    OneFailed,
}

/// When a step is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts, the first counted.
    pub attempts: u64,
    /// The wait before the second.
    pub backoff: Duration,
    /// The longest wait.
    pub backoff_max: Duration,
    /// Codes of errors.
    pub on: Vec<String>,
}

impl Retry {
    /// One attempt.
    #[must_use]
    pub fn none() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// The wait after an attempt, the first being 1.
    #[must_use]
    pub fn wait(&self, made: u64) -> Duration {
        let doubled = 1_u32.checked_shl(u32::try_from(made - 1).unwrap_or(u32::MAX));
        self.backoff
            .saturating_mul(doubled.unwrap_or(u32::MAX))
            .min(self.backoff_max)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
            on: vec!["transient".to_owned()],
        }
    }
}

/// What becomes of the run when a step has failed.
#[derive(Clone, Debug, Default)]
pub enum OnError {
    /// It fails; what was done is undone, where it can be.
    #[default]
    Fail,
    /// It goes on.
    Continue,
    /// A person takes over; nothing is undone.
    Escalate,
    /// The step counts as done, with this output.
    Value(Template),
    /// The run fails, and these steps alone are undone.
    Compensate(Vec<String>),
}

/// What undoes a step.
#[derive(Clone, Debug)]
pub struct Compensate {
    /// A tool or an agent.
    pub action: Action,
    /// When it is tried again.
    pub retry: Retry,
}
