//! Views answer the same whatever happened to their files: each way to damage
//! them, against answers computed here from what was recorded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use airlock_journal::audit::{Audit, AuditRecord};
use airlock_journal::conformance::wait;
use airlock_journal::decorator::Decorator;
use airlock_journal::views::{CALLS_MAX, CallEntry, GrantUsage, ToolStats, Views};
use airlock_journal::{Batch, MemoryStore, Record, Store, StoreError};
use serde_json::{Value, json};
use tempfile::TempDir;

const PLUGINS: [&str; 3] = ["fetch", "table", "x\0y"];
const OUTCOMES: [&str; 3] = ["ok", "denied", "limit"];

/// Everything that can be asked.
#[derive(Debug, PartialEq)]
struct Answers {
    usage: Vec<GrantUsage>,
    stats: Vec<ToolStats>,
    calls: Vec<CallEntry>,
}

fn record(n: u64) -> AuditRecord {
    let plugin = PLUGINS[n as usize % 3];
    let tool = format!("tool{}", n % 2);
    let mut record = AuditRecord::now("tester", "call.done", format!("{plugin}/{tool}"))
        .outcome(OUTCOMES[n as usize % 7 % 3]);
    record.at_ms = 1_000 + n;
    record.detail(json!({
        "call_id": format!("call-{n}"), "plugin": plugin, "tool": tool,
        "outcome": record_outcome(n), "wall_us": 10 + n, "cpu_us": n, "peak_memory_bytes": n % 100,
        "usage": [
            { "capability": "kv", "rule": 0, "allowed": 2, "denied": 0, "bytes_in": n, "bytes_out": 1 },
            { "capability": "http", "rule": null, "allowed": 0, "denied": n % 2, "bytes_in": 0, "bytes_out": 0 },
        ],
        "denials": [],
    }))
}

fn record_outcome(n: u64) -> &'static str {
    OUTCOMES[n as usize % 7 % 3]
}

/// Records as they come: calls, and others in between that count nowhere.
fn write(store: &dyn Store, calls: std::ops::Range<u64>) {
    let other =
        AuditRecord::now("tester", "denied", "fetch").detail(json!({ "capability": "http" }));
    let odd =
        AuditRecord::now("tester", "grant.change", "fetch").detail(json!(["not", "an", "object"]));
    let batch = calls.fold(Batch::new(), |batch, n| {
        let batch = batch.op(Audit::op(&record(n)));
        match n % 5 {
            0 => batch.op(Audit::op(&other)).append("audit", "not JSON"),
            1 => batch.op(Audit::op(&odd)),
            _ => batch,
        }
    });
    wait(store.commit(batch)).expect("the records");
}

/// The answers, computed the plain way.
fn expected(calls: u64) -> Answers {
    let mut usage: BTreeMap<(String, String), GrantUsage> = BTreeMap::new();
    let mut stats: BTreeMap<(String, String), ToolStats> = BTreeMap::new();
    for n in 0..calls {
        let (plugin, tool) = (PLUGINS[n as usize % 3].to_owned(), format!("tool{}", n % 2));
        for (capability, rule, allowed, denied, bytes_in, bytes_out) in
            [("kv", "0", 2, 0, n, 1), ("http", "", 0, n % 2, 0, 0)]
        {
            let entry = usage
                .entry((plugin.clone(), capability.to_owned()))
                .or_default();
            entry.plugin.clone_from(&plugin);
            (entry.capability, entry.rule) = (capability.to_owned(), rule.to_owned());
            entry.allowed += allowed;
            entry.denied += denied;
            entry.bytes_in += bytes_in;
            entry.bytes_out += bytes_out;
            entry.last_ms = 1_000 + n;
        }
        let entry = stats.entry((plugin.clone(), tool.clone())).or_default();
        (entry.plugin, entry.tool) = (plugin, tool);
        entry.calls += 1;
        entry.failed += u64::from(record_outcome(n) != "ok");
        *entry
            .outcomes
            .entry(record_outcome(n).to_owned())
            .or_default() += 1;
        entry.wall_us += 10 + n;
        entry.cpu_us += n;
        entry.peak_memory_bytes = entry.peak_memory_bytes.max(n % 100);
        entry.last_ms = 1_000 + n;
    }
    Answers {
        usage: usage.into_values().collect(),
        stats: stats.into_values().collect(),
        calls: Vec::new(),
    }
}

fn ask(views: &Views) -> Answers {
    Answers {
        usage: views.usage(None).expect("the usage"),
        stats: views.stats().expect("the stats"),
        calls: views.calls(None, usize::MAX).expect("the calls"),
    }
}

fn assert_answers(views: &Views, calls: u64, context: &str) {
    let found = ask(views);
    let due = expected(calls);
    assert_eq!(found.usage, due.usage, "{context}");
    assert_eq!(found.stats, due.stats, "{context}");
    let numbers: Vec<u64> = found.calls.iter().map(|call| call.number).collect();
    let kept = calls.saturating_sub(CALLS_MAX)..calls;
    assert_eq!(numbers, kept.rev().collect::<Vec<_>>(), "{context}");
    for call in &found.calls {
        let n = call.number;
        assert_eq!(call.call_id, format!("call-{n}"), "{context}");
        assert_eq!((call.at_ms, call.wall_us), (1_000 + n, 10 + n), "{context}");
        assert_eq!(call.outcome, record_outcome(n), "{context}");
    }
}

struct Lab {
    dir: TempDir,
    store: Arc<dyn Store>,
}

fn lab(calls: u64) -> Lab {
    let store: Arc<dyn Store> = MemoryStore::new();
    write(&*store, 0..calls);
    let dir = tempfile::tempdir().expect("a directory");
    Lab { dir, store }
}

impl Lab {
    fn root(&self) -> PathBuf {
        self.dir.path().join("views")
    }

    fn open(&self) -> Views {
        Views::open(self.root(), Arc::clone(&self.store))
    }
}

/// All files under a directory, sorted.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the directory") {
        let path = entry.expect("the entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

type FileDamage = fn(&Path);

const FILE_DAMAGES: &[(&str, FileDamage)] = &[
    ("truncated to nothing", |path| {
        fs::write(path, "").expect("the write")
    }),
    ("cut in half", |path| {
        let bytes = fs::read(path).expect("the file");
        fs::write(path, &bytes[..bytes.len() / 2]).expect("the write");
    }),
    ("one byte flipped near the start", |path| flip(path, 1)),
    ("one byte flipped in the middle", |path| flip(path, 2)),
    ("one byte flipped near the end", |path| flip(path, 3)),
    ("a byte appended", |path| {
        let mut bytes = fs::read(path).expect("the file");
        bytes.push(7);
        fs::write(path, bytes).expect("the write");
    }),
    ("overwritten with 0xff", |path| {
        let len = fs::read(path).expect("the file").len();
        fs::write(path, vec![0xff; len]).expect("the write");
    }),
    ("removed", |path| {
        fs::remove_file(path).expect("the removal")
    }),
    ("a directory", |path| {
        fs::remove_file(path).expect("the removal");
        fs::create_dir(path).expect("the directory");
    }),
    ("a dangling link", |path| {
        fs::remove_file(path).expect("the removal");
        std::os::unix::fs::symlink("/nonexistent", path).expect("the link");
    }),
];

fn flip(path: &Path, quarter: usize) {
    let mut bytes = fs::read(path).expect("the file");
    let at = (bytes.len() * quarter / 4).min(bytes.len().saturating_sub(1));
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x10;
    }
    fs::write(path, bytes).expect("the write");
}

#[test]
fn answers_are_those_of_the_audit() {
    let lab = lab(100);
    let views = lab.open();
    assert!(views.on_disk());
    assert_answers(&views, 100, "at first");
    write(&*lab.store, 100..130);
    assert_answers(&views, 130, "after more calls");
    let fetch = views.usage(Some("fetch")).expect("the usage");
    assert!(!fetch.is_empty() && fetch.iter().all(|usage| usage.plugin == "fetch"));
    let page = views.calls(Some(50), 3).expect("the calls");
    assert_eq!(
        page.iter().map(|call| call.number).collect::<Vec<_>>(),
        [49, 48, 47]
    );
    assert_eq!(views.calls(Some(0), 3).expect("the calls"), []);
    assert_eq!(
        views.rebuild().expect("the rebuild"),
        lab.store.head(b"audit").expect("a head").len
    );
    assert_answers(&views, 130, "after a rebuild");
}

/// Notes where reading began.
struct Watched {
    inner: Arc<dyn Store>,
    first_read: AtomicU64,
}

impl Decorator for Watched {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }
    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.first_read.fetch_min(from, Ordering::Relaxed);
        self.inner.read(stream, from, limit)
    }
}

#[test]
fn a_clean_close_is_reopened_and_not_computed_anew() {
    let lab = lab(100);
    let first = lab.open();
    assert_answers(&first, 100, "at first");
    drop(first);
    for round in 0..3 {
        let seen = lab.store.head(b"audit").expect("the head").len;
        let watched = Arc::new(Watched {
            inner: Arc::clone(&lab.store),
            first_read: AtomicU64::new(u64::MAX),
        });
        let views = Views::open(lab.root(), Arc::clone(&watched) as Arc<dyn Store>);
        write(&*lab.store, 100 + round * 10..110 + round * 10);
        assert_answers(&views, 110 + round * 10, "after a reopen");
        assert_eq!(
            watched.first_read.load(Ordering::Relaxed),
            seen,
            "round {round}"
        );
    }
}

#[test]
fn any_damage_to_any_file_changes_no_answer() {
    let lab = lab(60);
    drop(lab.open());
    let count = files(&lab.root()).len();
    assert!(count >= 3, "manifest, conf and db at least");
    for (what, damage) in FILE_DAMAGES {
        for at in 0..count {
            drop(lab.open());
            let Some(path) = files(&lab.root()).into_iter().nth(at) else {
                continue;
            };
            damage(&path);
            let views = lab.open();
            let context = format!("{} {what}", path.display());
            assert_answers(&views, 60, &context);
            assert!(views.on_disk(), "{context}");
        }
    }
}

#[test]
fn whatever_stands_in_the_place_of_the_views_changes_no_answer() {
    let lab = lab(60);
    let cases: [(&str, FileDamage); 5] = [
        ("nothing", |root| {
            fs::remove_dir_all(root).expect("the removal")
        }),
        ("a file", |root| {
            fs::remove_dir_all(root).expect("the removal");
            fs::write(root, "garbage").expect("the write");
        }),
        ("a link to nowhere", |root| {
            fs::remove_dir_all(root).expect("the removal");
            std::os::unix::fs::symlink("/nonexistent", root).expect("the link");
        }),
        ("another version", |root| {
            let path = root.join("manifest.json");
            let mut manifest: Value =
                serde_json::from_slice(&fs::read(&path).expect("the file")).expect("JSON");
            manifest["version"] = json!(999);
            fs::write(&path, manifest.to_string()).expect("the write");
        }),
        ("something more", |root| {
            fs::create_dir(root.join("sled-77")).expect("the directory");
            fs::write(root.join("sled-77/db"), "x").expect("the write");
        }),
    ];
    for (what, change) in cases {
        drop(lab.open());
        change(&lab.root());
        let views = lab.open();
        assert_answers(&views, 60, what);
        assert!(views.on_disk(), "{what}");
    }
}

#[test]
fn damage_while_they_are_open_changes_no_answer() {
    let lab = lab(60);
    let cases: [(&str, FileDamage); 3] = [
        ("deleted", |root| {
            fs::remove_dir_all(root).expect("the removal")
        }),
        ("overwritten", |root| {
            for path in files(root) {
                let len = fs::read(&path).expect("the file").len();
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .expect("the file");
                std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xa5; len], 0)
                    .expect("the write");
            }
        }),
        ("truncated", |root| {
            for path in files(root) {
                let file = fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .expect("the file");
                file.set_len(0).expect("the cut");
            }
        }),
    ];
    for (what, change) in cases {
        let views = lab.open();
        assert_answers(&views, 60, what);
        change(&lab.root());
        assert_answers(&views, 60, what);
        drop(views);
        assert_answers(&lab.open(), 60, what);
    }
}

#[test]
fn views_after_a_crash_are_computed_anew() {
    let lab = lab(60);
    let views = lab.open();
    assert_answers(&views, 60, "at first");
    // A crash leaves the files as they are, without a manifest.
    let crashed = tempfile::tempdir().expect("a directory");
    for path in files(&lab.root()) {
        let to = crashed
            .path()
            .join(path.strip_prefix(lab.root()).expect("inside"));
        fs::create_dir_all(to.parent().expect("a parent")).expect("the directory");
        fs::copy(&path, to).expect("the copy");
    }
    let again = Views::open(crashed.path(), Arc::clone(&lab.store));
    assert_answers(&again, 60, "after the crash");
}

#[test]
fn views_of_another_history_are_computed_anew() {
    let lab = lab(60);
    drop(lab.open());
    for calls in [0, 10, 60, 90] {
        let other: Arc<dyn Store> = MemoryStore::new();
        wait(other.commit(Batch::new().append("audit", "another beginning"))).expect("the record");
        write(&*other, 0..calls);
        let views = Views::open(lab.root(), Arc::clone(&other));
        assert_answers(&views, calls, &format!("{calls} calls"));
        drop(views);
        drop(lab.open());
    }
}

#[test]
fn without_any_place_on_disk_they_are_kept_in_memory() {
    let lab = lab(60);
    let file = lab.dir.path().join("file");
    fs::write(&file, "x").expect("the write");
    let views = Views::open(file.join("views"), Arc::clone(&lab.store));
    assert!(!views.on_disk());
    assert_answers(&views, 60, "in memory");
    write(&*lab.store, 60..70);
    assert_answers(&views, 70, "in memory, later");
    views.rebuild().expect("the rebuild");
    assert_answers(&views, 70, "in memory, rebuilt");
}

#[test]
fn the_list_of_calls_is_bounded() {
    let lab = lab(CALLS_MAX + 50);
    let views = lab.open();
    assert_answers(&views, CALLS_MAX + 50, "over the bound");
    for more in 1..4 {
        let calls = CALLS_MAX + 50 + more * 40;
        write(&*lab.store, calls - 40..calls);
        assert_answers(&views, calls, "further");
    }
}
