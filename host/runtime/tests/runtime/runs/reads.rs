//! Reads that fail once: nobody is stranded by them.

use airlock_runtime::RuntimeConfig;

use super::replays::fork;
use super::*;
use crate::host::gated::Gated;

/// Waits until the reads of a run's journal that were to fail have.
async fn failed(store: &Gated, run: &str) {
    let failed = async {
        while store.fails_left(run) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let failed = tokio::time::timeout(PATIENCE, failed).await;
    assert!(failed.is_ok(), "nobody reads {run}");
}

async fn host(store: &std::sync::Arc<Gated>, dir: &Path) -> Host {
    let config = RuntimeConfig {
        agent_warm: Duration::ZERO,
        ..crate::host::config(dir)
    };
    store.host(config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_once_strands_no_run() {
    let (dir, disk) = place();
    let store = Gated::on(&disk);
    let host = host(&store, dir.path()).await;
    host.prepare(&[]).await;
    // When its time comes.
    let timer = host.start(json!([{ "sleep": { "ms": 1_500 } }])).await;
    host.until_out_of_memory().await;
    store.fail_reads(&timer, 2);
    // When its child ends, or is to end.
    let child = json!([{ "signal": { "name": "go" } }]);
    let start = json!({ "start": { "steps": child } });
    let parents = [
        host.start(json!([start])).await,
        host.start(json!([start])).await,
    ];
    let mut children = Vec::new();
    for parent in &parents {
        let run = host.until(parent, |run| run.children.len() == 1).await;
        children.push(run.children[0].clone());
    }
    host.until_out_of_memory().await;
    store.fail_reads(&parents[0], 2);
    let told = host.signal(&children[0], "go", json!(1)).await;
    told.expect("kept");
    failed(&store, &parents[0]).await;
    host.results(&parents[0]).await;
    store.fail_reads(&children[1], 2);
    let cancelled = host.runtime.cancel_run(&host.who, &parents[1], "").await;
    cancelled.expect("taken");
    failed(&store, &children[1]).await;
    for run in [&parents[1], &children[1]] {
        assert_eq!(host.ended(run).await.run.status, RunStatus::Cancelled);
    }
    failed(&store, &timer).await;
    host.results(&timer).await;
}

/// A run that was at work when its host died, and can't be read when the next one
/// starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_at_the_start_strands_no_run() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let run = host.start(json!([{ "signal": { "name": "go" } }])).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    drop(host);
    let store = Gated::on(&disk);
    store.fail_reads(&run, 2);
    let host = self::host(&store, dir.path()).await;
    failed(&store, &run).await;
    let told = async {
        while host.signal(&run, "go", json!(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("it is there");
    host.results(&run).await;
}

/// A run that its parent ends while it is being taken up: both come for it at once, as
/// the host starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_taken_up_once_however_many_come_for_it() {
    let (dir, disk) = place();
    let store = Gated::on(&disk);
    let first = host(&store, dir.path()).await;
    first.prepare(&[]).await;
    let below = json!({ "start": { "steps": [{ "signal": { "name": "never" } }] } });
    let parent = first
        .start(json!([{ "start": { "steps": [below] } }]))
        .await;
    let run = first.until(&parent, |run| run.children.len() == 1).await;
    let child = run.children[0].clone();
    first.until(&child, |run| run.children.len() == 1).await;
    first.until_out_of_memory().await;
    // The host dies when the parent's end is on record, before the child's is.
    first.store.inject(Fault::Write { n: 1 });
    let cancelled = first.runtime.cancel_run(&first.who, &parent, "enough");
    cancelled.await.expect("taken");
    while first.runtime.ready().is_ok() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let is_to_end = |run| first.records_of(run).contains("cancel-requested");
    assert!(is_to_end(&parent) && !is_to_end(&child));
    drop(first);
    let store = Gated::on(&disk);
    store.read_slowly_here(&child);
    let host = host(&store, dir.path()).await;
    for run in [&parent, &child] {
        assert_eq!(host.ended(run).await.run.status, RunStatus::Cancelled);
    }
    // A second one would stay, with nothing that it may write.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((host.in_memory(), host.runtime.ready()), (0, Ok(())));
}

/// What is left of a long run that is removed while somebody reads it is not taken for
/// all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_removed_while_it_is_read_is_not_half_a_run() {
    let (dir, disk) = place();
    let store = Gated::on(&disk);
    let host = host(&store, dir.path()).await;
    host.prepare(&[]).await;
    let set = json!({ "set": { "key": "k", "value": 1 } });
    let many = json!({ "repeat": { "times": 1_100, "steps": [set] } });
    let run = host.start(json!([many, { "sleep": { "ms": 1 } }])).await;
    host.results(&run).await;
    let whole = fork(&host, &run, json!({ "at": 0 })).await;
    whole.expect("it is there");
    store.remove_while_it_is_read(&run);
    let half = fork(&host, &run, json!({ "at": 0 })).await;
    assert_eq!(half, Err("store-failed"));
}
