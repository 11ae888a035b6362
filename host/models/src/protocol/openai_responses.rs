//! OpenAI's responses. Nothing is stored there (`store: false`), and the
//! conversation is sent whole each time, as with the other protocols.
//! <https://platform.openai.com/docs/api-reference/responses>

use std::collections::BTreeMap;

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

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Offered<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    max_output_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    store: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Item<'a> {
    Message {
        role: &'static str,
        content: Vec<Content<'a>>,
    },
    FunctionCall {
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
    FunctionCallOutput {
        call_id: &'a str,
        output: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    InputText { text: &'a str },
    OutputText { text: &'a str },
    InputImage { image_url: String },
}

#[derive(Serialize)]
struct Offered<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: Box<RawValue>,
    strict: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Tool { r#type: &'static str, name: &'a str },
}

#[derive(Serialize)]
struct Text<'a> {
    format: Format<'a>,
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    name: &'a str,
    schema: Box<RawValue>,
    strict: bool,
}

pub(super) fn body(writing: &Writing<'_>, request: &Request) -> Result<String, ModelError> {
    let mut input = Vec::new();
    for message in &request.messages {
        add_items(writing, message, &mut input);
    }
    let tools = request.tools.iter().map(|tool| {
        Ok(Offered {
            r#type: "function",
            name: writing.names.spelled(&tool.name),
            description: &tool.description,
            parameters: raw(&tool.input_schema)?,
            strict: false,
        })
    });
    let text = request.output.as_ref().map(format).transpose()?;
    written(&Body {
        model: writing.id,
        input,
        tools: tools.collect::<Result<_, ModelError>>()?,
        tool_choice: choice(writing, &request.tool_choice),
        text,
        max_output_tokens: writing.max_tokens,
        temperature: temperature(request.temperature_milli),
        store: false,
        stream: writing.stream,
    })
}

fn add_items<'a>(writing: &Writing<'a>, message: &'a Message, items: &mut Vec<Item<'a>>) {
    let says = |role, content| Item::Message { role, content };
    match message {
        Message::System { text } => {
            items.push(says("system", vec![Content::InputText { text }]));
        }
        Message::User { parts } => {
            items.push(says("user", parts.iter().map(content).collect()));
        }
        Message::Assistant { text, calls } => {
            if !text.is_empty() {
                items.push(says("assistant", vec![Content::OutputText { text }]));
            }
            items.extend(calls.iter().map(|call| Item::FunctionCall {
                call_id: &call.id,
                name: writing.names.spelled(&call.name),
                arguments: &call.arguments,
            }));
        }
        Message::Tool { call, text, .. } => items.push(Item::FunctionCallOutput {
            call_id: call,
            output: text,
        }),
    }
}

fn content(part: &Part) -> Content<'_> {
    match part {
        Part::Text { text } => Content::InputText { text },
        Part::Image { media_type, data } => Content::InputImage {
            image_url: format!("data:{media_type};base64,{data}"),
        },
    }
}

fn choice<'a>(writing: &Writing<'a>, choice: &'a ToolChoice) -> Option<Choice<'a>> {
    Some(match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Required => Choice::Word("required"),
        ToolChoice::Tool(_) => Choice::Tool {
            r#type: "function",
            name: writing.names.chosen(choice)?,
        },
    })
}

fn format(output: &OutputSchema) -> Result<Text<'_>, ModelError> {
    Ok(Text {
        format: Format {
            r#type: "json_schema",
            name: &output.name,
            schema: raw(&output.schema)?,
            strict: output.strict,
        },
    })
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default, deserialize_with = "or_default")]
    output: Vec<Output>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default, deserialize_with = "or_default")]
    reason: String,
}

/// Reasoning and whatever else there may be is not for the agent.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Output {
    Message {
        #[serde(default, deserialize_with = "or_default")]
        content: Vec<Written>,
    },
    FunctionCall {
        #[serde(default, deserialize_with = "or_default")]
        call_id: String,
        name: String,
        #[serde(default, deserialize_with = "or_default")]
        arguments: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Written {
    OutputText {
        text: String,
    },
    Refusal {
        refusal: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    input_tokens_details: Option<CountedDetails>,
}

#[derive(Deserialize)]
struct CountedDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl Counted {
    fn usage(&self) -> Option<Usage> {
        let details = self.input_tokens_details.as_ref();
        let input_tokens = self.input_tokens?;
        Some(Usage {
            input_tokens,
            cached_tokens: details
                .and_then(|details| details.cached_tokens)
                .unwrap_or_default()
                .min(input_tokens),
            output_tokens: self.output_tokens?,
            estimated: false,
        })
    }
}

pub(super) fn answer(body: &[u8]) -> Result<Parsed, Failed> {
    parse::<Response>(body)?.parsed()
}

impl Response {
    fn parsed(self) -> Result<Parsed, Failed> {
        let finish = match self.status.as_deref() {
            Some("completed") => Finish::Stop,
            Some("incomplete") => match self.incomplete_details.map(|details| details.reason) {
                Some(reason) if reason == "max_output_tokens" => Finish::Length,
                Some(reason) if reason == "content_filter" => Finish::ContentFilter,
                _ => Finish::Other,
            },
            Some("failed") => {
                return Err(gave_up(&failure::of_value(&self.error.unwrap_or_default())));
            }
            _ => return Err(Failed::garbled("the answer has no known status")),
        };
        let mut parsed = Parsed {
            finish: Some(finish),
            usage: self.usage.and_then(|usage| usage.usage()),
            ..Parsed::default()
        };
        for output in self.output {
            output.add_to(&mut parsed);
        }
        Ok(parsed)
    }
}

impl Output {
    fn add_to(self, parsed: &mut Parsed) {
        match self {
            Self::Message { content } => {
                for part in content {
                    match part {
                        Written::OutputText { text } => parsed.text.push_str(&text),
                        Written::Refusal { refusal } => {
                            parsed.refusal.get_or_insert_default().push_str(&refusal);
                        }
                        Written::Other => {}
                    }
                }
            }
            Self::FunctionCall {
                call_id,
                name,
                arguments,
            } => parsed.calls.push(ToolCall {
                id: call_id,
                name,
                arguments,
            }),
            Self::Other => {}
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Told {
    #[serde(rename = "response.output_text.delta")]
    Text {
        #[serde(default, deserialize_with = "or_default")]
        delta: String,
    },
    #[serde(rename = "response.refusal.delta")]
    Refusal {
        #[serde(default, deserialize_with = "or_default")]
        delta: String,
    },
    #[serde(rename = "response.output_item.added")]
    Added { output_index: u32, item: Output },
    #[serde(rename = "response.function_call_arguments.delta")]
    Arguments {
        output_index: u32,
        #[serde(default, deserialize_with = "or_default")]
        delta: String,
    },
    #[serde(
        rename = "response.completed",
        alias = "response.incomplete",
        alias = "response.failed"
    )]
    Ended { response: Response },
    #[serde(rename = "error")]
    Error {
        #[serde(flatten)]
        error: Value,
    },
    #[serde(other)]
    Other,
}

/// A stream; its last event has the whole answer.
#[derive(Default)]
pub(super) struct Stream {
    /// What was told, to compare.
    text: String,
    calls: Vec<ToolCall>,
    places: BTreeMap<u32, usize>,
    whole: Option<Parsed>,
}

impl Decoder for Stream {
    fn event(&mut self, event: &SseEvent, told: &mut Vec<Event>) -> Result<(), Failed> {
        if self.is_over() || event.data.trim() == "[DONE]" {
            return Ok(());
        }
        match parse::<Told>(event.data.as_bytes())? {
            Told::Text { delta } if !delta.is_empty() => {
                self.text.push_str(&delta);
                told.push(Event::Text { text: delta });
            }
            Told::Refusal { delta } if !delta.is_empty() => {
                told.push(Event::Refusal { text: delta });
            }
            Told::Added {
                output_index,
                item: Output::FunctionCall { call_id, name, .. },
            } => {
                let at = self.calls.len();
                super::begin_call(&mut self.calls, call_id, name, told)?;
                self.places.insert(output_index, at);
            }
            Told::Arguments {
                output_index,
                delta,
            } => self.arguments(output_index, delta, told)?,
            Told::Ended { response } => self.whole = Some(response.parsed()?),
            Told::Error { error } => return Err(gave_up(&failure::of_value(&error))),
            _ => {}
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.whole.is_some()
    }

    fn end(self: Box<Self>) -> Result<Parsed, Failed> {
        let whole = self.whole.ok_or_else(cut)?;
        let told = self.calls.iter().map(|call| (&call.id, &call.arguments));
        let calls = whole.calls.iter().map(|call| (&call.id, &call.arguments));
        if self.text != whole.text || !told.eq(calls) {
            return Err(Failed::garbled(
                "the answer at the end of the stream is not the one that was streamed",
            ));
        }
        whole.consistent()
    }
}

impl Stream {
    fn arguments(
        &mut self,
        place: u32,
        delta: String,
        told: &mut Vec<Event>,
    ) -> Result<(), Failed> {
        let Some(at) = self.places.get(&place) else {
            return Err(Failed::garbled("the answer has arguments of no call"));
        };
        if !delta.is_empty() {
            self.calls[*at].arguments.push_str(&delta);
            let index = *at as u32;
            told.push(Event::Arguments { index, text: delta });
        }
        Ok(())
    }
}
