//! A store in front of a store, for tests that watch, delay or falsify what goes
//! through.

use bytes::Bytes;

use crate::store::{Batch, BoxFuture, Committed, Head, Record, Store, StoreError};

/// What to do otherwise than the store behind; whatever implements it is a
/// [`Store`].
pub trait Decorator: Send + Sync + 'static {
    /// The store behind.
    fn inner(&self) -> &dyn Store;

    /// In place of [`Store::commit`].
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        self.inner().commit(batch)
    }

    /// In place of [`Store::get`].
    ///
    /// # Errors
    /// As that.
    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.inner().get(space, key)
    }

    /// In place of [`Store::range`].
    ///
    /// # Errors
    /// As that.
    fn range(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.inner().range(space, from, to, limit)
    }

    /// In place of [`Store::keys`].
    ///
    /// # Errors
    /// As that.
    fn keys(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.inner().keys(space, from, to, limit)
    }

    /// In place of [`Store::read`].
    ///
    /// # Errors
    /// As that.
    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner().read(stream, from, limit)
    }

    /// In place of [`Store::raw`].
    ///
    /// # Errors
    /// As that.
    fn raw(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.inner().raw(stream, from, limit)
    }

    /// In place of [`Store::head`].
    ///
    /// # Errors
    /// As that.
    fn head(&self, stream: &[u8]) -> Result<Head, StoreError> {
        self.inner().head(stream)
    }
}

impl<D: Decorator> Store for D {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Decorator::commit(self, batch)
    }

    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Decorator::get(self, space, key)
    }

    fn range(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        Decorator::range(self, space, from, to, limit)
    }

    fn keys(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        Decorator::keys(self, space, from, to, limit)
    }

    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        Decorator::read(self, stream, from, limit)
    }

    fn raw(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        Decorator::raw(self, stream, from, limit)
    }

    fn head(&self, stream: &[u8]) -> Result<Head, StoreError> {
        Decorator::head(self, stream)
    }

    fn lease(
        &self,
        lease: &[u8],
        owner: &str,
        now_ms: u64,
        ttl_ms: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner().lease(lease, owner, now_ms, ttl_ms)
    }

    fn health(&self) -> Result<(), StoreError> {
        self.inner().health()
    }
}
