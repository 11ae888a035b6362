//! How values are written into the store: JSON, so that a dump can be read.

use airlock_journal::StoreError;
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
