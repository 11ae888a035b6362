//! Full text: an index on disk that is committed now and then, and before it the
//! changes that it has not taken yet.
//!
//! What must stay true: index and changes together are what the store holds, at
//! every moment and after every crash; a search reads them together.

pub(crate) mod disk;
mod phrase;
pub(crate) mod query;
pub(crate) mod snippet;
pub(crate) mod tail;
mod top;
pub(crate) mod words;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use airlock_journal::Store;
use tantivy::Searcher;

use crate::draft::{Effect, EffectWhat};
use crate::error::MemoryError;
use crate::rows::{self, DOCS, DocRow, HEAD, HeadRow, LOG, LogRow, LogWhat, META};
use crate::text::words::WordList;
use disk::{Disk, Fields, Home, Payload};
use tail::Tail;

pub(crate) use top::Scope;

/// How often the background thread looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long it rests after a failure.
const REST: Duration = Duration::from_secs(2);
/// Lines of the log that are read at once.
const LOG_PAGE: usize = 512;

/// When the changes in memory are taken to disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushWhen {
    /// So many; with twice as many, writes wait.
    pub(crate) changes: usize,
    /// So many bytes of documents; with twice as many, writes wait.
    pub(crate) bytes: u64,
    /// So old.
    pub(crate) age: Duration,
}

/// What searches read.
struct View {
    searcher: Searcher,
    fields: Fields,
    tail: Tail,
    /// The last change the index on disk has taken.
    taken: u64,
}

/// The full-text index.
pub(crate) struct TextIndex {
    store: Arc<dyn Store>,
    home: Box<dyn Home>,
    when: FlushWhen,
    view: RwLock<View>,
    /// `None` after a failure: it has to be made again.
    disk: Mutex<Option<Disk>>,
}

/// The thread that takes changes to disk.
pub(crate) struct Flusher {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl TextIndex {
    /// Opens the index, or makes it again from the store, and reads what it has not
    /// taken.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        home: Box<dyn Home>,
        when: FlushWhen,
    ) -> Result<Self, MemoryError> {
        let head = head(&*store)?;
        let (disk, taken) = match Disk::open(&*home) {
            Ok((disk, payload)) if follows(&*store, &payload, head)? => (disk, payload.seq),
            Ok(_) => (
                rebuild(&*home, &*store, head, "it is of another store")?,
                head,
            ),
            Err(why) => (rebuild(&*home, &*store, head, &why)?, head),
        };
        let view = View {
            searcher: disk.searcher(),
            fields: disk.fields,
            tail: Tail::after(taken),
            taken,
        };
        let index = Self {
            store,
            home,
            when,
            view: RwLock::new(view),
            disk: Mutex::new(Some(disk)),
        };
        // An index that was made again while changes came may have more than it says.
        index.write().tail.unsure_until(head);
        index.catch_up(taken, head)?;
        Ok(index)
    }

    /// Reads the log from `taken` on.
    fn catch_up(&self, taken: u64, head: u64) -> Result<(), MemoryError> {
        let mut seq = taken;
        while seq < head {
            let from = rows::number_key(seq + 1);
            let page = self.store.range(LOG, &from, None, LOG_PAGE)?;
            if page.is_empty() {
                return Err(rows::damaged(LOG, &from));
            }
            for (key, row) in page {
                seq = rows::number_of(LOG, &key)?;
                let row: LogRow = rows::from_json(LOG, &key, &row)?;
                let effect = self.effect(seq, row)?;
                self.apply(vec![effect]);
            }
            if self.is_over(1) {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// A change as the store has it now.
    fn effect(&self, seq: u64, row: LogRow) -> Result<Effect, MemoryError> {
        let number = row.number;
        let (id, created) = match row.what {
            LogWhat::Created(id) => (id, true),
            LogWhat::Changed(id) | LogWhat::Deleted(id) => (id, false),
            LogWhat::Dropped => {
                let what = EffectWhat::Drop;
                return Ok(Effect { seq, number, what });
            }
        };
        let key = rows::doc_key(number, &id);
        let what = match self.store.get(DOCS, &key)? {
            None => EffectWhat::Delete { id },
            Some(row) => {
                let (row, text) = DocRow::decode(&key, &row)?;
                EffectWhat::Put {
                    id,
                    created,
                    words: Arc::new(WordList::of(text)),
                    row: Arc::new(row),
                    vector: None,
                }
            }
        };
        Ok(Effect { seq, number, what })
    }

    /// Shows durable changes to searches.
    pub(crate) fn apply(&self, effects: Vec<Effect>) {
        let mut view = self.write();
        for effect in effects {
            view.tail.add(effect);
        }
    }

    /// The last change that is durable in the index.
    pub(crate) fn taken(&self) -> u64 {
        self.read().taken
    }

    /// Waits until the changes in memory are few enough for more.
    pub(crate) fn make_room(&self) -> Result<(), MemoryError> {
        if !self.is_over(2) {
            return Ok(());
        }
        self.flush().map_err(|error| {
            tracing::error!(%error, "writes to the memory wait for its index");
            MemoryError::busy(format!("{error}, and too many changes wait for it"))
        })
    }

    fn is_over(&self, times: usize) -> bool {
        let view = self.read();
        let tail = &view.tail;
        tail.len() >= self.when.changes * times || tail.bytes() >= self.when.bytes * times as u64
    }

    fn is_due(&self) -> bool {
        let old = |since: Instant| since.elapsed() >= self.when.age;
        let broken = self.disk.try_lock().is_ok_and(|disk| disk.is_none());
        broken || self.is_over(1) || self.read().tail.since().is_some_and(old)
    }

    /// Takes all changes to disk.
    pub(crate) fn flush(&self) -> Result<(), MemoryError> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let taking = self.read().tail.taking();
        let payload = self.payload(taking.seq)?;
        let Some(open) = disk.as_mut() else {
            return self.start_over(&mut disk, &payload);
        };
        if taking.seq == self.taken() {
            return Ok(());
        }
        if let Err(error) = open.take(&*self.store, &taking, &payload) {
            tracing::warn!(%error, "the full-text index is made again");
            if let Some(broken) = disk.take() {
                broken.close();
            }
            return self.start_over(&mut disk, &payload);
        }
        self.show(open, payload.seq);
        Ok(())
    }

    fn start_over(
        &self,
        disk: &mut MutexGuard<'_, Option<Disk>>,
        payload: &Payload,
    ) -> Result<(), MemoryError> {
        let made = Disk::rebuild(&*self.home, &*self.store, payload)?;
        let until = head(&*self.store)?;
        self.write().tail.unsure_until(until);
        self.show(&made, payload.seq);
        **disk = Some(made);
        Ok(())
    }

    fn show(&self, disk: &Disk, taken: u64) {
        let searcher = disk.searcher();
        let mut view = self.write();
        view.searcher = searcher;
        view.taken = taken;
        view.tail.retain_after(taken);
    }

    fn payload(&self, seq: u64) -> Result<Payload, MemoryError> {
        Ok(disk::payload(
            seq,
            opened_at(&*self.store, seq)?.unwrap_or_default(),
        ))
    }

    /// Lets the files go. The next flush makes them again.
    pub(crate) fn close(&self) {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(disk) = disk.take() {
            disk.close();
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the index from a store that is at the change `head` and stays there.
fn rebuild(home: &dyn Home, store: &dyn Store, head: u64, why: &str) -> Result<Disk, MemoryError> {
    tracing::info!(why, "the full-text index is made again");
    let opened = opened_at(store, head)?.unwrap_or_default();
    Disk::rebuild(home, store, &disk::payload(head, opened))
}

fn head(store: &dyn Store) -> Result<u64, MemoryError> {
    let Some(row) = store.get(META, HEAD)? else {
        return Ok(0);
    };
    let row: HeadRow = rows::from_json(META, HEAD, &row)?;
    Ok(row.seq)
}

/// Which opening made the change `seq`; `None`: the log does not have it.
fn opened_at(store: &dyn Store, seq: u64) -> Result<Option<u64>, MemoryError> {
    let key = rows::number_key(seq);
    let Some(row) = store.get(LOG, &key)? else {
        return Ok(None);
    };
    let row: LogRow = rows::from_json(LOG, &key, &row)?;
    Ok(Some(row.opened))
}

/// Whether the store's log goes on where the index ended.
fn follows(store: &dyn Store, payload: &Payload, head: u64) -> Result<bool, MemoryError> {
    if payload.seq > head {
        return Ok(false);
    }
    if payload.seq == 0 {
        return Ok(head == 0 || opened_at(store, 1)?.is_some());
    }
    Ok(opened_at(store, payload.seq)? == Some(payload.opened))
}

impl Flusher {
    pub(crate) fn spawn(index: &Arc<TextIndex>) -> std::io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (weak, stopped) = (Arc::downgrade(index), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("memory-index".to_owned())
            .spawn(move || follow(&weak, &stopped))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the thread.
    pub(crate) fn stop(&mut self) {
        *self.stop.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the memory's index thread panicked");
        }
    }
}

fn follow(index: &Weak<TextIndex>, stop: &(Mutex<bool>, Condvar)) {
    let mut rest = LOOK_EVERY;
    loop {
        let stopped = stop.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = stop
            .1
            .wait_timeout_while(stopped, rest, |stopped| !*stopped);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
        let Some(index) = index.upgrade() else { return };
        rest = LOOK_EVERY;
        if index.is_due()
            && let Err(error) = index.flush()
        {
            tracing::warn!(%error, "the full-text index could not take changes");
            rest = REST;
        }
    }
}
