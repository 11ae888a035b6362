//! How many bytes are kept of each principal.
//!
//! What must stay true: a key counts from its intent until it is removed, over
//! restarts too; counting reads no reply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use airlock_journal::{Store, StoreError};
use bytes::Bytes;

use super::{EXPIRY, lock};

/// What a key counts without its reply.
pub(super) const ROW_BYTES: u64 = 512;
/// Keys that are counted at once.
const PAGE: usize = 1_000;
/// The time before the key in the order of time, bytes.
const TIME_BYTES: usize = 8;

/// Bytes by principal; nobody has none.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept(Arc<Mutex<HashMap<Bytes, u64>>>);

impl Kept {
    /// Of what the store holds.
    pub(super) fn counted(store: &dyn Store) -> Result<Self, StoreError> {
        let kept = Self::default();
        let mut from = Vec::new();
        loop {
            let page = store.range(EXPIRY, &from, None, PAGE)?;
            for (index, value) in &page {
                kept.more(index.get(TIME_BYTES..).unwrap_or_default(), bytes(value));
            }
            match page.last() {
                Some((index, _)) if page.len() == PAGE => from = [index, &b"\0"[..]].concat(),
                _ => return Ok(kept),
            }
        }
    }

    /// Those of the principal that the key is of.
    pub(super) fn of(&self, key: &[u8]) -> u64 {
        let kept = lock(&self.0);
        kept.get(principal(key)).copied().unwrap_or_default()
    }

    pub(super) fn more(&self, key: &[u8], bytes: u64) {
        let mut kept = lock(&self.0);
        let principal = principal(key);
        match kept.get_mut(principal) {
            Some(of) => *of = of.saturating_add(bytes),
            None => drop(kept.insert(Bytes::copy_from_slice(principal), bytes)),
        }
    }

    pub(super) fn less(&self, key: &[u8], bytes: u64) {
        let mut kept = lock(&self.0);
        let principal = principal(key);
        let Some(of) = kept.get_mut(principal) else {
            return;
        };
        *of = of.saturating_sub(bytes);
        if *of == 0 {
            kept.remove(principal);
        }
    }
}

/// Names of principals have no NUL.
fn principal(key: &[u8]) -> &[u8] {
    key.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// As they are written.
pub(super) fn value(bytes: u64) -> Bytes {
    Bytes::copy_from_slice(&bytes.to_be_bytes())
}

/// As they were written; keys of before have none.
pub(super) fn bytes(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_be_bytes)
}
