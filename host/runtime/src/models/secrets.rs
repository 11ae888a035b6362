//! The host's secrets as the way to models needs them: a provider's key by its
//! name, and all values that must not leave.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use airlock_models::{Secret, Secrets};

use crate::engine::Vault;

/// The vault, read once for each of its changes.
pub(crate) struct HostSecrets {
    vault: Arc<Vault>,
    changes: AtomicU64,
    known: Mutex<Option<Known>>,
}

/// What the vault held after so many changes.
struct Known {
    changes: u64,
    named: Vec<(String, Secret)>,
}

impl HostSecrets {
    pub(super) fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            changes: AtomicU64::new(0),
            known: Mutex::new(None),
        }
    }

    /// What is known is read again.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn with<T>(&self, of: impl FnOnce(&[(String, Secret)]) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = self.changes.load(Ordering::Acquire);
        match &*known {
            Some(known) if known.changes == changes => of(&known.named),
            _ => {
                let named = self.read();
                let told = of(&named);
                *known = Some(Known { changes, named });
                told
            }
        }
    }

    /// All that can be read: a value that is damaged is used for nothing.
    fn read(&self) -> Vec<(String, Secret)> {
        let all = self.vault.list().unwrap_or_else(|error| {
            tracing::error!(%error, "the secrets can't be listed");
            Vec::new()
        });
        let value = |name: String| match self.vault.value_for_host(&name) {
            Ok(Some(value)) => Some((name, Secret::new(value.as_str()))),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(name, %error, "a secret can't be read");
                None
            }
        };
        all.into_iter()
            .filter_map(|info| value(info.name))
            .collect()
    }
}

impl Secrets for HostSecrets {
    fn get(&self, name: &str) -> Option<Secret> {
        self.with(|named| {
            let found = named.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        })
    }

    fn all(&self) -> Vec<Secret> {
        self.with(|named| named.iter().map(|(_, value)| value.clone()).collect())
    }
}
