//! Rows as they are in the store, and their keys.
//!
//! A namespace has a number from its first document to its end, and no number is
//! used twice. Documents are keyed by the number (big-endian) and their id, so a
//! namespace is one range, ids are in order in it, and no two keys can be the same.
//! A namespace that was deleted is its number without a name: nothing can reach
//! what is still there of it.

use std::collections::BTreeMap;

use airlock_journal::Store;
use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::MemoryError;
use crate::model::{Document, Entry, Json, Kind, Namespace, Provenance, Source, Usage, Written};

/// Number and id: the document. See [`DocRow`].
pub(crate) const DOCS: &str = "memory.docs";
/// Number and id: the vector. See [`VectorRow`].
pub(crate) const VECTORS: &str = "memory.vectors";
/// Kind and name: the namespace. See [`NameRow`].
pub(crate) const NAMES: &str = "memory.names";
/// Number: a namespace that was deleted and is not swept yet.
pub(crate) const GONE: &str = "memory.gone";
/// Sequence number: what changed. See [`LogRow`].
pub(crate) const LOG: &str = "memory.log";
/// Moment, number and id: a document that expires then; the value is its
/// namespace's key.
pub(crate) const EXPIRY: &str = "memory.expiry";
/// Run, a zero and a request of it: what its write did. See
/// [`crate::Memory::write_once`].
pub(crate) const RECEIPTS: &str = "memory.receipts";
/// Kind and plugin: how many namespaces of the kind there are that it made.
pub(crate) const MAKERS: &str = "memory.makers";
/// See [`floor_key`]: the highest version in namespaces that went with their last
/// document.
pub(crate) const FLOORS: &str = "memory.floors";
/// One row, see [`HeadRow`].
pub(crate) const META: &str = "memory.meta";
/// Its key.
pub(crate) const HEAD: &[u8] = b"head";

/// The first byte of a document and of a vector.
const FORMAT: u8 = 1;

/// The end of the log and what is given out in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadRow {
    /// Sequence number of the last change.
    pub(crate) seq: u64,
    /// The last number that a namespace got.
    pub(crate) number: u64,
    /// Namespaces there are.
    pub(crate) namespaces: u64,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRow {
    pub(crate) number: u64,
    pub(crate) documents: u64,
    pub(crate) bytes: u64,
    /// Words of all its texts.
    pub(crate) words: u64,
    pub(crate) vectors: u64,
    pub(crate) dimension: Option<u32>,
    /// The highest version of a document that was removed.
    pub(crate) floor: u64,
    /// The plugin that wrote its first document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) maker: Option<String>,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogWhat {
    /// A document that was not there before.
    Created(String),
    /// A document that was there in another version.
    Changed(String),
    /// A document was removed.
    Deleted(String),
    /// The namespace was deleted.
    Dropped,
}

/// A change of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRow {
    /// Random for each time the memory is opened: a store that was restored and went
    /// on has other changes under the same sequence numbers.
    pub(crate) opened: u64,
    pub(crate) number: u64,
    pub(crate) what: LogWhat,
}

/// A document without its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DocRow {
    pub(crate) version: u64,
    pub(crate) created_ms: u64,
    pub(crate) updated_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_ms: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) words: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dimension: Option<u32>,
    pub(crate) provenance: Provenance,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Json>,
}

impl DocRow {
    pub(crate) fn is_alive(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|end| now_ms < end)
    }

    /// The row with its text.
    pub(crate) fn encode(&self, text: &str) -> Result<Bytes, MemoryError> {
        let head = serde_json::to_vec(self)
            .map_err(|error| MemoryError::invalid("document", error.to_string()))?;
        let mut row = BytesMut::with_capacity(5 + head.len() + text.len());
        row.put_u8(FORMAT);
        row.put_u32(head.len() as u32);
        row.put_slice(&head);
        row.put_slice(text.as_bytes());
        Ok(row.freeze())
    }

    /// The row and its text.
    pub(crate) fn decode<'r>(key: &[u8], row: &'r [u8]) -> Result<(Self, &'r str), MemoryError> {
        let split = || {
            let (&FORMAT, rest) = row.split_first()? else {
                return None;
            };
            let (len, rest) = rest.split_first_chunk::<4>()?;
            rest.split_at_checked(u32::from_be_bytes(*len) as usize)
        };
        let damaged = || damaged(DOCS, key);
        let (head, text) = split().ok_or_else(damaged)?;
        let head = serde_json::from_slice(head).map_err(|_| damaged())?;
        Ok((head, std::str::from_utf8(text).map_err(|_| damaged())?))
    }

    pub(crate) fn into_document(self, namespace: Namespace, id: String, text: &str) -> Document {
        Document {
            value: self.value.clone(),
            text: text.to_owned(),
            entry: self.into_entry(namespace, id),
        }
    }

    pub(crate) fn into_entry(self, namespace: Namespace, id: String) -> Entry {
        Entry {
            namespace,
            id,
            version: self.version,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            expires_ms: self.expires_ms,
            bytes: self.bytes,
            labels: self.labels,
            dimension: self.dimension.map(|dimension| dimension as usize),
            provenance: self.provenance,
            source: self.source,
        }
    }
}

impl NameRow {
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            documents: self.documents,
            bytes: self.bytes,
            vectors: self.vectors,
            dimension: self.dimension.map(|dimension| dimension as usize),
        }
    }
}

/// A document's vector with what a search filters by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VectorRow {
    pub(crate) updated_ms: u64,
    /// `u64::MAX`: never.
    pub(crate) expires_ms: u64,
    /// See [`label_hash`], sorted.
    pub(crate) labels: Vec<u64>,
    pub(crate) vector: Vec<f32>,
}

impl VectorRow {
    pub(crate) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(18 + 8 * self.labels.len() + 4 * self.vector.len());
        row.put_u8(FORMAT);
        row.put_u64_le(self.updated_ms);
        row.put_u64_le(self.expires_ms);
        row.put_u8(self.labels.len() as u8);
        self.labels.iter().for_each(|label| row.put_u64_le(*label));
        self.vector.iter().for_each(|part| row.put_f32_le(*part));
        row.freeze()
    }

    pub(crate) fn decode(key: &[u8], row: &[u8]) -> Result<Self, MemoryError> {
        Self::read(row).ok_or_else(|| damaged(VECTORS, key))
    }

    fn read(row: &[u8]) -> Option<Self> {
        let (&FORMAT, rest) = row.split_first()? else {
            return None;
        };
        let (updated, rest) = rest.split_first_chunk::<8>()?;
        let (expires, rest) = rest.split_first_chunk::<8>()?;
        let (&labels, rest) = rest.split_first()?;
        let (labels, vector) = rest.split_at_checked(8 * usize::from(labels))?;
        let (labels, _) = labels.as_chunks::<8>();
        let (vector, []) = vector.as_chunks::<4>() else {
            return None;
        };
        Some(Self {
            updated_ms: u64::from_le_bytes(*updated),
            expires_ms: u64::from_le_bytes(*expires),
            labels: labels
                .iter()
                .map(|bytes| u64::from_le_bytes(*bytes))
                .collect(),
            vector: vector
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect(),
        })
    }
}

/// FNV-1a over a label; stored, so it must stay what it is. Two labels of one hash
/// only make a search look at a document in vain.
pub(crate) fn label_hash(name: &str, value: &str) -> u64 {
    fnv(name.bytes().chain([0]).chain(value.bytes()))
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

pub(crate) fn label_hashes(labels: &BTreeMap<String, String>) -> Vec<u64> {
    let mut hashes: Vec<u64> = labels.iter().map(|(k, v)| label_hash(k, v)).collect();
    hashes.sort_unstable();
    hashes
}

pub(crate) fn receipt_key(run: &str, request: u64) -> Bytes {
    let mut key = BytesMut::from(run.as_bytes());
    key.put_u8(0);
    key.put_u64(request);
    key.freeze()
}

/// What the write of a request did, if it happened.
pub(crate) fn receipt(
    store: &dyn Store,
    run: &str,
    request: u64,
) -> Result<Option<Vec<Written>>, MemoryError> {
    let key = receipt_key(run, request);
    let row = store.get(RECEIPTS, &key)?;
    row.map(|row| from_json(RECEIPTS, &key, &row)).transpose()
}

/// The receipts of a run.
pub(crate) fn receipt_range(run: &str) -> (Bytes, Bytes) {
    let key = |end: u8| [run.as_bytes(), &[end]].concat().into();
    (key(0), key(1))
}

pub(crate) fn name_key(namespace: &Namespace) -> Bytes {
    let mut key = kind_key(namespace.kind());
    key.put_slice(namespace.name().as_bytes());
    key.freeze()
}

pub(crate) fn kind_key(kind: Kind) -> BytesMut {
    let at = Kind::ALL.iter().position(|known| *known == kind);
    let mut key = BytesMut::new();
    key.put_u8(at.unwrap_or_default() as u8);
    key
}

pub(crate) fn maker_key(kind: Kind, plugin: &str) -> Bytes {
    let mut key = kind_key(kind);
    key.put_slice(plugin.as_bytes());
    key.freeze()
}

/// Where the floor of a name is that has no namespace: names share 65,536 places, so
/// that what is kept of those that are gone is bounded. Two of one place only make the
/// versions of one begin higher. Stored, so it must stay what it is.
pub(crate) fn floor_key(name_key: &[u8]) -> Bytes {
    let hash = fnv(name_key.iter().copied());
    let place = hash ^ (hash >> 32);
    let place = (place ^ (place >> 16)) as u16;
    Bytes::copy_from_slice(&place.to_be_bytes())
}

pub(crate) fn namespace_of(key: &[u8]) -> Result<Namespace, MemoryError> {
    let read = || {
        let (kind, name) = key.split_first()?;
        let kind = *Kind::ALL.get(usize::from(*kind))?;
        Namespace::new(kind, std::str::from_utf8(name).ok()?).ok()
    };
    read().ok_or_else(|| damaged(NAMES, key))
}

pub(crate) fn doc_key(number: u64, id: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(8 + id.len());
    key.put_u64(number);
    key.put_slice(id.as_bytes());
    key.freeze()
}

/// The number and the id of a document's key.
pub(crate) fn split_doc_key<'k>(space: &str, key: &'k [u8]) -> Result<(u64, &'k str), MemoryError> {
    let read = || {
        let (number, id) = key.split_first_chunk::<8>()?;
        Some((u64::from_be_bytes(*number), std::str::from_utf8(id).ok()?))
    };
    read().ok_or_else(|| damaged(space, key))
}

/// All of a namespace's documents: from and to.
pub(crate) fn doc_range(number: u64) -> (Bytes, Bytes) {
    (doc_key(number, ""), doc_key(number + 1, ""))
}

pub(crate) fn number_key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(crate) fn number_of(space: &str, key: &[u8]) -> Result<u64, MemoryError> {
    let bytes = key.try_into().map_err(|_| damaged(space, key))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(crate) fn expiry_key(expires_ms: u64, number: u64, id: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(16 + id.len());
    key.put_u64(expires_ms);
    key.put_u64(number);
    key.put_slice(id.as_bytes());
    key.freeze()
}

/// The moment, the number and the id of an expiry's key.
pub(crate) fn split_expiry_key(key: &[u8]) -> Result<(u64, u64, &str), MemoryError> {
    let (moment, rest) = key
        .split_first_chunk::<8>()
        .ok_or_else(|| damaged(EXPIRY, key))?;
    let (number, id) = split_doc_key(EXPIRY, rest)?;
    Ok((u64::from_be_bytes(*moment), number, id))
}

/// A row that is JSON.
pub(crate) fn json(row: &impl Serialize) -> Result<Bytes, MemoryError> {
    let text = serde_json::to_vec(row).map_err(|e| MemoryError::corrupt(e.to_string()))?;
    Ok(text.into())
}

pub(crate) fn from_json<T: DeserializeOwned>(
    space: &str,
    key: &[u8],
    row: &[u8],
) -> Result<T, MemoryError> {
    serde_json::from_slice(row).map_err(|_| damaged(space, key))
}

pub(crate) fn damaged(space: &str, key: &[u8]) -> MemoryError {
    MemoryError::corrupt(format!("{space}/{}", key.escape_ascii()))
}
