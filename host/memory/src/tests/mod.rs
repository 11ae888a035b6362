//! Tests of the memory as a whole, on a store in memory whose disk outlives it.

mod bounds;
mod crash;
mod damage;
mod faulty;
mod home;
mod model;
mod namespaces;
mod reads;
mod refused;
mod search;
mod slow;
mod writer;
mod writes;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use airlock_journal::memory::Disk;
use airlock_journal::{MemoryStore, Store};
use tempfile::TempDir;

use crate::wait::wait;
use crate::{
    Change, Clock, Expect, Hit, Memory, MemoryError, Namespace, NewDocument, Options, Provenance,
    Quota, Search,
};

/// A clock that stands still until it is told.
#[derive(Debug, Default)]
pub(super) struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A memory, and what outlives it.
pub(super) struct World {
    pub(super) disk: Disk,
    pub(super) dir: TempDir,
    pub(super) clock: Arc<TestClock>,
    pub(super) store: Arc<MemoryStore>,
    pub(super) memory: Memory,
}

/// No thread of its own: what happens is what the test does.
pub(super) fn options() -> Options {
    Options {
        background: false,
        ..Options::default()
    }
}

pub(super) fn namespace(text: &str) -> Namespace {
    Namespace::parse(text).expect("a namespace")
}

pub(super) fn author() -> Provenance {
    Provenance {
        by: "somebody".to_owned(),
        run: Some("run_1".to_owned()),
        plugin: Some("react".to_owned()),
        ..Provenance::default()
    }
}

pub(super) fn document(id: &str, text: &str) -> NewDocument {
    NewDocument {
        id: id.to_owned(),
        text: text.to_owned(),
        ..NewDocument::default()
    }
}

/// The error as a caller sees it.
pub(super) fn told<T: std::fmt::Debug>(result: Result<T, MemoryError>) -> String {
    let error = result.expect_err("it is refused");
    format!("{}: {error}", error.code())
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(options())
    }

    pub(super) fn with(options: Options) -> Self {
        let (disk, clock) = (Disk::default(), Arc::new(TestClock::default()));
        clock.0.store(1_000_000, Ordering::SeqCst);
        let dir = tempfile::tempdir().expect("a directory");
        let store = MemoryStore::on(&disk);
        let memory = open(&store, &dir, &clock, options).expect("the memory");
        Self {
            disk,
            dir,
            clock,
            store,
            memory,
        }
    }

    /// Ends this memory without a word to it, and opens what is left.
    pub(super) fn reopen(self) -> Self {
        self.reopen_with(options())
    }

    pub(super) fn reopen_with(self, options: Options) -> Self {
        self.reopen_as(options, |_| {})
    }

    /// Does something to the index's folder between the two.
    pub(super) fn reopen_after(self, between: impl FnOnce(&Path)) -> Self {
        self.reopen_as(options(), between)
    }

    fn reopen_as(self, options: Options, between: impl FnOnce(&Path)) -> Self {
        let Self {
            disk,
            dir,
            clock,
            memory,
            ..
        } = self;
        drop(memory);
        between(&dir.path().join("fulltext"));
        let store = MemoryStore::on(&disk);
        let memory = open(&store, &dir, &clock, options).expect("the memory");
        Self {
            disk,
            dir,
            clock,
            store,
            memory,
        }
    }

    /// Ends this memory, and takes the one that `open` gives.
    pub(super) fn reopen_through(
        mut self,
        open: impl FnOnce(&Self) -> Result<Memory, MemoryError>,
    ) -> Self {
        // The folder has one owner at a time.
        let elsewhere = tempfile::tempdir().expect("a directory");
        let store: Arc<dyn Store> = MemoryStore::new();
        let clock = Arc::<TestClock>::clone(&self.clock);
        let other = Memory::open(store, elsewhere.path(), clock, options()).expect("a memory");
        drop(std::mem::replace(&mut self.memory, other));
        self.memory = open(&self).expect("the memory");
        self
    }

    pub(super) fn advance(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    pub(super) fn try_put(
        &self,
        space: &str,
        document: NewDocument,
        expect: Expect,
    ) -> Result<u64, MemoryError> {
        let (space, quota) = (namespace(space), Quota::default());
        wait(self.memory.put(&space, document, expect, &author(), quota))
    }

    pub(super) fn put(&self, space: &str, document: NewDocument) -> u64 {
        self.try_put(space, document, Expect::Any)
            .expect("it is written")
    }

    pub(super) fn write(
        &self,
        space: &str,
        changes: Vec<Change>,
        quota: Quota,
    ) -> Result<(), MemoryError> {
        let written = wait(
            self.memory
                .write(&namespace(space), changes, &author(), quota),
        );
        written.map(drop)
    }

    pub(super) fn delete(&self, space: &str, id: &str) -> bool {
        let deleted = self
            .memory
            .delete(&namespace(space), id, Expect::Any, &author());
        wait(deleted).expect("it is deleted")
    }

    pub(super) fn drop_namespace(&self, space: &str) -> bool {
        wait(self.memory.delete_namespace(&namespace(space))).expect("it is deleted")
    }

    /// Removes all that is over.
    pub(super) fn sweep(&self) {
        while wait(self.memory.sweep()).expect("it is swept").more {}
    }

    pub(super) fn ids(&self, space: &str) -> Vec<String> {
        let page = self
            .memory
            .list(&namespace(space), "", None, 1000)
            .expect("a list");
        page.entries.into_iter().map(|entry| entry.id).collect()
    }

    pub(super) fn search(&self, search: Search) -> Vec<Hit> {
        self.memory.search(&search).expect("an answer")
    }

    /// `namespace:id` of what is found, the best first.
    pub(super) fn find(&self, search: Search) -> Vec<String> {
        let hits = self.search(search).into_iter();
        hits.map(|hit| format!("{}:{}", hit.entry.namespace, hit.entry.id))
            .collect()
    }

    /// Rows of the memory in the store, by space.
    pub(super) fn rows(&self, space: &str) -> usize {
        self.store
            .keys(space, b"", None, usize::MAX)
            .expect("the keys")
            .len()
    }
}

pub(super) fn text_search(spaces: &[&str], text: &str) -> Search {
    Search {
        namespaces: spaces.iter().map(|space| namespace(space)).collect(),
        text: Some(text.to_owned()),
        limit: 100,
        ..Search::default()
    }
}

fn open(
    store: &Arc<MemoryStore>,
    dir: &TempDir,
    clock: &Arc<TestClock>,
    options: Options,
) -> Result<Memory, MemoryError> {
    let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(store);
    Memory::open(store, dir.path(), Arc::<TestClock>::clone(clock), options)
}
