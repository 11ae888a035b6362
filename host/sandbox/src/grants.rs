//! What an administrator allowed one plugin, and the cell a running call looks
//! at to see whether it still holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::capability::Grants;

#[cfg(test)]
mod tests;

/// What repeating a tool's effect means. The one in force is the grant's; a
/// tool's own claim is only the default shown when granting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum EffectClass {
    /// Changes nothing: only reading operations of the grants are available.
    ReadOnly,
    /// May be repeated under the same idempotency key.
    Idempotent,
    /// May delete or overwrite what cannot be brought back.
    Destructive,
    /// May not be repeated.
    #[default]
    Plain,
}

/// The grants of one plugin as they stand now. A call keeps the version it began
/// with in its permits and compares at each use, so that a revocation reaches it
/// in flight.
#[derive(Debug, Default)]
pub struct GrantsCell {
    version: AtomicU64,
    current: RwLock<Arc<Grants>>,
}

impl GrantsCell {
    /// A cell that holds `grants` as `version`.
    pub fn new(version: u64, grants: Grants) -> Self {
        Self {
            version: AtomicU64::new(version),
            current: RwLock::new(Arc::new(grants)),
        }
    }

    /// The version in force.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The version and the grants, consistent with each other.
    pub fn load(&self) -> (u64, Arc<Grants>) {
        let current = self
            .current
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        (self.version(), Arc::clone(&current))
    }

    /// Puts other grants in force, at once for calls in flight too.
    pub fn replace(&self, version: u64, grants: Grants) {
        let mut current = self
            .current
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *current = Arc::new(grants);
        self.version.store(version, Ordering::Release);
    }
}
