//! A store in memory, for tests: it passes the same conformance suite, and
//! fails on demand at the seam, as a full or dying disk does.
//!
//! The [`Disk`] outlives the store, as a real one does: what a store
//! acknowledged is there when the next one opens it. Not for production.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::ready;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::chain;
use crate::rows::{self, Done, LeaseRow, Rows, Work};
use crate::store::{Batch, BoxFuture, Committed, Hash, Head, Record, Store, StoreError};

/// What survives the store: the contents of the disk.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

/// A failure to inject, see [`MemoryStore::inject`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The commit after `n` more successful ones fails to be written.
    Write {
        /// Successful commits before it.
        n: u64,
    },
    /// The commit after `n` more successful ones is written, but its sync fails:
    /// it may be there after a reopen and is not acknowledged.
    Sync {
        /// Successful commits before it.
        n: u64,
    },
    /// The disk holds no more than this many further bytes of payload.
    Full {
        /// Bytes that still fit.
        bytes: u64,
    },
}

/// The store; see the module's documentation.
#[derive(Debug)]
pub struct MemoryStore {
    disk: Disk,
    control: Mutex<Control>,
    /// Whether what was held goes on.
    released: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Control {
    /// Batches that are taken before those that wait.
    hold_after: Option<u64>,
    faults: Vec<Fault>,
    poisoned: Option<String>,
    /// Batches and leases that were taken.
    commits: u64,
}

type Pairs = BTreeMap<(String, Bytes), Option<Bytes>>;

#[derive(Debug, Clone, Default)]
struct State {
    pairs: Pairs,
    records: BTreeMap<(Bytes, u64), Record>,
    heads: HashMap<Bytes, Head>,
    /// In changes: streams that are removed before anything else.
    dropped: HashSet<Bytes>,
    leases: HashMap<Bytes, LeaseRow>,
}

/// One batch's changes over the state, dropped when it is refused.
struct Overlay<'s> {
    base: &'s State,
    changes: State,
}

impl MemoryStore {
    /// A store on an empty disk.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::on(&Disk::default())
    }

    /// A store on a disk that may have been used before.
    #[must_use]
    pub fn on(disk: &Disk) -> Arc<Self> {
        Arc::new(Self {
            disk: disk.clone(),
            control: Mutex::default(),
            released: watch::Sender::default(),
        })
    }

    /// Batches after the next `n` wait, as on a disk that hangs, until
    /// [`MemoryStore::release`].
    pub fn hold_after(&self, n: u64) {
        self.released.send_replace(false);
        lock(&self.control).hold_after = Some(n);
    }

    /// Lets batches that wait be taken, and those that come.
    pub fn release(&self) {
        lock(&self.control).hold_after = None;
        self.released.send_replace(true);
    }

    fn is_held(&self) -> bool {
        match &mut lock(&self.control).hold_after {
            None => false,
            Some(0) => true,
            Some(more) => {
                *more -= 1;
                false
            }
        }
    }

    /// Makes a later commit fail; several faults may be pending.
    pub fn inject(&self, fault: Fault) {
        lock(&self.control).faults.push(fault);
    }

    /// How many commits there were, leases among them.
    pub fn commits(&self) -> u64 {
        lock(&self.control).commits
    }

    fn perform(&self, work: &Work) -> Result<Done, StoreError> {
        let mut control = lock(&self.control);
        control.check()?;
        let mut state = lock(&self.disk.0);
        let mut overlay = Overlay {
            base: &state,
            changes: State::default(),
        };
        let done = rows::perform(&mut overlay, work)?;
        let changes = overlay.changes;
        match control.due(changes.bytes()) {
            None => {
                control.commits += 1;
                state.merge(changes);
            }
            Some(Fault::Sync { .. }) => {
                state.merge(changes);
                return control.poison("syncing: injected failure");
            }
            Some(Fault::Write { .. }) => return control.poison("writing: injected failure"),
            Some(Fault::Full { .. }) => return control.poison("writing: no space left on device"),
        }
        Ok(done)
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let work = Work::Batch(batch);
        if !self.is_held() {
            let done = self.perform(&work);
            return Box::pin(ready(done.map(Done::committed)));
        }
        let mut released = self.released.subscribe();
        Box::pin(async move {
            // The sender lives as long as this.
            let _ = released.wait_for(|released| *released).await;
            self.perform(&work).map(Done::committed)
        })
    }

    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(lock(&self.disk.0).pair(space, key).flatten())
    }

    fn range(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let first = (space.to_owned(), Bytes::copy_from_slice(from));
        Ok(lock(&self.disk.0)
            .pairs
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(|((s, key), _)| s == space && to.is_none_or(|to| key.as_ref() < to))
            .filter_map(|((_, key), value)| Some((key.clone(), value.clone()?)))
            .take(limit)
            .collect())
    }

    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let state = lock(&self.disk.0);
        let records = state.page(stream, from, limit);
        let before = match from.checked_sub(1) {
            None => Some(Hash::default()),
            Some(seq) => state.record(stream, seq).map(|record| record.hash),
        };
        let head = state.stored_head(stream);
        rows::verify_page(stream, from, limit, before, head, &records)?;
        Ok(records)
    }

    fn raw(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(lock(&self.disk.0).page(stream, from, limit))
    }

    fn head(&self, stream: &[u8]) -> Result<Head, StoreError> {
        Ok(lock(&self.disk.0).stored_head(stream))
    }

    fn lease(
        &self,
        lease: &[u8],
        owner: &str,
        now_ms: u64,
        ttl_ms: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        let done = self.perform(&Work::Lease {
            lease: Bytes::copy_from_slice(lease),
            owner: owner.to_owned(),
            now_ms,
            ttl_ms,
        });
        Box::pin(ready(done.map(Done::token)))
    }

    fn health(&self) -> Result<(), StoreError> {
        lock(&self.control).check()
    }
}

impl Control {
    fn check(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            None => Ok(()),
            Some(cause) => Err(StoreError::Poisoned {
                cause: cause.clone(),
            }),
        }
    }

    fn poison<T>(&mut self, cause: &str) -> Result<T, StoreError> {
        self.poisoned = Some(cause.to_owned());
        Err(StoreError::Poisoned {
            cause: cause.to_owned(),
        })
    }

    /// The fault that strikes a commit of `bytes`, if any; counts the others down.
    fn due(&mut self, bytes: u64) -> Option<Fault> {
        let mut due = None;
        for fault in &mut self.faults {
            let left = match fault {
                Fault::Write { n } | Fault::Sync { n } => n.checked_sub(1).map(|left| *n = left),
                Fault::Full { bytes: room } => room.checked_sub(bytes).map(|left| *room = left),
            };
            if left.is_none() {
                due = due.or(Some(*fault));
            }
        }
        due
    }
}

impl State {
    fn pair(&self, space: &str, key: &[u8]) -> Option<Option<Bytes>> {
        let key = (space.to_owned(), Bytes::copy_from_slice(key));
        self.pairs.get(&key).cloned()
    }

    fn record(&self, stream: &[u8], seq: u64) -> Option<&Record> {
        self.records.get(&(Bytes::copy_from_slice(stream), seq))
    }

    fn page(&self, stream: &[u8], from: u64, limit: usize) -> Vec<Record> {
        let stream = Bytes::copy_from_slice(stream);
        let rest = self
            .records
            .range((stream.clone(), from)..=(stream, u64::MAX));
        rest.take(limit).map(|(_, record)| record.clone()).collect()
    }

    fn stored_head(&self, stream: &[u8]) -> Head {
        self.heads.get(stream).copied().unwrap_or_default()
    }

    fn bytes(&self) -> u64 {
        let values = self.pairs.values().flatten().map(Bytes::len);
        let payloads = self.records.values().map(|record| record.payload.len());
        values.chain(payloads).sum::<usize>() as u64
    }

    fn drop_stream(&mut self, stream: &Bytes) {
        let range = (stream.clone(), 0)..=(stream.clone(), u64::MAX);
        let keys: Vec<_> = self
            .records
            .range(range)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.records.remove(&key);
        }
        self.heads.remove(stream);
    }

    fn merge(&mut self, changes: Self) {
        for (key, value) in changes.pairs {
            match value {
                Some(_) => self.pairs.insert(key, value),
                None => self.pairs.remove(&key),
            };
        }
        for stream in changes.dropped {
            self.drop_stream(&stream);
        }
        self.records.extend(changes.records);
        self.heads.extend(changes.heads);
        self.leases.extend(changes.leases);
    }
}

impl Rows for Overlay<'_> {
    fn get(&mut self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let changed = self.changes.pair(space, key);
        Ok(changed.unwrap_or_else(|| self.base.pair(space, key).flatten()))
    }

    fn put(&mut self, space: &str, key: &Bytes, value: &Bytes) -> Result<(), StoreError> {
        let key = (space.to_owned(), key.clone());
        self.changes.pairs.insert(key, Some(value.clone()));
        Ok(())
    }

    fn delete(&mut self, space: &str, key: &[u8]) -> Result<(), StoreError> {
        let key = (space.to_owned(), Bytes::copy_from_slice(key));
        self.changes.pairs.insert(key, None);
        Ok(())
    }

    fn head(&mut self, stream: &[u8]) -> Result<Head, StoreError> {
        let changed = self.changes.heads.get(stream).copied();
        Ok(
            changed.unwrap_or_else(|| match self.changes.dropped.contains(stream) {
                true => Head::default(),
                false => self.base.stored_head(stream),
            }),
        )
    }

    fn push(&mut self, stream: &Bytes, record: &Record) -> Result<(), StoreError> {
        let stored = self.base.record(stream, record.seq).is_some();
        if stored && !self.changes.dropped.contains(stream) {
            return Err(chain::damage(
                stream,
                record.seq,
                "is beyond the stream's end",
            ));
        }
        let key = (stream.clone(), record.seq);
        self.changes.records.insert(key, record.clone());
        Ok(())
    }

    fn set_head(&mut self, stream: &Bytes, head: Head) -> Result<(), StoreError> {
        self.changes.heads.insert(stream.clone(), head);
        Ok(())
    }

    fn drop_stream(&mut self, stream: &Bytes) -> Result<(), StoreError> {
        self.changes.drop_stream(stream);
        self.changes.dropped.insert(stream.clone());
        Ok(())
    }

    fn lease(&mut self, lease: &[u8]) -> Result<Option<LeaseRow>, StoreError> {
        let changed = self.changes.leases.get(lease);
        Ok(changed.or_else(|| self.base.leases.get(lease)).cloned())
    }

    fn set_lease(&mut self, lease: &[u8], row: &LeaseRow) -> Result<(), StoreError> {
        let lease = Bytes::copy_from_slice(lease);
        self.changes.leases.insert(lease, row.clone());
        Ok(())
    }
}

/// A panic in a test thread must not hide what the disk holds.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Op;

    #[tokio::test]
    async fn what_is_held_waits_until_it_is_let_go() {
        let store = MemoryStore::new();
        let batch = |key: &'static str| Batch {
            ops: vec![Op::Put {
                space: "s",
                key: Bytes::from_static(key.as_bytes()),
                value: Bytes::new(),
            }],
        };
        let there = |key: &str| store.get("s", key.as_bytes()).expect("a read").is_some();
        store.hold_after(2);
        store.commit(batch("a")).await.expect("before the hold");
        store.commit(batch("b")).await.expect("before the hold");
        let held = store.commit(batch("c"));
        let later = store.commit(batch("d"));
        assert!(there("b") && !there("c") && !there("d"));
        store.release();
        held.await.expect("let go");
        later.await.expect("let go");
        assert!(there("c") && there("d"));
        store.commit(batch("e")).await.expect("no more is held");
        assert_eq!(store.commits(), 5);
    }
}
