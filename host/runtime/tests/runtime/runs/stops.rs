//! Runs whose agent computes, or only waits, while somebody stops them.

use airlock_runtime::RuntimeConfig;

use super::*;
use crate::host::gated::Gated;

/// One sandbox, and agents that may compute for an hour.
async fn host(dir: &Path, disk: &Disk, warm: Duration) -> Host {
    let config = RuntimeConfig {
        agents_max: 1,
        agent_warm: warm,
        ..crate::host::config(dir)
    };
    let host = Host::with(config, disk).await;
    host.runtime.take_up_runs().await.expect("they are read");
    host.prepare(&["keeper/*"]).await;
    let tools = json!([{ "tool": "keeper/*" }]);
    let long = json!({ "grants": { "tools": tools }, "limits": { "cpu": "1h" } });
    let long: GrantsUpdate = serde_json::from_value(long).expect("limits");
    let set = host.runtime.set_grants(&host.who, "prober", long).await;
    set.expect("they hold");
    host
}

impl Host {
    async fn halt_run(&self, run: &str, halted: bool) {
        let request = HaltRequest {
            halted,
            run: Some(run.to_owned()),
            ..HaltRequest::default()
        };
        self.runtime.halt(&self.who, request).await.expect("taken");
    }
}

/// What it computes for an hour ends within this test.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_computes_is_stopped_like_any_other() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk, Duration::from_secs(10)).await;
    let spins = || json!([add(), { "spin": {} }]);
    let under_way = |count| {
        let host = &host;
        async move {
            while host.added().await < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    };
    let other = || async {
        // It needs the one sandbox.
        host.results(&host.start(json!([])).await).await;
    };
    let cancelled = host.start(spins()).await;
    under_way(1).await;
    let told = host.runtime.cancel_run(&host.who, &cancelled, "").await;
    told.expect("taken");
    assert_eq!(
        host.ended(&cancelled).await.run.status,
        RunStatus::Cancelled
    );
    other().await;

    let paused = host.start(spins()).await;
    under_way(2).await;
    host.runtime
        .pause_run(&host.who, &paused)
        .await
        .expect("paused");
    other().await;
    // It goes on from its journal, alone.
    let resumed = host
        .runtime
        .resume_run(&host.who, &paused, Resume::default());
    resumed.await.expect("goes on");
    tokio::time::sleep(Duration::from_millis(100)).await;
    host.halt_run(&paused, true).await;
    other().await;
    let run = host.run(&paused);
    assert!(run.blocked.is_none() && run.end.is_none(), "{run:?}");
    host.halt_run(&paused, false).await;
    host.runtime.shutdown(Duration::from_secs(5)).await;
    assert_eq!(host.looked().await, None, "it is down");
}

/// A run that waits, with a call it let go of that is still tried: halted and
/// lifted, it leaves memory when that has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_leaves_memory_after_a_halt_and_during_one() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk, Duration::ZERO).await;
    let retry = json!({ "attempts": 2, "backoff": "1s", "backoff_max": "1s" });
    let tools = json!([{ "tool": "keeper/*", "retry": retry }]);
    host.grant("prober", json!({ "tools": tools })).await;
    let effects = json!({ "fail": "idempotent" });
    let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": effects });
    host.grant("keeper", kept).await;
    let fail = json!({ "call": { "tool": "keeper/fail", "input": { "code": "transient" } } });
    let late = json!({ "within": { "ms": 1, "steps": [fail] } });
    let run = host
        .start(json!([late, { "signal": { "name": "go" } }]))
        .await;
    let waits = |run: &RunDetail| {
        let calls = run.waits_for.iter().filter(|open| open.attempt == 2);
        calls.count() == 1 && run.waits_for.len() == 2
    };
    host.until(&run, waits).await;
    host.halt_run(&run, true).await;
    host.halt_run(&run, false).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    host.until_out_of_memory().await;
    // While it is halted, too; what came meanwhile is seen to when it is lifted.
    host.halt_run(&run, true).await;
    let told = host.signal(&run, "go", json!(1)).await;
    told.expect("kept");
    host.until_out_of_memory().await;
    assert!(host.run(&run).end.is_none(), "it stands still");
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    assert!(host.run(&run).end.is_none(), "over a restart");
    host.halt_run(&run, false).await;
    host.results(&run).await;
}

/// What its grant says of a call is asked when the host goes on, not while it stops:
/// nobody is asked about a call that would not be made.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_tried_again_while_the_host_stops_is_put_off() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk, Duration::ZERO).await;
    let effects = json!({ "fail": "idempotent" });
    let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": effects });
    host.grant("keeper", kept).await;
    let grant = |approval: &str| {
        let retry = json!({ "attempts": 2, "backoff": "3s", "backoff_max": "3s" });
        json!({ "tools": [{ "tool": "keeper/*", "retry": retry, "approval": approval }] })
    };
    host.grant("prober", grant("never")).await;
    let fail = json!({ "call": { "tool": "keeper/fail", "input": { "code": "transient" } } });
    let run = host.start(json!([fail])).await;
    let is_tried_again = |run: &RunDetail| run.waits_for.iter().any(|open| open.attempt == 2);
    host.until(&run, is_tried_again).await;
    host.grant("prober", grant("always")).await;
    host.runtime.drain();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let stands = host.run(&run);
    assert!(is_tried_again(&stands), "{stands:?}");
    let asked = |run: &RunDetail| run.waits_for.iter().any(|open| open.to_approve);
    assert!(!asked(&stands), "{stands:?}");
    host.runtime.shutdown(Duration::from_secs(5)).await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.until(&run, asked).await;
}

/// What a run was told while another write was under way is durable before the host says
/// that it has stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_stopped_when_what_its_runs_were_told_is_durable() {
    let (dir, disk) = place();
    let gate = Gated::on(&disk);
    let host = gate.host(crate::host::config(dir.path())).await;
    host.prepare(&[]).await;
    let steps = ["a", "b"].map(|name| json!({ "signal": { "name": name } }));
    let run = host.start(json!(steps)).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    gate.hold_event("signalled");
    let told = async {
        let first = host.signal(&run, "a", json!(1));
        tokio::join!(first, host.signal(&run, "b", json!(2)))
    };
    let stops = async {
        while !gate.is_held() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut stopped = std::pin::pin!(host.runtime.shutdown(Duration::ZERO));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut stopped).await;
        gate.let_go();
        if early.is_err() {
            stopped.await;
        }
        early
    };
    let (told, early) = tokio::join!(told, stops);
    assert_eq!(told, (Ok(()), Ok(())));
    assert!(early.is_err(), "it had not written what it was told");
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    assert_eq!(host.results(&run).await, json!([{ "ok": 1 }, { "ok": 2 }]));
}
