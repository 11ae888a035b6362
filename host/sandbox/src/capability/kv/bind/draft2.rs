//! `wasi:keyvalue@0.2.0-draft2`: cursors are strings, increments signed, and
//! compare-and-swap.

use bytes::Bytes;
use wasmtime::component::{Linker, Resource};

pub use super::Bucket;
use super::{Action, Buckets, Error, Failure, KvView, State, view};
use crate::capability::kv::backend::Values;
use crate::gate::Reservation;
use crate::state::CallState;
pub(super) use bindings::wasi::keyvalue::{atomics, batch, store};

#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/keyvalue-0.2.0-draft2",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::Error },
        with: {
            "wasi:keyvalue/store.bucket": super::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
        require_store_data_send: true,
    });
}

/// The value of a key as it was, to be replaced only while it still is.
pub struct Cas {
    bucket: Bucket,
    key: String,
    current: Option<Bytes>,
    _held: Reservation,
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, Buckets>(linker, view)?;
    atomics::add_to_linker::<_, Buckets>(linker, view)?;
    batch::add_to_linker::<_, Buckets>(linker, view)
}

impl store::Host for KvView<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<Bucket>, Error> {
        let bucket = self.open_bucket(identifier)?;
        Ok(self.table.push(bucket)?)
    }

    fn convert_error(&mut self, error: Error) -> wasmtime::Result<store::Error> {
        match error {
            Error::NoSuchStore => Ok(store::Error::NoSuchStore),
            Error::Failed(failure) if failure.is_denial() => Ok(store::Error::AccessDenied),
            Error::Failed(failure) => Ok(store::Error::Other(failure.text())),
            Error::Trap(error) => Err(error),
        }
    }
}

impl store::HostBucket for KvView<'_> {
    async fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.state.get_value(&self.bucket(&bucket)?, &key).await
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        let changes = [(key, Some(value))].into();
        self.state
            .put(&self.bucket(&bucket)?, Action::Set, changes)
            .await
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> Result<(), Error> {
        self.state
            .put(&self.bucket(&bucket)?, Action::Delete, [(key, None)].into())
            .await
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> Result<bool, Error> {
        self.state.has_key(&self.bucket(&bucket)?, &key)
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Result<store::KeyResponse, Error> {
        let (keys, cursor) = self.state.list(&self.bucket(&bucket)?, cursor.as_deref())?;
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl KvView<'_> {
    /// The value as it is now, for a swap.
    async fn observe(&mut self, bucket: Bucket, key: String) -> Result<Resource<Cas>, Error> {
        let permit = self.state.permit(&bucket, Action::Get, Some(&key))?;
        let (current, held) = self.state.fetch(&permit, &key).await?;
        Ok(self.table.push(Cas {
            bucket,
            key,
            current,
            _held: held,
        })?)
    }
}

impl State {
    async fn replace(&self, cas: &Cas, value: Vec<u8>) -> Result<(), Error> {
        let permit = self.permit(&cas.bucket, Action::Swap, Some(&cas.key))?;
        let _held = self.gate.budget().reserve(value.len() as u64)?;
        let value = Bytes::from(value);
        let swap = |values: &mut Values| {
            let slot = values.entry(cas.key.clone()).or_default();
            if *slot != cas.current {
                return Err(Failure::Changed);
            }
            *slot = Some(value.clone());
            Ok(())
        };
        let backend = &self.backend;
        Ok(backend.change(&permit, [cas.key.as_str()], swap).await?)
    }
}

impl atomics::Host for KvView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> Result<i64, Error> {
        self.state.add(&self.bucket(&bucket)?, &key, delta).await
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let cas = self.table.delete(cas)?;
        let error = match self.state.replace(&cas, value).await {
            Ok(()) => return Ok(Ok(())),
            Err(Error::Failed(failure)) if matches!(failure.0, Failure::Changed) => {
                match self.observe(cas.bucket, cas.key).await {
                    Ok(newer) => return Ok(Err(atomics::CasError::CasFailed(newer))),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        let error = store::Host::convert_error(self, error)?;
        Ok(Err(atomics::CasError::StoreError(error)))
    }
}

impl atomics::HostCas for KvView<'_> {
    async fn new(&mut self, bucket: Resource<Bucket>, key: String) -> Result<Resource<Cas>, Error> {
        let bucket = self.bucket(&bucket)?;
        self.observe(bucket, key).await
    }

    async fn current(&mut self, cas: Resource<Cas>) -> Result<Option<Vec<u8>>, Error> {
        let cas = self.table.get(&cas)?;
        cas.bucket.opened.recheck()?;
        Ok(cas.current.clone().map(Vec::from))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for KvView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
        self.state.get_values(&self.bucket(&bucket)?, keys).await
    }

    async fn set_many(
        &mut self,
        bucket: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        let changes = pairs.into_iter().map(|(key, value)| (key, Some(value)));
        self.state
            .put(&self.bucket(&bucket)?, Action::Set, changes.collect())
            .await
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<Bucket>,
        keys: Vec<String>,
    ) -> Result<(), Error> {
        let changes = keys.into_iter().map(|key| (key, None));
        self.state
            .put(&self.bucket(&bucket)?, Action::Delete, changes.collect())
            .await
    }
}
