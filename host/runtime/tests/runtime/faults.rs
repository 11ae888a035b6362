//! Calls while storage fails at each commit: nothing is acknowledged that is not
//! durable, nothing runs that can't be put on record, nothing is repeated.

use airlock_journal::memory::Fault;
use airlock_runtime::{CallRefused, Failure, GrantsUpdate, NotReady, StoredReply};

use crate::host::{Host, place, run};

impl Host {
    async fn call(&self, key: Option<&str>) -> Result<StoredReply, CallRefused> {
        self.runtime.call(&self.who, run("echo", key)).await
    }

    async fn code(&self, key: Option<&str>) -> &'static str {
        match self.call(key).await {
            Ok(reply) if reply.status == 200 => "ok",
            Ok(reply) => panic!("{reply:?}"),
            Err(refused) => refused.code(),
        }
    }

    /// Calls on record.
    async fn recorded(&self) -> usize {
        self.audited("call.done").await.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_record_fails_is_unknown_and_no_other_begins() {
    let (dir, disk) = place();
    let host = Host::open(dir.path(), &disk).await;
    host.install("echo").await;
    assert_eq!(host.code(None).await, "ok");
    host.store.inject(Fault::Sync { n: 0 });
    assert_eq!(
        host.code(None).await,
        "unknown",
        "it ran, and is not on record"
    );
    assert_eq!(
        host.code(None).await,
        "store-failed",
        "nothing runs that can't be recorded"
    );
    assert_eq!(host.runtime.ready(), Err(NotReady::Store));
    drop(host);
    let again = Host::open(dir.path(), &disk).await;
    assert_eq!(again.code(None).await, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_never_run_twice_wherever_storage_fails() {
    // Commit 0 is the intent, 1 the record with the reply.
    for (n, failed, after, calls) in [
        (0, "store-failed", ["ok", "outcome_unknown"], 1),
        (1, "unknown", ["ok", "outcome_unknown"], 1),
    ] {
        for fault in [Fault::Write { n }, Fault::Sync { n }] {
            let (dir, disk) = place();
            let host = Host::open(dir.path(), &disk).await;
            host.install("echo").await;
            let before = host.recorded().await;
            host.store.inject(fault);
            assert_eq!(host.code(Some("k")).await, failed, "{fault:?}");
            drop(host);
            let again = Host::open(dir.path(), &disk).await;
            let code = again.code(Some("k")).await;
            assert!(after.contains(&code), "{fault:?}: {code}");
            if n == 1 && matches!(fault, Fault::Write { .. }) {
                assert_eq!(
                    code, "outcome_unknown",
                    "{fault:?}: it ran, and nobody knows how it ended"
                );
            }
            let recorded = again.recorded().await - before;
            assert!(
                recorded <= calls,
                "{fault:?}: {recorded} calls are on record"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_that_were_not_stored_are_not_in_force() {
    let (dir, disk) = place();
    let host = Host::open(dir.path(), &disk).await;
    host.install("echo").await;
    host.store.inject(Fault::Write { n: 0 });
    let set = host
        .runtime
        .set_grants(&host.who, "echo", GrantsUpdate::default())
        .await;
    assert_eq!(set.expect_err("fails").code(), "store-failed");
    assert_eq!(
        host.runtime
            .grants(&host.who, "echo")
            .expect("is there")
            .version,
        0
    );
    drop(host);
    let again = Host::open(dir.path(), &disk).await;
    assert_eq!(
        again
            .runtime
            .grants(&again.who, "echo")
            .expect("is there")
            .version,
        0
    );
    let set = again
        .runtime
        .set_grants(&again.who, "echo", GrantsUpdate::default())
        .await;
    assert_eq!(set.expect("is stored").version, 1);
}
