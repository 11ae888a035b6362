//! Calls while storage fails at each commit: nothing is acknowledged that is not
//! durable, nothing runs that can't be put on record, nothing is repeated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use airlock_journal::memory::{Disk, Fault};
use airlock_journal::{MemoryStore, Store};
use airlock_runtime::{
    CallRefused, Failure, GrantsUpdate, InstallRequest, NotReady, OperationState, Principal,
    Runtime, RuntimeConfig, StoredReply, ToolCall,
};
use airlock_sandbox::testing::{ECHO, guest};

struct Host {
    runtime: Arc<Runtime>,
    store: Arc<MemoryStore>,
    who: Arc<Principal>,
}

impl Host {
    async fn open(dir: &Path, disk: &Disk) -> Self {
        let config = RuntimeConfig {
            compiler: PathBuf::new(),
            compiler_args: Vec::new(),
            guest_workers: Some(1),
            calls_max: 8,
            ..RuntimeConfig::new(dir.join("data"), dir.join("keys"))
        };
        let store = MemoryStore::on(disk);
        let opened = Runtime::with_store(config, Arc::clone(&store) as Arc<dyn Store>).await;
        Self {
            runtime: opened.expect("the runtime opens"),
            store,
            who: Arc::new(Principal::local_admin("test")),
        }
    }

    async fn install(&self) {
        let request = InstallRequest {
            name: "echo".to_owned(),
            component: guest("", ECHO),
            digest: None,
            activate: true,
            check: false,
            why: String::new(),
        };
        let begun = self.runtime.install(&self.who, request).expect("begins");
        let ended = self
            .runtime
            .wait_operation(&self.who, &begun.id)
            .await
            .expect("is known");
        assert_eq!(ended.state, OperationState::Succeeded, "{ended:?}");
    }

    async fn call(&self, key: Option<&str>) -> Result<StoredReply, CallRefused> {
        let call = ToolCall {
            plugin: "echo".to_owned(),
            tool: "run".to_owned(),
            input: "1".into(),
            timeout: None,
            idempotency_key: key.map(str::to_owned),
            stage: None,
        };
        self.runtime.call(&self.who, call).await
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
        let page = self.runtime.audit(Default::default()).await.expect("reads");
        page.records
            .iter()
            .filter(|entry| entry.record.action == "call.done")
            .count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_record_fails_is_unknown_and_no_other_begins() {
    let (dir, disk) = (tempfile::tempdir().expect("a directory"), Disk::default());
    let host = Host::open(dir.path(), &disk).await;
    host.install().await;
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
            let (dir, disk) = (tempfile::tempdir().expect("a directory"), Disk::default());
            let host = Host::open(dir.path(), &disk).await;
            host.install().await;
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
    let (dir, disk) = (tempfile::tempdir().expect("a directory"), Disk::default());
    let host = Host::open(dir.path(), &disk).await;
    host.install().await;
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
