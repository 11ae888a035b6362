//! What a model answered.

use std::fmt;
use std::ops::AddAssign;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::wire::ModelCall;
use crate::Error;

/// What a model answered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// The text; empty where the model only calls tools.
    #[serde(default)]
    pub text: String,
    /// The model's own words for declining.
    #[serde(default)]
    pub refusal: Option<String>,
    /// What it wants called, in order. Each needs a result before the conversation
    /// goes on, also those with a fault.
    #[serde(default)]
    pub calls: Vec<ModelCall>,
    /// What is wrong with the answer and can be told to the model.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Why the model stopped.
    pub finish: Finish,
    /// What this answer took.
    #[serde(default)]
    pub usage: Usage,
    /// The model that answered, by its name in the host's configuration.
    #[serde(default)]
    pub model: String,
    /// What it cost, with the attempts before it that came to nothing.
    #[serde(default)]
    pub spent: Spent,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
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
    #[serde(other)]
    Other,
}

/// Tokens of one answer, as the provider counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Usage {
    /// Tokens of the request, those from a cache included.
    pub input_tokens: u64,
    /// Of these, tokens that the provider had in a cache.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Tokens of the answer, what it thought included.
    #[serde(default)]
    pub output_tokens: u64,
    /// The provider did not say: these are the most that it can have been.
    #[serde(default)]
    pub estimated: bool,
}

/// What requests cost. Costs are millionths of the host's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Spent {
    /// Tokens in and out that were answered for.
    pub tokens: u64,
    /// Their cost.
    pub cost_micros: u64,
    /// Tokens at most of attempts whose end is not known.
    #[serde(default)]
    pub unsure_tokens: u64,
    /// What those may have cost at most.
    #[serde(default)]
    pub unsure_micros: u64,
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.tokens, more.tokens);
        add(&mut self.cost_micros, more.cost_micros);
        add(&mut self.unsure_tokens, more.unsure_tokens);
        add(&mut self.unsure_micros, more.unsure_micros);
    }
}

/// What is wrong with an answer and can be told to the model. A call that one names
/// must not be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// A call of a tool that it was not offered.
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
    /// A tool had to be called, or none.
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
    /// One that this SDK does not know.
    #[serde(other)]
    Other,
}

impl Fault {
    /// The id of the call that is wrong; none where the answer is.
    #[must_use]
    pub fn call(&self) -> Option<&str> {
        match self {
            Self::UnknownTool { call, .. }
            | Self::ArgumentsNotJson { call, .. }
            | Self::ArgumentsSchema { call, .. } => Some(call),
            _ => None,
        }
    }
}

/// In words that tell a model what to do.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |at: &str| match at {
            "" => String::new(),
            at => format!(" at `{at}`"),
        };
        match self {
            Self::UnknownTool { name, .. } => {
                write!(f, "there is no tool `{name}`: call one that is offered")
            }
            Self::ArgumentsNotJson { message, .. } => {
                write!(f, "the arguments are not a JSON object: {message}")
            }
            Self::ArgumentsSchema { at, message, .. } => {
                write!(
                    f,
                    "the arguments are not what the tool takes{}: {message}",
                    place(at)
                )
            }
            Self::NotCalled { message } => f.write_str(message),
            Self::OutputNotJson { message } => {
                write!(
                    f,
                    "the answer has to be JSON and nothing else, and is not: {message}"
                )
            }
            Self::OutputSchema { at, message } => {
                write!(
                    f,
                    "the answer does not have the form it has to have{}: {message}",
                    place(at)
                )
            }
            Self::Other => f.write_str("something is wrong with the answer"),
        }
    }
}

impl Reply {
    /// The text as JSON, of [`Chat::output`](super::Chat::output) or any other form.
    ///
    /// # Errors
    /// [`Error::Permanent`]: the model declined, was cut off, called tools instead,
    /// or wrote something else; it says which.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let not = |why: String| Err(Error::Permanent(format!("the model's answer: {why}")));
        if let Some(why) = self.declined() {
            return not(format!("it declined: {why}"));
        }
        if self.finish == Finish::Length {
            return not("it is cut: the most tokens were reached".to_owned());
        }
        if let Some(fault) = self.faults.iter().find(|fault| fault.call().is_none()) {
            return not(fault.to_string());
        }
        if self.text.is_empty() {
            return not("there is no text".to_owned());
        }
        serde_json::from_str(&self.text).or_else(|error| not(error.to_string()))
    }

    /// What is wrong with a call; `None`: it can be made.
    #[must_use]
    pub fn fault_of(&self, call: &ModelCall) -> Option<&Fault> {
        let mut faults = self.faults.iter();
        faults.find(|fault| fault.call() == Some(&call.id))
    }

    /// In which words the model, or a filter at its provider, declined.
    #[must_use]
    pub fn declined(&self) -> Option<&str> {
        match (&self.refusal, self.finish) {
            (Some(words), _) => Some(words),
            (None, Finish::Refusal) => Some(match self.text.as_str() {
                "" => "without a word",
                text => text,
            }),
            (None, Finish::ContentFilter) => Some("the provider's filter ended it"),
            _ => None,
        }
    }

    /// Whether it says nothing: such an answer is no turn of the conversation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.calls.is_empty()
    }
}

impl ModelCall {
    /// The arguments.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] with the place that does not fit; tell it to the model
    /// by [`Chat::failed`](super::Chat::failed).
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let mut reader = serde_json::Deserializer::from_str(&self.arguments);
        serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| Error::InvalidInput(format!("the arguments: {error}")))
    }
}
