//! Scripted language models: what they are asked, and what a test has them say.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;
use crate::agent::chat::wire::{Body, Message, Part};
use crate::agent::{Finish, ToolInfo};

/// What a model is asked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelRequest {
    /// The role.
    pub role: String,
    /// The whole conversation, oldest first, as docs/models.md has it: the messages
    /// before, the answers to them, and the new ones.
    pub messages: Vec<Value>,
    /// How many of these are new.
    pub new: usize,
    /// The names of the tools that it is offered.
    pub tools: Vec<String>,
    /// All else of the request, as it was made.
    pub body: Value,
}

impl ModelRequest {
    pub(super) fn new(body: &Body, before: &[Message]) -> Self {
        let all = before.iter().chain(&body.messages);
        let value = |message: &Message| serde_json::to_value(message).unwrap_or_default();
        let mut rest = serde_json::to_value(body).unwrap_or_default();
        for known in ["role", "messages"] {
            rest.as_object_mut().and_then(|rest| rest.remove(known));
        }
        Self {
            role: body.role.clone(),
            messages: all.map(value).collect(),
            new: body.messages.len(),
            tools: body
                .tools
                .iter()
                .map(|tool| tool.name().to_owned())
                .collect(),
            body: rest,
        }
    }

    /// The messages that are new.
    #[must_use]
    pub fn new_messages(&self) -> &[Value] {
        &self.messages[self.messages.len() - self.new..]
    }

    /// The text of the last message.
    #[must_use]
    pub fn last_text(&self) -> String {
        self.messages.last().map(text).unwrap_or_default()
    }

    /// The texts of the whole conversation, one after the other.
    #[must_use]
    pub fn all_text(&self) -> String {
        let texts: Vec<String> = self.messages.iter().map(text).collect();
        texts.join("\n")
    }

    /// The new results of calls: whether each failed, and its text.
    #[must_use]
    pub fn results(&self) -> Vec<(bool, String)> {
        let new = self.new_messages().iter();
        let results = new.filter(|message| message["from"] == "tool");
        let result = |message: &Value| (message["failed"] == true, text(message));
        results.map(result).collect()
    }
}

/// The text of a message, images left out.
fn text(message: &Value) -> String {
    let message = serde_json::from_value(message.clone());
    match message {
        Ok(
            Message::System { text } | Message::Assistant { text, .. } | Message::Tool { text, .. },
        ) => text,
        Ok(Message::User { parts }) => {
            let texts = parts.into_iter().filter_map(|part| match part {
                Part::Text { text } => Some(text),
                Part::Image { .. } => None,
            });
            texts.collect::<Vec<String>>().join("\n")
        }
        Err(_) => String::new(),
    }
}

/// What a model says. The stand-in holds it against the request and finds the faults
/// that the host would find.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it is said by a model of `says` or `model`"]
pub struct Says {
    pub(super) text: String,
    pub(super) refusal: Option<String>,
    /// Names and arguments.
    pub(super) calls: Vec<(String, String)>,
    pub(super) finish: Option<Finish>,
    pub(super) tokens: (u64, u64),
    pub(super) micros: u64,
    pub(super) error: Option<Error>,
    pub(super) takes: Duration,
}

impl Says {
    /// Nothing at all: an empty answer.
    pub fn nothing() -> Self {
        Self {
            text: String::new(),
            refusal: None,
            calls: Vec::new(),
            finish: None,
            tokens: (100, 10),
            micros: 0,
            error: None,
            takes: Duration::ZERO,
        }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::nothing()
        }
    }

    /// JSON, as text.
    pub fn json(value: impl Into<Value>) -> Self {
        Self::text(value.into().to_string())
    }

    /// That a tool is to be called.
    pub fn call(tool: &str, arguments: Value) -> Self {
        Self::nothing().and_call(tool, arguments)
    }

    /// That another one is to be called, too.
    pub fn and_call(self, tool: &str, arguments: Value) -> Self {
        self.and_call_raw(tool, &arguments.to_string())
    }

    /// That a tool is to be called, with arguments that need not be JSON.
    pub fn and_call_raw(mut self, tool: &str, arguments: &str) -> Self {
        self.calls.push((tool.to_owned(), arguments.to_owned()));
        self
    }

    /// That it declines.
    pub fn refuses(words: &str) -> Self {
        Self {
            refusal: Some(words.to_owned()),
            finish: Some(Finish::Refusal),
            ..Self::nothing()
        }
    }

    /// There is no answer.
    pub fn fails(error: Error) -> Self {
        Self {
            error: Some(error),
            ..Self::nothing()
        }
    }

    /// Why it stopped, where that is not what follows from the rest.
    pub fn finish(mut self, finish: Finish) -> Self {
        self.finish = Some(finish);
        self
    }

    /// Tokens of the request and of the answer; 100 and 10 unless given.
    pub fn tokens(mut self, input: u64, output: u64) -> Self {
        self.tokens = (input, output);
        self
    }

    /// What it costs, millionths; nothing unless given.
    pub fn costs(mut self, micros: u64) -> Self {
        self.micros = micros;
        self
    }

    /// How long it takes on the run's clock; no time unless given.
    pub fn takes(mut self, time: Duration) -> Self {
        self.takes = time;
        self
    }

    /// The answer as the host gives it.
    pub(super) fn answer(&self, calls: &[Value], faults: &[Value]) -> Value {
        let finish = self.finish.unwrap_or(match calls.is_empty() {
            true => Finish::Stop,
            false => Finish::ToolCalls,
        });
        let (input, output) = self.tokens;
        let mut answer = json!({ "text": self.text, "calls": calls, "faults": faults,
            "finish": finish_name(finish),
            "usage": { "input_tokens": input, "output_tokens": output },
            "model": "scripted",
            "spent": { "tokens": input + output, "cost_micros": self.micros } });
        if let Some(refusal) = &self.refusal {
            answer["refusal"] = refusal.as_str().into();
        }
        answer
    }
}

impl From<&str> for Says {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<Error> for Says {
    fn from(error: Error) -> Self {
        Self::fails(error)
    }
}

pub(super) fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool-calls",
        Finish::ContentFilter => "content-filter",
        Finish::Refusal => "refusal",
        Finish::Other => "other",
    }
}

/// What a granted tool takes, by its name, as far as the agent was told of it.
pub(super) type Told = std::collections::BTreeMap<String, ToolInfo>;
