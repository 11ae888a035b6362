//! Lists of runs: what each token sees, page by page, in a time that does not
//! depend on how many there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use airlock_journal::audit::{Audit, AuditRecord};
use airlock_journal::decorator::Decorator;
use airlock_journal::{Batch, MemoryStore, Record, Store, StoreError};
use airlock_runtime::{End, Failure, Principal, Role, RunsPage, RunsQuery, Runtime};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::host::{Host, config, open, place};

fn query(members: Value) -> RunsQuery {
    serde_json::from_value(members).expect("a query")
}

async fn list(host: &Host, who: &Principal, members: Value) -> Vec<String> {
    let page = host.runtime.runs(who, query(members)).await.expect("runs");
    page.runs.into_iter().map(|run| run.id).collect()
}

fn who(name: &str, role: Role, scope: Option<&str>) -> Principal {
    Principal {
        name: name.to_owned(),
        token_id: None,
        roles: [role].into(),
        plugins: scope.map(|plugin| [plugin.to_owned()].into()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_found_by_what_they_are() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let wait = json!([{ "signal": { "name": "go" } }]);
    let done = host.start(json!([])).await;
    let failed = host.start(json!([{ "fail": { "text": "no" } }])).await;
    let waiting = host.start(wait.clone()).await;
    let paused = host.start(wait.clone()).await;
    let old = host
        .start(json!([{ "continue-as-new": { "steps": [] } }]))
        .await;
    for id in [&done, &failed, &old] {
        host.ended(id).await;
    }
    host.until(&waiting, |run| !run.waits_for.is_empty()).await;
    let owner = Principal::clone(&host.who);
    let pausing = host.runtime.pause_run(&owner, &paused).await;
    pausing.expect("paused");
    let all = json!({});
    // The one that goes on is there without anybody having asked for it.
    let settled = async {
        while list(&host, &owner, json!({ "status": "succeeded" }))
            .await
            .len()
            < 2
            || list(&host, &owner, json!({ "status": "waiting" }))
                .await
                .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let settled = tokio::time::timeout(Duration::from_secs(60), settled).await;
    settled.expect("all are listed");
    let found = list(&host, &owner, all.clone()).await;
    assert_eq!(found.len(), 6);
    assert!(found.is_sorted_by(|a, b| a > b), "newest first: {found:?}");
    let Some(End::Continued { run: next }) = host.run(&old).end else {
        panic!("{:?}", host.run(&old))
    };
    for (members, expect) in [
        (json!({ "status": "succeeded" }), vec![&next, &done]),
        (json!({ "status": "failed" }), vec![&failed]),
        (json!({ "status": "continued" }), vec![&old]),
        (json!({ "status": "waiting" }), vec![&waiting]),
        (json!({ "status": "paused" }), vec![&paused]),
        (json!({ "status": "cancelled" }), vec![]),
        (
            json!({ "agent": "prober", "status": "failed" }),
            vec![&failed],
        ),
        (json!({ "agent": "other" }), vec![]),
        (json!({ "by": "nobody" }), vec![]),
        (json!({ "by": owner.name, "limit": 1 }), vec![&found[0]]),
        (json!({ "before": found[2], "limit": 1 }), vec![&found[3]]),
        (json!({ "before": found[5] }), vec![]),
    ] {
        let mut expect: Vec<String> = expect.into_iter().cloned().collect();
        expect.sort_by(|a, b| b.cmp(a));
        let found = list(&host, &owner, members.clone()).await;
        assert_eq!(found, expect, "{members}");
    }
    for (who, count) in [
        (who("bob", Role::Caller, None), 0),
        (who(&owner.name, Role::Caller, None), 6),
        (who("bob", Role::Viewer, None), 6),
        (who("bob", Role::Viewer, Some("prober")), 6),
        (who("bob", Role::Viewer, Some("keeper")), 0),
        (who(&owner.name, Role::Admin, Some("keeper")), 0),
    ] {
        assert_eq!(list(&host, &who, all.clone()).await.len(), count, "{who:?}");
        let by = json!({ "by": owner.name });
        assert_eq!(list(&host, &who, by).await.len(), count, "{who:?}");
        let stats = host.runtime.run_stats(&who).await.expect("stats");
        assert_eq!(stats.len(), usize::from(who.may_see("prober")), "{who:?}");
    }
    let stats = host
        .runtime
        .run_stats(&owner)
        .await
        .expect("stats")
        .remove(0);
    assert_eq!((stats.started, stats.open), (6, 2));
    let ended = json!({ "succeeded": 2, "failed": 1, "continued": 1 });
    assert_eq!(json!(stats.ended), ended);
    assert!(stats.took.is_some_and(|took| took.p99_ms >= took.p50_ms));
    let wrong = host
        .runtime
        .runs(&owner, query(json!({ "limit": 0 })))
        .await;
    assert_eq!(wrong.expect_err("none").code(), "bad-request");
}

/// Counts what is read.
struct Counting {
    inner: Arc<MemoryStore>,
    reads: Arc<AtomicU64>,
}

impl Decorator for Counting {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }
    fn get(&self, space: &str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.inner.get(space, key)
    }
    fn range(
        &self,
        space: &str,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let pairs = self.inner.range(space, from, to, limit)?;
        self.reads.fetch_add(pairs.len() as u64, Ordering::Relaxed);
        Ok(pairs)
    }
    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let records = self.inner.read(stream, from, limit)?;
        self.reads
            .fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(records)
    }
}

/// Ended runs as they lie in the store, and on record.
async fn write(store: &MemoryStore, count: u64) {
    let mut batch = Batch::new();
    for n in 0..count {
        let id = format!("run_{n:028x}");
        let agent = if n % 100 == 7 { "seldom" } else { "prober" };
        let row = json!({
            "id": id, "agent": agent, "goal": "", "by": "ann", "state": "succeeded",
            "started_ms": n, "updated_ms": n + 5,
        });
        batch = batch.put("runs", id.clone(), row.to_string());
        for (action, outcome) in [("admin.run.start", "ok"), ("run.end", "succeeded")] {
            let mut record = AuditRecord::now("ann", action, &*id).outcome(outcome);
            record.at_ms = n;
            let detail = json!({ "agent": agent, "started_ms": n });
            batch = batch.op(Audit::op(&record.detail(detail)));
        }
    }
    store.commit(batch).await.expect("written");
}

/// What a page reads from the store is the same among 1,000 runs and 20,000.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_the_same_however_many_runs_there_are() {
    let mut costs = Vec::new();
    for count in [1_000, 20_000] {
        let (dir, disk) = place();
        let (inner, reads) = (MemoryStore::on(&disk), Arc::new(AtomicU64::new(0)));
        let store = Counting {
            inner: Arc::clone(&inner),
            reads: Arc::clone(&reads),
        };
        let runtime = open(config(dir.path()), Arc::new(store)).await;
        let runtime: Arc<Runtime> = runtime.expect("opens");
        write(&inner, count).await;
        let who = Principal::local_admin("test");
        let page = async |members: Value| -> RunsPage {
            let page = runtime.runs(&who, query(members)).await;
            page.expect("a page")
        };
        // The views read what is new on record first.
        assert_eq!(page(json!({ "limit": 1 })).await.runs.len(), 1);
        for (members, expect) in [
            (json!({ "limit": 50 }), 50),
            (
                json!({ "limit": 50, "status": "succeeded", "by": "ann" }),
                50,
            ),
            (json!({ "limit": 5, "agent": "seldom" }), 5),
            (json!({ "status": "failed" }), 0),
            (
                json!({ "limit": 50, "before": format!("run_{:028x}", count / 2) }),
                50,
            ),
        ] {
            let before = reads.load(Ordering::Relaxed);
            let found = page(members.clone()).await;
            let cost = reads.load(Ordering::Relaxed) - before;
            assert_eq!(found.runs.len(), expect, "{members} of {count}");
            assert!(
                cost <= expect as u64 + 5,
                "{members} of {count}: {cost} reads"
            );
            costs.push(cost);
        }
    }
    let (few, many) = costs.split_at(costs.len() / 2);
    assert_eq!(few, many);
}

/// Views are never the truth: without them, the list is the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_the_same_when_its_views_are_gone() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let done = host.start(json!([])).await;
    let failed = host.start(json!([{ "fail": { "text": "no" } }])).await;
    for id in [&done, &failed] {
        host.ended(id).await;
    }
    host.start(json!([{ "signal": { "name": "go" } }])).await;
    let owner = Principal::clone(&host.who);
    let all = list(&host, &owner, json!({})).await;
    assert_eq!(all.len(), 3);
    let views = host.runtime.config().views_dir();
    host.runtime.shutdown(Duration::from_secs(5)).await;
    drop(host);
    std::fs::remove_dir_all(&views).expect("removed");
    let host = Host::again(dir.path(), &disk).await;
    assert_eq!(list(&host, &owner, json!({})).await, all);
    let found = list(&host, &owner, json!({ "status": "failed" })).await;
    assert_eq!(found, [failed]);
    host.runtime.rebuild_views().await.expect("rebuilt");
    assert_eq!(list(&host, &owner, json!({})).await, all);
}
