//! The audit log as it is written and read: checkpoints by themselves and at
//! once, records with the changes they describe, limits, and the key file.

use std::path::Path;
use std::sync::Arc;

use airlock_journal::audit::{self, Audit, AuditRecord, Direction, Signer, UNSIGNED_MAX};
use airlock_journal::conformance::wait;
use airlock_journal::{Batch, MemoryStore, SqliteStore, Store};
use serde_json::json;

fn signer(dir: &Path) -> Signer {
    Signer::open_or_create(dir.join("audit.key")).expect("a key")
}

fn record(n: u64) -> AuditRecord {
    AuditRecord::now("tester", "call.done", format!("plugin/{n}")).detail(json!({ "n": n }))
}

#[test]
fn checkpoints_come_by_themselves_and_cover_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let signer = signer(dir.path());
    let key = signer.public_key();
    let store: Arc<dyn Store> = MemoryStore::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let audit = Audit::with_spacing(Arc::clone(&store), signer, 10)
            .await
            .expect("the log");
        let mut heads = audit.heads();
        heads.mark_unchanged();
        for n in 0..10 {
            audit.append(&record(n)).await.expect("the append");
        }
        heads.changed().await.expect("a checkpoint without asking");
        assert!(
            heads
                .borrow_and_update()
                .as_ref()
                .is_some_and(|head| head.len >= 10)
        );
        audit.append(&record(10)).await.expect("the append");
        assert!(audit.checkpoint().await.expect("the checkpoint").is_some());
        assert!(
            audit.checkpoint().await.expect("the checkpoint").is_none(),
            "nothing new"
        );
    });
    let report = audit::verify(&*store, &[key], None).expect("a sound log");
    assert_eq!(report.unsigned, 1);
}

#[test]
fn checkpoints_asked_for_at_once_do_not_meet() {
    let dir = tempfile::tempdir().expect("a directory");
    let signer = signer(dir.path());
    let key = signer.public_key();
    let store = SqliteStore::open(dir.path().join("data")).expect("the store");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let log = Arc::clone(&store) as Arc<dyn Store>;
        let audit = Audit::with_spacing(log, signer, 2).await.expect("the log");
        let caller = |n: u64| {
            let audit = audit.clone();
            tokio::spawn(async move {
                for at in 0..20 {
                    audit
                        .append(&record(n * 100 + at))
                        .await
                        .expect("the append");
                    audit.checkpoint().await.expect("the checkpoint");
                }
            })
        };
        let callers: Vec<_> = (0..8).map(caller).collect();
        for caller in callers {
            caller.await.expect("the caller");
        }
    });
    let report = audit::verify(&*store, &[key], None);
    assert!(report.is_ok(), "{report:?}");
}

#[test]
fn a_long_unsigned_tail_is_a_finding() {
    let dir = tempfile::tempdir().expect("a directory");
    let signer = signer(dir.path());
    let key = signer.public_key();
    let store: Arc<dyn Store> = MemoryStore::new();
    let append = |count: u64| {
        let batch = (0..count).fold(Batch::new(), |batch, n| batch.op(Audit::op(&record(n))));
        wait(store.commit(batch)).expect("the records");
    };
    wait(Audit::new(Arc::clone(&store), signer)).expect("the log");
    // With the record of its first checkpoint, which covers none.
    append(UNSIGNED_MAX - 1);
    let report = audit::verify(&*store, &[key], None).expect("as long as it may be");
    assert_eq!((report.len, report.unsigned), (UNSIGNED_MAX, UNSIGNED_MAX));
    append(1);
    let found = audit::verify(&*store, &[key], None).expect_err("nobody signed it");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, found[0].seq), ("unsigned", Some(0)));
}

#[test]
fn a_log_that_is_opened_again_goes_on_from_its_newest_head() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = MemoryStore::new();
    let open = || Audit::with_spacing(Arc::clone(&store), signer(dir.path()), u64::MAX);
    wait(async {
        assert_eq!(audit::newest_head(&*store).expect("reads"), None);
        let before = record(0).at_ms;
        let log = open().await.expect("the log");
        for n in 0..3 {
            log.append(&record(n)).await.expect("the append");
        }
        let head = log.checkpoint().await.expect("the checkpoint");
        assert_eq!(audit::newest_head(&*store).expect("reads"), head);
        drop(log);
        let len = store.head(b"audit").expect("the head").len;
        let again = open().await.expect("the log");
        assert_eq!(*again.heads().borrow(), head);
        assert_eq!(again.checkpoint().await.expect("nothing new"), None);
        assert_eq!(store.head(b"audit").expect("the head").len, len);
        // At most so many records stay unsigned, whatever was asked for.
        let shown = format!("{again:?}");
        assert!(
            shown.contains(&format!("every: {}", UNSIGNED_MAX / 2)),
            "{shown}"
        );
        assert!(shown.contains(&format!("covered: {len}")), "{shown}");
        // 2020, and not later than what is recorded from now on.
        assert!(
            before > 1_577_836_800_000 && before <= record(0).at_ms,
            "{before}"
        );
    });
}

#[test]
fn the_record_and_the_change_it_describes_are_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = MemoryStore::new();
    let signer = signer(dir.path());
    wait(async {
        let audit = Audit::new(Arc::clone(&store), signer)
            .await
            .expect("the log");
        let grant = || {
            Batch::new()
                .check("grants", "p", None)
                .put("grants", "p", "v1")
        };
        let head = audit
            .commit(grant(), &record(1))
            .await
            .expect("the commit")
            .heads[0];
        assert_eq!(head.len, 2);
        audit
            .commit(grant(), &record(2))
            .await
            .expect_err("the grant exists");
        assert_eq!(store.head(b"audit").expect("the head").len, 2);
    });
}

#[test]
fn huge_details_are_left_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = MemoryStore::new();
    wait(async {
        let audit = Audit::new(Arc::clone(&store), signer(dir.path()))
            .await
            .expect("the log");
        let huge = record(1).detail(json!({ "x": "y".repeat(audit::RECORD_BYTES_MAX) }));
        audit.append(&huge).await.expect("the append");
    });
    let page = audit::page(&*store, Direction::Forward(1), 1).expect("the page");
    assert!(page[0].record.detail["left_out_bytes"].as_u64().is_some());
    assert_eq!(page[0].record.subject, "plugin/1");
}

#[test]
fn the_key_file_is_private_and_must_be_a_key() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.key");
    let id = signer(dir.path()).public_key().id();
    assert_eq!(signer(dir.path()).public_key().id(), id, "the key is kept");
    let mode = |path: &Path| path.metadata().expect("the file").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
    let error = Signer::open_or_create(&path).expect_err("others can read it");
    assert!(error.to_string().contains("others can read it"), "{error}");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    std::fs::write(&path, "airlock-audit-key:v1:AAAA").expect("the write");
    let error = Signer::open_or_create(&path).expect_err("not a key");
    assert!(error.to_string().contains("not an audit key"), "{error}");

    // What can't be looked for is not made anew.
    let below = path.join("audit.key");
    let error = Signer::open_or_create(&below).expect_err("a file is no folder");
    assert!(error.to_string().contains("opening it"), "{error}");
    let others = tempfile::tempdir().expect("a directory");
    let other = signer(others.path());
    assert_eq!(
        format!("{other:?}"),
        format!("Signer({})", other.public_key().id())
    );
}
