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

    /// Documents by their keys, alive or not.
    pub(crate) fn get_all(
        &self,
        store: &dyn Store,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Arc<Read>>>, MemoryError> {
        let (mut found, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
        let changes = {
            let mut halves = self.halves();
            for key in keys {
                let read = halves.find(key);
                match &read {
                    Some(read) => halves.add(key, read, self.half_bytes_max),
                    None => missing.push(key.clone()),
                }
                found.push(read);
            }
            halves.changes
        };
        if missing.is_empty() {
            return Ok(found);
        }
        let mut rows = store.get_all(DOCS, &missing)?.into_iter();
        for (key, place) in keys
            .iter()
            .zip(&mut found)
            .filter(|(_, place)| place.is_none())
        {
            let row = rows.next().flatten();
            *place = row
                .map(|row| Read::new(key, &row))
                .transpose()?
                .map(Arc::new);
        }
        let mut halves = self.halves();
        if halves.changes == changes {
            for (key, read) in keys.iter().zip(&found) {
                if let Some(read) = read {
                    halves.add(key, read, self.half_bytes_max);
                }
            }
        }
        Ok(found)
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

impl Read {
    fn new(key: &Bytes, row: &Bytes) -> Result<Self, MemoryError> {
        let bytes = (row.len() + 2 * key.len()) as u64 + OVERHEAD_BYTES;
        let (row, text) = DocRow::decode(key, row)?;
        let text = text.into();
        Ok(Self { row, text, bytes })
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
