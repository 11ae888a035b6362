//! Changes that the index on disk has not taken yet, searchable: what is in here is
//! newer than what the index says of the same document.
//!
//! What must stay true: its answers have the scores that the index gives once it
//! has taken them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::draft::{Effect, EffectWhat};
use crate::rows::{self, DocRow};
use crate::text::words::WordList;

/// A document that was written.
#[derive(Debug)]
pub(crate) struct TailDoc {
    pub(crate) number: u64,
    pub(crate) key: Bytes,
    pub(crate) row: Arc<DocRow>,
    pub(crate) words: Arc<WordList>,
}

/// What is known of a document's newest change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    seq: u64,
    /// Where it is in `docs`; `None`: it was deleted.
    slot: Option<u32>,
    /// The index on disk can't have a version of it.
    created: bool,
}

/// What changed, by the documents' keys: the index's versions of these are not the
/// newest.
pub(crate) type Changes = HashMap<Bytes, Change>;

/// The changes, in memory.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Searches that go on keep them as they were.
    changes: Arc<Changes>,
    docs: Vec<Option<Arc<TailDoc>>>,
    postings: HashMap<Box<str>, Vec<u32>>,
    /// Namespaces that were deleted, and when.
    dropped: BTreeMap<u64, u64>,
    bytes: u64,
    last_seq: u64,
    since: Option<Instant>,
    /// Up to this change the index may have what is created.
    unsure_until: u64,
}

/// What the index on disk has to take.
#[derive(Debug, Default)]
pub(crate) struct Taking {
    /// Up to this change.
    pub(crate) seq: u64,
    /// Keys of documents, and whether the index can have a version of each.
    pub(crate) docs: Vec<(Bytes, bool)>,
    /// Numbers of namespaces that were deleted.
    pub(crate) dropped: Vec<u64>,
}

impl Tail {
    /// Empty, after the change `seq`.
    pub(crate) fn after(seq: u64) -> Self {
        Self {
            last_seq: seq,
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, effect: Effect) {
        self.since.get_or_insert_with(Instant::now);
        let (seq, number) = (effect.seq, effect.number);
        self.last_seq = seq;
        match effect.what {
            EffectWhat::Drop => self.drop_namespace(number, seq),
            EffectWhat::Delete { id } => {
                self.set(rows::doc_key(number, &id), seq, false, None);
            }
            EffectWhat::Put {
                id,
                created,
                row,
                words,
                ..
            } => {
                let key = rows::doc_key(number, &id);
                let doc = TailDoc {
                    number,
                    key: key.clone(),
                    row,
                    words,
                };
                self.set(key, seq, created, Some(Arc::new(doc)));
            }
        }
    }

    fn set(&mut self, key: Bytes, seq: u64, created: bool, doc: Option<Arc<TailDoc>>) {
        let before = self.changes.get(&key).copied();
        if let Some(slot) = before.and_then(|change| change.slot) {
            self.docs[slot as usize] = None;
        }
        let created = before.map_or(created, |change| change.created) && seq > self.unsure_until;
        let slot = doc.map(|doc| self.push(doc));
        let change = Change { seq, slot, created };
        Arc::make_mut(&mut self.changes).insert(key, change);
    }

    fn push(&mut self, doc: Arc<TailDoc>) -> u32 {
        let slot = self.docs.len() as u32;
        self.bytes += doc.row.bytes;
        for word in doc.words.distinct() {
            match self.postings.get_mut(word) {
                Some(slots) => slots.push(slot),
                None => {
                    self.postings.insert(word.into(), vec![slot]);
                }
            }
        }
        self.docs.push(Some(doc));
        slot
    }

    fn drop_namespace(&mut self, number: u64, seq: u64) {
        self.dropped.insert(number, seq);
        let prefix = number.to_be_bytes();
        Arc::make_mut(&mut self.changes).retain(|key, change| {
            let keep = !key.starts_with(&prefix);
            if let Some(slot) = change.slot.filter(|_| !keep) {
                self.docs[slot as usize] = None;
            }
            keep
        });
    }

    /// Forgets what the index has taken up to `seq`.
    pub(crate) fn retain_after(&mut self, seq: u64) {
        let mut left = Self::after(self.last_seq);
        left.unsure_until = self.unsure_until;
        self.dropped.retain(|_, dropped| *dropped > seq);
        left.dropped = std::mem::take(&mut self.dropped);
        for (key, change) in Arc::unwrap_or_clone(std::mem::take(&mut self.changes)) {
            if change.seq <= seq {
                continue;
            }
            let doc = change.slot.and_then(|slot| self.docs[slot as usize].take());
            // The index may have an earlier version by now.
            left.set(key, change.seq, false, doc);
        }
        left.since = (!left.is_empty()).then(Instant::now);
        *self = left;
    }

    /// The index was made from a store that was at the change `seq` or before.
    pub(crate) fn unsure_until(&mut self, seq: u64) {
        self.unsure_until = seq;
    }

    pub(crate) fn taking(&self) -> Taking {
        let docs = self.changes.iter();
        Taking {
            seq: self.last_seq,
            docs: docs
                .map(|(key, change)| (key.clone(), !change.created))
                .collect(),
            dropped: self.dropped.keys().copied().collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.dropped.is_empty()
    }

    /// Documents and deletions, those that are overwritten among them.
    pub(crate) fn len(&self) -> usize {
        self.docs.len().max(self.changes.len()) + self.dropped.len()
    }

    /// Bytes of its documents.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When the oldest change came.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// What changed, as it is now.
    pub(crate) fn changes(&self) -> Arc<Changes> {
        Arc::clone(&self.changes)
    }

    /// Documents with a word, of all namespaces.
    pub(crate) fn with_word(&self, word: &str) -> impl Iterator<Item = (u32, &Arc<TailDoc>)> {
        let slots = self.postings.get(word).map_or(&[][..], Vec::as_slice);
        let doc = |slot: &u32| Some((*slot, self.docs[*slot as usize].as_ref()?));
        slots.iter().filter_map(doc)
    }
}
