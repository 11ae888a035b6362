use std::collections::BTreeMap;

use super::draft::{atomics as atomics1, batch as batch1, store as store1};
use super::draft2::{atomics, batch, store};
use super::*;
use crate::capability::kv::Scope;
use crate::capability::kv::backend::{KEY_BYTES_MAX, PAGE_KEYS_MAX, VALUE_BYTES_MAX};
use crate::capability::kv::keys::USAGE_SPACE;
use crate::grants::EffectClass;
use crate::testing::{Door, grants};
use airlock_journal::Store;
use airlock_journal::memory::{Disk, Fault, MemoryStore};
use airlock_journal::sqlite::SqliteStore;
use atomics::{Host as _, HostCas as _};
use batch::Host as _;
use store::{Host as _, HostBucket as _};

mod budget;
mod erase;
mod model;

/// One call: its state and its table.
struct Call {
    state: State,
    table: ResourceTable,
}

impl Call {
    fn on(store: &Arc<dyn Store>, plugin: &str, door: &Door) -> Self {
        let backend = Arc::new(Backend::new(Arc::clone(store), plugin));
        Self {
            state: State::new(door.gate(), backend),
            table: ResourceTable::new(),
        }
    }

    fn view(&mut self) -> KvView<'_> {
        KvView {
            state: &self.state,
            table: &mut self.table,
        }
    }

    async fn open(&mut self, bucket: &str) -> Resource<Bucket> {
        let opened = self.view().open(bucket.to_owned()).await;
        opened.expect(bucket)
    }

    async fn get(&mut self, bucket: &Resource<Bucket>, key: &str) -> Result<String, String> {
        let bucket = Resource::new_borrow(bucket.rep());
        let value = self.view().get(bucket, key.to_owned()).await;
        match self.told(value)? {
            Some(value) => Ok(String::from_utf8(value).expect("text")),
            None => Ok("(none)".to_owned()),
        }
    }

    async fn set(
        &mut self,
        bucket: &Resource<Bucket>,
        key: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<(), String> {
        let bucket = Resource::new_borrow(bucket.rep());
        let value = value.as_ref().to_vec();
        let done = self.view().set(bucket, key.to_owned(), value).await;
        self.told(done)
    }

    async fn delete(&mut self, bucket: &Resource<Bucket>, key: &str) -> Result<(), String> {
        let bucket = Resource::new_borrow(bucket.rep());
        let done = self.view().delete(bucket, key.to_owned()).await;
        self.told(done)
    }

    async fn increment(
        &mut self,
        bucket: &Resource<Bucket>,
        key: &str,
        delta: i64,
    ) -> Result<i64, String> {
        let bucket = Resource::new_borrow(bucket.rep());
        let sum = self.view().increment(bucket, key.to_owned(), delta).await;
        self.told(sum)
    }

    /// What the guest is told of an error.
    fn told<T>(&mut self, result: Result<T, Error>) -> Result<T, String> {
        result.map_err(|error| match self.view().convert_error(error) {
            Ok(store::Error::Other(text)) => text,
            Ok(store::Error::AccessDenied) => "AccessDenied".to_owned(),
            Ok(store::Error::NoSuchStore) => "NoSuchStore".to_owned(),
            Err(trap) => format!("trap: {trap}"),
        })
    }
}

fn memory() -> Arc<dyn Store> {
    MemoryStore::new()
}

fn usage(store: &Arc<dyn Store>) -> Vec<(u64, u64)> {
    let number = |row: &[u8]| u64::from_be_bytes(row.try_into().expect("8 bytes"));
    let rows = store.range(USAGE_SPACE, &[], None, 100).expect("usage");
    let counters = |(_, row): (_, Bytes)| (number(&row[..8]), number(&row[8..]));
    rows.into_iter().map(counters).collect()
}

#[tokio::test]
async fn pairs_are_kept_changed_and_removed_and_counted() {
    let store = memory();
    let mut call = Call::on(&store, "p", &Door::new(r#"kv = [{ bucket = "b" }]"#));
    let b = call.open("b").await;
    assert_eq!(call.get(&b, "k").await.unwrap(), "(none)");
    call.set(&b, "k", "one").await.unwrap();
    call.set(&b, "k", "three").await.unwrap();
    call.set(&b, "", "x").await.unwrap_err();
    assert_eq!(call.get(&b, "k").await.unwrap(), "three");
    assert_eq!(usage(&store), [(6, 1)]);
    let mut view = call.view();
    let exists = view.exists(Resource::new_borrow(b.rep()), "k".into()).await;
    assert!(exists.unwrap());
    call.delete(&b, "k").await.unwrap();
    call.delete(&b, "k").await.unwrap();
    assert_eq!(call.get(&b, "k").await.unwrap(), "(none)");
    assert_eq!(usage(&store), []);
    let used = call.state.gate.usage();
    assert_eq!((used[0].bytes_in, used[0].bytes_out), (5, 8), "{used:?}");
}

#[tokio::test]
async fn a_quota_is_reached_exactly_and_not_exceeded() {
    let rule = r#"kv = [{ bucket = "b", bytes = "10B", keys = 2 }]"#;
    let (store, door) = (memory(), Door::new(rule));
    let mut call = Call::on(&store, "p", &door);
    let b = call.open("b").await;
    call.set(&b, "a", "123456789").await.unwrap();
    let over = call.set(&b, "a", "1234567890").await.unwrap_err();
    assert_eq!(over, "AccessDenied");
    assert_eq!(call.get(&b, "a").await.unwrap(), "123456789");
    call.set(&b, "a", "").await.unwrap();
    call.set(&b, "b", "").await.unwrap();
    assert_eq!(call.set(&b, "c", "").await.unwrap_err(), "AccessDenied");
    assert_eq!(usage(&store), [(2, 2)]);
    let rules: Vec<String> = call
        .state
        .gate
        .denials()
        .into_iter()
        .map(|d| d.rule)
        .collect();
    expect_test::expect![[r#"
        [
            "kv rule 0 grants bucket `b` with bytes = \"10B\", this needs 11B",
            "kv rule 0 grants bucket `b` with keys = 2, this needs 3",
        ]
    "#]]
    .assert_debug_eq(&rules);
}

#[tokio::test]
async fn a_lowered_quota_lets_a_bucket_shrink() {
    let (store, door) = (memory(), Door::new(r#"kv = [{ bucket = "b" }]"#));
    let mut call = Call::on(&store, "p", &door);
    let b = call.open("b").await;
    call.set(&b, "a", "1234567890").await.unwrap();
    let lower = Door::new(r#"kv = [{ bucket = "b", bytes = "4B" }]"#);
    let mut call = Call::on(&store, "p", &lower);
    let b = call.open("b").await;
    assert_eq!(call.set(&b, "b", "").await.unwrap_err(), "AccessDenied");
    call.set(&b, "a", "12345").await.unwrap();
    call.delete(&b, "a").await.unwrap();
    call.set(&b, "b", "123").await.unwrap();
}

#[tokio::test]
async fn no_name_or_key_reaches_into_another_bucket() {
    let owners = [
        ("a", "p", Scope::Plugin, "bc"),
        ("a", "p", Scope::Principal, "bc"),
        ("a", "pb", Scope::Principal, "c"),
        ("a", "q", Scope::Principal, "bc"),
        ("ab", "p", Scope::Plugin, "c"),
        ("ab", "p", Scope::Principal, "c"),
        ("a", "p", Scope::Plugin, "b"),
        ("a\0", "p", Scope::Plugin, "b"),
    ];
    let keys = ["k", "c", "ck", "bc", "\0\0\0\u{1}c", "s", "p", "\0"];
    let mut places = BTreeMap::new();
    for (plugin, principal, scope, bucket) in owners {
        let place = super::super::keys::Place::new(plugin, scope, principal, bucket);
        for key in keys {
            let stored = place.key(key);
            assert_eq!(place.guest_key(&stored).as_deref(), Some(key));
            assert!(stored < place.end());
            let other = places.insert(stored, (plugin, principal, scope, bucket, key));
            assert_eq!(other, None, "{plugin} {principal} {scope:?} {bucket} {key}");
        }
    }
    for (plugin, principal, scope, bucket) in owners {
        let place = super::super::keys::Place::new(plugin, scope, principal, bucket);
        let inside = places.range(place.key("")..place.end()).map(|(_, at)| *at);
        let inside: Vec<_> = inside.collect();
        assert_eq!(inside.len(), keys.len(), "{inside:?}");
    }
}

#[tokio::test]
async fn tenants_meet_only_where_the_grant_says_so() {
    let rule = r#"kv = [{ bucket = "own" }, { bucket = "all", scope = "plugin" }]"#;
    let store = memory();
    let alice = Door::new(rule);
    let bob = Door {
        principal: "bob",
        ..Door::new(rule)
    };
    let mut write = Call::on(&store, "p", &alice);
    for bucket in ["own", "all"] {
        let b = write.open(bucket).await;
        write.set(&b, "k", "alice").await.unwrap();
    }
    for (plugin, door, bucket, sees) in [
        ("p", &alice, "own", "alice"),
        ("p", &alice, "all", "alice"),
        ("p", &bob, "own", "(none)"),
        ("p", &bob, "all", "alice"),
        ("q", &alice, "own", "(none)"),
        ("q", &alice, "all", "(none)"),
    ] {
        let mut call = Call::on(&store, plugin, door);
        let b = call.open(bucket).await;
        let seen = call.get(&b, "k").await.unwrap();
        assert_eq!(seen, sees, "{plugin} {} {bucket}", door.principal);
    }
}

/// Increments by many calls at once, under two versions of the grants.
async fn count_together(store: Arc<dyn Store>, tasks: i64, each: i64) {
    let door = Arc::new(Door::new(r#"kv = [{ bucket = "b", scope = "plugin" }]"#));
    let versions = [(); 2].map(|()| Arc::new(Backend::new(Arc::clone(&store), "p")));
    let mut calls = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let backend = Arc::clone(&versions[usize::try_from(task % 2).unwrap()]);
        let state = State::new(door.gate(), backend);
        let table = ResourceTable::new();
        let mut call = Call { state, table };
        calls.spawn(async move {
            let b = call.open("b").await;
            for _ in 0..each {
                while let Err(error) = call.increment(&b, "n", 1).await {
                    assert!(error.contains("too busy"), "{error}");
                }
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.expect("a task");
    }
    let mut call = Call::on(&store, "p", &door);
    let b = call.open("b").await;
    let total = (tasks * each).to_string();
    assert_eq!(call.get(&b, "n").await.unwrap(), total);
    assert_eq!(usage(&store), [(1 + total.len() as u64, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_increments_add_up_in_memory() {
    count_together(memory(), 32, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_increments_add_up_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(dir.path()).expect("a store");
    count_together(store, 8, 10).await;
}

#[tokio::test]
async fn a_number_is_decimal_and_must_fit() {
    let mut call = Call::on(&memory(), "p", &Door::new(r#"kv = [{ bucket = "b" }]"#));
    let b = call.open("b").await;
    assert_eq!(call.increment(&b, "n", -5).await, Ok(-5));
    assert_eq!(call.get(&b, "n").await.unwrap(), "-5");
    assert_eq!(call.increment(&b, "n", 7).await, Ok(2));
    call.set(&b, "n", i64::MAX.to_string()).await.unwrap();
    let over = call.increment(&b, "n", 1).await.unwrap_err();
    assert_eq!(over, "the sum does not fit the number");
    for bad in ["", "x", "1.5", "0x10", "99999999999999999999999"] {
        call.set(&b, "n", bad).await.unwrap();
        let error = call.increment(&b, "n", 1).await.unwrap_err();
        assert_eq!(error, "the value is not a decimal number", "{bad}");
        assert_eq!(call.get(&b, "n").await.unwrap(), bad);
    }
}

#[tokio::test]
async fn a_swap_wins_once_and_the_loser_sees_the_winner() {
    let mut call = Call::on(&memory(), "p", &Door::new(r#"kv = [{ bucket = "b" }]"#));
    let b = call.open("b").await;
    let mut view = call.view();
    let observe = || Resource::new_borrow(b.rep());
    let first = view.new(observe(), "k".into()).await.unwrap();
    let second = view.new(observe(), "k".into()).await.unwrap();
    assert!(view.swap(first, b"first".to_vec()).await.unwrap().is_ok());
    let lost = view.swap(second, b"second".to_vec()).await.unwrap();
    let Err(atomics::CasError::CasFailed(newer)) = lost else {
        panic!("{lost:?}")
    };
    let seen = view
        .current(Resource::new_borrow(newer.rep()))
        .await
        .unwrap();
    assert_eq!(seen.as_deref(), Some(b"first".as_slice()));
    assert!(view.swap(newer, b"second".to_vec()).await.unwrap().is_ok());
    assert_eq!(call.get(&b, "k").await.unwrap(), "second");
}

#[tokio::test]
async fn a_call_as_read_only_reads_and_changes_nothing() {
    let store = memory();
    let rule = r#"kv = [{ bucket = "b" }]"#;
    let mut write = Call::on(&store, "p", &Door::new(rule));
    let b = write.open("b").await;
    write.set(&b, "k", "1").await.unwrap();
    let class = EffectClass::ReadOnly;
    let mut call = Call::on(
        &store,
        "p",
        &Door {
            class,
            ..Door::new(rule)
        },
    );
    let b = call.open("b").await;
    assert_eq!(call.get(&b, "k").await.unwrap(), "1");
    assert_eq!(call.set(&b, "k", "2").await.unwrap_err(), "AccessDenied");
    assert_eq!(call.delete(&b, "k").await.unwrap_err(), "AccessDenied");
    assert_eq!(
        call.increment(&b, "k", 1).await.unwrap_err(),
        "AccessDenied"
    );
    let mut view = call.view();
    let cas = view
        .new(Resource::new_borrow(b.rep()), "k".into())
        .await
        .unwrap();
    let swapped = view.swap(cas, b"2".to_vec()).await.unwrap();
    assert!(
        matches!(
            swapped,
            Err(atomics::CasError::StoreError(store::Error::AccessDenied))
        ),
        "{swapped:?}"
    );
    let pairs = vec![("k".to_owned(), b"2".to_vec())];
    view.set_many(Resource::new_borrow(b.rep()), pairs)
        .await
        .unwrap_err();
    let keys = vec!["k".to_owned()];
    view.delete_many(Resource::new_borrow(b.rep()), keys)
        .await
        .unwrap_err();
    assert_eq!(call.get(&b, "k").await.unwrap(), "1");
    assert_eq!(call.state.gate.denials().len(), 4);
}

#[tokio::test]
async fn a_revoked_or_changed_grant_stops_an_open_bucket() {
    for changed in ["", r#"kv = [{ bucket = "b", scope = "plugin" }]"#] {
        let door = Door::new(r#"kv = [{ bucket = "b" }]"#);
        let mut call = Call::on(&memory(), "p", &door);
        let b = call.open("b").await;
        call.set(&b, "k", "1").await.unwrap();
        let mut view = call.view();
        let cas = view
            .new(Resource::new_borrow(b.rep()), "k".into())
            .await
            .unwrap();
        door.cell.replace(2, grants(changed));
        view.current(Resource::new_borrow(cas.rep()))
            .await
            .unwrap_err();
        assert!(view.swap(cas, b"2".to_vec()).await.unwrap().is_err());
        assert_eq!(call.get(&b, "k").await.unwrap_err(), "AccessDenied");
        assert_eq!(call.set(&b, "k", "2").await.unwrap_err(), "AccessDenied");
    }
}

#[tokio::test]
async fn opening_says_whether_a_grant_could_help() {
    let mut call = Call::on(&memory(), "p", &Door::new(r#"kv = [{ bucket = "b" }]"#));
    for (bucket, error) in [
        ("other", "AccessDenied"),
        ("B", "AccessDenied"),
        ("", "NoSuchStore"),
        ("../b", "NoSuchStore"),
        ("b\0", "NoSuchStore"),
        (&"b".repeat(65), "NoSuchStore"),
    ] {
        let opened = call.view().open(bucket.to_owned()).await.map(|_| ());
        assert_eq!(call.told(opened).unwrap_err(), error, "{bucket}");
    }
}

#[tokio::test]
async fn keys_values_and_batches_are_bounded() {
    let rule = r#"kv = [{ bucket = "b", bytes = "8MiB", keys = 5000 }]"#;
    let mut call = Call::on(&memory(), "p", &Door::new(rule));
    let b = call.open("b").await;
    let key = "k".repeat(KEY_BYTES_MAX);
    call.set(&b, &key, vec![0; VALUE_BYTES_MAX]).await.unwrap();
    let long = call.set(&b, &(key.clone() + "k"), "").await.unwrap_err();
    assert_eq!(long, "the key has 1025 bytes, at most 1024 are allowed");
    let large = call
        .set(&b, "k", vec![0; VALUE_BYTES_MAX + 1])
        .await
        .unwrap_err();
    assert_eq!(
        large,
        "the value has 1048577 bytes, at most 1048576 are allowed"
    );
    let keys: Vec<String> = (0..=BATCH_KEYS_MAX).map(|n| n.to_string()).collect();
    let many = call
        .view()
        .get_many(Resource::new_borrow(b.rep()), keys)
        .await;
    let many = call.told(many.map(|_| ())).unwrap_err();
    assert_eq!(many, "1001 keys at once, at most 1000 are allowed");
}

#[tokio::test]
async fn values_in_hand_count_against_the_calls_budget() {
    let store = memory();
    let door = Door {
        budget_bytes: 1_000,
        ..Door::new(r#"kv = [{ bucket = "b" }]"#)
    };
    let mut call = Call::on(&store, "p", &door);
    let b = call.open("b").await;
    for key in ["1", "2", "3"] {
        call.set(&b, key, vec![b'x'; 400]).await.unwrap();
    }
    let large = call.set(&b, "k", vec![0; 1_001]).await.unwrap_err();
    assert_eq!(large, "trap: limit host_memory reached (1000B)");
    let keys = |n: usize| {
        ["1", "2", "3"][..n]
            .iter()
            .map(|k| (*k).to_owned())
            .collect()
    };
    let mut view = call.view();
    let two = view.get_many(Resource::new_borrow(b.rep()), keys(2)).await;
    assert_eq!(two.unwrap().len(), 2);
    let three = view.get_many(Resource::new_borrow(b.rep()), keys(3)).await;
    let three = call.told(three.map(|_| ())).unwrap_err();
    assert_eq!(three, "trap: limit host_memory reached (1000B)");
    assert_eq!(call.state.gate.budget().held(), 0);
}

#[tokio::test]
async fn a_batch_is_all_or_nothing() {
    let rule = r#"kv = [{ bucket = "b", keys = 2 }]"#;
    let store = memory();
    let mut call = Call::on(&store, "p", &Door::new(rule));
    let b = call.open("b").await;
    let pairs = |keys: &[&str]| {
        keys.iter()
            .map(|k| ((*k).to_owned(), b"v".to_vec()))
            .collect()
    };
    let mut view = call.view();
    let three = pairs(&["a", "b", "c"]);
    view.set_many(Resource::new_borrow(b.rep()), three)
        .await
        .unwrap_err();
    let keys = || ["a", "b", "x"].map(str::to_owned).to_vec();
    let none = view
        .get_many(Resource::new_borrow(b.rep()), keys())
        .await
        .unwrap();
    assert!(none.iter().all(|(_, value)| value.is_none()), "{none:?}");
    let two = pairs(&["a", "b", "a"]);
    view.set_many(Resource::new_borrow(b.rep()), two)
        .await
        .unwrap();
    let seen = view
        .get_many(Resource::new_borrow(b.rep()), keys())
        .await
        .unwrap();
    let seen: Vec<bool> = seen.iter().map(|(_, value)| value.is_some()).collect();
    assert_eq!(seen, [true, true, false]);
    view.delete_many(Resource::new_borrow(b.rep()), keys())
        .await
        .unwrap();
    assert_eq!(usage(&store), []);
}

#[tokio::test]
async fn listings_come_in_bounded_pages_without_gaps() {
    let rule = r#"kv = [{ bucket = "b" }, { bucket = "c" }]"#;
    let store = memory();
    let door = Door::new(rule);
    let mut call = Call::on(&store, "p", &door);
    let (b, c) = (call.open("b").await, call.open("c").await);
    let total = 2 * PAGE_KEYS_MAX + 1;
    let pairs = (0..total)
        .map(|n| (format!("{n:04}"), Vec::new()))
        .collect();
    let mut view = call.view();
    view.set_many(Resource::new_borrow(b.rep()), pairs)
        .await
        .unwrap();
    view.set(c, "other".into(), Vec::new()).await.unwrap();
    let (mut keys, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = view
            .list_keys(Resource::new_borrow(b.rep()), cursor)
            .await
            .unwrap();
        assert!(page.keys.len() <= PAGE_KEYS_MAX);
        keys.extend(page.keys);
        cursor = page.cursor;
        pages += 1;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (0..total).map(|n| format!("{n:04}")).collect();
    assert_eq!((keys, pages), (expected, 3));
}

#[tokio::test]
async fn the_first_draft_serves_the_same_data() {
    let store = memory();
    let rule = r#"kv = [{ bucket = "b", keys = 2000, scope = "plugin" }]"#;
    let mut call = Call::on(&store, "p", &Door::new(rule));
    let mut view = call.view();
    let b = store1::Host::open(&mut view, "b".into()).await.unwrap();
    let b = || Resource::new_borrow(b.rep());
    let sum = atomics1::Host::increment(&mut view, b(), "n".into(), u64::MAX).await;
    assert_eq!(sum.unwrap(), u64::MAX);
    let over = atomics1::Host::increment(&mut view, b(), "n".into(), 1).await;
    over.unwrap_err();
    let pairs = (0..600).map(|n| (format!("{n}"), b"v".to_vec())).collect();
    batch1::Host::set_many(&mut view, b(), pairs).await.unwrap();
    let keys = vec!["0".to_owned(), "x".to_owned()];
    let got = batch1::Host::get_many(&mut view, b(), keys).await.unwrap();
    assert_eq!(got, [Some(("0".to_owned(), b"v".to_vec())), None]);
    let (mut seen, mut cursor) = (0, None);
    loop {
        let page = store1::HostBucket::list_keys(&mut view, b(), cursor)
            .await
            .unwrap();
        seen += page.keys.len();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, 601);
    store1::HostBucket::list_keys(&mut view, b(), Some(99))
        .await
        .unwrap_err();
    let b2 = call.open("b").await;
    assert_eq!(call.get(&b2, "0").await.unwrap(), "v");
}

#[tokio::test]
async fn a_failing_disk_is_an_error_without_details_and_acknowledges_nothing() {
    let disk = Disk::default();
    let failing = MemoryStore::on(&disk);
    failing.inject(Fault::Write { n: 1 });
    let store: Arc<dyn Store> = failing;
    let door = Door::new(r#"kv = [{ bucket = "b" }]"#);
    let mut call = Call::on(&store, "p", &door);
    let b = call.open("b").await;
    call.set(&b, "first", "1").await.unwrap();
    let failed = call.set(&b, "second", "2").await.unwrap_err();
    assert_eq!(failed, "the host's storage failed");
    let reopened: Arc<dyn Store> = MemoryStore::on(&disk);
    let mut call = Call::on(&reopened, "p", &door);
    let b = call.open("b").await;
    assert_eq!(call.get(&b, "first").await.unwrap(), "1");
    assert_eq!(call.get(&b, "second").await.unwrap(), "(none)");
}
