//! The public keys that may have signed the log: the one in use, and those it
//! replaced, each up to the record at which it was.
//!
//! What must stay true: none of them comes from the data. They are in a file
//! beside the key itself, so that whoever can change the log, its checkpoints and
//! all, can't name a key that vouches for the change.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::AuditError;
use super::sign::{PublicKey, SignedHead, key_error};

/// The permission of others than the owner to write.
const OTHERS_WRITE: u32 = 0o022;

/// Largest file, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

const HEADER: &str = "\
# Public keys that signed this host's audit. A key that was replaced counts up to
# the record it says. Airlock adds to this file; keep it with `audit.key`.
";

/// A key whose signatures count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Records that the log had when the key was replaced: what it signed over
    /// more of them does not count. `None`: it was not replaced.
    pub until: Option<u64>,
}

/// The file of keys, one a line: the public key, and `until N` behind one that
/// was replaced.
#[derive(Debug)]
pub struct KnownKeys {
    path: PathBuf,
    keys: Vec<TrustedKey>,
}

impl From<PublicKey> for TrustedKey {
    fn from(key: PublicKey) -> Self {
        Self { key, until: None }
    }
}

impl TrustedKey {
    /// Whether it signed `head`, and could.
    #[must_use]
    pub fn signed(&self, head: &SignedHead) -> bool {
        self.key.signed(head) && self.until.is_none_or(|until| head.len <= until)
    }
}

impl KnownKeys {
    /// Reads the file; none is an empty one.
    ///
    /// # Errors
    /// [`AuditError::Key`] when it can't be read, others can write it, or a line
    /// is no key.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AuditError> {
        let path = path.as_ref();
        let failed = |source| key_error(path, "reading it", Some(source));
        let keys = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
            Ok(found) => {
                let mode = found.permissions().mode() & 0o777;
                if mode & OTHERS_WRITE != 0 {
                    let step = format!("others can write it (mode {mode:o}); chmod it to 600");
                    return Err(key_error(path, step, None));
                }
                if found.len() > FILE_BYTES_MAX {
                    return Err(key_error(path, "it is too large", None));
                }
                parse(path, &fs::read_to_string(path).map_err(failed)?)?
            }
        };
        Ok(Self {
            path: path.to_owned(),
            keys,
        })
    }

    /// The keys, with the one in use, whose signatures all count.
    #[must_use]
    pub fn with(&self, in_use: PublicKey) -> Vec<TrustedKey> {
        let others = self.keys.iter().filter(|known| known.key != in_use);
        std::iter::once(in_use.into())
            .chain(others.copied())
            .collect()
    }

    /// Keeps `key` as one in use; writes the file if it says otherwise.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep(&mut self, key: PublicKey) -> Result<(), AuditError> {
        if self.keys.contains(&key.into()) {
            return Ok(());
        }
        self.keys = self.with(key);
        self.write()
    }

    /// Notes that all keys are replaced, in a log of `len` records. One that was
    /// replaced earlier stays as it is.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn replace_all(&mut self, len: u64) -> Result<(), AuditError> {
        for known in &mut self.keys {
            known.until.get_or_insert(len);
        }
        self.write()
    }

    fn write(&self) -> Result<(), AuditError> {
        let mut text = HEADER.to_owned();
        for TrustedKey { key, until } in &self.keys {
            let until = until.map(|len| format!(" until {len}")).unwrap_or_default();
            let _ = writeln!(text, "{key}{until}");
        }
        let aside = self.path.with_extension("part");
        let write = || -> std::io::Result<()> {
            let mut options = OpenOptions::new();
            let options = options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&aside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&aside, &self.path)?;
            let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|source| key_error(&self.path, "writing it", Some(source)))
    }
}

fn parse(path: &Path, text: &str) -> Result<Vec<TrustedKey>, AuditError> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let known = parse_line(line)
            .ok_or_else(|| key_error(path, format!("line {} is no key", number + 1), None))?;
        keys.push(known);
    }
    Ok(keys)
}

fn parse_line(line: &str) -> Option<TrustedKey> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (key, until) = match words[..] {
        [key] => (key, None),
        [key, "until", len] => (key, Some(len.parse().ok()?)),
        _ => return None,
    };
    let key = key.parse().ok()?;
    Some(TrustedKey { key, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Signer;
    use crate::store::Head;

    #[test]
    fn keys_are_kept_in_their_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit.known-keys");
        let signer = |name: &str| Signer::open_or_create(dir.path().join(name)).expect("a key");
        let (first, second) = (signer("first"), signer("second"));
        let mut known = KnownKeys::open(&path).expect("none yet");
        known.keep(first.public_key()).expect("writes");
        known.replace_all(7).expect("writes");
        known.replace_all(9).expect("writes");
        known.keep(second.public_key()).expect("writes");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let known = KnownKeys::open(&path).expect("reads");
        let keys = known.with(second.public_key());
        let until: Vec<_> = keys.iter().map(|known| known.until).collect();
        assert_eq!(until, [None, Some(7)]);
        for (len, counts) in [(0, true), (7, true), (8, false)] {
            let hash = Default::default();
            let old = first.sign(Head { len, hash });
            let new = second.sign(Head { len, hash });
            assert_eq!(keys[1].signed(&old), counts, "{len}");
            assert!(keys[0].signed(&new) && !keys[1].signed(&new));
        }
        // The old key is found and put back: it counts again.
        assert_eq!(known.with(first.public_key())[0].until, None);
    }

    #[test]
    fn a_file_that_others_write_or_that_holds_something_else_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("audit.known-keys");
        let key = Signer::open_or_create(dir.path().join("k")).expect("a key");
        let key = key.public_key();
        let long = |more: usize| format!("#{}", "x".repeat((1 << 20) - 1 + more));
        let table = [
            (String::new(), 0o600, None),
            (format!("# a comment\n\n{key}\n"), 0o644, None),
            (format!("{key} until 3\n"), 0o600, None),
            (
                format!("{key} until three\n"),
                0o600,
                Some("line 1 is no key"),
            ),
            (
                format!("{key}\nnonsense\n"),
                0o600,
                Some("line 2 is no key"),
            ),
            (format!("{key}\n"), 0o620, Some("others can write it")),
            (long(0), 0o600, None),
            (long(1), 0o600, Some("it is too large")),
            (long(2), 0o600, Some("it is too large")),
        ];
        for (text, mode, complaint) in table {
            fs::write(&path, &text).expect("writes");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("sets");
            let refused = KnownKeys::open(&path).err().map(|error| error.to_string());
            assert_eq!(
                refused.is_some(),
                complaint.is_some(),
                "{text:.80}: {refused:?}"
            );
            let refused = refused.unwrap_or_default();
            assert!(refused.contains(complaint.unwrap_or_default()), "{refused}");
        }
        // What can't be looked at is not taken for a file that is not there.
        let refused = KnownKeys::open(path.join("below")).expect_err("no folder");
        assert!(refused.to_string().contains("reading it"), "{refused}");
    }
}
