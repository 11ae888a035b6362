//! Every backend against the conformance suite, and what only one of them can
//! show: failures at the seam, ownership, versions and damage of the files.

use std::sync::Arc;

use airlock_journal::conformance::{self, Backend};
use airlock_journal::memory::{Disk, MemoryStore};
use airlock_journal::{SqliteStore, Store};

struct Memory(Disk);

impl Backend for Memory {
    fn open(&self) -> Arc<dyn Store> {
        MemoryStore::on(&self.0)
    }
}

struct Sqlite(tempfile::TempDir);

impl Backend for Sqlite {
    fn open(&self) -> Arc<dyn Store> {
        SqliteStore::open(self.0.path()).expect("opening the store")
    }
}

#[test]
fn memory_conforms() {
    conformance::run(|| Memory(Disk::default()));
}

#[test]
fn sqlite_conforms() {
    conformance::run(|| Sqlite(tempfile::tempdir().expect("a directory")));
}
