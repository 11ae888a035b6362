//! What is said to providers and what they answer: pure functions from a request
//! to bytes and from bytes to an answer, one file for each protocol.
//!
//! What must stay true: unknown members and unknown kinds of parts lose no answer
//! that was paid for; an answer that contradicts itself is no answer.

pub(crate) mod anthropic;
pub(crate) mod embeddings;
pub(crate) mod failure;
pub(crate) mod openai_chat;
pub(crate) mod openai_responses;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::answer::{Event, Finish, Usage};
use crate::config::Kind;
use crate::error::{Failed, Fate, ModelError, Why};
use crate::json::is_light_bytes;
use crate::names::Names;
use crate::request::{Request, ToolCall};
use crate::sse::SseEvent;

/// Most calls of tools in one answer.
const CALLS_MAX: usize = 128;

/// An answer in no provider's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) text: String,
    pub(crate) refusal: Option<String>,
    /// With names as the provider spells them.
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) finish: Option<Finish>,
    pub(crate) usage: Option<Usage>,
}

/// What a request is written for.
pub(crate) struct Writing<'a> {
    pub(crate) kind: Kind,
    /// The model's id at the provider.
    pub(crate) id: &'a str,
    pub(crate) names: &'a Names,
    pub(crate) max_tokens: u32,
    pub(crate) stream: bool,
}

/// Reads a stream of one protocol.
pub(crate) trait Decoder: Send {
    /// Takes an event; what it tells is added to `told`.
    fn event(&mut self, event: &SseEvent, told: &mut Vec<Event>) -> Result<(), Failed>;

    /// Whether the answer is whole, so that nothing more has to be read.
    fn is_over(&self) -> bool;

    /// The answer, once the stream ended.
    fn end(self: Box<Self>) -> Result<Parsed, Failed>;
}

impl Writing<'_> {
    /// Where the request goes, below the provider's base URL.
    pub(crate) fn path(&self) -> &'static str {
        match self.kind {
            Kind::OpenaiChat | Kind::OpenaiCompatible => "chat/completions",
            Kind::OpenaiResponses => "responses",
            Kind::Anthropic => "messages",
        }
    }

    /// The request's body.
    pub(crate) fn body(&self, request: &Request) -> Result<String, ModelError> {
        match self.kind {
            Kind::OpenaiChat | Kind::OpenaiCompatible => openai_chat::body(self, request),
            Kind::OpenaiResponses => openai_responses::body(self, request),
            Kind::Anthropic => anthropic::body(self, request),
        }
    }
}

/// What the request needs and the protocol does not have.
pub(crate) fn lacks(kind: Kind, request: &Request) -> Option<&'static str> {
    match kind {
        Kind::OpenaiResponses if !request.stop.is_empty() => Some("its protocol has no stop texts"),
        Kind::Anthropic if request.temperature_milli.is_some_and(|milli| milli > 1_000) => {
            Some("its protocol has no temperature above 1")
        }
        _ => None,
    }
}

/// Reads a whole answer.
pub(crate) fn answer(kind: Kind, body: &[u8]) -> Result<Parsed, Failed> {
    let parsed = match kind {
        Kind::OpenaiChat | Kind::OpenaiCompatible => openai_chat::answer(body),
        Kind::OpenaiResponses => openai_responses::answer(body),
        Kind::Anthropic => anthropic::answer(body),
    };
    parsed.and_then(Parsed::consistent)
}

/// Reads a stream.
pub(crate) fn decoder(kind: Kind) -> Box<dyn Decoder> {
    match kind {
        Kind::OpenaiChat | Kind::OpenaiCompatible => Box::<openai_chat::Stream>::default(),
        Kind::OpenaiResponses => Box::<openai_responses::Stream>::default(),
        Kind::Anthropic => Box::<anthropic::Stream>::default(),
    }
}

impl Parsed {
    /// The answer with what providers leave to the reader put right.
    ///
    /// # Errors
    /// It contradicts itself.
    pub(crate) fn consistent(mut self) -> Result<Self, Failed> {
        let Some(finish) = self.finish else {
            return Err(cut());
        };
        if self.calls.len() > CALLS_MAX {
            return Err(too_many_calls());
        }
        // Some servers give calls no id; the place does as well.
        for (at, call) in self.calls.iter_mut().enumerate() {
            if call.id.is_empty() {
                call.id = format!("call_{at}");
            }
            if call.arguments.trim().is_empty() {
                call.arguments = "{}".to_owned();
            }
        }
        let ids: BTreeSet<&str> = self.calls.iter().map(|call| call.id.as_str()).collect();
        if ids.len() < self.calls.len() {
            return Err(Failed::garbled("two calls of the answer have one id"));
        }
        self.refusal = self.refusal.filter(|text| !text.is_empty());
        self.finish = Some(match finish {
            Finish::ToolCalls if self.calls.is_empty() => {
                return Err(Failed::garbled(
                    "the answer says that it calls tools, and calls none",
                ));
            }
            Finish::Stop if self.refusal.is_some() => Finish::Refusal,
            Finish::Stop if !self.calls.is_empty() => Finish::ToolCalls,
            finish => finish,
        });
        Ok(self)
    }
}

fn too_many_calls() -> Failed {
    Failed::garbled(format!(
        "the answer has more than {CALLS_MAX} calls of tools"
    ))
}

/// A call of a streamed answer begins.
fn begin_call(
    calls: &mut Vec<ToolCall>,
    id: String,
    name: String,
    told: &mut Vec<Event>,
) -> Result<(), Failed> {
    if calls.len() >= CALLS_MAX {
        return Err(too_many_calls());
    }
    told.push(Event::Call {
        index: calls.len() as u32,
        id: id.clone(),
        name: name.clone(),
    });
    calls.push(ToolCall {
        id,
        name,
        arguments: String::new(),
    });
    Ok(())
}

/// The stream ended before the answer did.
pub(crate) fn cut() -> Failed {
    Failed::unknown(Why::Cut, "the answer broke off")
}

/// The provider gave up while it answered. What it counts for that is not known.
pub(crate) fn gave_up(error: &ErrorBody) -> Failed {
    let mut failed = failure::of_error(error);
    failed.fate = Fate::Unknown;
    failed
}

/// What providers say went wrong, in all shapes of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    /// A code or a type, whichever they give; may be empty.
    pub(crate) kinds: Vec<String>,
    pub(crate) message: String,
}

/// Parses a body, with the place where it is none. Members that may have any form are
/// read into trees on the way: one that would become too much is not read.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    match is_light_bytes(body) {
        true => parse_flat(body),
        false => Err(Failed::garbled("the answer has too many values")),
    }
}

/// The same where nothing becomes a tree.
fn parse_flat<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    serde_json::from_slice(body).map_err(|error| not_as_expected(&error))
}

/// Where it differs, without what stands there: serde's text could quote it.
fn not_as_expected(error: &serde_json::Error) -> Failed {
    let what = match error.classify() {
        serde_json::error::Category::Data => "the answer has not the form of its protocol",
        _ => "the answer is no JSON",
    };
    let (line, column) = (error.line(), error.column());
    Failed::garbled(format!("{what} (line {line}, column {column})"))
}

/// JSON that was checked, as it was written.
pub(crate) fn raw(text: &str) -> Result<Box<RawValue>, ModelError> {
    RawValue::from_string(text.to_owned())
        .map_err(|error| ModelError::invalid(format!("no JSON: {error}")))
}

/// A request as bytes.
pub(crate) fn written<T: Serialize>(body: &T) -> Result<String, ModelError> {
    serde_json::to_string(body).map_err(|error| ModelError::Permanent {
        message: format!("the request can't be written: {error}"),
    })
}

/// Thousandths as providers write a temperature.
pub(crate) fn temperature(milli: Option<u32>) -> Option<f64> {
    milli.map(|milli| f64::from(milli) / 1_000.0)
}

/// A member that some servers write as `null` where others leave it out.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A member that is worth nothing where it has another form than ours; an answer
/// is not lost for it.
pub(crate) fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}
