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
