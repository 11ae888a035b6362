//! The namespaces of a batch: each begins with its first document and goes with its
//! last.
//!
//! What must stay true: what is counted is what there is, in all and of each plugin; a
//! name that is used again after its last document went gives no version that it gave
//! before.

use bytes::Bytes;

use super::{Draft, EffectWhat, Undo};
use crate::error::MemoryError;
use crate::model::Namespace;
use crate::rows::{self, FLOORS, GONE, LogWhat, MAKERS, NAMES, NameRow};

impl Draft<'_> {
    /// A namespace as the batch leaves it.
    pub(crate) fn name(&self, key: &Bytes) -> Result<Option<NameRow>, MemoryError> {
        if let Some(row) = self.names.get(key) {
            return Ok(row.clone());
        }
        let row = self.store.get(NAMES, key)?;
        row.map(|row| rows::from_json(NAMES, key, &row)).transpose()
    }

    /// A namespace, made for a plugin (or nobody's) where there is none.
    pub(super) fn name_or_new(
        &mut self,
        key: &Bytes,
        namespace: &Namespace,
        maker: Option<&str>,
    ) -> Result<NameRow, MemoryError> {
        if let Some(name) = self.name(key)? {
            return Ok(name);
        }
        if let Some(maker) = maker {
            let key = rows::maker_key(namespace.kind(), maker);
            let made = self.made(&key)? + 1;
            let max = self.options.plugin_namespaces_max;
            let kind = namespace.kind().as_str();
            within(
                made,
                max,
                || format!("plugin {maker}"),
                format!("{kind} namespaces"),
            )?;
            self.set_made(key, made);
        }
        let (all, max) = (self.head.namespaces + 1, self.options.namespaces_max);
        within(
            all,
            max,
            || "the memory".to_owned(),
            "namespaces".to_owned(),
        )?;
        self.head.number += 1;
        self.head.namespaces = all;
        Ok(NameRow {
            number: self.head.number,
            floor: self.floor(&rows::floor_key(key))?,
            maker: maker.map(str::to_owned),
            ..NameRow::default()
        })
    }

    pub(super) fn set_name(&mut self, key: Bytes, row: Option<NameRow>) {
        let before = self.names.insert(key.clone(), row);
        self.undo.push(Undo::Name(key, before));
    }

    /// Takes the namespace's name away; its documents are swept later.
    pub(crate) fn drop_namespace(&mut self, namespace: &Namespace) -> Result<bool, MemoryError> {
        let key = rows::name_key(namespace);
        let Some(name) = self.name(&key)? else {
            return Ok(false);
        };
        self.put_row(GONE, rows::number_key(name.number), key.clone());
        self.forget(key, &name)?;
        Ok(true)
    }

    /// Takes the name of a namespace away that has no document any more. Its versions
    /// are not given again: the next of this name begins behind them.
    pub(crate) fn free_if_empty(&mut self, key: &Bytes) -> Result<(), MemoryError> {
        let Some(name) = self.name(key)?.filter(|name| name.documents == 0) else {
            return Ok(());
        };
        let place = rows::floor_key(key);
        if name.floor > self.floor(&place)? {
            self.put_row(FLOORS, place.clone(), rows::json(&name.floor)?);
            self.floors.insert(place, name.floor);
        }
        self.forget(key.clone(), &name)
    }

    fn forget(&mut self, key: Bytes, name: &NameRow) -> Result<(), MemoryError> {
        self.head.namespaces = self.head.namespaces.saturating_sub(1);
        if let Some(maker) = &name.maker {
            let maker = rows::maker_key(rows::namespace_of(&key)?.kind(), maker);
            let made = self.made(&maker)?.saturating_sub(1);
            self.set_made(maker, made);
        }
        self.set_name(key, None);
        self.log(name.number, LogWhat::Dropped, EffectWhat::Drop)
    }

    /// How many namespaces of a kind a plugin made that are there.
    fn made(&self, key: &Bytes) -> Result<u64, MemoryError> {
        if let Some(count) = self.made.get(key) {
            return Ok(count.unwrap_or_default());
        }
        let row = self.store.get(MAKERS, key)?;
        let count = row.map(|row| rows::from_json(MAKERS, key, &row));
        Ok(count.transpose()?.unwrap_or_default())
    }

    fn set_made(&mut self, key: Bytes, count: u64) {
        let count = Some(count).filter(|count| *count > 0);
        let before = self.made.insert(key.clone(), count);
        self.undo.push(Undo::Made(key, before));
    }

    /// The highest version that namespaces gave of which nothing is left.
    fn floor(&self, key: &Bytes) -> Result<u64, MemoryError> {
        if let Some(floor) = self.floors.get(key) {
            return Ok(*floor);
        }
        let row = self.store.get(FLOORS, key)?;
        let floor = row.map(|row| rows::from_json(FLOORS, key, &row));
        Ok(floor.transpose()?.unwrap_or_default())
    }
}

fn within(
    wanted: u64,
    max: u64,
    holder: impl FnOnce() -> String,
    unit: String,
) -> Result<(), MemoryError> {
    if wanted <= max {
        return Ok(());
    }
    Err(MemoryError::Namespaces {
        holder: holder(),
        wanted,
        max,
        unit,
    })
}
