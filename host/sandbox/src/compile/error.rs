//! What can go wrong between component bytes and code in memory.

use std::path::PathBuf;

/// Why a component has no code in memory.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The component's bytes are not available.
    #[error("reading the component")]
    Source(#[source] std::io::Error),
    /// The component's bytes are not those of its digest.
    #[error("the component's bytes do not match its digest")]
    Digest,
    /// The compiler refused it.
    #[error("the component does not compile: {reason}")]
    Refused {
        /// What the compiler said.
        reason: String,
    },
    /// Compiling took more than it may.
    #[error("compiling reached the limit `{limit}` ({value})")]
    Limit {
        /// `cpu`, `wall`, `memory` or `artifact`.
        limit: &'static str,
        /// Its value with its unit.
        value: String,
    },
    /// The child process could not be run or did not answer.
    #[error("running the compiler")]
    Child(#[source] std::io::Error),
    /// The engine refused the compiled code or what it imports.
    #[error("loading the compiled code")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The cache.
    #[error("using the cache of compiled code")]
    Cache(#[source] CacheError),
}

impl CompileError {
    /// The engine refused it.
    pub(crate) fn load(error: wasmtime::Error) -> Self {
        Self::Load(error.into_boxed_dyn_error())
    }
}

/// What is wrong with the cache directory or its key.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The directory or a file in it.
    #[error("{step} {}", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Others can read the key.
    #[error("the key {} can be read by others (mode {mode:o}); set it to 0600, or remove it", path.display())]
    KeyMode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key has another length than a key has.
    #[error("{} is no key: {bytes} bytes instead of 32; remove it to get a new one", path.display())]
    KeyLength {
        /// The key file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The key lies where compiled code lies.
    #[error("the key {} lies inside the cache directory; keep it elsewhere", path.display())]
    KeyInside {
        /// The key file.
        path: PathBuf,
    },
}

impl CacheError {
    /// A failed step, for `map_err`.
    pub(crate) fn io(
        step: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { step, path, source }
    }
}
