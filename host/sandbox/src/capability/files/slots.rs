//! Bounds on what the host opens and blocks on for guests: open files per call,
//! per plugin and in the process, and file operations of one plugin at once.
//!
//! What must stay true: a plugin whose disk hangs holds its own turns and
//! threads, never those of others.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use rustix::process::{Resource, getrlimit};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::Files;
use super::fault::Fault;
use crate::gate::Permit;

/// Files and directories one call may have open at once.
pub(super) const OPEN_PER_CALL_MAX: u64 = 256;

/// File operations of one plugin that run at once; further ones wait, within
/// their call's wall time.
const BLOCKING_PER_PLUGIN_MAX: usize = 16;

/// Open files of the process that guests may hold: half of what it may open,
/// so that connections and storage keep their part.
static PROCESS: LazyLock<Arc<Slots>> = LazyLock::new(|| {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    Arc::new(Slots {
        used: AtomicU64::new(0),
        max: files / 2,
        of: "the process",
        parent: None,
    })
});

/// A counted share of open files, within its parent's.
pub(super) struct Slots {
    used: AtomicU64,
    max: u64,
    of: &'static str,
    parent: Option<Arc<Slots>>,
}

/// One open file; given back when dropped.
pub(super) struct Slot {
    slots: Arc<Slots>,
}

impl Slots {
    /// The share of one plugin: a quarter of the guests' part.
    pub(super) fn plugin() -> Arc<Self> {
        let max = PROCESS.max / 4;
        Self::within(&PROCESS, "the plugin", max)
    }

    /// The share of one call.
    pub(super) fn call(plugin: &Arc<Self>) -> Arc<Self> {
        Self::within(plugin, "the call", OPEN_PER_CALL_MAX)
    }

    fn within(parent: &Arc<Self>, of: &'static str, max: u64) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            max,
            of,
            parent: Some(Arc::clone(parent)),
        })
    }

    /// Takes one, here and in every parent.
    ///
    /// # Errors
    /// A refusal that says whose share is used up.
    pub(super) fn take(self: &Arc<Self>) -> Result<Slot, Fault> {
        let mut next = Some(self);
        while let Some(slots) = next {
            let fits = |used: u64| (used < slots.max).then_some(used + 1);
            if slots
                .used
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
                .is_err()
            {
                self.give_back(Some(slots));
                return Err(Fault::refused(
                    ErrorCode::InsufficientMemory,
                    format!(
                        "{} has {} files open, which is the most",
                        slots.of, slots.max
                    ),
                ));
            }
            next = slots.parent.as_ref();
        }
        Ok(Slot {
            slots: Arc::clone(self),
        })
    }

    /// Gives one back here and in the parents below `end`.
    fn give_back(self: &Arc<Self>, end: Option<&Arc<Self>>) {
        let mut next = Some(self);
        while let Some(slots) = next {
            if end.is_some_and(|end| Arc::ptr_eq(end, slots)) {
                return;
            }
            slots.used.fetch_sub(1, Ordering::AcqRel);
            next = slots.parent.as_ref();
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(None);
    }
}

/// Runs blocking file operations on the host's I/O runtime.
#[derive(Clone)]
pub(super) struct Io {
    handle: Handle,
    turns: Arc<Semaphore>,
}

impl Io {
    pub(super) fn new(handle: &Handle) -> Self {
        Self {
            handle: handle.clone(),
            turns: Arc::new(Semaphore::new(BLOCKING_PER_PLUGIN_MAX)),
        }
    }

    /// Runs `work` when it is the plugin's turn. When the future is dropped,
    /// work that has not started never does; work that has runs to its end and
    /// keeps its turn until then, so whether it happened is unknown. Once polled
    /// it goes on by itself: whoever does not look keeps no turn from others.
    pub(super) fn run<T, F>(
        &self,
        work: F,
    ) -> impl Future<Output = Result<T, Fault>> + Send + 'static + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Fault> + Send + 'static,
    {
        let io = self.clone();
        async move {
            match Arc::clone(&io.turns).try_acquire_owned() {
                Ok(turn) => io.start(turn, work).await,
                Err(_) => {
                    let queued = io.clone();
                    let queued = async move { queued.start(queued.turn().await?, work).await };
                    Started(io.handle.spawn(queued)).await
                }
            }
        }
    }

    /// The same for work that `permit` is for, if that still holds when the
    /// turn comes.
    pub(super) async fn permitted<T, F>(&self, permit: &Permit<Files>, work: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Fault> + Send + 'static,
    {
        let turn = self.turn().await?;
        permit.recheck().map_err(|_| ErrorCode::Access)?;
        self.start(turn, work).await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.map_err(|_| ErrorCode::Io.into())
    }

    fn start<T, F>(&self, turn: OwnedSemaphorePermit, work: F) -> Started<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Fault> + Send + 'static,
    {
        Started(self.handle.spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        }))
    }
}

struct Started<T>(JoinHandle<Result<T, Fault>>);

impl<T> Future for Started<T> {
    type Output = Result<T, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|joined| joined.unwrap_or(Err(Fault::Code(ErrorCode::Io))))
    }
}

impl<T> Drop for Started<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
