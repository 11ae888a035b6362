//! An agent that judges an outcome against criteria: what a rule or a tool can tell is
//! told by these; what is in words is judged by a language model, with evidence.
//!
//! What must stay true: a model's word counts only with quotes that are in the
//! outcome; what could not be told is `unsure` and never `pass`.

mod check;
mod judge;
mod quote;
#[cfg(test)]
mod tests;
mod work;

use airlock_sdk::prelude::*;
use serde_json::Value;

/// What is judged, and by what.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What is judged; at most 256 KiB.
    pub outcome: Value,
    /// What it has to meet, 1 to 50.
    pub criteria: Vec<Criterion>,
    /// The role of the model that judges what is in words alone; `careful` unless
    /// given.
    pub role: Option<String>,
    /// Most tokens of one answer of the model, 256 to 1000000; 8192 unless given.
    pub answer_tokens_max: Option<u32>,
    /// How often the model is asked again, at most 5, when its judgement can't be
    /// used; 2 unless given.
    pub rounds: Option<u32>,
}

/// What an outcome has to meet.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// Its name in the answer.
    pub id: String,
    /// In words, at most 4 KiB.
    pub text: String,
    /// How it can be told without a model.
    pub check: Option<Check>,
}

/// A rule for the outcome, or for what a tool says.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// A granted tool, `plugin/tool`; the outcome itself is looked at unless given.
    pub tool: Option<String>,
    /// What it is called with. `{"$outcome": "/path"}` anywhere in it becomes the
    /// place of the outcome that the JSON pointer names.
    pub input: Option<Value>,
    /// What has to hold.
    pub expect: Expect,
}

/// What has to hold: all that is given, at least one.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// JSON pointer to the place; the whole unless given.
    pub pointer: Option<String>,
    /// It is this value.
    pub equals: Option<Value>,
    /// It is a text in which this regular expression is found.
    pub matches: Option<String>,
    /// It is a number, and at least this.
    pub min: Option<serde_json::Number>,
    /// It is a number, and at most this.
    pub max: Option<serde_json::Number>,
    /// It fits this JSON Schema.
    pub schema: Option<Value>,
}

/// A judgement.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is met.
    Pass,
    /// It can't be told.
    Unsure,
    /// It is not met.
    Fail,
}

/// What became of a criterion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Its name.
    pub id: String,
    /// Whether it is met.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// What that rests on: quotes of the outcome, or what stands at the place.
    pub evidence: Vec<String>,
    /// `rule`, `tool` or `model`.
    pub by: &'static str,
}

/// The judgement of all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// `fail` where one fails, else `unsure` where one is, else `pass`.
    pub verdict: Verdict,
    /// Each criterion, in the input's order.
    pub criteria: Vec<Judged>,
    /// What would have to change.
    pub advice: String,
}
