//! Undoing what was done, when a run fails later: a saga.
//!
//! What must stay true: what undoes a step is worked out when the step is done, by
//! what was known then; it is done in the reverse order, each to its end, and
//! nothing stops it half-way. What could not be undone is a person's.

use airlock_sdk::agent;
use airlock_sdk::prelude::*;
use airlock_workflow::Retry;
use serde_json::Value;

use crate::act::Act;
use crate::attempt::again;
use crate::block::Run;
use crate::fail::Fail;
use crate::pool::Stop;

/// What undoes a step.
pub(crate) struct Undo<'w> {
    /// The step of the workflow that may undo it.
    pub(crate) step: usize,
    /// What people see.
    pub(crate) name: String,
    /// Why it can't be undone, where its values could not be worked out.
    pub(crate) act: Result<Act<'w>, Error>,
    pub(crate) retry: &'w Retry,
}

/// Undoes the last one first. Gives what was undone and what was not.
pub(crate) async fn undo(run: &Run<'_>, log: Vec<Undo<'_>>) -> (Vec<String>, Vec<String>) {
    let (mut undone, mut left) = (Vec::new(), Vec::new());
    for one in log.into_iter().rev() {
        match perform(run, &one).await {
            Ok(_) => {
                agent::log(&format!("undid `{}`", one.name));
                undone.push(one.name);
            }
            Err(error) => left.push(format!("`{}`: {error}", one.name)),
        }
    }
    (undone, left)
}

async fn perform(run: &Run<'_>, one: &Undo<'_>) -> Result<Value, Error> {
    let act = one.act.as_ref().map_err(Clone::clone)?;
    // Nobody says it.
    let never = Stop::default();
    let done = again(one.retry, &never, async || {
        act.perform(run, None, &never).await
    })
    .await;
    done.map_err(|fail| match fail {
        Fail::Error(error) => error,
        Fail::Stopped | Fail::Skipped => Error::permanent("it was not done"),
    })
}

/// The error of a run, with what became of what it had done.
pub(crate) fn told(error: Error, undone: &[String], left: &[String]) -> Error {
    if !left.is_empty() {
        return Error::escalate(format!("{error}; not undone: {}", left.join("; ")));
    }
    if !undone.is_empty() {
        agent::log(&format!("undone: {}", undone.join(", ")));
    }
    error
}
