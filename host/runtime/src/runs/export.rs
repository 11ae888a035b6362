//! A whole run as one JSON document, a part at a time, with what is needed to
//! check it: the chain's hash of each record, and the head.
//!
//! ```json
//! {"format":"airlock-run/1","stream":"run/ID","run":{…},
//!  "records":[{"seq":0,"hash":"…","record":{…}},…],
//!  "head":{"len":1,"hash":"…"}}
//! ```
//!
//! What must stay true: a `record` is the bytes that were stored, so that the
//! hashes can be computed again: SHA-256 over the hash before (32 zero bytes
//! before the first), the length of `stream`, `stream`, `seq` (both numbers as 64
//! bits, little endian) and the record.

use std::sync::Arc;

use airlock_journal::{Head, StoreError};
use bytes::Bytes;
use serde_json::json;

use super::{RunError, rows};
use crate::ids;
use crate::principal::Principal;
use crate::runtime::Runtime;

/// The format's name; another one where a reader of this could be misled.
const FORMAT: &str = "airlock-run/1";
/// Records that are read at once.
const PAGE: usize = 16;
/// A part ends with the record that brings it there, bytes.
const PART_BYTES: usize = 1 << 20;

/// What is left of an export.
pub struct RunExport {
    runtime: Arc<Runtime>,
    stream: Bytes,
    /// The document up to the records, until it was given.
    start: Option<String>,
    next: u64,
    head: Head,
    over: bool,
}

impl Runtime {
    /// Begins the export of a run, with the records that there are now. Reads its
    /// journal on this thread, see [`Runtime::looking`].
    ///
    /// # Errors
    /// There is no such run, or the store failed.
    pub fn export_run(self: &Arc<Self>, who: &Principal, id: &str) -> Result<RunExport, RunError> {
        let run = self.run_detail(who, id)?;
        let stream = rows::stream(id);
        let head = self.store().head(&stream)?;
        let name = String::from_utf8_lossy(&stream);
        let mut start = json!({ "format": FORMAT, "stream": name, "run": run }).to_string();
        start.pop();
        start.push_str(",\"records\":[");
        Ok(RunExport {
            runtime: Arc::clone(self),
            stream,
            start: Some(start),
            next: 0,
            head,
            over: false,
        })
    }
}

impl RunExport {
    /// The next part of the document; `None` after the last.
    ///
    /// # Errors
    /// The store failed, or a record is damaged or was pruned meanwhile: the
    /// document is not whole.
    pub fn part(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(start) = self.start.take() {
            return Ok(Some(start.into()));
        }
        if self.over {
            return Ok(None);
        }
        let left = usize::try_from(self.head.len - self.next).unwrap_or(PAGE);
        let store = self.runtime.store();
        let records = store.read(&self.stream, self.next, left.min(PAGE))?;
        if records.is_empty() && left > 0 {
            let place = format!("{}: it was removed", String::from_utf8_lossy(&self.stream));
            return Err(StoreError::Corrupt { place });
        }
        let mut part = Vec::new();
        for record in records {
            if part.len() >= PART_BYTES {
                break;
            }
            let comma = if record.seq > 0 { "," } else { "" };
            let hash = ids::hex(&record.hash);
            let seq = record.seq;
            let head = format!("{comma}{{\"seq\":{seq},\"hash\":\"{hash}\",\"record\":");
            part.extend_from_slice(head.as_bytes());
            part.extend_from_slice(&record.payload);
            part.push(b'}');
            self.next = seq + 1;
        }
        if self.next == self.head.len {
            self.over = true;
            let hash = ids::hex(&self.head.hash);
            let end = format!(
                "],\"head\":{{\"len\":{},\"hash\":\"{hash}\"}}}}\n",
                self.next
            );
            part.extend_from_slice(end.as_bytes());
        }
        Ok(Some(part.into()))
    }
}
