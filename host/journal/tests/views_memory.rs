//! The views over an audit that grows hold a bounded list, so they take bounded
//! memory and files, however many calls there were.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use airlock_journal::audit::{Audit, AuditRecord};
use airlock_journal::conformance::wait;
use airlock_journal::views::{CALLS_MAX, Views};
use airlock_journal::{Batch, SqliteStore, Store};
use serde_json::json;

/// The list is full after the first of these.
const ROUNDS: u64 = 5;
const ROUND: u64 = 3 * CALLS_MAX;
const COMMIT: u64 = 1_000;
/// From the second round to the last. Written in batches, they grew by 160 MiB.
const GROWTH_MAX_KIB: u64 = 48 << 10;
/// Written in batches, the files had 48 MiB.
const FILES_MAX_KIB: u64 = 24 << 10;

fn record(n: u64) -> AuditRecord {
    AuditRecord::now("tester", "call.done", "plugin/tool")
        .outcome("ok")
        .detail(json!({
            "call_id": format!("call-{n}"), "plugin": "plugin", "tool": "tool",
            "outcome": "ok", "wall_us": n, "cpu_us": n, "peak_memory_bytes": n,
            "usage": [], "denials": [],
        }))
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse().ok())
        .expect("RssAnon")
}

fn kib(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => kib(&path),
                false => fs::metadata(&path).expect("a file").len() >> 10,
            }
        })
        .sum()
}

#[test]
fn views_of_a_long_audit_take_bounded_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = SqliteStore::open(dir.path().join("journal")).expect("a store");
    let at = dir.path().join("views");
    let views = Views::open(&at, Arc::clone(&store));
    let mut resident = Vec::new();
    for round in 0..ROUNDS {
        for commit in 0..ROUND / COMMIT {
            let first = round * ROUND + commit * COMMIT;
            let ops = (first..first + COMMIT).map(|n| Audit::op(&record(n)));
            wait(store.commit(ops.fold(Batch::new(), Batch::op))).expect("a commit");
        }
        views.catch_up().expect("the views");
        resident.push(resident_kib());
    }
    assert!(views.on_disk());
    let last = resident.last().expect("a round");
    let grown = last.saturating_sub(resident[1]);
    assert!(grown < GROWTH_MAX_KIB, "KiB after each round: {resident:?}");
    let files = kib(&at);
    assert!(files < FILES_MAX_KIB, "{files} KiB of files");
}
