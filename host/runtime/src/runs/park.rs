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

use super::places::Key;
use super::reads::{READ_AGAIN, may_work};
use super::rows::{self, OpenRow, Row};
use super::session::Session;
use super::{Runs, effects};
use crate::ids;
use crate::runtime::Runtime;
use crate::turns::Turns;

/// How long those wait for which there is no room, before it is looked again.
const FULL_WAIT: Duration = Duration::from_millis(20);

/// Locks under which runs are loaded, one for many.
const SHARDS: usize = 16;

/// Moments at which runs that are not in memory are taken up.
#[derive(Default)]
pub(super) struct Wakes {
    due: Mutex<BTreeSet<(u64, Box<str>)>>,
    /// Those that the kill switch keeps.
    halted: Mutex<BTreeSet<Box<str>>>,
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

    fn halted(&self) -> MutexGuard<'_, BTreeSet<Box<str>>> {
        self.halted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kill switch was lifted, of some: each is looked at.
    pub(super) fn look_at_halted(&self) {
        let halted = std::mem::take(&mut *self.halted());
        for id in halted {
            self.add(0, &id);
        }
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
    let parked = match session.write_parked().await {
        None => return false,
        Some((_, false)) => return true,
        Some((parked, true)) => parked,
    };
    let mut live = runtime.runs.lock();
    let mut inner = session.lock();
    // A record that came meanwhile took back that it is parked, also where it waits as
    // it did: whoever came for it then would not find it.
    if !inner.unwritten.is_parked() || inner.parked().as_ref() != Some(&parked) {
        return false;
    }
    inner.retired = true;
    let effects = std::mem::take(&mut inner.effects);
    live.remove(&session.id);
    if parked.halted {
        runtime.runs.wakes.halted().insert((&*session.id).into());
    }
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
    /// A run that has not ended, from memory or the store; `None`: it has, or this
    /// process looks after runs and has not come to this one yet.
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
        let Some(OpenRow { parked }) = rows::open_row(runtime.store(), id)? else {
            return Ok(None);
        };
        // One that is not parked was going on when its last process ended.
        if parked.is_none() && self.is_owner() {
            return Ok(None);
        }
        let session = self.load(runtime, id)?;
        if let Some(due_ms) = parked.and_then(|parked| parked.wake_ms) {
            self.wakes.lock().remove(&(due_ms, id.into()));
        }
        session.lock().unwritten.row_changes();
        session.lock().holds += 1;
        let held = Held(Arc::clone(&session));
        self.take_up(runtime, session);
        Ok(Some(held))
    }

    fn held(&self, id: &str) -> Option<Held> {
        let live = self.lock();
        let session = &live.get(id)?.session;
        session.lock().holds += 1;
        Some(Held(Arc::clone(session)))
    }

    fn load(&self, runtime: &Arc<Runtime>, id: &str) -> Result<Arc<Session>, StoreError> {
        let records = rows::all(runtime.store(), id)?;
        let first = rows::chain_first(runtime.store(), id)?;
        let runtime = Arc::downgrade(runtime);
        Ok(Session::of(id.to_owned(), first, runtime, &records))
    }

    /// Takes up every run that has not ended. One that can't be read is named in
    /// the log and strands no other.
    pub(super) fn recover(&self, runtime: &Arc<Runtime>) -> Result<(), StoreError> {
        rows::each_open(runtime.store(), |id, row| match row.parked {
            Some(parked) if !parked.has_children => {
                let due_ms = parked.wake_ms.or(parked.halted.then_some(0));
                if let Some(due_ms) = due_ms {
                    self.wakes.add(due_ms, &id);
                }
            }
            _ => {
                if let Err(error) = self.recover_one(runtime, &id) {
                    tracing::error!(run = id, %error, "a run's journal can't be read");
                    if may_work(&error) {
                        self.io.spawn(recover_late(Arc::downgrade(runtime), id));
                    }
                }
            }
        })?;
        self.io.spawn(wake_due(Arc::downgrade(runtime)));
        Ok(())
    }

    /// Takes up a run that was open when the host started, unless somebody who came for
    /// it has: one that was taken up before it may already end it, or tell it something.
    fn recover_one(&self, runtime: &Arc<Runtime>, id: &str) -> Result<(), StoreError> {
        let _loading = self.wakes.loading(id);
        if self.lock().contains_key(id) {
            return Ok(());
        }
        // They may have seen it to its end, or let go of it again.
        let is_parked = match rows::open_row(runtime.store(), id) {
            Ok(None) => return Ok(()),
            Ok(Some(row)) => row.parked.is_some(),
            Err(error) if may_work(&error) => return Err(error),
            Err(_) => false,
        };
        let session = self.load(runtime, id)?;
        if is_parked {
            session.lock().unwritten.row_changes();
        }
        self.take_up(runtime, session);
        Ok(())
    }

    /// A run that was to be taken up can't be read: it is tried again, unless it
    /// is damaged.
    fn unread(&self, id: &str, error: &StoreError) {
        tracing::error!(run = id, %error, "a run's journal can't be read");
        if may_work(error) {
            let wait = u64::try_from(READ_AGAIN.as_millis()).unwrap_or(u64::MAX);
            self.wakes.add(ids::now_ms().saturating_add(wait), id);
        }
    }
}

/// Takes up a run that could not be read, when it can.
async fn recover_late(runtime: Weak<Runtime>, id: String) {
    loop {
        tokio::time::sleep(READ_AGAIN).await;
        let Some(runtime) = runtime.upgrade() else {
            return;
        };
        match runtime.runs.recover_one(&runtime, &id) {
            Ok(()) => return,
            Err(error) if may_work(&error) => {}
            Err(error) => {
                tracing::error!(run = id, %error, "a run's journal can't be read");
                return;
            }
        }
    }
}

/// Takes up runs whose time has come, while the runtime lives. Where many are in
/// memory, those take turns who have few of them.
async fn wake_due(runtime: Weak<Runtime>) {
    let mut late = Turns::default();
    loop {
        let Some(wakes) = runtime
            .upgrade()
            .map(|runtime| Arc::clone(&runtime.runs.wakes))
        else {
            return;
        };
        let look = match late.iter().next() {
            Some(_) => FULL_WAIT,
            // Now and then it is looked whether the runtime is still there.
            None => Duration::from_secs(5),
        };
        let _ = tokio::time::timeout(look, wakes.next()).await;
        let Some(runtime) = runtime.upgrade() else {
            return;
        };
        let runs = &runtime.runs;
        let has_room = || runs.places.has_room(runs.lock().len());
        while let Some(id) = wakes.take(ids::now_ms()) {
            if has_room() && late.iter().next().is_none() {
                wake(&runtime, &id);
                tokio::task::yield_now().await;
                continue;
            }
            match of(&runtime, &id) {
                Ok(Some(of)) => late.push(of, id),
                // It was removed.
                Ok(None) => {}
                Err(error) => runs.unread(&id, &error),
            }
        }
        let may = |of: &Key| has_room() || runs.places.has_few(of);
        while let Some((_, id)) = late.next(may, |_| true) {
            wake(&runtime, &id);
            tokio::task::yield_now().await;
        }
    }
}

fn wake(runtime: &Arc<Runtime>, id: &str) {
    if let Err(error) = runtime.runs.hold(runtime, id) {
        runtime.runs.unread(id, &error);
    }
}

/// Whose a run is.
fn of(runtime: &Runtime, id: &str) -> Result<Option<Key>, StoreError> {
    let row = runtime.store().get(rows::SPACE, id.as_bytes())?;
    let Some(row) = row else { return Ok(None) };
    let row: Row = crate::rows::decode(rows::SPACE, id.as_bytes(), &row)?;
    Ok(Some((row.agent, row.by)))
}
