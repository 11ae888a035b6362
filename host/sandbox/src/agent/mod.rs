//! Agents: components that decide. They reach nothing but the one who runs them
//! ([`AgentHost`]), and time, randomness and readiness come from there too, so
//! that the same answers lead to the same run.
//!
//! What must stay true: an agent is linked to no room of the registry; what it
//! sees depends on its component and on what [`AgentHost`] says, and on nothing
//! else.

mod ask;
pub mod contract;
mod host;
mod link;
mod memory;
mod run;
mod state;
mod stdio;
#[cfg(test)]
mod tests;
mod waits;

use airlock_journal::store::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::call::CallError;
use crate::grants::EffectClass;

pub use link::INTERFACES;
pub use memory::{Memory, STATE_BYTES_MAX};
pub(crate) use run::{AgentAsk, AgentSays, Agents, LoadedAgent, ask};
pub use run::{AgentEnd, AgentReport, AgentTask};

/// The agents' contract that this host runs.
pub const CONTRACT: &str = "airlock:agent@0.1.0";

/// Number of a request within its run, from 0, in the order of asking.
pub type RequestId = u64;

/// What an agent asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Request {
    /// A call of a tool.
    Call {
        /// `plugin/tool`.
        tool: String,
        /// The input, a JSON value.
        input: String,
    },
    /// A timer.
    Timer {
        /// When it is due, milliseconds since 1970.
        due_ms: u64,
    },
    /// The next signal of a name.
    Signal {
        /// The signal's name.
        name: String,
    },
    /// A person's answer.
    Ask {
        /// What is asked.
        text: String,
        /// The answers to choose from.
        choices: Vec<String>,
        /// A JSON value shown beside the question.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload: Option<String>,
        /// When nobody need answer any more, milliseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due_ms: Option<u64>,
    },
    /// A value to keep.
    Record {
        /// A JSON value.
        value: String,
    },
    /// A child agent.
    Start {
        /// The agent's plugin.
        agent: String,
        /// What it is to reach, in words.
        goal: String,
        /// A JSON object.
        input: String,
        /// What it may use.
        budget: ChildBudget,
    },
    /// A language model's answer.
    Chat {
        /// What is asked, a JSON value.
        request: String,
        /// The request whose conversation goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<RequestId>,
    },
    /// Vectors of texts.
    Embed {
        /// What is asked, a JSON value.
        request: String,
    },
    /// Documents, or a change of them.
    Memory {
        /// What is asked, a JSON value.
        request: String,
    },
}

/// What a child may use at most; what is absent is its parent's to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildBudget {
    /// Calls of tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Requests of any kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Records of its journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Milliseconds of time from its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Microseconds of CPU time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<u64>,
    /// Tokens of language models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_tokens: Option<u64>,
    /// Cost of language models, millionths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_micros: Option<u64>,
}

/// A tool that an agent may call, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTool {
    /// `plugin/tool`.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its input.
    pub input_schema: String,
    /// JSON Schema of its output, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<String>,
    /// The class it is called under.
    pub class: EffectClass,
}

/// What an agent tells, without waiting for anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum Note {
    /// Its plan; replaces the one before.
    Plan {
        /// The tasks in order.
        tasks: Vec<PlanTask>,
    },
    /// How far it is.
    Progress {
        /// In units of its own choosing.
        done: f64,
        /// All there is to do, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<f64>,
        /// For people.
        message: String,
    },
    /// A log record.
    Log {
        /// `trace` to `error`; `stdout` and `stderr` for what was written there.
        level: String,
        /// The text; control characters are escaped.
        message: String,
    },
}

/// A task of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanTask {
    /// What is to be done.
    pub title: String,
    /// How far it is.
    pub state: TaskState,
}

/// How far a task of a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Not begun.
    Todo,
    /// Under way.
    Doing,
    /// Done.
    Done,
    /// Tried, without success.
    Failed,
    /// Left out.
    Skipped,
}

/// What a request ended with: a JSON value, or why there is none.
pub type Answer = Result<String, CallError>;

/// The attempt is over, whatever the agent would do next; the host knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host ended this attempt")]
pub struct Stopped;

/// Whoever runs an agent: gives it its answers, live or out of a journal.
///
/// All functions may be called from the guests' threads and must not block.
pub trait AgentHost: Send + Sync + 'static {
    /// The agent asks for something.
    ///
    /// # Errors
    /// The attempt is over.
    fn request(&self, request: Request) -> Result<RequestId, Stopped>;

    /// Which of `ids` are ready; waits for one when `wait`.
    fn poll(
        &self,
        ids: Vec<RequestId>,
        wait: bool,
    ) -> BoxFuture<'_, Result<Vec<RequestId>, Stopped>>;

    /// The answer to a request that a poll reported as ready.
    fn answer(&self, id: RequestId) -> Option<Answer>;

    /// The agent asks for a request to end.
    ///
    /// # Errors
    /// The attempt is over.
    fn cancel(&self, id: RequestId) -> Result<(), Stopped>;

    /// The agent will not look at this request any more.
    ///
    /// # Errors
    /// The attempt is over.
    fn detach(&self, id: RequestId) -> Result<(), Stopped>;

    /// The agent tells something.
    ///
    /// # Errors
    /// The attempt is over.
    fn note(&self, note: Note) -> Result<(), Stopped>;

    /// The tools that the agent may call, now or as it was told before.
    ///
    /// # Errors
    /// The attempt is over.
    fn tools(&self) -> Result<Vec<AgentTool>, Stopped>;

    /// The agent sets a key of the run's state, or removes it. Sizes are checked.
    ///
    /// # Errors
    /// The attempt is over.
    fn set_state(&self, key: &str, value: Option<&str>) -> Result<(), Stopped>;

    /// Whether the agent was told that a request has its answer.
    fn is_told(&self, id: RequestId) -> bool;

    /// Whether what it does now is new: it has caught up with its journal.
    fn is_live(&self) -> bool;

    /// CPU time of this attempt up to now, microseconds; told before the agent
    /// does something, and at its end.
    fn spent(&self, cpu_us: u64);

    /// The run's clock, milliseconds since 1970: it stands still between polls.
    fn now_ms(&self) -> u64;

    /// When the run began, on the same clock.
    fn started_ms(&self) -> u64;

    /// Fills `bytes` with the run's randomness.
    fn random(&self, bytes: &mut [u8]);
}

/// Host side of the contract's `handle`.
pub struct Handle {
    pub(crate) id: RequestId,
}
