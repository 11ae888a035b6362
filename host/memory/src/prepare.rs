//! A write, checked and made ready by the caller's thread: what is left needs the
//! store.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{MemoryError, bounded};
use crate::limits::{
    CHANGES_MAX, DIMENSION_MAX, DOCUMENT_OVERHEAD_BYTES, Quota, TEXT_BYTES_MAX, VALUE_BYTES_MAX,
    WRITE_BYTES_MAX,
};
use crate::model::{
    Change, Expect, Json, Namespace, NewDocument, Provenance, Source, check_id, check_labels,
};
use crate::text::words::WordList;

/// A document that is valid.
#[derive(Debug)]
pub(crate) struct PreparedPut {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) value: Option<Json>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Of length 1.
    pub(crate) vector: Option<Vec<f32>>,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) source: Option<Source>,
    pub(crate) words: Arc<WordList>,
    pub(crate) bytes: u64,
}

/// A change that is valid.
#[derive(Debug)]
pub(crate) enum PreparedChange {
    Put(Box<PreparedPut>, Expect),
    Delete(String, Expect),
}

/// A write that is valid: all of it happens, or nothing.
#[derive(Debug)]
pub(crate) struct PreparedWrite {
    pub(crate) namespace: Namespace,
    pub(crate) changes: Vec<PreparedChange>,
    pub(crate) provenance: Provenance,
    pub(crate) quota: Quota,
    pub(crate) bytes: u64,
    /// Where it is written down that it happened; it then happens once.
    pub(crate) receipt: Option<Bytes>,
}

impl PreparedWrite {
    pub(crate) fn new(
        namespace: &Namespace,
        changes: Vec<Change>,
        provenance: &Provenance,
        quota: Quota,
    ) -> Result<Self, MemoryError> {
        bounded("write", changes.len(), CHANGES_MAX, "changes")?;
        provenance.check()?;
        let (mut prepared, mut bytes) = (Vec::with_capacity(changes.len()), 0_u64);
        for change in changes {
            let change = PreparedChange::new(change)?;
            bytes += match &change {
                PreparedChange::Put(put, _) => put.bytes,
                PreparedChange::Delete(id, _) => id.len() as u64,
            };
            bounded("write", bytes as usize, WRITE_BYTES_MAX as usize, "bytes")?;
            prepared.push(change);
        }
        Ok(Self {
            namespace: namespace.clone(),
            changes: prepared,
            provenance: provenance.clone(),
            quota,
            bytes,
            receipt: None,
        })
    }
}

impl PreparedChange {
    fn new(change: Change) -> Result<Self, MemoryError> {
        match change {
            Change::Delete { id, expect } => {
                check_id(&id)?;
                Ok(Self::Delete(id, expect))
            }
            Change::Put { document, expect } => {
                let put = PreparedPut::new(*document)?;
                Ok(Self::Put(Box::new(put), expect))
            }
        }
    }
}

impl PreparedPut {
    fn new(document: NewDocument) -> Result<Self, MemoryError> {
        check_id(&document.id)?;
        bounded("text", document.text.len(), TEXT_BYTES_MAX, "bytes")?;
        check_labels(&document.labels)?;
        if let Some(source) = &document.source {
            source.check()?;
        }
        if document.ttl_ms == Some(0) {
            return Err(MemoryError::invalid("ttl", "it is 0; at least 1 ms"));
        }
        let vector = document
            .vector
            .map(|vector| unit("vector", vector))
            .transpose()?;
        document.value.as_ref().map_or(Ok(()), check_value)?;
        let labels = &document.labels;
        let parts = [
            document.id.len(),
            document.text.len(),
            labels
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum(),
            document
                .value
                .as_ref()
                .map_or(0, |value| value.text().len()),
            vector.as_ref().map_or(0, |vector| 4 * vector.len()),
            document.source.as_ref().map_or(0, Source::weight),
        ];
        Ok(Self {
            bytes: DOCUMENT_OVERHEAD_BYTES + parts.iter().sum::<usize>() as u64,
            words: Arc::new(WordList::of(&document.text)),
            id: document.id,
            text: document.text,
            value: document.value,
            labels: document.labels,
            vector,
            ttl_ms: document.ttl_ms,
            source: document.source,
        })
    }
}

/// Refuses a value that can't be read again.
fn check_value(value: &Json) -> Result<(), MemoryError> {
    bounded("value", value.text().len(), VALUE_BYTES_MAX, "bytes")?;
    let read: Result<serde_json::Value, _> = serde_json::from_str(value.text());
    read.map(drop)
        .map_err(|error| MemoryError::invalid("value", error.to_string()))
}

/// The vector with length 1.
pub(crate) fn unit(what: &str, mut vector: Vec<f32>) -> Result<Vec<f32>, MemoryError> {
    bounded(what, vector.len(), DIMENSION_MAX, "numbers")?;
    if let Some(at) = vector.iter().position(|part| !part.is_finite()) {
        let why = format!("number {at} is not finite");
        return Err(MemoryError::invalid(what, why));
    }
    let square: f64 = vector.iter().map(|part| f64::from(*part).powi(2)).sum();
    let length = square.sqrt();
    if length == 0.0 {
        return Err(MemoryError::invalid(what, "it is empty or all zeros"));
    }
    vector
        .iter_mut()
        .for_each(|part| *part = (f64::from(*part) / length) as f32);
    Ok(vector)
}
