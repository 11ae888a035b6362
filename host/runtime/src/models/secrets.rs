//! The host's secrets as the way to models needs them: a provider's key by its
//! name, and all values that must not leave.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use airlock_models::{Key, Mask, Secret, Secrets};

use crate::engine::{self, Vault, masker};

/// The vault, read once for each of its changes.
pub(crate) struct HostSecrets {
    vault: Arc<Vault>,
    changes: AtomicU64,
    known: Mutex<Option<Known>>,
}

/// What the vault held after so many changes.
struct Known {
    changes: u64,
    named: Vec<Named>,
}

struct Named {
    name: String,
    value: Secret,
    /// Made when it is a provider's key.
    mask: OnceLock<Mask>,
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

    fn with<T>(&self, of: impl FnOnce(&[Named]) -> T) -> T {
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
    fn read(&self) -> Vec<Named> {
        let all = self.vault.list().unwrap_or_else(|error| {
            tracing::error!(%error, "the secrets can't be listed");
            Vec::new()
        });
        let value = |name: String| match self.vault.value_for_host(&name) {
            Ok(Some(value)) => Some(Named {
                name,
                value: Secret::new(value.as_str()),
                mask: OnceLock::new(),
            }),
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
            let found = named.iter().find(|known| known.name == name);
            found.map(|known| known.value.clone())
        })
    }

    fn key(&self, name: &str) -> Option<Key> {
        self.with(|named| {
            let found = named.iter().find(|known| known.name == name)?;
            let mask = found.mask.get_or_init(|| {
                let value = engine::Secret::new(found.value.expose());
                Arc::new(masker(&[value]))
            });
            Some(Key {
                value: found.value.clone(),
                mask: Some(Arc::clone(mask)),
            })
        })
    }

    fn all(&self) -> Vec<Secret> {
        self.with(|named| named.iter().map(|known| known.value.clone()).collect())
    }
}
