//! Keeps a shelf in step with the audit, and replaces it when it is not sound or
//! belongs to another history.

use std::path::PathBuf;

use super::disk::Disk;
use super::fold::Fold;
use super::shelf::{Broken, Shelf};
use crate::audit::{Line, STREAM};
use crate::chain;
use crate::store::{Hash, Head, Store, StoreError};

/// Records read at once.
const PAGE: usize = 1024;
/// Records folded into one write. Keeping up with calls must not hold much memory
/// each time; a rebuild, which is further behind, writes each value a few times
/// and not once a record.
const FOLD_RECORDS: std::ops::RangeInclusive<u64> = 2_048..=16_384;
/// Shelves on disk that may break one after the other before memory is used.
const ATTEMPTS_MAX: u32 = 3;

/// Where the shelf's contents come from: the audit up to this head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub head: Head,
    /// Calls seen so far; the next one gets this number.
    pub calls: u64,
}

#[derive(Debug)]
pub(super) struct Engine {
    disk: Disk,
    shelf: Shelf,
    position: Position,
    broken: u32,
}

/// Why a page could not be folded.
enum Stop {
    /// The audit could not be read.
    Audit(StoreError),
    /// The shelf failed, or tells of another history.
    Shelf(Broken),
}

impl Engine {
    pub(super) fn open(root: PathBuf) -> Self {
        let disk = Disk::new(root);
        let mut engine = Self {
            disk,
            shelf: Shelf::memory(),
            position: Position::default(),
            broken: 0,
        };
        match engine.disk.reopen() {
            Ok((shelf, position)) => {
                engine.shelf = shelf;
                engine.position = position;
            }
            Err(Broken(why)) => {
                match engine.disk.is_new() {
                    true => tracing::debug!("there are no views yet"),
                    false => tracing::info!(why, "the views are computed anew"),
                }
                engine.fresh_shelf();
            }
        }
        engine
    }

    pub(super) fn position(&self) -> u64 {
        self.position.head.len
    }

    pub(super) fn on_disk(&self) -> bool {
        self.shelf.on_disk()
    }

    /// Catches up with the audit and asks; as often as it takes to get an
    /// answer from a sound shelf. Memory always is one.
    pub(super) fn answer<T>(
        &mut self,
        store: &dyn Store,
        question: impl Fn(&Shelf) -> Result<T, Broken>,
    ) -> Result<T, StoreError> {
        loop {
            let answer = self
                .catch_up(store)
                .and_then(|()| question(&self.shelf).map_err(Stop::Shelf));
            match answer {
                Ok(answer) => return Ok(answer),
                Err(Stop::Audit(error)) => return Err(error),
                Err(Stop::Shelf(Broken(why))) => {
                    tracing::warn!(why, "the views are thrown away and computed anew");
                    self.broken += 1;
                    self.fresh_shelf();
                }
            }
        }
    }

    /// Throws everything away, and gives sled another chance.
    pub(super) fn start_over(&mut self) {
        self.broken = 0;
        self.fresh_shelf();
    }

    /// Leaves files that the next start can trust; a failure only costs it a
    /// rebuild.
    pub(super) fn close(&mut self) {
        let shelf = std::mem::replace(&mut self.shelf, Shelf::memory());
        if let Err(Broken(why)) = self.disk.close(shelf, self.position) {
            tracing::info!(why, "the views will be computed anew at the next start");
        }
        self.position = Position::default();
    }

    fn fresh_shelf(&mut self) {
        self.position = Position::default();
        // The old one lets go of its files first.
        self.shelf = Shelf::memory();
        if self.broken >= ATTEMPTS_MAX {
            tracing::error!("sled cannot be used: the views are kept in memory");
            return;
        }
        match self.disk.fresh() {
            Ok(shelf) => self.shelf = shelf,
            Err(Broken(why)) => {
                tracing::error!(why, "sled cannot be used: the views are kept in memory");
            }
        }
    }

    fn catch_up(&mut self, store: &dyn Store) -> Result<(), Stop> {
        let head = store.head(STREAM.as_bytes()).map_err(Stop::Audit)?;
        let Head { len, hash } = self.position.head;
        if len > head.len || (len == head.len && hash != head.hash) {
            return Err(another_history());
        }
        while self.position.head.len < head.len {
            let mut fold = Fold::new(&self.shelf, self.position);
            let behind = head.len - self.position.head.len;
            let at_once = (behind / 8).clamp(*FOLD_RECORDS.start(), *FOLD_RECORDS.end());
            let due = head.len.min(self.position.head.len + at_once);
            while fold.position.head.len < due {
                fold_page(&mut fold, store)?;
            }
            let position = fold.position;
            let changes = fold.finish();
            self.shelf.write(changes).map_err(Stop::Shelf)?;
            self.position = position;
        }
        Ok(())
    }
}

/// Folds the next records, after checking that they follow.
fn fold_page(fold: &mut Fold<'_>, store: &dyn Store) -> Result<(), Stop> {
    let at = fold.position.head;
    let records = store
        .read(STREAM.as_bytes(), at.len, PAGE)
        .map_err(Stop::Audit)?;
    let Some(first) = records.first() else {
        return Err(another_history());
    };
    let due: Hash = chain::next(&at.hash, STREAM.as_bytes(), first.seq, &first.payload);
    if due != first.hash {
        return Err(another_history());
    }
    for record in &records {
        // What is not an audit record has no place in a view.
        if let Some(audit) = Line::parse(&record.payload) {
            fold.add(record.seq, &audit).map_err(Stop::Shelf)?;
        }
        fold.position.head = Head {
            len: record.seq + 1,
            hash: record.hash,
        };
    }
    Ok(())
}

fn another_history() -> Stop {
    Stop::Shelf(Broken("they tell of another audit log".to_owned()))
}
