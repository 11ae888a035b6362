//! How runs lie in the store: a stream of records each, and a row that lists
//! them.

use airlock_journal::{Batch, Store, StoreError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::event::Record;
use super::fold::RunState;
use crate::rows::{decode, encode};

/// The space of the rows.
pub(crate) const SPACE: &str = "runs";

/// Records that are read at once.
const PAGE: usize = 1_000;

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
    let name = match (&state.end, state.block()) {
        (Some(end), _) => end.name(),
        (None, Some(_)) => "blocked",
        (None, None) => "open",
    };
    Row {
        id: id.to_owned(),
        agent: text(|start| &start.agent),
        goal: text(|start| &start.goal),
        by: text(|start| &start.by),
        state: name.to_owned(),
        started_ms: state.started_ms,
        updated_ms: state.last_ms,
    }
}

/// The stream of a run.
pub(crate) fn stream(id: &str) -> Bytes {
    format!("run/{id}").into()
}

/// Appends records and brings the row up to date.
pub(crate) fn append(batch: Batch, id: &str, records: &[Record], row: &Row) -> Batch {
    let append = airlock_journal::Op::Append {
        stream: stream(id),
        expect: None,
        records: records.iter().map(encode).collect(),
    };
    batch
        .op(append)
        .put(SPACE, Bytes::copy_from_slice(id.as_bytes()), encode(row))
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

/// All records of a run.
pub(crate) fn all(store: &dyn Store, id: &str) -> Result<Vec<Record>, StoreError> {
    let mut records = Vec::new();
    loop {
        let read = page(store, id, records.len() as u64, PAGE)?;
        let last = read.len() < PAGE;
        records.extend(read.into_iter().map(|(_, record)| record));
        if last {
            return Ok(records);
        }
    }
}
