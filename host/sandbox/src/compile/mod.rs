//! From component bytes to code in memory: the cache on disk, and a child
//! process that compiles.
//!
//! What must stay true: this process never compiles what it was given; code is
//! deserialized only after its authentication code was checked, from the very
//! bytes that were checked.

mod cache;
mod child;
mod error;
mod key;
mod parent;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::limits::{ByteSize, Span};

pub(crate) use cache::CodeCache;
pub use cache::component_digest;
pub use child::child_main;
pub use error::{CacheError, CompileError};

/// The program that compiles one component: usually this binary with a hidden
/// subcommand that calls [`child_main`].
#[derive(Debug, Clone)]
pub struct Compiler {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// Bounds on what is installed.
#[derive(Debug, Clone)]
pub struct InstallLimits {
    /// Size of a component.
    pub component_bytes: ByteSize,
    /// CPU time of the compiler, over all its threads; whole seconds.
    pub cpu: Span,
    /// Wall time of the compiler.
    pub wall: Span,
    /// Address space of the compiler.
    pub memory: ByteSize,
}

impl Default for InstallLimits {
    fn default() -> Self {
        Self {
            component_bytes: ByteSize(64 << 20),
            cpu: Span(Duration::from_secs(60)),
            wall: Span(Duration::from_secs(120)),
            memory: ByteSize(2 << 30),
        }
    }
}
