//! What is over is removed in bounded steps: documents that have expired, what is
//! left of namespaces that were deleted, and lines of the log that the index has
//! taken. A step that a crash cuts off is taken again.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::draft::Draft;
use crate::error::MemoryError;
use crate::rows::{self, DOCS, DocRow, EXPIRY, GONE, LOG};

/// Documents that expired, in one step.
const EXPIRED_MAX: usize = 256;
/// Documents of deleted namespaces, and these, in one step. Their texts are read.
const GONE_MAX: usize = 64;
/// Lines of the log, in one step.
const LOG_MAX: usize = 1024;

/// What a step removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Documents that had expired.
    pub expired: usize,
    /// Documents of namespaces that were deleted.
    pub gone: usize,
    /// Lines of the log.
    pub log: usize,
    /// Whether there may be more to remove.
    pub more: bool,
}

/// Takes one step; the index has taken the log up to `taken`.
pub(crate) fn step(draft: &mut Draft<'_>, taken: u64) -> Result<Swept, MemoryError> {
    let expired = expired(draft)?;
    let (gone, gone_more) = gone(draft)?;
    let log = trim(draft, taken)?;
    Ok(Swept {
        expired,
        gone,
        log,
        more: gone_more || expired == EXPIRED_MAX || log == LOG_MAX,
    })
}

fn expired(draft: &mut Draft<'_>) -> Result<usize, MemoryError> {
    let end = rows::number_key(draft.now_ms.saturating_add(1));
    let due = draft.store().range(EXPIRY, b"", Some(&end), EXPIRED_MAX)?;
    let names: BTreeSet<&Bytes> = due.iter().map(|(_, name)| name).collect();
    for (key, name_key) in &due {
        let (moment, number, id) = rows::split_expiry_key(key)?;
        let name = draft.name(name_key)?.filter(|name| name.number == number);
        let row = draft.doc(&rows::doc_key(number, id))?;
        let row = row.filter(|row| row.expires_ms == Some(moment));
        match (name, row) {
            (Some(name), Some(row)) => draft.remove(name_key.clone(), name, id, &row)?,
            // Its namespace is gone, and sweeps it.
            _ => draft.delete_row(EXPIRY, key.clone()),
        }
    }
    for name in names {
        draft.free_if_empty(name)?;
    }
    Ok(due.len())
}

/// How many documents were removed, and whether there may be more.
fn gone(draft: &mut Draft<'_>) -> Result<(usize, bool), MemoryError> {
    let keys = draft.store().keys(GONE, b"", None, GONE_MAX)?;
    let mut removed = 0;
    for key in &keys {
        let number = rows::number_of(GONE, key)?;
        let (from, to) = rows::doc_range(number);
        let most = GONE_MAX - removed;
        let docs = draft.store().range(DOCS, &from, Some(&to), most)?;
        for (key, row) in &docs {
            let (_, id) = rows::split_doc_key(DOCS, key)?;
            let (row, _) = DocRow::decode(key, row)?;
            draft.delete_rows(number, id, &row);
        }
        removed += docs.len();
        if docs.len() == most {
            break;
        }
        draft.delete_row(GONE, key.clone());
    }
    Ok((removed, !keys.is_empty()))
}

/// The line that the index ended with stays: it tells whose log this is.
fn trim(draft: &mut Draft<'_>, taken: u64) -> Result<usize, MemoryError> {
    let end = rows::number_key(taken);
    let keys = draft.store().keys(LOG, b"", Some(&end), LOG_MAX)?;
    let count = keys.len();
    for key in keys {
        draft.delete_row(LOG, key);
    }
    Ok(count)
}
