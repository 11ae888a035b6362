//! Where the runtime keeps things, and its bounds.
//!
//! The data directory:
//! - `journal/`: the truth (plugins, grants, tokens, kv, secrets, audit, replies);
//! - `components/sha256-….wasm`: component bytes, named by digest, verified when read;
//! - `cache/`: compiled code; may be deleted at any time;
//! - `mcp/NAME/`: what the program of an MCP server keeps; its own, in no backup;
//! - `views/`: computed from the truth; may be deleted at any time;
//! - `memory/`: the full-text index of documents; may be deleted while nothing runs.
//!
//! The keys directory, outside the data directory so that a copy of the data is
//! not a copy of the keys: `cache.key`, `vault.key`, `audit.key`, `admin.token`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of a [`crate::Runtime`].
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// The data directory; created when absent.
    pub data_dir: PathBuf,
    /// The keys directory; created with mode 0700 when absent.
    pub keys_dir: PathBuf,
    /// The program that compiles components, in a child process.
    pub compiler: PathBuf,
    /// Its arguments.
    pub compiler_args: Vec<OsString>,
    /// The program that confines itself and becomes an MCP server's.
    pub launcher: PathBuf,
    /// Its arguments, before the order.
    pub launcher_args: Vec<OsString>,
    /// Certificates (PEM) that plugins' requests trust besides Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// The configuration of language models (docs/models.md).
    pub models_file: Option<PathBuf>,
    /// The same where no file is named: it may be put there, and read, later.
    pub models_beside: Option<PathBuf>,
    /// Whether to go on without models where their configuration can't be used: for
    /// whoever looks after no runs.
    pub models_may_fail: bool,
    /// Threads for guests; `None`: one per core.
    pub guest_workers: Option<usize>,
    /// Calls at once, over all plugins.
    pub calls_max: u32,
    /// Agents in a sandbox at once.
    pub agents_max: u32,
    /// Runs in memory that somebody started, above which no more are started. Of
    /// children a quarter of that may start at each depth, and a fortieth below
    /// one run.
    pub runs_max: usize,
    /// How long a waiting agent keeps its sandbox, and a run that stands still its
    /// place in memory.
    pub agent_warm: Duration,
    /// How long runs may wait for a sandbox, and none get one, before the host is
    /// not healthy.
    pub runs_stuck: Duration,
    /// Plugins whose compiled code is held in memory.
    pub loaded_components_max: usize,
    /// Components being inspected and compiled at once.
    pub install_jobs_max: usize,
    /// Installs waiting for their turn.
    pub install_queue_max: usize,
    /// How long the reply to an `Idempotency-Key` is kept.
    pub idempotency_keep: Duration,
    /// Most bytes of them that are kept of one principal.
    pub idempotency_bytes_max: u64,
    /// How long ended runs are kept, at least a minute; `None`: for ever.
    pub runs_keep: Option<Duration>,
    /// Whether an audit whose key is lost goes on with a new one. Without it,
    /// opening is refused.
    pub new_audit_key: bool,
    /// Time between signed checkpoints of the audit.
    pub checkpoint_every: Duration,
}

impl RuntimeConfig {
    /// The defaults for a data and a keys directory. The compiler is this
    /// program itself with the argument `__compile`, the launcher with `__launch`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, keys_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            keys_dir: keys_dir.into(),
            compiler: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("airlock")),
            compiler_args: vec![OsString::from("__compile")],
            launcher: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("airlock")),
            launcher_args: vec![OsString::from("__launch")],
            ca_file: None,
            models_file: None,
            models_beside: None,
            models_may_fail: false,
            guest_workers: None,
            calls_max: 1_000,
            agents_max: 200,
            runs_max: 10_000,
            agent_warm: Duration::from_secs(10),
            runs_stuck: Duration::from_secs(60),
            loaded_components_max: 64,
            install_jobs_max: 2,
            install_queue_max: 16,
            idempotency_keep: Duration::from_secs(24 * 3600),
            idempotency_bytes_max: 1 << 30,
            runs_keep: None,
            new_audit_key: false,
            checkpoint_every: Duration::from_secs(60),
        }
    }

    /// The truth.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.data_dir.join("journal")
    }

    /// Component bytes.
    #[must_use]
    pub fn components_dir(&self) -> PathBuf {
        self.data_dir.join("components")
    }

    /// Compiled code.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.data_dir.join("cache")
    }

    /// Views.
    #[must_use]
    pub fn views_dir(&self) -> PathBuf {
        self.data_dir.join("views")
    }

    /// The index of documents.
    #[must_use]
    pub fn memory_dir(&self) -> PathBuf {
        self.data_dir.join("memory")
    }

    /// Directories of MCP servers' programs, by plugin.
    #[must_use]
    pub fn servers_dir(&self) -> PathBuf {
        self.data_dir.join("mcp")
    }

    /// A file of the keys directory.
    #[must_use]
    pub fn key_file(&self, name: &str) -> PathBuf {
        self.keys_dir.join(name)
    }

    /// Where the first administrator's token is written.
    #[must_use]
    pub fn admin_token_file(&self) -> PathBuf {
        self.key_file("admin.token")
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}
