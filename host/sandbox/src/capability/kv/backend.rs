//! Reading and changing pairs in the store.
//!
//! What must stay true: each change commits with checks that the values and the
//! counters it was computed from are still there, so that quotas, increments and
//! swaps are exact whoever else writes. The locks only keep writers from failing
//! each other's checks. What a change replaces or removes is held until it has
//! committed, and counts against the call's `host_memory`.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use airlock_journal::store::Batch;
use airlock_journal::{Store, StoreError};
use bytes::Bytes;
use tokio::sync::{Mutex, MutexGuard};

use super::Kv;
use super::erase::Era;
use super::grant::Rule;
use super::keys::{Place, SPACE, USAGE_SPACE};
use crate::call::Denial;
use crate::gate::{LimitReached, Missing, Permit, Reservation};
use crate::limits::ByteSize;

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 1 << 10;
/// Longest value, bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Keys in one page of a listing.
pub const PAGE_KEYS_MAX: usize = 256;

/// A value this large is read at the end of a turn: the thread has other guests.
const TURN_BYTES: usize = 64 << 10;

/// Attempts at a change that others overtake.
const ATTEMPTS_MAX: u32 = 16;
const LOCKS: usize = 32;

/// The buckets of one plugin.
pub struct Backend {
    store: Arc<dyn Store>,
    plugin: String,
    locks: [Mutex<()>; LOCKS],
    hasher: RandomState,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A grant or a quota does not allow it.
    #[error("denied: {0}")]
    Denied(#[from] Denial),
    /// The call holds more than it may.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// The guest's fault.
    #[error("{0}")]
    Invalid(String),
    /// The value is not what the swap expected.
    #[error("the value has changed")]
    Changed,
    /// Others wrote each time; it can be tried again.
    #[error("the bucket is too busy; try again")]
    Contended,
    /// The host's storage failed; the cause is for its log alone.
    #[error("the host's storage failed")]
    Store(#[from] StoreError),
}

/// Values before and after a change, by key; `None`: no such key.
pub(super) type Values = BTreeMap<String, Option<Bytes>>;

/// A value, and its place in the call's budget while it is held.
pub(super) type Held = (Option<Bytes>, Reservation);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    bytes: u64,
    keys: u64,
}

impl Backend {
    /// The buckets of `plugin` in `store`.
    pub(super) fn new(store: Arc<dyn Store>, plugin: &str) -> Self {
        Self {
            store,
            plugin: plugin.to_owned(),
            locks: Default::default(),
            hasher: RandomState::new(),
        }
    }

    /// The value of `key`.
    pub(super) async fn get(&self, permit: &Permit<Kv>, key: &str) -> Result<Held, Failure> {
        check_key(key)?;
        let place = self.place(permit)?.0;
        self.value(permit, &place, key).await
    }

    /// Whether there is such a key.
    pub(super) fn has(&self, permit: &Permit<Kv>, key: &str) -> Result<bool, Failure> {
        check_key(key)?;
        let place = self.place(permit)?.0;
        let (from, to) = (place.key(key), place.after(key));
        Ok(!self.store.keys(SPACE, &from, Some(&to), 1)?.is_empty())
    }

    /// Up to [`PAGE_KEYS_MAX`] keys behind `after`, in order, and whether there
    /// are more.
    pub(super) fn list(
        &self,
        permit: &Permit<Kv>,
        after: Option<&str>,
    ) -> Result<(Vec<String>, bool), Failure> {
        let place = self.place(permit)?.0;
        let from = match after {
            Some(key) => place.after(key),
            None => place.key(""),
        };
        let found = self
            .store
            .keys(SPACE, &from, Some(&place.end()), PAGE_KEYS_MAX + 1)?;
        let more = found.len() > PAGE_KEYS_MAX;
        let page = found.iter().take(PAGE_KEYS_MAX);
        let keys: Vec<String> = page.filter_map(|key| place.guest_key(key)).collect();
        permit.count_in(keys.iter().map(String::len).sum::<usize>() as u64);
        Ok((keys, more))
    }

    /// Changes the values of `keys` to what `compute` makes of them, all or none,
    /// durably. `compute` may be called several times.
    pub(super) async fn change<T>(
        &self,
        permit: &Permit<Kv>,
        keys: impl IntoIterator<Item = &str>,
        mut compute: impl FnMut(&mut Values) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let keys: Vec<&str> = keys.into_iter().collect();
        keys.iter().try_for_each(|key| check_key(key))?;
        let (place, rule) = self.place(permit)?;
        let _guard = self.lock(&place).await;
        for _ in 0..ATTEMPTS_MAX {
            // In this order: whoever takes the grant away and then begins
            // another era finds either nothing or a change that is refused.
            let era = Era::now(&*self.store, &self.plugin)?;
            permit.recheck()?;
            let (before, _held) = self.values(permit, &place, &keys).await?;
            let mut after = before.clone();
            let result = compute(&mut after)?;
            let Some(batch) = self.batch(permit, &place, &rule, &before, &after)? else {
                return Ok(result);
            };
            match self.store.commit(era.check(batch)).await {
                Ok(_) => {
                    let out = after.values().flatten().map(Bytes::len).sum::<usize>();
                    permit.count_out(out as u64);
                    return Ok(result);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::Contended)
    }

    fn place(&self, permit: &Permit<Kv>) -> Result<(Place, Rule), Failure> {
        let rule = permit
            .rule()
            .ok_or_else(|| Failure::Invalid("the bucket's grant is no longer there".to_owned()))?;
        let principal = &permit.gate().info().principal;
        let place = Place::new(&self.plugin, rule.scope, principal, &rule.bucket);
        Ok((place, rule))
    }

    async fn lock(&self, place: &Place) -> MutexGuard<'_, ()> {
        let slot = self.hasher.hash_one(place) % LOCKS as u64;
        self.locks[usize::try_from(slot).unwrap_or(0)].lock().await
    }

    async fn values(
        &self,
        permit: &Permit<Kv>,
        place: &Place,
        keys: &[&str],
    ) -> Result<(Values, Vec<Reservation>), Failure> {
        let (mut values, mut held) = (Values::new(), Vec::new());
        for key in keys {
            let (value, reservation) = self.value(permit, place, key).await?;
            values.insert((*key).to_owned(), value);
            held.push(reservation);
        }
        Ok((values, held))
    }

    async fn value(&self, permit: &Permit<Kv>, place: &Place, key: &str) -> Result<Held, Failure> {
        let value = self.store.get(SPACE, &place.key(key))?;
        let bytes = value.as_ref().map_or(0, Bytes::len);
        let held = permit.gate().budget().reserve(bytes as u64)?;
        if bytes >= TURN_BYTES {
            tokio::task::yield_now().await;
        }
        Ok((value, held))
    }

    /// The batch that turns `before` into `after`, unless they are equal.
    fn batch(
        &self,
        permit: &Permit<Kv>,
        place: &Place,
        rule: &Rule,
        before: &Values,
        after: &Values,
    ) -> Result<Option<Batch>, Failure> {
        let changed: Vec<_> = after
            .iter()
            .filter(|(key, value)| before.get(*key) != Some(value))
            .collect();
        if changed.is_empty() {
            return Ok(None);
        }
        let row = self.store.get(USAGE_SPACE, &place.usage())?;
        let held = Counters::read(row.as_deref())?;
        let next = held.replaced(before, after);
        next.check_quota(held, rule, permit)?;
        let mut batch = Batch::new()
            .check(USAGE_SPACE, place.usage(), row)
            .op(next.op(place));
        for (key, value) in changed {
            check_value(value.as_ref())?;
            let at = place.key(key);
            batch = batch.check(SPACE, at.clone(), before.get(key).cloned().flatten());
            batch = match value {
                Some(value) => batch.put(SPACE, at, value.clone()),
                None => batch.delete(SPACE, at),
            };
        }
        Ok(Some(batch))
    }
}

impl Counters {
    fn read(row: Option<&[u8]>) -> Result<Self, StoreError> {
        let Some(row) = row else {
            return Ok(Self::default());
        };
        let number = |at: usize| {
            let bytes = row.get(at..at + 8)?.try_into().ok()?;
            Some(u64::from_be_bytes(bytes))
        };
        match (number(0), number(8), row.len()) {
            (Some(bytes), Some(keys), 16) => Ok(Self { bytes, keys }),
            _ => Err(StoreError::Corrupt {
                place: "the counters of a kv bucket".to_owned(),
            }),
        }
    }

    fn op(self, place: &Place) -> airlock_journal::store::Op {
        let (space, key) = (USAGE_SPACE, place.usage());
        if self == Self::default() {
            return airlock_journal::store::Op::Delete { space, key };
        }
        let value = [self.bytes.to_be_bytes(), self.keys.to_be_bytes()].concat();
        airlock_journal::store::Op::Put {
            space,
            key,
            value: value.into(),
        }
    }

    /// The counters once `before` is replaced with `after`.
    fn replaced(self, before: &Values, after: &Values) -> Self {
        let (out, into) = (Self::of(before), Self::of(after));
        Self {
            bytes: self.bytes.saturating_sub(out.bytes) + into.bytes,
            keys: self.keys.saturating_sub(out.keys) + into.keys,
        }
    }

    fn of(values: &Values) -> Self {
        let present = values.iter().filter_map(|(k, v)| Some((k, v.as_ref()?)));
        present.fold(Self::default(), |sum, (key, value)| Self {
            bytes: sum.bytes + (key.len() + value.len()) as u64,
            keys: sum.keys + 1,
        })
    }

    /// A bucket may not grow beyond its quota; it may shrink while it is over one
    /// that was lowered.
    fn check_quota(self, held: Self, rule: &Rule, permit: &Permit<Kv>) -> Result<(), Denial> {
        let over = if self.bytes > rule.bytes.0 && self.bytes > held.bytes {
            format!(
                "bytes = \"{}\", this needs {}",
                rule.bytes,
                ByteSize(self.bytes)
            )
        } else if self.keys > rule.keys && self.keys > held.keys {
            format!("keys = {}, this needs {}", rule.keys, self.keys)
        } else {
            return Ok(());
        };
        let index = permit.rule_index().unwrap_or_default();
        let missing = format!(
            "kv rule {index} grants bucket `{}` with {over}",
            rule.bucket
        );
        Err(permit.gate().deny("kv", permit.op(), Missing::new(missing)))
    }
}

fn check_key(key: &str) -> Result<(), Failure> {
    match key.len() {
        0 => Err(Failure::Invalid("the key is empty".to_owned())),
        1..=KEY_BYTES_MAX => Ok(()),
        bytes => Err(Failure::Invalid(format!(
            "the key has {bytes} bytes, at most {KEY_BYTES_MAX} are allowed"
        ))),
    }
}

fn check_value(value: Option<&Bytes>) -> Result<(), Failure> {
    match value {
        Some(value) if value.len() > VALUE_BYTES_MAX => Err(Failure::Invalid(format!(
            "the value has {} bytes, at most {VALUE_BYTES_MAX} are allowed",
            value.len()
        ))),
        _ => Ok(()),
    }
}
