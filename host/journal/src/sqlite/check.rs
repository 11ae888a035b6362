//! What is looked at before a database is used, so that damage is named at once
//! and not met later. The contents of pairs and records have checksums and
//! chains of their own, verified whenever they are read.

use std::path::Path;

use rusqlite::{Connection, params};

use super::readers::matches_last;
use super::rows::{self, sql};
use super::schema::failure;
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
    let mut stream = first_stream_after(conn, "records", None)?;
    while let Some(name) = stream {
        chain(conn, &name)?;
        stream = first_stream_after(conn, "records", Some(&name))?;
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

fn stream_ends(conn: &Connection) -> Result<(), StoreError> {
    for table in ["heads", "records"] {
        let mut stream = first_stream_after(conn, table, None)?;
        while let Some(name) = stream {
            let head = rows::head(conn, &name)?.unwrap_or_default();
            matches_last(conn, &name, head)?;
            stream = first_stream_after(conn, table, Some(&name))?;
        }
    }
    Ok(())
}

/// Walks the distinct streams of a table by index, one look-up each.
fn first_stream_after(
    conn: &Connection,
    table: &str,
    after: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, StoreError> {
    let condition = if after.is_some() {
        "stream > ?1"
    } else {
        "?1 IS NULL"
    };
    conn.prepare_cached(&format!(
        "SELECT min(stream) FROM {table} WHERE {condition}"
    ))
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
