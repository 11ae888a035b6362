//! Why something can't be done with a webhook, or a delivery was not taken.

use std::time::Duration;

use airlock_journal::StoreError;

use super::claim::TOLERANCE_S;
use crate::engine::VaultError;
use crate::names::BadName;
use crate::problem::Failure;
use crate::runs::RunError;
use crate::tokens::AuthError;

/// Why something can't be done with a webhook, or a delivery was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// A header of a delivery.
    #[error("{0}")]
    Header(String),
    /// The delivery's time.
    #[error(
        "the delivery's `webhook-timestamp` is {off_s} s {}; up to {TOLERANCE_S} s are taken",
        if *ahead { "ahead of this host's clock" } else { "old" }
    )]
    Time {
        /// Seconds.
        off_s: u64,
        /// Whether it is in the future.
        ahead: bool,
    },
    /// The signature is wrong, or there is no such hook.
    #[error("no webhook of this name takes this delivery: the name or the signature is wrong")]
    Refused,
    /// Whoever made it has no say any more.
    #[error(
        "the token that made this webhook was revoked; somebody has to make it again, or to rotate its secret"
    )]
    Revoked,
    /// Another body came under the same id.
    #[error("a delivery with this id and another body was taken before")]
    Reused,
    /// The body.
    #[error("{0}")]
    Body(String),
    /// Too many deliveries.
    #[error("the webhook takes no more deliveries at the moment")]
    Rate {
        /// How long until it does.
        wait: Duration,
    },
    /// Everything stands still, or the host is stopping.
    #[error(transparent)]
    NotReady(#[from] crate::stop::NotReady),
    /// There is none of this name, or it is out of the caller's scope.
    #[error("there is no webhook `{0}`")]
    NotFound(String),
    /// The name is taken.
    #[error("there is a webhook `{0}` already; remove it first")]
    Exists(String),
    /// There are as many as there may be.
    #[error("there are {0} webhooks already; remove one")]
    Full(usize),
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] BadName),
    /// A member of the request.
    #[error("{0}")]
    Invalid(String),
    /// What it is to do can't be done.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The secret can't be sealed or opened.
    #[error("the webhook's secret")]
    Vault(#[from] VaultError),
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The store.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Failure for HookError {
    fn code(&self) -> &'static str {
        match self {
            Self::Header(_) => "hook-header",
            Self::Time { .. } => "hook-timestamp",
            Self::Refused => "hook-refused",
            Self::Revoked => "hook-revoked",
            Self::Reused => "hook-delivery-reused",
            Self::Body(_) => "hook-body",
            Self::Rate { .. } => "rate-limited",
            Self::NotReady(_) => "not-ready",
            Self::NotFound(_) => "hook-not-found",
            Self::Exists(_) => "hook-exists",
            Self::Full(_) => "hooks-full",
            Self::Name(_) => "bad-name",
            Self::Invalid(_) => "hook-invalid",
            Self::Run(error) => error.code(),
            Self::Vault(error) => error.code(),
            Self::Unauthenticated(error) => error.code(),
            Self::Store(_) => "store-failed",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Header(_) | Self::Name(_) | Self::Body(_) => 400,
            Self::Time { .. } | Self::Refused | Self::Revoked => 403,
            Self::NotFound(_) => 404,
            Self::Reused | Self::Exists(_) | Self::Full(_) => 409,
            Self::Invalid(_) => 422,
            Self::Rate { .. } => 429,
            Self::Run(error) => error.status(),
            Self::Unauthenticated(error) => error.status(),
            Self::Vault(VaultError::Value(_)) => 422,
            Self::Vault(VaultError::Store(_)) | Self::NotReady(_) | Self::Store(_) => 503,
            Self::Vault(_) => 500,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rate { wait } => Some(*wait),
            Self::NotReady(_) => Some(Duration::from_secs(5)),
            Self::Run(error) => error.retry_after(),
            _ => None,
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Vault(VaultError::Value(why)) => format!("secret: {why}"),
            other => other.to_string(),
        }
    }
}
