//! Runs JavaScript that nobody vouched for: it gets a JSON value as `input` and
//! gives a value, what it printed, and its error. It reaches nothing else; its
//! time and memory are the call's.
//!
//! What must stay true: whatever a script throws or prints is data in the answer,
//! and what it prints is bounded.

mod console;
mod run;

use airlock_sdk::prelude::*;
use serde_json::Value;

use crate::console::Line;

/// What to run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The script. Its value is that of its last expression; a promise's is
    /// awaited. There are no modules, no timers and no network.
    code: String,
    /// The value of the global `input`.
    #[serde(default)]
    input: Value,
}

/// What came of it.
#[derive(Serialize, JsonSchema)]
pub struct Outcome {
    /// Whether the script ran to its end.
    ok: bool,
    /// Its value as JSON; null where it has none or has no JSON form.
    value: Value,
    /// What it printed with `console`.
    console: Vec<Line>,
    /// Whether it printed more than is kept: 1,000 lines, 64 KiB.
    console_cut: bool,
    /// Why it did not run to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// Why a script ended early.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failure {
    /// What was thrown, e.g. `TypeError: x is not a function`.
    message: String,
    /// The line in the script, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// The column in that line, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
}

/// Runs JavaScript and gives its value, what it printed with `console`, and the
/// error that ended it, with its line. Data goes in as `input`.
#[tool(read_only, title = "Run JavaScript")]
fn run(input: Script) -> Result<Outcome, Error> {
    run::run(&input.code, &input.input)
}

plugin! { tools: [run], wants: [] }

#[cfg(test)]
mod tests;
