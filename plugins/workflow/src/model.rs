//! Steps that ask a language model.
//!
//! The answer is the model's text, or, where the step has a `schema`, the JSON value
//! that was asked for; the schema is held to by the caller.

use airlock_sdk::agent;
use airlock_sdk::prelude::*;
use airlock_workflow::ModelAction;
use serde_json::Value;

/// What a model is asked, with its expressions evaluated.
pub(crate) struct Question<'w> {
    /// The role, and what the answer has to be.
    pub(crate) action: &'w ModelAction,
    /// What it is told of its task.
    pub(crate) system: Option<String>,
    /// What it is asked.
    pub(crate) prompt: String,
}

/// What an answer has room for where its step does not say: what it may have is set
/// aside before it is asked for.
const ANSWER_TOKENS: u64 = 8_192;

/// Times that an answer which can't be used is asked for again.
const REPAIRS: u32 = 2;

/// Asks a model.
pub(crate) async fn ask(question: &Question<'_>) -> Result<Value, Error> {
    let action = question.action;
    let mut chat = agent::Chat::new(&action.role);
    if let Some(system) = &question.system {
        chat = chat.system(system);
    }
    let most = action.max_tokens.unwrap_or(ANSWER_TOKENS);
    chat = chat.max_tokens(u32::try_from(most).unwrap_or(u32::MAX));
    let schema = action.schema.as_ref();
    if let Some(schema) = schema {
        chat = chat.output_with("answer", &schema.json());
    }
    chat.user(&question.prompt);
    let reply = chat.ask_repaired(REPAIRS).await?;
    match schema {
        Some(_) => reply.parse(),
        None => Ok(Value::String(reply.text)),
    }
}
