//! Questions to people, and what a test has them answer.

use std::time::Duration;

use serde_json::Value;

use crate::agent::Decision;

/// What a person is asked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Question {
    /// What is asked.
    pub text: String,
    /// The answers to choose from.
    pub choices: Vec<String>,
    /// What is shown beside it.
    pub payload: Option<Value>,
    /// How long somebody may answer.
    pub due: Option<Duration>,
}

/// What a person answers: one of the choices, by itself or with more said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub(super) decision: Option<(Decision, Duration)>,
}

impl Answer {
    /// One of the choices, at once.
    #[must_use]
    pub fn choice(choice: impl Into<String>) -> Self {
        let decision = Decision {
            choice: choice.into(),
            note: None,
        };
        Self {
            decision: Some((decision, Duration::ZERO)),
        }
    }

    /// None: nobody answers.
    #[must_use]
    pub fn nobody() -> Self {
        Self { decision: None }
    }

    /// With a note.
    #[must_use]
    pub fn note(mut self, note: &str) -> Self {
        if let Some((decision, _)) = &mut self.decision {
            decision.note = Some(note.to_owned());
        }
        self
    }

    /// So long after it was asked, on the run's clock. Too late is not at all.
    #[must_use]
    pub fn after(mut self, time: Duration) -> Self {
        if let Some((_, after)) = &mut self.decision {
            *after = time;
        }
        self
    }
}

impl From<&str> for Answer {
    fn from(choice: &str) -> Self {
        Self::choice(choice)
    }
}

impl From<String> for Answer {
    fn from(choice: String) -> Self {
        Self::choice(choice)
    }
}
