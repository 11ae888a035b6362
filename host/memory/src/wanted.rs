//! How long a search goes on: while somebody waits for its answer, and no longer than
//! any search may.
//!
//! What must stay true: what takes long looks at this, wherever it begins something
//! whose size another caller chose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::MemoryError;
use crate::limits::SEARCH_MS_MAX;

/// Whether somebody still waits for an answer.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    left: Arc<AtomicBool>,
}

impl Wanted {
    /// Somebody who waits: who drops this waits no longer.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting(self.clone())
    }

    /// Whether somebody does; also where nobody ever began to.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        !self.left.load(Ordering::Relaxed)
    }
}

/// Held by whoever waits for an answer.
#[derive(Debug)]
pub struct Waiting(Wanted);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.left.store(true, Ordering::Relaxed);
    }
}

/// How long one search goes on.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    wanted: Wanted,
    until: Instant,
}

impl Bound {
    /// From now on.
    pub(crate) fn of(wanted: &Wanted) -> Self {
        Self::until(wanted, Duration::from_millis(SEARCH_MS_MAX))
    }

    pub(crate) fn until(wanted: &Wanted, longest: Duration) -> Self {
        Self {
            wanted: wanted.clone(),
            until: Instant::now() + longest,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        !self.wanted.is_wanted() || Instant::now() >= self.until
    }

    /// Why the search ends, where it does.
    pub(crate) fn check(&self) -> Result<(), MemoryError> {
        match self.is_over() {
            false => Ok(()),
            true if !self.wanted.is_wanted() => {
                Err(MemoryError::busy("nobody waits for the answer"))
            }
            true => Err(MemoryError::TooLong {
                ms_max: SEARCH_MS_MAX,
            }),
        }
    }
}
