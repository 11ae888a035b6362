//! What an agent asks of a model.
//!
//! What must stay true: the same request is always the same bytes, since it is
//! journaled (no floating-point numbers, no maps without order); what is asked is
//! checked before anything is reserved or sent.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ModelError;
use crate::json::is_light;

/// Longest role, tool and schema name, bytes.
const NAME_BYTES_MAX: usize = 128;
/// Most messages of one request.
const MESSAGES_MAX: usize = 4_096;
/// Most tools of one request.
const TOOLS_MAX: usize = 128;
/// Most stop sequences; what the providers have in common.
const STOPS_MAX: usize = 4;
/// Most bytes of text, schemas and images in one request.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Images that all providers read.
const MEDIA_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// A request for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which kind of model is wanted: a name that the administrator maps to models.
    pub role: String,
    /// The conversation, oldest first.
    pub messages: Vec<Message>,
    /// What the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Whether it has to.
    #[serde(default, skip_serializing_if = "ToolChoice::is_default")]
    pub tool_choice: ToolChoice,
    /// The form that the answer's text has to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSchema>,
    /// Most tokens of the answer; the model's own limit where absent or larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Temperature in thousandths, 0 to 2000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_milli: Option<u32>,
    /// Texts that end the answer, at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// A seed for sampling. Not every provider takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Message {
    /// Instructions.
    System {
        /// The text.
        text: String,
    },
    /// Whoever asks.
    User {
        /// Texts and images in order.
        parts: Vec<Part>,
    },
    /// What a model answered before.
    Assistant {
        /// The text.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        text: String,
        /// The calls it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
    },
    /// What came of a call.
    Tool {
        /// The call's id.
        call: String,
        /// Its output, or what went wrong.
        text: String,
        /// Whether it failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failed: bool,
    },
}

/// A part of a user's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image. Its bytes are not redacted.
    Image {
        /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
        media_type: String,
        /// The bytes in base64, standard alphabet with padding.
        data: String,
    },
}

/// A tool that a model may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name, e.g. `files/read`; providers get another spelling where they
    /// allow no such name.
    pub name: String,
    /// What it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// JSON Schema of its input, a JSON object as text.
    pub input_schema: String,
}

/// Whether a model has to call a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// It may call none.
    None,
    /// It has to call one.
    Required,
    /// It has to call this one.
    Tool(String),
}

impl ToolChoice {
    fn is_default(&self) -> bool {
        *self == Self::Auto
    }
}

/// The form of an answer's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSchema {
    /// A name for it: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// JSON Schema, a JSON object as text.
    pub schema: String,
    /// Whether the provider is to enforce it while it writes, where it can. Such
    /// providers take a part of JSON Schema only and refuse others. The answer is
    /// checked either way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// A call that a model asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Unique in its answer.
    pub id: String,
    /// The tool's name, as the request has it.
    pub name: String,
    /// What it is to be called with. A JSON object as text, unless a fault of the
    /// answer says that it is none.
    pub arguments: String,
}

impl Request {
    /// Whether it can be asked at all.
    ///
    /// # Errors
    /// [`ModelError::InvalidInput`] with what is wrong and where,
    /// [`ModelError::Limit`] where it is too large.
    pub fn check(&self) -> Result<(), ModelError> {
        check_name("role", &self.role)?;
        self.check_sizes()?;
        self.check_sampling()?;
        self.check_tools()?;
        if let Some(output) = &self.output {
            if output.name.is_empty() || output.name.len() > 64 || !output.name.chars().all(plain) {
                return Err(ModelError::invalid(
                    "output.name: 1 to 64 letters, digits, `_` and `-`",
                ));
            }
            check_object("output.schema", &output.schema)?;
        }
        check_turns(&self.messages)
    }

    fn check_sizes(&self) -> Result<(), ModelError> {
        if self.messages.is_empty() {
            return Err(ModelError::invalid("messages: there is none"));
        }
        at_most("messages", self.messages.len(), MESSAGES_MAX)?;
        at_most("tools", self.tools.len(), TOOLS_MAX)?;
        at_most("stop", self.stop.len(), STOPS_MAX)?;
        at_most("request_bytes", self.bytes(), REQUEST_BYTES_MAX)
    }

    /// Bytes of text, schemas and images.
    pub(crate) fn bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::bytes).sum();
        let tools: usize = self
            .tools
            .iter()
            .map(|tool| tool.description.len() + tool.input_schema.len())
            .sum();
        let output = self.output.as_ref().map_or(0, |output| output.schema.len());
        let stops: usize = self.stop.iter().map(String::len).sum();
        messages + tools + output + stops
    }

    fn check_sampling(&self) -> Result<(), ModelError> {
        if self.max_tokens == Some(0) {
            return Err(ModelError::invalid("max_tokens: at least 1"));
        }
        if self.temperature_milli.is_some_and(|milli| milli > 2_000) {
            return Err(ModelError::invalid("temperature_milli: 0 to 2000"));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(ModelError::invalid("stop: an empty text"));
        }
        Ok(())
    }

    fn check_tools(&self) -> Result<(), ModelError> {
        let mut names = BTreeSet::new();
        for (at, tool) in self.tools.iter().enumerate() {
            check_name(&format!("tools[{at}].name"), &tool.name)?;
            if !names.insert(tool.name.as_str()) {
                let name = &tool.name;
                return Err(ModelError::invalid(format!(
                    "tools[{at}].name: `{name}` is there twice"
                )));
            }
            check_object(&format!("tools[{at}].input_schema"), &tool.input_schema)?;
        }
        match &self.tool_choice {
            ToolChoice::Required if names.is_empty() => Err(ModelError::invalid(
                "tool_choice: `required`, and there is no tool",
            )),
            ToolChoice::Tool(name) if !names.contains(name.as_str()) => Err(ModelError::invalid(
                format!("tool_choice: there is no tool `{name}`"),
            )),
            _ => Ok(()),
        }
    }

    /// How many images it has.
    pub(crate) fn images(&self) -> u64 {
        let parts = self.messages.iter().map(|message| match message {
            Message::User { parts } => parts
                .iter()
                .filter(|part| matches!(part, Part::Image { .. }))
                .count() as u64,
            _ => 0,
        });
        parts.sum()
    }
}

impl Message {
    fn bytes(&self) -> usize {
        match self {
            Self::System { text } => text.len(),
            Self::User { parts } => parts
                .iter()
                .map(|part| match part {
                    Part::Text { text } => text.len(),
                    Part::Image { data, .. } => data.len(),
                })
                .sum(),
            Self::Assistant { text, calls } => {
                let calls = calls.iter();
                let calls =
                    calls.map(|call| call.id.len() + call.name.len() + call.arguments.len());
                text.len() + calls.sum::<usize>()
            }
            Self::Tool { call, text, .. } => call.len() + text.len(),
        }
    }
}

/// Characters that every provider takes in a name.
pub(crate) fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn at_most(what: &str, is: usize, most: usize) -> Result<(), ModelError> {
    match is <= most {
        true => Ok(()),
        false => Err(ModelError::Limit {
            limit: what.to_owned(),
            value: most.to_string(),
        }),
    }
}

fn check_name(place: &str, name: &str) -> Result<(), ModelError> {
    let usable = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.chars().any(|c| c.is_control() || c.is_whitespace());
    match usable {
        true => Ok(()),
        false => Err(ModelError::invalid(format!(
            "{place}: 1 to {NAME_BYTES_MAX} bytes without spaces"
        ))),
    }
}

fn check_object(place: &str, text: &str) -> Result<(), ModelError> {
    if !is_light(text) {
        return Err(ModelError::invalid(format!(
            "{place}: it has too many values"
        )));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(ModelError::invalid(format!("{place}: no JSON object"))),
        Err(error) => Err(ModelError::invalid(format!("{place}: no JSON: {error}"))),
    }
}

/// Providers refuse a conversation in which a call has no result, or a result no
/// call; so do we, with a word on where.
fn check_turns(messages: &[Message]) -> Result<(), ModelError> {
    let mut open: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, message) in messages.iter().enumerate() {
        let fault = |text: String| Err(ModelError::invalid(format!("messages[{at}]: {text}")));
        if let Message::Tool { call, .. } = message {
            match open.iter().position(|id| id == call) {
                Some(found) => drop(open.remove(found)),
                None => return fault(format!("no call `{call}` waits for a result")),
            }
            continue;
        }
        if let Some(id) = open.first() {
            return fault(format!("the call `{id}` before has no result"));
        }
        match message {
            Message::User { parts } => check_parts(parts).or_else(fault)?,
            Message::Assistant { text, calls } => {
                if text.is_empty() && calls.is_empty() {
                    return fault("it is empty".to_owned());
                }
                for call in calls {
                    check_object(&format!("messages[{at}]: arguments"), &call.arguments)?;
                    check_name(&format!("messages[{at}]: the call's name"), &call.name)?;
                    check_name(&format!("messages[{at}]: the call's id"), &call.id)?;
                    if !seen.insert(call.id.as_str()) {
                        return fault(format!("the call `{}` is there twice", call.id));
                    }
                    open.push(&call.id);
                }
            }
            Message::System { text } if text.is_empty() => return fault("it is empty".to_owned()),
            Message::System { .. } if at > 0 && !is_system(&messages[at - 1]) => {
                return fault("instructions stand before all else".to_owned());
            }
            Message::System { .. } | Message::Tool { .. } => {}
        }
    }
    if messages.iter().all(is_system) {
        return Err(ModelError::invalid("messages: nobody asks anything"));
    }
    match open.first() {
        Some(id) => Err(ModelError::invalid(format!(
            "messages: the call `{id}` has no result"
        ))),
        None => Ok(()),
    }
}

fn is_system(message: &Message) -> bool {
    matches!(message, Message::System { .. })
}

fn check_parts(parts: &[Part]) -> Result<(), String> {
    if parts.is_empty() {
        return Err("it is empty".to_owned());
    }
    for part in parts {
        let (media_type, data) = match part {
            Part::Text { text } if text.is_empty() => return Err("a part is empty".to_owned()),
            Part::Text { .. } => continue,
            Part::Image { media_type, data } => (media_type, data),
        };
        if !MEDIA_TYPES.contains(&media_type.as_str()) {
            return Err(format!("images are one of {}", MEDIA_TYPES.join(", ")));
        }
        let decoded = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, data);
        if !decoded.is_ok_and(|bytes| !bytes.is_empty()) {
            return Err("an image's data is not base64".to_owned());
        }
    }
    Ok(())
}
