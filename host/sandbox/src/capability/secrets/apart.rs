//! Secrets of the host's own that have no name here, as the one a webhook is
//! signed with: sealed by the vault, kept by whoever needs them, and used only to
//! check signatures.
//!
//! What must stay true: a value that was sealed apart never leaves; no plugin can
//! be granted it.

use airlock_journal::Op;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::secret::Secret;
use super::vault::{Vault, VaultError, now_ms};

/// HMAC-SHA-256.
pub type Mac = [u8; 32];

impl Vault {
    /// Seals a value under a label, which is no secret's name. The operation, if
    /// there is one, is to be committed with the sealed value.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn seal_apart(
        &self,
        label: &str,
        value: &Secret,
    ) -> Result<(Vec<u8>, Option<Op>), VaultError> {
        let sealed = self.seal(&name_of(label), 1, now_ms(), value.expose());
        Ok((sealed, self.first_check()?))
    }

    /// Whether one of `claimed` is the code of the message, its parts one after
    /// the other, under a value that was sealed apart. Takes the same time
    /// wherever a code differs.
    ///
    /// # Errors
    /// [`VaultError::Damaged`].
    pub fn mac_holds(
        &self,
        label: &str,
        sealed: &[u8],
        message: &[&[u8]],
        claimed: &[Mac],
    ) -> Result<bool, VaultError> {
        let damaged = || VaultError::Damaged {
            name: label.to_owned(),
        };
        let opened = self.unseal(&name_of(label), sealed);
        let (_, _, value) = opened.ok_or_else(damaged)?;
        let mac = Hmac::<Sha256>::new_from_slice(value.expose());
        let mut mac = mac.map_err(|_| damaged())?;
        for part in message {
            mac.update(part);
        }
        let holds = claimed
            .iter()
            .map(|claimed| mac.clone().verify_slice(claimed).is_ok());
        Ok(holds.fold(false, |any, holds| any | holds))
    }
}

/// No secret's name has such bytes.
fn name_of(label: &str) -> Vec<u8> {
    [b"\0apart\0", label.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use airlock_journal::{Batch, MemoryStore, Store};
    use zeroize::Zeroizing;

    use super::*;

    fn mac(key: &[u8], message: &[u8]) -> Mac {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    #[tokio::test]
    async fn a_code_holds_under_its_own_label_key_and_message_alone() {
        let store = MemoryStore::new();
        let open = |key: [u8; 32]| {
            let store: std::sync::Arc<dyn Store> = store.clone();
            Vault::with_key(store, &Zeroizing::new(key))
        };
        let vault = open([1; 32]).expect("opens");
        let (sealed, check) = vault
            .seal_apart("hook a", &Secret::new("key"))
            .expect("sealed");
        let check = check.expect("the first one");
        store
            .commit(Batch::new().op(check))
            .await
            .expect("committed");
        let (_, check) = vault.seal_apart("x", &Secret::new("x")).expect("sealed");
        assert_eq!(check, None);
        let right = mac(b"key", b"1.body");
        let others = [mac(b"other", b"1.body"), mac(b"key", b"1.other")];
        for (parts, claimed, expect) in [
            (vec![&b"1."[..], b"body"], vec![right], true),
            (vec![b"1.", b"body"], vec![others[0], right], true),
            (vec![b"1.", b"body"], others.to_vec(), false),
            (vec![b"1.", b"bodY"], vec![right], false),
            (vec![b"1.", b"body"], vec![], false),
        ] {
            let held = vault.mac_holds("hook a", &sealed, &parts, &claimed);
            assert_eq!(held.expect("opens"), expect, "{parts:?}");
        }
        let elsewhere = vault.mac_holds("hook b", &sealed, &[b"1.body"], &[right]);
        assert!(elsewhere.is_err(), "sealed for another");
        assert!(matches!(open([2; 32]), Err(VaultError::WrongKey)));
        assert!(vault.list().expect("reads").is_empty(), "it has no name");
    }
}
