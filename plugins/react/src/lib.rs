//! An agent that reaches a goal with a language model: it offers the model the tools
//! it was granted, makes the calls that the model asks for, and tells it what came of
//! them, until the model says that the goal is reached or something ends the work.
//!
//! What must stay true: what a tool gave is data and reaches the model as such, cut to
//! a size; a model can do nothing but what the agent was granted and offers it;
//! everything here is bounded: turns, calls at once, sizes, and going in circles.

mod acts;
mod pattern;
mod prompts;
mod reached;
mod seen;
mod task;
#[cfg(test)]
mod tests;
mod work;

use airlock_sdk::prelude::*;
use serde_json::Value;

/// How the goal is worked on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The role of the model; `fast` unless given.
    pub role: Option<String>,
    /// Which of the granted tools the model is offered, `*` standing for anything:
    /// `files/*`. All unless given.
    pub tools: Option<Vec<String>>,
    /// What the goal is about; data for the model. At most 256 KiB.
    pub context: Option<Value>,
    /// JSON Schema that the result has to fit. At most 32 KiB.
    pub output_schema: Option<Value>,
    /// Most answers of the model, 1 to 200; 40 unless given.
    pub max_turns: Option<u32>,
    /// What else the model has to keep to. At most 16 KiB.
    pub instructions: Option<String>,
    /// Most bytes of one result that the model sees, 256 to 131072; 16384 unless
    /// given. What is longer is cut in the middle.
    pub result_bytes_max: Option<u32>,
    /// Most tokens of one answer of the model, 256 to 1000000; 8192 unless given.
    pub answer_tokens_max: Option<u32>,
    /// Tokens from which on the conversation is summed up and begun anew, at least
    /// 1000; 60000 unless given.
    pub summarise_after_tokens: Option<u64>,
    /// For how long a person is asked, in hours; 72 unless given.
    pub patience_hours: Option<u32>,
}
