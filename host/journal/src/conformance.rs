//! What any backend must do, as one suite of cases. A backend's own test calls
//! [`run`] with a way to make it; each case gets one with no data.
//!
//! A case must be able to fail: it asserts what is there, and what is not.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::chain;
use crate::store::{Batch, Committed, Head, Op, Store, StoreError};

/// A backend with data of its own that can be opened again and again.
pub trait Backend {
    /// Opens the data; whatever was opened before has been dropped.
    fn open(&self) -> Arc<dyn Store>;
}

mod dropped;

type Case = fn(&dyn Backend);

/// The cases by name.
pub const CASES: &[(&str, Case)] = &[
    ("pairs are put, replaced and deleted", pairs),
    ("a refused batch leaves nothing", atomicity),
    ("checks compare exactly", checks),
    (
        "operations of a batch see the earlier ones",
        order_within_a_batch,
    ),
    ("ranges are ordered, half-open and limited", ranges),
    ("spaces and streams do not mix", separation),
    ("append-if-version", append_if_version),
    (
        "sequence numbers grow by one and are never reused",
        sequence_numbers,
    ),
    ("records are chained as chain::next says", chained),
    ("reading windows of a stream", windows),
    ("a page is of one moment, however much is appended", moments),
    (
        "a stream that is dropped is gone, and no other",
        dropped::dropped,
    ),
    ("leases fence late owners", leases),
    (
        "concurrent callers each get their own outcome",
        concurrent_callers,
    ),
    (
        "kept and refused batches that are queued together stay apart",
        queued_together,
    ),
    ("only one of many appends at a version wins", racing_appends),
    ("acknowledged data is there after a reopen", reopen),
    ("oversized items are refused", oversized),
    ("any bytes are good keys, names and values", any_bytes),
];

/// Runs every case on a fresh backend. Panics with the case's name.
///
/// # Panics
/// When the backend does not conform.
pub fn run<B: Backend>(make: impl Fn() -> B) {
    for (name, case) in CASES {
        let backend = make();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&backend)));
        assert!(result.is_ok(), "conformance case failed: {name}");
    }
}

/// Waits for a future of the store on this thread.
///
/// # Panics
/// When no runtime can be made.
pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn commit(store: &dyn Store, batch: Batch) -> Committed {
    wait(store.commit(batch)).expect("the commit")
}

fn refused(store: &dyn Store, batch: Batch) -> StoreError {
    let error = wait(store.commit(batch)).expect_err("the batch must be refused");
    assert!(error.is_refusal(), "not a refusal: {error}");
    store.health().expect("a refusal must not poison");
    error
}

fn value(store: &dyn Store, space: &str, key: &str) -> Option<Bytes> {
    store.get(space, key.as_bytes()).expect("the read")
}

fn payloads(store: &dyn Store, stream: &str) -> Vec<Bytes> {
    let records = store
        .read(stream.as_bytes(), 0, usize::MAX)
        .expect("the read");
    records.into_iter().map(|record| record.payload).collect()
}

fn pairs(backend: &dyn Backend) {
    let store = backend.open();
    assert_eq!(value(&*store, "s", "a"), None);
    commit(&*store, Batch::new().put("s", "a", "1").put("s", "b", ""));
    assert_eq!(value(&*store, "s", "a").unwrap(), "1");
    assert_eq!(value(&*store, "s", "b").unwrap(), "", "empty is not absent");
    commit(&*store, Batch::new().put("s", "a", "2"));
    assert_eq!(value(&*store, "s", "a").unwrap(), "2");
    commit(&*store, Batch::new().delete("s", "a").delete("s", "never"));
    assert_eq!(value(&*store, "s", "a"), None);
    assert_eq!(value(&*store, "s", "b").unwrap(), "");
    assert_eq!(commit(&*store, Batch::new()), Committed::default());
}

fn atomicity(backend: &dyn Backend) {
    let store = backend.open();
    commit(
        &*store,
        Batch::new().put("s", "kept", "1").append("log", "r0"),
    );
    let before = store.head(b"log").unwrap();
    let batch = Batch::new()
        .put("s", "new", "x")
        .put("s", "kept", "changed")
        .append("log", "r1")
        .append("other", "r0")
        .check("s", "absent", Some("y".into()))
        .delete("s", "kept");
    refused(&*store, batch);
    assert_eq!(value(&*store, "s", "new"), None);
    assert_eq!(value(&*store, "s", "kept").unwrap(), "1");
    assert_eq!(store.head(b"log").unwrap(), before);
    assert_eq!(store.head(b"other").unwrap(), Head::default());
    assert_eq!(payloads(&*store, "log"), ["r0"]);
}

fn checks(backend: &dyn Backend) {
    let store = backend.open();
    commit(&*store, Batch::new().put("s", "k", "v"));
    let cases: [(&str, Option<&str>, bool); 6] = [
        ("k", Some("v"), true),
        ("k", Some("V"), false),
        ("k", Some(""), false),
        ("k", None, false),
        ("none", None, true),
        ("none", Some(""), false),
    ];
    for (key, expect, holds) in cases {
        let expect = expect.map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let batch = Batch::new()
            .check("s", key, expect.clone())
            .put("s", "done", key);
        let outcome = wait(store.commit(batch));
        assert_eq!(outcome.is_ok(), holds, "{key} {expect:?}: {outcome:?}");
        if let Err(error) = outcome {
            assert!(matches!(error, StoreError::Conflict { .. }), "{error:?}");
        }
    }
    assert_eq!(value(&*store, "s", "done").unwrap(), "none");
}

fn order_within_a_batch(backend: &dyn Backend) {
    let store = backend.open();
    let batch = Batch::new()
        .put("s", "k", "1")
        .check("s", "k", Some("1".into()))
        .delete("s", "k")
        .check("s", "k", None)
        .put("s", "k", "2")
        .append_at("log", 0, vec!["a".into(), "b".into()])
        .append_at("log", 2, vec!["c".into()]);
    let heads = commit(&*store, batch).heads;
    assert_eq!(
        heads.iter().map(|head| head.len).collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(value(&*store, "s", "k").unwrap(), "2");
    assert_eq!(payloads(&*store, "log"), ["a", "b", "c"]);
}

fn ranges(backend: &dyn Backend) {
    let store = backend.open();
    let keys = ["a", "a/1", "a/2", "a/20", "a/3", "b", "\u{ff}"];
    let batch = keys
        .iter()
        .rev()
        .fold(Batch::new(), |batch, key| batch.put("s", *key, *key));
    commit(&*store, batch.put("t", "a/1", "other space"));
    let cases: [(&str, Option<&str>, usize, &[&str]); 8] = [
        ("", None, 100, &keys),
        ("", None, 2, &["a", "a/1"]),
        ("a/", Some("a0"), 100, &["a/1", "a/2", "a/20", "a/3"]),
        ("a/2", Some("a/3"), 100, &["a/2", "a/20"]),
        ("a/10", Some("a/21"), 1, &["a/2"]),
        ("b", Some("b"), 100, &[]),
        ("z", Some("a"), 100, &[]),
        ("", None, 0, &[]),
    ];
    for (from, to, limit, expected) in cases {
        let found = store
            .range("s", from.as_bytes(), to.map(str::as_bytes), limit)
            .expect("the range");
        let found_keys: Vec<_> = found.iter().map(|(key, _)| key.as_ref()).collect();
        let expected: Vec<_> = expected.iter().map(|key| key.as_bytes()).collect();
        let asked = [Bytes::from("none"), Bytes::from("a/2"), Bytes::from("a")];
        let values = store.get_all("s", &asked).expect("the values");
        let there = [None, Some(asked[1].clone()), Some(asked[2].clone())];
        assert_eq!(values, there, "each key's value, in the order of the keys");
        assert_eq!(found_keys, expected, "{from:?}..{to:?} limit {limit}");
        assert!(found.iter().all(|(key, value)| key == value));
        let found = store
            .keys("s", from.as_bytes(), to.map(str::as_bytes), limit)
            .expect("the keys");
        assert_eq!(found, expected, "keys {from:?}..{to:?} limit {limit}");
    }
}

fn separation(backend: &dyn Backend) {
    let store = backend.open();
    commit(
        &*store,
        Batch::new()
            .put("s", "x", "1")
            .put("st", "x", "2")
            .append("x", "3")
            .append("xy", "4"),
    );
    assert_eq!(value(&*store, "s", "x").unwrap(), "1");
    assert_eq!(value(&*store, "st", "x").unwrap(), "2");
    assert_eq!(store.range("s", b"", None, 9).unwrap().len(), 1);
    assert_eq!(payloads(&*store, "x"), ["3"]);
    assert_eq!(payloads(&*store, "xy"), ["4"]);
    assert_ne!(
        store.head(b"x").unwrap().hash,
        store.head(b"xy").unwrap().hash
    );
}

fn append_if_version(backend: &dyn Backend) {
    let store = backend.open();
    let at = |expect| Batch::new().append_at("log", expect, vec![Bytes::from_static(b"r")]);
    assert!(matches!(
        refused(&*store, at(1)),
        StoreError::Conflict { .. }
    ));
    assert_eq!(commit(&*store, at(0)).heads[0].len, 1);
    refused(&*store, at(0));
    refused(&*store, at(2));
    assert_eq!(commit(&*store, at(1)).heads[0].len, 2);
    assert_eq!(store.head(b"log").unwrap().len, 2);
}

fn sequence_numbers(backend: &dyn Backend) {
    let mut taken = Vec::new();
    for round in 0..3 {
        let store = backend.open();
        for n in 0..4 {
            let head = commit(&*store, Batch::new().append("log", format!("{round}/{n}"))).heads[0];
            taken.push(head.len - 1);
            let bad = Batch::new()
                .append("log", "lost")
                .check("s", "absent", Some("x".into()));
            refused(&*store, bad);
        }
    }
    assert_eq!(taken, (0..12).collect::<Vec<u64>>());
    let store = backend.open();
    let records = store.read(b"log", 0, 100).unwrap();
    assert_eq!(
        records.iter().map(|record| record.seq).collect::<Vec<_>>(),
        taken
    );
    assert_eq!(records[11].payload, "2/3");
}

fn chained(backend: &dyn Backend) {
    let store = backend.open();
    let mut head = Head::default();
    for n in 0..5u8 {
        let payloads = vec![Bytes::from(vec![n; 3]), Bytes::new()];
        let batch = Batch::new().append_at("log", head.len, payloads.clone());
        for payload in payloads {
            let hash = chain::next(&head.hash, b"log", head.len, &payload);
            head = Head {
                len: head.len + 1,
                hash,
            };
        }
        assert_eq!(commit(&*store, batch).heads, [head]);
    }
    assert_eq!(store.head(b"log").unwrap(), head);
    let records = store.read(b"log", 0, 100).unwrap();
    assert_eq!(
        chain::follow(b"log", Head::default(), &records).unwrap(),
        head
    );
    assert_eq!(store.raw(b"log", 0, 100).unwrap(), records);
}

fn windows(backend: &dyn Backend) {
    let store = backend.open();
    let records: Vec<Bytes> = (0..7).map(|n| Bytes::from(format!("r{n}"))).collect();
    commit(&*store, Batch::new().append_at("log", 0, records));
    let cases: [(u64, usize, &[u64]); 7] = [
        (0, 3, &[0, 1, 2]),
        (3, 2, &[3, 4]),
        (5, 100, &[5, 6]),
        (6, 1, &[6]),
        (7, 5, &[]),
        (u64::MAX, 5, &[]),
        (2, 0, &[]),
    ];
    for (from, limit, expected) in cases {
        for page in [
            store.read(b"log", from, limit),
            store.raw(b"log", from, limit),
        ] {
            let seqs: Vec<u64> = page.unwrap().iter().map(|record| record.seq).collect();
            assert_eq!(seqs, expected, "from {from} limit {limit}");
        }
    }
    assert_eq!(store.read(b"none", 0, 5).unwrap(), []);
    assert_eq!(store.head(b"none").unwrap(), Head::default());
}

fn moments(backend: &dyn Backend) {
    const RECORDS: u64 = 300;
    let store = backend.open();
    let append = || {
        for number in 0..RECORDS {
            let record = Bytes::from(number.to_le_bytes().to_vec());
            commit(&*store, Batch::new().append(&b"s"[..], record));
        }
    };
    std::thread::scope(|threads| {
        let appends = threads.spawn(append);
        while !appends.is_finished() {
            let mut from = 0;
            while from < RECORDS {
                let page = store.read(b"s", from, 7).expect("a page");
                from += page.len() as u64;
                if page.len() < 7 {
                    break;
                }
            }
        }
    });
    assert_eq!(store.head(b"s").expect("the head").len, RECORDS);
}

fn leases(backend: &dyn Backend) {
    let store = backend.open();
    let take = |owner: &str, now_ms, ttl_ms| wait(store.lease(b"run", owner, now_ms, ttl_ms));
    let write = |token| {
        Batch::new()
            .fence("run", token)
            .put("s", "by", format!("{token}"))
    };
    refused(&*store, write(1));
    let first = take("a", 1_000, 500).unwrap();
    assert!(matches!(
        take("b", 1_499, 500),
        Err(StoreError::Fenced { .. })
    ));
    assert_eq!(
        take("a", 1_400, 500).unwrap(),
        first,
        "renewing keeps the token"
    );
    commit(&*store, write(first));
    assert!(matches!(
        take("b", 1_899, 500),
        Err(StoreError::Fenced { .. })
    ));
    let second = take("b", 1_900, 500).unwrap();
    assert!(second > first);
    assert!(matches!(
        refused(&*store, write(first)),
        StoreError::Fenced { .. }
    ));
    commit(&*store, write(second));
    assert!(matches!(
        take("a", 2_000, 500),
        Err(StoreError::Fenced { .. })
    ));
    take("b", 2_000, 0).unwrap();
    let third = take("a", 2_000, 500).unwrap();
    assert!(
        third > second,
        "a lease that was let free changes its fence"
    );
    refused(&*store, write(second));
    assert_eq!(wait(store.lease(b"another", "b", 0, 1)).unwrap(), 1);
    let both = |token| Batch::new().fence("run", third).fence("another", token);
    commit(&*store, both(1));
    refused(&*store, both(third));
    drop(store);
    let store = backend.open();
    commit(&*store, write(third));
    refused(&*store, write(second));
}

fn concurrent_callers(backend: &dyn Backend) {
    const CALLERS: usize = 16;
    const EACH: usize = 20;
    let store = backend.open();
    let heads: Vec<(usize, Vec<Option<u64>>)> = std::thread::scope(|scope| {
        let caller = |caller: usize| {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                (
                    caller,
                    (0..EACH).map(|n| one_call(&*store, caller, n)).collect(),
                )
            })
        };
        let threads: Vec<_> = (0..CALLERS).map(caller).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("the caller"))
            .collect()
    });
    let records = store.read(b"log", 0, usize::MAX).unwrap();
    let mut seen = HashSet::new();
    for (caller, heads) in heads {
        for (n, head) in heads.into_iter().enumerate() {
            let key = format!("{caller}/{n}");
            let stored = value(&*store, "s", &key).is_some();
            assert_eq!(stored, n % 3 != 0, "{key}");
            assert_eq!(head.is_some(), stored, "{key}");
            if let Some(len) = head {
                assert!(seen.insert(len), "two commits got length {len}");
                assert_eq!(records[len as usize - 1].payload, key);
            }
        }
    }
    assert_eq!(seen.len(), records.len(), "refused batches left no record");
}

/// Every third batch is refused, in the same groups as the others.
fn one_call(store: &dyn Store, caller: usize, n: usize) -> Option<u64> {
    let key = format!("{caller}/{n}");
    let batch = Batch::new().append("log", key.clone()).put("s", key, "x");
    if n.is_multiple_of(3) {
        refused(store, batch.check("s", "absent", Some("x".into())));
        return None;
    }
    Some(commit(store, batch).heads[0].len)
}

/// All are queued before the first is waited for, so that a backend that groups
/// commits has them in few groups.
fn queued_together(backend: &dyn Backend) {
    const ROUNDS: u64 = 100;
    let store = backend.open();
    let mut queued = Vec::new();
    for round in 0..ROUNDS {
        let record = |kind: &str| Bytes::from(format!("{kind} {round}"));
        let both = |kind| {
            Batch::new()
                .append("log", record(kind))
                .append("other", record(kind))
        };
        let batches = [
            Batch::new().append("log", record("alone")),
            both("refused").check("s", "absent", Some("x".into())),
            Batch::new().append_at("log", u64::MAX, vec![record("late")]),
            both("both"),
        ];
        queued.extend(batches.map(|batch| store.commit(batch)));
    }
    for (n, commit) in queued.into_iter().enumerate() {
        let (outcome, round) = (wait(commit), n as u64 / 4);
        let lengths =
            outcome.map(|done| done.heads.iter().map(|head| head.len).collect::<Vec<_>>());
        match n % 4 {
            0 => assert_eq!(lengths.unwrap(), [2 * round + 1]),
            3 => assert_eq!(lengths.unwrap(), [2 * round + 2, round + 1]),
            _ => assert!(lengths.is_err_and(|error: StoreError| error.is_refusal())),
        }
    }
    drop(store);
    let store = backend.open();
    assert_eq!(store.head(b"log").unwrap().len, 2 * ROUNDS);
    assert_eq!(payloads(&*store, "other").len() as u64, ROUNDS);
    let kept = (0..ROUNDS).flat_map(|n| [format!("alone {n}"), format!("both {n}")]);
    assert!(
        payloads(&*store, "log")
            .into_iter()
            .eq(kept.map(Bytes::from))
    );
}

fn racing_appends(backend: &dyn Backend) {
    const CALLERS: u64 = 8;
    let store = backend.open();
    for version in 0..5 {
        let winners: u64 = std::thread::scope(|scope| {
            let race = |caller: u64| {
                let store = Arc::clone(&store);
                let record = Bytes::from(format!("{version} by {caller}"));
                scope.spawn(move || {
                    let batch = Batch::new().append_at("log", version, vec![record]);
                    u64::from(wait(store.commit(batch)).is_ok())
                })
            };
            let threads: Vec<_> = (0..CALLERS).map(race).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("the caller"))
                .sum()
        });
        assert_eq!(winners, 1, "at version {version}");
    }
    assert_eq!(store.head(b"log").unwrap().len, 5);
}

fn reopen(backend: &dyn Backend) {
    let mut head = Head::default();
    for round in 0..4u64 {
        let store = backend.open();
        assert_eq!(store.head(b"log").unwrap(), head);
        if let Some(last) = round.checked_sub(1) {
            assert_eq!(value(&*store, "s", "round").unwrap(), last.to_string());
            assert_eq!(value(&*store, "s", &format!("gone{last}")), None);
        }
        let batch = Batch::new()
            .put("s", "round", round.to_string())
            .put("s", format!("gone{round}"), "x")
            .append("log", format!("{round}"));
        head = commit(&*store, batch).heads[0];
        commit(&*store, Batch::new().delete("s", format!("gone{round}")));
    }
}

fn oversized(backend: &dyn Backend) {
    let store = backend.open();
    let big = Bytes::from(vec![0u8; crate::store::ITEM_BYTES_MAX + 1]);
    let cases = [
        Op::Put {
            space: "s",
            key: "k".into(),
            value: big.clone(),
        },
        Op::Put {
            space: "s",
            key: big.clone(),
            value: "v".into(),
        },
        Op::Append {
            stream: "log".into(),
            expect: None,
            records: vec!["ok".into(), big.clone()],
        },
        Op::Append {
            stream: big,
            expect: None,
            records: vec!["r".into()],
        },
    ];
    for op in cases {
        let error = refused(&*store, Batch::new().put("s", "before", "x").op(op));
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error:?}");
    }
    assert_eq!(value(&*store, "s", "before"), None);
    assert_eq!(store.head(b"log").unwrap(), Head::default());
}

fn any_bytes(backend: &dyn Backend) {
    let store = backend.open();
    let items: [&[u8]; 5] = [b"", b"\0", b"\0\0", b"\xff\xfe\x00 '\"", &[0x80; 300]];
    for item in items {
        let bytes = Bytes::copy_from_slice(item);
        let batch = Batch::new()
            .put("s", bytes.clone(), bytes.clone())
            .append(bytes.clone(), bytes.clone());
        commit(&*store, batch);
        assert_eq!(store.get("s", item).unwrap().unwrap(), bytes);
        assert_eq!(store.read(item, 0, 1).unwrap()[0].payload, bytes);
    }
    assert_eq!(store.range("s", b"", None, 100).unwrap().len(), items.len());
}
