//! Properties over random input: both backends answer alike, no change of the
//! log stays unnoticed, and no bytes make the audit's readers panic.

use std::sync::{Arc, LazyLock};

use airlock_fuzz::{byte_damage, cases};
use airlock_journal::audit::{self, Audit, AuditRecord, Direction, PublicKey, SignedHead, Signer};
use airlock_journal::conformance::wait;
use airlock_journal::decorator::Decorator;
use airlock_journal::{
    Batch, Head, MemoryStore, Op, Record, SqliteStore, Store, StoreError, chain,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const SPACES: [&str; 2] = ["a", "b"];

fn small() -> impl Strategy<Value = Bytes> {
    select(vec!["", "x", "y", "xy", "\0"]).prop_map(Bytes::from)
}

fn op() -> impl Strategy<Value = Op> {
    let space = || select(SPACES.to_vec());
    prop_oneof![
        4 => (space(), small(), small()).prop_map(|(space, key, value)| Op::Put { space, key, value }),
        2 => (space(), small()).prop_map(|(space, key)| Op::Delete { space, key }),
        2 => (space(), small(), proptest::option::of(small()))
            .prop_map(|(space, key, expect)| Op::Check { space, key, expect }),
        3 => (small(), proptest::option::of(0..4u64), vec(small(), 0..3))
            .prop_map(|(stream, expect, records)| Op::Append { stream, expect, records }),
        1 => small().prop_map(|stream| Op::DropStream { stream }),
        1 => (small(), 0..3u64).prop_map(|(lease, token)| Op::Fence { lease, token }),
    ]
}

#[derive(Debug, Clone)]
enum Request {
    Commit(Vec<Op>),
    Lease(Bytes, &'static str, u64, u64),
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        5 => vec(op(), 0..6).prop_map(Request::Commit),
        1 => (small(), select(vec!["me", "you"]), 0..10u64, 0..5u64)
            .prop_map(|(lease, owner, now, ttl)| Request::Lease(lease, owner, now, ttl)),
    ]
}

fn answer(store: &dyn Store, request: &Request) -> String {
    match request {
        Request::Commit(ops) => {
            let outcome = wait(store.commit(Batch { ops: ops.clone() }));
            format!("{:?}", outcome.map_err(|error| error.to_string()))
        }
        Request::Lease(lease, owner, now_ms, ttl_ms) => {
            let outcome = wait(store.lease(lease, owner, *now_ms, *ttl_ms));
            format!("{:?}", outcome.map_err(|error| error.to_string()))
        }
    }
}

/// Everything that can be read.
fn contents(store: &dyn Store) -> String {
    let pairs = SPACES.map(|space| store.range(space, b"", None, 100).expect("the range"));
    let streams = ["", "x", "y", "xy", "\0"].map(|stream| {
        let records = store.read(stream.as_bytes(), 0, 1000).expect("the records");
        (records, store.head(stream.as_bytes()).expect("the head"))
    });
    format!("{pairs:?} {streams:?}")
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn fuzz_both_backends_answer_alike(requests in vec(request(), 1..25)) {
        let dir = tempfile::tempdir().expect("a directory");
        let memory = MemoryStore::new();
        let mut sqlite = SqliteStore::open(dir.path()).expect("the store");
        for request in &requests {
            prop_assert_eq!(answer(&*memory, request), answer(&*sqlite, request), "{:?}", request);
        }
        prop_assert_eq!(contents(&*memory), contents(&*sqlite));
        drop(sqlite);
        sqlite = SqliteStore::open(dir.path()).expect("the store");
        prop_assert_eq!(contents(&*memory), contents(&*sqlite));
    }
}

/// A store whose audit log somebody rewrote.
struct Tampered {
    inner: Arc<dyn Store>,
    records: Vec<Record>,
    head: Head,
}

impl Decorator for Tampered {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }
    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        Decorator::raw(self, stream, from, limit)
    }
    fn raw(&self, _: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let mut found: Vec<_> = self
            .records
            .iter()
            .filter(|record| record.seq >= from)
            .cloned()
            .collect();
        found.sort_by_key(|record| record.seq);
        found.truncate(limit);
        Ok(found)
    }
    fn head(&self, _: &[u8]) -> Result<Head, StoreError> {
        Ok(self.head)
    }
}

struct Log {
    store: Arc<dyn Store>,
    key: PublicKey,
    head: SignedHead,
    records: Vec<Record>,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let signer = Signer::open_or_create(dir.path().join("key")).expect("a key");
    let key = signer.public_key();
    let store: Arc<dyn Store> = MemoryStore::new();
    let head = wait(async {
        let audit = Audit::new(Arc::clone(&store), signer)
            .await
            .expect("the log");
        for n in 0..30 {
            let record = AuditRecord::now("tester", "call.done", format!("plugin/{n}"));
            audit.append(&record).await.expect("the append");
            if n % 6 == 5 {
                audit.checkpoint().await.expect("the checkpoint");
            }
        }
        audit.heads().borrow().clone().expect("a head")
    });
    let records = store.read(b"audit", 0, 1000).expect("the log");
    Log {
        store,
        key,
        head,
        records,
    }
});

#[derive(Debug, Clone)]
enum Change {
    Flip(Index, Index),
    Remove(Index),
    Swap(Index, Index),
    Renumber(Index, Index),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        (index(), index()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        index().prop_map(Change::Remove),
        (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
        (index(), index()).prop_map(|(one, other)| Change::Renumber(one, other)),
        index().prop_map(Change::Cut),
    ]
}

fn apply(records: &mut Vec<Record>, change: &Change) {
    if records.is_empty() {
        return;
    }
    let len = records.len();
    match change {
        Change::Flip(at, byte) => {
            let payload = &mut records[at.index(len)].payload;
            let mut bytes = payload.to_vec();
            let at = byte.index(bytes.len());
            bytes[at] ^= 1;
            *payload = bytes.into();
        }
        Change::Remove(at) => drop(records.remove(at.index(len))),
        Change::Swap(one, other) => {
            let (one, other) = (one.index(len), other.index(len));
            let payload = records[one].payload.clone();
            records[one].payload = records[other].payload.clone();
            records[other].payload = payload;
        }
        Change::Renumber(one, other) => {
            let (one, other) = (one.index(len), other.index(len));
            (records[one].seq, records[other].seq) = (records[other].seq, records[one].seq);
        }
        Change::Cut(at) => records.truncate(at.index(len)),
    }
}

/// Numbers and hashes everything anew, as an attacker who knows how would.
fn rehash(records: &mut [Record]) {
    records.sort_by_key(|record| record.seq);
    let mut hash = Default::default();
    for (seq, record) in (0..).zip(records) {
        record.seq = seq;
        record.hash = chain::next(&hash, b"audit", seq, &record.payload);
        hash = record.hash;
    }
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn fuzz_no_change_of_the_log_stays_unnoticed(changes in vec(change(), 1..4), hide in any::<bool>()) {
        let log = &*LOG;
        let mut records = log.records.clone();
        changes.iter().for_each(|change| apply(&mut records, change));
        if hide {
            rehash(&mut records);
        }
        records.sort_by_key(|record| record.seq);
        let last = records.last();
        let head = last.map_or(Head::default(), |last| Head { len: last.seq + 1, hash: last.hash });
        // What comes after the given head is protected by the next one only.
        let signed = usize::try_from(log.head.len).expect("small");
        let changed = records.get(..signed) != log.records.get(..signed);
        let tampered = Tampered { inner: Arc::clone(&log.store), records, head };
        let found = audit::verify(&tampered, &[log.key], Some(&log.head));
        prop_assert!(!changed || found.is_err(), "{:?} unnoticed", changes);
    }

    #[test]
    fn fuzz_readers_of_the_audit_take_any_bytes(payloads in vec(vec(any::<u8>(), 0..60), 0..8)) {
        let store = MemoryStore::new();
        let batch = payloads.iter().fold(Batch::new(), |batch, payload| batch.append("audit", payload.clone()));
        wait(store.commit(batch)).expect("the records");
        let due = payloads.iter().all(|payload| serde_json::from_slice::<AuditRecord>(payload).is_ok());
        prop_assert_eq!(audit::page(&*store, Direction::Forward(0), 100).is_ok(), due);
        prop_assert_eq!(audit::page(&*store, Direction::Backward(u64::MAX), 100).is_ok(), due);
        let exported = audit::export_lines(&*store, 0, &mut Vec::new());
        prop_assert_eq!(exported.is_ok(), due);
        prop_assert!(audit::verify(&*store, &[LOG.key], None).is_err(), "it has no checkpoint");
    }

    /// Records that were right but for some bytes: each reader takes or refuses
    /// them as the record itself is read or not.
    #[test]
    fn fuzz_readers_of_the_audit_take_damaged_records(damage in vec((any::<Index>(), byte_damage()), 1..4)) {
        let mut payloads: Vec<Vec<u8>> = LOG.records.iter().map(|record| record.payload.to_vec()).collect();
        for (at, damage) in &damage {
            let at = at.index(payloads.len());
            payloads[at] = damage.to(&payloads[at]);
        }
        let store = MemoryStore::new();
        let batch = payloads.iter().fold(Batch::new(), |batch, payload| batch.append("audit", payload.clone()));
        wait(store.commit(batch)).expect("the records");
        let read = payloads.iter().all(|payload| serde_json::from_slice::<AuditRecord>(payload).is_ok());
        prop_assert_eq!(audit::page(&*store, Direction::Forward(0), 100).is_ok(), read);
        prop_assert_eq!(audit::export_lines(&*store, 0, &mut Vec::new()).is_ok(), read);
        let changed = LOG.records.iter().zip(&payloads).any(|(record, payload)| record.payload != *payload);
        let found = audit::verify(&*store, &[LOG.key], Some(&LOG.head));
        prop_assert!(found.is_err(), "the checkpoints are not there (changed: {})", changed);
    }

    #[test]
    fn fuzz_heads_and_keys_parse_exactly_what_they_print(text in ".{0,200}", at in any::<Index>(), by in 0..10u8) {
        prop_assert!(text.parse::<SignedHead>().is_err());
        prop_assert!(text.parse::<PublicKey>().is_err());
        let good = LOG.head.to_string();
        prop_assert_eq!(good.parse::<SignedHead>().expect("the head"), LOG.head.clone());
        prop_assert_eq!(LOG.key.to_string().parse::<PublicKey>().expect("the key"), LOG.key);
        let mut bytes = good.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = b'0' + by;
        let changed = String::from_utf8(bytes).expect("text").parse::<SignedHead>();
        let same = changed.as_ref().is_ok_and(|head| *head == LOG.head);
        prop_assert!(same || !changed.is_ok_and(|head| LOG.key.signed(&head)));
    }
}
