//! The statements: row access for the writer's transactions.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use crate::chain::{damage, printable};
use crate::rows::{LeaseRow, Rows};
use crate::store::{Hash, Head, Record, StoreError};

/// Heads of streams that are kept in memory.
const HEADS_MAX: usize = 10_000;

/// The heads of streams that grew lately, as they are in the database: nobody else
/// writes it.
#[derive(Debug, Default)]
pub(super) struct Heads(HashMap<Bytes, Head>);

impl Heads {
    /// The transaction was committed that made them so; `None`: the stream is gone.
    pub(super) fn became(&mut self, heads: BTreeMap<Bytes, Option<Head>>) {
        if self.0.len() + heads.len() > HEADS_MAX {
            self.0.clear();
        }
        for (stream, head) in heads {
            match head {
                Some(head) => self.0.insert(stream, head),
                None => self.0.remove(&stream),
            };
        }
    }
}

/// Rows of the transaction that is open on a connection.
pub(super) struct SqlRows<'c> {
    conn: &'c Connection,
    /// What they were before this transaction, of some.
    known: &'c Heads,
    /// Heads of the streams that grew in this transaction, see
    /// [`SqlRows::write_heads`]; `None`: removed.
    heads: BTreeMap<Bytes, Option<Head>>,
    /// What they were before the current batch, the last change last.
    before: Vec<(Bytes, Option<Option<Head>>)>,
    /// Whether the current batch has changed a row.
    changed: bool,
    /// The lease that was read last: runs fence each write with the same one.
    lease: Option<(Bytes, LeaseRow)>,
}

/// Checksum of a pair: a value that was changed or moved behind our back does
/// not read as a value.
pub(super) fn sum(space: &str, key: &[u8], value: &[u8]) -> i64 {
    let mut sha = Sha256::new();
    sha.update((space.len() as u64).to_le_bytes());
    sha.update(space);
    sha.update((key.len() as u64).to_le_bytes());
    sha.update(key);
    sha.update(value);
    let hash: Hash = sha.finalize().into();
    i64::from_le_bytes(std::array::from_fn(|at| hash[at]))
}

/// Checks a pair that was read against its checksum.
pub(super) fn checked(
    space: &str,
    key: &[u8],
    value: &[u8],
    stored: i64,
) -> Result<Bytes, StoreError> {
    if sum(space, key, value) == stored {
        return Ok(Bytes::copy_from_slice(value));
    }
    let key = printable(key);
    Err(StoreError::corrupt(format!(
        "{space}/{key}: the value does not match its checksum"
    )))
}

/// The value of a key, inside whatever transaction is open.
pub(super) fn get(conn: &Connection, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    let wrap = |source| sql("reading a value", source);
    let mut statement = conn
        .prepare_cached("SELECT value, sum FROM pairs WHERE space = ?1 AND key = ?2")
        .map_err(wrap)?;
    let mut rows = statement.query(params![space, key]).map_err(wrap)?;
    let Some(row) = rows.next().map_err(wrap)? else {
        return Ok(None);
    };
    let value = row
        .get_ref(0)
        .and_then(|v| Ok(v.as_blob()?))
        .map_err(wrap)?;
    checked(space, key, value, row.get(1).map_err(wrap)?).map(Some)
}

/// The head row of a stream, inside whatever transaction is open.
pub(super) fn head(conn: &Connection, stream: &[u8]) -> Result<Option<Head>, StoreError> {
    conn.prepare_cached("SELECT len, hash FROM heads WHERE stream = ?1")
        .and_then(|mut statement| {
            statement
                .query_row(params![stream], |row| {
                    Ok(Head {
                        len: row.get(0)?,
                        hash: row.get(1)?,
                    })
                })
                .optional()
        })
        .map_err(|source| sql("reading a stream's head", source))
}

/// A record from a row of `seq, payload, hash`.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        seq: row.get(0)?,
        payload: Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?),
        hash: row.get(2)?,
    })
}

pub(super) fn sql(step: &str, source: rusqlite::Error) -> StoreError {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    match source {
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
            StoreError::corrupt(format!("a row of another shape: {source} ({step})"))
        }
        source => super::schema::failure("the database".as_ref(), step, source),
    }
}

impl<'c> SqlRows<'c> {
    pub(super) fn new(conn: &'c Connection, known: &'c Heads) -> Self {
        Self {
            conn,
            known,
            heads: BTreeMap::new(),
            before: Vec::new(),
            changed: false,
            lease: None,
        }
    }

    /// Ends a batch. One that is not `kept` leaves the heads as they were; its
    /// rows are undone by the caller.
    pub(super) fn settle(&mut self, kept: bool) {
        self.changed = false;
        if !kept {
            self.lease = None;
        }
        for (stream, head) in self.before.drain(..).rev() {
            if kept {
                continue;
            }
            match head {
                Some(head) => self.heads.insert(stream, head),
                None => self.heads.remove(&stream),
            };
        }
    }

    /// Whether the current batch has changed a row, or tried to.
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Writes the heads, once for each stream however many records it got, and
    /// gives them: to be called before the transaction is committed.
    pub(super) fn write_heads(mut self) -> Result<BTreeMap<Bytes, Option<Head>>, StoreError> {
        let heads = std::mem::take(&mut self.heads);
        let written = heads
            .iter()
            .filter_map(|(stream, head)| Some((stream, (*head)?)));
        for (stream, head) in written {
            self.execute(
                "writing a stream's head",
                "INSERT INTO heads(stream, len, hash) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET len = excluded.len, hash = excluded.hash",
                params![stream.as_ref(), head.len, head.hash],
            )?;
        }
        Ok(heads)
    }

    /// Changes rows.
    fn change(
        &mut self,
        step: &str,
        text: &str,
        params: impl rusqlite::Params,
    ) -> Result<(), StoreError> {
        self.changed = true;
        self.execute(step, text, params)
    }

    fn execute(
        &self,
        step: &str,
        text: &str,
        params: impl rusqlite::Params,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(text)
            .and_then(|mut statement| statement.execute(params))
            .map(drop)
            .map_err(|source| sql(step, source))
    }
}

impl Rows for SqlRows<'_> {
    fn get(&mut self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        get(self.conn, space, key)
    }

    fn put(&mut self, space: &str, key: &Bytes, value: &Bytes) -> Result<(), StoreError> {
        self.change(
            "writing a value",
            "INSERT INTO pairs(space, key, value, sum) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET value = excluded.value, sum = excluded.sum",
            params![space, key.as_ref(), value.as_ref(), sum(space, key, value)],
        )
    }

    fn delete(&mut self, space: &str, key: &[u8]) -> Result<(), StoreError> {
        self.change(
            "deleting a value",
            "DELETE FROM pairs WHERE space = ?1 AND key = ?2",
            params![space, key],
        )
    }

    fn head(&mut self, stream: &[u8]) -> Result<Head, StoreError> {
        if let Some(head) = self.heads.get(stream) {
            return Ok(head.unwrap_or_default());
        }
        match self.known.0.get(stream) {
            Some(head) => Ok(*head),
            None => Ok(head(self.conn, stream)?.unwrap_or_default()),
        }
    }

    fn push(&mut self, stream: &Bytes, record: &Record) -> Result<(), StoreError> {
        self.changed = true;
        let inserted = self
            .conn
            .prepare_cached(
                "INSERT INTO records(stream, seq, payload, hash) VALUES (?1, ?2, ?3, ?4)",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    stream.as_ref(),
                    record.seq,
                    record.payload.as_ref(),
                    record.hash
                ])
            });
        match inserted {
            Ok(_) => Ok(()),
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
            {
                Err(damage(stream, record.seq, "is beyond the stream's end"))
            }
            Err(source) => Err(sql("writing a record", source)),
        }
    }

    fn set_head(&mut self, stream: &Bytes, head: Head) -> Result<(), StoreError> {
        let before = self.heads.insert(stream.clone(), Some(head));
        self.before.push((stream.clone(), before));
        Ok(())
    }

    fn drop_stream(&mut self, stream: &Bytes) -> Result<(), StoreError> {
        for text in [
            "DELETE FROM records WHERE stream = ?1",
            "DELETE FROM heads WHERE stream = ?1",
        ] {
            self.change("removing a stream", text, params![stream.as_ref()])?;
        }
        let before = self.heads.insert(stream.clone(), None);
        self.before.push((stream.clone(), before));
        Ok(())
    }

    fn lease(&mut self, lease: &[u8]) -> Result<Option<LeaseRow>, StoreError> {
        if let Some((name, row)) = &self.lease
            && name == lease
        {
            return Ok(Some(row.clone()));
        }
        let found = self
            .conn
            .prepare_cached("SELECT owner, token, expires_ms FROM leases WHERE lease = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row(params![lease], |row| {
                        Ok(LeaseRow {
                            owner: row.get(0)?,
                            token: row.get(1)?,
                            expires_ms: row.get(2)?,
                        })
                    })
                    .optional()
            })
            .map_err(|source| sql("reading a lease", source))?;
        let name = Bytes::copy_from_slice(lease);
        self.lease = found.clone().map(|row| (name, row));
        Ok(found)
    }

    fn set_lease(&mut self, lease: &[u8], row: &LeaseRow) -> Result<(), StoreError> {
        self.lease = None;
        let expires_ms = row.expires_ms.min(i64::MAX as u64);
        self.change(
            "writing a lease",
            "INSERT INTO leases(lease, owner, token, expires_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET owner = excluded.owner, token = excluded.token,
                                       expires_ms = excluded.expires_ms",
            params![lease, row.owner, row.token, expires_ms],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_heads_is_kept() {
        let streams = |from: usize, count: usize| {
            let all = from..from + count;
            all.map(|n| (Bytes::from(n.to_string()), Some(Head::default())))
        };
        let mut heads = Heads::default();
        heads.became(streams(0, 5_000).collect());
        heads.became(streams(5_000, HEADS_MAX - 5_000).collect());
        assert_eq!(heads.0.len(), HEADS_MAX);
        heads.became(streams(HEADS_MAX, 1).collect());
        assert_eq!(heads.0.len(), 1);
        heads.became([(Bytes::from(HEADS_MAX.to_string()), None)].into());
        assert_eq!(heads.0.len(), 0);
    }
}
