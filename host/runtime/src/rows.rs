//! How values are written into the store: JSON, so that a dump can be read.

use airlock_journal::{Store, StoreError};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The stored form of a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    // Only maps with keys that are no strings could fail, and no row has one.
    serde_json::to_vec(value).expect("rows are JSON").into()
}

/// A value from its stored form.
pub(crate) fn decode<T: DeserializeOwned>(
    space: &str,
    key: &[u8],
    value: &[u8],
) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt {
        place: format!("{space}/{}: {error}", key.escape_ascii()),
    })
}

/// A row whose JSON is well-formed and means nothing.
pub(crate) fn damaged(space: &str, key: &[u8]) -> StoreError {
    StoreError::Corrupt {
        place: format!("{space}/{}: not a value of this kind", key.escape_ascii()),
    }
}

/// Pairs that are read at once.
const PAGE: usize = 1_000;

/// All values of a space, a page at a time.
pub(crate) fn all<T: DeserializeOwned>(
    store: &dyn Store,
    space: &'static str,
) -> Result<Vec<T>, StoreError> {
    let mut values = Vec::new();
    let mut from = Vec::new();
    loop {
        let page = store.range(space, &from, None, PAGE)?;
        for (key, value) in &page {
            values.push(decode(space, key, value)?);
        }
        match page.last() {
            // The key that follows: the same with one more byte.
            Some((key, _)) if page.len() == PAGE => from = [key, &b"\0"[..]].concat(),
            _ => return Ok(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use airlock_journal::{Batch, MemoryStore};

    #[tokio::test]
    async fn all_pages_are_read() {
        let store = MemoryStore::new();
        let mut batch = Batch::new();
        for number in 0..2_500_u32 {
            batch = batch.put("s", number.to_be_bytes().to_vec(), encode(&number));
        }
        store.commit(batch).await.expect("commits");
        let found: Vec<u32> = all(&*store, "s").expect("reads");
        assert_eq!(found, (0..2_500).collect::<Vec<_>>());
    }
}
