//! Runs that wait for long are not in memory: what is left of one is a row in the
//! store and, where it waits for a moment, an entry here.
//!
//! What must stay true: a run is looked after at most once in this process; one
//! that leaves memory is found by the moment it waits for, by whoever has
//! something for it, and by the next start.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use airlock_journal::StoreError;
use tokio::sync::Notify;

use super::rows::{self, OpenRow};
use super::session::Session;
use super::{Runs, effects};
use crate::ids;
use crate::runtime::Runtime;

/// Runs in memory above which none is taken up because of its time.
const LIVE_MAX: usize = 4_096;

/// How long taking up waits when there are that many.
const FULL_WAIT: Duration = Duration::from_millis(20);

/// Locks under which runs are loaded, one for many.
const SHARDS: usize = 16;

/// Moments at which runs that are not in memory are taken up.
#[derive(Default)]
pub(super) struct Wakes {
    due: Mutex<BTreeSet<(u64, Box<str>)>>,
    changed: Notify,
    loading: [Mutex<()>; SHARDS],
}

/// A run that stays in memory while this is held.
pub(crate) struct Held(Arc<Session>);

impl Deref for Held {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().holds -= 1;
    }
}

impl Wakes {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<(u64, Box<str>)>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, due_ms: u64, id: &str) {
        self.lock().insert((due_ms, id.into()));
        self.changed.notify_one();
    }

    fn loading(&self, id: &str) -> MutexGuard<'_, ()> {
        let sum = id
            .bytes()
            .fold(0_usize, |sum, byte| sum.wrapping_add(byte.into()));
        let shard = &self.loading[sum % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first one whose time has come.
    fn take(&self, now_ms: u64) -> Option<Box<str>> {
        let mut due = self.lock();
        let first = due.first().filter(|(due_ms, _)| *due_ms <= now_ms);
        first.is_some().then(|| due.pop_first())?.map(|(_, id)| id)
    }

    /// Waits until the time of one has come.
    async fn next(&self) {
        loop {
            let first = self.lock().first().map(|(due_ms, _)| *due_ms);
            let due = effects::until(first.unwrap_or(u64::MAX));
            tokio::select! {
                () = due => return,
                () = self.changed.notified() => {}
            }
        }
    }
}

/// Lets go of a run that waits for long; `false`: there is something to do.
pub(super) async fn retire(session: &Arc<Session>) -> bool {
    let Some(runtime) = session.runtime.upgrade() else {
        return true;
    };
    let Some(parked) = session.lock().parked() else {
        return false;
    };
    if !session.write_parked(&parked).await {
        return true;
    }
    let mut live = runtime.runs.lock();
    let mut inner = session.lock();
    if inner.parked().as_ref() != Some(&parked) {
        return false;
    }
    inner.retired = true;
    let effects = std::mem::take(&mut inner.effects);
    live.remove(&session.id);
    drop(inner);
    for effect in effects.into_values() {
        effect.abort();
    }
    if let Some(due_ms) = parked.wake_ms {
        runtime.runs.wakes.add(due_ms, &session.id);
    }
    true
}

impl Runs {
    /// A run that has not ended, from memory or the store; `None`: it has, or
    /// this process does not look after runs.
    pub(crate) fn hold(
        &self,
        runtime: &Arc<Runtime>,
        id: &str,
    ) -> Result<Option<Held>, StoreError> {
        if let Some(held) = self.held(id) {
            return Ok(Some(held));
        }
        let _loading = self.wakes.loading(id);
        if let Some(held) = self.held(id) {
            return Ok(Some(held));
        }
        let Some(OpenRow {
            parked: Some(parked),
        }) = rows::open_row(runtime.store(), id)?
        else {
            return Ok(None);
        };
        if let Some(due_ms) = parked.wake_ms {
            self.wakes.lock().remove(&(due_ms, id.into()));
        }
        let session = self.load(runtime, id)?;
        session.lock().unwritten.was_parked();
        session.lock().holds += 1;
        let held = Held(Arc::clone(&session));
        self.take_up(runtime, session);
        Ok(Some(held))
    }

    fn held(&self, id: &str) -> Option<Held> {
        let live = self.lock();
        let session = live.get(id)?;
        session.lock().holds += 1;
        Some(Held(Arc::clone(session)))
    }

    fn load(&self, runtime: &Arc<Runtime>, id: &str) -> Result<Arc<Session>, StoreError> {
        let records = rows::all(runtime.store(), id)?;
        Ok(Session::new(id.to_owned(), runtime, &records))
    }

    /// Takes up every run that has not ended. One that can't be read is named in
    /// the log and strands no other.
    pub(super) fn recover(&self, runtime: &Arc<Runtime>) -> Result<(), StoreError> {
        rows::each_open(runtime.store(), |id, row| match row.parked {
            Some(parked) if !parked.has_children => {
                if let Some(due_ms) = parked.wake_ms {
                    self.wakes.add(due_ms, &id);
                }
            }
            _ if self.lock().contains_key(&id) => {}
            _ => match self.load(runtime, &id) {
                Ok(session) => self.take_up(runtime, session),
                Err(error) => {
                    tracing::error!(run = id, %error, "a run's journal can't be read");
                }
            },
        })?;
        self.io.spawn(wake_due(Arc::downgrade(runtime)));
        Ok(())
    }
}

/// Takes up runs whose time has come, while the runtime lives.
async fn wake_due(runtime: Weak<Runtime>) {
    loop {
        let Some(wakes) = runtime
            .upgrade()
            .map(|runtime| Arc::clone(&runtime.runs.wakes))
        else {
            return;
        };
        // Now and then it is looked whether the runtime is still there.
        let look = tokio::time::timeout(Duration::from_secs(5), wakes.next());
        if look.await.is_err() {
            continue;
        }
        let Some(runtime) = runtime.upgrade() else {
            return;
        };
        while let Some(id) = wakes.take(ids::now_ms()) {
            while runtime.runs.lock().len() >= LIVE_MAX {
                tokio::time::sleep(FULL_WAIT).await;
            }
            if let Err(error) = runtime.runs.hold(&runtime, &id) {
                tracing::error!(run = &*id, %error, "a run's journal can't be read");
            }
            tokio::task::yield_now().await;
        }
    }
}
