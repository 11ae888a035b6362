//! What the host holds of a bucket's values for one call, and what it reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use airlock_journal::decorator::Decorator;
use airlock_journal::memory::MemoryStore;
use airlock_journal::{Store, StoreError};
use bytes::Bytes;
use wasmtime::component::Resource;

use super::{Call, batch1, store1};
use crate::capability::kv::bind::Error;
use crate::capability::kv::bind::draft2::batch::Host as _;
use crate::capability::kv::bind::draft2::store::HostBucket as _;
use crate::capability::kv::keys::SPACE;
use crate::testing::Door;

/// Counts what is read of values.
struct Weighing {
    inner: Arc<MemoryStore>,
    read: AtomicU64,
}

impl Weighing {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(),
            read: AtomicU64::new(0),
        })
    }

    fn count(&self, space: &str, value: &Bytes) {
        if space == SPACE {
            self.read.fetch_add(value.len() as u64, Ordering::Relaxed);
        }
    }

    /// Bytes that were read since this was asked last.
    fn read(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }
}

impl Decorator for Weighing {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }
    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.inner.get(space, key)?;
        value.iter().for_each(|value| self.count(space, value));
        Ok(value)
    }
    fn range(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let pairs = self.inner.range(space, from, to, limit)?;
        pairs.iter().for_each(|(_, value)| self.count(space, value));
        Ok(pairs)
    }
}

fn keys(n: usize) -> Vec<String> {
    ["1", "2", "3"][..n]
        .iter()
        .map(|k| (*k).to_owned())
        .collect()
}

#[tokio::test]
async fn what_a_change_replaces_or_removes_counts_against_the_calls_budget() {
    let weighing = Weighing::new();
    let store: Arc<dyn Store> = Arc::clone(&weighing) as Arc<dyn Store>;
    let door = Door {
        budget_bytes: 1_000,
        ..Door::new(r#"kv = [{ bucket = "b" }]"#)
    };
    let mut call = Call::on(&store, "p", &door);
    let b = call.open("b").await;
    let b = || Resource::new_borrow(b.rep());
    for key in keys(3) {
        let set = call.view().set(b(), key, vec![b'x'; 400]).await;
        call.told(set).expect("it fits");
    }
    weighing.read();
    let pairs = |n| keys(n).into_iter().map(|key| (key, vec![b'y'])).collect();
    let over = [
        call.view().delete_many(b(), keys(3)).await,
        call.view().set_many(b(), pairs(3)).await,
    ];
    for over in over {
        let over = call.told(over).expect_err("three values of 400 bytes");
        assert_eq!(over, "trap: limit host_memory reached (1000B)");
        assert_eq!(call.state.gate.budget().held(), 0);
    }
    let read = weighing.read();
    assert!(read <= 2 * 3 * 400, "{read}");
    let fits = call.view().set_many(b(), pairs(2)).await;
    call.told(fits).expect("two are replaced");
    let fits = call.view().delete_many(b(), keys(3)).await;
    call.told(fits).expect("they are small now");
    assert_eq!(call.state.gate.budget().held(), 0);
}

#[tokio::test]
async fn names_are_told_without_reading_values() {
    let weighing = Weighing::new();
    let store: Arc<dyn Store> = Arc::clone(&weighing) as Arc<dyn Store>;
    let door = Door::new(r#"kv = [{ bucket = "b" }]"#);
    let mut call = Call::on(&store, "p", &door);
    let b = call.open("b").await;
    let b = || Resource::new_borrow(b.rep());
    for key in keys(3) {
        let set = call.view().set(b(), key, vec![b'x'; 400]).await;
        call.told(set).expect("it fits");
    }
    weighing.read();
    let page = call.view().list_keys(b(), None).await;
    assert_eq!(call.told(page).expect("a page").keys, keys(3));
    for (key, there) in [("1", true), ("11", false), ("", false)] {
        let exists = call.view().exists(b(), key.to_owned()).await;
        assert_eq!(exists.unwrap_or(false), there, "{key}");
    }
    assert_eq!(weighing.read(), 0);
}

/// Cursors that are numbers keep their key on the host.
#[tokio::test]
async fn cursors_count_against_the_calls_budget() {
    const NAME: usize = 1_000;
    let store: Arc<dyn Store> = MemoryStore::new();
    let rule = r#"kv = [{ bucket = "b", bytes = "8MiB", keys = 5000 }]"#;
    let mut fill = Call::on(&store, "p", &Door::new(rule));
    let b = store1::Host::open(&mut fill.view(), "b".into()).await;
    let b = b.expect("a bucket");
    let pairs = (0..300).map(|n| (format!("{n:0NAME$}"), Vec::new()));
    let filled = batch1::Host::set_many(&mut fill.view(), b, pairs.collect()).await;
    fill.told(filled).expect("they fit");
    let door = Door {
        budget_bytes: 40 * NAME as u64,
        ..Door::new(rule)
    };
    let mut call = Call::on(&store, "p", &door);
    let (mut kept, mut reached) = (0, None);
    for _ in 0..3 {
        let mut view = call.view();
        let bucket = store1::Host::open(&mut view, "b".into()).await;
        let bucket = bucket.expect("a bucket");
        for _ in 0..16 {
            let bucket = Resource::new_borrow(bucket.rep());
            match store1::HostBucket::list_keys(&mut view, bucket, None).await {
                Ok(page) => kept += usize::from(page.cursor.is_some()),
                Err(Error::Trap(limit)) => reached = Some(limit.to_string()),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
    let limit = "limit host_memory reached (40000B)";
    assert_eq!((kept, reached.as_deref()), (40, Some(limit)));
}
