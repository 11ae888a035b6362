//! Removing a plugin erases what it kept, wherever storage fails meanwhile.

use airlock_journal::memory::Fault;
use airlock_journal::{Batch, Store};
use airlock_runtime::{ErasedData, Failure, Removed};

use crate::host::{Host, place};

impl Host {
    /// What a plugin with the grants for it would have written.
    async fn fill(&self, name: &str, pairs: usize) {
        let mut batch = Batch::new();
        for n in 0..pairs {
            batch = batch.put("kv", key(name, &format!("key{n}")), vec![1; 10]);
        }
        batch = batch.put("kv-usage", key(name, ""), vec![0; 16]);
        self.store.commit(batch).await.expect("stores");
    }

    /// Rows that are left of a plugin's data.
    fn left(&self, name: &str) -> usize {
        let (from, to) = (prefix(name), [prefix(name), vec![0xff]].concat());
        let rows = |space| self.store.range(space, &from, Some(&to), 10_000);
        rows("kv").expect("reads").len() + rows("kv-usage").expect("reads").len()
    }

    async fn remove(&self, keep_data: bool) -> Result<Removed, &'static str> {
        let removed = self
            .runtime
            .remove_plugin(&self.who, "p", keep_data, "over");
        removed.await.map_err(|error| error.code())
    }
}

fn prefix(plugin: &str) -> Vec<u8> {
    let length = u32::try_from(plugin.len()).expect("short").to_be_bytes();
    [&length[..], plugin.as_bytes()].concat()
}

/// A pair of the shared bucket `b`.
fn key(plugin: &str, key: &str) -> Vec<u8> {
    [&prefix(plugin)[..], b"s\0\0\0\x01b", key.as_bytes()].concat()
}

fn removed(uninstalled: bool, pairs: Option<u64>) -> Removed {
    let bytes = |pairs: u64| (0..pairs).map(|n| key("p", &format!("key{n}")).len() as u64 + 10);
    Removed {
        plugin: "p".to_owned(),
        uninstalled,
        erased: pairs.map(|pairs| ErasedData {
            namespaces: 0,
            pairs,
            bytes: bytes(pairs).sum(),
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_with_its_plugin_unless_it_is_kept() {
    let (dir, disk) = place();
    let host = Host::open(dir.path(), &disk).await;
    for name in ["p", "p2"] {
        host.install(name).await;
        host.fill(name, 40).await;
    }
    assert_eq!(host.remove(false).await, Ok(removed(true, Some(40))));
    assert_eq!((host.left("p"), host.left("p2")), (0, 41));
    assert_eq!(host.remove(false).await, Err("plugin-not-found"));

    host.install("p").await;
    host.fill("p", 3).await;
    assert_eq!(host.remove(true).await, Ok(removed(true, None)));
    assert_eq!(host.left("p"), 4, "kept");
    assert_eq!(host.remove(true).await, Err("plugin-not-found"));
    assert_eq!(host.remove(false).await, Ok(removed(false, Some(3))));
    assert_eq!(host.left("p"), 0);

    let erased = host.audited("admin.plugin.erase").await;
    assert_eq!(erased.len(), 2, "{erased:?}");
    assert!(erased[0].contains("\"pairs\":40") && erased[1].contains("\"pairs\":3"));
    let removals = host.audited("admin.plugin.remove").await;
    assert!(removals[0].contains("\"keep_data\":false"), "{removals:?}");
    assert!(removals[1].contains("\"keep_data\":true"), "{removals:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_storage_fails_a_removed_plugin_has_no_data() {
    let mut failures = 0;
    for n in 0..12 {
        for fault in [Fault::Write { n }, Fault::Sync { n }] {
            let (dir, disk) = place();
            let host = Host::open(dir.path(), &disk).await;
            host.install("p").await;
            host.fill("p", 40).await;
            host.store.inject(fault);
            let failed = host.remove(false).await.is_err();
            failures += usize::from(failed);
            drop(host);
            let again = Host::open(dir.path(), &disk).await;
            let installed = again.runtime.grants(&again.who, "p").is_ok();
            let left = again.left("p");
            let whole = if installed { 41 } else { 0 };
            assert_eq!(left, whole, "{fault:?}: installed: {installed}");
            assert!(!installed || failed, "{fault:?}: it was acknowledged");
            // A later plugin of the name begins with nothing.
            if !installed {
                again.install("p").await;
                assert_eq!(again.left("p"), 0, "{fault:?}");
                assert!(!again.audited("admin.plugin.erase").await.is_empty());
            }
        }
    }
    assert!(failures >= 8, "only {failures} removals met a fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_cut_off_is_finished_at_the_next_start() {
    let (dir, disk) = place();
    let host = Host::open(dir.path(), &disk).await;
    host.install("p").await;
    host.fill("p", 40).await;
    // What a removal leaves behind when it is cut off between its commits.
    let row = host
        .store
        .get("plugins", b"p")
        .expect("reads")
        .expect("a row");
    let mut row: serde_json::Value = serde_json::from_slice(&row).expect("JSON");
    row["active"] = serde_json::Value::Null;
    row["versions"] = serde_json::json!([]);
    row["erasing"] = true.into();
    let cut_off = Batch::new().put("plugins", "p", serde_json::to_vec(&row).expect("JSON"));
    host.store.commit(cut_off).await.expect("stores");
    drop(host);
    let again = Host::open(dir.path(), &disk).await;
    assert_eq!(again.left("p"), 0);
    let erased = again.audited("admin.plugin.erase").await;
    assert!(erased[0].contains("\"pairs\":40"), "{erased:?}");
}
