//! Every backend against the conformance suite, and what only one of them can
//! show: failures at the seam, ownership, versions and damage of the files.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use airlock_journal::conformance::{self, Backend, wait};
use airlock_journal::memory::{Disk, Fault, MemoryStore};
use airlock_journal::sqlite::{DATABASE_FILE, check_backup, restore};
use airlock_journal::{Batch, SqliteStore, Store, StoreError};
use bytes::Bytes;

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

fn value(store: &dyn Store, key: &str) -> Option<Bytes> {
    store.get("s", key.as_bytes()).expect("the read")
}

fn put(store: &dyn Store, key: &str, value: impl Into<Bytes>) -> Result<(), StoreError> {
    let batch = Batch::new()
        .put("s", key.to_owned(), value)
        .append("log", key.to_owned());
    wait(store.commit(batch)).map(drop)
}

fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// After the failure nothing is acknowledged, what was acknowledged is readable,
/// and a new store on the same disk goes on.
fn assert_poisoned(store: &dyn Store, acknowledged: &[&str]) {
    for _ in 0..2 {
        let error = put(store, "later", "x").expect_err("poisoned");
        assert!(matches!(error, StoreError::Poisoned { .. }), "{error:?}");
        let error = wait(store.lease(b"l", "me", 0, 1)).expect_err("poisoned");
        assert!(matches!(error, StoreError::Poisoned { .. }), "{error:?}");
    }
    assert!(store.health().is_err());
    for key in acknowledged {
        assert!(value(store, key).is_some(), "{key} was acknowledged");
    }
    assert_eq!(value(store, "later"), None);
}

#[test]
fn injected_failures_poison_the_memory_store() {
    let cases = [
        (Fault::Write { n: 2 }, "writing", false),
        (Fault::Sync { n: 2 }, "syncing", true),
        (Fault::Full { bytes: 10 }, "no space left", false),
    ];
    for (fault, cause, may_be_there) in cases {
        let disk = Disk::default();
        let store = MemoryStore::on(&disk);
        store.inject(fault);
        put(&*store, "a", "1").expect("the first");
        put(&*store, "b", "2").expect("the second");
        let error = put(&*store, "c", "three-three").expect_err("the third");
        assert!(message(&error).contains(cause), "{error}");
        assert_poisoned(&*store, &["a", "b"]);
        let again = MemoryStore::on(&disk);
        assert_eq!(value(&*again, "c").is_some(), may_be_there, "{fault:?}");
        put(&*again, "d", "4").expect("a new store goes on");
    }
}

#[test]
fn a_conflict_says_what_was_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let memory = MemoryStore::new();
    let sqlite = SqliteStore::open(dir.path()).expect("the store");
    for store in [Arc::clone(&memory) as Arc<dyn Store>, sqlite] {
        put(&*store, "k", "v").expect("the commit");
        for (key, expect, found) in [
            ("k", None, "s/\"k\" exists"),
            ("l", Some("v".into()), "s/\"l\" is absent"),
            ("k", Some("w".into()), "s/\"k\" holds another value"),
        ] {
            let batch = Batch::new().check("s", key, expect);
            let error = wait(store.commit(batch)).expect_err(found);
            let StoreError::Conflict { what } = error else {
                panic!("{error:?}");
            };
            assert_eq!(what, found);
        }
    }
    put(&*memory, "l", "v").expect("the commit");
    assert_eq!(memory.commits(), 2, "those that were refused are none");
}

/// A record where none may be is damage, whatever else fails is not.
#[test]
fn a_record_beyond_the_end_is_not_written_over() {
    for (sql, is_damage) in [
        (
            "INSERT INTO records VALUES (CAST('log' AS BLOB), 1, x'00', zeroblob(32))",
            true,
        ),
        ("DROP TABLE records", false),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(dir.path()).expect("the store");
        put(&*store, "a", "1").expect("the first");
        let other = rusqlite::Connection::open(dir.path().join(DATABASE_FILE));
        other
            .expect("the database")
            .execute(sql, ())
            .expect("the change");
        let error = put(&*store, "b", "2").expect_err(sql);
        let damage = "record 1 is beyond the stream's end";
        let told = message(&error);
        assert_eq!(told.contains(damage), is_damage, "{sql}: {told}");
        assert_eq!(value(&*store, "b"), None);
        // Damage stops what meets it; what nobody understands stops everything.
        assert_eq!(store.health().is_ok(), is_damage, "{sql}");
    }
}

/// The log is copied into the database now and then, so that it begins anew.
#[test]
fn the_log_does_not_grow_for_as_long_as_commits_come() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path()).expect("the store");
    for n in 0..100 {
        put(&*store, "k", vec![n; 1 << 20]).expect("the commit");
    }
    let log = dir.path().join(format!("{DATABASE_FILE}-wal"));
    let bytes = log.metadata().expect("the log").len();
    assert!(bytes < 80 << 20, "{bytes} bytes after 100 MiB");
}

#[test]
fn one_process_owns_a_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path()).expect("the store");
    let error = SqliteStore::open(dir.path()).expect_err("it is in use");
    assert!(
        matches!(error, StoreError::InUse { pid } if pid == Some(std::process::id())),
        "{error:?}"
    );
    drop(store);
    SqliteStore::open(dir.path()).expect("it is free again");
    // An owner that has not written its number down is no process 0.
    let lock = std::fs::File::create(dir.path().join("lock")).expect("the lock");
    lock.try_lock().expect("nobody has it");
    let error = SqliteStore::open(dir.path()).expect_err("it is in use");
    assert_eq!(
        error.to_string(),
        "the data directory is in use by another process"
    );
}

#[test]
fn only_its_owner_can_read_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("a/data");
    let store = SqliteStore::open(&data).expect("the store");
    put(&*store, "k", "v").expect("the commit");
    let mode = |path: &Path| path.metadata().expect("the file").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    let files: Vec<_> = std::fs::read_dir(&data).expect("the directory").collect();
    assert!(files.len() >= 4, "database, log, index and lock: {files:?}");
    for file in files {
        let path = file.expect("the entry").path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn what_is_not_ours_or_newer_is_refused() {
    let cases = [
        (
            "PRAGMA user_version = 99",
            "schema version 99, this build knows up to 1",
        ),
        ("PRAGMA application_id = 7", "not an Airlock database"),
    ];
    for (sql, expected) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        drop(SqliteStore::open(dir.path()).expect("the store"));
        let conn = rusqlite::Connection::open(dir.path().join(DATABASE_FILE)).expect("the file");
        conn.execute_batch(sql).expect("the change");
        drop(conn);
        let error = SqliteStore::open(dir.path()).expect_err(sql);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_lost_or_emptied_database_is_not_taken_for_a_new_one() {
    let changes: [fn(&Path); 3] = [
        |file| std::fs::remove_file(file).expect("the removal"),
        |file| std::fs::write(file, "").expect("the write"),
        |file| {
            std::fs::write(file, "garbage, and enough of it to be read as a page")
                .expect("the write")
        },
    ];
    for change in changes {
        let dir = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(dir.path()).expect("the store");
        put(&*store, "k", "v").expect("the commit");
        drop(store);
        change(&dir.path().join(DATABASE_FILE));
        let error = SqliteStore::open(dir.path()).expect_err("it is gone");
        assert!(message(&error).contains("database"), "{error:?}");
    }
}

#[test]
fn a_backup_taken_under_load_restores_to_a_whole_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path().join("data")).expect("the store");
    let copy = dir.path().join("backup.db");
    for n in 0..50 {
        put(&*store, &format!("before{n}"), vec![n; 2000]).expect("the commit");
    }
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..200 {
                put(&*store, &format!("during{n}"), vec![7; 2000]).expect("the commit");
            }
        });
        store.backup(&copy).expect("the backup");
        writer.join().expect("the writer");
    });
    assert!(
        store.backup(&copy).is_err(),
        "an existing file is not overwritten"
    );
    store.check().expect("the store is whole");
    check_backup(&copy).expect("the backup is whole");
    let restored = dir.path().join("restored");
    restore(&copy, &restored).expect("the restore");
    assert!(
        restore(&copy, &restored).is_err(),
        "a database is not overwritten"
    );
    let again = SqliteStore::open(&restored).expect("the restored store");
    let log = again.read(b"log", 0, usize::MAX).expect("the log");
    assert!(log.len() >= 50);
    for record in &log {
        let key = std::str::from_utf8(&record.payload).expect("a key");
        assert!(
            value(&*again, key).is_some(),
            "{key}: record and pair were one batch"
        );
    }
    put(&*again, "after", "x").expect("the restored store goes on");
}

#[test]
fn a_damaged_backup_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path().join("data")).expect("the store");
    for n in 0..50 {
        put(&*store, &format!("k{n}"), vec![n; 2000]).expect("the commit");
    }
    let copy = dir.path().join("backup.db");
    store.backup(&copy).expect("the backup");
    let whole = std::fs::read(&copy).expect("the file");
    let at = whole
        .windows(100)
        .position(|part| part == [9; 100])
        .expect("a value");
    let mut flipped = whole.clone();
    flipped[at + 50] ^= 1;
    for bad in [&flipped[..], &whole[..whole.len() / 2], b""] {
        std::fs::write(&copy, bad).expect("the write");
        let error = check_backup(&copy).expect_err("it is damaged");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
        restore(&copy, dir.path().join("restored")).expect_err("it is damaged");
    }
}

/// What was queued is written, also where nobody waits for it: however much there is,
/// and whether its future was ever looked at.
#[test]
fn a_commit_is_queued_by_its_call() {
    const COMMITS: u64 = 10_000;
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path()).expect("opening the store");
    let queued: Vec<_> = (0..COMMITS)
        .map(|n| store.commit(Batch::new().append("log", n.to_be_bytes().to_vec())))
        .collect();
    drop(queued);
    put(&*store, "last", "x").expect("the commit");
    let head = store.head(b"log").expect("the head");
    assert_eq!(head.len, COMMITS + 1);
}
