//! What comes back.
//!
//! What must stay true: an answer is always the same bytes, since it is journaled;
//! whatever was paid for is in `spent`, also what an attempt before cost.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Fate, ModelError, Why};
use crate::request::ToolCall;

/// Most bytes of text and arguments that an answer is of use with: a larger one is no
/// longer read once that shows.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The text; empty where the model only calls tools.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The model's own words for declining.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What it wants called, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// What is wrong with the answer and the agent can repair, e.g. by saying so to
    /// the model. A call that a fault names must not be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Why the model stopped.
    pub finish: Finish,
    /// What this answer took.
    pub usage: Usage,
    /// The model that answered, by its name in the configuration.
    pub model: String,
    /// Attempts before it that came to nothing, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// What all of it cost, those attempts included.
    pub spent: Spent,
}

/// Why there is no answer, and what was used all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Why.
    pub error: ModelError,
    /// All attempts, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// What they cost.
    pub spent: Spent,
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finish {
    /// It had said all, or a stop text came.
    Stop,
    /// The most tokens were reached; the answer is cut there.
    Length,
    /// It waits for the results of its calls.
    ToolCalls,
    /// The provider's filter ended it.
    ContentFilter,
    /// It declined.
    Refusal,
    /// A reason that is not known here.
    Other,
}

/// Tokens of one answer, as the provider counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Tokens of the request, those from a cache included.
    pub input_tokens: u64,
    /// Of these, tokens that the provider had in a cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Tokens of the answer, what it thought included.
    pub output_tokens: u64,
    /// The provider did not say: these are the most that it can have been.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
}

/// What a request cost, over all its attempts. Costs are millionths of the
/// configuration's currency, rounded up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// Tokens in and out that were answered for.
    pub tokens: u64,
    /// Their cost.
    pub cost_micros: u64,
    /// Tokens at most of attempts whose end is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsure_tokens: u64,
    /// What those may have cost at most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unsure_micros: u64,
}

/// What a request has used so far, for whoever ends it before it has an answer: of
/// an attempt that is under way the most that it can use, which is not sure.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Spent>);

impl Meter {
    /// What was used by now.
    #[must_use]
    pub fn spent(&self) -> Spent {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, spent: Spent) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = spent;
    }
}

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The model, by its name in the configuration.
    pub model: String,
    /// Why.
    pub why: Why,
    /// What is known of it.
    pub fate: Fate,
    /// In words; no key, no text of the request.
    pub message: String,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Where the provider answered and counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What is wrong with an answer and can be repaired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// A call of a tool that the request does not have.
    UnknownTool {
        /// The call's id.
        call: String,
        /// The name that the model wrote.
        name: String,
    },
    /// A call's arguments are no JSON object.
    ArgumentsNotJson {
        /// The call's id.
        call: String,
        /// What is wrong, and where.
        message: String,
    },
    /// A call's arguments are not what the tool takes.
    ArgumentsSchema {
        /// The call's id.
        call: String,
        /// JSON pointer to the place.
        at: String,
        /// What is wrong there.
        message: String,
    },
    /// The request said that a tool, or this tool, has to be called.
    NotCalled {
        /// What was asked for.
        message: String,
    },
    /// The text is not JSON, where a form was asked for.
    OutputNotJson {
        /// What is wrong, and where.
        message: String,
    },
    /// The text does not have the form that was asked for.
    OutputSchema {
        /// JSON pointer to the place.
        at: String,
        /// What is wrong there.
        message: String,
    },
}

/// What is told while an answer comes. The answer that is returned at the end is
/// what counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A model begins to answer. What was told before, if anything, counts no more.
    Started {
        /// Its name in the configuration.
        model: String,
    },
    /// More of the text.
    Text {
        /// Some characters.
        text: String,
    },
    /// More of the words for declining.
    Refusal {
        /// Some characters.
        text: String,
    },
    /// A call of a tool begins.
    Call {
        /// Counts the calls of the answer from 0.
        index: u32,
        /// Its id.
        id: String,
        /// The tool's name, as the request has it.
        name: String,
    },
    /// More of a call's arguments.
    Arguments {
        /// The call.
        index: u32,
        /// Some characters of JSON.
        text: String,
    },
}

impl Event {
    /// Bytes of the answer that it tells.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Started { .. } => 0,
            Self::Text { text } | Self::Refusal { text } | Self::Arguments { text, .. } => {
                text.len()
            }
            Self::Call { id, name, .. } => id.len() + name.len(),
        }
    }
}

/// A request for vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// Which kind of model is wanted.
    pub role: String,
    /// The texts, at most 2,048.
    pub texts: Vec<String>,
    /// Length of the vectors, where the model lets one choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<u32>,
}

/// Vectors, one for each text, in the texts' order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embeddings {
    /// The vectors, all of one length; every number is finite.
    pub vectors: Vec<Vec<f32>>,
    /// What they took.
    pub usage: Usage,
    /// The model that answered.
    pub model: String,
    /// Attempts before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// What all of it cost.
    pub spent: Spent,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
