//! Reading the log: pages for the API, JSON lines for whoever keeps a copy.

use std::io::Write;

use serde::Serialize;

use super::sign::hex;
use super::{AuditRecord, STREAM};
use crate::chain::damage;
use crate::store::{Record, Store, StoreError};

/// Records that a streaming reader holds at once.
const PAGE: usize = 256;

/// A record with its place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Position in the log, from 0.
    pub seq: u64,
    /// The chain hash after it, in hex.
    pub hash: String,
    /// What happened.
    #[serde(flatten)]
    pub record: AuditRecord,
}

/// Which way to page through the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first, from this sequence number on.
    Forward(u64),
    /// Newest first, from the record before this sequence number; `u64::MAX`
    /// begins at the end.
    Backward(u64),
}

/// Up to `limit` records in a direction. The next page begins after the last
/// one's `seq` (forward: `seq + 1`; backward: `seq`).
///
/// # Errors
/// As [`Store::read`]; a record that is not an audit record is corrupt.
pub fn page(
    store: &dyn Store,
    direction: Direction,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let Direction::Backward(before) = direction else {
        let Direction::Forward(from) = direction else {
            return Ok(Vec::new());
        };
        return read(store, from, limit);
    };
    let end = before.min(store.head(STREAM.as_bytes())?.len);
    let from = end.saturating_sub(limit as u64);
    let count = usize::try_from(end - from).unwrap_or(limit);
    let mut found = read(store, from, count)?;
    found.reverse();
    Ok(found)
}

/// All records from `from` on, a page at a time. Ends after the first error.
pub fn entries(
    store: &dyn Store,
    from: u64,
) -> impl Iterator<Item = Result<Entry, StoreError>> + '_ {
    let mut next = Some(from);
    std::iter::from_fn(move || {
        let page = read(store, next?, PAGE);
        next = match &page {
            Ok(page) => page.last().map(|entry| entry.seq + 1),
            Err(_) => None,
        };
        match page {
            Ok(page) => Some(page.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => Some(vec![Err(error)]),
        }
    })
    .flatten()
}

/// Writes all records from `from` on as JSON lines and returns how many.
///
/// # Errors
/// As [`Store::read`]; [`StoreError::Io`] when `out` fails.
pub fn export_lines(store: &dyn Store, from: u64, out: &mut dyn Write) -> Result<u64, StoreError> {
    let mut count = 0;
    for entry in entries(store, from) {
        let mut line = serde_json::to_vec(&entry?)
            .map_err(|source| StoreError::io("encoding an audit record", source))?;
        line.push(b'\n');
        out.write_all(&line)
            .map_err(|source| StoreError::io("writing the exported audit log", source))?;
        count += 1;
    }
    Ok(count)
}

fn read(store: &dyn Store, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
    let records = store.read(STREAM.as_bytes(), from, limit)?;
    records.into_iter().map(entry).collect()
}

pub(crate) fn entry(record: Record) -> Result<Entry, StoreError> {
    let seq = record.seq;
    Ok(Entry {
        seq,
        hash: hex(&record.hash),
        record: serde_json::from_slice(&record.payload)
            .map_err(|_| damage(STREAM.as_bytes(), seq, "is not an audit record"))?,
    })
}
