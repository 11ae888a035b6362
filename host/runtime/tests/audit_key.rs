//! An audit's key that is gone is noticed, and never replaced unasked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use airlock_journal::memory::Disk;
use airlock_journal::{MemoryStore, Store};
use airlock_runtime::{OpenError, Runtime, RuntimeConfig};

fn config(dir: &Path) -> RuntimeConfig {
    RuntimeConfig {
        compiler: PathBuf::new(),
        compiler_args: Vec::new(),
        guest_workers: Some(1),
        calls_max: 8,
        ..RuntimeConfig::new(dir.join("data"), dir.join("keys"))
    }
}

async fn open(config: RuntimeConfig, disk: &Disk) -> Result<Arc<Runtime>, OpenError> {
    let store: Arc<dyn Store> = MemoryStore::on(disk);
    Runtime::with_store(config, store).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_not_replaced_unasked() {
    let (dir, disk) = (tempfile::tempdir().expect("a directory"), Disk::default());
    let config = config(dir.path());
    let key = config.key_file("audit.key");
    drop(open(config.clone(), &disk).await.expect("opens"));

    let kept = dir.path().join("kept");
    std::fs::rename(&key, &kept).expect("moves");
    let refused = open(config.clone(), &disk).await.err().expect("refused");
    assert!(matches!(&refused, OpenError::AuditKeyLost { path } if *path == key));
    assert!(refused.to_string().contains("put it back"), "{refused}");
    assert!(!key.exists(), "no other was made");

    std::fs::rename(&kept, &key).expect("moves back");
    let whole = open(config.clone(), &disk).await.expect("opens");
    assert!(whole.audit_verify(None).await.expect("reads").ok);
    drop(whole);

    // Asked for, it is replaced, and that is on record.
    std::fs::remove_file(&key).expect("removes");
    let anew = RuntimeConfig {
        new_audit_key: true,
        ..config.clone()
    };
    let runtime = open(anew, &disk).await.expect("opens");
    let page = runtime.audit(Default::default()).await.expect("reads");
    let actions = page.records.iter().map(|entry| &*entry.record.action);
    assert_eq!(
        actions
            .filter(|action| *action == "admin.audit.new-key")
            .count(),
        1
    );
    drop(runtime);
    assert!(
        open(config, &disk).await.is_ok(),
        "it is the key from now on"
    );
}
