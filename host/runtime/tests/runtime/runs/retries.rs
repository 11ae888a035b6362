//! Calls that fail: tried again as their grant says, in the count over restarts,
//! and what becomes of their run.

use airlock_runtime::{Block, RunStatus};
use serde_json::{Value, json};

use crate::host::{Host, place};

fn fail(code: &str) -> Value {
    json!({ "call": { "tool": "keeper/fail", "input": { "code": code } } })
}

impl Host {
    /// With `keeper/fail` of a class, under a rule that says `more`.
    async fn failing(&self, class: &str, more: Value) {
        let effects = json!({ "fail": class, "get": "read-only" });
        let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": effects });
        self.grant("keeper", kept).await;
        self.rule(more).await;
    }

    fn retries(&self, run: &str) -> usize {
        self.count_of(run, "retried")
    }

    /// How many records of a kind there are.
    fn count_of(&self, run: &str, kind: &str) -> usize {
        let page = self.runtime.run_events(&self.who, run, 0, 1_000);
        let events = json!(page.expect("reads").events);
        let events = events.as_array().expect("a list").iter();
        events.filter(|event| event["event"] == kind).count()
    }
}

/// Class, error, rule: how often the call is made, and how its run ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_tried_again_as_its_grant_says() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let quick =
        |attempts: u32| json!({ "attempts": attempts, "backoff": "1ms", "backoff_max": "5ms" });
    let table = [
        (
            "idempotent",
            "transient",
            json!({ "retry": quick(3) }),
            3,
            RunStatus::Succeeded,
        ),
        (
            "idempotent",
            "transient",
            json!({ "retry": quick(1) }),
            1,
            RunStatus::Succeeded,
        ),
        (
            "idempotent",
            "unknown",
            json!({ "retry": quick(2) }),
            2,
            RunStatus::Blocked,
        ),
        (
            "idempotent",
            "permanent",
            json!({ "retry": quick(9) }),
            1,
            RunStatus::Succeeded,
        ),
        (
            "plain",
            "transient",
            json!({ "retry": quick(9) }),
            1,
            RunStatus::Succeeded,
        ),
        (
            "plain",
            "unknown",
            json!({ "retry": quick(9) }),
            1,
            RunStatus::Blocked,
        ),
        (
            "plain",
            "unknown",
            json!({ "on_unknown": "fail" }),
            1,
            RunStatus::Succeeded,
        ),
        (
            "plain",
            "unknown",
            json!({ "on_unknown": "retry", "retry": quick(4) }),
            4,
            RunStatus::Succeeded,
        ),
        (
            "idempotent",
            "transient",
            json!({ "retry": quick(2), "on_error": { "transient": "escalate" } }),
            2,
            RunStatus::Escalated,
        ),
        (
            "plain",
            "permanent",
            json!({ "on_error": { "permanent": "abort" } }),
            1,
            RunStatus::Failed,
        ),
        (
            "plain",
            "unknown",
            json!({ "on_unknown": "fail", "on_error": { "unknown": "escalate" } }),
            1,
            RunStatus::Escalated,
        ),
        (
            "plain",
            "permanent",
            json!({ "on_error": { "transient": "abort" } }),
            1,
            RunStatus::Succeeded,
        ),
    ];
    let mut made = 0;
    for (class, code, rule, calls, status) in table {
        host.failing(class, rule.clone()).await;
        let run = host.start(json!([fail(code)])).await;
        let over = host
            .until(&run, |run| run.end.is_some() || run.blocked.is_some())
            .await;
        assert_eq!(over.run.status, status, "{class} {code} {rule} {over:?}");
        made += calls;
        assert_eq!(host.counted("failed").await, made, "{class} {code} {rule}");
        let (used, retried) = (host.count_of(&run, "used"), host.retries(&run));
        assert!(used >= retried, "{code} {rule}: each attempt is charged");
        if status == RunStatus::Blocked {
            let unknown = matches!(over.blocked, Some(Block::UnknownOutcome { id: 0, .. }));
            assert!(unknown, "{over:?}");
        }
    }
}

/// The count is in the journal, and an end leaves nothing that is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_over_restarts_and_end_with_the_run() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let slow = json!({ "attempts": 2, "backoff": "1s", "backoff_max": "1s" });
    host.failing("idempotent", json!({ "retry": slow })).await;
    let run = host.start(json!([fail("transient")])).await;
    host.until(&run, |run| {
        run.waits_for.first().is_some_and(|open| open.attempt == 2)
    })
    .await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    let results = host.results(&run).await.to_string();
    assert!(results.contains("not now"), "{results}");
    assert_eq!(host.counted("failed").await, 2, "two in all");
    assert_eq!(host.retries(&run), 1);

    let hours = json!({ "attempts": 9, "backoff": "1h", "backoff_max": "1h" });
    host.failing("idempotent", json!({ "retry": &hours })).await;
    let run = host.start(json!([fail("transient")])).await;
    host.until(&run, |run| {
        run.waits_for.first().is_some_and(|open| open.attempt == 2)
    })
    .await;
    host.runtime
        .cancel_run(&host.who, &run, "")
        .await
        .expect("taken");
    assert_eq!(host.ended(&run).await.run.status, RunStatus::Cancelled);
    assert!(host.run(&run).waits_for.is_empty());
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    assert_eq!((host.retries(&run), host.counted("failed").await), (1, 3));
    assert!(host.run(&run).waits_for.is_empty());

    // What may have happened waits as long before it is made again.
    let lost = json!({ "on_unknown": "retry", "retry": hours });
    host.failing("plain", lost).await;
    let run = host.start(json!([fail("unknown")])).await;
    host.until(&run, |run| {
        run.waits_for.first().is_some_and(|open| open.attempt == 2)
    })
    .await;
    assert_eq!((host.retries(&run), host.counted("failed").await), (1, 4));
}
