//! Where a bucket's pairs lie in the store.
//!
//! What must stay true: the encoding is unambiguous, so that no choice of names
//! and keys reaches into another bucket. Each part before the guest's key has
//! its length in front of it.

use bytes::Bytes;

use super::Scope;

/// The space of the pairs.
pub(super) const SPACE: &str = "kv";
/// The space of the counters: one row per bucket that holds something.
pub(super) const USAGE_SPACE: &str = "kv-usage";

/// One bucket of one owner, as the common start of its keys in the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place(Bytes);

impl Place {
    pub(super) fn new(plugin: &str, scope: Scope, principal: &str, bucket: &str) -> Self {
        let mut prefix = Vec::new();
        part(&mut prefix, plugin);
        match scope {
            Scope::Plugin => prefix.push(b's'),
            Scope::Principal => {
                prefix.push(b'p');
                part(&mut prefix, principal);
            }
        }
        part(&mut prefix, bucket);
        Self(prefix.into())
    }

    /// Where `key` lies.
    pub(super) fn key(&self, key: &str) -> Bytes {
        [&self.0, key.as_bytes()].concat().into()
    }

    /// The first place behind `key`.
    pub(super) fn after(&self, key: &str) -> Bytes {
        [&self.0, key.as_bytes(), &[0]].concat().into()
    }

    /// The first place behind all of the bucket.
    pub(super) fn end(&self) -> Bytes {
        successor(&self.0)
    }

    /// The guest's key at a place in the store.
    pub(super) fn guest_key(&self, stored: &[u8]) -> Option<String> {
        let key = stored.strip_prefix(self.0.as_ref())?;
        String::from_utf8(key.to_vec()).ok()
    }

    /// Where the bucket's counters lie.
    pub(super) fn usage(&self) -> Bytes {
        self.0.clone()
    }
}

/// The range of all places of `plugin`, in both spaces.
pub(super) fn all_of(plugin: &str) -> (Bytes, Bytes) {
    let mut from = Vec::new();
    part(&mut from, plugin);
    let to = successor(&from);
    (from.into(), to)
}

fn part(prefix: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    prefix.extend_from_slice(&length.to_be_bytes());
    prefix.extend_from_slice(text.as_bytes());
}

/// The first byte string behind all that start with `prefix`, which begins with
/// a length below `u32::MAX` and so has one.
fn successor(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}
