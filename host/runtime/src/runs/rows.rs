//! How runs lie in the store: a stream of records each, and a row that lists
//! them.

use airlock_journal::audit::AuditRecord;
use airlock_journal::{Op, Store, StoreError};
use airlock_sandbox::agent::RequestId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::event::Record;
use super::fold::RunState;
use super::types::RunStatus;
use crate::record;
use crate::rows::{decode, encode};

/// The space of the rows.
pub(crate) const SPACE: &str = "runs";

/// The space of those that have not ended.
const OPEN: &str = "runs-open";

/// Records that are read at once.
const PAGE: usize = 1_000;

/// The same where their bytes count: the largest has a few MiB.
const PIECE: usize = 16;

/// Bytes of records that are in memory at once where all of a run's are looked at.
const PIECE_BYTES: usize = 4 << 20;

/// What listings need to know of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) agent: String,
    pub(crate) goal: String,
    pub(crate) by: String,
    /// `open`, `blocked`, or how it ended.
    pub(crate) state: String,
    pub(crate) started_ms: u64,
    /// When `state` changed last.
    pub(crate) updated_ms: u64,
}

impl Row {
    /// Whether there is something left to do.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "open" | "blocked")
    }
}

/// The row of a run.
pub(crate) fn row(id: &str, state: &RunState) -> Row {
    let start = state.start.as_ref();
    let text = |of: fn(&super::event::Start) -> &String| start.map(of).cloned().unwrap_or_default();
    Row {
        id: id.to_owned(),
        agent: text(|start| &start.agent),
        goal: text(|start| &start.goal),
        by: text(|start| &start.by),
        state: state_name(state).to_owned(),
        started_ms: began_ms(state),
        updated_ms: state.last_ms,
    }
}

/// When a run came to be: a fork's journal begins with that of another run.
fn began_ms(state: &RunState) -> u64 {
    let fork = state
        .start
        .as_ref()
        .filter(|start| start.forked_from.is_some());
    fork.and_then(|start| start.began_ms)
        .unwrap_or(state.started_ms)
}

/// What a row says of a run's state.
pub(crate) fn state_name(state: &RunState) -> &'static str {
    match (&state.end, state.block()) {
        (Some(end), _) => end.name(),
        (None, Some(_)) => "blocked",
        (None, None) => "open",
    }
}

/// The stream of a run.
pub(crate) fn stream(id: &str) -> Bytes {
    format!("run/{id}").into()
}

/// What goes on record of a run that began other than by a request.
pub(crate) fn announced(id: &str, state: &RunState) -> Op {
    on_record("run.start", "ok", row(id, state), &[])
}

/// What goes on record of a run's end; the listings are made from it.
pub(crate) fn ended(id: &str, state: &RunState) -> Op {
    on_record("run.end", state_name(state), row(id, state), &state.unknown)
}

fn on_record(action: &str, outcome: &str, row: Row, unknown: &[RequestId]) -> Op {
    let mut detail = json!({ "agent": row.agent, "started_ms": row.started_ms });
    if !unknown.is_empty() {
        detail["unknown"] = json!(unknown);
    }
    let record = AuditRecord::now(row.by, action, row.id).outcome(outcome);
    record::op(&record.detail(detail))
}

/// Appends records to a run of `len` records, all or none.
pub(crate) fn append(id: &str, len: u64, records: &[Record]) -> Op {
    Op::Append {
        stream: stream(id),
        expect: Some(len),
        records: records.iter().map(encode).collect(),
    }
}

/// A run that begins: its first record, its rows.
pub(crate) fn begin(id: &str, first: &Record, state: &RunState) -> [Op; 3] {
    [
        append(id, 0, std::slice::from_ref(first)),
        put(&row(id, state)),
        put_open(id, Some(&OpenRow::default())),
    ]
}

/// The runs that go on one in the other: the first of each, and the last of each
/// first.
const CHAIN: &str = "runs-chain";
const CHAIN_HEAD: &str = "runs-chain-head";

/// Notes that `next` goes on in the place of `id`.
pub(crate) fn chain(store: &dyn Store, id: &str, next: &str) -> Result<[Op; 2], StoreError> {
    let first = chain_first(store, id)?;
    let put = |space, key: &str, value: &str| Op::Put {
        space,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    Ok([put(CHAIN, next, &first), put(CHAIN_HEAD, &first, next)])
}

/// The first of those that a run continues: itself, where it continues none.
pub(crate) fn chain_first(store: &dyn Store, id: &str) -> Result<String, StoreError> {
    let first = store.get(CHAIN, id.as_bytes())?;
    Ok(first.map_or_else(|| id.to_owned(), |first| text(&first)))
}

/// The last run of those that go on in the place of `id`, where that was noted.
pub(crate) fn chain_head(store: &dyn Store, id: &str) -> Result<Option<String>, StoreError> {
    let first = chain_first(store, id)?;
    let head = store.get(CHAIN_HEAD, first.as_bytes())?;
    Ok(head.as_deref().map(text))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Brings the row of a run up to date.
pub(crate) fn put(row: &Row) -> Op {
    Op::Put {
        space: SPACE,
        key: Bytes::copy_from_slice(row.id.as_bytes()),
        value: encode(row),
    }
}

/// Where a run that has not ended goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenRow {
    /// `None`: something of it is to be taken up at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parked: Option<Parked>,
}

/// A run that waits, or that was told something where nobody looks after runs, and of
/// which nothing is in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parked {
    /// When it is taken up by itself, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wake_ms: Option<u64>,
    /// It waits for children, which may have ended when the next host starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) has_children: bool,
    /// The kill switch keeps it; it is looked at when that is lifted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) halted: bool,
    pub(crate) status: RunStatus,
}

/// Says where an open run goes on; `None`: it has ended.
pub(crate) fn put_open(id: &str, row: Option<&OpenRow>) -> Op {
    let key = Bytes::copy_from_slice(id.as_bytes());
    match row {
        Some(row) => Op::Put {
            space: OPEN,
            key,
            value: encode(row),
        },
        None => Op::Delete { space: OPEN, key },
    }
}

/// Where a run goes on; `None`: it has ended.
pub(crate) fn open_row(store: &dyn Store, id: &str) -> Result<Option<OpenRow>, StoreError> {
    let found = store.get(OPEN, id.as_bytes())?;
    found
        .map(|value| decode(OPEN, id.as_bytes(), &value))
        .transpose()
}

/// Gives each run that has not ended to `each`. A row that can't be read is as one
/// that says that something is to be taken up.
pub(crate) fn each_open(
    store: &dyn Store,
    mut each: impl FnMut(String, OpenRow),
) -> Result<(), StoreError> {
    let mut from = Vec::new();
    loop {
        let page = store.range(OPEN, &from, None, PAGE)?;
        for (key, value) in &page {
            let row = decode(OPEN, key, value).unwrap_or_else(|error| {
                tracing::error!(%error, "where a run goes on can't be read");
                OpenRow::default()
            });
            each(String::from_utf8_lossy(key).into_owned(), row);
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => from = [key, &b"\0"[..]].concat(),
            _ => return Ok(()),
        }
    }
}

/// A run's records from number `from`, at most `limit`.
pub(crate) fn page(
    store: &dyn Store,
    id: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<(u64, Record)>, StoreError> {
    let stream = stream(id);
    let records = store.read(&stream, from, limit)?;
    let read = records.into_iter().map(|record| {
        let key = record.seq.to_string();
        Ok((record.seq, decode(SPACE, key.as_bytes(), &record.payload)?))
    });
    read.collect()
}

/// A run's records from number `from`: at most `limit`, and of more than one those
/// that have `bytes_max` bytes together. Gives whether there were more.
pub(super) fn page_within(
    store: &dyn Store,
    id: &str,
    (from, limit): (u64, usize),
    bytes_max: usize,
) -> Result<(Vec<(u64, Record)>, bool), StoreError> {
    let stream = stream(id);
    let (mut read, mut bytes) = (Vec::new(), 0_usize);
    while read.len() < limit {
        let wanted = PIECE.min(limit - read.len());
        let records = store.read(&stream, from.saturating_add(read.len() as u64), wanted)?;
        let last = records.len() < wanted;
        for record in records {
            bytes = bytes.saturating_add(record.payload.len());
            if bytes > bytes_max && !read.is_empty() {
                return Ok((read, true));
            }
            let key = record.seq.to_string();
            let decoded = decode(SPACE, key.as_bytes(), &record.payload)?;
            read.push((record.seq, decoded));
        }
        if last {
            return Ok((read, false));
        }
    }
    Ok((read, true))
}

/// Gives each record of a run to `each`, with few of them in memory.
pub(super) fn each(
    store: &dyn Store,
    id: &str,
    mut each: impl FnMut(Record),
) -> Result<(), StoreError> {
    let mut from = 0;
    loop {
        let (read, more) = page_within(store, id, (from, PAGE), PIECE_BYTES)?;
        from += read.len() as u64;
        read.into_iter().for_each(|(_, record)| each(record));
        if !more {
            return Ok(());
        }
    }
}

/// All records of a run.
pub(crate) fn all(store: &dyn Store, id: &str) -> Result<Vec<Record>, StoreError> {
    let mut records = Vec::new();
    loop {
        let read = page(store, id, records.len() as u64, PAGE)?;
        let last = read.len() < PAGE;
        records.extend(read.into_iter().map(|(_, record)| record));
        if !last {
            continue;
        }
        // One that was removed between two pages seems to end there.
        let is_one = records.len() < PAGE;
        return match is_one || store.head(&stream(id))?.len >= records.len() as u64 {
            true => Ok(records),
            false => Err(StoreError::io("reading a run", "it was removed meanwhile")),
        };
    }
}
