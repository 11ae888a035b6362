//! Versions of grants as they are stored: one row each, never changed.

use airlock_journal::{Op, Store, StoreError};
use airlock_sandbox::{Grants, Limits};
use bytes::Bytes;

use crate::grants::GrantsVersion;
use crate::rows;

const SPACE: &str = "grants";

fn key(plugin: &str, version: u64) -> Bytes {
    [plugin.as_bytes(), b"\0", &version.to_be_bytes()]
        .concat()
        .into()
}

/// The operation that stores a version; it must not be there.
pub(crate) fn put(grants: &GrantsVersion) -> [Op; 2] {
    let key = key(&grants.plugin, grants.version);
    [
        Op::Check {
            space: SPACE,
            key: key.clone(),
            expect: None,
        },
        Op::Put {
            space: SPACE,
            key,
            value: rows::encode(grants),
        },
    ]
}

/// A version; 0 is "nothing was ever granted".
pub(crate) fn load(
    store: &dyn Store,
    plugin: &str,
    version: u64,
    digest: &str,
) -> Result<GrantsVersion, StoreError> {
    if version == 0 {
        return Ok(nothing(plugin, digest));
    }
    let key = key(plugin, version);
    let value = store
        .get(SPACE, &key)?
        .ok_or_else(|| rows::damaged(SPACE, &key))?;
    rows::decode(SPACE, &key, &value)
}

/// Up to `limit` versions before `before`, newest first.
pub(crate) fn history(
    store: &dyn Store,
    plugin: &str,
    before: u64,
    limit: usize,
) -> Result<Vec<GrantsVersion>, StoreError> {
    let first = before.saturating_sub(limit as u64);
    let found = store.range(
        SPACE,
        &key(plugin, first),
        Some(&key(plugin, before)),
        limit,
    )?;
    let decode = |(key, value): &(Bytes, Bytes)| rows::decode(SPACE, key, value);
    found.iter().rev().map(decode).collect()
}

fn nothing(plugin: &str, digest: &str) -> GrantsVersion {
    GrantsVersion {
        version: 0,
        plugin: plugin.to_owned(),
        digest: digest.to_owned(),
        grants: Grants::default(),
        limits: Limits::default(),
        descriptions: Default::default(),
        claims: Default::default(),
        at_ms: 0,
        by: String::new(),
        why: String::new(),
        action: "none".to_owned(),
        restored: None,
        sandboxed: true,
    }
}
