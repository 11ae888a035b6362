//! Why the memory could not do it. The code of an error is stable; its text says
//! what was wrong, where, and what to do.

use airlock_journal::StoreError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Something the caller gave is not what it has to be.
    #[error("{what}: {why}")]
    Invalid {
        /// Which part of the request.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something the caller gave is over a bound.
    #[error("{what}: {found} {unit}, at most {max} are allowed")]
    TooLarge {
        /// Which part of the request.
        what: String,
        /// Its size.
        found: u64,
        /// The bound.
        max: u64,
        /// The unit of both.
        unit: &'static str,
    },
    /// The document is not in the version that the change was made for.
    #[error("document {id:?} {}; nothing was changed", conflict(*.found))]
    Conflict {
        /// The document's id.
        id: String,
        /// Its version; `None`: there is none.
        found: Option<u64>,
    },
    /// The write would go beyond the namespace's quota.
    #[error(
        "namespace {namespace} would hold {wanted} {unit}, its quota is {max}; \
         delete documents or raise the quota"
    )]
    Quota {
        /// The namespace.
        namespace: String,
        /// How much it would hold.
        wanted: u64,
        /// How much it may hold.
        max: u64,
        /// The unit of both.
        unit: &'static str,
    },
    /// There would be more namespaces than there may be.
    #[error(
        "{holder} would have {wanted} {unit}, at most {max} are allowed; \
         a namespace goes with its last document: delete what is not needed"
    )]
    Namespaces {
        /// Whose they are: a plugin's, or the memory's as a whole.
        holder: String,
        /// How many there would be.
        wanted: u64,
        /// How many there may be.
        max: u64,
        /// Which.
        unit: String,
    },
    /// A vector has another length than those that are there.
    #[error("a vector of {found} numbers, but namespace {namespace} has vectors of {expected}")]
    Dimension {
        /// The namespace.
        namespace: String,
        /// Length of the vector given.
        found: usize,
        /// Length of the vectors in the namespace.
        expected: usize,
    },
    /// A search took longer than any may.
    #[error(
        "the search took longer than {ms_max} ms and was ended; \
         search fewer namespaces, or for fewer and rarer words"
    )]
    TooLong {
        /// How long it may take, milliseconds.
        ms_max: u64,
    },
    /// It may work later.
    #[error("the memory is busy: {why}; try again later")]
    Busy {
        /// What it waits for.
        why: String,
    },
    /// The store failed. Whether a write happened shows only when the store is
    /// opened again.
    #[error("the memory's store failed")]
    Store(#[from] StoreError),
    /// An index failed. It is built again from the store.
    #[error("the full-text index failed while {step}")]
    Index {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row in the store is not what was written.
    #[error("damaged memory at {place}")]
    Corrupt {
        /// Which row, and what is wrong with it.
        place: String,
    },
}

fn conflict(found: Option<u64>) -> String {
    match found {
        Some(version) => format!("is in version {version}"),
        None => "does not exist".to_owned(),
    }
}

impl MemoryError {
    /// A name for the kind of failure that does not change.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid-input",
            Self::TooLarge { .. } => "too-large",
            Self::Conflict { .. } => "conflict",
            Self::Quota { .. } | Self::Namespaces { .. } => "quota",
            Self::Dimension { .. } => "dimension",
            Self::TooLong { .. } => "too-long",
            Self::Busy { .. } => "busy",
            Self::Store(_) => "store",
            Self::Index { .. } => "index",
            Self::Corrupt { .. } => "corrupt",
        }
    }

    /// Whether what was to be written does not fit, by a quota of its namespace or by
    /// the number of namespaces.
    #[must_use]
    pub fn is_quota(&self) -> bool {
        matches!(self, Self::Quota { .. } | Self::Namespaces { .. })
    }

    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            why: why.into(),
        }
    }

    pub(crate) fn busy(why: impl Into<String>) -> Self {
        Self::Busy { why: why.into() }
    }

    pub(crate) fn corrupt(place: impl Into<String>) -> Self {
        Self::Corrupt {
            place: place.into(),
        }
    }

    /// A failure of the index while doing `step`.
    pub(crate) fn index(step: &'static str) -> impl Fn(tantivy::TantivyError) -> Self + Copy {
        move |source| Self::Index {
            step,
            source: Box::new(source),
        }
    }
}

/// Refuses a number of answers that is 0 or over `max`.
pub(crate) fn limited(found: usize, max: usize, unit: &'static str) -> Result<(), MemoryError> {
    match (1..=max).contains(&found) {
        true => Ok(()),
        false => Err(MemoryError::invalid(
            "limit",
            format!("it is {found}; 1 to {max} {unit}"),
        )),
    }
}

/// Refuses `found` when it is over `max`.
pub(crate) fn bounded(
    what: &str,
    found: usize,
    max: usize,
    unit: &'static str,
) -> Result<(), MemoryError> {
    if found <= max {
        return Ok(());
    }
    Err(MemoryError::TooLarge {
        what: what.to_owned(),
        found: found as u64,
        max: max as u64,
        unit,
    })
}
