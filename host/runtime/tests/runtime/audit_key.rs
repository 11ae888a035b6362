//! An audit's key that is gone, or another, is noticed and never goes on unasked.

use std::sync::Arc;
use std::time::Duration;

use airlock_journal::MemoryStore;
use airlock_journal::audit::Signer;
use airlock_journal::memory::{Disk, Fault};
use airlock_journal::store::Head;
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

/// What a lost key signed still verifies, up to the record at which it was
/// replaced, and only because the keys directory says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_replaced_key_signed_still_verifies() {
    let (dir, disk) = place();
    let config = config(dir.path());
    let runtime = open(config.clone(), &disk).await.expect("opens");
    runtime.shutdown(Duration::ZERO).await;
    let old = runtime.audit_verify(None).await.expect("reads").head;
    let old = old.expect("a signed head");
    drop(runtime);

    let key = config.key_file("audit.key");
    let stolen = dir.path().join("stolen");
    std::fs::rename(&key, &stolen).expect("moves");
    let anew = RuntimeConfig {
        new_audit_key: true,
        ..config.clone()
    };
    let runtime = open(anew, &disk).await.expect("opens");
    let verified = async |head: &str| {
        let head = Some(head.to_owned());
        runtime.audit_verify(head).await.expect("reads")
    };
    let whole = verified(&old).await;
    assert!(whole.ok && whole.checkpoints >= 2, "{whole:?}");
    let page = runtime.audit(Default::default()).await.expect("reads");
    let change = page
        .records
        .iter()
        .find(|entry| &*entry.record.action == "admin.audit.new-key")
        .expect("it is on record");
    let replaced = &change.record.detail["replaced"];
    let until = replaced[0]["until"].as_u64().expect("a record");
    assert!((1..=change.seq).contains(&until), "{replaced}");

    // Whoever has the old key can't vouch for anything later with it.
    let signer = Signer::open(&stolen).expect("a key");
    let head = runtime.audit_verify(None).await.expect("reads");
    let forged = signer.sign(Head {
        len: head.len,
        hash: Default::default(),
    });
    let found = verified(&forged.to_string()).await;
    let text = found.findings[0]["text"].as_str().expect("text").to_owned();
    assert!(text.contains("which was replaced at record"), "{found:?}");

    // Only the keys' directory vouches for an old key.
    std::fs::remove_file(config.key_file("audit.known-keys")).expect("removes");
    let found = verified(&old).await;
    assert!(!found.ok, "{found:?}");
    let text = found.findings[0]["text"].to_string();
    assert!(text.contains("unknown key"), "{found:?}");
}
