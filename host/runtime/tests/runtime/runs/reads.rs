//! Reads that fail once: nobody is stranded by them.

use airlock_runtime::RuntimeConfig;

use super::*;
use crate::host::gated::Gated;

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
        host.start(json!([{ "within": { "ms": 1, "steps": [] } }, start]))
            .await,
    ];
    let mut children = Vec::new();
    for parent in &parents {
        let run = host.until(parent, |run| run.children.len() == 1).await;
        children.push(run.children[0].clone());
    }
    host.until_out_of_memory().await;
    store.fail_reads(&parents[0], 2);
    let told = host
        .runtime
        .signal_run(&host.who, &children[0], "go", &json!(1));
    told.await.expect("kept");
    host.results(&parents[0]).await;
    let cancelled = host.runtime.cancel_run(&host.who, &parents[1], "").await;
    store.fail_reads(&children[1], 2);
    cancelled.expect("taken");
    assert_eq!(
        host.ended(&parents[1]).await.run.status,
        RunStatus::Cancelled
    );
    assert_eq!(
        host.ended(&children[1]).await.run.status,
        RunStatus::Cancelled
    );
    host.results(&timer).await;
    // Over a restart: what is to go on at once.
    let busy = host
        .start(json!([{ "sleep": { "ms": 1 } }, { "signal": { "name": "go" } }]))
        .await;
    host.until(&busy, |run| run.waits_for.len() == 1).await;
    drop(host);
    for run in [&timer, &parents[0]] {
        assert_eq!(store.fails_left(run), 0, "it was read");
    }
}

/// A run that was at work when its host died, and can't be read when the next one
/// starts.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_fails_at_the_start_strands_no_run() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let run = host.start(json!([{ "sleep": { "ms": 1 } }])).await;
    host.results(&run).await;
    let run = host.start(json!([{ "signal": { "name": "go" } }])).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    drop(host);
    let store = Gated::on(&disk);
    store.fail_reads(&run, 2);
    let host = self::host(&store, dir.path()).await;
    assert!(store.fails_left(&run) < 2, "it was tried");
    host.until_out_of_memory().await;
    while store.fails_left(&run) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = async {
        while host
            .runtime
            .signal_run(&host.who, &run, "go", &json!(1))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("it is there");
    host.results(&run).await;
}
