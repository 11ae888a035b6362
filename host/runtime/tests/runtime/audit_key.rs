//! An audit's key that is gone, or another, is noticed and never goes on unasked.

use std::sync::Arc;

use airlock_journal::MemoryStore;
use airlock_journal::memory::Disk;
use airlock_runtime::{OpenError, Runtime, RuntimeConfig};

use crate::host::{self, audited, config, place};

async fn open(config: RuntimeConfig, disk: &Disk) -> Result<Arc<Runtime>, OpenError> {
    host::open(config, MemoryStore::on(disk)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_not_replaced_unasked() {
    let (dir, disk) = place();
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
    assert_eq!(audited(&runtime, "admin.audit.new-key").await.len(), 1);
    drop(runtime);
    assert!(
        open(config, &disk).await.is_ok(),
        "it is the key from now on"
    );
}
