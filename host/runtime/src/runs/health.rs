//! Whether the runs that were taken go on.
//!
//! What must stay true: a host that keeps runs and does not bring them on says so,
//! and goes on by itself once it can.

use std::sync::atomic::{AtomicBool, Ordering};

use airlock_journal::StoreError;

use crate::runtime::Runtime;
use crate::stop::NotReady;

/// Whether another process looks after the runs that this one did.
#[derive(Debug, Default)]
pub(super) struct Lost(AtomicBool);

impl Lost {
    /// A write failed: for this reason, perhaps.
    pub(super) fn note(&self, error: &StoreError) {
        if let StoreError::Fenced { .. } = error {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Why the runs stand still here once their lease is not renewed.
pub(super) fn not_renewed(error: &StoreError) -> &'static str {
    match error {
        StoreError::Fenced { .. } => "the runs are looked after by somebody else",
        _ => "the store failed, and runs stand still: look at the disk, and restart the server",
    }
}

impl Runtime {
    /// Whether it takes work and brings it on: beside [`Runtime::ready`], whether
    /// the runs are still its own, and whether those that wait for a sandbox get
    /// one.
    ///
    /// # Errors
    /// Why not.
    pub fn health(&self) -> Result<(), NotReady> {
        self.ready()?;
        if self.runs.lost.0.load(Ordering::Relaxed) {
            return Err(NotReady::Lease);
        }
        match self.runs.slots.is_stuck(self.config().runs_stuck) {
            true => Err(NotReady::Stuck),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_store_is_not_told_as_another_process() {
        let table = [
            (
                StoreError::Fenced {
                    lease: "runs".to_owned(),
                },
                "somebody else",
                true,
            ),
            (
                StoreError::Poisoned {
                    cause: "disk is full".to_owned(),
                },
                "the store failed",
                false,
            ),
            (
                StoreError::Io {
                    step: "writing".to_owned(),
                    source: "no space".into(),
                },
                "the store failed",
                false,
            ),
        ];
        for (error, told, elsewhere) in table {
            assert!(not_renewed(&error).contains(told), "{error}");
            let lost = Lost::default();
            lost.note(&error);
            assert_eq!(lost.0.load(Ordering::Relaxed), elsewhere, "{error}");
        }
    }
}
