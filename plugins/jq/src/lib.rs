//! Queries JSON with jq filters. It wants nothing: data goes in and comes out
//! with the call.
//!
//! What must stay true: the number of outputs is bounded, so that a filter that
//! never ends gives the first ones; its time and memory are the call's.

mod run;

use std::collections::BTreeMap;

use airlock_sdk::prelude::*;
use serde_json::Value;

/// What to ask of which value.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The filter, e.g. `.items[] | select(.total > 100) | {id, total}`.
    filter: String,
    /// The value to query.
    #[serde(default)]
    input: Value,
    /// In place of `input`: JSON text, one value after another, each of which the
    /// filter gets in turn.
    text: Option<String>,
    /// Values of variables: `{"limit": 5}` is `$limit` in the filter.
    #[serde(default)]
    variables: BTreeMap<String, Value>,
    /// How many outputs at most: 1 to 10,000, 1,000 unless given.
    limit: Option<usize>,
}

/// What the filter gave.
#[derive(Serialize, JsonSchema)]
pub struct Outputs {
    /// The outputs, in order.
    outputs: Vec<Value>,
    /// Whether there are more.
    cut: bool,
}

/// Runs a jq filter over a JSON value, or over each of several, and gives all its
/// outputs.
#[tool(read_only, title = "Query JSON with jq")]
fn query(input: Query) -> Result<Outputs, Error> {
    run::run(&input)
}

plugin! { tools: [query], wants: [] }

#[cfg(test)]
mod tests;
