//! Where the memory of a host is: it is opened when it is first needed, so that a host
//! that keeps no documents pays nothing for it.
//!
//! What must stay true: there is one memory over a store; once closed, none is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use airlock_journal::Store;
use tokio::runtime::Handle;

use crate::error::MemoryError;
use crate::memory::{Memory, Options, SystemClock};
use crate::model::Written;
use crate::places::Places;
use crate::reads::Reads;
use crate::rows::{self, HEAD, META};
use crate::wanted::Wanted;

/// A memory that is opened when it is first needed.
pub struct MemoryHome {
    store: Arc<dyn Store>,
    dir: PathBuf,
    options: Options,
    state: Mutex<State>,
    turn: RwLock<()>,
    places: Places,
}

enum State {
    NotOpened,
    Open(Arc<Memory>),
    Closed,
}

impl fmt::Debug for MemoryHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryHome")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl MemoryHome {
    /// In `store`, with its indexes in `dir`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, dir: impl Into<PathBuf>, options: Options) -> Arc<Self> {
        Arc::new(Self {
            store,
            dir: dir.into(),
            options,
            state: Mutex::new(State::NotOpened),
            turn: RwLock::default(),
            places: Places::default(),
        })
    }

    /// Where its indexes are; the folder may be deleted while it is closed.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether anything was ever written to it.
    ///
    /// # Errors
    /// [`MemoryError::Store`].
    pub fn is_used(&self) -> Result<bool, MemoryError> {
        Ok(self.store.get(META, HEAD)?.is_some())
    }

    /// The memory, where it is open.
    pub fn opened(&self) -> Option<Arc<Memory>> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(memory) => Some(Arc::clone(memory)),
            State::NotOpened | State::Closed => None,
        }
    }

    /// The memory; blocks while it is opened.
    ///
    /// # Errors
    /// As [`Memory::open`]; [`MemoryError::Busy`] once it is closed.
    pub fn open(&self) -> Result<Arc<Memory>, MemoryError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(memory) => Ok(Arc::clone(memory)),
            State::Closed => Err(MemoryError::busy("the host is stopping")),
            State::NotOpened => {
                let (store, clock) = (Arc::clone(&self.store), Arc::new(SystemClock));
                let memory = Memory::open(store, &self.dir, clock, self.options.clone())?;
                let memory = Arc::new(memory);
                *state = State::Open(Arc::clone(&memory));
                Ok(memory)
            }
        }
    }

    /// Opens it if there is anything in it, so that what is over is removed.
    ///
    /// # Errors
    /// As [`MemoryHome::open`].
    pub fn open_if_used(&self) -> Result<Option<Arc<Memory>>, MemoryError> {
        match self.is_used()? {
            true => self.open().map(Some),
            false => Ok(None),
        }
    }

    /// What may be read: where it was never used, nothing is opened.
    ///
    /// # Errors
    /// As [`MemoryHome::open`].
    pub fn reads(&self) -> Result<Reads, MemoryError> {
        match self.opened() {
            Some(memory) => Ok(memory.into()),
            None => self.open_if_used().map(Reads::from),
        }
    }

    /// What the write of a request did, as [`Memory::written_once`] tells it; the memory
    /// is not opened. Blocks for a read of the store.
    ///
    /// # Errors
    /// [`MemoryError::Store`]; [`MemoryError::Corrupt`].
    pub fn written_once(
        &self,
        run: &str,
        request: u64,
    ) -> Result<Option<Vec<Written>>, MemoryError> {
        rows::receipt(&*self.store, run, request)
    }

    /// Works with it on a thread of `io` that may block, in one of a bounded number of
    /// places, of which `who` has a share. Once begun, the work goes on to its end and
    /// keeps its place until then, also where this future is dropped: it is told that
    /// nobody wants its answer any more.
    ///
    /// # Errors
    /// As `work`; [`MemoryError::Busy`] when the host stops.
    pub async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        io: &Handle,
        who: &str,
        work: impl FnOnce(&Self, &Wanted) -> Result<T, MemoryError> + Send + 'static,
    ) -> Result<T, MemoryError> {
        let place = self.places.take(who).await?;
        let (home, wanted) = (Arc::clone(self), Wanted::default());
        let _waiting = wanted.waiting();
        let done = io.spawn_blocking(move || {
            let _place = place;
            work(&home, &wanted)
        });
        done.await
            .unwrap_or_else(|_| Err(MemoryError::busy("the host is stopping")))
    }

    /// Closes it for good; blocks for its last commit where nobody else uses it.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was = std::mem::replace(&mut *state, State::Closed);
        drop(state);
        drop(was);
    }

    /// Held by whoever queues a write, from the look at what allows it on.
    pub fn writing(&self) -> RwLockReadGuard<'_, ()> {
        self.turn.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once each write is queued that was allowed before: what is deleted from
    /// then on is deleted after it. What allows further writes must be gone before.
    pub fn allowed_before_is_queued(&self) {
        drop(self.turn.write().unwrap_or_else(PoisonError::into_inner));
    }
}
