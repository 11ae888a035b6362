//! What both accepted versions of `wasi:keyvalue` share: buckets as resources
//! and the permit for each use of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable, ResourceTableError};

use super::backend::{Backend, Failure, Held, Values};
use super::grant::is_bucket_name;
use super::{Action, Kv, Op};
use crate::gate::{Gate, LimitReached, Permit};
use crate::state::CallState;

mod draft;
mod draft2;
#[cfg(test)]
mod tests;

/// Most keys in one batch operation.
const BATCH_KEYS_MAX: usize = 1_000;

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    draft::link(linker)?;
    draft2::link(linker)
}

fn view(state: &mut CallState) -> KvView<'_> {
    KvView {
        state: state.rooms.kv(),
        table: &mut state.table,
    }
}

/// The room's part of a call.
pub struct State {
    gate: Gate,
    backend: Arc<Backend>,
}

impl State {
    pub(super) fn new(gate: Gate, backend: Arc<Backend>) -> Self {
        Self { gate, backend }
    }
}

struct Buckets;
impl HasData for Buckets {
    type Data<'a> = KvView<'a>;
}

/// What the room's host functions see of a call.
struct KvView<'a> {
    state: &'a State,
    table: &'a mut ResourceTable,
}

/// An open bucket. The permit it was opened with is rechecked at each use.
#[derive(Clone)]
pub struct Bucket {
    name: String,
    opened: Arc<Permit<Kv>>,
}

/// A key and its value, where it has one.
type Pair = (String, Option<Vec<u8>>);

/// A failure of a host function: for the guest, or the end of the call.
#[derive(Debug)]
pub enum Error {
    /// There cannot be such a bucket.
    NoSuchStore,
    /// As the guest sees it.
    Failed(KvFailure),
    /// The call ends.
    Trap(wasmtime::Error),
}

/// Keeps the backend's failure private to the room.
#[derive(Debug)]
pub struct KvFailure(Failure);

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Limit(limit) => limit.into(),
            failure => Self::Failed(KvFailure(failure)),
        }
    }
}

impl From<crate::call::Denial> for Error {
    fn from(denial: crate::call::Denial) -> Self {
        Failure::Denied(denial).into()
    }
}

impl From<LimitReached> for Error {
    fn from(limit: LimitReached) -> Self {
        Self::Trap(limit.into())
    }
}

impl From<ResourceTableError> for Error {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

impl KvFailure {
    /// Whether it is a denial, which the interfaces have a case for.
    fn is_denial(&self) -> bool {
        matches!(self.0, Failure::Denied(_))
    }

    /// What the guest may read; the cause of a storage failure is logged.
    fn text(self) -> String {
        if let Failure::Store(cause) = &self.0 {
            tracing::error!(error = cause as &dyn std::error::Error, "kv storage failed");
        }
        self.0.to_string()
    }
}

impl KvView<'_> {
    fn open_bucket(&self, name: String) -> Result<Bucket, Error> {
        let bucket = name.clone();
        let opened = self.state.gate.permit(Op {
            action: Action::Open,
            bucket,
            key: None,
        });
        let opened = match opened {
            Err(_) if !is_bucket_name(&name) => return Err(Error::NoSuchStore),
            opened => Arc::new(opened?),
        };
        Ok(Bucket { name, opened })
    }

    fn bucket(&self, bucket: &Resource<Bucket>) -> Result<Bucket, Error> {
        Ok(self.table.get(bucket)?.clone())
    }
}

impl State {
    fn permit(
        &self,
        bucket: &Bucket,
        action: Action,
        key: Option<&str>,
    ) -> Result<Permit<Kv>, Error> {
        bucket.opened.recheck()?;
        Ok(self.gate.permit(Op {
            action,
            bucket: bucket.name.clone(),
            key: key.map(str::to_owned),
        })?)
    }

    async fn fetch(&self, permit: &Permit<Kv>, key: &str) -> Result<Held, Error> {
        let (value, held) = self.backend.get(permit, key).await?;
        permit.count_in(value.as_ref().map_or(0, Bytes::len) as u64);
        Ok((value, held))
    }

    async fn get_value(&self, bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let permit = self.permit(bucket, Action::Get, Some(key))?;
        let (value, _held) = self.fetch(&permit, key).await?;
        Ok(value.map(Vec::from))
    }

    fn has_key(&self, bucket: &Bucket, key: &str) -> Result<bool, Error> {
        let permit = self.permit(bucket, Action::Exists, Some(key))?;
        Ok(self.backend.has(&permit, key)?)
    }

    /// Keys behind `after`, and the last of them where there are more.
    fn list(
        &self,
        bucket: &Bucket,
        after: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), Error> {
        let permit = self.permit(bucket, Action::List, None)?;
        let (keys, more) = self.backend.list(&permit, after)?;
        let last = keys.last().filter(|_| more).cloned();
        Ok((keys, last))
    }

    /// Sets (`Some`) and removes (`None`) values, all or none.
    async fn put(
        &self,
        bucket: &Bucket,
        action: Action,
        changes: BTreeMap<String, Option<Vec<u8>>>,
    ) -> Result<(), Error> {
        check_batch(changes.len())?;
        let only = changes.keys().next().filter(|_| changes.len() == 1);
        let permit = self.permit(bucket, action, only.map(String::as_str))?;
        let bytes: usize = changes.values().flatten().map(Vec::len).sum();
        let _held = self.gate.budget().reserve(bytes as u64)?;
        let changes: Values = changes
            .into_iter()
            .map(|(key, value)| (key, value.map(Bytes::from)))
            .collect();
        let keys = changes.keys().map(String::as_str);
        let put = |values: &mut Values| {
            *values = changes.clone();
            Ok(())
        };
        Ok(self.backend.change(&permit, keys, put).await?)
    }

    /// Adds `delta` to the decimal number at `key`; a missing one counts as 0.
    async fn add<T>(&self, bucket: &Bucket, key: &str, delta: T) -> Result<T, Error>
    where
        T: Copy + Into<i128> + TryFrom<i128>,
    {
        let permit = self.permit(bucket, Action::Increment, Some(key))?;
        let add = |values: &mut Values| {
            let value = values.entry(key.to_owned()).or_default();
            let sum = parse_number(value.as_ref())? + delta.into();
            let fits = T::try_from(sum)
                .map_err(|_| Failure::Invalid("the sum does not fit the number".to_owned()))?;
            *value = Some(sum.to_string().into());
            Ok(fits)
        };
        Ok(self.backend.change(&permit, [key], add).await?)
    }

    async fn get_values(&self, bucket: &Bucket, keys: Vec<String>) -> Result<Vec<Pair>, Error> {
        check_batch(keys.len())?;
        let permit = self.permit(bucket, Action::Get, None)?;
        let mut held = Vec::new();
        let mut values = Vec::new();
        for key in keys {
            let (value, reservation) = self.fetch(&permit, &key).await?;
            held.push(reservation);
            values.push((key, value.map(Vec::from)));
        }
        Ok(values)
    }
}

fn check_batch(keys: usize) -> Result<(), Failure> {
    if keys > BATCH_KEYS_MAX {
        return Err(Failure::Invalid(format!(
            "{keys} keys at once, at most {BATCH_KEYS_MAX} are allowed"
        )));
    }
    Ok(())
}

fn parse_number(value: Option<&Bytes>) -> Result<i128, Failure> {
    let Some(value) = value else { return Ok(0) };
    let number = std::str::from_utf8(value).ok().and_then(|text| {
        let number: i64 = text.parse().ok()?;
        Some(i128::from(number))
    });
    let wide = || {
        std::str::from_utf8(value)
            .ok()?
            .parse::<u64>()
            .ok()
            .map(i128::from)
    };
    number
        .or_else(wide)
        .ok_or_else(|| Failure::Invalid("the value is not a decimal number".to_owned()))
}
