//! The file that holds the vault's key: 64 hexadecimal digits, readable by its
//! owner alone, outside the data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// It lies in the data directory, beside what it protects.
    #[error("the secrets key file {path} lies inside the data directory; keep it elsewhere")]
    InsideDataDir {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner can read or change it.
    #[error("the secrets key file {path} must be a plain file of this user with mode 0600: {why}")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It is gone although secrets are stored that need it.
    #[error(
        "the secrets key file {path} is missing, and stored secrets cannot be read without it; \
             bring it back; without it this data directory cannot be opened, and a new one is needed"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold a key.
    #[error("the secrets key file {path} does not hold 64 hexadecimal digits")]
    Invalid {
        /// The file.
        path: PathBuf,
    },
    /// It could not be read or written.
    #[error("{step} the secrets key file {path}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

impl KeyFileError {
    /// A stable code for API and CLI.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InsideDataDir { .. } => "secrets-key-inside-data",
            Self::Permissions { .. } => "secrets-key-permissions",
            Self::Missing { .. } => "secrets-key-missing",
            Self::Invalid { .. } => "secrets-key-invalid",
            Self::Io { .. } => "secrets-key-io",
        }
    }
}

/// Reads the key; makes the file when it is absent and `may_create` says that
/// nothing was sealed with a lost key.
pub(super) fn load(
    path: &Path,
    data_dir: &Path,
    may_create: bool,
) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    outside(path, data_dir)?;
    match open(path) {
        Ok(file) => read(file, path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_create => create(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(KeyFileError::Missing { path: path.into() })
        }
        Err(source) => Err(KeyFileError::Io {
            step: "opening",
            path: path.into(),
            source,
        }),
    }
}

fn outside(path: &Path, data_dir: &Path) -> Result<(), KeyFileError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let parent = absolute.parent().unwrap_or(Path::new("/"));
    let parent = fs::canonicalize(parent).unwrap_or_else(|_| parent.to_owned());
    let data = fs::canonicalize(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    if parent.starts_with(&data) {
        return Err(KeyFileError::InsideDataDir { path: path.into() });
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the key file is this file's purpose"
)]
fn open(path: &Path) -> std::io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn read(file: File, path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let io = |source| KeyFileError::Io {
        step: "reading",
        path: path.into(),
        source,
    };
    let meta = file.metadata().map_err(io)?;
    let refuse = |why: String| {
        Err(KeyFileError::Permissions {
            path: path.into(),
            why,
        })
    };
    if !meta.is_file() {
        return refuse("it is not a plain file".into());
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return refuse("it belongs to another user".into());
    }
    if meta.mode() & 0o077 != 0 {
        return refuse(format!("its mode is {:04o}", meta.mode() & 0o7777));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(1024).read_to_string(&mut text).map_err(io)?;
    parse(text.trim()).ok_or_else(|| KeyFileError::Invalid { path: path.into() })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the key file is this file's purpose"
)]
fn create(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let io = |source| KeyFileError::Io {
        step: "creating",
        path: path.into(),
        source,
    };
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).map_err(|e| io(std::io::Error::other(e.to_string())))?;
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in &*key {
        text.push_str(&format!("{byte:02x}"));
    }
    text.push('\n');
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))
        .and_then(|dir| dir.sync_all())
        .map_err(io)?;
    Ok(key)
}

fn parse(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}
