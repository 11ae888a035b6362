//! OpenAI's chat completions, as Ollama, llama.cpp and vLLM speak them too.
//! <https://platform.openai.com/docs/api-reference/chat>

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    Decoder, Parsed, Writing, cut, failure, gave_up, lenient, or_default, parse, raw, temperature,
    written,
};
use crate::answer::{Event, Finish, Usage};
use crate::config::Kind;
use crate::error::{Failed, ModelError};
use crate::json::Extent;
use crate::request::{Message, OutputSchema, Part, Request, Tool, ToolCall, ToolChoice};
use crate::sse::SseEvent;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Said<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Offered<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Said<'a> {
    System {
        content: &'a str,
    },
    User {
        content: Vec<Content<'a>>,
    },
    Assistant {
        #[serde(skip_serializing_if = "Option::is_none")]
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Called<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Content<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl },
}

#[derive(Serialize)]
struct ImageUrl {
    url: String,
}

#[derive(Serialize)]
struct Called<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Offered<'a> {
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: Box<RawValue>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Tool {
        r#type: &'static str,
        function: ChosenName<'a>,
    },
}

#[derive(Serialize)]
struct ChosenName<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Format<'a> {
    r#type: &'static str,
    json_schema: JsonSchema<'a>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    schema: Box<RawValue>,
    strict: bool,
}

pub(super) fn body(writing: &Writing<'_>, request: &Request) -> Result<String, ModelError> {
    let messages = request.messages.iter();
    let tools = request.tools.iter().map(|tool| offered(writing, tool));
    let format = request.output.as_ref().map(format).transpose()?;
    // Servers that only speak alike know the older member alone.
    let compatible = writing.kind == Kind::OpenaiCompatible;
    written(&Body {
        model: writing.id,
        messages: messages.map(|message| said(writing, message)).collect(),
        tools: tools.collect::<Result<_, _>>()?,
        tool_choice: choice(writing, &request.tool_choice),
        response_format: format,
        max_completion_tokens: (!compatible).then_some(writing.max_tokens),
        max_tokens: compatible.then_some(writing.max_tokens),
        temperature: temperature(request.temperature_milli),
        stop: &request.stop,
        seed: request.seed,
        stream: writing.stream,
        stream_options: writing.stream.then_some(StreamOptions {
            include_usage: true,
        }),
    })
}

fn said<'a>(writing: &Writing<'a>, message: &'a Message) -> Said<'a> {
    match message {
        Message::System { text } => Said::System { content: text },
        Message::User { parts } => Said::User {
            content: parts.iter().map(content).collect(),
        },
        Message::Assistant { text, calls } => Said::Assistant {
            content: (!text.is_empty()).then_some(text),
            tool_calls: calls
                .iter()
                .map(|call| Called {
                    id: &call.id,
                    r#type: "function",
                    function: CalledFunction {
                        name: writing.names.spelled(&call.name),
                        arguments: &call.arguments,
                    },
                })
                .collect(),
        },
        Message::Tool { call, text, .. } => Said::Tool {
            tool_call_id: call,
            content: text,
        },
    }
}

fn content(part: &Part) -> Content<'_> {
    match part {
        Part::Text { text } => Content::Text { text },
        Part::Image { media_type, data } => Content::ImageUrl {
            image_url: ImageUrl {
                url: format!("data:{media_type};base64,{data}"),
            },
        },
    }
}

fn offered<'a>(writing: &Writing<'a>, tool: &'a Tool) -> Result<Offered<'a>, ModelError> {
    Ok(Offered {
        r#type: "function",
        function: Function {
            name: writing.names.spelled(&tool.name),
            description: &tool.description,
            parameters: raw(&tool.input_schema)?,
        },
    })
}

fn choice<'a>(writing: &Writing<'a>, choice: &'a ToolChoice) -> Option<Choice<'a>> {
    Some(match choice {
        ToolChoice::Auto => return None,
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Required => Choice::Word("required"),
        ToolChoice::Tool(_) => Choice::Tool {
            r#type: "function",
            function: ChosenName {
                name: writing.names.chosen(choice)?,
            },
        },
    })
}

fn format(output: &OutputSchema) -> Result<Format<'_>, ModelError> {
    Ok(Format {
        r#type: "json_schema",
        json_schema: JsonSchema {
            name: &output.name,
            schema: raw(&output.schema)?,
            strict: output.strict,
        },
    })
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<CompletionChoice>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct CompletionChoice {
    message: Spoken,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct Spoken {
    #[serde(default, deserialize_with = "text_or_parts")]
    content: String,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    tool_calls: Vec<SpokenCall>,
}

/// Some models that think say their text in parts, and what they think beside it.
fn text_or_parts<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<TextPart>),
    }
    #[derive(Deserialize)]
    struct TextPart {
        r#type: String,
        #[serde(default)]
        text: String,
    }
    Ok(match Option::deserialize(from)? {
        None => String::new(),
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => {
            let texts = parts.into_iter().filter(|part| part.r#type == "text");
            texts.map(|part| part.text).collect()
        }
    })
}

#[derive(Deserialize)]
struct SpokenCall {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    #[serde(default, deserialize_with = "or_default")]
    function: SpokenFunction,
}

#[derive(Deserialize, Default)]
struct SpokenFunction {
    #[serde(default, deserialize_with = "or_default")]
    name: String,
    #[serde(default)]
    arguments: Option<Value>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    /// Of some providers more than both: what is thought stands in it alone.
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<CountedDetails>,
}

#[derive(Deserialize)]
struct CountedDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

impl SpokenFunction {
    /// The arguments as text; some servers write the object itself.
    fn text(self) -> String {
        match self.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(value) => value.to_string(),
        }
    }
}

impl Counted {
    fn usage(&self) -> Option<Usage> {
        let details = self.prompt_tokens_details.as_ref();
        let input_tokens = self.prompt_tokens?;
        Some(Usage {
            input_tokens,
            cached_tokens: details
                .and_then(|details| details.cached_tokens)
                .unwrap_or_default()
                .min(input_tokens),
            output_tokens: self.completion_tokens?.max(
                self.total_tokens
                    .unwrap_or_default()
                    .saturating_sub(input_tokens),
            ),
            estimated: false,
        })
    }
}

fn finish(reason: &str) -> Finish {
    match reason {
        "stop" | "eos" => Finish::Stop,
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        _ => Finish::Other,
    }
}

pub(super) fn answer(body: &[u8]) -> Result<Parsed, Failed> {
    let completion: Completion = parse(body)?;
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(Failed::garbled("the answer has no choice"));
    };
    let calls = choice.message.tool_calls.into_iter();
    Ok(Parsed {
        text: choice.message.content,
        refusal: choice.message.refusal,
        calls: calls
            .map(|call| ToolCall {
                id: call.id,
                name: call.function.name.clone(),
                arguments: call.function.text(),
            })
            .collect(),
        finish: choice.finish_reason.as_deref().map(finish),
        usage: completion.usage.and_then(|usage| usage.usage()),
    })
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default, deserialize_with = "or_default")]
    choices: Vec<ChunkChoice>,
    #[serde(default, deserialize_with = "lenient")]
    usage: Option<Counted>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    #[serde(default)]
    index: u32,
    #[serde(default, deserialize_with = "or_default")]
    delta: Spoken,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// A stream of chunks, with `[DONE]` at its end.
#[derive(Default)]
pub(super) struct Stream {
    parsed: Parsed,
    /// Indices as the server counts, in the order they came.
    indices: Vec<Option<u32>>,
    /// How far the arguments of each call are.
    extents: Vec<Extent>,
    done: bool,
}

impl Decoder for Stream {
    fn event(&mut self, event: &SseEvent, told: &mut Vec<Event>) -> Result<(), Failed> {
        if self.done {
            return Ok(());
        }
        if event.data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk = parse(event.data.as_bytes())?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(gave_up(&failure::of_value(&error)));
        }
        if let Some(usage) = chunk.usage.and_then(|usage| usage.usage()) {
            self.parsed.usage = Some(usage);
        }
        // One choice was asked for.
        for choice in chunk.choices.into_iter().filter(|choice| choice.index == 0) {
            self.spoken(choice.delta, told)?;
            if let Some(reason) = choice.finish_reason {
                self.parsed.finish = Some(finish(&reason));
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.done
    }

    fn end(self: Box<Self>) -> Result<Parsed, Failed> {
        // Not every server ends with `[DONE]`; each says why the model stopped.
        match self.parsed.finish {
            Some(_) => self.parsed.consistent(),
            None => Err(cut()),
        }
    }
}

impl Stream {
    fn spoken(&mut self, delta: Spoken, told: &mut Vec<Event>) -> Result<(), Failed> {
        if !delta.content.is_empty() {
            self.parsed.text.push_str(&delta.content);
            told.push(Event::Text {
                text: delta.content,
            });
        }
        if let Some(text) = delta.refusal.filter(|text| !text.is_empty()) {
            self.parsed.refusal.get_or_insert_default().push_str(&text);
            told.push(Event::Refusal { text });
        }
        for call in delta.tool_calls {
            self.called(call, told)?;
        }
        Ok(())
    }

    /// The call that a piece belongs to, if it has begun. Servers that leave the
    /// index out name the id, or mean the last; some give every call the index 0.
    fn place(&self, call: &SpokenCall) -> Option<usize> {
        let at = match call.index {
            Some(index) => self.indices.iter().rposition(|known| *known == Some(index)),
            None if call.id.is_empty() => self.indices.len().checked_sub(1),
            None => self
                .parsed
                .calls
                .iter()
                .position(|known| known.id == call.id),
        };
        at.filter(|at| {
            let whole = self.extents[*at].is_whole();
            !begins_another(&self.parsed.calls[*at], whole, call)
        })
    }

    fn called(&mut self, call: SpokenCall, told: &mut Vec<Event>) -> Result<(), Failed> {
        let at = match self.place(&call) {
            Some(at) => {
                let known = &self.parsed.calls[at].id;
                if !call.id.is_empty() && call.id != *known {
                    return Err(Failed::garbled("two calls of the answer have one place"));
                }
                at
            }
            None => self.begins(&call, told)?,
        };
        let text = call.function.text();
        if !text.is_empty() {
            self.parsed.calls[at].arguments.push_str(&text);
            self.extents[at].push(&text);
            let index = at as u32;
            told.push(Event::Arguments { index, text });
        }
        Ok(())
    }

    fn begins(&mut self, call: &SpokenCall, told: &mut Vec<Event>) -> Result<usize, Failed> {
        let at = self.parsed.calls.len();
        let id = match call.id.is_empty() {
            true => format!("call_{at}"),
            false => call.id.clone(),
        };
        self.indices.push(call.index);
        self.extents.push(Extent::default());
        super::begin_call(&mut self.parsed.calls, id, call.function.name.clone(), told)?;
        Ok(at)
    }
}

/// Whether a piece in a call's place is the beginning of another one: it has a name,
/// and another id, or none where the call before it is whole.
fn begins_another(known: &ToolCall, whole: bool, piece: &SpokenCall) -> bool {
    let arguments = piece.function.arguments.as_ref();
    let says = arguments.is_some_and(|arguments| !arguments.is_null() && *arguments != "");
    !piece.function.name.is_empty()
        && match piece.id.is_empty() {
            true => says && whole,
            false => piece.id != known.id,
        }
}
