//! Why something with plugins failed.

use std::time::Duration;

use airlock_journal::StoreError;
use serde_json::{Map, Value, json};

use crate::admission::NotAdmitted;
use crate::engine::InstallError;
use crate::names::BadName;
use crate::problem::Failure;
use crate::tokens::AuthError;

/// Why a plugin could not be installed, found, activated or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// A name, digest or reason is not one.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// There is no plugin of this name.
    #[error("there is no plugin `{plugin}`{hint}")]
    NotFound {
        /// The plugin asked for.
        plugin: String,
        /// The nearest name there is, in words, or nothing.
        hint: String,
    },
    /// The principal's token does not reach this plugin.
    #[error("the token does not reach the plugin `{0}`")]
    OutsideScope(String),
    /// What the principal asked for reaches further than its token, which is
    /// limited to some plugins.
    #[error(
        "the token is limited to some plugins and can't put {rule} in force for `{plugin}`: an administrator without that limit must"
    )]
    BeyondScope {
        /// The plugin.
        plugin: String,
        /// Which rules.
        rule: &'static str,
    },
    /// There is no operation with this id (any more).
    #[error("there is no operation `{0}`; ended ones are kept for an hour")]
    OperationNotFound(String),
    /// The plugin has no such version.
    #[error("`{plugin}` has no version {digest}")]
    VersionNotFound {
        /// The plugin.
        plugin: String,
        /// The digest asked for.
        digest: String,
    },
    /// The bytes are not what the request said.
    #[error("the component's digest is {found}, not {expected}")]
    DigestMismatch {
        /// What the request said.
        expected: String,
        /// What the bytes have.
        found: String,
    },
    /// Going back to an older version must be asked for.
    #[error(
        "{digest} was installed before the active version of `{plugin}`: say `downgrade` to go back to it"
    )]
    Downgrade {
        /// The plugin.
        plugin: String,
        /// The digest asked for.
        digest: String,
    },
    /// Replacing an active version takes an administrator.
    #[error("only an administrator may replace the active version of `{0}`")]
    NeedsAdmin(String),
    /// Installing an MCP server takes an administrator.
    #[error("`{0}` is an MCP server, which is not sandboxed: only an administrator may install it")]
    ServerNeedsAdmin(String),
    /// The plugin is a component.
    #[error("`{0}` is no MCP server: say which `server` to install")]
    NotAServer(String),
    /// What is said of an MCP server makes no sense.
    #[error("the MCP server can't be installed: {0}")]
    BadServer(String),
    /// The MCP server gave no list of tools that can be taken.
    #[error("the MCP server can't be asked for its tools: {0}")]
    Unreachable(String),
    /// Too many installs wait.
    #[error("{0} installs are waiting already")]
    Busy(usize),
    /// A plugin has that many versions; remove the plugin or old versions.
    #[error("`{plugin}` has {versions_max} versions already")]
    TooManyVersions {
        /// The plugin.
        plugin: String,
        /// The most a plugin may have.
        versions_max: usize,
    },
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The host is stopping.
    #[error("the host is shutting down")]
    ShuttingDown,
    /// A server would be asked while it, or everything, is halted.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The component is not acceptable.
    #[error("the component is not acceptable")]
    Component(#[source] InstallError),
    /// The component can't be stored.
    #[error("storing the component")]
    Disk(#[source] std::io::Error),
    /// The grants of the plugin can't be put in force with this version.
    #[error("the grants can't be put in force: {0}")]
    Prepare(String),
    /// The store failed.
    #[error("storing the plugin")]
    Store(#[from] StoreError),
    /// The work was interrupted.
    #[error("the work was interrupted")]
    Interrupted,
}

impl PluginError {
    /// It was there a moment ago, or is spelled by the host.
    pub(crate) fn gone(plugin: &str) -> Self {
        let (plugin, hint) = (plugin.to_owned(), String::new());
        Self::NotFound { plugin, hint }
    }
}

impl Failure for PluginError {
    fn code(&self) -> &'static str {
        match self {
            Self::BadName(_) => "bad-name",
            Self::NotFound { .. } => "plugin-not-found",
            Self::OutsideScope(_) | Self::BeyondScope { .. } => "outside-scope",
            Self::OperationNotFound(_) => "operation-not-found",
            Self::VersionNotFound { .. } => "version-not-found",
            Self::DigestMismatch { .. } => "digest-mismatch",
            Self::Downgrade { .. } => "downgrade",
            Self::NeedsAdmin(_) | Self::ServerNeedsAdmin(_) => "forbidden",
            Self::NotAServer(_) => "not-a-server",
            Self::BadServer(_) => "bad-server",
            Self::Unreachable(_) => "server-unusable",
            Self::Busy(_) => "overloaded",
            Self::TooManyVersions { .. } => "too-many-versions",
            Self::Unauthenticated(error) => error.code(),
            Self::ShuttingDown => "shutting-down",
            Self::NotAdmitted(error) => error.code(),
            Self::Component(error) => error.code(),
            Self::Prepare(_) => "grants-not-in-force",
            Self::Disk(_) | Self::Store(_) => "store-failed",
            Self::Interrupted => "interrupted",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::BadName(_) => 400,
            Self::Unauthenticated(error) => error.status(),
            Self::NotAdmitted(error) => error.status(),
            Self::OutsideScope(_)
            | Self::BeyondScope { .. }
            | Self::NeedsAdmin(_)
            | Self::ServerNeedsAdmin(_) => 403,
            Self::NotFound { .. } | Self::OperationNotFound(_) | Self::VersionNotFound { .. } => {
                404
            }
            Self::Downgrade { .. } | Self::TooManyVersions { .. } | Self::Prepare(_) => 409,
            Self::DigestMismatch { .. }
            | Self::Component(_)
            | Self::NotAServer(_)
            | Self::BadServer(_) => 422,
            Self::Unreachable(_) => 502,
            Self::Busy(_) | Self::ShuttingDown | Self::Interrupted => 503,
            Self::Disk(_) | Self::Store(_) => 503,
        }
    }
    fn detail(&self) -> String {
        match self {
            // The complaint is about the caller's own bytes.
            Self::Component(error) => error.to_string(),
            other => other.to_string(),
        }
    }
    fn retry_after(&self) -> Option<Duration> {
        matches!(self, Self::Busy(_) | Self::ShuttingDown).then_some(Duration::from_secs(5))
    }
    fn members(&self) -> Map<String, Value> {
        match self {
            Self::DigestMismatch { found, .. } => Map::from_iter([("digest".into(), json!(found))]),
            _ => Map::new(),
        }
    }
}
