//! Why something did not end well.

use airlock_sdk::prelude::*;
use airlock_workflow::Problem;

/// Why a step, an item or a workflow has no output.
#[derive(Clone, Debug)]
pub(crate) enum Fail {
    /// It was told to stop: whoever did so knows why.
    Stopped,
    /// It counts as skipped.
    Skipped,
    /// It failed.
    Error(Error),
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// An expression that gave nothing: where in the file, and why.
pub(crate) fn unknown(problem: &Problem) -> Error {
    Error::permanent(format!("line {problem}"))
}

/// The error with the step it is of, whatever its kind.
pub(crate) fn of_step(error: Error, step: &str) -> Error {
    within(error, &format!("step `{step}`"))
}

/// The error with where it is from.
pub(crate) fn within(error: Error, place: &str) -> Error {
    match error {
        Error::Denied(mut denial) => {
            denial.operation = format!("{place}: {}", denial.operation);
            Error::Denied(denial)
        }
        Error::Limit { limit, value } => Error::limit(format!("{place}: {limit}"), value),
        // Only the host says `cancelled` of a run.
        Error::Cancelled => Error::permanent(format!("{place}: cancelled")),
        other => other.context(place),
    }
}
