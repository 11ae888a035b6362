//! Many runs in little time: copies of one that was made the ordinary way, written
//! straight into the store.
//!
//! What must stay true: a copy differs from its original in its id, and in what is
//! asked to be replaced, in nothing else.

use std::path::Path;

use airlock_journal::audit::STREAM as AUDIT;
use airlock_journal::sqlite::SqliteStore;
use airlock_journal::{Batch, Op, Store};
use anyhow::{Context, Result};
use bytes::Bytes;

/// Where a run has rows, under its id.
const SPACES: [&str; 2] = ["runs", "runs-open"];

/// Copies of one commit.
const GROUP: usize = 500;

/// Records of the longest run that is copied, and of a page of the audit.
const RECORDS_MAX: usize = 1_000;

/// The digits at the end of an id in which copies differ.
const DIGITS: usize = 12;

/// What the store has of a run.
struct Original {
    rows: Vec<(&'static str, Bytes)>,
    records: Vec<Bytes>,
    /// What the audit has of it: the listings are made from that.
    audited: Vec<Bytes>,
}

/// Writes copies into a server's directory that no server has open.
pub(super) struct Copies {
    store: std::sync::Arc<SqliteStore>,
    runtime: tokio::runtime::Runtime,
    written: usize,
}

impl Copies {
    pub(super) fn open(data: &Path, written: usize) -> Result<Self> {
        Ok(Self {
            store: SqliteStore::open(data.join("journal"))?,
            runtime: super::client()?,
            written,
        })
    }

    /// Refuses runs of which something goes on: their copies would all be started.
    pub(super) fn must_be_parked(&self, ids: [&str; 2]) -> Result<()> {
        for id in ids {
            let row = self.store.get("runs-open", id.as_bytes())?;
            let parked = row.is_some_and(|row| has(&row, "\"parked\""));
            anyhow::ensure!(parked, "the run {id} has not left memory");
        }
        Ok(())
    }

    /// Writes `count` copies of the run `id` with each of `from` replaced by `to`,
    /// which is as long, and returns their ids.
    pub(super) fn write(
        &mut self,
        id: &str,
        count: usize,
        replace: Option<(&str, &str)>,
    ) -> Result<Vec<String>> {
        let original = self.original(id)?;
        let mut ids = Vec::with_capacity(count);
        while ids.len() < count {
            let mut batch = Batch::new();
            for _ in ids.len()..count.min(ids.len() + GROUP) {
                let copy = self.next_id(id)?;
                let change = |bytes: &Bytes| {
                    let bytes = replaced(bytes, id, &copy);
                    let (from, to) = replace.unwrap_or_default();
                    replaced(&bytes, from, to)
                };
                for (space, value) in &original.rows {
                    batch = batch.put(space, copy.clone().into_bytes(), change(value));
                }
                batch = batch.op(Op::Append {
                    stream: format!("run/{copy}").into(),
                    expect: Some(0),
                    records: original.records.iter().map(change).collect(),
                });
                batch = batch.op(Op::Append {
                    stream: Bytes::from_static(AUDIT.as_bytes()),
                    expect: None,
                    records: original.audited.iter().map(change).collect(),
                });
                ids.push(copy);
            }
            self.runtime.block_on(self.store.commit(batch))?;
        }
        Ok(ids)
    }

    fn original(&self, id: &str) -> Result<Original> {
        let mut rows = Vec::new();
        for space in SPACES {
            let value = self.store.get(space, id.as_bytes())?;
            rows.extend(value.map(|value| (space, value)));
        }
        let stream = format!("run/{id}");
        let records = self.store.read(stream.as_bytes(), 0, RECORDS_MAX)?;
        let records: Vec<Bytes> = records.into_iter().map(|record| record.payload).collect();
        anyhow::ensure!(!rows.is_empty() && !records.is_empty(), "no run {id}");
        let audited = self.audited(id)?;
        Ok(Original {
            rows,
            records,
            audited,
        })
    }

    fn audited(&self, id: &str) -> Result<Vec<Bytes>> {
        let (mut audited, mut from) = (Vec::new(), 0);
        loop {
            let page = self.store.read(AUDIT.as_bytes(), from, RECORDS_MAX)?;
            from += page.len() as u64;
            let last = page.len() < RECORDS_MAX;
            let payloads = page.into_iter().map(|record| record.payload);
            audited.extend(payloads.filter(|payload| has(payload, id)));
            if last {
                return Ok(audited);
            }
        }
    }

    fn next_id(&mut self, id: &str) -> Result<String> {
        let kept = id.len().checked_sub(DIGITS).context("a short id")?;
        self.written += 1;
        Ok(format!("{}{:0DIGITS$x}", &id[..kept], self.written))
    }
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|found| found == text.as_bytes())
}

/// The bytes with each `from` made `to`.
fn replaced(bytes: &Bytes, from: &str, to: &str) -> Bytes {
    if from.is_empty() {
        return bytes.clone();
    }
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = &bytes[..];
    while let Some(at) = rest.windows(from.len()).position(|found| found == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out.into()
}
