//! Why something can't be done with a schedule.

use airlock_journal::StoreError;

use crate::names::BadName;
use crate::problem::Failure;
use crate::runs::RunError;
use crate::tokens::AuthError;

/// Why something can't be done with a schedule.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// There is none of this name, or it is out of the caller's reach.
    #[error("there is no schedule `{0}`")]
    NotFound(String),
    /// The name is taken.
    #[error("there is a schedule `{0}` already: change it with PUT, or remove it first")]
    Exists(String),
    /// There are as many as there may be.
    #[error("there are {0} schedules already; remove one")]
    Full(usize),
    /// They have as many bytes as they may.
    #[error(
        "all schedules together have at most {0} bytes, and with this one they have more: let its run read a long input elsewhere"
    )]
    TooLong(usize),
    /// One caller has as many as one may.
    #[error(
        "{0} schedules are yours already, as many as one caller may have; remove one, or let an administrator make more"
    )]
    ShareFull(usize),
    /// One caller's have as many bytes as they may.
    #[error(
        "your schedules together have at most {0} bytes, and with this one they have more: let its run read a long input elsewhere"
    )]
    ShareTooLong(usize),
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A member of the request.
    #[error("{0}")]
    Invalid(String),
    /// What it is to do can't be done.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Failure for ScheduleError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "schedule-not-found",
            Self::Exists(_) => "schedule-exists",
            Self::Full(_) | Self::TooLong(_) | Self::ShareFull(_) | Self::ShareTooLong(_) => {
                "schedules-full"
            }
            Self::Name(_) => "bad-name",
            Self::Invalid(_) => "schedule-invalid",
            Self::Run(error) => error.code(),
            Self::Unauthenticated(error) => error.code(),
            Self::Store(_) => "store-failed",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) => 404,
            Self::Exists(_)
            | Self::Full(_)
            | Self::TooLong(_)
            | Self::ShareFull(_)
            | Self::ShareTooLong(_) => 409,
            Self::Name(_) => 400,
            Self::Invalid(_) => 422,
            Self::Run(error) => error.status(),
            Self::Unauthenticated(error) => error.status(),
            Self::Store(_) => 503,
        }
    }
}
