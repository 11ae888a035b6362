//! An agent that runs declarative workflows: steps with dependencies, conditions,
//! loops, retries and what undoes them, as `airlock-workflow` reads them.
//!
//! What must stay true: it has no policy of its own, and does what the file says;
//! it decides by the file, its input and what it was answered alone, so a run goes
//! on after a crash; a failure names its step.

mod act;
mod attempt;
mod block;
mod dry;
mod fail;
mod item;
mod model;
mod plan;
mod pool;
mod state;
#[cfg(test)]
mod tests;
mod undo;
mod work;

use std::collections::BTreeMap;

use airlock_sdk::prelude::*;
use serde_json::Value;

/// A workflow and what it is run with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The workflow: its text, YAML or JSON, or an object.
    pub workflow: Value,
    /// Its inputs, by name.
    #[serde(default)]
    pub inputs: serde_json::Map<String, Value>,
    /// Say what would run, with the inputs in their places, and run nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Run these steps alone.
    #[serde(default)]
    pub only: Vec<String>,
    /// Run these steps and all that come after them.
    #[serde(default)]
    pub from: Vec<String>,
    /// Outputs of steps that are not run, by id: what steps that run look at.
    #[serde(default)]
    pub given: BTreeMap<String, Value>,
    /// The moment that the run stands for, RFC 3339; now unless given.
    #[serde(default)]
    pub logical_time: Option<String>,
    /// The time whose data the run works on.
    #[serde(default)]
    pub interval: Option<Interval>,
}

/// A time from a moment to another.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Its first moment, RFC 3339.
    pub start: String,
    /// The moment after its last, RFC 3339.
    pub end: String,
}

airlock_sdk::agent! {
    description: "Runs a declarative workflow, YAML or JSON: steps that call tools, run agents, ask people or wait, with dependencies, conditions, loops, retries, time-outs and compensation.",
    input: Input,
    run: work::run,
}
