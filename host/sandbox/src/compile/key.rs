//! The key that authenticates compiled code.
//!
//! What must stay true: only its owner can read it; it is not where the code is.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::CacheError;

const KEY_BYTES: usize = 32;

/// A key in memory; prints nothing.
pub(super) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// Reads the key, or makes one when there is none.
    pub(super) fn open(path: &Path, cache_dir: &Path) -> Result<Self, CacheError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(CacheError::io("creating", parent))?;
            let inside = |dir: &Path| dir.canonicalize().map_err(CacheError::io("resolving", dir));
            if inside(parent)?.starts_with(inside(cache_dir)?) {
                return Err(CacheError::KeyInside {
                    path: path.to_owned(),
                });
            }
        }
        match Self::create(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Self::read(path),
            made => made.map_err(CacheError::io("writing the key", path)),
        }
    }

    /// The authentication code of `parts`; no two lists of parts share one.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_slice()).expect("any key length");
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }

    #[expect(clippy::disallowed_methods, reason = "the key is this file's purpose")]
    fn create(path: &Path) -> std::io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(key.as_mut_slice()).map_err(|e| std::io::Error::other(e.to_string()))?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(key.as_slice())?;
        file.sync_all()?;
        Ok(Self(key))
    }

    #[expect(clippy::disallowed_methods, reason = "the key is this file's purpose")]
    fn read(path: &Path) -> Result<Self, CacheError> {
        let failed = || CacheError::io("reading the key", path);
        let file = File::open(path).map_err(failed())?;
        let mode = file.metadata().map_err(failed())?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CacheError::KeyMode {
                path: path.to_owned(),
                mode,
            });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES + 1));
        let limit = KEY_BYTES as u64 + 1;
        file.take(limit).read_to_end(&mut bytes).map_err(failed())?;
        let key: [u8; KEY_BYTES] =
            bytes
                .as_slice()
                .try_into()
                .map_err(|_| CacheError::KeyLength {
                    path: path.to_owned(),
                    bytes: bytes.len(),
                })?;
        Ok(Self(Zeroizing::new(key)))
    }
}
