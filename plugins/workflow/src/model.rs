//! Steps that ask a language model.
//!
//! This is the one place to change when the host's interface to models is there:
//! the answer is the model's text, or, where the step has a `schema`, the JSON value
//! that was asked for; the schema is held to by the caller.

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

/// Asks a model.
pub(crate) async fn ask(question: &Question<'_>) -> Result<Value, Error> {
    let (role, asked) = (&question.action.role, question.prompt.len());
    let told = question.system.as_ref().map_or(0, String::len);
    agent_log(&format!(
        "a model as `{role}` was to be asked with {} bytes",
        asked + told
    ));
    Err(Error::permanent("models are not there in this version"))
}

fn agent_log(message: &str) {
    airlock_sdk::agent::log(message);
}
