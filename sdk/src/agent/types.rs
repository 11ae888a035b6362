//! What an agent says and is told, as the contract has it: the same type in a
//! component and natively.

/// What may be done about a tool when nobody knows what became of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EffectClass {
    /// Changes nothing.
    ReadOnly,
    /// Twice is the same as once.
    Idempotent,
    /// May delete or overwrite something that cannot be brought back.
    Destructive,
    /// None of these; may not be repeated.
    #[default]
    Plain,
}

/// What a child agent may use at most. It is taken from what its parent has left
/// when the child is started, and what the child did not use comes back with its
/// answer. What is absent is a quarter of what is left; `events`, which are each
/// run's own, are then as many as the parent's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Calls of tools.
    pub calls: Option<u64>,
    /// Requests of any kind.
    pub steps: Option<u64>,
    /// Records of its journal.
    pub events: Option<u64>,
    /// Milliseconds of time, from its start; waiting counts.
    pub wall_ms: Option<u64>,
    /// Microseconds of CPU time, its tools' included.
    pub cpu_us: Option<u64>,
    /// Tokens of language models, in and out.
    pub model_tokens: Option<u64>,
    /// Cost of language models, millionths of the host's currency.
    pub model_micros: Option<u64>,
}

/// State of a task of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// A task of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTask {
    /// What is to be done, at most 1 KiB.
    pub title: String,
    /// How far it is.
    pub state: TaskState,
}

/// A tool that this agent may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolInfo {
    /// `plugin/tool`, as [`call`](super::call) takes it.
    pub name: String,
    /// What it does.
    pub description: String,
    /// JSON Schema of its input.
    pub input_schema: serde_json::Value,
    /// JSON Schema of its output, where it has one.
    pub output_schema: Option<serde_json::Value>,
    /// The class it is called under.
    pub class: EffectClass,
}

/// A question to a person, as the host is asked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) text: String,
    pub(crate) choices: Vec<String>,
    /// A JSON value.
    pub(crate) payload: Option<String>,
    pub(crate) due_ms: Option<u64>,
}
