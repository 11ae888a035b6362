//! The memory as its callers see it.
//!
//! What must stay true: nothing that is over is shown, whether it was swept or not;
//! what is read is what is durable.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use airlock_journal::{Batch, Op, Store, StoreError};
use bytes::Bytes;

use crate::error::{MemoryError, limited};
use crate::limits::{PAGE_MAX, Quota};
use crate::model::{
    Change, Document, Entry, Expect, Kind, Namespace, NewDocument, Provenance, Usage, Written,
    check_id,
};
use crate::prepare::PreparedWrite;
use crate::recent::Recent;
use crate::rows::{self, DOCS, DocRow, NAMES, NameRow, RECEIPTS, VECTORS, VectorRow};
use crate::search::{self, Hit, Search};
use crate::sweep::Swept;
use crate::text::disk::{Folder, Home};
use crate::text::{FlushWhen, Flusher, TextIndex};
use crate::vectors::VectorCache;
use crate::wanted::Wanted;
use crate::writer::Writer;

/// Documents that a list reads at once.
const LIST_STEP: usize = 16;
/// Documents that have expired, in one page of a list, after which it ends early.
const LIST_EXPIRED_MAX: usize = 4 * PAGE_MAX;

/// What time it is.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }
}

/// Bounds on the memory as a whole.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespaces there may be.
    pub namespaces_max: u64,
    /// Namespaces of one kind that one plugin may make, by its name in the provenance
    /// of their first documents.
    pub plugin_namespaces_max: u64,
    /// Vectors in memory, bytes; 5 for each number and 160 for each vector. The
    /// vectors of a namespace that does not fit are read from the store by each
    /// search.
    pub vector_cache_bytes: u64,
    /// Documents in memory that searches found lately, bytes.
    pub document_cache_bytes: u64,
    /// Changes in memory after which the full-text index takes them to disk; with
    /// twice as many, writes wait.
    pub tail_changes_max: usize,
    /// Bytes of documents in memory after which it does.
    pub tail_bytes_max: u64,
    /// How old a change gets before it does.
    pub tail_age_max: Duration,
    /// How often the memory removes what is over, whatever there is to write.
    pub sweep_every: Duration,
    /// Whether the memory takes changes to disk and removes what is over by itself.
    /// Without, [`Memory::flush`] and [`Memory::sweep`] do.
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespaces_max: 100_000,
            plugin_namespaces_max: 10_000,
            vector_cache_bytes: 256 << 20,
            document_cache_bytes: 64 << 20,
            tail_changes_max: 2048,
            tail_bytes_max: 8 << 20,
            tail_age_max: Duration::from_secs(2),
            sweep_every: Duration::from_secs(1),
            background: true,
        }
    }
}

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) text: Arc<TextIndex>,
    pub(crate) vectors: VectorCache,
    pub(crate) recent: Recent,
    /// Another number each time the memory is opened.
    pub(crate) opened: u64,
}

/// Documents in namespaces, and the search among them. One for a store.
pub struct Memory {
    shared: Arc<Shared>,
    writer: Writer,
    flusher: Option<Flusher>,
}

/// A part of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The documents in the order of their ids.
    pub entries: Vec<Entry>,
    /// Where the next part begins: to be given as `after`. `None`: this is the last.
    pub next: Option<String>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl Memory {
    /// Opens the memory in `store`, with its indexes in `dir` (mode 0700), which
    /// nothing else uses. An index that is missing, damaged or of another store is
    /// made again first, at some ten thousand documents a second.
    ///
    /// # Errors
    /// [`MemoryError::Store`] and [`MemoryError::Corrupt`] when the store can't be
    /// read, [`MemoryError::Index`] when `dir` can't be written,
    /// [`MemoryError::Busy`] when another memory has had it for 10 s.
    pub fn open(
        store: Arc<dyn Store>,
        dir: impl Into<PathBuf>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, MemoryError> {
        let home = Folder::locked(&dir.into())?;
        Self::open_with(store, Box::new(home), clock, options)
    }

    pub(crate) fn open_with(
        store: Arc<dyn Store>,
        home: Box<dyn Home>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, MemoryError> {
        let opened = getrandom::u64()
            .map_err(|error| StoreError::io("drawing a number", std::io::Error::from(error)))?;
        let when = FlushWhen {
            changes: options.tail_changes_max.max(1),
            bytes: options.tail_bytes_max.max(1),
            age: options.tail_age_max,
        };
        let text = Arc::new(TextIndex::open(Arc::clone(&store), home, when)?);
        let flusher = match options.background {
            true => Some(
                Flusher::spawn(&text)
                    .map_err(|source| StoreError::io("starting the memory's index", source))?,
            ),
            false => None,
        };
        let shared = Arc::new(Shared {
            recent: Recent::new(options.document_cache_bytes),
            vectors: VectorCache::new(Arc::clone(&store), options.vector_cache_bytes),
            store,
            clock,
            options,
            text,
            opened,
        });
        let writer = Writer::spawn(Arc::clone(&shared))?;
        Ok(Self {
            shared,
            writer,
            flusher,
        })
    }

    /// Does all changes, in their order, or none. Resolves when they are durable and
    /// searches see them. The changes are queued by the call itself, which takes some
    /// milliseconds for each MiB: dropping the future does not take them back.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`], [`MemoryError::TooLarge`], [`MemoryError::Conflict`],
    /// [`MemoryError::Quota`], [`MemoryError::Namespaces`], [`MemoryError::Dimension`]
    /// and [`MemoryError::Busy`]: nothing happened. [`MemoryError::Store`]: whether they happened shows when the
    /// store is opened again.
    pub fn write(
        &self,
        namespace: &Namespace,
        changes: Vec<Change>,
        provenance: &Provenance,
        quota: Quota,
    ) -> impl Future<Output = Result<Vec<Written>, MemoryError>> + Send + use<> {
        let write = PreparedWrite::new(namespace, changes, provenance, quota);
        let queued = write.map(|write| self.writer.write(write));
        async move { queued?.await }
    }

    /// As [`Memory::write`], at most once for a `request` of a `run`, however often it
    /// is called: what the first that happened did is written down with its changes,
    /// and told again by each that follows. A write that was refused did not happen.
    ///
    /// # Errors
    /// As [`Memory::write`]; after [`MemoryError::Store`] it may be called again.
    pub fn write_once(
        &self,
        (run, request): (&str, u64),
        namespace: &Namespace,
        changes: Vec<Change>,
        provenance: &Provenance,
        quota: Quota,
    ) -> impl Future<Output = Result<Vec<Written>, MemoryError>> + Send + use<> {
        let write = PreparedWrite::new(namespace, changes, provenance, quota);
        let queued = write.map(|write| {
            self.writer.write(PreparedWrite {
                receipt: Some(rows::receipt_key(run, request)),
                ..write
            })
        });
        async move { queued?.await }
    }

    /// What the write of a request did that [`Memory::write_once`] wrote down; `None`:
    /// it did not happen. Blocks for a read of the store.
    ///
    /// # Errors
    /// [`MemoryError::Store`]; [`MemoryError::Corrupt`].
    pub fn written_once(
        &self,
        run: &str,
        request: u64,
    ) -> Result<Option<Vec<Written>>, MemoryError> {
        rows::receipt(&*self.shared.store, run, request)
    }

    /// Removes what is written down of a run's writes: none of them is asked for again.
    ///
    /// # Errors
    /// [`MemoryError::Store`]; what was removed before stays removed.
    pub async fn forget_receipts(&self, run: &str) -> Result<(), MemoryError> {
        let (from, to) = rows::receipt_range(run);
        loop {
            let keys = self
                .shared
                .store
                .keys(RECEIPTS, &from, Some(&to), PAGE_MAX)?;
            let last = keys.len() < PAGE_MAX;
            let space = RECEIPTS;
            let ops = keys.into_iter().map(|key| Op::Delete { space, key });
            let batch = Batch { ops: ops.collect() };
            if !batch.ops.is_empty() {
                self.shared.store.commit(batch).await?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Writes one document, whole; gives its version.
    ///
    /// # Errors
    /// As [`Memory::write`].
    pub fn put(
        &self,
        namespace: &Namespace,
        document: NewDocument,
        expect: Expect,
        provenance: &Provenance,
        quota: Quota,
    ) -> impl Future<Output = Result<u64, MemoryError>> + Send + use<> {
        let changes = vec![Change::put(document, expect)];
        let written = self.write(namespace, changes, provenance, quota);
        async move {
            let version = written.await?.first().and_then(|written| written.version);
            version.ok_or_else(|| MemoryError::busy("its writer gave no version"))
        }
    }

    /// Removes a document; tells whether there was one.
    ///
    /// # Errors
    /// As [`Memory::write`].
    pub fn delete(
        &self,
        namespace: &Namespace,
        id: &str,
        expect: Expect,
        provenance: &Provenance,
    ) -> impl Future<Output = Result<bool, MemoryError>> + Send + use<> {
        let changes = vec![Change::delete(id, expect)];
        // Nothing grows.
        let written = self.write(namespace, changes, provenance, Quota::default());
        async move {
            let written = written.await?;
            Ok(written
                .first()
                .is_some_and(|written| written.version.is_some()))
        }
    }

    /// Deletes a namespace with all its documents; tells whether there was one. From
    /// then on nothing of it is found; its rows are removed in steps.
    ///
    /// # Errors
    /// [`MemoryError::Busy`]; [`MemoryError::Store`].
    pub fn delete_namespace(
        &self,
        namespace: &Namespace,
    ) -> impl Future<Output = Result<bool, MemoryError>> + Send + use<> {
        self.writer.drop_namespace(namespace)
    }

    /// Removes what is over, one step. Happens by itself with
    /// [`Options::background`].
    ///
    /// # Errors
    /// [`MemoryError::Busy`]; [`MemoryError::Store`].
    pub fn sweep(&self) -> impl Future<Output = Result<Swept, MemoryError>> + Send + use<> {
        self.writer.sweep()
    }

    /// Takes all changes to the index on disk; blocks. Happens by itself with
    /// [`Options::background`].
    ///
    /// # Errors
    /// [`MemoryError::Index`]; [`MemoryError::Store`].
    pub fn flush(&self) -> Result<(), MemoryError> {
        self.shared.text.flush()
    }

    /// A document, unless it is over. Blocks for a read of the store.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`]; [`MemoryError::Store`]; [`MemoryError::Corrupt`].
    pub fn get(&self, namespace: &Namespace, id: &str) -> Result<Option<Document>, MemoryError> {
        check_id(id)?;
        let Some(name) = self.name(namespace)? else {
            return Ok(None);
        };
        let key = rows::doc_key(name.number, id);
        let Some(row) = self.shared.store.get(DOCS, &key)? else {
            return Ok(None);
        };
        let (row, text) = DocRow::decode(&key, &row)?;
        let alive = row.is_alive(self.shared.clock.now_ms());
        Ok(alive.then(|| row.into_document(namespace.clone(), id.to_owned(), text)))
    }

    /// A document's vector, of length 1.
    ///
    /// # Errors
    /// As [`Memory::get`].
    pub fn vector(&self, namespace: &Namespace, id: &str) -> Result<Option<Vec<f32>>, MemoryError> {
        check_id(id)?;
        let Some(name) = self.name(namespace)? else {
            return Ok(None);
        };
        let key = rows::doc_key(name.number, id);
        let row = self.shared.store.get(VECTORS, &key)?;
        let row = row.map(|row| VectorRow::decode(&key, &row)).transpose()?;
        let now_ms = self.shared.clock.now_ms();
        Ok(row
            .filter(|row| now_ms < row.expires_ms)
            .map(|row| row.vector))
    }

    /// Up to `limit` documents whose ids begin with `prefix`, in the order of their
    /// ids, behind `after`. A page may be short and not the last.
    ///
    /// # Errors
    /// As [`Memory::walk`].
    pub fn list(
        &self,
        namespace: &Namespace,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, MemoryError> {
        let mut entries = Vec::new();
        let next = self.walk(namespace, prefix, (after, limit), |entry| {
            entries.push(entry);
            true
        })?;
        Ok(Page { entries, next })
    }

    /// As [`Memory::list`], one by one, until `take` refuses one; that is then the
    /// first of the next part. Gives where that begins, as [`Page::next`] does. One
    /// that refuses the first gets nowhere.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for a limit of 0, [`MemoryError::TooLarge`] for more
    /// than [`PAGE_MAX`]; otherwise as [`Memory::get`].
    pub fn walk(
        &self,
        namespace: &Namespace,
        prefix: &str,
        (after, limit): (Option<&str>, usize),
        mut take: impl FnMut(Entry) -> bool,
    ) -> Result<Option<String>, MemoryError> {
        limited(limit, PAGE_MAX, "documents")?;
        let Some(name) = self.name(namespace)? else {
            return Ok(None);
        };
        let (now_ms, mut taken, mut expired) = (self.shared.clock.now_ms(), 0, 0);
        let to = after_prefix(name.number, prefix);
        let mut from = rows::doc_key(name.number, prefix);
        let mut next = after.map(str::to_owned);
        if let Some(after) = after {
            from = from.max(behind(&rows::doc_key(name.number, after)));
        }
        while taken < limit && expired < LIST_EXPIRED_MAX {
            let step = LIST_STEP.min(limit - taken);
            let read = self.shared.store.range(DOCS, &from, Some(&to), step)?;
            for (key, row) in &read {
                let (_, id) = rows::split_doc_key(DOCS, key)?;
                let (row, _) = DocRow::decode(key, row)?;
                match row.is_alive(now_ms) {
                    true if !take(row.into_entry(namespace.clone(), id.to_owned())) => {
                        return Ok(next);
                    }
                    true => taken += 1,
                    false => expired += 1,
                }
                next = Some(id.to_owned());
                from = behind(key);
            }
            if read.len() < step {
                return Ok(None);
            }
        }
        Ok(next)
    }

    /// How much a namespace holds; `None`: there is none.
    ///
    /// # Errors
    /// [`MemoryError::Store`]; [`MemoryError::Corrupt`].
    pub fn usage(&self, namespace: &Namespace) -> Result<Option<Usage>, MemoryError> {
        Ok(self.name(namespace)?.map(|name| name.usage()))
    }

    /// Up to `limit` namespaces of a kind, or of all, behind `after`, in order.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`] for a limit of 0, [`MemoryError::TooLarge`] for more
    /// than [`PAGE_MAX`]; otherwise as [`Memory::usage`].
    pub fn namespaces(
        &self,
        kind: Option<Kind>,
        after: Option<&Namespace>,
        limit: usize,
    ) -> Result<Vec<(Namespace, Usage)>, MemoryError> {
        limited(limit, PAGE_MAX, "namespaces")?;
        let (mut from, mut to) = (Bytes::new(), None);
        if let Some(kind) = kind {
            from = rows::kind_key(kind).freeze();
            to = Some([from[0] + 1]);
        }
        if let Some(after) = after {
            from = from.max(behind(&rows::name_key(after)));
        }
        let to = to.as_ref().map(|to| &to[..]);
        let rows = self.shared.store.range(NAMES, &from, to, limit)?;
        let each = rows.into_iter().map(|(key, row)| {
            let name: NameRow = rows::from_json(NAMES, &key, &row)?;
            Ok((rows::namespace_of(&key)?, name.usage()))
        });
        each.collect()
    }

    /// Searches; sees every write that was acknowledged before. Blocks for some
    /// milliseconds.
    ///
    /// # Errors
    /// [`MemoryError::Invalid`], [`MemoryError::TooLarge`] and
    /// [`MemoryError::Dimension`] for what was asked; [`MemoryError::Index`], after
    /// which the index is made again; [`MemoryError::Store`]; [`MemoryError::TooLong`]
    /// after [`SEARCH_MS_MAX`](crate::limits::SEARCH_MS_MAX).
    pub fn search(&self, search: &Search) -> Result<Vec<Hit>, MemoryError> {
        self.search_while(search, &Wanted::default())
    }

    /// As [`Memory::search`], while somebody wants the answer: ends soon after.
    ///
    /// # Errors
    /// As [`Memory::search`]; [`MemoryError::Busy`] where nobody does any more.
    pub fn search_while(&self, search: &Search, wanted: &Wanted) -> Result<Vec<Hit>, MemoryError> {
        search::search(&self.shared, search, wanted)
    }

    fn name(&self, namespace: &Namespace) -> Result<Option<NameRow>, MemoryError> {
        self.shared.name(namespace)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.writer.stop();
        if let Some(mut flusher) = self.flusher.take() {
            flusher.stop();
            if let Err(error) = self.flush() {
                tracing::warn!(%error, "the memory's index takes its last changes when it is opened");
            }
        }
        self.shared.text.close();
    }
}

impl Shared {
    pub(crate) fn name(&self, namespace: &Namespace) -> Result<Option<NameRow>, MemoryError> {
        let key = rows::name_key(namespace);
        let row = self.store.get(NAMES, &key)?;
        row.map(|row| rows::from_json(NAMES, &key, &row))
            .transpose()
    }
}

/// The first key behind a key.
fn behind(key: &[u8]) -> Bytes {
    let mut next = key.to_vec();
    next.push(0);
    next.into()
}

/// The first key behind all ids with a prefix. No byte of UTF-8 is the largest.
fn after_prefix(number: u64, prefix: &str) -> Bytes {
    let mut end = rows::doc_key(number, prefix).to_vec();
    match end.last_mut() {
        Some(last) if !prefix.is_empty() => *last += 1,
        _ => return rows::doc_range(number).1,
    }
    end.into()
}
