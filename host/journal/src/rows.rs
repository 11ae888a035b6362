//! What a batch means, written once: a backend gives row access inside a
//! transaction it can undo, and this module does the conditions, the chaining,
//! the sequence numbers and the fencing. A refused batch may have touched rows
//! already; the backend undoes them.

use bytes::Bytes;

use crate::chain::{self, printable};
use crate::store::{Batch, Committed, Head, ITEM_BYTES_MAX, Op, Record, StoreError};

/// A lease as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub owner: String,
    pub token: u64,
    pub expires_ms: u64,
}

/// Row access inside one open transaction.
pub(crate) trait Rows {
    fn get(&mut self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    fn put(&mut self, space: &str, key: &Bytes, value: &Bytes) -> Result<(), StoreError>;
    fn delete(&mut self, space: &str, key: &[u8]) -> Result<(), StoreError>;
    fn head(&mut self, stream: &[u8]) -> Result<Head, StoreError>;
    /// Adds a record that is not there yet; it is corruption when it is.
    fn push(&mut self, stream: &Bytes, record: &Record) -> Result<(), StoreError>;
    fn set_head(&mut self, stream: &Bytes, head: Head) -> Result<(), StoreError>;
    /// Removes a stream's records and head, if it has any.
    fn drop_stream(&mut self, stream: &Bytes) -> Result<(), StoreError>;
    fn lease(&mut self, lease: &[u8]) -> Result<Option<LeaseRow>, StoreError>;
    fn set_lease(&mut self, lease: &[u8], row: &LeaseRow) -> Result<(), StoreError>;
}

/// One request to the writer of a store.
#[derive(Debug)]
pub(crate) enum Work {
    Batch(Batch),
    Lease {
        lease: Bytes,
        owner: String,
        now_ms: u64,
        ttl_ms: u64,
    },
}

/// What came of a [`Work`].
#[derive(Debug)]
pub(crate) enum Done {
    Batch(Committed),
    Lease(u64),
}

impl Done {
    pub(crate) fn committed(self) -> Committed {
        match self {
            Self::Batch(committed) => committed,
            Self::Lease(_) => Committed::default(),
        }
    }

    pub(crate) fn token(self) -> u64 {
        match self {
            Self::Lease(token) => token,
            Self::Batch(_) => 0,
        }
    }
}

/// Does `work` on `rows`.
pub(crate) fn perform(rows: &mut impl Rows, work: &Work) -> Result<Done, StoreError> {
    match work {
        Work::Batch(batch) => apply(rows, batch).map(Done::Batch),
        Work::Lease {
            lease,
            owner,
            now_ms,
            ttl_ms,
        } => take_lease(rows, lease, owner, *now_ms, *ttl_ms).map(Done::Lease),
    }
}

fn apply(rows: &mut impl Rows, batch: &Batch) -> Result<Committed, StoreError> {
    let mut heads = Vec::new();
    for op in &batch.ops {
        match op {
            Op::Put { space, key, value } => {
                bounded("key", key)?;
                bounded("value", value)?;
                rows.put(space, key, value)?;
            }
            Op::Delete { space, key } => rows.delete(space, key)?,
            Op::Check { space, key, expect } => check(rows, space, key, expect.as_ref())?,
            Op::Append {
                stream,
                expect,
                records,
            } => heads.push(append(rows, stream, *expect, records)?),
            Op::DropStream { stream } => rows.drop_stream(stream)?,
            Op::Fence { lease, token } => fence(rows, lease, *token)?,
        }
    }
    Ok(Committed { heads })
}

fn check(
    rows: &mut impl Rows,
    space: &str,
    key: &[u8],
    expect: Option<&Bytes>,
) -> Result<(), StoreError> {
    let found = rows.get(space, key)?;
    if found.as_ref() == expect {
        return Ok(());
    }
    let state = match (found.is_some(), expect.is_some()) {
        (true, false) => "exists",
        (false, true) => "is absent",
        _ => "holds another value",
    };
    Err(StoreError::Conflict {
        what: format!("{space}/{} {state}", printable(key)),
    })
}

fn append(
    rows: &mut impl Rows,
    stream: &Bytes,
    expect: Option<u64>,
    records: &[Bytes],
) -> Result<Head, StoreError> {
    bounded("stream name", stream)?;
    let mut head = rows.head(stream)?;
    if let Some(expect) = expect
        && expect != head.len
    {
        return Err(StoreError::Conflict {
            what: format!(
                "stream {} has {} records, not {expect}",
                printable(stream),
                head.len
            ),
        });
    }
    for payload in records {
        bounded("record", payload)?;
        let (seq, payload) = (head.len, payload.clone());
        let hash = chain::next(&head.hash, stream, seq, &payload);
        rows.push(stream, &Record { seq, payload, hash })?;
        head = Head { len: seq + 1, hash };
    }
    if !records.is_empty() {
        rows.set_head(stream, head)?;
    }
    Ok(head)
}

fn fence(rows: &mut impl Rows, lease: &[u8], token: u64) -> Result<(), StoreError> {
    match rows.lease(lease)? {
        Some(row) if row.token == token => Ok(()),
        _ => Err(fenced(lease)),
    }
}

fn take_lease(
    rows: &mut impl Rows,
    lease: &[u8],
    owner: &str,
    now_ms: u64,
    ttl_ms: u64,
) -> Result<u64, StoreError> {
    bounded("lease name", lease)?;
    bounded("lease owner", owner.as_bytes())?;
    let token = match rows.lease(lease)? {
        None => 1,
        Some(row) if row.owner == owner => row.token,
        Some(row) if row.expires_ms <= now_ms => row.token + 1,
        Some(_) => return Err(fenced(lease)),
    };
    let row = LeaseRow {
        owner: owner.to_owned(),
        token,
        expires_ms: now_ms.saturating_add(ttl_ms),
    };
    rows.set_lease(lease, &row)?;
    Ok(token)
}

fn fenced(lease: &[u8]) -> StoreError {
    StoreError::Fenced {
        lease: printable(lease),
    }
}

fn bounded(what: &str, item: &[u8]) -> Result<(), StoreError> {
    if item.len() <= ITEM_BYTES_MAX {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        what: what.to_owned(),
        bytes: item.len(),
        bytes_max: ITEM_BYTES_MAX,
    })
}

/// Checks one page of a stream as a reader found it: `before` is the hash of
/// record `from - 1`, `head` the stream's head in the same snapshot, `records`
/// the rows from `from` on, at most `limit`.
pub(crate) fn verify_page(
    stream: &[u8],
    from: u64,
    limit: usize,
    before: Option<crate::store::Hash>,
    head: Head,
    records: &[Record],
) -> Result<(), StoreError> {
    if from >= head.len {
        return match records.first() {
            None => Ok(()),
            Some(extra) => Err(chain::damage(
                stream,
                extra.seq,
                "is beyond the stream's end",
            )),
        };
    }
    let before =
        before.ok_or_else(|| chain::damage(stream, from.saturating_sub(1), "is missing"))?;
    let start = Head {
        len: from,
        hash: before,
    };
    let end = chain::follow(stream, start, records)?;
    let due = from.saturating_add(limit as u64).min(head.len);
    if end.len < due {
        return Err(chain::damage(stream, end.len, "is missing"));
    }
    if end.len > head.len {
        return Err(chain::damage(
            stream,
            head.len,
            "is beyond the stream's end",
        ));
    }
    if end.len == head.len && end.hash != head.hash {
        return Err(chain::damage(
            stream,
            head.len - 1,
            "is not the one the stream's head names",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of four records, and the head after each number of them.
    fn stream() -> (Vec<Record>, Vec<Head>) {
        let (mut records, mut heads) = (Vec::new(), vec![Head::default()]);
        for seq in 0..4 {
            let before = heads.last().copied().unwrap_or_default();
            let payload = Bytes::from(format!("r{seq}"));
            let hash = chain::next(&before.hash, b"s", seq, &payload);
            heads.push(Head { len: seq + 1, hash });
            records.push(Record { seq, payload, hash });
        }
        (records, heads)
    }

    #[test]
    fn a_page_holds_what_the_head_says_or_names_what_it_lacks() {
        let (records, heads) = stream();
        let (all, end) = (4, heads[4]);
        let other = Head { len: 4, ..heads[3] };
        let check = |from: u64, limit: usize, head: Head, page: &[Record], fault: Option<&str>| {
            let before = heads.get(from as usize).map(|head| head.hash);
            let found = verify_page(b"s", from, limit, before, head, page);
            let found = found.err().map(|error| error.to_string());
            let told = found.as_deref().unwrap_or_default();
            let case = format!("{from} {limit} {} {}: {told}", head.len, page.len());
            assert_eq!(found.is_some(), fault.is_some(), "{case}");
            assert!(told.contains(fault.unwrap_or_default()), "{case}");
        };
        check(0, 9, end, &records, None);
        check(0, all, end, &records, None);
        check(1, 2, end, &records[1..3], None);
        check(4, 9, end, &[], None);
        check(9, 9, end, &[], None);
        check(0, 9, end, &records[..3], Some("record 3 is missing"));
        check(1, 2, end, &records[1..2], Some("record 2 is missing"));
        check(0, 9, end, &[], Some("record 0 is missing"));
        check(1, 9, end, &records[2..], Some("record 1 is missing"));
        check(0, 9, heads[3], &records, Some("record 3 is beyond"));
        check(3, 9, heads[3], &records[3..], Some("record 3 is beyond"));
        check(0, 9, other, &records, Some("record 3 is not the one"));
        let missing = verify_page(b"s", 2, 9, None, end, &records[2..]);
        let missing = missing.expect_err("nothing is before it").to_string();
        assert!(missing.contains("record 1 is missing"), "{missing}");
    }
}
