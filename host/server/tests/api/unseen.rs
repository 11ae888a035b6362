//! What was done, or was not, where that can't be shown: to who left, or at all.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use airlock_journal::decorator::Decorator;
use airlock_journal::store::{BoxFuture, Committed};
use airlock_journal::{Batch, MemoryStore, Op, Record, Store, StoreError};
use airlock_runtime::{InstallRequest, Principal, Runtime};
use airlock_sandbox::testing::built;
use airlock_server::{InProcess, ServerConfig};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// A store whose runs can't be read at times, and that holds up what is noted of a key.
struct Blind {
    inner: Arc<MemoryStore>,
    is_blind: AtomicBool,
    holds_keys: AtomicBool,
    held: Semaphore,
    lets_go: Semaphore,
}

impl Decorator for Blind {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let of_key = |op: &Op| {
            matches!(
                op,
                Op::Put {
                    space: "idempotency",
                    ..
                }
            )
        };
        let is_held = batch.ops.iter().any(of_key) && self.holds_keys.swap(false, Ordering::SeqCst);
        let committed = self.inner.commit(batch);
        Box::pin(async move {
            let committed = committed.await;
            if is_held {
                self.held.add_permits(1);
                self.lets_go.acquire().await.expect("open").forget();
            }
            committed
        })
    }

    fn read(&self, stream: &[u8], from: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        if stream.starts_with(b"run/") && self.is_blind.load(Ordering::SeqCst) {
            return Err(StoreError::io("opening a file", "too many are open"));
        }
        self.inner.read(stream, from, limit)
    }
}

/// Over the routes: the status and the body.
async fn ask(routes: &InProcess, target: &str, key: &str, body: Value) -> (u16, Value) {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    let answer = routes.request("POST", target, &headers, body.to_string().into(), |_| true);
    let answer = answer.await.expect("an answer");
    let body = serde_json::from_slice(&answer.body).expect("JSON");
    (answer.status, body)
}

/// The routes over such a store, with an agent.
async fn routes(dir: &Path) -> (Arc<Blind>, Arc<Runtime>, InProcess) {
    let store = Arc::new(Blind {
        inner: MemoryStore::new(),
        is_blind: AtomicBool::new(false),
        holds_keys: AtomicBool::new(false),
        held: Semaphore::new(0),
        lets_go: Semaphore::new(0),
    });
    let config = crate::server::config(dir);
    let runtime = Runtime::with_store(config, Arc::clone(&store) as Arc<dyn Store>);
    let runtime = runtime.await.expect("the runtime opens");
    runtime.take_up_runs().await.expect("they are read");
    let root = Principal::local_admin("root");
    let request = InstallRequest {
        name: "prober".to_owned(),
        component: built("agent_prober"),
        digest: None,
        activate: true,
        check: false,
        why: String::new(),
    };
    let begun = runtime.install(&root, request).expect("begins");
    let installed = runtime.wait_operation(&root, &begun.id).await;
    installed.expect("is known").installed.expect("installed");
    let routes = InProcess::new(Arc::clone(&runtime), ServerConfig::default(), root);
    (store, runtime, routes)
}

/// A client that leaves while its key is noted: what it asked for is done all the same,
/// and whoever asks again is told so.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_it_begins_may_ask_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, runtime, routes) = routes(dir.path()).await;
    let start = json!({ "agent": "prober", "input": { "steps": [] } });
    store.holds_keys.store(true, Ordering::SeqCst);
    tokio::select! {
        answer = ask(&routes, "/v1/runs", "once", start.clone()) => panic!("{answer:?}"),
        held = store.held.acquire() => held.expect("open").forget(),
    }
    store.lets_go.add_permits(1);
    let again = loop {
        let (status, answer) = ask(&routes, "/v1/runs", "once", start.clone()).await;
        if answer["code"] != "idempotency-in-flight" {
            break (status, answer);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(again.0, 201, "{again:?}");
    let root = Principal::local_admin("root");
    let runs = runtime
        .runs(&root, Default::default())
        .await
        .expect("a page");
    assert_eq!(runs.runs.len(), 1, "it was started once");
    runtime.shutdown(Duration::from_secs(1)).await;
}

/// A signal that was given is not given again by whoever asks again under its key.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_and_cannot_be_shown_is_not_done_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, runtime, routes) = routes(dir.path()).await;
    let steps = json!([{ "signal": { "name": "never" } }]);
    let start = json!({ "agent": "prober", "input": { "steps": steps } });
    let (status, run) = ask(&routes, "/v1/runs", "start", start).await;
    assert_eq!(status, 201, "{run}");
    let id = run["id"].as_str().expect("an id");
    store.is_blind.store(true, Ordering::SeqCst);
    let signals = format!("/v1/runs/{id}/signals/go");
    let (first, told) = ask(&routes, &signals, "once", json!({ "payload": 1 })).await;
    assert_eq!(
        (first, &told["code"]),
        (500, &json!("done-not-shown")),
        "{told}"
    );
    let detail = told["detail"].as_str().expect("words");
    assert!(
        detail.contains("it was done") && detail.contains(id),
        "{detail}"
    );
    store.is_blind.store(false, Ordering::SeqCst);
    let again = ask(&routes, &signals, "once", json!({ "payload": 1 })).await;
    assert_eq!(again, (500, told), "as it was told");
    let root = Principal::local_admin("root");
    let events = runtime.run_events(&root, id, 0, 1_000).expect("a page");
    let events = serde_json::to_value(events.events).expect("JSON");
    let events = events.as_array().expect("a list");
    let given = events
        .iter()
        .filter(|event| event.to_string().contains("signalled"));
    assert_eq!(given.count(), 1, "{events:?}");
    runtime.shutdown(Duration::from_secs(1)).await;
}
