//! The storage seam: one trait, several backends, one conformance suite.
//!
//! Everything here is opaque bytes. A backend keeps pairs in named spaces,
//! hash-chained records in streams, and leases; what they mean is decided above.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

/// A boxed future, so that the trait can be used as `Arc<dyn Store>`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A 32-byte hash that stands for everything before it in a stream.
pub type Hash = [u8; 32];

/// The largest key, value, record or stream name, in bytes. Larger data belongs
/// into a file whose digest is stored.
pub const ITEM_BYTES_MAX: usize = 64 << 20;

/// One change, or one condition, of a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets `key` in `space` to `value`.
    Put {
        /// The map it belongs to.
        space: &'static str,
        /// The key; any bytes, ordered bytewise.
        key: Bytes,
        /// The whole new value.
        value: Bytes,
    },
    /// Removes `key` from `space`; it is no error when it is absent.
    Delete {
        /// The map it belongs to.
        space: &'static str,
        /// The key to remove.
        key: Bytes,
    },
    /// Fails the batch unless `key` holds exactly `expect`.
    Check {
        /// The map it belongs to.
        space: &'static str,
        /// The key to look at.
        key: Bytes,
        /// The value it must hold; `None`: it must be absent.
        expect: Option<Bytes>,
    },
    /// Appends records to a stream.
    Append {
        /// The stream's name; it exists as soon as it has a record.
        stream: Bytes,
        /// The stream's length before the append (append-if-version); `None`
        /// appends at whatever its length is.
        expect: Option<u64>,
        /// The payloads, in order.
        records: Vec<Bytes>,
    },
    /// Removes a stream with all its records, for good; it is no error when there
    /// is none. A stream of this name that is begun later is another one, and
    /// starts at 0: whoever must not take it for the one that was removed keeps a
    /// note of the name, in the same batch.
    DropStream {
        /// The stream's name.
        stream: Bytes,
    },
    /// Fails the batch unless the fence of `lease` is `token`: a late owner's
    /// write is refused.
    Fence {
        /// The lease's name.
        lease: Bytes,
        /// The token that [`Store::lease`] returned to this owner.
        token: u64,
    },
}

/// Operations that happen together or not at all, in the order they were added:
/// a condition sees what the operations before it did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The operations, in order.
    pub ops: Vec<Op>,
}

/// What a durable commit tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// The heads of the streams it appended to, in the order of its
    /// [`Op::Append`] operations.
    pub heads: Vec<Head>,
}

/// The end of a stream: how many records it has and the chain hash over them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of records; the next record gets this sequence number.
    pub len: u64,
    /// Chain hash after the last record; zeros for an empty stream.
    pub hash: Hash,
}

/// One record of a stream, with the chain hash after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position in the stream, from 0, never reused while there is the stream.
    pub seq: u64,
    /// The bytes that were appended.
    pub payload: Bytes,
    /// The chain hash up to and including this record, see [`crate::chain::next`].
    pub hash: Hash,
}

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A condition of the batch did not hold; nothing of the batch happened.
    #[error("conflict: {what}")]
    Conflict {
        /// The condition that failed, without stored values.
        what: String,
    },
    /// A lease is held by another owner, or the fence moved on.
    #[error("lease {lease} is held elsewhere")]
    Fenced {
        /// The lease's name, printable.
        lease: String,
    },
    /// A key, value, record or name is over [`ITEM_BYTES_MAX`]; nothing of the
    /// batch happened.
    #[error("{what} is {bytes} bytes, over the limit of {bytes_max}")]
    TooLarge {
        /// Which item.
        what: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Stored data is not what was written.
    #[error("corrupt data at {place}")]
    Corrupt {
        /// Which file, record or key, and what is wrong with it.
        place: String,
    },
    /// An earlier write or sync failed; nothing is acknowledged any more.
    #[error("the store is poisoned by an earlier failure: {cause}")]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// Another process owns the data directory.
    #[error("the data directory is in use by {}", pid.map_or("another process".to_owned(), |pid| format!("process {pid}")))]
    InUse {
        /// The owner, as it wrote itself down; `None` when it had not yet.
        pid: Option<u32>,
    },
    /// The data was written by a newer version of this program.
    #[error(
        "the data has schema version {found}, this build knows up to {supported}: use a newer build"
    )]
    Version {
        /// The version in the data.
        found: u32,
        /// The newest version this build can read.
        supported: u32,
    },
    /// The disk or the database failed.
    #[error("{step}")]
    Io {
        /// What was being done.
        step: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Durable storage. `commit` resolves when the batch is durable; commits of
/// many callers share one sync. Reads see durable data only and may block the
/// calling thread briefly.
pub trait Store: Send + Sync + 'static {
    /// Applies the batch atomically and resolves once it is durable. The batch
    /// is queued by the call itself: dropping the future does not take it back.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Fenced`] and
    /// [`StoreError::TooLarge`] when the batch was refused and nothing happened;
    /// [`StoreError::Corrupt`] when it needed data that is damaged;
    /// [`StoreError::Poisoned`] when this or an earlier write failed: whether
    /// this batch happened shows only after the store is opened again.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>>;

    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Io`].
    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The values of some keys of one space, in their order: what [`Store::get`]
    /// gives for each, at one moment where the backend can, and faster than one after
    /// another.
    ///
    /// # Errors
    /// As [`Store::get`].
    fn get_all(&self, space: &str, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        keys.iter().map(|key| self.get(space, key)).collect()
    }

    /// Up to `limit` pairs with `from <= key < to` (`to` = `None`: to the end),
    /// in key order.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Io`].
    fn range(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// The keys of what [`Store::range`] would give. Values are neither held nor
    /// checked.
    ///
    /// # Errors
    /// As [`Store::range`].
    fn keys(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let pairs = self.range(space, from, to, limit)?;
        Ok(pairs.into_iter().map(|(key, _)| key).collect())
    }

    /// Up to `limit` records of a stream from sequence number `from`. Verifies
    /// the chain of what it returns.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the first record that is missing or does
    /// not follow from the one before it; [`StoreError::Io`].
    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// Like [`Store::read`], but the rows as they are stored: unverified, gaps
    /// and all. Only for code that looks for damage.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn raw(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError>;

    /// The end of a stream; the default for one that has no record.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Io`].
    fn head(&self, stream: &[u8]) -> Result<Head, StoreError>;

    /// Takes or renews a lease until `now_ms + ttl_ms`, and returns its fencing
    /// token, which grows whenever the owner changes. A `ttl_ms` of 0 gives the
    /// lease free for others.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] while another owner's lease has not expired;
    /// [`StoreError::Poisoned`] as for [`Store::commit`].
    fn lease(
        &self,
        lease: &[u8],
        owner: &str,
        now_ms: u64,
        ttl_ms: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Whether commits can still succeed; for readiness checks.
    ///
    /// # Errors
    /// [`StoreError::Poisoned`] with the first failure.
    fn health(&self) -> Result<(), StoreError>;
}

impl StoreError {
    /// Whether the batch was refused as such, the store itself being sound.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. } | Self::Fenced { .. } | Self::TooLarge { .. }
        )
    }

    /// A failure of `step` with its cause.
    pub fn io(
        step: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Io {
            step: step.into(),
            source: source.into(),
        }
    }

    /// Damage at `place`.
    pub(crate) fn corrupt(place: impl Into<String>) -> Self {
        Self::Corrupt {
            place: place.into(),
        }
    }
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds any operation.
    #[must_use]
    pub fn op(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// Adds a [`Op::Put`].
    #[must_use]
    pub fn put(self, space: &'static str, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        let (key, value) = (key.into(), value.into());
        self.op(Op::Put { space, key, value })
    }

    /// Adds a [`Op::Delete`].
    #[must_use]
    pub fn delete(self, space: &'static str, key: impl Into<Bytes>) -> Self {
        let key = key.into();
        self.op(Op::Delete { space, key })
    }

    /// Adds a [`Op::Check`].
    #[must_use]
    pub fn check(self, space: &'static str, key: impl Into<Bytes>, expect: Option<Bytes>) -> Self {
        let key = key.into();
        self.op(Op::Check { space, key, expect })
    }

    /// Adds a [`Op::Append`] of one record at whatever length the stream has.
    #[must_use]
    pub fn append(self, stream: impl Into<Bytes>, record: impl Into<Bytes>) -> Self {
        let (stream, records) = (stream.into(), vec![record.into()]);
        self.op(Op::Append {
            stream,
            expect: None,
            records,
        })
    }

    /// Adds a [`Op::Append`] that needs the stream to have `expect` records.
    #[must_use]
    pub fn append_at(self, stream: impl Into<Bytes>, expect: u64, records: Vec<Bytes>) -> Self {
        let stream = stream.into();
        self.op(Op::Append {
            stream,
            expect: Some(expect),
            records,
        })
    }

    /// Adds a [`Op::DropStream`].
    #[must_use]
    pub fn drop_stream(self, stream: impl Into<Bytes>) -> Self {
        let stream = stream.into();
        self.op(Op::DropStream { stream })
    }

    /// Adds a [`Op::Fence`].
    #[must_use]
    pub fn fence(self, lease: impl Into<Bytes>, token: u64) -> Self {
        let lease = lease.into();
        self.op(Op::Fence { lease, token })
    }
}
