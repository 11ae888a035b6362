//! Why there is no answer: the taxonomy that calls of tools have too, and the
//! reasons that decide whether something else is tried.
//!
//! What must stay true: no text here holds a key, and what a provider said is
//! bounded and scrubbed before it is in one.

use serde::{Deserialize, Serialize};

/// What the agent is told. The names are those of a tool's call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModelError {
    /// The request's fault; the same again fails again.
    #[error("invalid input: {message}")]
    InvalidInput {
        /// What is wrong, and where.
        message: String,
    },
    /// It is not allowed.
    #[error("denied: {message}")]
    Denied {
        /// What is missing.
        message: String,
    },
    /// It may work later.
    #[error("transient: {message}")]
    Transient {
        /// What failed.
        message: String,
        /// Milliseconds to wait before the next attempt, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// It will not work until somebody changes something.
    #[error("permanent: {message}")]
    Permanent {
        /// Why.
        message: String,
    },
    /// A limit or a budget ended it.
    #[error("limit {limit} reached ({value})")]
    Limit {
        /// The limit's name.
        limit: String,
        /// Its value with its unit.
        value: String,
    },
    /// The caller ended it.
    #[error("cancelled")]
    Cancelled,
    /// The request was sent and its answer is not known: it may have been worked
    /// on, and may cost.
    #[error("unknown: {message}")]
    Unknown {
        /// What is known.
        message: String,
    },
}

/// Why an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The model can't do what the request needs.
    Unfit,
    /// The model failed too often lately, and is left alone for a while.
    CircuitOpen,
    /// Its queue is full, or its turn did not come in time.
    Busy,
    /// The attempt might cost more than is left.
    Budget,
    /// Whoever asks may not any more.
    Denied,
    /// No connection, or no TLS.
    Connect,
    /// A bound in time passed.
    Timeout,
    /// The provider, or the model's own rate, says: not now.
    RateLimit,
    /// The provider's account has nothing left.
    Quota,
    /// The provider failed.
    Server,
    /// The provider refused the host's key.
    Key,
    /// The provider has no such model.
    Missing,
    /// The provider refused the request.
    Rejected,
    /// The model, or a filter, declined to answer.
    Refusal,
    /// The answer broke off.
    Cut,
    /// The answer is none of its protocol, contradicts itself or is too large.
    Garbled,
    /// The answer has faults that the agent could repair.
    Faulty,
}

impl Why {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unfit => "unfit",
            Self::CircuitOpen => "circuit-open",
            Self::Busy => "busy",
            Self::Budget => "budget",
            Self::Denied => "denied",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::RateLimit => "rate-limit",
            Self::Quota => "quota",
            Self::Server => "server",
            Self::Key => "key",
            Self::Missing => "missing",
            Self::Rejected => "rejected",
            Self::Refusal => "refusal",
            Self::Cut => "cut",
            Self::Garbled => "garbled",
            Self::Faulty => "faulty",
        }
    }
}

/// What is known of what became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Nothing of it was sent.
    NotSent,
    /// The provider answered.
    Answered,
    /// It was sent, and what the provider did is not known.
    Unknown,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Failed {
    pub(crate) why: Why,
    pub(crate) fate: Fate,
    pub(crate) error: ModelError,
}

impl Failed {
    pub(crate) fn transient(why: Why, message: impl Into<String>) -> Self {
        Self {
            why,
            fate: Fate::NotSent,
            error: ModelError::Transient {
                message: message.into(),
                retry_after_ms: None,
            },
        }
    }

    /// The provider answered, and not as its protocol says.
    pub(crate) fn garbled(message: impl Into<String>) -> Self {
        Self {
            why: Why::Garbled,
            fate: Fate::Answered,
            error: ModelError::Permanent {
                message: message.into(),
            },
        }
    }

    pub(crate) fn unknown(why: Why, message: impl Into<String>) -> Self {
        Self {
            why,
            fate: Fate::Unknown,
            error: ModelError::Unknown {
                message: message.into(),
            },
        }
    }

    /// Milliseconds that the provider asked to wait.
    pub(crate) fn retry_after_ms(&self) -> Option<u64> {
        match &self.error {
            ModelError::Transient { retry_after_ms, .. } => *retry_after_ms,
            _ => None,
        }
    }
}

impl ModelError {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidInput {
            message: message.into(),
        }
    }

    /// The same with its text changed.
    pub(crate) fn map_text(self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::InvalidInput { message } => Self::InvalidInput {
                message: change(&message),
            },
            Self::Denied { message } => Self::Denied {
                message: change(&message),
            },
            Self::Transient {
                message,
                retry_after_ms,
            } => Self::Transient {
                message: change(&message),
                retry_after_ms,
            },
            Self::Permanent { message } => Self::Permanent {
                message: change(&message),
            },
            Self::Unknown { message } => Self::Unknown {
                message: change(&message),
            },
            Self::Limit { limit, value } => Self::Limit {
                limit,
                value: change(&value),
            },
            Self::Cancelled => Self::Cancelled,
        }
    }
}
