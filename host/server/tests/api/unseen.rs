//! What was done, where it can't be shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use airlock_journal::decorator::Decorator;
use airlock_journal::{MemoryStore, Record, Store, StoreError};
use airlock_runtime::{InstallRequest, Principal, Runtime};
use airlock_sandbox::testing::built;
use airlock_server::{InProcess, ServerConfig};
use serde_json::{Value, json};

/// A store whose runs can't be read at times.
struct Blind {
    inner: Arc<MemoryStore>,
    is_blind: AtomicBool,
}

impl Decorator for Blind {
    fn inner(&self) -> &dyn Store {
        &*self.inner
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

/// A signal that was given is not given again by whoever asks again under its key.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_and_cannot_be_shown_is_not_done_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(Blind {
        inner: MemoryStore::new(),
        is_blind: AtomicBool::new(false),
    });
    let config = crate::server::config(dir.path());
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
    let steps = json!([{ "signal": "never" }]);
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
