//! Why documents could not be read or changed.

use std::time::Duration;

use airlock_journal::StoreError;
use airlock_memory::MemoryError;

use crate::models::ModelsError;
use crate::problem::Failure;

/// Why an administrator's request to the memory failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryFailure {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// There is no such document.
    #[error("there is no document {id:?} in {namespace}")]
    NoDocument {
        /// The namespace.
        namespace: String,
        /// The id.
        id: String,
    },
    /// There is no such namespace, or the token does not reach it.
    #[error("there is no namespace {0}; one begins with its first document")]
    NoNamespace(String),
    /// Only what is shared is written by people.
    #[error("{0} is not shared: agents and tools write it, people may only delete from it")]
    NotShared(String),
    /// Whoever asks has no say any more.
    #[error(transparent)]
    Auth(#[from] crate::tokens::AuthError),
    /// What makes vectors costs, and counts in no budget.
    #[error(
        "`embed` asks a model of the host, outside any budget: it takes an administrator's token that is not limited to some plugins; give a `vector`"
    )]
    EmbedNeedsAdmin,
    /// No vectors were made.
    #[error("no vectors were made: {0}")]
    Embedding(String),
    /// There are no models that could make them.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// The memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl From<StoreError> for MemoryFailure {
    fn from(error: StoreError) -> Self {
        Self::Memory(MemoryError::Store(error))
    }
}

impl Failure for MemoryFailure {
    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid-request",
            Self::NoDocument { .. } => "document-not-found",
            Self::NoNamespace(_) => "namespace-not-found",
            Self::NotShared(_) => "namespace-not-shared",
            Self::Auth(error) => error.code(),
            Self::EmbedNeedsAdmin => "forbidden",
            Self::Embedding(_) => "embedding-failed",
            Self::Models(error) => error.code(),
            Self::Memory(error) => match error {
                MemoryError::Invalid { .. } => "invalid-request",
                MemoryError::TooLarge { .. } => "document-too-large",
                MemoryError::Conflict { .. } => "document-changed",
                MemoryError::Quota { .. } | MemoryError::Namespaces { .. } => "memory-quota",
                MemoryError::Dimension { .. } => "vector-length",
                MemoryError::TooLong { .. } => "search-too-long",
                MemoryError::Busy { .. } => "memory-busy",
                MemoryError::Store(_) | MemoryError::Corrupt { .. } => "store-failed",
                _ => "memory-failed",
            },
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
            Self::NoDocument { .. } | Self::NoNamespace(_) => 404,
            Self::NotShared(_) => 409,
            Self::Auth(error) => error.status(),
            Self::EmbedNeedsAdmin => 403,
            Self::Embedding(_) => 502,
            Self::Models(error) => error.status(),
            Self::Memory(error) => match error {
                MemoryError::Invalid { .. } | MemoryError::Dimension { .. } => 400,
                MemoryError::TooLarge { .. } => 413,
                MemoryError::Conflict { .. } => 409,
                error if error.is_quota() => 409,
                _ => 503,
            },
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Memory(
                MemoryError::Store(_) | MemoryError::Corrupt { .. } | MemoryError::Index { .. },
            ) => "the host's memory failed; its log says why".to_owned(),
            other => other.to_string(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Memory(MemoryError::Busy { .. }) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}
