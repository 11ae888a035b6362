//! What a model answers with, until nothing is wrong with it.

use airlock_sdk::agent::{Chat, Reply, Unusable};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{cut_end, fill};
use serde::de::DeserializeOwned;

use crate::ERROR_BYTES_MAX;

/// How often an answer that can't be used is asked for again.
pub const REPAIRS: u32 = 3;

/// What a model is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What it is called where the model gives none: "the model's plan stays wrong".
    pub what: &'static str,
    /// What the model is told of an answer that can't be used, with the place
    /// `{problems}`.
    pub again: &'static str,
}

/// The next answer that can be done: of this form, and without problems, which are
/// lines for the model.
///
/// # Errors
/// The model can't be asked; it declines, or its answers stay wrong: a person is
/// asked then.
pub async fn next_step<T: DeserializeOwned>(
    chat: &mut Chat,
    asked: Asked,
    problems_of: impl Fn(&T) -> Vec<String>,
) -> Result<T, Error> {
    let mut last = String::new();
    for _ in 0..=REPAIRS {
        let reply = usable(chat.ask_repaired(REPAIRS).await)?;
        last = match reply.parse::<T>() {
            Ok(step) => match problems_of(&step) {
                problems if problems.is_empty() => return Ok(step),
                problems => problems.join("\n"),
            },
            Err(error) => format!("- {error}"),
        };
        chat.user(&fill(asked.again, &[("problems", &last)]));
    }
    Err(Error::escalate(format!(
        "the model's {} stays wrong: {}",
        asked.what,
        cut_end(&last, ERROR_BYTES_MAX)
    )))
}

fn usable(reply: Result<Reply, Unusable>) -> Result<Reply, Error> {
    reply.map_err(|unusable| match unusable {
        Unusable::Asking(error) => error.context("asking the model"),
        unusable => Error::escalate(unusable.to_string()),
    })
}
