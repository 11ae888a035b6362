//! An agent that plans: it has a model make tasks of a goal, has those that do not
//! need one another done at the same time (by a child agent, or one call of a tool),
//! shows the model what came of them, and goes on until there is a result, which
//! another agent may judge.
//!
//! What must stay true: rounds, tasks and tasks at once are bounded; a task begins
//! when those it needs are done, and never when one of them failed; what came of a
//! task is data for the model.

mod form;
mod pointers;
mod prompts;
mod tasks;
#[cfg(test)]
mod tests;
mod work;

use airlock_sdk::prelude::*;
use serde_json::{Map, Value};

/// How the goal is worked on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What the result has to meet, as the agent `verifier` takes it: `id`, `text`,
    /// and `check` where a rule or a tool can tell.
    pub criteria: Option<Vec<Map<String, Value>>>,
    /// What the goal is about; data for the model. At most 128 KiB.
    pub context: Option<Value>,
    /// What else is to be kept to; the tasks get it, too. At most 8 KiB.
    pub instructions: Option<String>,
    /// JSON Schema that the result has to fit. At most 32 KiB.
    pub output_schema: Option<Value>,
    /// The role of the model that plans; `careful` unless given.
    pub role: Option<String>,
    /// The agent that does the tasks; `react` unless given.
    pub worker: Option<String>,
    /// More of its input, e.g. `{"tools": ["files/*"]}`.
    pub worker_input: Option<Map<String, Value>>,
    /// The granted tools that a task may call by itself; none unless given.
    pub tools: Option<Vec<String>>,
    /// The agent that judges the result by the criteria; none unless given.
    pub verifier: Option<String>,
    /// Most tokens of one answer of the model, 256 to 1000000; 8192 unless given.
    pub answer_tokens_max: Option<u32>,
    /// Answers of the model with tasks or a result, 1 to 20; 5 unless given.
    pub max_rounds: Option<u32>,
    /// Tasks in all, 1 to 200; 30 unless given.
    pub max_tasks: Option<u32>,
    /// Tasks at once, 1 to 16; 4 unless given.
    pub parallel: Option<u32>,
}
