//! Conversations with models: what an agent said and was answered in its run, and
//! from there the request as models get it. Pure.
//!
//! What must stay true: the same journal gives the same request; a model is offered
//! only tools that the agent was told of, and tools of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use airlock_models::{
    Answer, EmbedRequest, Message, OutputSchema, Request as ModelRequest, Tool, ToolCall,
    ToolChoice,
};
use airlock_sandbox::CallError;
use airlock_sandbox::agent::{AgentTool, Request, RequestId};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::event::Told;

/// Turns of one conversation.
const TURNS_MAX: usize = 2_000;

/// What stands for an answer without a word, which no provider takes.
const NOTHING_SAID: &str = "(nothing)";

/// Requests for answers of models, by their number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Talks(BTreeMap<RequestId, Talk>);

#[derive(Debug, Clone, PartialEq)]
struct Talk {
    request: Arc<str>,
    after: Option<RequestId>,
    answer: Option<Arc<str>>,
}

/// Whether a request goes to a model.
pub(super) fn is_model(request: &Request) -> bool {
    matches!(request, Request::Chat { .. } | Request::Embed { .. })
}

/// What an agent asks, as `chat` takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    role: String,
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Box<RawValue>>,
    #[serde(default)]
    tool_choice: ToolChoice,
    #[serde(default)]
    output: Option<OutputSchema>,
    #[serde(default)]
    max_tokens: Option<u32>,
    #[serde(default)]
    temperature_milli: Option<u32>,
    #[serde(default)]
    stop: Vec<String>,
    #[serde(default)]
    seed: Option<u32>,
}

impl Talks {
    /// The agent asked.
    pub(super) fn asked(&mut self, id: RequestId, request: &Request) {
        if let Request::Chat { request, after } = request {
            let talk = Talk {
                request: request.as_str().into(),
                after: *after,
                answer: None,
            };
            self.0.insert(id, talk);
        }
    }

    /// A request has its answer; one without can't be gone on from.
    pub(super) fn answered(&mut self, id: RequestId, answer: &Told) {
        match (self.0.get_mut(&id), answer) {
            (Some(talk), Told::Ok(answer)) => talk.answer = Some(answer.as_str().into()),
            (Some(_), Told::Error(_)) => drop(self.0.remove(&id)),
            (None, _) => {}
        }
    }

    /// The turns of the conversation that goes on from `after`, oldest first.
    fn turns(&self, after: Option<RequestId>) -> Result<Vec<&Talk>, CallError> {
        let (mut turns, mut next) = (Vec::new(), after);
        while let Some(id) = next {
            let talk = self.0.get(&id).filter(|talk| talk.answer.is_some());
            let Some(talk) = talk else {
                return Err(invalid(format!(
                    "after: request {id} is none that a model has answered"
                )));
            };
            if turns.len() == TURNS_MAX {
                return Err(CallError::Limit {
                    limit: "turns".to_owned(),
                    value: TURNS_MAX.to_string(),
                });
            }
            next = talk.after;
            turns.push(talk);
        }
        turns.reverse();
        Ok(turns)
    }

    /// The request as models get it.
    ///
    /// # Errors
    /// What the agent is told: it can't be asked.
    pub(super) fn request(
        &self,
        request: &str,
        after: Option<RequestId>,
        tools: &[AgentTool],
    ) -> Result<ModelRequest, CallError> {
        let asked = read(request)?;
        let mut messages = Vec::new();
        for turn in self.turns(after)? {
            messages.extend(read(&turn.request)?.messages);
            let answer = turn.answer.as_deref().unwrap_or_default();
            messages.push(said(answer)?);
        }
        messages.extend(asked.messages);
        let offered = asked.tools.iter().enumerate();
        let offered = offered.map(|(at, tool)| offered_tool(at, tool, tools));
        Ok(ModelRequest {
            role: asked.role,
            messages,
            tools: offered.collect::<Result<_, _>>()?,
            tool_choice: asked.tool_choice,
            output: asked.output,
            max_tokens: asked.max_tokens,
            temperature_milli: asked.temperature_milli,
            stop: asked.stop,
            seed: asked.seed,
        })
    }
}

/// A request for vectors.
///
/// # Errors
/// What the agent is told: it can't be asked.
pub(super) fn embed(request: &str) -> Result<EmbedRequest, CallError> {
    serde_json::from_str(request).map_err(|error| invalid(format!("the request: {error}")))
}

fn read(request: &str) -> Result<Asked, CallError> {
    serde_json::from_str(request).map_err(|error| invalid(format!("the request: {error}")))
}

fn invalid(message: String) -> CallError {
    CallError::InvalidInput { message }
}

/// A tool that a model is offered: one that the agent was told of, by its name, or
/// one of the agent's own.
fn offered_tool(at: usize, tool: &RawValue, told: &[AgentTool]) -> Result<Tool, CallError> {
    let place = |error: String| invalid(format!("tools[{at}]: {error}"));
    if tool.get().starts_with('"') {
        let name: String = serde_json::from_str(tool.get()).map_err(|e| place(e.to_string()))?;
        let known = told.iter().find(|known| known.name == name);
        let Some(known) = known else {
            let name = name.escape_debug();
            return Err(place(format!("the agent was told of no tool `{name}`")));
        };
        return Ok(Tool {
            name,
            description: known.description.clone(),
            input_schema: known.input_schema.clone(),
        });
    }
    let own: Tool = serde_json::from_str(tool.get()).map_err(|error| place(error.to_string()))?;
    match own.name.contains('/') {
        true => Err(place(format!(
            "`{}` is the name of a plugin's tool; write the name alone",
            own.name.escape_debug()
        ))),
        false => Ok(own),
    }
}

/// An answer as a turn of its conversation.
fn said(answer: &str) -> Result<Message, CallError> {
    let answer: Answer = serde_json::from_str(answer).map_err(|error| CallError::Permanent {
        message: format!("an answer in the journal can't be read: {error}"),
    })?;
    let text = match (answer.text, answer.refusal) {
        (text, Some(refusal)) if text.is_empty() => refusal,
        (text, None) if text.is_empty() && answer.calls.is_empty() => NOTHING_SAID.to_owned(),
        (text, _) => text,
    };
    let calls = answer.calls.into_iter().map(|call| ToolCall {
        // Of a call that was no JSON, no provider takes the text back.
        arguments: match serde_json::from_str(&call.arguments) {
            Ok(Value::Object(_)) => call.arguments,
            _ => "{}".to_owned(),
        },
        ..call
    });
    let calls = calls.collect();
    Ok(Message::Assistant { text, calls })
}

#[cfg(test)]
#[path = "talks_tests.rs"]
mod tests;
