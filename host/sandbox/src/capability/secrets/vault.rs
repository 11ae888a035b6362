//! Secrets, sealed in the store with XChaCha20-Poly1305. The key is in a file of
//! its own, outside the data directory, so that a copied data directory is of no
//! use without it.
//!
//! What must stay true: a value leaves the vault only inside this crate; a
//! sealed record opens only under its own name and version; a wrong or lost key
//! is noticed at start and never replaced in silence.

use std::path::Path;
use std::sync::Arc;

use airlock_journal::{Batch, Op, Store, StoreError};
use bytes::Bytes;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use serde::Serialize;
use zeroize::Zeroizing;

use super::backend::{self, KeyFileError};
use super::secret::{Secret, check_name};

const SPACE: &str = "secrets";
const META: &str = "secrets-meta";
const CHECK: &[u8] = b"key-check";
const CHECK_TEXT: &[u8] = b"airlock secrets key";
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 24;
const HEAD_BYTES: usize = 1 + 8 + 8;

/// Most secrets in one vault.
pub const SECRETS_MAX: usize = 10_000;

/// Why the vault refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The name cannot name a secret.
    #[error("{0}")]
    Name(String),
    /// The value cannot be a secret's value.
    #[error("the secret's value was refused: {0}")]
    Value(String),
    /// There are [`SECRETS_MAX`] already.
    #[error("there are {SECRETS_MAX} secrets already; remove one")]
    Full,
    /// The key file cannot be used.
    #[error("{0}")]
    KeyFile(#[from] KeyFileError),
    /// The key file holds another key than the one the secrets were sealed with.
    #[error("the key file holds another key than the one the stored secrets were sealed with")]
    WrongKey,
    /// A stored secret is not what was written.
    #[error("the stored secret `{name}` is damaged")]
    Damaged {
        /// Its name.
        name: String,
    },
    /// Somebody else changed the same secret at the same moment.
    #[error("the secret `{name}` was changed by somebody else at the same moment; try again")]
    Conflict {
        /// Its name.
        name: String,
    },
    /// The store failed.
    #[error("storing secrets")]
    Store(#[source] StoreError),
}

impl VaultError {
    /// A stable code for API and CLI.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name(_) => "secret-name-invalid",
            Self::Value(_) => "secret-value-invalid",
            Self::Full => "secrets-full",
            Self::KeyFile(error) => error.code(),
            Self::WrongKey => "secrets-key-wrong",
            Self::Damaged { .. } => "secret-damaged",
            Self::Conflict { .. } => "secret-conflict",
            Self::Store(_) => "store-failed",
        }
    }
}

/// What a listing tells of a secret: never its value, nor its length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretInfo {
    /// Its name.
    pub name: String,
    /// How often it was set since it last was absent, from 1.
    pub version: u64,
    /// When it was set, milliseconds since the Unix epoch.
    pub set_at_ms: u64,
    /// What is stored cannot be opened; set it again. Version and time are 0.
    pub damaged: bool,
}

/// Secrets, sealed in the store.
pub struct Vault {
    store: Arc<dyn Store>,
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

impl Vault {
    /// Opens the vault with the key in `key_file`, which must lie outside
    /// `data_dir`. The file is made, readable by its owner alone, when it is
    /// absent and nothing was sealed yet.
    ///
    /// # Errors
    /// [`VaultError::KeyFile`], [`VaultError::WrongKey`], [`VaultError::Store`].
    pub fn open(
        store: Arc<dyn Store>,
        key_file: &Path,
        data_dir: &Path,
    ) -> Result<Self, VaultError> {
        let check = store.get(META, CHECK).map_err(VaultError::Store)?;
        let key = backend::load(key_file, data_dir, check.is_none())?;
        Self::with_key(store, &key)
    }

    /// Opens the vault with a key from elsewhere, e.g. a test's.
    ///
    /// # Errors
    /// [`VaultError::WrongKey`], [`VaultError::Store`].
    pub fn with_key(store: Arc<dyn Store>, key: &Zeroizing<[u8; 32]>) -> Result<Self, VaultError> {
        let vault = Self {
            store,
            cipher: XChaCha20Poly1305::new((&**key).into()),
        };
        let check = vault.store.get(META, CHECK).map_err(VaultError::Store)?;
        match check.map(|sealed| vault.unseal(CHECK, &sealed)) {
            None => Ok(vault),
            Some(Some((_, _, text))) if text.expose() == CHECK_TEXT => Ok(vault),
            Some(_) => Err(VaultError::WrongKey),
        }
    }

    /// Sets a secret, durably, and returns its new version.
    ///
    /// # Errors
    /// [`VaultError`]; when it is not [`VaultError::Store`], nothing changed.
    pub async fn set(&self, name: &str, value: &Secret) -> Result<SecretInfo, VaultError> {
        check_name(name).map_err(VaultError::Name)?;
        value.check()?;
        let before = self.raw(name)?;
        let version = match &before {
            Some(sealed) => self.open_record(name, sealed).map_or(0, |record| record.0) + 1,
            None if self.list()?.len() >= SECRETS_MAX => return Err(VaultError::Full),
            None => 1,
        };
        let set_at_ms = now_ms();
        let sealed = self.seal(name.as_bytes(), version, set_at_ms, value.expose());
        let mut batch = Batch::new()
            .check(SPACE, name.as_bytes().to_vec(), before)
            .put(SPACE, name.as_bytes().to_vec(), sealed);
        if let Some(check) = self.first_check()? {
            batch = batch.op(check);
        }
        self.commit(name, batch).await?;
        Ok(SecretInfo {
            name: name.to_owned(),
            version,
            set_at_ms,
            damaged: false,
        })
    }

    /// What goes with the first value that is sealed, so that another key is
    /// noticed at every later start.
    pub(super) fn first_check(&self) -> Result<Option<Op>, VaultError> {
        let known = self.store.get(META, CHECK).map_err(VaultError::Store)?;
        Ok(known.is_none().then(|| Op::Put {
            space: META,
            key: Bytes::from_static(CHECK),
            value: self.seal(CHECK, 1, now_ms(), CHECK_TEXT).into(),
        }))
    }

    /// Removes a secret, durably; `false`: there was none.
    ///
    /// # Errors
    /// [`VaultError::Name`], [`VaultError::Conflict`] or [`VaultError::Store`].
    pub async fn remove(&self, name: &str) -> Result<bool, VaultError> {
        check_name(name).map_err(VaultError::Name)?;
        let Some(before) = self.raw(name)? else {
            return Ok(false);
        };
        let key = name.as_bytes().to_vec();
        let batch = Batch::new()
            .check(SPACE, key.clone(), Some(before))
            .delete(SPACE, key);
        self.commit(name, batch).await?;
        Ok(true)
    }

    /// All secrets by name, without their values.
    ///
    /// # Errors
    /// [`VaultError::Store`].
    pub fn list(&self) -> Result<Vec<SecretInfo>, VaultError> {
        let pairs = self
            .store
            .range(SPACE, b"", None, SECRETS_MAX + 1)
            .map_err(VaultError::Store)?;
        let info = |(key, sealed): (Bytes, Bytes)| {
            let opened = self.unseal(&key, &sealed);
            let (version, set_at_ms) = opened
                .as_ref()
                .map_or((0, 0), |record| (record.0, record.1));
            let name = String::from_utf8_lossy(&key).into_owned();
            SecretInfo {
                name,
                version,
                set_at_ms,
                damaged: opened.is_none(),
            }
        };
        Ok(pairs.into_iter().map(info).collect())
    }

    /// A secret's value and version.
    pub(crate) fn get(&self, name: &str) -> Result<Option<(Secret, u64)>, VaultError> {
        let Some(sealed) = self.raw(name)? else {
            return Ok(None);
        };
        let (version, _, value) = self.open_record(name, &sealed)?;
        Ok(Some((value, version)))
    }

    /// A secret's value for a request of the host's own, such as one to a provider of
    /// models: no plugin is ever given it. `None`: there is none, or it is no text.
    ///
    /// # Errors
    /// [`VaultError::Damaged`] or [`VaultError::Store`].
    pub fn value_for_host(&self, name: &str) -> Result<Option<Zeroizing<String>>, VaultError> {
        let Some((value, _)) = self.get(name)? else {
            return Ok(None);
        };
        let text = String::from_utf8(value.expose().to_vec());
        Ok(text.ok().map(Zeroizing::new))
    }

    fn raw(&self, name: &str) -> Result<Option<Bytes>, VaultError> {
        self.store
            .get(SPACE, name.as_bytes())
            .map_err(VaultError::Store)
    }

    async fn commit(&self, name: &str, batch: Batch) -> Result<(), VaultError> {
        match self.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict { .. }) => Err(VaultError::Conflict {
                name: name.to_owned(),
            }),
            Err(error) => Err(VaultError::Store(error)),
        }
    }

    fn open_record(&self, name: &str, sealed: &[u8]) -> Result<(u64, u64, Secret), VaultError> {
        self.unseal(name.as_bytes(), sealed)
            .ok_or_else(|| VaultError::Damaged {
                name: name.to_owned(),
            })
    }

    pub(super) fn seal(&self, name: &[u8], version: u64, set_at_ms: u64, value: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the system has random bytes");
        let mut record = vec![FORMAT];
        record.extend_from_slice(&version.to_be_bytes());
        record.extend_from_slice(&set_at_ms.to_be_bytes());
        let aad = bound_to(name, &record);
        let payload = Payload {
            msg: value,
            aad: &aad,
        };
        let sealed = self
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .expect("a value is far below the cipher's limit");
        record.extend_from_slice(&nonce);
        record.extend_from_slice(&sealed);
        record
    }

    pub(super) fn unseal(&self, name: &[u8], record: &[u8]) -> Option<(u64, u64, Secret)> {
        let (head, rest) = record.split_at_checked(HEAD_BYTES)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        if head[0] != FORMAT {
            return None;
        }
        let aad = bound_to(name, head);
        let payload = Payload {
            msg: sealed,
            aad: &aad,
        };
        let value = self
            .cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .ok()?;
        let version = u64::from_be_bytes(head[1..9].try_into().ok()?);
        let set_at_ms = u64::from_be_bytes(head[9..17].try_into().ok()?);
        Some((version, set_at_ms, Secret::new(value)))
    }
}

/// What a sealed record is bound to, so that one cannot stand in for another.
fn bound_to(name: &[u8], head: &[u8]) -> Vec<u8> {
    [b"airlock-secret\0".as_slice(), head, name].concat()
}

pub(super) fn now_ms() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}
