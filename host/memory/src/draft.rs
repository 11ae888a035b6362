//! From writes to one batch for the store.
//!
//! What must stay true: a document, its vector, its expiry, its namespace's usage
//! and its line of the log are in one batch; a write that is refused leaves nothing
//! in it. The batch happens only on the head that it was made for.

mod names;

use std::collections::HashMap;
use std::sync::Arc;

use airlock_journal::{Batch, Op, Store};
use bytes::Bytes;
use serde::Serialize;

use crate::error::MemoryError;
use crate::limits::Quota;
use crate::memory::Options;
use crate::model::{Expect, Namespace, Provenance, Written};
use crate::prepare::{PreparedChange, PreparedPut, PreparedWrite};
use crate::rows::{
    self, DOCS, DocRow, EXPIRY, HEAD, HeadRow, LOG, LogRow, LogWhat, MAKERS, META, NAMES, NameRow,
    RECEIPTS, VECTORS, VectorRow,
};
use crate::text::words::WordList;

/// What the indexes have to know of a change, in the order of `seq`.
#[derive(Debug)]
pub(crate) struct Effect {
    pub(crate) seq: u64,
    pub(crate) number: u64,
    pub(crate) what: EffectWhat,
}

#[derive(Debug)]
pub(crate) enum EffectWhat {
    Put {
        id: String,
        /// There was none before.
        created: bool,
        row: Arc<DocRow>,
        words: Arc<WordList>,
        vector: Option<VectorRow>,
    },
    Delete {
        id: String,
    },
    Drop,
}

/// A row as the batch leaves it.
type Overlay<T> = HashMap<Bytes, Option<T>>;

/// What a write changed in the overlays, to be undone when it is refused.
enum Undo {
    Name(Bytes, Option<Option<NameRow>>),
    Made(Bytes, Option<Option<u64>>),
    Doc(Bytes, Option<Option<Arc<DocRow>>>),
}

/// A batch that is being made.
pub(crate) struct Draft<'s> {
    store: &'s dyn Store,
    pub(crate) now_ms: u64,
    opened: u64,
    options: &'s Options,
    before: Option<Bytes>,
    pub(crate) head: HeadRow,
    names: Overlay<NameRow>,
    /// How many namespaces a plugin made; see [`MAKERS`].
    made: Overlay<u64>,
    /// Only ever higher than in the store: too high does no harm.
    floors: HashMap<Bytes, u64>,
    docs: Overlay<Arc<DocRow>>,
    receipts: HashMap<Bytes, Vec<Written>>,
    pub(crate) ops: Vec<Op>,
    effects: Vec<Effect>,
    undo: Vec<Undo>,
}

impl<'s> Draft<'s> {
    /// Begins on what is durable. `opened` is the number of this opening.
    pub(crate) fn new(
        store: &'s dyn Store,
        now_ms: u64,
        opened: u64,
        options: &'s Options,
    ) -> Result<Self, MemoryError> {
        let before = store.get(META, HEAD)?;
        let head = match &before {
            Some(row) => rows::from_json(META, HEAD, row)?,
            None => HeadRow::default(),
        };
        Ok(Self {
            store,
            now_ms,
            opened,
            options,
            before,
            head,
            names: HashMap::new(),
            made: HashMap::new(),
            floors: HashMap::new(),
            docs: HashMap::new(),
            receipts: HashMap::new(),
            ops: Vec::new(),
            effects: Vec::new(),
            undo: Vec::new(),
        })
    }

    /// Does all of `change`, or nothing.
    pub(crate) fn whole<T>(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<T, MemoryError>,
    ) -> Result<T, MemoryError> {
        let (ops, effects, head) = (self.ops.len(), self.effects.len(), self.head.clone());
        self.undo.clear();
        let result = change(self);
        if result.is_err() {
            self.ops.truncate(ops);
            self.effects.truncate(effects);
            self.head = head;
            while let Some(undo) = self.undo.pop() {
                match undo {
                    Undo::Name(key, row) => restore(&mut self.names, key, row),
                    Undo::Made(key, count) => restore(&mut self.made, key, count),
                    Undo::Doc(key, row) => restore(&mut self.docs, key, row),
                }
            }
        }
        result
    }

    /// One with a receipt that was written before does nothing again.
    pub(crate) fn write(&mut self, write: &PreparedWrite) -> Result<Vec<Written>, MemoryError> {
        let Some(receipt) = &write.receipt else {
            return self.changes(write);
        };
        if let Some(written) = self.receipt(receipt)? {
            return Ok(written);
        }
        let written = self.changes(write)?;
        self.put_row(RECEIPTS, receipt.clone(), rows::json(&written)?);
        self.receipts.insert(receipt.clone(), written.clone());
        Ok(written)
    }

    /// What the write of a receipt did, if it happened.
    fn receipt(&self, receipt: &Bytes) -> Result<Option<Vec<Written>>, MemoryError> {
        if let Some(written) = self.receipts.get(receipt) {
            return Ok(Some(written.clone()));
        }
        let row = self.store.get(RECEIPTS, receipt)?;
        row.map(|row| rows::from_json(RECEIPTS, receipt, &row))
            .transpose()
    }

    fn changes(&mut self, write: &PreparedWrite) -> Result<Vec<Written>, MemoryError> {
        let each = write.changes.iter().map(|change| match change {
            PreparedChange::Put(put, expect) => {
                let version = self.put(
                    &write.namespace,
                    put,
                    *expect,
                    &write.provenance,
                    write.quota,
                )?;
                Ok(Written {
                    id: put.id.clone(),
                    version: Some(version),
                })
            }
            PreparedChange::Delete(id, expect) => Ok(Written {
                id: id.clone(),
                version: self.delete(&write.namespace, id, *expect)?,
            }),
        });
        let written = each.collect::<Result<Vec<_>, MemoryError>>()?;
        self.free_if_empty(&rows::name_key(&write.namespace))?;
        Ok(written)
    }

    fn put(
        &mut self,
        namespace: &Namespace,
        put: &PreparedPut,
        expect: Expect,
        provenance: &Provenance,
        quota: Quota,
    ) -> Result<u64, MemoryError> {
        let name_key = rows::name_key(namespace);
        let mut name = self.name_or_new(&name_key, namespace, provenance.plugin.as_deref())?;
        let key = rows::doc_key(name.number, &put.id);
        let old = self.doc(&key)?;
        let alive = old.as_ref().filter(|row| row.is_alive(self.now_ms));
        check(&put.id, expect, alive.map(|row| row.version))?;
        let row = Arc::new(DocRow {
            version: old.as_ref().map_or(name.floor, |row| row.version) + 1,
            created_ms: alive.map_or(self.now_ms, |row| row.created_ms),
            updated_ms: self.now_ms,
            expires_ms: put.ttl_ms.map(|ttl| self.now_ms.saturating_add(ttl)),
            bytes: put.bytes,
            words: u64::from(put.words.count()),
            labels: put.labels.clone(),
            dimension: put.vector.as_ref().map(|vector| vector.len() as u32),
            provenance: provenance.clone(),
            source: put.source.clone(),
            value: put.value.clone(),
        });
        let before = name.bytes;
        count(&mut name, old.as_deref(), Some(&row));
        fits(namespace, &name, before, old.is_none(), quota)?;
        one_dimension(namespace, &mut name, row.dimension)?;
        self.put_rows(&name_key, name.number, put, old.as_deref(), &row)?;
        self.set_name(name_key, Some(name));
        let version = row.version;
        self.set_doc(key, Some(row));
        Ok(version)
    }

    /// The rows of a document, its line of the log, and its effect.
    fn put_rows(
        &mut self,
        name_key: &Bytes,
        number: u64,
        put: &PreparedPut,
        old: Option<&DocRow>,
        row: &Arc<DocRow>,
    ) -> Result<(), MemoryError> {
        let key = rows::doc_key(number, &put.id);
        if let Some(end) = old.and_then(|row| row.expires_ms) {
            self.delete_row(EXPIRY, rows::expiry_key(end, number, &put.id));
        }
        if let Some(end) = row.expires_ms {
            let moment = rows::expiry_key(end, number, &put.id);
            self.put_row(EXPIRY, moment, name_key.clone());
        }
        let vector = put.vector.as_ref().map(|vector| VectorRow {
            updated_ms: row.updated_ms,
            expires_ms: row.expires_ms.unwrap_or(u64::MAX),
            labels: rows::label_hashes(&row.labels),
            vector: vector.clone(),
        });
        match &vector {
            Some(vector) => self.put_row(VECTORS, key.clone(), vector.encode()),
            None if old.is_some_and(|row| row.dimension.is_some()) => {
                self.delete_row(VECTORS, key.clone());
            }
            None => {}
        }
        self.put_row(DOCS, key, row.encode(&put.text)?);
        let (id, created) = (put.id.clone(), old.is_none());
        let what = match created {
            true => LogWhat::Created(id.clone()),
            false => LogWhat::Changed(id.clone()),
        };
        let (row, words) = (Arc::clone(row), Arc::clone(&put.words));
        let effect = EffectWhat::Put {
            id,
            created,
            row,
            words,
            vector,
        };
        self.log(number, what, effect)
    }

    fn delete(
        &mut self,
        namespace: &Namespace,
        id: &str,
        expect: Expect,
    ) -> Result<Option<u64>, MemoryError> {
        let name_key = rows::name_key(namespace);
        let Some(name) = self.name(&name_key)? else {
            return check(id, expect, None).map(|()| None);
        };
        let old = self.doc(&rows::doc_key(name.number, id))?;
        let alive = old.as_ref().filter(|row| row.is_alive(self.now_ms));
        let version = alive.map(|row| row.version);
        check(id, expect, version)?;
        if let Some(old) = old {
            self.remove(name_key, name, id, &old)?;
        }
        Ok(version)
    }

    /// Removes a document that is there, alive or not.
    pub(crate) fn remove(
        &mut self,
        name_key: Bytes,
        mut name: NameRow,
        id: &str,
        old: &DocRow,
    ) -> Result<(), MemoryError> {
        let (number, key) = (name.number, rows::doc_key(name.number, id));
        self.delete_rows(number, id, old);
        count(&mut name, Some(old), None);
        name.floor = name.floor.max(old.version);
        self.set_name(name_key, Some(name));
        self.set_doc(key, None);
        let id = id.to_owned();
        self.log(
            number,
            LogWhat::Deleted(id.clone()),
            EffectWhat::Delete { id },
        )
    }

    /// A document's rows, without its namespace's and the log's.
    pub(crate) fn delete_rows(&mut self, number: u64, id: &str, old: &DocRow) {
        let key = rows::doc_key(number, id);
        if let Some(end) = old.expires_ms {
            self.delete_row(EXPIRY, rows::expiry_key(end, number, id));
        }
        if old.dimension.is_some() {
            self.delete_row(VECTORS, key.clone());
        }
        self.delete_row(DOCS, key);
    }

    /// The batch and its effects; `None`: nothing changes.
    pub(crate) fn finish(mut self) -> Result<Option<(Batch, Vec<Effect>)>, MemoryError> {
        if self.ops.is_empty() {
            return Ok(None);
        }
        let mut batch = Batch::new().check(META, HEAD, self.before.take());
        for (key, row) in std::mem::take(&mut self.names) {
            self.ops.push(left(NAMES, key, row)?);
        }
        for (key, count) in std::mem::take(&mut self.made) {
            self.ops.push(left(MAKERS, key, count)?);
        }
        self.ops.push(put_op(
            META,
            Bytes::from_static(HEAD),
            rows::json(&self.head)?,
        ));
        batch.ops.append(&mut self.ops);
        Ok(Some((batch, self.effects)))
    }

    pub(crate) fn store(&self) -> &'s dyn Store {
        self.store
    }

    /// A document as the batch leaves it, alive or not.
    pub(crate) fn doc(&self, key: &Bytes) -> Result<Option<Arc<DocRow>>, MemoryError> {
        if let Some(row) = self.docs.get(key) {
            return Ok(row.clone());
        }
        let row = self.store.get(DOCS, key)?;
        row.map(|row| Ok(Arc::new(DocRow::decode(key, &row)?.0)))
            .transpose()
    }

    fn set_doc(&mut self, key: Bytes, row: Option<Arc<DocRow>>) {
        let before = self.docs.insert(key.clone(), row);
        self.undo.push(Undo::Doc(key, before));
    }

    fn log(&mut self, number: u64, what: LogWhat, effect: EffectWhat) -> Result<(), MemoryError> {
        self.head.seq += 1;
        let seq = self.head.seq;
        let opened = self.opened;
        let row = rows::json(&LogRow {
            opened,
            number,
            what,
        })?;
        self.put_row(LOG, rows::number_key(seq), row);
        self.effects.push(Effect {
            seq,
            number,
            what: effect,
        });
        Ok(())
    }

    fn put_row(&mut self, space: &'static str, key: Bytes, value: Bytes) {
        self.ops.push(put_op(space, key, value));
    }

    pub(crate) fn delete_row(&mut self, space: &'static str, key: Bytes) {
        self.ops.push(Op::Delete { space, key });
    }
}

fn put_op(space: &'static str, key: Bytes, value: Bytes) -> Op {
    Op::Put { space, key, value }
}

/// A row as an overlay leaves it.
fn left(space: &'static str, key: Bytes, row: Option<impl Serialize>) -> Result<Op, MemoryError> {
    Ok(match row {
        Some(row) => put_op(space, key, rows::json(&row)?),
        None => Op::Delete { space, key },
    })
}

fn restore<T>(overlay: &mut Overlay<T>, key: Bytes, row: Option<Option<T>>) {
    match row {
        Some(row) => overlay.insert(key, row),
        None => overlay.remove(&key),
    };
}

fn check(id: &str, expect: Expect, found: Option<u64>) -> Result<(), MemoryError> {
    let holds = match expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Version(version) => found == Some(version),
    };
    if holds {
        return Ok(());
    }
    let id = id.to_owned();
    Err(MemoryError::Conflict { id, found })
}

/// The namespace's usage with `new` in the place of `old`.
fn count(name: &mut NameRow, old: Option<&DocRow>, new: Option<&DocRow>) {
    let with = |row: Option<&DocRow>| u64::from(row.is_some_and(|row| row.dimension.is_some()));
    let change = |count: &mut u64, minus: u64, plus: u64| {
        *count = count.saturating_sub(minus) + plus;
    };
    let size = |row: Option<&DocRow>| row.map_or((0, 0), |row| (row.bytes, row.words));
    let ((old_bytes, old_words), (new_bytes, new_words)) = (size(old), size(new));
    change(
        &mut name.documents,
        u64::from(old.is_some()),
        u64::from(new.is_some()),
    );
    change(&mut name.bytes, old_bytes, new_bytes);
    change(&mut name.words, old_words, new_words);
    change(&mut name.vectors, with(old), with(new));
    if name.vectors == 0 {
        name.dimension = None;
    }
}

/// Refuses growth beyond the quota; what shrinks is welcome.
fn fits(
    namespace: &Namespace,
    name: &NameRow,
    bytes_before: u64,
    grows: bool,
    quota: Quota,
) -> Result<(), MemoryError> {
    let refuse = |wanted, max, unit| {
        Err(MemoryError::Quota {
            namespace: namespace.to_string(),
            wanted,
            max,
            unit,
        })
    };
    if grows && name.documents > quota.documents_max {
        return refuse(name.documents, quota.documents_max, "documents");
    }
    if name.bytes > quota.bytes_max && name.bytes > bytes_before {
        return refuse(name.bytes, quota.bytes_max, "bytes");
    }
    Ok(())
}

/// All vectors of a namespace have one length: that of the first.
fn one_dimension(
    namespace: &Namespace,
    name: &mut NameRow,
    dimension: Option<u32>,
) -> Result<(), MemoryError> {
    let Some(found) = dimension else {
        return Ok(());
    };
    // The new one is counted already.
    match name.dimension.filter(|_| name.vectors > 1) {
        Some(expected) if expected != found => Err(MemoryError::Dimension {
            namespace: namespace.to_string(),
            found: found as usize,
            expected: expected as usize,
        }),
        _ => {
            name.dimension = Some(found);
            Ok(())
        }
    }
}
