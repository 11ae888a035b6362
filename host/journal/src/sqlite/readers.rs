//! Reads: a small pool of read-only connections. SQLite shows them a commit only
//! after its log was synced, so what they see is durable.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::rows::{self, checked, sql};
use super::schema::{self, Mode};
use crate::chain::damage;
use crate::rows::verify_page;
use crate::store::{Hash, Head, Record, StoreError};

/// Idle connections that are kept; more readers at once open their own.
const IDLE_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Readers {
    file: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            idle: Mutex::default(),
        }
    }

    /// Runs `read` on a connection; it goes back to the pool if it is sound.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle().pop();
        let conn = match idle {
            Some(conn) => conn,
            None => schema::connect(&self.file, Mode::Read)?,
        };
        let result = read(&conn);
        if !matches!(result, Err(StoreError::Io { .. })) {
            let mut idle = self.idle();
            if idle.len() < IDLE_MAX {
                idle.push(conn);
            }
        }
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `read` in one snapshot.
fn snapshot<T>(
    conn: &Connection,
    read: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let tx = conn
        .unchecked_transaction()
        .map_err(|source| sql("beginning a read", source))?;
    let result = read();
    tx.finish().map_err(|source| sql("ending a read", source))?;
    result
}

/// The values of some keys, of one snapshot.
pub(super) fn get_all(
    conn: &Connection,
    space: &str,
    keys: &[Bytes],
) -> Result<Vec<Option<Bytes>>, StoreError> {
    snapshot(conn, || {
        let each = keys.iter().map(|key| rows::get(conn, space, key));
        each.collect()
    })
}

pub(super) fn range(
    conn: &Connection,
    space: &str,
    from: &[u8],
    to: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
    let wrap = |source| sql("reading a range", source);
    let text = match to {
        Some(_) => {
            "SELECT key, value, sum FROM pairs WHERE space = ?1 AND key >= ?2 AND key < ?4
             ORDER BY key LIMIT ?3"
        }
        None => {
            "SELECT key, value, sum FROM pairs WHERE space = ?1 AND key >= ?2 ORDER BY key LIMIT ?3"
        }
    };
    let mut statement = conn.prepare_cached(text).map_err(wrap)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = match to {
        Some(to) => statement.query(params![space, from, limit, to]),
        None => statement.query(params![space, from, limit]),
    }
    .map_err(wrap)?;
    let mut pairs = Vec::new();
    while let Some(row) = rows.next().map_err(wrap)? {
        let key = row
            .get_ref(0)
            .and_then(|v| Ok(v.as_blob()?))
            .map_err(wrap)?;
        let value = row
            .get_ref(1)
            .and_then(|v| Ok(v.as_blob()?))
            .map_err(wrap)?;
        let value = checked(space, key, value, row.get(2).map_err(wrap)?)?;
        pairs.push((Bytes::copy_from_slice(key), value));
    }
    Ok(pairs)
}

/// The end of the range is found here and not by SQLite, which would read each
/// row whole to compare its key.
pub(super) fn keys(
    conn: &Connection,
    space: &str,
    from: &[u8],
    to: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<Bytes>, StoreError> {
    let wrap = |source| sql("reading keys", source);
    let mut statement = conn
        .prepare_cached(
            "SELECT space, key FROM pairs WHERE (space, key) >= (?1, ?2)
             ORDER BY space, key LIMIT ?3",
        )
        .map_err(wrap)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![space, from, limit]).map_err(wrap)?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next().map_err(wrap)? {
        let column = |at| row.get_ref(at).map_err(wrap);
        let found = column(0)?.as_str().map_err(|e| wrap(e.into()))?;
        let key = column(1)?.as_blob().map_err(|e| wrap(e.into()))?;
        if found != space || to.is_some_and(|to| key >= to) {
            break;
        }
        keys.push(Bytes::copy_from_slice(key));
    }
    Ok(keys)
}

pub(super) fn raw(
    conn: &Connection,
    stream: &[u8],
    from: u64,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let wrap = |source| sql("reading records", source);
    let mut statement = conn
        .prepare_cached(
            "SELECT seq, payload, hash FROM records WHERE stream = ?1 AND seq >= ?2
             ORDER BY seq LIMIT ?3",
        )
        .map_err(wrap)?;
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement
        .query_map(params![stream, from, limit], rows::record)
        .map_err(wrap)?;
    rows.collect::<rusqlite::Result<_>>().map_err(wrap)
}

pub(super) fn read(
    conn: &Connection,
    stream: &[u8],
    from: u64,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    snapshot(conn, || {
        let head = rows::head(conn, stream)?.unwrap_or_default();
        let records = raw(conn, stream, from, limit)?;
        let before = match from.checked_sub(1) {
            None => Some(Hash::default()),
            Some(_) if from >= head.len => None,
            Some(seq) => raw(conn, stream, seq, 1)?
                .first()
                .filter(|record| record.seq == seq)
                .map(|record| record.hash),
        };
        verify_page(stream, from, limit, before, head, &records)?;
        Ok(records)
    })
}

/// The head of a stream, compared with the stream's last record.
pub(super) fn head(conn: &Connection, stream: &[u8]) -> Result<Head, StoreError> {
    snapshot(conn, || {
        let head = rows::head(conn, stream)?.unwrap_or_default();
        matches_last(conn, stream, head)?;
        Ok(head)
    })
}

/// Checks that `head` names the last record of its stream.
pub(super) fn matches_last(conn: &Connection, stream: &[u8], head: Head) -> Result<(), StoreError> {
    let last = conn
        .prepare_cached(
            "SELECT seq, x'', hash FROM records WHERE stream = ?1 ORDER BY seq DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            let mut rows = statement.query_map(params![stream], rows::record)?;
            rows.next().transpose()
        })
        .map_err(|source| sql("reading a stream's last record", source))?;
    let end = last.as_ref().map_or(0, |record| record.seq + 1);
    if end < head.len {
        return Err(damage(stream, end, "is missing"));
    }
    if end > head.len {
        return Err(damage(stream, head.len, "is beyond the stream's end"));
    }
    if last.is_some_and(|record| record.hash != head.hash) {
        return Err(damage(
            stream,
            end - 1,
            "is not the one the stream's head names",
        ));
    }
    Ok(())
}
