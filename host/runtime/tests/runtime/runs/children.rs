//! Children start as runs do: when there is a place for them.

use airlock_runtime::RuntimeConfig;

use super::*;

/// A host with few places: four roots, one child of each depth and root.
async fn narrow(dir: &Path, disk: &Disk) -> Host {
    let config = RuntimeConfig {
        runs_max: 4,
        ..crate::host::config(dir)
    };
    let host = Host::with(config, disk).await;
    host.runtime.take_up_runs().await.expect("they are read");
    host.prepare(&[]).await;
    host
}

fn start(steps: Value) -> Value {
    json!({ "start": { "steps": steps } })
}

/// One after the other, and none waits for ever, however deep they stand.
#[tokio::test(flavor = "multi_thread")]
async fn children_wait_for_a_place() {
    let (dir, disk) = place();
    let host = narrow(dir.path(), &disk).await;
    let child = || start(json!([{ "signal": { "name": "go" } }]));
    let root = host
        .start(json!([{ "join": [child(), child(), child()] }]))
        .await;
    for count in 1..=3 {
        let run = host.until(&root, |run| run.children.len() == count).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(host.run(&root).children.len(), count, "one at a time");
        let open = |id: &&String| host.run(id).end.is_none();
        let child = run.children.iter().find(open).expect("one that waits");
        let told = host.signal(child, "go", json!(1)).await;
        told.expect("kept");
    }
    host.results(&root).await;

    let leaf = json!([{ "sleep": { "ms": 1 } }]);
    let tree = (0..5).fold(
        leaf,
        |below, _| json!([{ "join": [start(below.clone()), start(below)] }]),
    );
    let roots = [host.start(tree.clone()).await, host.start(tree).await];
    for root in roots {
        let results = host.results(&root).await.to_string();
        assert!(!results.contains("error"), "{results}");
    }
}

/// Children take their agent's rate as any start does, and wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn children_wait_for_the_rate_of_their_agent() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let agents = json!({ "agents": [{ "agent": "prober" }] });
    let slow = json!({ "grants": agents, "limits": { "rate": "2/s" } });
    let slow: GrantsUpdate = serde_json::from_value(slow).expect("limits");
    let set = host.runtime.set_grants(&host.who, "prober", slow).await;
    set.expect("they hold");
    let child = || start(json!([]));
    let root = host
        .start(json!([{ "join": [child(), child(), child()] }]))
        .await;
    let results = host.results(&root).await.to_string();
    assert!(!results.contains("error"), "{results}");
    let detail = host.run(&root);
    let started: Vec<u64> = detail
        .children
        .iter()
        .map(|id| host.run(id).run.started_ms)
        .collect();
    let first = detail.run.started_ms;
    let last = started.iter().max().expect("three");
    // Two of four at once, the others half a second apart.
    assert!(last - first >= 500, "{first} {started:?}");
}

/// Somebody else's children spin; a timer fires all the same.
#[tokio::test(flavor = "multi_thread")]
async fn many_runs_of_one_keep_no_timer_of_another() {
    let (dir, disk) = place();
    let config = RuntimeConfig {
        runs_max: 10,
        agent_warm: Duration::ZERO,
        ..crate::host::config(dir.path())
    };
    let host = Host::with(config, &disk).await;
    host.runtime.take_up_runs().await.expect("they are read");
    host.prepare(&[]).await;
    let long = json!({ "grants": {}, "limits": { "cpu": "1h" } });
    let long: GrantsUpdate = serde_json::from_value(long).expect("limits");
    let set = host.runtime.set_grants(&host.who, "prober", long).await;
    set.expect("they hold");
    let other = Principal {
        name: "other".to_owned(),
        ..(*host.who).clone()
    };
    let request =
        json!({ "agent": "prober", "input": { "steps": [{ "sleep": { "ms": 1_500 } }] } });
    let request: StartRun = serde_json::from_value(request).expect("a request");
    let calm = host.runtime.start_run(&other, request).await;
    let calm = calm.expect("it starts").id;
    host.until(&calm, |run| run.run.status == RunStatus::Waiting)
        .await;
    for _ in 0..6 {
        host.start(json!([{ "spin": {} }])).await;
    }
    host.results(&calm).await;
}
