//! A policy is applied to what it was checked against, or not at all.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use airlock_journal::decorator::Decorator;
use airlock_journal::store::{Batch, BoxFuture, Committed};
use airlock_journal::{MemoryStore, Op, Store, StoreError};
use airlock_runtime::{ApplyPolicy, Failure, GrantsUpdate, Policy, Principal, Runtime};

use crate::host::{self, config, install, place};

type Change = Box<dyn FnOnce(Arc<Runtime>) -> BoxFuture<'static, ()> + Send>;

/// Does something else before the first commit of `a`'s grants.
struct Between {
    inner: Arc<MemoryStore>,
    runtime: OnceLock<Arc<Runtime>>,
    change: Mutex<Option<Change>>,
}

fn grants_a(op: &Op) -> bool {
    matches!(op, Op::Put { space: "grants", key, .. } if key.starts_with(b"a\0"))
}

impl Decorator for Between {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            let mut change = None;
            if batch.ops.iter().any(grants_a) {
                let mut waiting = self.change.lock().unwrap_or_else(PoisonError::into_inner);
                change = waiting.take();
            }
            if let (Some(change), Some(runtime)) = (change, self.runtime.get()) {
                change(Arc::clone(runtime)).await;
            }
            self.inner.commit(batch).await
        })
    }
}

fn who() -> Principal {
    Principal::local_admin("test")
}

fn granted(runtime: Arc<Runtime>) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let update = GrantsUpdate::default();
        let set = runtime.set_grants(&who(), "b", update).await;
        assert_eq!(set.expect("is set").version, 1);
    })
}

fn activated(runtime: Arc<Runtime>) -> BoxFuture<'static, ()> {
    Box::pin(async move { drop(install(&runtime, "b", host::other()).await) })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_since_a_policy_was_checked_is_not_overwritten() {
    for (case, change) in [("granted", granted as fn(_) -> _), ("activated", activated)] {
        for pinned in [true, false] {
            let (dir, disk) = place();
            let store = Arc::new(Between {
                inner: MemoryStore::on(&disk),
                runtime: OnceLock::new(),
                change: Mutex::default(),
            });
            let opened = host::open(config(dir.path()), Arc::clone(&store) as Arc<dyn Store>);
            let runtime = opened.await.expect("opens");
            install(&runtime, "a", host::echo()).await;
            let digest = install(&runtime, "b", host::echo()).await;
            assert!(store.runtime.set(Arc::clone(&runtime)).is_ok());
            *store.change.lock().expect("no panic") = Some(Box::new(change));

            let digest = pinned.then(|| format!("digest = \"{digest}\"\n"));
            let kv = "grants.kv = [{ bucket = \"seen\" }]\n";
            let text = format!(
                "[plugins.a]\n{kv}[plugins.b]\n{}{kv}",
                digest.unwrap_or_default()
            );
            let policy = Policy::parse(&text).expect("a policy");
            let applied = runtime
                .policy_apply(&who(), &policy, &ApplyPolicy::default())
                .await;
            let refused = applied.expect_err(case);
            assert_eq!(refused.code(), "changed-meanwhile", "{case}: {refused}");
            assert_eq!(refused.members()["applied"], serde_json::json!(["a"]));
            let b = runtime.plugin(&who(), "b", None).await.expect("is there");
            assert!(b.versions.iter().any(|version| version.active), "{case}");
            assert!(b.grants.kv.is_empty(), "{case}: {:?}", b.grants);
            // Asked again, it is checked against what there is now.
            let back = ApplyPolicy {
                downgrade: true,
                ..ApplyPolicy::default()
            };
            let again = runtime.policy_apply(&who(), &policy, &back).await;
            assert!(again.is_ok(), "{case}: {again:?}");
        }
    }
}
