//! What erasing a plugin's data takes away, and that nothing comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use airlock_journal::decorator::Decorator;
use airlock_journal::memory::MemoryStore;
use airlock_journal::store::{Batch, BoxFuture, Committed};
use airlock_journal::{Store, StoreError};

use super::{Call, memory, usage};
use crate::capability::kv::backend::VALUE_BYTES_MAX;
use crate::capability::kv::{Erased, erase, holds};
use crate::testing::{Door, grants};

#[tokio::test]
async fn erasing_a_plugin_takes_all_of_its_data_and_no_more() {
    let rule = r#"kv = [{ bucket = "a" }, { bucket = "b", scope = "plugin" }]"#;
    let (store, door) = (memory(), Door::new(rule));
    for plugin in ["p", "p2"] {
        let mut call = Call::on(&store, plugin, &door);
        for bucket in ["a", "b"] {
            let b = call.open(bucket).await;
            call.set(&b, "k", "v").await.unwrap();
        }
    }
    let erased = erase(store.as_ref(), "p").await.unwrap();
    assert_eq!(erased.pairs, 2);
    assert!(erased.bytes >= 4, "{erased:?}");
    assert!(!holds(store.as_ref(), "p").unwrap());
    assert!(holds(store.as_ref(), "p2").unwrap());
    let again = erase(store.as_ref(), "p").await.unwrap();
    assert_eq!(again, Erased::default());
    for (plugin, sees) in [("p", "(none)"), ("p2", "v")] {
        let mut call = Call::on(&store, plugin, &door);
        let b = call.open("a").await;
        assert_eq!(call.get(&b, "k").await.unwrap(), sees);
    }
    assert_eq!(usage(&store).len(), 2);
}

/// Takes the grant away and erases while the first change is on its way.
struct Overtaken {
    inner: Arc<MemoryStore>,
    door: Arc<Door>,
    left: AtomicU32,
}

impl Decorator for Overtaken {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.door.cell.replace(2, grants(""));
                erase(&*self.inner, "p").await?;
            }
            self.inner.commit(batch).await
        })
    }
}

#[tokio::test]
async fn a_change_on_its_way_does_not_outlive_the_erasure() {
    // The first change makes the bucket; the second finds it there.
    for overtaken in [1, 2] {
        let (inner, door) = (
            MemoryStore::new(),
            Arc::new(Door::new(r#"kv = [{ bucket = "b" }]"#)),
        );
        let store: Arc<dyn Store> = Arc::new(Overtaken {
            inner: Arc::clone(&inner),
            door: Arc::clone(&door),
            left: AtomicU32::new(overtaken),
        });
        let mut call = Call::on(&store, "p", &door);
        let b = call.open("b").await;
        for change in 1..=overtaken {
            let set = call.set(&b, "key", format!("{change}")).await;
            assert_eq!(set.is_ok(), change < overtaken, "change {change}: {set:?}");
        }
        assert!(!holds(&*inner, "p").unwrap(), "the change came back");
    }
}

#[tokio::test]
async fn large_and_many_values_are_erased() {
    let store = memory();
    let door = Door::new(r#"kv = [{ bucket = "b", bytes = "64MiB", keys = 3000 }]"#);
    let mut call = Call::on(&store, "p", &door);
    let b = call.open("b").await;
    for n in 0..20 {
        call.set(&b, &format!("large{n}"), vec![0; VALUE_BYTES_MAX])
            .await
            .unwrap();
    }
    for n in 0..2_100 {
        call.set(&b, &format!("small{n}"), "").await.unwrap();
    }
    let erased = erase(store.as_ref(), "p").await.unwrap();
    assert_eq!(erased.pairs, 2_120);
    assert!(erased.bytes > 20 * VALUE_BYTES_MAX as u64, "{erased:?}");
    assert!(!holds(store.as_ref(), "p").unwrap());
}
