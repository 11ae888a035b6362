//! The key that signs the log, and what a signed head looks like outside.
//!
//! The key file is readable by its owner only, and better kept outside the data
//! directory: whoever copies a backup must not get the key with it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::AuditError;
use crate::store::{Hash, Head};

const KEY_PREFIX: &str = "airlock-audit-key:v1:";
const PUBLIC_PREFIX: &str = "airlock-audit-pub:v1:";
const HEAD_PREFIX: &str = "airlock-head:v1:";

/// Signs heads. `Debug` prints the key's id only.
#[derive(Clone)]
pub struct Signer(SigningKey);

/// Verifies what a [`Signer`] signed. Its text form is
/// `airlock-audit-pub:v1:<base64>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A head that was signed: `airlock-head:v1:<len>:<hash hex>:<signature
/// base64>:<key id>`. The signature covers the text without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// Records in the log.
    pub len: u64,
    /// The chain hash after the last of them.
    pub hash: Hash,
    /// The ed25519 signature.
    pub signature: [u8; 64],
    /// Which key, see [`PublicKey::id`].
    pub key_id: String,
}

impl Signer {
    /// Reads the key in `path`, or creates one there (mode 0600) when there is
    /// no such file.
    ///
    /// # Errors
    /// [`AuditError::Key`] when it cannot be read or written, is not a key, or
    /// others than its owner can read it.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self, AuditError> {
        let path = path.as_ref();
        match OpenOptions::new().read(true).open(path) {
            Ok(mut file) => Self::read(path, &mut file),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::create(path),
            Err(source) => Err(key_error(path, "opening it", Some(source))),
        }
    }

    /// Reads the key in `path`, which must exist.
    ///
    /// # Errors
    /// As [`Signer::open_or_create`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AuditError> {
        let path = path.as_ref();
        let opened = OpenOptions::new().read(true).open(path);
        let mut file = opened.map_err(|source| key_error(path, "opening it", Some(source)))?;
        Self::read(path, &mut file)
    }

    fn read(path: &Path, file: &mut std::fs::File) -> Result<Self, AuditError> {
        let failed = |source| key_error(path, "reading it", Some(source));
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            let step = format!(
                "others can read it (mode {:o}); chmod it to 600",
                mode & 0o777
            );
            return Err(key_error(path, step, None));
        }
        let mut text = String::new();
        file.take(1024).read_to_string(&mut text).map_err(failed)?;
        text.trim()
            .strip_prefix(KEY_PREFIX)
            .and_then(|seed| BASE64.decode(seed).ok())
            .and_then(|seed| <[u8; 32]>::try_from(seed).ok())
            .map(|seed| Self(SigningKey::from_bytes(&seed)))
            .ok_or_else(|| key_error(path, "it is not an audit key (`airlock-audit-key:…`): put the right one back; where that is lost for good, remove this one, and `airlock serve --new-audit-key` goes on", None))
    }

    fn create(path: &Path) -> Result<Self, AuditError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|error| key_error(path, format!("no randomness for it: {error}"), None))?;
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            file.write_all(format!("{KEY_PREFIX}{}\n", BASE64.encode(seed)).as_bytes())?;
            file.sync_all()?;
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            std::fs::File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|source| key_error(path, "creating it", Some(source)))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Signs a head.
    #[must_use]
    pub fn sign(&self, head: Head) -> SignedHead {
        let key_id = self.public_key().id();
        let signature = self
            .0
            .sign(message(head.len, &head.hash, &key_id).as_bytes());
        SignedHead {
            len: head.len,
            hash: head.hash,
            signature: signature.to_bytes(),
            key_id,
        }
    }

    /// The key that verifies.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public_key().id())
    }
}

impl PublicKey {
    /// Sixteen hex digits that name the key.
    #[must_use]
    pub fn id(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes())[..8])
    }

    /// Whether this key signed `head`.
    #[must_use]
    pub fn signed(&self, head: &SignedHead) -> bool {
        let text = message(head.len, &head.hash, &head.key_id);
        let signature = Signature::from_bytes(&head.signature);
        head.key_id == self.id() && self.0.verify_strict(text.as_bytes(), &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", BASE64.encode(self.0.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        text.trim()
            .strip_prefix(PUBLIC_PREFIX)
            .and_then(|key| BASE64.decode(key).ok())
            .and_then(|key| <[u8; 32]>::try_from(key).ok())
            .and_then(|key| VerifyingKey::from_bytes(&key).ok())
            .map(Self)
            .ok_or(AuditError::Malformed {
                what: "audit public key",
            })
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            len, hash, key_id, ..
        } = self;
        let signature = BASE64.encode(self.signature);
        write!(f, "{HEAD_PREFIX}{len}:{}:{signature}:{key_id}", hex(hash))
    }
}

impl FromStr for SignedHead {
    type Err = AuditError;

    fn from_str(text: &str) -> Result<Self, AuditError> {
        parse_head(text.trim()).ok_or(AuditError::Malformed {
            what: "signed head (airlock-head:v1:<length>:<hash>:<signature>:<key id>)",
        })
    }
}

impl Serialize for SignedHead {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SignedHead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn parse_head(text: &str) -> Option<SignedHead> {
    let fields: Vec<&str> = text.strip_prefix(HEAD_PREFIX)?.split(':').collect();
    let [len, hash, signature, key_id] = fields[..] else {
        return None;
    };
    let is_id = key_id.len() == 16 && key_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(SignedHead {
        len: len.parse().ok()?,
        hash: unhex(hash)?,
        signature: BASE64.decode(signature).ok()?.try_into().ok()?,
        key_id: key_id.to_owned(),
    })
}

fn message(len: u64, hash: &Hash, key_id: &str) -> String {
    format!("{HEAD_PREFIX}{len}:{}:{key_id}", hex(hash))
}

/// Lower-case hex digits of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Hash> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = Hash::default();
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(hash)
}

pub(super) fn key_error(
    path: &Path,
    step: impl Into<String>,
    source: Option<std::io::Error>,
) -> AuditError {
    AuditError::Key {
        path: path.to_owned(),
        step: step.into(),
        source,
    }
}
