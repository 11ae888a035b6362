//! Compiled code on disk, one file per component.
//!
//! What must stay true: a file's authentication code covers the component's
//! digest, what the engine calls compatible, this very build and the code; a file
//! that fails the check is never handed to the engine, and compiled again.

#[cfg(test)]
mod tests;

use std::fs::{DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hmac::Mac;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::key::Key;
use super::{CacheError, CompileError, Compiler, InstallLimits, parent};
use crate::sandbox::SandboxStats;

/// Begins every file; the last byte is the format's version.
const MAGIC: &[u8; 16] = b"airlock code 01\n";
const MAC_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + MAC_BYTES;

/// Compilers at once.
const COMPILERS_MAX: usize = 2;

/// The cache and the compiler behind it.
pub(crate) struct CodeCache {
    engine: Engine,
    dir: PathBuf,
    key: Key,
    compatible: [u8; 32],
    build: [u8; 32],
    compiler: Compiler,
    limits: InstallLimits,
    compilers: Semaphore,
    compiled: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
}

/// A component in memory.
pub(crate) struct Code {
    /// Ready to be linked.
    pub(crate) component: Component,
    /// Size of the compiled code.
    pub(crate) bytes: u64,
}

/// What the disk said of a component.
enum Found {
    Sound(Code),
    Nothing,
    Refused(&'static str),
}

impl CodeCache {
    /// Opens the cache in `dir`, creating it and its key where absent.
    ///
    /// # Errors
    /// The directory or the key can't be used, see [`CacheError`].
    pub(crate) fn open(
        engine: &Engine,
        dir: &Path,
        key_file: &Path,
        compiler: Compiler,
        limits: InstallLimits,
    ) -> Result<Self, CacheError> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(dir);
        made.map_err(CacheError::io("creating", dir))?;
        Ok(Self {
            engine: engine.clone(),
            dir: dir.to_owned(),
            key: Key::open(key_file, dir)?,
            compatible: compatible(engine),
            build: build_id()?,
            compiler,
            limits,
            compilers: Semaphore::new(COMPILERS_MAX),
            compiled: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// The bounds on what is installed.
    pub(crate) fn limits(&self) -> &InstallLimits {
        &self.limits
    }

    /// The code of the component `digest`: from disk, or compiled from what
    /// `source` reads and then kept on disk.
    ///
    /// # Errors
    /// [`CompileError`] names the step that failed.
    pub(crate) async fn get(
        cache: Arc<Self>,
        io: &Handle,
        digest: &str,
        source: impl FnOnce() -> std::io::Result<Bytes> + Send + 'static,
    ) -> Result<Code, CompileError> {
        let (this, name) = (Arc::clone(&cache), digest.to_owned());
        if let Some(code) = blocking(io, move || this.load(&name)).await? {
            return Ok(code);
        }
        let bytes = blocking(io, move || source().map_err(CompileError::Source)).await?;
        Self::compile(cache, io, digest, bytes).await
    }

    /// Like [`CodeCache::get`] for bytes that are at hand.
    ///
    /// # Errors
    /// [`CompileError`] names the step that failed.
    pub(crate) async fn fetch(
        cache: Arc<Self>,
        io: &Handle,
        digest: &str,
        bytes: Bytes,
    ) -> Result<Code, CompileError> {
        Self::get(cache, io, digest, move || Ok(bytes)).await
    }

    async fn compile(
        cache: Arc<Self>,
        io: &Handle,
        digest: &str,
        bytes: Bytes,
    ) -> Result<Code, CompileError> {
        let (this, name) = (Arc::clone(&cache), digest.to_owned());
        let mut child = Abort(io.spawn(async move {
            if component_digest(&bytes) != name {
                return Err(CompileError::Digest);
            }
            let _one = this.compilers.acquire().await;
            parent::compile(&this.compiler, &this.limits, &this.compatible, bytes).await
        }));
        let code = (&mut child.0).await;
        let code = code.map_err(|e| CompileError::Child(e.into()))??;
        cache.compiled.fetch_add(1, Ordering::Relaxed);
        let name = digest.to_owned();
        let kept = blocking(io, move || {
            if let Err(error) = cache.store(&name, &code) {
                tracing::warn!(
                    error = format!("{error:?}"),
                    "compiled code is not kept on disk"
                );
            }
            deserialize(&cache.engine, &code)
        });
        kept.await
    }

    /// Counters, with the other figures left at zero.
    pub(crate) fn stats(&self) -> SandboxStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SandboxStats {
            compiled: read(&self.compiled),
            cache_hits: read(&self.hits),
            cache_misses: read(&self.misses),
            cache_refused: read(&self.refused),
            ..SandboxStats::default()
        }
    }

    fn load(&self, digest: &str) -> Result<Option<Code>, CompileError> {
        let (counter, code) = match self.look_up(digest).map_err(CompileError::Cache)? {
            Found::Sound(code) => (&self.hits, Some(code)),
            Found::Nothing => (&self.misses, None),
            Found::Refused(reason) => {
                tracing::warn!(digest, reason, "compiled code on disk is refused");
                (&self.refused, None)
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(code)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the cache is this file's purpose"
    )]
    fn look_up(&self, digest: &str) -> Result<Found, CacheError> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            opened => opened.map_err(CacheError::io("opening", &path))?,
        };
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        read.map_err(CacheError::io("reading", &path))?;
        Ok(self.check(digest, &bytes))
    }

    /// Only what passes here reaches the engine.
    fn check(&self, digest: &str, bytes: &[u8]) -> Found {
        let Some((header, code)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Found::Refused("it is cut short");
        };
        let Some(mac) = header.strip_prefix(MAGIC) else {
            return Found::Refused("it has another format");
        };
        if self.mac(digest, code).verify_slice(mac).is_err() {
            return Found::Refused("it was altered, cut short or made by another build");
        }
        match deserialize(&self.engine, code) {
            Ok(code) => Found::Sound(code),
            Err(_) => Found::Refused("the engine refuses it"),
        }
    }

    /// Writes aside, syncs, renames: a file is whole or absent.
    #[expect(
        clippy::disallowed_methods,
        reason = "the cache is this file's purpose"
    )]
    fn store(&self, digest: &str, code: &[u8]) -> Result<(), CacheError> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let path = self.path(digest);
        let unique = WRITES.fetch_add(1, Ordering::Relaxed);
        let aside = path.with_extension(format!("{}-{unique}.part", std::process::id()));
        let mac = self.mac(digest, code).finalize().into_bytes();
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&aside)?;
            file.write_all(MAGIC)?;
            file.write_all(&mac)?;
            file.write_all(code)?;
            file.sync_all()?;
            std::fs::rename(&aside, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        let written = write();
        if written.is_err() {
            // What is left over is no cache file by its name; best effort.
            let _ = std::fs::remove_file(&aside);
        }
        written.map_err(CacheError::io("writing", &path))
    }

    fn mac(&self, digest: &str, code: &[u8]) -> hmac::Hmac<Sha256> {
        let parts = [digest.as_bytes(), &self.compatible, &self.build, code];
        self.key.mac(&parts)
    }

    /// The file of a component, under a name that no digest text can escape.
    pub(crate) fn path(&self, digest: &str) -> PathBuf {
        let name = hex(&Sha256::digest(digest.as_bytes()));
        self.dir.join(format!("{name}.code"))
    }
}

#[expect(
    unsafe_code,
    reason = "the bytes come from our compiler, or passed the check of their authentication code"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> Result<Code, CompileError> {
    // SAFETY: `code` is what `Engine::precompile_component` returned in our own
    // child process: either just now, or verified by its authentication code.
    let component = unsafe { Component::deserialize(engine, code) };
    Ok(Code {
        component: component.map_err(CompileError::load)?,
        bytes: code.len() as u64,
    })
}

/// The digest of a component: `sha256:` and 64 hex digits.
pub fn component_digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What the engine hashes to tell whether compiled code fits it.
pub(super) fn compatible(engine: &Engine) -> [u8; 32] {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// The digest of the running program.
#[expect(
    clippy::disallowed_methods,
    reason = "the build is told by the program's own bytes"
)]
fn build_id() -> Result<[u8; 32], CacheError> {
    static BUILD: std::sync::OnceLock<[u8; 32]> = std::sync::OnceLock::new();
    if let Some(build) = BUILD.get() {
        return Ok(*build);
    }
    let path = Path::new("/proc/self/exe");
    let mut file = File::open(path).map_err(CacheError::io("opening", path))?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(CacheError::io("reading", path))?;
    Ok(*BUILD.get_or_init(|| hash.finalize().into()))
}

/// Ends the compiler when nobody waits for it any more.
struct Abort<T>(JoinHandle<T>);

impl<T> Drop for Abort<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn blocking<T: Send + 'static>(
    io: &Handle,
    work: impl FnOnce() -> Result<T, CompileError> + Send + 'static,
) -> Result<T, CompileError> {
    let done = io.spawn_blocking(work).await;
    done.map_err(|error| CompileError::Child(error.into()))?
}
