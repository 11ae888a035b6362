//! Views: what can be computed again from the audit, kept ready in sled. Usage of
//! grants, statistics of tools, the recent calls; runs, and how those of each
//! agent went.
//!
//! What must stay true: an answer reflects every durable audit record at the
//! time of the question, whatever happened to the views' files. Nothing rests on
//! them: what is missing, stale, damaged or fails in any way is thrown away and
//! computed again, in memory if sled cannot be used at all.

mod disk;
mod engine;
mod fold;
mod runs;
mod shelf;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::store::{Store, StoreError};
use engine::Engine;

pub use fold::{CALLS_MAX, CallEntry, GrantUsage, ToolStats};
pub use runs::{AgentStats, OPEN as RUN_OPEN, RUNS_SCANNED_MAX, RunEntry, RunFilter, RunList};

/// How often the background thread looks for new records, at most.
const CATCH_UP_EVERY: Duration = Duration::from_millis(500);
/// It rests this many times as long as it worked: the more comes in, the more is
/// folded at once, and the calls keep the processors.
const REST_FACTOR: u32 = 9;
const REST_MAX: Duration = Duration::from_secs(10);

/// The views over one audit log.
#[derive(Debug)]
pub struct Views {
    shared: Arc<Shared>,
    background: Option<JoinHandle<()>>,
}

struct Shared {
    store: Arc<dyn Store>,
    engine: Mutex<Engine>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Views")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Views {
    /// Opens the views in `dir` over the audit log of `store`, and keeps them
    /// up to date in the background. It cannot fail: whatever is in `dir` and
    /// is not sound is thrown away.
    #[must_use]
    pub fn open(dir: impl Into<PathBuf>, store: Arc<dyn Store>) -> Self {
        let shared = Arc::new(Shared {
            store,
            engine: Mutex::new(Engine::open(dir.into())),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        });
        let weak = Arc::downgrade(&shared);
        let background = std::thread::Builder::new()
            .name("journal-views".to_owned())
            .spawn(move || follow(&weak))
            .inspect_err(|error| tracing::warn!(%error, "views are updated on demand only"))
            .ok();
        Self { shared, background }
    }

    /// Reads all audit records that are new. Answers do it by themselves.
    ///
    /// # Errors
    /// When the audit log itself cannot be read.
    pub fn catch_up(&self) -> Result<(), StoreError> {
        self.ask(|_| Ok(()))
    }

    /// What each plugin used of each capability and rule, by name; of one
    /// plugin if it is named.
    ///
    /// # Errors
    /// When the audit log itself cannot be read.
    pub fn usage(&self, plugin: Option<&str>) -> Result<Vec<GrantUsage>, StoreError> {
        let mut usage: Vec<GrantUsage> = self.ask(|shelf| shelf.values(fold::USAGE))?;
        usage.retain(|usage| plugin.is_none_or(|plugin| plugin == usage.plugin));
        Ok(usage)
    }

    /// How the calls of each tool went, by name.
    ///
    /// # Errors
    /// When the audit log itself cannot be read.
    pub fn stats(&self) -> Result<Vec<ToolStats>, StoreError> {
        self.ask(|shelf| shelf.values(fold::STATS))
    }

    /// Up to `limit` calls, the newest first, before the one numbered `before`.
    /// The next page's cursor is the last one's `number`. At least the newest
    /// [`CALLS_MAX`] are kept; the audit has them all.
    ///
    /// # Errors
    /// When the audit log itself cannot be read.
    pub fn calls(&self, before: Option<u64>, limit: usize) -> Result<Vec<CallEntry>, StoreError> {
        let end = fold::call_key(before.unwrap_or(u64::MAX));
        self.ask(|shelf| shelf.newest(fold::CALLS, &end, limit))
    }

    /// Up to `limit` runs, the newest first, in a time that does not depend on how
    /// many there are.
    ///
    /// # Errors
    /// When the audit log itself cannot be read.
    pub fn runs(&self, filter: &RunFilter, limit: usize) -> Result<RunList, StoreError> {
        self.ask(|shelf| runs::list(shelf, filter, limit))
    }

    /// How the runs of each agent went, by name.
    ///
    /// # Errors
    /// When the audit log itself cannot be read.
    pub fn agent_stats(&self) -> Result<Vec<AgentStats>, StoreError> {
        self.ask(runs::stats)
    }

    /// Throws the views away and computes them again; returns how many audit
    /// records that took.
    ///
    /// # Errors
    /// When the audit log itself cannot be read.
    pub fn rebuild(&self) -> Result<u64, StoreError> {
        let mut engine = self.shared.engine();
        engine.start_over();
        engine.answer(&*self.shared.store, |_| Ok(()))?;
        Ok(engine.position())
    }

    /// Whether the views are in sled; if not, they are held in memory because
    /// sled could not be used.
    #[must_use]
    pub fn on_disk(&self) -> bool {
        self.shared.engine().on_disk()
    }

    fn ask<T>(
        &self,
        question: impl Fn(&shelf::Shelf) -> Result<T, shelf::Broken>,
    ) -> Result<T, StoreError> {
        self.shared.engine().answer(&*self.shared.store, question)
    }
}

impl Drop for Views {
    /// Writes down what the files hold, so that the next start can use them.
    fn drop(&mut self) {
        *lock(&self.shared.stop) = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.background.take()
            && thread.join().is_err()
        {
            tracing::error!("the views' thread panicked");
        }
        self.shared.engine().close();
    }
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        lock(&self.engine)
    }
}

fn follow(shared: &Weak<Shared>) {
    let mut rest = CATCH_UP_EVERY;
    while let Some(shared) = shared.upgrade() {
        let stop = lock(&shared.stop);
        let waited = shared.stopped.wait_timeout_while(stop, rest, |stop| !*stop);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
        let started = Instant::now();
        let caught_up = shared.engine().answer(&*shared.store, |_| Ok(()));
        rest = (started.elapsed() * REST_FACTOR).clamp(CATCH_UP_EVERY, REST_MAX);
        if let Err(error) = caught_up {
            tracing::warn!(%error, "views cannot read the audit");
        }
    }
}

/// An engine whose holder panicked is replaced by its own checks, not by more
/// panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
