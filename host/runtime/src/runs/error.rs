//! Why something can't be done with a run.

use std::time::Duration;

use crate::admission::NotAdmitted;
use crate::problem::Failure;
use crate::tokens::AuthError;

/// Why something can't be done with a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// There is no such run, or it is out of the caller's scope.
    #[error("there is no run `{0}`")]
    NotFound(String),
    /// It was removed; its id is gone for good.
    #[error("run `{0}` has ended, and was removed (pruned)")]
    Pruned(String),
    /// The plugin is there and is no agent.
    #[error("`{0}` is not an agent: it has tools, see `airlock tool list`")]
    NotAnAgent(String),
    /// The plugin is not there.
    #[error(transparent)]
    Plugin(#[from] crate::plugins::PluginError),
    /// A member of the request.
    #[error("{0}")]
    Invalid(String),
    /// It has ended.
    #[error("run `{0}` has ended")]
    Ended(String),
    /// Nobody waits for its signals.
    #[error(
        "run `{0}` has as many signals as it keeps that its agent was not told of, or its journal is full: try again later"
    )]
    InboxFull(String),
    /// It is durable, and not looked after yet.
    #[error(
        "run `{0}` is just being taken up: try again in a moment, and see the server's log where that does not help"
    )]
    NotTakenUp(String),
    /// It waits for nobody.
    #[error("run `{0}` is neither blocked nor paused: it needs nobody to go on")]
    NotBlocked(String),
    /// The question is no longer open.
    #[error("there is no open question `{0}`: it was answered, its time is over, or its run ended")]
    NoQuestion(String),
    /// The question is for people with another role.
    #[error("a token with the role `{0}` decides this question")]
    NotTheirs(crate::Role),
    /// A person counts once.
    #[error("you approved `{0}` already: somebody else has to as well")]
    ApprovedAlready(String),
    /// Nothing is done by a run that observes, whatever is decided.
    #[error(
        "`{0}` was never a question: its run only observes, so the call was written down and not made; approving it does nothing"
    )]
    OnlyObserved(String),
    /// Whoever started the run does not approve its calls.
    #[error(
        "you started this run: somebody else has to approve its calls, with a token of their own (`airlock token create NAME --role approver`, and `--token-file FILE` when deciding), unless the agent's rule says `own_approval = true`"
    )]
    OwnApproval,
    /// It may not start now.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// Too many runs are at work.
    #[error("{0} runs are at work, as many as may be: try again later")]
    Overloaded(usize),
    /// The run has fewer steps.
    #[error("the run has made {asked} requests: fork it at one of 0 to {asked}, not {at}")]
    NoStep {
        /// What was asked for.
        at: u64,
        /// Requests that the run made.
        asked: u64,
    },
    /// A fork with another version of its agent than the active one.
    #[error(
        "`{0}` is not the active version of the run's agent: an administrator forks a run with it, or activates it"
    )]
    VersionNotActive(String),
    /// Resuming that is not the caller's to do.
    #[error("{0}: an operator lets the run go on")]
    NeedsOperator(&'static str),
    /// The decision names another binding than the question has.
    #[error("`{0}` was asked anew since: look at it again (`airlock approvals show {0}`)")]
    ApprovalChanged(String),
    /// The agent, or what it is given, does not lead to the step.
    #[error("it does something else before the step: {0}")]
    ForkDiffers(String),
    /// As many agents run as may.
    #[error("as many agents run as may at a time")]
    NoRoom,
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The store.
    #[error("the store failed")]
    Store(#[from] airlock_journal::StoreError),
    /// The store failed earlier.
    #[error(
        "the store failed: whether this was kept shows after a restart; look at the disk first"
    )]
    NotKept,
}

impl Failure for RunError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "run-not-found",
            Self::Pruned(_) => "run-pruned",
            Self::NotAnAgent(_) => "not-an-agent",
            Self::Plugin(error) => error.code(),
            Self::Invalid(_) => "invalid-request",
            Self::Ended(_) => "run-ended",
            Self::InboxFull(_) => "inbox-full",
            Self::NotTakenUp(_) => "run-not-taken-up",
            Self::NotBlocked(_) => "run-not-blocked",
            Self::NoQuestion(_) => "approval-not-found",
            Self::NotTheirs(_) => "approver-role",
            Self::ApprovedAlready(_) => "approved-already",
            Self::OnlyObserved(_) => "only-observed",
            Self::OwnApproval => "own-approval",
            Self::NotAdmitted(error) => error.code(),
            Self::Overloaded(_) => "overloaded",
            Self::NoStep { .. } => "no-such-step",
            Self::VersionNotActive(_) => "version-not-active",
            Self::NeedsOperator(_) => "forbidden",
            Self::ApprovalChanged(_) => "approval-changed",
            Self::ForkDiffers(_) => "fork-differs",
            Self::NoRoom => "overloaded",
            Self::Unauthenticated(error) => error.code(),
            Self::Store(_) | Self::NotKept => "store-failed",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::NotFound(_) | Self::NoQuestion(_) => 404,
            Self::Pruned(_) => 410,
            Self::NotAnAgent(_) | Self::Invalid(_) | Self::NoStep { .. } => 422,
            Self::Plugin(error) => error.status(),
            Self::InboxFull(_) => 429,
            Self::NotAdmitted(error) => error.status(),
            Self::OwnApproval
            | Self::NotTheirs(_)
            | Self::VersionNotActive(_)
            | Self::NeedsOperator(_) => 403,
            Self::Unauthenticated(error) => error.status(),
            Self::ForkDiffers(_)
            | Self::ApprovalChanged(_)
            | Self::Ended(_)
            | Self::ApprovedAlready(_)
            | Self::OnlyObserved(_)
            | Self::NotBlocked(_) => 409,
            Self::NoRoom
            | Self::NotTakenUp(_)
            | Self::Overloaded(_)
            | Self::Store(_)
            | Self::NotKept => 503,
        }
    }
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotAdmitted(error) => error.retry_after(),
            Self::Overloaded(_) | Self::NoRoom | Self::NotTakenUp(_) => {
                Some(Duration::from_secs(1))
            }
            Self::InboxFull(_) => Some(Duration::from_secs(10)),
            _ => None,
        }
    }
}
