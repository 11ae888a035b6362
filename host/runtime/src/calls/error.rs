//! Why a call did not start, or can't be answered.

use std::time::Duration;

use airlock_journal::StoreError;
use serde_json::{Map, Value, json};

use crate::admission::NotAdmitted;
use crate::idempotency::IdempotencyError;
use crate::plugins::PluginError;
use crate::problem::Failure;

/// Why there is no reply from a tool. Except for [`CallRefused::NotRecorded`]
/// and [`CallRefused::Interrupted`], nothing of the call happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallRefused {
    /// The plugin can't be named or found, see [`PluginError`].
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The plugin has no such tool.
    #[error("`{plugin}` has no tool `{tool}`{hint}")]
    ToolNotFound {
        /// The plugin.
        plugin: String,
        /// The tool asked for.
        tool: String,
        /// The nearest name there is, in words, or nothing.
        hint: String,
    },
    /// The tool claims other effects than when its class was granted.
    #[error(
        "`{tool}` of `{plugin}` claims other effects than when they were granted; an administrator grants its effects again: `airlock plugin inspect {plugin}` shows how"
    )]
    ClaimChanged {
        /// The plugin.
        plugin: String,
        /// The tool.
        tool: String,
    },
    /// Its MCP server says something else of it than when it was accepted.
    #[error(
        "`{tool}` of `{plugin}`, an MCP server, says something else of itself than when it was accepted; an administrator sees the difference in `plugin inspect`, and accepts it with `plugin accept`"
    )]
    ToolChanged {
        /// The plugin.
        plugin: String,
        /// The tool.
        tool: String,
    },
    /// The body is no JSON.
    #[error("the input is not JSON: {0}")]
    InvalidJson(String),
    /// An object in the body has a member twice: which one counts is not said.
    #[error("the input has the member {0:?} twice in one object; each is given once")]
    MemberTwice(String),
    /// The body is over the plugin's `input` limit.
    #[error(
        "the input has {bytes} bytes, the limit `input` of `{plugin}` is {limit}; an administrator can raise it: airlock grant {plugin} --limit input=…"
    )]
    InputTooLarge {
        /// The plugin.
        plugin: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: String,
    },
    /// It may not start now.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The idempotency key does not let it start.
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError),
    /// What the grants name can't be opened.
    #[error("the grants of `{plugin}` can't be put in force: {why}")]
    Prepare {
        /// The plugin.
        plugin: String,
        /// Why; for administrators.
        why: String,
    },
    /// Nothing can be made durable, so nothing is begun.
    #[error("storing the call's intent")]
    Store(#[source] StoreError),
    /// It ran, and its record could not be made durable.
    #[error("storing the record of call {call_id}")]
    NotRecorded {
        /// The call.
        call_id: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The host failed during the call.
    #[error("the host failed during the call")]
    Interrupted,
    /// What it was judged by changed while it waited for its turn.
    #[error("what the call was judged by has changed")]
    Changed,
    /// Whoever asked for it took it back while it waited for its turn.
    #[error("cancelled")]
    Cancelled,
}

impl Failure for CallRefused {
    fn code(&self) -> &'static str {
        match self {
            Self::Plugin(error) => error.code(),
            Self::ToolNotFound { .. } => "tool-not-found",
            Self::ClaimChanged { .. } => "effects-changed",
            Self::ToolChanged { .. } => "tool-changed",
            Self::InvalidJson(_) => "invalid-json",
            Self::MemberTwice(_) => "member-twice",
            Self::InputTooLarge { .. } => "input-too-large",
            Self::NotAdmitted(error) => error.code(),
            Self::Idempotency(error) => error.code(),
            Self::Prepare { .. } => "grants-not-in-force",
            Self::Store(_) => "store-failed",
            Self::NotRecorded { .. } | Self::Interrupted => "unknown",
            Self::Changed => "changed",
            Self::Cancelled => "cancelled",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::Plugin(error) => error.status(),
            Self::ToolNotFound { .. } => 404,
            Self::ClaimChanged { .. } | Self::ToolChanged { .. } => 409,
            Self::InvalidJson(_) | Self::MemberTwice(_) => 400,
            Self::InputTooLarge { .. } => 413,
            Self::NotAdmitted(error) => error.status(),
            Self::Idempotency(error) => error.status(),
            Self::Prepare { .. } | Self::Store(_) | Self::Changed | Self::Cancelled => 503,
            Self::NotRecorded { .. } | Self::Interrupted => 500,
        }
    }
    fn detail(&self) -> String {
        match self {
            // The cause may name paths of the host.
            Self::Prepare { plugin, .. } => format!(
                "the grants of `{plugin}` can't be put in force; an administrator sees why in `plugin inspect`"
            ),
            Self::NotRecorded { .. } | Self::Interrupted => {
                "the call began, and the host failed: it may have happened".to_owned()
            }
            other => other.to_string(),
        }
    }
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Plugin(error) => error.retry_after(),
            Self::NotAdmitted(error) => error.retry_after(),
            Self::Idempotency(error) => error.retry_after(),
            _ => None,
        }
    }
    fn members(&self) -> Map<String, Value> {
        match self {
            Self::NotRecorded { call_id, .. } => {
                Map::from_iter([("call_id".to_owned(), json!(call_id))])
            }
            _ => Map::new(),
        }
    }
}
