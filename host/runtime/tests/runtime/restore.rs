//! What a restored data directory does when it is opened, wherever storage fails
//! meanwhile.

use std::path::Path;
use std::sync::Arc;

use airlock_journal::memory::{Disk, Fault};
use airlock_journal::{Batch, MemoryStore, Store};
use airlock_runtime::{Failure, OpenError, Principal, Runtime, digest};

use crate::host::{self, audited, place};

async fn open(dir: &Path, store: &Arc<MemoryStore>) -> Result<Arc<Runtime>, OpenError> {
    host::open(host::config(dir), Arc::clone(store) as Arc<dyn Store>).await
}

/// A store as a restore leaves it. No plugin names the components, so they are
/// swept once they were given their files.
async fn restored(dir: &Path, disk: &Disk) {
    let store = MemoryStore::on(disk);
    drop(open(dir, &store).await.expect("opens"));
    let mut batch = Batch::new().put("backup", "", r#"{"at_ms":7,"by":"ann"}"#);
    for component in [&b"one"[..], b"another"] {
        batch = batch.put("backup", digest(component), component.to_vec());
    }
    store.commit(batch).await.expect("stores");
}

fn left(store: &MemoryStore) -> usize {
    store.range("backup", &[], None, 10).expect("reads").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_finishes_a_restore_once_wherever_storage_fails() {
    let mut failures = 0;
    for n in 0..6 {
        for fault in [Fault::Write { n }, Fault::Sync { n }] {
            let (dir, disk) = place();
            restored(dir.path(), &disk).await;
            let failing = MemoryStore::on(&disk);
            failing.inject(fault);
            failures += usize::from(open(dir.path(), &failing).await.is_err());
            let store = MemoryStore::on(&disk);
            let runtime = open(dir.path(), &store).await.expect("opens");
            assert_eq!(left(&store), 0, "{fault:?}");
            let records = audited(&runtime, "admin.restore").await;
            assert_eq!(records.len(), 1, "{fault:?}: {records:?}");
            assert!(records[0].contains("\"made_by\":\"ann\""), "{records:?}");
        }
    }
    assert!(failures >= 4, "only {failures} openings met a fault");
}

/// Also before it finds that the data directory is not its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_leaves_what_the_first_works_on_alone() {
    let (dir, _) = place();
    let config = host::config(dir.path());
    let owner = Runtime::open(config.clone()).await.expect("opens");
    let under_way = ["backup-7", "restored-7"].map(|name| config.data_dir.join(name));
    for path in &under_way {
        std::fs::create_dir(path).expect("a folder");
        assert!(Runtime::open(config.clone()).await.is_err(), "it is owned");
        assert!(path.exists(), "{}", path.display());
    }
    drop(owner);
    let opened = Runtime::open(config).await;
    assert!(opened.is_ok(), "{:?}", opened.err());
    assert!(under_way.iter().all(|path| !path.exists()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_elsewhere_is_not_backed_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = open(dir.path(), &MemoryStore::new()).await.expect("opens");
    let refused = runtime.backup(&Principal::local_admin("test")).await;
    assert_eq!(refused.expect_err("is refused").code(), "backup-elsewhere");
}
