//! Anthropic's messages. <https://docs.anthropic.com/en/api/messages>

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    Decoder, Parsed, Writing, cut, failure, gave_up, lenient, or_default, parse, raw, temperature,
    written,
};
use crate::answer::{Event, Finish, Usage};
use crate::error::{Failed, ModelError};
use crate::request::{Message, OutputSchema, Part, Request, ToolCall, ToolChoice};
use crate::sse::SseEvent;

/// The version of the protocol, sent with each request.
pub(crate) const VERSION: &str = "2023-06-01";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Said<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Offered<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
struct Said<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Source<'a>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: Box<RawValue>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

#[derive(Serialize)]
struct Source<'a> {
    r#type: &'static str,
    media_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
struct Offered<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: Box<RawValue>,
}

#[derive(Serialize)]
struct Choice<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct OutputConfig {
    format: Format,
}

#[derive(Serialize)]
struct Format {
    r#type: &'static str,
    schema: Box<RawValue>,
}

pub(super) fn body(writing: &Writing<'_>, request: &Request) -> Result<String, ModelError> {
    let system = request.messages.iter().filter_map(|message| match message {
        Message::System { text } => Some(says(text)),
        _ => None,
    });
    let tools = request.tools.iter().map(|tool| {
        Ok(Offered {
            name: writing.names.spelled(&tool.name),
            description: &tool.description,
            input_schema: raw(&tool.input_schema)?,
        })
    });
    let output_config = request.output.as_ref().map(format).transpose()?;
    written(&Body {
        model: writing.id,
        max_tokens: writing.max_tokens,
        system: system
            .chain(request.output.as_ref().and_then(asked))
            .collect(),
        messages: turns(writing, &request.messages)?,
        tools: tools.collect::<Result<_, ModelError>>()?,
        tool_choice: choice(writing, &request.tool_choice),
        output_config: output_config.flatten(),
        temperature: temperature(request.temperature_milli),
        stop_sequences: &request.stop,
        stream: writing.stream,
    })
}

/// Turns of one side become one: results of calls that were made side by side have
/// to stand in one message.
fn turns<'a>(writing: &Writing<'a>, messages: &'a [Message]) -> Result<Vec<Said<'a>>, ModelError> {
    let mut turns: Vec<Said<'a>> = Vec::new();
    for message in messages {
        let (role, content) = match message {
            Message::System { .. } => continue,
            Message::User { parts } => ("user", parts.iter().map(block).collect()),
            Message::Tool { call, text, failed } => {
                let result = Block::ToolResult {
                    tool_use_id: call,
                    content: text,
                    is_error: *failed,
                };
                ("user", vec![result])
            }
            Message::Assistant { text, calls } => ("assistant", answered(writing, text, calls)?),
        };
        match turns.last_mut() {
            Some(last) if last.role == role => last.content.extend(content),
            _ => turns.push(Said { role, content }),
        }
    }
    Ok(turns)
}

fn answered<'a>(
    writing: &Writing<'a>,
    text: &'a str,
    calls: &'a [ToolCall],
) -> Result<Vec<Block<'a>>, ModelError> {
    let mut blocks = Vec::new();
    if !text.is_empty() {
        blocks.push(says(text));
    }
    for call in calls {
        blocks.push(Block::ToolUse {
            id: &call.id,
            name: writing.names.spelled(&call.name),
            input: raw(&call.arguments)?,
        });
    }
    Ok(blocks)
}

fn block(part: &Part) -> Block<'_> {
    match part {
        Part::Text { text } => says(text),
        Part::Image { media_type, data } => Block::Image {
            source: Source {
                r#type: "base64",
                media_type,
                data,
            },
        },
    }
}

fn choice<'a>(writing: &Writing<'a>, choice: &'a ToolChoice) -> Option<Choice<'a>> {
    let r#type = match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => "none",
        ToolChoice::Required => "any",
        ToolChoice::Tool(_) => "tool",
    };
    let name = writing.names.chosen(choice);
    Some(Choice { r#type, name })
}

fn says(text: &str) -> Block<'_> {
    Block::Text { text: text.into() }
}

/// The provider always enforces a form that it is told, and refuses those that it
/// can't enforce: so it is told one only where that is wanted.
fn format(output: &OutputSchema) -> Result<Option<OutputConfig>, ModelError> {
    if !output.strict {
        return Ok(None);
    }
    Ok(Some(OutputConfig {
        format: Format {
            r#type: "json_schema",
            schema: raw(&output.schema)?,
        },
    }))
}

/// Another form is asked for in words.
fn asked(output: &OutputSchema) -> Option<Block<'_>> {
    let schema = &output.schema;
    let text = format!("Answer with JSON alone, of the form that this JSON Schema says: {schema}");
    (!output.strict).then_some(Block::Text { text: text.into() })
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default, deserialize_with = "or_default")]
    content: Vec<Content>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Counted>,
}

/// What it thought, and whatever else there may be, is not for the agent.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content {
    Text {
        #[serde(default, deserialize_with = "or_default")]
        text: String,
    },
    ToolUse {
        id: String,
        name: String,
        #[serde(default)]
        input: Option<Value>,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize, Default)]
struct Counted {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
}

impl Counted {
    /// The later word counts; what it leaves out stays.
    fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_read_input_tokens = later
            .cache_read_input_tokens
            .or(self.cache_read_input_tokens);
        self.cache_creation_input_tokens = later
            .cache_creation_input_tokens
            .or(self.cache_creation_input_tokens);
    }

    /// The protocol counts tokens of a cache apart from others.
    fn usage(&self) -> Option<Usage> {
        let cached_tokens = self.cache_read_input_tokens.unwrap_or_default();
        let created = self.cache_creation_input_tokens.unwrap_or_default();
        let input = self.input_tokens?.saturating_add(cached_tokens);
        Some(Usage {
            input_tokens: input.saturating_add(created),
            cached_tokens,
            output_tokens: self.output_tokens?,
            estimated: false,
        })
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::Refusal,
        _ => Finish::Other,
    }
}

pub(super) fn answer(body: &[u8]) -> Result<Parsed, Failed> {
    let reply: Reply = parse(body)?;
    let mut parsed = Parsed {
        finish: reply.stop_reason.as_deref().map(finish),
        usage: reply.usage.and_then(|usage| usage.usage()),
        ..Parsed::default()
    };
    for content in reply.content {
        match content {
            Content::Text { text } => parsed.text.push_str(&text),
            Content::ToolUse { id, name, input } => parsed.calls.push(ToolCall {
                id,
                name,
                arguments: arguments(input),
            }),
            Content::Other => {}
        }
    }
    Ok(parsed)
}

fn arguments(input: Option<Value>) -> String {
    input.map_or_else(String::new, |input| input.to_string())
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told {
    MessageStart {
        message: Begun,
    },
    ContentBlockStart {
        index: u32,
        content_block: Content,
    },
    ContentBlockDelta {
        index: u32,
        delta: Delta,
    },
    MessageDelta {
        delta: Ending,
        #[serde(default, deserialize_with = "lenient")]
        usage: Option<Counted>,
    },
    MessageStop,
    Error {
        #[serde(default)]
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Begun {
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Ending {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(other)]
    Other,
}

/// A stream of blocks.
#[derive(Default)]
pub(super) struct Stream {
    parsed: Parsed,
    counted: Counted,
    /// The block that is open, and which call it is.
    open: Option<(u32, Option<usize>)>,
    over: bool,
}

impl Decoder for Stream {
    fn event(&mut self, event: &SseEvent, told: &mut Vec<Event>) -> Result<(), Failed> {
        if self.over {
            return Ok(());
        }
        match parse::<Told>(event.data.as_bytes())? {
            Told::MessageStart { message } => {
                self.counted.update(message.usage.unwrap_or_default());
            }
            Told::ContentBlockStart {
                index,
                content_block,
            } => self.begins(index, content_block, told)?,
            Told::ContentBlockDelta { index, delta } => self.goes_on(index, delta, told)?,
            Told::MessageDelta { delta, usage } => {
                self.counted.update(usage.unwrap_or_default());
                let reason = delta.stop_reason.as_deref().map(finish);
                self.parsed.finish = reason.or(self.parsed.finish);
            }
            Told::MessageStop => self.over = true,
            Told::Error { error } => return Err(gave_up(&failure::of_value(&error))),
            Told::Other => {}
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn end(mut self: Box<Self>) -> Result<Parsed, Failed> {
        if !self.over {
            return Err(cut());
        }
        self.parsed.usage = self.counted.usage();
        self.parsed.consistent()
    }
}

impl Stream {
    fn begins(&mut self, index: u32, block: Content, told: &mut Vec<Event>) -> Result<(), Failed> {
        let call = match block {
            Content::Text { text } => {
                self.text(text, told);
                None
            }
            Content::ToolUse { id, name, input } => {
                let at = self.parsed.calls.len();
                super::begin_call(&mut self.parsed.calls, id, name, told)?;
                // It begins empty, and the pieces follow; some servers send it whole.
                let whole =
                    input.filter(|input| input.as_object().is_some_and(|all| !all.is_empty()));
                self.arguments(at, arguments(whole), told);
                Some(at)
            }
            Content::Other => None,
        };
        self.open = Some((index, call));
        Ok(())
    }

    fn goes_on(&mut self, index: u32, delta: Delta, told: &mut Vec<Event>) -> Result<(), Failed> {
        let call = match self.open {
            Some((open, call)) if open == index => call,
            _ => {
                return Err(Failed::garbled(
                    "the answer goes on with a part that has not begun",
                ));
            }
        };
        match (delta, call) {
            (Delta::Text { text }, None) => self.text(text, told),
            (Delta::InputJson { partial_json }, Some(at)) => {
                self.arguments(at, partial_json, told);
            }
            (Delta::Other, _) => {}
            _ => return Err(Failed::garbled("the answer mixes text and calls of tools")),
        }
        Ok(())
    }

    fn text(&mut self, text: String, told: &mut Vec<Event>) {
        if !text.is_empty() {
            self.parsed.text.push_str(&text);
            told.push(Event::Text { text });
        }
    }

    fn arguments(&mut self, at: usize, text: String, told: &mut Vec<Event>) {
        if !text.is_empty() {
            self.parsed.calls[at].arguments.push_str(&text);
            let index = at as u32;
            told.push(Event::Arguments { index, text });
        }
    }
}
