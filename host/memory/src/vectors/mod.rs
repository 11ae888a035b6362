//! Vectors of namespaces in memory, as far as there is room; the store has them all.
//!
//! What must stay true: a set in memory is what the store holds once the changes
//! that wait for it are done, and a search does them first.

pub(crate) mod flat;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use airlock_journal::Store;

use crate::draft::{Effect, EffectWhat};
use crate::error::MemoryError;
use crate::rows::{self, VECTORS, VectorRow};
use crate::text::disk::each_row;
use crate::wanted::Bound;
use flat::{Best, FlatSet, VectorFilter, dot};

/// Changes that may wait for a set; with more it is read again.
const PENDING_MAX: usize = 1024;

/// The sets that are in memory.
pub(crate) struct VectorCache {
    store: Arc<dyn Store>,
    bytes_max: u64,
    sets: Mutex<HashMap<u64, Arc<CachedSet>>>,
    clock: AtomicU64,
}

#[derive(Debug, Default)]
struct CachedSet {
    /// `None`: not read yet.
    set: RwLock<Option<FlatSet>>,
    pending: Mutex<Vec<Pending>>,
    used: AtomicU64,
    bytes: AtomicU64,
}

/// A change: an id, and its vector unless it has none any more.
type Pending = (String, Option<VectorRow>);

/// A namespace's vectors, as its row tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors {
    pub(crate) number: u64,
    pub(crate) count: u64,
    pub(crate) dimension: usize,
}

impl VectorCache {
    pub(crate) fn new(store: Arc<dyn Store>, bytes_max: u64) -> Self {
        Self {
            store,
            bytes_max,
            sets: Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// Tells sets in memory what changed; never waits for a search.
    pub(crate) fn apply(&self, effects: &[Effect]) {
        for effect in effects {
            let change = match &effect.what {
                EffectWhat::Drop => {
                    lock(&self.sets).remove(&effect.number);
                    continue;
                }
                EffectWhat::Put { id, vector, .. } => (id.clone(), vector.clone()),
                EffectWhat::Delete { id } => (id.clone(), None),
            };
            let mut sets = lock(&self.sets);
            let Some(set) = sets.get(&effect.number) else {
                continue;
            };
            let mut pending = lock(&set.pending);
            pending.push(change);
            if pending.len() > PENDING_MAX {
                drop(pending);
                sets.remove(&effect.number);
            }
        }
    }

    /// The `limit` documents of a namespace next to `query`, the nearest first.
    pub(crate) fn top(
        &self,
        vectors: Vectors,
        (query, filter): (&[f32], &VectorFilter),
        limit: usize,
        bound: &Bound,
    ) -> Result<Vec<(f32, String)>, MemoryError> {
        let needs = vectors.count * FlatSet::bytes_of(vectors.dimension) as u64;
        if needs > self.bytes_max {
            lock(&self.sets).remove(&vectors.number);
            return self.top_of_stored(vectors.number, (query, filter), limit, bound);
        }
        let cached = self.cached(vectors.number);
        let owned = |top: Vec<(f32, &str)>| {
            let each = top.into_iter().map(|(score, id)| (score, id.to_owned()));
            each.collect::<Vec<_>>()
        };
        {
            let set = cached.set.read().unwrap_or_else(PoisonError::into_inner);
            let current = lock(&cached.pending).is_empty();
            if let Some(set) = set.as_ref().filter(|_| current) {
                return Ok(owned(set.top(query, filter, limit)));
            }
        }
        let mut set = cached.set.write().unwrap_or_else(PoisonError::into_inner);
        if set.is_none() {
            *set = Some(self.read(vectors, bound)?);
        }
        let Some(set) = set.as_mut() else {
            return Ok(Vec::new());
        };
        for (id, vector) in std::mem::take(&mut *lock(&cached.pending)) {
            match vector {
                Some(vector) => set.put(&id, &vector),
                None => set.remove(&id),
            }
        }
        cached.bytes.store(set.bytes() as u64, Ordering::Relaxed);
        self.evict(vectors.number);
        Ok(owned(set.top(query, filter, limit)))
    }

    fn cached(&self, number: u64) -> Arc<CachedSet> {
        let mut sets = lock(&self.sets);
        let set = sets.entry(number).or_default();
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        set.used.store(now, Ordering::Relaxed);
        Arc::clone(set)
    }

    /// Lets sets go that were not used for longest, until the rest fits.
    fn evict(&self, keep: u64) {
        let mut sets = lock(&self.sets);
        let bytes = |set: &Arc<CachedSet>| set.bytes.load(Ordering::Relaxed);
        let mut total: u64 = sets.values().map(bytes).sum();
        while total > self.bytes_max {
            let others = sets.iter().filter(|(number, _)| **number != keep);
            let oldest = others.min_by_key(|(_, set)| set.used.load(Ordering::Relaxed));
            let Some(number) = oldest.map(|(number, _)| *number) else {
                return;
            };
            total -= sets.remove(&number).map_or(0, |set| bytes(&set));
        }
    }

    fn read(&self, vectors: Vectors, bound: &Bound) -> Result<FlatSet, MemoryError> {
        let mut set = FlatSet::new(vectors.dimension);
        self.each(vectors.number, bound, |id, row| set.put(id, &row))?;
        Ok(set)
    }

    /// The same answer without a set in memory, for namespaces that do not fit.
    fn top_of_stored(
        &self,
        number: u64,
        (query, filter): (&[f32], &VectorFilter),
        limit: usize,
        bound: &Bound,
    ) -> Result<Vec<(f32, String)>, MemoryError> {
        let mut best = Best::new(limit);
        self.each(number, bound, |id, row| {
            let has = filter.has(row.updated_ms, row.expires_ms, &row.labels);
            if has && row.vector.len() == query.len() {
                best.add(dot(query, &row.vector), id.to_owned());
            }
        })?;
        Ok(best.into_sorted())
    }

    fn each(
        &self,
        number: u64,
        bound: &Bound,
        mut each: impl FnMut(&str, VectorRow),
    ) -> Result<(), MemoryError> {
        let (from, to) = rows::doc_range(number);
        each_row(&*self.store, VECTORS, &from, Some(&to), |key, row| {
            bound.check()?;
            let (_, id) = rows::split_doc_key(VECTORS, key)?;
            each(id, VectorRow::decode(key, row)?);
            Ok(())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
