//! `wasi:keyvalue@0.2.0-draft`: cursors are numbers, increments unsigned, and no
//! compare-and-swap.

use std::collections::VecDeque;

use wasmtime::component::{Linker, Resource};

use super::{Action, Bucket, Buckets, Error, Failure, KvView, view};
use crate::gate::Reservation;
use crate::state::CallState;
pub(super) use bindings::wasi::keyvalue::{atomics, batch, store};

#[allow(missing_docs, reason = "generated; the WIT text is the documentation")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/keyvalue-0.2.0-draft",
        world: "wasi:keyvalue/imports",
        imports: { default: async | trappable },
        trappable_error_type: { "wasi:keyvalue/store.error" => super::Error },
        with: { "wasi:keyvalue/store.bucket": super::NumberedBucket },
        require_store_data_send: true,
    });
}

/// Cursors of one bucket handle that can still be used.
const CURSORS_MAX: usize = 16;

/// A bucket that remembers where its listings stopped.
pub struct NumberedBucket {
    bucket: Bucket,
    cursors: VecDeque<Cursor>,
    issued: u64,
}

/// Its number, and the key that the listing goes on behind.
struct Cursor {
    number: u64,
    key: String,
    _held: Reservation,
}

pub(super) fn link(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, Buckets>(linker, view)?;
    atomics::add_to_linker::<_, Buckets>(linker, view)?;
    batch::add_to_linker::<_, Buckets>(linker, view)
}

impl KvView<'_> {
    fn numbered(&self, bucket: &Resource<NumberedBucket>) -> Result<Bucket, Error> {
        Ok(self.table.get(bucket)?.bucket.clone())
    }
}

impl store::Host for KvView<'_> {
    async fn open(&mut self, identifier: String) -> Result<Resource<NumberedBucket>, Error> {
        let bucket = self.open_bucket(identifier)?;
        Ok(self.table.push(NumberedBucket {
            bucket,
            cursors: VecDeque::new(),
            issued: 0,
        })?)
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
        bucket: Resource<NumberedBucket>,
        key: String,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.state.get_value(&self.numbered(&bucket)?, &key).await
    }

    async fn set(
        &mut self,
        bucket: Resource<NumberedBucket>,
        key: String,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        let changes = [(key, Some(value))].into();
        self.state
            .put(&self.numbered(&bucket)?, Action::Set, changes)
            .await
    }

    async fn delete(&mut self, bucket: Resource<NumberedBucket>, key: String) -> Result<(), Error> {
        let changes = [(key, None)].into();
        self.state
            .put(&self.numbered(&bucket)?, Action::Delete, changes)
            .await
    }

    async fn exists(
        &mut self,
        bucket: Resource<NumberedBucket>,
        key: String,
    ) -> Result<bool, Error> {
        self.state.has_key(&self.numbered(&bucket)?, &key)
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<NumberedBucket>,
        cursor: Option<u64>,
    ) -> Result<store::KeyResponse, Error> {
        let numbered = self.table.get(&bucket)?;
        let after = match cursor {
            None => None,
            Some(cursor) => Some(numbered.key_of(cursor)?),
        };
        let (keys, last) = self
            .state
            .list(&self.numbered(&bucket)?, after.as_deref())?;
        let cursor = match last {
            None => None,
            Some(key) => {
                let held = self.state.gate.budget().reserve(key.len() as u64)?;
                Some(self.table.get_mut(&bucket)?.remember(key, held))
            }
        };
        Ok(store::KeyResponse { keys, cursor })
    }

    async fn drop(&mut self, bucket: Resource<NumberedBucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl NumberedBucket {
    fn key_of(&self, cursor: u64) -> Result<String, Failure> {
        let known = self.cursors.iter().find(|known| known.number == cursor);
        known
            .map(|known| known.key.clone())
            .ok_or_else(|| Failure::Invalid("the cursor is not of this bucket, or too old".into()))
    }

    fn remember(&mut self, key: String, held: Reservation) -> u64 {
        self.issued += 1;
        self.cursors.push_back(Cursor {
            number: self.issued,
            key,
            _held: held,
        });
        if self.cursors.len() > CURSORS_MAX {
            self.cursors.pop_front();
        }
        self.issued
    }
}

impl atomics::Host for KvView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<NumberedBucket>,
        key: String,
        delta: u64,
    ) -> Result<u64, Error> {
        self.state.add(&self.numbered(&bucket)?, &key, delta).await
    }
}

impl batch::Host for KvView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<NumberedBucket>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let values = self
            .state
            .get_values(&self.numbered(&bucket)?, keys)
            .await?;
        let pair = |(key, value): (String, Option<Vec<u8>>)| Some((key, value?));
        Ok(values.into_iter().map(pair).collect())
    }

    async fn set_many(
        &mut self,
        bucket: Resource<NumberedBucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        let changes = pairs.into_iter().map(|(key, value)| (key, Some(value)));
        self.state
            .put(&self.numbered(&bucket)?, Action::Set, changes.collect())
            .await
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<NumberedBucket>,
        keys: Vec<String>,
    ) -> Result<(), Error> {
        let changes = keys.into_iter().map(|key| (key, None));
        self.state
            .put(&self.numbered(&bucket)?, Action::Delete, changes.collect())
            .await
    }
}
