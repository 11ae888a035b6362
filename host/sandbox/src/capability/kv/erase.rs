//! Erasing all that a plugin keeps.
//!
//! What must stay true: nothing of a plugin is there once its data was erased,
//! not even what a call in flight was about to write. Each change checks the
//! plugin's era, and erasing begins with a new one.

use airlock_journal::store::{Batch, Op};
use airlock_journal::{Store, StoreError};
use bytes::Bytes;

use super::keys::{SPACE, USAGE_SPACE, all_of};

/// The space of the eras: one row per plugin whose data was erased once.
const ERA_SPACE: &str = "kv-era";

/// Pairs that are read and deleted at once, unless they are large.
const PAGE_PAIRS_MAX: usize = 1_000;
/// Bytes that a page aims at, judged by the page before.
const PAGE_BYTES: u64 = 8 << 20;
/// Pairs of the first page, of which nothing is known: values may have 1 MiB.
const PAGE_PAIRS_FIRST: usize = 16;

/// What was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Pairs.
    pub pairs: u64,
    /// Bytes of their keys (with the bucket's name and scope) and values.
    pub bytes: u64,
}

/// The era of a plugin's data, as a change must find it.
pub(super) struct Era {
    key: Bytes,
    row: Option<Bytes>,
}

impl Era {
    pub(super) fn now(store: &dyn Store, plugin: &str) -> Result<Self, StoreError> {
        let key = all_of(plugin).0;
        let row = store.get(ERA_SPACE, &key)?;
        Ok(Self { key, row })
    }

    /// Fails a batch that commits in another era.
    pub(super) fn check(&self, batch: Batch) -> Batch {
        batch.check(ERA_SPACE, self.key.clone(), self.row.clone())
    }

    /// Begins another one.
    fn end(self, batch: Batch) -> Result<Batch, StoreError> {
        let number = match &self.row {
            None => 0,
            Some(row) => {
                let number = row.as_ref().try_into().map(u64::from_be_bytes);
                number.map_err(|_| StoreError::Corrupt {
                    place: "the era of a plugin's kv data".to_owned(),
                })?
            }
        };
        let next = (number + 1).to_be_bytes().to_vec();
        Ok(self.check(batch).put(ERA_SPACE, self.key.clone(), next))
    }
}

/// Whether anything is kept for `plugin`.
///
/// # Errors
/// As the store's reads.
pub fn holds(store: &dyn Store, plugin: &str) -> Result<bool, StoreError> {
    let (from, to) = all_of(plugin);
    for space in [SPACE, USAGE_SPACE] {
        if !store.range(space, &from, Some(&to), 1)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes all pairs of `plugin`, of every scope and bucket, with their
/// counters. What may write to them must be taken from it before: a change that
/// was permitted earlier and has not committed yet is then refused.
///
/// # Errors
/// As the store's reads and commits; what was removed before stays removed, and
/// erasing again goes on from there.
pub async fn erase(store: &dyn Store, plugin: &str) -> Result<Erased, StoreError> {
    let era = Era::now(store, plugin)?.end(Batch::new())?;
    store.commit(era).await?;
    let (from, to) = all_of(plugin);
    let mut erased = Erased::default();
    for space in [SPACE, USAGE_SPACE] {
        let mut pairs_max = PAGE_PAIRS_FIRST;
        loop {
            let page = store.range(space, &from, Some(&to), pairs_max)?;
            let pairs = page.len() as u64;
            let size = |(key, value): &(Bytes, Bytes)| (key.len() + value.len()) as u64;
            let bytes: u64 = page.iter().map(size).sum();
            if pairs == 0 {
                break;
            }
            let ops = page.into_iter().map(|(key, _)| Op::Delete { space, key });
            let batch = Batch { ops: ops.collect() };
            store.commit(batch).await?;
            if space == SPACE {
                erased.pairs += pairs;
                erased.bytes += bytes;
            }
            let fitting = usize::try_from(PAGE_BYTES / (bytes / pairs).max(1));
            pairs_max = fitting.unwrap_or(PAGE_PAIRS_MAX).clamp(1, PAGE_PAIRS_MAX);
        }
    }
    Ok(erased)
}
