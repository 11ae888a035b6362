//! Why the configuration of models could not be read, or what was asked of it.

use std::path::PathBuf;

use airlock_journal::StoreError;
use airlock_models::PatternError;
use airlock_models::config::ConfigError;
use airlock_tls::TlsError;

use crate::problem::Failure;
use crate::stop::NotReady;
use crate::tokens::AuthError;

/// Why there are no models, or none of what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelsError {
    /// A file could not be read.
    #[error("reading {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
    /// The file of patterns that the configuration names could not be read.
    #[error("{config}: redaction.patterns_file: reading {path}: {error}")]
    ReadPatterns {
        /// The file of the configuration.
        config: PathBuf,
        /// The file of patterns.
        path: PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
    /// This process goes on without models, since theirs can't be used.
    #[error("no model is in force: {0}; `airlock models check FILE` tries what you change")]
    Unusable(String),
    /// The configuration can't be used.
    #[error("{path}: {error}")]
    Config {
        /// The file.
        path: PathBuf,
        /// All that is wrong.
        error: ConfigError,
    },
    /// The file of patterns can't be used.
    #[error("{path}: {error}")]
    Patterns {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        error: PatternError,
    },
    /// TLS could not be set up.
    #[error("setting up TLS for models: {0}")]
    Client(TlsError),
    /// There is no configuration of models.
    #[error(
        "no models are configured: write models.toml in the data directory, or name another file as `models_file` in airlock.toml, and run `airlock models reload` (docs/models.md)"
    )]
    NotConfigured,
    /// The day is none.
    #[error("`{0}` is not a day such as 2026-01-31")]
    Day(String),
    /// There is no such role.
    #[error("there is no role `{0}`; there are: {1}")]
    Role(String, String),
    /// The text is too long.
    #[error("the text has {0} bytes, and may have 65536")]
    Text(usize),
    /// The host takes nothing on.
    #[error("{0}")]
    NotReady(NotReady),
    /// No model answered.
    #[error("{0}")]
    Failed(String),
    /// The token of whoever asks was revoked or has expired meanwhile.
    #[error("the token is not valid any more")]
    Unauthenticated(#[from] AuthError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Failure for ModelsError {
    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. }
            | Self::ReadPatterns { .. }
            | Self::Unusable(_)
            | Self::Config { .. }
            | Self::Patterns { .. } => "models-invalid",
            Self::Client(_) => "internal",
            Self::NotConfigured => "models-not-configured",
            Self::Day(_) | Self::Text(_) => "invalid-request",
            Self::Role(..) => "role-not-found",
            Self::NotReady(_) => "not-ready",
            Self::Failed(_) => "model-failed",
            Self::Unauthenticated(error) => error.code(),
            Self::Store(_) => "store-failed",
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Read { .. }
            | Self::ReadPatterns { .. }
            | Self::Unusable(_)
            | Self::Config { .. }
            | Self::Patterns { .. } => 422,
            Self::Client(_) => 500,
            Self::NotConfigured | Self::Role(..) => 404,
            Self::Day(_) | Self::Text(_) => 400,
            Self::NotReady(_) => 503,
            Self::Failed(_) => 502,
            Self::Unauthenticated(error) => error.status(),
            Self::Store(_) => 503,
        }
    }

    fn detail(&self) -> String {
        self.to_string()
    }
}
