//! Where the views lie: in sled, or in memory when sled cannot be used. Whatever
//! sled does instead of answering, panics included, is the same to a caller: the
//! shelf is broken.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::engine::Position;
use crate::store::Head;

const POSITION: &[u8] = b"position";

/// The shelf cannot be used any more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken(pub String);

#[derive(Debug)]
pub(super) enum Shelf {
    Sled(sled::Db),
    Memory(BTreeMap<Vec<u8>, Vec<u8>>),
}

/// Changes that belong together.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

#[derive(Serialize, Deserialize)]
struct StoredPosition {
    len: u64,
    hash: crate::store::Hash,
    calls: u64,
}

/// Runs something of sled's.
pub(super) fn guarded<T>(step: &str, work: impl FnOnce() -> sled::Result<T>) -> Result<T, Broken> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Broken(format!("{step}: {error}"))),
        Err(_) => Err(Broken(format!("{step}: sled panicked"))),
    }
}

impl Shelf {
    pub(super) fn memory() -> Self {
        Self::Memory(BTreeMap::new())
    }

    pub(super) fn on_disk(&self) -> bool {
        matches!(self, Self::Sled(_))
    }

    /// The value of a key, decoded.
    pub(super) fn value<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Broken> {
        match self {
            Self::Sled(db) => guarded("reading", || db.get(key))?
                .map(|bytes| decode(&bytes))
                .transpose(),
            Self::Memory(map) => map.get(key).map(|bytes| decode(bytes)).transpose(),
        }
    }

    /// All values of a view, in the order of its keys.
    pub(super) fn values<T: DeserializeOwned>(&self, view: u8) -> Result<Vec<T>, Broken> {
        match self {
            Self::Sled(db) => {
                let scan = || {
                    db.scan_prefix([view])
                        .values()
                        .collect::<sled::Result<Vec<_>>>()
                };
                let found = guarded("reading", scan)?;
                found.iter().map(|bytes| decode(bytes)).collect()
            }
            Self::Memory(map) => {
                let range = map.range(vec![view]..vec![view + 1]);
                range.map(|(_, bytes)| decode(bytes)).collect()
            }
        }
    }

    /// Up to `limit` values of a view before the key `end`, the last first.
    pub(super) fn newest<T: DeserializeOwned>(
        &self,
        view: u8,
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<T>, Broken> {
        match self {
            Self::Sled(db) => {
                let scan = || {
                    let range = db.range([view].as_slice()..end);
                    range
                        .values()
                        .rev()
                        .take(limit)
                        .collect::<sled::Result<Vec<_>>>()
                };
                let found = guarded("reading", scan)?;
                found.iter().map(|bytes| decode(bytes)).collect()
            }
            Self::Memory(map) => {
                let bounds = (Bound::Included(vec![view]), Bound::Excluded(end.to_vec()));
                let range = map.range(bounds).rev().take(limit);
                range.map(|(_, bytes)| decode(bytes)).collect()
            }
        }
    }

    /// Up to `limit` keys that begin with `prefix` and come before `end`, the last
    /// first.
    pub(super) fn newest_keys(
        &self,
        prefix: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, Broken> {
        match self {
            Self::Sled(db) => {
                let scan = || {
                    let keys = db.range(prefix..end).keys().rev().take(limit);
                    keys.map(|key| key.map(|key| key.to_vec()))
                        .collect::<sled::Result<Vec<_>>>()
                };
                guarded("reading", scan)
            }
            Self::Memory(map) => {
                let bounds = (
                    Bound::Included(prefix.to_vec()),
                    Bound::Excluded(end.to_vec()),
                );
                let keys = map.range(bounds).rev().take(limit);
                Ok(keys.map(|(key, _)| key.clone()).collect())
            }
        }
    }

    /// Writes all changes. A shelf on which that fails is broken: a part may be there.
    ///
    /// One by one: what sled replaces it frees between two operations, and a batch
    /// is a single one. Batches of thousands leave more behind than it ever frees.
    pub(super) fn write(&mut self, changes: Changes) -> Result<(), Broken> {
        match self {
            Self::Sled(db) => {
                let write = || {
                    changes.0.into_iter().try_for_each(|(key, value)| {
                        match value {
                            Some(value) => db.insert(key, value),
                            None => db.remove(key),
                        }
                        .map(drop)
                    })
                };
                guarded("writing", write)
            }
            Self::Memory(map) => {
                for (key, value) in changes.0 {
                    match value {
                        Some(value) => map.insert(key, value),
                        None => map.remove(&key),
                    };
                }
                Ok(())
            }
        }
    }

    /// How far the audit was read; nothing for an empty shelf.
    pub(super) fn position(&self) -> Result<Option<Position>, Broken> {
        let stored: Option<StoredPosition> = self.value(POSITION)?;
        Ok(stored.map(|StoredPosition { len, hash, calls }| Position {
            head: Head { len, hash },
            calls,
        }))
    }
}

impl Changes {
    pub(super) fn set(&mut self, key: Vec<u8>, value: &impl Serialize) {
        // Our own types always encode.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        self.0.insert(key, Some(bytes));
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.0.insert(key, None);
    }

    /// Takes back what was set.
    pub(super) fn forget(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    pub(super) fn set_position(&mut self, position: Position) {
        let Position { head, calls } = position;
        let (len, hash) = (head.len, head.hash);
        self.set(POSITION.to_vec(), &StoredPosition { len, hash, calls });
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Broken> {
    serde_json::from_slice(bytes).map_err(|error| Broken(format!("a value is damaged: {error}")))
}
