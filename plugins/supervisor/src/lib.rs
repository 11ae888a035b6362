//! An agent that supervises: it has a model split a goal among specialist agents, runs
//! them side by side, has the model merge what they give, and has contradictions
//! settled: by a second look of those who contradict one another, then by a person.
//!
//! What must stay true: rounds, parts, second looks and questions are bounded; what a
//! specialist gives is data for the model and for other specialists; a contradiction
//! that a rule finds is settled by agreement or by a person, never by the model's word.

mod conflicts;
mod form;
mod parts;
mod prompts;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;

use airlock_sdk::prelude::*;
use serde_json::{Map, Value};

/// How the goal is worked on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Those among whom the work is split, 1 to 8, by the names that the model gives
    /// them work by.
    pub specialists: BTreeMap<String, Specialist>,
    /// What the goal is about; data for the model. The specialists get it, too. At most
    /// 128 KiB.
    pub context: Option<Value>,
    /// What else is to be kept to; the specialists get it, too. At most 8 KiB.
    pub instructions: Option<String>,
    /// JSON Schema that the result has to fit. At most 32 KiB.
    pub output_schema: Option<Value>,
    /// Places (JSON pointers) of what specialists give that have to be the same
    /// wherever two of them have one. At most 20.
    pub agree: Option<Vec<String>>,
    /// The role of the model that splits and merges; `careful` unless given.
    pub role: Option<String>,
    /// Most tokens of one answer of the model, 256 to 1000000; 8192 unless given.
    pub answer_tokens_max: Option<u32>,
    /// Answers of the model, 2 to 20; 6 unless given.
    pub max_rounds: Option<u32>,
    /// Parts in all, 1 to 60; 12 unless given.
    pub max_parts: Option<u32>,
    /// Parts at once, 1 to 8; 4 unless given.
    pub parallel: Option<u32>,
    /// For how long a person is asked, in hours; 72 unless given.
    pub patience_hours: Option<u32>,
}

/// An agent that does a kind of work.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Specialist {
    /// The agent: a plugin that is granted. Its input is that of `react`.
    pub agent: String,
    /// What it is good for, for the model. At most 2 KiB.
    pub about: String,
    /// More of its input, e.g. `{"tools": ["files/*"]}`.
    pub input: Option<Map<String, Value>>,
    /// What one part may use at most; a quarter of what is left unless given.
    #[serde(default)]
    pub budget: Share,
}

/// A part of the run's budget.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Share {
    /// Calls of tools.
    pub calls: Option<u64>,
    /// Tokens of models, in and out.
    pub model_tokens: Option<u64>,
    /// Cost of models, millionths of the host's currency.
    pub model_micros: Option<u64>,
}

airlock_sdk::agent! {
    description: "Splits a goal among specialist agents, runs them side by side, merges what they give, has those who contradict one another look again, and asks a person where they still do.",
    input: Input,
    run: work::run,
    wants: [
        want!(models, r#"{ role = "careful" }"#, "To split the work and to merge what came of it; another role where the input names one."),
        want!(agents, r#"{ agent = "react" }"#, "To do the parts: one rule for each specialist that the input names."),
    ],
}
