//! An audit's key that is gone, or another, is noticed and never goes on unasked.

use std::sync::Arc;

use airlock_journal::MemoryStore;
use airlock_journal::memory::{Disk, Fault};
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

#[tokio::test(flavor = "multi_thread")]
async fn another_key_does_not_go_on_unasked() {
    let (dir, disk) = place();
    let config = config(dir.path());
    let key = config.key_file("audit.key");
    drop(open(config.clone(), &disk).await.expect("opens"));
    let kept = dir.path().join("kept");
    std::fs::copy(&key, &kept).expect("copies");

    let (elsewhere, other) = place();
    let stranger = host::config(elsewhere.path());
    drop(open(stranger.clone(), &other).await.expect("opens"));
    std::fs::copy(stranger.key_file("audit.key"), &key).expect("copies");
    let refused = open(config.clone(), &disk).await.err().expect("refused");
    let OpenError::AuditKeyOther {
        found, signed_by, ..
    } = &refused
    else {
        panic!("{refused}");
    };
    assert_ne!(found, signed_by);

    std::fs::copy(&kept, &key).expect("copies back");
    let whole = open(config.clone(), &disk).await.expect("opens");
    assert!(whole.audit_verify(None).await.expect("reads").ok);
    drop(whole);

    // Asked for, it goes on, and that is on record, once.
    std::fs::copy(stranger.key_file("audit.key"), &key).expect("copies");
    let anew = RuntimeConfig {
        new_audit_key: true,
        ..config.clone()
    };
    for _ in 0..2 {
        let runtime = open(anew.clone(), &disk).await.expect("opens");
        assert_eq!(audited(&runtime, "admin.audit.new-key").await.len(), 1);
    }
    assert!(open(config, &disk).await.is_ok());
}

/// A new key that was made, and the start cut off before that was on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_goes_on_record_wherever_storage_fails() {
    let mut failures = 0;
    for n in 0..4 {
        for fault in [Fault::Write { n }, Fault::Sync { n }] {
            let (dir, disk) = place();
            let config = config(dir.path());
            drop(open(config.clone(), &disk).await.expect("opens"));
            std::fs::remove_file(config.key_file("audit.key")).expect("removes");
            let anew = RuntimeConfig {
                new_audit_key: true,
                ..config.clone()
            };
            let failing = MemoryStore::on(&disk);
            failing.inject(fault);
            failures += usize::from(host::open(anew.clone(), failing).await.is_err());
            let opened = match open(config.clone(), &disk).await {
                Err(OpenError::AuditKeyOther { .. }) => open(anew, &disk).await,
                opened => opened,
            };
            let records = audited(&opened.expect("opens"), "admin.audit.new-key").await;
            assert!(!records.is_empty(), "{fault:?}");
        }
    }
    assert!(failures >= 4, "only {failures} openings met a fault");
}
