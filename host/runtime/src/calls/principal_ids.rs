//! What plugins know of their callers: an opaque id per principal and plugin.
//!
//! What must stay true: the id of one principal is stable in one plugin (state
//! is kept under it), differs between plugins, and says nothing of the name. The
//! key is in the store: without the same key, every tenant's state would be lost.

use airlock_journal::{Batch, Store, StoreError};
use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::ids;

const SPACE: &str = "meta";
const KEY: &[u8] = b"principal-key";

/// Makes the ids.
pub(crate) struct PrincipalIds {
    mac: Hmac<Sha256>,
}

impl PrincipalIds {
    /// With the stored key; makes one at the first start.
    pub(crate) async fn open(store: &dyn Store) -> Result<Self, StoreError> {
        let key = match store.get(SPACE, KEY)? {
            Some(key) => key,
            None => {
                let key = Bytes::copy_from_slice(&ids::random::<32>());
                let batch = Batch::new()
                    .check(SPACE, KEY, None)
                    .put(SPACE, KEY, key.clone());
                store.commit(batch).await?;
                key
            }
        };
        let mac = Hmac::new_from_slice(&key).map_err(|_| crate::rows::damaged(SPACE, KEY))?;
        Ok(Self { mac })
    }

    /// The id of a principal in a plugin: 32 hexadecimal digits.
    pub(crate) fn of(&self, principal: &str, plugin: &str) -> String {
        let mut mac = self.mac.clone();
        mac.update(plugin.as_bytes());
        mac.update(b"\0");
        mac.update(principal.as_bytes());
        ids::hex(&mac.finalize().into_bytes()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_journal::MemoryStore;

    #[tokio::test]
    async fn ids_are_stable_and_differ_by_principal_and_plugin() {
        let store = MemoryStore::new();
        let ids = PrincipalIds::open(&*store).await.expect("opens");
        let again = PrincipalIds::open(&*store).await.expect("opens");
        assert_eq!(ids.of("ann", "p"), again.of("ann", "p"));
        let all = [
            ids.of("ann", "p"),
            ids.of("ann", "q"),
            ids.of("bob", "p"),
            ids.of("p", "ann"),
        ];
        for (at, id) in all.iter().enumerate() {
            assert_eq!(id.len(), 32);
            assert!(!all[..at].contains(id), "{all:?}");
        }
        let other = PrincipalIds::open(&*MemoryStore::new())
            .await
            .expect("opens");
        assert_ne!(
            other.of("ann", "p"),
            ids.of("ann", "p"),
            "another host, another key"
        );
    }
}
