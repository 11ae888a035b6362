//! Why something with grants failed.

use airlock_journal::StoreError;

use crate::names::BadName;
use crate::plugins::PluginError;
use crate::problem::Failure;

/// Why grants could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The plugin can't be named or found, see [`PluginError`].
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A reason is not one.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// A rule, a class or a limit makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Another version is in force than the request was made from.
    #[error("version {found} is in force, not {expected}: look at it and try again")]
    VersionChanged {
        /// The one the request was made from.
        expected: u64,
        /// The one in force.
        found: u64,
    },
    /// Another component is active than the request was made for.
    #[error("{found} is active, not {expected}: look at it and try again")]
    DigestChanged {
        /// The one the request was made for.
        expected: String,
        /// The one that is active.
        found: String,
    },
    /// There is no such version of the grants.
    #[error("`{plugin}` has no grants version {version}")]
    VersionNotFound {
        /// The plugin.
        plugin: String,
        /// The version asked for.
        version: u64,
    },
    /// The version to go back to is the one in force.
    #[error(
        "version {version} of the grants of `{plugin}` is in force; only an earlier one can be gone back to"
    )]
    InForce {
        /// The plugin.
        plugin: String,
        /// The version.
        version: u64,
    },
    /// A `files` rule names the host's own data or keys, what holds them or what
    /// lies in them.
    #[error("{0}")]
    Reserved(String),
    /// What the rules name can't be opened.
    #[error("the rules can't be put in force: {0}")]
    Prepare(String),
    /// The store failed.
    #[error("storing the grants")]
    Store(#[from] StoreError),
    /// The work was interrupted.
    #[error("the work was interrupted")]
    Interrupted,
}

impl Failure for GrantError {
    fn code(&self) -> &'static str {
        match self {
            Self::Plugin(error) => error.code(),
            Self::BadName(_) => "bad-name",
            Self::Invalid(_) => "invalid-grants",
            Self::VersionChanged { .. } | Self::DigestChanged { .. } => "changed-meanwhile",
            Self::VersionNotFound { .. } => "grants-version-not-found",
            Self::InForce { .. } => "grants-version-in-force",
            Self::Reserved(_) => "reserved-directory",
            Self::Prepare(_) => "grants-not-in-force",
            Self::Store(_) => "store-failed",
            Self::Interrupted => "interrupted",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::Plugin(error) => error.status(),
            Self::BadName(_) => 400,
            Self::VersionNotFound { .. } => 404,
            Self::VersionChanged { .. } | Self::DigestChanged { .. } | Self::InForce { .. } => 409,
            Self::Invalid(_) | Self::Reserved(_) | Self::Prepare(_) => 422,
            Self::Store(_) | Self::Interrupted => 503,
        }
    }
}
