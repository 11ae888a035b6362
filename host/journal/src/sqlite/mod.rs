//! The store on one machine: SQLite with a write-ahead log, full sync, one
//! writer thread with group commit, and readers that see durable data only.
//!
//! What must stay true: nothing is acknowledged before its sync returned, and
//! nothing at all after any write, sync or checkpoint failed. Opening makes
//! durable whatever it makes visible: after a kill, the log may hold commits
//! that no sync covered yet.

mod backup;
mod check;
mod lock;
mod readers;
mod rows;
mod schema;
mod wal;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::rows::{Done, Work};
use crate::store::{Batch, BoxFuture, Committed, Head, Record, Store, StoreError};
use readers::Readers;
use schema::Mode;
use writer::{Poison, Request, Writer};

pub use backup::{check_backup, restore};
pub use lock::DirLock;

/// The database's name inside the data directory; SQLite keeps its log and its
/// index beside it.
pub const DATABASE_FILE: &str = "journal.db";

/// Stands beside the database once it was created: without it, one that was
/// emptied would pass for a new one.
const USED_FILE: &str = "journal.used";

/// A data directory that this process owns.
#[derive(Debug)]
pub struct SqliteStore {
    queue: Option<mpsc::UnboundedSender<Request>>,
    readers: Readers,
    poison: Poison,
    writer: Option<JoinHandle<()>>,
    file: PathBuf,
    _lock: DirLock,
}

impl SqliteStore {
    /// Opens the store in `dir`, creating both when they are missing (mode 0700,
    /// files 0600), and checks it: the log, the database's structure, every
    /// stream's end.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another process has it open,
    /// [`StoreError::Corrupt`] naming what is damaged, [`StoreError::Version`]
    /// for data of a newer build, [`StoreError::Io`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Arc<Self>, StoreError> {
        Self::start(dir.as_ref(), true)
    }

    /// Opens a store that may be damaged in order to find out how: nothing is
    /// checked first, and commits are refused.
    ///
    /// # Errors
    /// As [`SqliteStore::open`], `Corrupt` only when it cannot be read at all.
    pub fn inspect(dir: impl AsRef<Path>) -> Result<Arc<Self>, StoreError> {
        Self::start(dir.as_ref(), false)
    }

    fn start(dir: &Path, to_use: bool) -> Result<Arc<Self>, StoreError> {
        let lock = DirLock::take(dir)?;
        let file = dir.join(DATABASE_FILE);
        let poison = Poison::default();
        let conn = if to_use {
            prepare(dir, &file)?
        } else {
            poison.set(&StoreError::corrupt(
                "a store that was opened for inspection only",
            ));
            let conn = schema::connect(&file, Mode::Write)?;
            must_have_tables(&conn, &file)?;
            conn
        };
        let (queue, requests) = mpsc::unbounded_channel();
        let writer = Writer::spawn(conn, &file, requests, poison.clone())?;
        Ok(Arc::new(Self {
            queue: Some(queue),
            readers: Readers::new(&file),
            poison,
            writer: Some(writer),
            file,
            _lock: lock,
        }))
    }

    /// Checks everything that is stored: structure, checksums, chains. Takes
    /// some seconds for each million records.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] naming the first damage; [`StoreError::Io`].
    pub fn check(&self) -> Result<(), StoreError> {
        self.readers.with(|conn| check::all(conn, &self.file))
    }

    /// Queues the work at once; the future only waits.
    fn send(&self, work: Work) -> BoxFuture<'_, Result<Done, StoreError>> {
        let (reply, answer) = oneshot::channel();
        if let Some(queue) = &self.queue {
            // Without a bound: whoever waits holds its request anyway. When the writer
            // is gone, its answer is gone too.
            let _ = queue.send(Request { work, reply });
        }
        Box::pin(async move {
            match answer.await {
                Ok(outcome) => outcome,
                Err(_) => Err(self.writer_gone()),
            }
        })
    }

    fn writer_gone(&self) -> StoreError {
        self.poison
            .set(&StoreError::corrupt("the writer thread, which ended"));
        self.poison.error()
    }
}

/// Opens the database for use, new or checked, with nothing visible that is not
/// durable.
fn prepare(dir: &Path, file: &Path) -> Result<Connection, StoreError> {
    wal::check(&dir.join(format!("{DATABASE_FILE}-wal")))?;
    let used = dir.join(USED_FILE);
    if used.exists() {
        let conn = schema::connect(file, Mode::Write)?;
        must_have_tables(&conn, file)?;
        schema::use_log(&conn, file)?;
        check::at_open(&conn, file)?;
        writer::checkpoint(&conn, "TRUNCATE")?;
        return Ok(conn);
    }
    lock::create_private_file(file)?;
    let mut conn = schema::connect(file, Mode::Write)?;
    let has_tables = schema::recognise(&conn, file)?;
    schema::use_log(&conn, file)?;
    if !has_tables {
        schema::create(&mut conn, file)?;
    }
    check::at_open(&conn, file)?;
    writer::checkpoint(&conn, "TRUNCATE")?;
    lock::create_private_file(&used)?;
    Ok(conn)
}

/// A database that was in use and is empty now has lost everything.
fn must_have_tables(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    if schema::recognise(conn, file)? {
        return Ok(());
    }
    Err(StoreError::corrupt(format!(
        "{}: the database is empty",
        file.display()
    )))
}

impl Store for SqliteStore {
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let done = self.send(Work::Batch(batch));
        Box::pin(async move { done.await.map(Done::committed) })
    }

    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.readers.with(|conn| rows::get(conn, space, key))
    }

    fn get_all(&self, space: &str, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, StoreError> {
        self.readers
            .with(|conn| readers::get_all(conn, space, keys))
    }

    fn range(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.readers
            .with(|conn| readers::range(conn, space, from, to, limit))
    }

    fn keys(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.readers
            .with(|conn| readers::keys(conn, space, from, to, limit))
    }

    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.readers
            .with(|conn| readers::read(conn, stream, from, limit))
    }

    fn raw(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.readers
            .with(|conn| readers::raw(conn, stream, from, limit))
    }

    fn head(&self, stream: &[u8]) -> Result<Head, StoreError> {
        self.readers.with(|conn| readers::head(conn, stream))
    }

    fn lease(
        &self,
        lease: &[u8],
        owner: &str,
        now_ms: u64,
        ttl_ms: u64,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        let done = self.send(Work::Lease {
            lease: Bytes::copy_from_slice(lease),
            owner: owner.to_owned(),
            now_ms,
            ttl_ms,
        });
        Box::pin(async move { done.await.map(Done::token) })
    }

    fn health(&self) -> Result<(), StoreError> {
        self.poison.check()
    }
}

impl Drop for SqliteStore {
    /// Lets the queued commits finish and leaves an empty log behind.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer thread panicked");
        }
    }
}
