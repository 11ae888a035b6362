//! What is looked at before a database is used, so that damage is named at once
//! and not met later. The contents of pairs and records have checksums and
//! chains of their own, verified whenever they are read.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::readers::matches_last;
use super::rows::{self, sql};
use super::schema::failure;
use crate::chain::damage;
use crate::store::StoreError;

/// Databases up to this size have their whole structure checked at every open
/// (about 0.3 s at this size); larger ones only in [`all`].
const STRUCTURE_BYTES_MAX: u64 = 128 << 20;

/// The check at open: structure when it is cheap, and every stream's end.
pub(super) fn at_open(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let size = file.metadata().map_or(0, |meta| meta.len());
    if size <= STRUCTURE_BYTES_MAX {
        structure(conn, file)?;
    }
    stream_ends(conn)
}

/// Everything: structure, every pair's checksum, every stream's chain.
pub(super) fn all(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    structure(conn, file)?;
    stream_ends(conn)?;
    pairs(conn)?;
    let mut stream = first_stream_after(conn, None)?;
    while let Some(name) = stream {
        chain(conn, &name)?;
        stream = first_stream_after(conn, Some(&name))?;
    }
    Ok(())
}

fn structure(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let found = conn
        .query_row("PRAGMA quick_check(1)", (), |row| row.get::<_, String>(0))
        .map_err(|source| failure(file, "checking the database's structure", source))?;
    if found == "ok" {
        return Ok(());
    }
    let (file, found) = (file.display(), found.replace('\n', " "));
    Err(StoreError::corrupt(format!("{file}: {found}")))
}

/// Streams whose last record is not the one their head names.
const OTHER_ENDS: &str = "
SELECT heads.stream FROM heads
LEFT JOIN records AS last ON last.stream = heads.stream AND last.seq = heads.len - 1
WHERE (heads.len > 0 AND last.hash IS NOT heads.hash)
   OR EXISTS (SELECT 1 FROM records AS beyond
              WHERE beyond.stream = heads.stream AND beyond.seq >= heads.len)
ORDER BY heads.stream LIMIT 1";

/// Streams that have records and no head; each is looked up once.
const NO_HEADS: &str = "
WITH RECURSIVE streams(name) AS (
    SELECT min(stream) FROM records
    UNION ALL
    SELECT (SELECT min(stream) FROM records WHERE stream > name)
    FROM streams WHERE name IS NOT NULL)
SELECT name FROM streams
WHERE name IS NOT NULL AND NOT EXISTS (SELECT 1 FROM heads WHERE stream = name)
LIMIT 1";

/// Every stream's end, in one statement for all of them: 100,000 streams take
/// about half a second.
fn stream_ends(conn: &Connection) -> Result<(), StoreError> {
    for text in [OTHER_ENDS, NO_HEADS] {
        let found = conn
            .query_row(text, (), |row| row.get::<_, Vec<u8>>(0))
            .optional()
            .map_err(|source| sql("comparing the streams' ends with their heads", source))?;
        if let Some(stream) = found {
            let head = rows::head(conn, &stream)?.unwrap_or_default();
            matches_last(conn, &stream, head)?;
            return Err(damage(&stream, head.len, "does not match its head"));
        }
    }
    Ok(())
}

/// Walks the streams that have records by index, one look-up each.
fn first_stream_after(
    conn: &Connection,
    after: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let text = match after {
        Some(_) => "SELECT min(stream) FROM records WHERE stream > ?1",
        None => "SELECT min(stream) FROM records WHERE ?1 IS NULL",
    };
    conn.prepare_cached(text)
        .and_then(|mut statement| statement.query_row(params![after], |row| row.get(0)))
        .map_err(|source| sql("listing the streams", source))
}

fn pairs(conn: &Connection) -> Result<(), StoreError> {
    let wrap = |source| sql("reading all values", source);
    let mut statement = conn
        .prepare("SELECT space, key, value, sum FROM pairs")
        .map_err(wrap)?;
    let mut rows = statement.query(()).map_err(wrap)?;
    while let Some(row) = rows.next().map_err(wrap)? {
        let space: String = row.get(0).map_err(wrap)?;
        let key: Vec<u8> = row.get(1).map_err(wrap)?;
        let value: Vec<u8> = row.get(2).map_err(wrap)?;
        rows::checked(&space, &key, &value, row.get(3).map_err(wrap)?)?;
    }
    Ok(())
}

fn chain(conn: &Connection, stream: &[u8]) -> Result<(), StoreError> {
    const PAGE: usize = 512;
    let mut from = 0;
    loop {
        let records = super::readers::read(conn, stream, from, PAGE)?;
        if records.is_empty() {
            return Ok(());
        }
        from += records.len() as u64;
    }
}
