//! Runs whose agent has ended: what is still to be written, waited for and handed
//! on.

use airlock_journal::Store;
use airlock_runtime::RuntimeConfig;

use super::*;
use crate::host::gated::Gated;

/// What follows from a run's end is written with it, however much was to be
/// written before: the host dies between the two.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_said_much_has_ended_when_its_end_is_written() {
    let (dir, disk) = place();
    let gate = Gated::on(&disk);
    let host = gate.host(crate::host::config(dir.path())).await;
    host.prepare(&[]).await;
    gate.hold_records(200 << 10);
    let set = json!({ "set": { "key": "k", "value": "x".repeat(60 << 10) } });
    let much = json!([{ "repeat": { "times": 60, "steps": [set] } }]);
    let run = host.start(much).await;
    while !gate.is_held() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The agent has said the rest of it, and ended.
    tokio::time::sleep(Duration::from_millis(300)).await;
    gate.hold_records(200 << 10);
    gate.let_go();
    while !gate.is_held() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let row = host.store.get("runs", run.as_bytes()).expect("reads");
    let row: Value = serde_json::from_slice(&row.expect("a row")).expect("JSON");
    let page = host.runtime.run_events(&host.who, &run, 0, 1_000);
    let events = page.expect("reads").events;
    let ended = events.iter().any(|event| json!(event)["event"] == "ended");
    assert_eq!(row["state"] != "open", ended, "{row}");
    let open = host.store.get("runs-open", run.as_bytes()).expect("reads");
    assert_eq!(open.is_none(), ended);
    gate.let_go();
    host.results(&run).await;
}

fn one_sandbox(dir: &Path) -> RuntimeConfig {
    RuntimeConfig {
        agents_max: 1,
        runs_max: 4,
        ..crate::host::config(dir)
    }
}

/// Its call waits for a person; the sandbox is another's.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_agent_is_gone_keeps_no_sandbox_from_another() {
    let (dir, disk) = place();
    let host = Host::with(one_sandbox(dir.path()), &disk).await;
    host.runtime.take_up_runs().await.expect("they are read");
    host.prepare(&["keeper/*"]).await;
    let lets_go = json!([{ "within": { "ms": 1, "steps": [add()] } }]);
    let waits = host.start_with(lets_go, json!({ "autonomy": "ask" })).await;
    host.until(&waits, |_| host.open_questions().len() == 1)
        .await;
    host.results(&host.start(json!([])).await).await;
    assert!(host.run(&waits).end.is_none());
    let question = host.open_questions().remove(0).id;
    assert_eq!(decide(&host, "other", &question, "approve").await, Ok(()));
    host.results(&waits).await;
    assert_eq!(host.added().await, 1);
}

/// The root waits until both have begun, of which one at a time has a place.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_leaves_children_and_those_do_not_wait_for_each_other() {
    let (dir, disk) = place();
    let host = Host::with(one_sandbox(dir.path()), &disk).await;
    host.runtime.take_up_runs().await.expect("they are read");
    host.prepare(&[]).await;
    let leave = json!({ "start-and-leave": { "steps": [] } });
    let root = host.start(json!([leave, leave])).await;
    host.results(&root).await;
    for child in host.run(&root).children {
        host.results(&child).await;
    }
    assert_eq!(host.run(&root).children.len(), 2);
}

/// However the agent ends: a signal it was told of and did not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_was_told_of_goes_on_with_the_run() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let signal = |name: &str| json!({ "signal": { "name": name } });
    let ends = json!({ "finish-as-new": { "steps": [signal("x")] } });
    let first = json!({ "within": { "ms": 3_600_000, "steps": [signal("a"), ends] } });
    let select = json!({ "select": [first, signal("x")] });
    let run = host.start(json!([signal("go"), select])).await;
    for name in ["a", "x", "go"] {
        host.signal(&run, name, json!(name)).await.expect("kept");
    }
    let Some(End::Continued { run }) = host.ended(&run).await.end else {
        panic!("{:?}", host.run(&run))
    };
    assert_eq!(host.results(&run).await, json!([{ "ok": "x" }]));
}

/// Paused, halted or blocked while it waits in its sandbox, it leaves memory.
#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_halted_while_they_wait_leave_memory() {
    let (dir, disk) = place();
    let config = RuntimeConfig {
        agent_warm: Duration::from_secs(2),
        ..crate::host::config(dir.path())
    };
    let host = Host::with(config, &disk).await;
    host.runtime.take_up_runs().await.expect("they are read");
    host.prepare(&[]).await;
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(host.start(json!([{ "signal": { "name": "go" } }])).await);
    }
    for run in &runs {
        host.until(run, |run| run.waits_for.len() == 1).await;
    }
    let request = |halted| HaltRequest {
        halted,
        agent: Some("prober".to_owned()),
        ..HaltRequest::default()
    };
    host.runtime
        .halt(&host.who, request(true))
        .await
        .expect("taken");
    host.until_out_of_memory().await;
    host.runtime
        .halt(&host.who, request(false))
        .await
        .expect("taken");
    for run in &runs {
        host.signal(run, "go", json!(1)).await.expect("kept");
        host.results(run).await;
    }
}

/// Said again, it is done already: nothing more is written.
#[tokio::test(flavor = "multi_thread")]
async fn pausing_and_cancelling_twice_is_on_record_once() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let run = host.start(json!([{ "signal": { "name": "go" } }])).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    for _ in 0..3 {
        let paused = host.runtime.pause_run(&host.who, &run).await;
        paused.expect("taken");
    }
    assert_eq!(host.audited("admin.run.pause").await.len(), 1);
    let request = HaltRequest {
        halted: true,
        run: Some(run.clone()),
        ..HaltRequest::default()
    };
    // It can't end meanwhile.
    host.runtime
        .halt(&host.who, request.clone())
        .await
        .expect("taken");
    for _ in 0..3 {
        let ended = host.runtime.cancel_run(&host.who, &run, "enough").await;
        ended.expect("taken");
    }
    let lifts = HaltRequest {
        halted: false,
        ..request
    };
    host.runtime.halt(&host.who, lifts).await.expect("taken");
    host.ended(&run).await;
    assert_eq!(host.audited("admin.run.cancel").await.len(), 1);
}

/// Its journal is full and a person ends it: the child it let go of begins all the
/// same, when there is a place.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_run_that_is_cancelled_loses_no_child_that_it_let_go_of() {
    let (dir, disk) = place();
    let host = Host::with(one_sandbox(dir.path()), &disk).await;
    host.runtime.take_up_runs().await.expect("they are read");
    host.prepare(&[]).await;
    let leave = json!({ "start-and-leave": { "steps": [{ "signal": { "name": "go" } }] } });
    let set = json!({ "set": { "key": "k", "value": "x".repeat(40 << 10) } });
    let fill = json!({ "repeat": { "times": 10, "steps": [set] } });
    let budget = json!({ "budget": { "journal_bytes": 100 << 10 } });
    let root = host.start_with(json!([leave, leave, fill]), budget).await;
    host.until(&root, |run| run.blocked.is_some()).await;
    let cancelled = host.runtime.cancel_run(&host.who, &root, "enough").await;
    cancelled.expect("taken");
    let first = host.until(&root, |run| run.children.len() == 1).await;
    host.signal(&first.children[0], "go", json!(1))
        .await
        .expect("kept");
    let ended = host.ended(&root).await;
    assert_eq!(ended.run.status, RunStatus::Cancelled);
    assert_eq!(ended.children.len(), 2);
}

/// Its agent has more and more to say, and what people say waits for none of that.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_says_much_keeps_nobody_from_ending_its_run() {
    let (dir, disk) = place();
    let gate = Gated::on(&disk);
    let host = gate.host(crate::host::config(dir.path())).await;
    host.prepare(&[]).await;
    gate.slow_down(Duration::from_millis(10));
    let set = json!({ "set": { "key": "k", "value": "x".repeat(2_000) } });
    let much = json!([{ "repeat": { "times": 20_000, "steps": [set] } }]);
    let run = host.start(much).await;
    host.until(&run, |run| run.events > 100).await;
    let before = gate.writes();
    let cancelled = host.runtime.cancel_run(&host.who, &run, "enough").await;
    let writes = gate.writes() - before;
    cancelled.expect("taken");
    assert!(writes <= 4, "it took {writes} writes");
    assert_eq!(host.ended(&run).await.run.status, RunStatus::Cancelled);
}
