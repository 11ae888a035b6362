//! Documents that were read lately, so that a search does not ask the store for the
//! same ones again and again.
//!
//! What must stay true: what is in here is what the store holds. The writer removes
//! what it changed before it acknowledges, and whoever read before that adds nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use airlock_journal::Store;
use bytes::Bytes;

use crate::draft::{Effect, EffectWhat};
use crate::error::MemoryError;
use crate::rows::{self, DOCS, DocRow};

/// What a document needs besides its row, bytes, about.
const OVERHEAD_BYTES: u64 = 400;

/// A document as it was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) row: DocRow,
    pub(crate) text: Box<str>,
    bytes: u64,
}

/// The documents: two halves, the older of which is forgotten when the younger is
/// full. What is used moves to the younger.
#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Bytes, Arc<Read>>,
    old: HashMap<Bytes, Arc<Read>>,
    young_bytes: u64,
    /// Raised with each change of the store.
    changes: u64,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Recent {
    half_bytes_max: u64,
    halves: Mutex<Halves>,
}

impl Recent {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            half_bytes_max: bytes_max / 2,
            halves: Mutex::default(),
        }
    }

    /// A document by its key, alive or not.
    pub(crate) fn get(
        &self,
        store: &dyn Store,
        key: &Bytes,
    ) -> Result<Option<Arc<Read>>, MemoryError> {
        let changes = {
            let mut halves = self.halves();
            if let Some(read) = halves.find(key) {
                halves.add(key, &read, self.half_bytes_max);
                return Ok(Some(read));
            }
            halves.changes
        };
        let Some(bytes) = store.get(DOCS, key)? else {
            return Ok(None);
        };
        let (row, text) = DocRow::decode(key, &bytes)?;
        let read = Arc::new(Read {
            row,
            text: text.into(),
            bytes: (bytes.len() + 2 * key.len()) as u64 + OVERHEAD_BYTES,
        });
        let mut halves = self.halves();
        if halves.changes == changes {
            halves.add(key, &read, self.half_bytes_max);
        }
        Ok(Some(read))
    }

    /// Forgets what changed.
    pub(crate) fn apply(&self, effects: &[Effect]) {
        let mut halves = self.halves();
        halves.changes += 1;
        for effect in effects {
            if let EffectWhat::Put { id, .. } | EffectWhat::Delete { id } = &effect.what {
                halves.remove(&rows::doc_key(effect.number, id));
            }
        }
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halves {
    fn find(&self, key: &Bytes) -> Option<Arc<Read>> {
        self.young.get(key).or_else(|| self.old.get(key)).cloned()
    }

    fn add(&mut self, key: &Bytes, read: &Arc<Read>, bytes_max: u64) {
        if self.young.contains_key(key) || read.bytes > bytes_max {
            return;
        }
        if self.young_bytes + read.bytes > bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.old.remove(key);
        self.young_bytes += read.bytes;
        self.young.insert(key.clone(), Arc::clone(read));
    }

    fn remove(&mut self, key: &Bytes) {
        self.old.remove(key);
        if let Some(read) = self.young.remove(key) {
            self.young_bytes -= read.bytes;
        }
    }
}
