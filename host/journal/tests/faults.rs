//! Disks that tear, rot, fill up and fail: a torn tail is cut, a flipped bit in
//! the middle is refused with its place, a full disk or a failed sync poisons
//! the store, and nothing acknowledged is lost by any of them.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use airlock_journal::conformance::wait;
use airlock_journal::{Batch, SqliteStore, Store, StoreError};
use bytes::Bytes;
use tempfile::TempDir;

const COMMITS: usize = 30;
const FRAME_BYTES: usize = 24 + 4096;
const LOG: &str = "journal.db-wal";

fn value(n: usize) -> Bytes {
    vec![u8::try_from(n).expect("small"); 900].into()
}

/// A store whose commits are partly in the database and partly in its log, and
/// the sizes of the log after each commit, as a crash would leave them.
fn crashed() -> (TempDir, Vec<usize>) {
    let dir = tempfile::tempdir().expect("a directory");
    let live = dir.path().join("live");
    let store = SqliteStore::open(&live).expect("the store");
    let log_bytes = || fs::metadata(live.join(LOG)).expect("the log").len() as usize;
    let sizes = (0..COMMITS)
        .map(|n| {
            let batch = Batch::new()
                .put("s", format!("k{n:02}"), value(n))
                .append("log", value(n));
            wait(store.commit(batch)).expect("the commit");
            log_bytes()
        })
        .collect();
    let copy = dir.path().join("crashed");
    fs::create_dir(&copy).expect("the directory");
    for name in ["journal.db", LOG, "journal.used"] {
        fs::copy(live.join(name), copy.join(name)).expect("the copy");
    }
    (dir, sizes)
}

/// How many commits are there, in order and whole.
fn commits(store: &dyn Store) -> Result<usize, StoreError> {
    let pairs = store.range("s", b"", None, usize::MAX)?;
    let log = store.read(b"log", 0, usize::MAX)?;
    assert_eq!(pairs.len(), log.len(), "a commit is there by half");
    for (n, ((key, stored), record)) in pairs.iter().zip(&log).enumerate() {
        assert_eq!(key, format!("k{n:02}").as_bytes());
        assert_eq!((stored, &record.payload), (&value(n), &value(n)));
    }
    Ok(log.len())
}

fn open_and_count(dir: &Path) -> Result<usize, StoreError> {
    let store = SqliteStore::open(dir)?;
    let count = commits(&*store)?;
    store.check()?;
    wait(store.commit(Batch::new().put("t", "goes on", "x")))?;
    Ok(count)
}

#[test]
fn a_torn_tail_is_cut() {
    let (dir, sizes) = crashed();
    let dir = dir.path().join("crashed");
    let log = fs::read(dir.join(LOG)).expect("the log");
    let database = fs::read(dir.join("journal.db")).expect("the database");
    let before_last = sizes[COMMITS - 2];
    assert_eq!(sizes[COMMITS - 1], log.len());
    type Tear = fn(&mut Vec<u8>, usize);
    let tears: [(&str, Tear, usize); 7] = [
        ("whole", |_, _| {}, COMMITS),
        (
            "one byte short",
            |log, _| log.truncate(log.len() - 1),
            COMMITS - 1,
        ),
        (
            "half the last frame",
            |log, _| log.truncate(log.len() - FRAME_BYTES / 2),
            COMMITS - 1,
        ),
        (
            "only the last commit's first bytes",
            |log, last| log.truncate(last + 9),
            COMMITS - 1,
        ),
        (
            "without the last commit",
            |log, last| log.truncate(last),
            COMMITS - 1,
        ),
        (
            "a bit of the last commit wrong",
            |log, last| log[last + 500] ^= 4,
            COMMITS - 1,
        ),
        (
            "the last commit zeros",
            |log, last| log[last..].fill(0),
            COMMITS - 1,
        ),
    ];
    for (what, tear, left) in tears {
        let mut torn = log.clone();
        tear(&mut torn, before_last);
        fs::write(dir.join(LOG), torn).expect("the write");
        fs::write(dir.join("journal.db"), &database).expect("the write");
        let count = open_and_count(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(count, left, "{what}");
    }
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_refused_with_its_place() {
    let (dir, sizes) = crashed();
    let dir = dir.path().join("crashed");
    let log = fs::read(dir.join(LOG)).expect("the log");
    let frames = (sizes[COMMITS - 2] - 32) / FRAME_BYTES;
    assert!(frames > 20, "enough of a middle");
    for frame in 0..frames {
        // In the page, its checksum, or the salts, in turn.
        let inner = [24 + frame * 37 % 4096, 16, 8][frame % 3];
        let offset = 32 + frame * FRAME_BYTES;
        let mut flipped = log.clone();
        flipped[offset + inner] ^= 1 << (frame % 8);
        fs::write(dir.join(LOG), &flipped).expect("the write");
        let error = open_and_count(&dir).expect_err("a bit is wrong");
        let place = format!("frame {frame} at byte {offset}");
        assert!(error.to_string().contains(&place), "{place}: {error}");
        assert_eq!(
            fs::read(dir.join(LOG)).expect("the log"),
            flipped,
            "refusing changes nothing"
        );
    }
    let mut flipped = log.clone();
    flipped[17] ^= 1;
    fs::write(dir.join(LOG), flipped).expect("the write");
    let error = open_and_count(&dir).expect_err("the header is wrong");
    assert!(error.to_string().contains("header"), "{error}");
    fs::write(dir.join(LOG), log).expect("the write");
    assert_eq!(
        open_and_count(&dir).expect("the log is whole again"),
        COMMITS
    );
}

#[test]
fn a_flipped_bit_in_the_database_is_refused_or_changes_nothing() {
    let (dir, _) = crashed();
    let dir = dir.path().join("crashed");
    assert_eq!(open_and_count(&dir).expect("it is whole"), COMMITS);
    let path = dir.join("journal.db");
    let whole = fs::read(&path).expect("the database");
    let mut refused = 0;
    let places: Vec<usize> = (0..whole.len()).step_by(211).collect();
    for at in &places {
        let mut flipped = whole.clone();
        flipped[*at] ^= 1 << (at % 8);
        fs::write(&path, flipped).expect("the write");
        match open_and_count(&dir) {
            Ok(count) => assert_eq!(count, COMMITS, "byte {at}: commits are missing in silence"),
            Err(StoreError::Corrupt { place }) => {
                assert!(!place.is_empty());
                refused += 1;
            }
            Err(StoreError::Version { .. }) => refused += 1,
            Err(error) => panic!("byte {at}: {error:?}"),
        }
        fs::write(&path, &whole).expect("the write");
        fs::write(dir.join(LOG), "").expect("the write");
    }
    assert!(
        refused > places.len() / 3,
        "only {refused} of {} were noticed",
        places.len()
    );
}

#[test]
fn a_damaged_record_or_value_is_named_when_it_is_read() {
    let (dir, _) = crashed();
    let dir = dir.path().join("crashed");
    drop(SqliteStore::open(&dir).expect("the store"));
    let path = dir.join("journal.db");
    let whole = fs::read(&path).expect("the database");
    let at = |n: usize, nth: usize| {
        let needle = value(n);
        let found = whole
            .windows(needle.len())
            .enumerate()
            .filter(|(_, part)| *part == needle);
        found
            .map(|(at, _)| at)
            .nth(nth)
            .expect("it is stored twice")
    };
    let mut named = 0;
    for nth in [0, 1] {
        let mut flipped = whole.clone();
        flipped[at(17, nth) + 450] ^= 1;
        fs::write(&path, flipped).expect("the write");
        let store = SqliteStore::open(&dir).expect("the structure is sound");
        let pair = store.get("s", b"k17").map_err(|error| error.to_string());
        let record = store
            .read(b"log", 0, 100)
            .map_err(|error| error.to_string());
        match (pair, record) {
            (Err(error), Ok(_)) => assert!(error.contains("s/\"k17\""), "{error}"),
            (Ok(_), Err(error)) => assert!(error.contains("record 17"), "{error}"),
            other => panic!("exactly one is damaged: {other:?}"),
        }
        named += 1;
        store.get("s", b"k16").expect("others are readable");
    }
    assert_eq!(named, 2);
}

/// Runs the writer in a way that must make it fail, and checks what it left.
fn must_fail(command: &mut Command, data: &Path, cause: &str) -> u64 {
    let output = command.output().expect("the writer");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{complaint}");
    assert!(complaint.contains(cause), "{complaint}");
    assert!(!complaint.contains("visible"), "{complaint}");
    let acked = support::last_ack(&output.stdout).unwrap_or(0);
    let examples = support::examples();
    support::check(&examples, data, acked, 1).unwrap_or_else(|what| panic!("{acked}: {what}"));
    acked
}

#[test]
fn a_full_disk_poisons_and_loses_nothing() {
    let examples = support::examples();
    // Files may not grow beyond this many blocks of 512 bytes.
    for blocks in [400, 900] {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(examples.join("crash_writer"))
            .arg(&data)
            .arg("100000");
        let acked = must_fail(&mut command, &data, "poisoned");
        assert!(acked > 5, "{acked}");
    }
}

#[test]
fn a_failed_sync_or_write_poisons_and_loses_nothing() {
    let traceable = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !traceable.is_ok_and(|status| status.success()) {
        println!("SKIPPED: strace is not installed or may not trace");
        return;
    }
    let examples = support::examples();
    let cases = [
        ("fsync,fdatasync", "EIO", 60),
        ("fsync,fdatasync", "ENOSPC", 90),
        ("pwrite64", "EIO", 400),
        ("pwrite64", "ENOSPC", 555),
    ];
    for (calls, error, when) in cases {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let mut command = Command::new("strace");
        command
            .args(["-f", "-o", "/dev/null", "-P"])
            .arg(data.join(LOG))
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:error={error}:when={when}")])
            .arg(examples.join("crash_writer"))
            .arg(&data)
            .arg("100000");
        let acked = must_fail(&mut command, &data, "poisoned");
        assert!(acked > 5, "{calls} {error}: {acked}");
    }
}

#[test]
fn readers_of_a_poisoned_store_still_see_what_is_durable() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path()).expect("the store");
    let store: Arc<dyn Store> = store;
    wait(store.commit(Batch::new().put("s", "k", "v"))).expect("the commit");
    // Somebody holds the write lock for longer than the writer waits.
    let other = rusqlite::Connection::open(dir.path().join("journal.db")).expect("the database");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let error = wait(store.commit(Batch::new().put("s", "k", "w"))).expect_err("it cannot write");
    assert!(matches!(error, StoreError::Poisoned { .. }), "{error:?}");
    drop(other);
    assert_eq!(
        store.get("s", b"k").expect("the read").expect("the value"),
        "v"
    );
    let error = wait(store.commit(Batch::new())).expect_err("it stays poisoned");
    assert!(matches!(error, StoreError::Poisoned { .. }), "{error:?}");
}
