//! Retention: what is removed is gone for good, and nothing else is.

use std::time::Duration;

use airlock_journal::memory::{Disk, Fault};
use airlock_journal::{Batch, MemoryStore, Store};
use airlock_runtime::{
    End, Failure, Principal, PruneRequest, PrunedRuns, Role, RunError, RunsQuery, RuntimeConfig,
};
use serde_json::{Value, json};

use crate::host::{Host, config, place};

const HOUR: u64 = 3_600_000;

pub async fn prune(host: &Host, who: &Principal, members: Value) -> Result<PrunedRuns, RunError> {
    let mut request = json!({ "older_than_s": 3_600 });
    for (name, value) in members.as_object().expect("an object") {
        request[name] = value.clone();
    }
    let request: PruneRequest = serde_json::from_value(request).expect("a request");
    host.runtime.prune_runs(who, request).await
}

/// Makes a run's row two hours older.
pub async fn age(host: &Host, id: &str) {
    let row = host.store.get("runs", id.as_bytes()).expect("reads");
    let mut row: Value = serde_json::from_slice(&row.expect("a row")).expect("JSON");
    row["updated_ms"] = json!(airlock_runtime::now_ms() - 2 * HOUR);
    let batch = Batch::new().put("runs", id.to_owned(), row.to_string());
    host.store.commit(batch).await.expect("written");
}

fn records(store: &MemoryStore, id: &str) -> usize {
    let stream = format!("run/{id}");
    let head = store.head(stream.as_bytes()).expect("reads");
    let raw = store.raw(stream.as_bytes(), 0, 10_000).expect("reads");
    assert_eq!(head.len as usize, raw.len());
    raw.len()
}

fn code(host: &Host, who: &Principal, id: &str) -> &'static str {
    let shown = host.runtime.run_detail(who, id);
    let told = host.runtime.run_events(who, id, 0, 10);
    let exported = host.runtime.export_run(who, id);
    let code = shown.map_or_else(|error| error.code(), |_| "ok");
    assert_eq!(told.map_or_else(|error| error.code(), |_| "ok"), code);
    assert_eq!(exported.map_or_else(|error| error.code(), |_| "ok"), code);
    code
}

async fn listed(host: &Host) -> Vec<String> {
    let page = host.runtime.runs(&host.who, RunsQuery::default()).await;
    let runs = page.expect("runs").runs.into_iter();
    runs.map(|run| run.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_runs_are_removed_for_good_and_no_others() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let owner = Principal::clone(&host.who);
    let young = host.start(json!([])).await;
    let old = host.start(json!([])).await;
    let open = host.start(json!([{ "signal": { "name": "go" } }])).await;
    let first = host
        .start(json!([{ "continue-as-new": { "steps": [] } }]))
        .await;
    let Some(End::Continued { run: next }) = host.ended(&first).await.end else {
        panic!("{:?}", host.run(&first))
    };
    for id in [&young, &old, &next] {
        host.ended(id).await;
    }
    let from_its_start = serde_json::from_value(json!({ "at": 0 })).expect("a request");
    let forked = host.runtime.fork_run(&owner, &old, from_its_start).await;
    let forked = forked.expect("forked").id;
    host.ended(&forked).await;
    for id in [&old, &open, &first] {
        age(&host, id).await;
    }
    let expect = (records(&host.store, &old) + records(&host.store, &first)) as u64;
    assert!(expect >= 4, "each starts and ends");
    let scoped = Principal {
        plugins: Some(["keeper".to_owned()].into()),
        ..owner.clone()
    };
    for (who, members, runs) in [
        (&owner, json!({ "dry_run": true }), 2),
        (&owner, json!({ "agent": "other" }), 0),
        (&owner, json!({ "older_than_s": 3 * 3_600 }), 0),
        (&scoped, json!({}), 0),
    ] {
        let pruned = prune(&host, who, members.clone()).await.expect("prunes");
        assert_eq!(pruned.runs, runs, "{members}");
        assert_eq!(code(&host, &owner, &old), "ok", "{members}");
    }
    let short = prune(&host, &owner, json!({ "older_than_s": 59 })).await;
    assert_eq!(short.expect_err("too short").code(), "invalid-request");

    let pruned = prune(&host, &owner, json!({ "why": "enough" })).await;
    let pruned = pruned.expect("prunes");
    assert_eq!(
        (pruned.runs, pruned.records, pruned.dry_run),
        (2, expect, false)
    );
    for (id, expect) in [
        (&old, "run-pruned"),
        (&first, "run-pruned"),
        (&next, "ok"),
        (&young, "ok"),
        (&open, "ok"),
    ] {
        assert_eq!(code(&host, &owner, id), expect, "{id}");
        assert_eq!(records(&host.store, id) == 0, expect != "ok", "{id}");
    }
    let mut left = vec![young, open.clone(), next.clone(), forked.clone()];
    left.sort_by(|a, b| b.cmp(a));
    assert_eq!(listed(&host).await, left);
    // Links to it say so, and others learn nothing.
    assert_eq!(host.run(&next).pruned, [first.as_str()]);
    assert_eq!(host.run(&forked).pruned, [old.as_str()]);
    let bob = Principal {
        name: "bob".to_owned(),
        roles: [Role::Caller].into(),
        ..owner.clone()
    };
    assert_eq!(code(&host, &bob, &old), "run-not-found");
    let noted = host.audited("run.prune").await;
    assert!(
        noted[0].contains(&old) && noted[0].contains(&first),
        "{noted:?}"
    );
    let asked = host.audited("admin.runs.prune").await;
    assert!(
        asked.iter().any(|detail| detail.contains("enough")),
        "{asked:?}"
    );
    // The statistics remember, and the open run goes on.
    let stats = host.runtime.run_stats(&owner).await.expect("stats");
    assert_eq!(stats[0].started, 6);
    let go = host.runtime.signal_run(&owner, &open, "go", &Value::Null);
    go.await.expect("it goes on");
    host.ended(&open).await;
}

/// A parent that has not ended may still look for its child; and who follows a
/// run still finds the one that goes on in its place.
/// It stays, and is named in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_can_not_be_read_keeps_no_other() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let run = host.start(json!([])).await;
        host.results(&run).await;
        age(&host, &run).await;
        runs.push(run);
    }
    runs.sort();
    let damaged = Batch::new().put("runs", runs[1].clone(), "nonsense");
    host.store.commit(damaged).await.expect("written");
    let pruned = prune(&host, &host.who, json!({})).await.expect("pruned");
    assert_eq!(pruned.runs, 2);
    for gone in [&runs[0], &runs[2]] {
        assert_eq!(code(&host, &host.who, gone), "run-pruned");
    }
    assert!(records(&host.store, &runs[1]) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_need_of_a_run_stays() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let owner = Principal::clone(&host.who);
    let parent = host.start(json!([{ "signal": { "name": "go" } }])).await;
    let id = "run_0000000000000000000000000001";
    let row = json!({
        "id": id, "agent": "prober", "goal": "", "by": owner.name, "state": "succeeded",
        "started_ms": 1, "updated_ms": 1,
    });
    let first = json!({
        "at_ms": 1, "event": "started", "agent": "prober", "digest": "", "goal": "",
        "input": "{}", "by": owner.name, "seed": "", "parent": { "run": parent },
    });
    let batch = Batch::new()
        .put("runs", id, row.to_string())
        .append(format!("run/{id}"), first.to_string());
    host.store.commit(batch).await.expect("written");
    assert_eq!(
        prune(&host, &owner, json!({})).await.expect("prunes").runs,
        0
    );
    let go = host.runtime.signal_run(&owner, &parent, "go", &Value::Null);
    go.await.expect("it goes on");
    host.ended(&parent).await;
    assert_eq!(
        prune(&host, &owner, json!({})).await.expect("prunes").runs,
        1
    );

    let next = json!([{ "signal": { "name": "tick" } }]);
    let old = host
        .start(json!([{ "continue-as-new": { "steps": next } }]))
        .await;
    let Some(End::Continued { run: next }) = host.ended(&old).await.end else {
        panic!("{:?}", host.run(&old))
    };
    let schedule = json!({
        "name": "tick", "cron": "* * * * *", "signal": { "run": old, "name": "tick" },
    });
    let schedule = serde_json::from_value(schedule).expect("a request");
    let made = host.runtime.set_schedule(&owner, schedule, false).await;
    let due_ms = made.expect("made").next_ms[0];
    age(&host, &old).await;
    assert_eq!(
        prune(&host, &owner, json!({})).await.expect("prunes").runs,
        1
    );
    host.runtime.fire_schedules(due_ms).await;
    assert_eq!(host.results(&next).await, json!([{ "ok": null }]));
}

/// Wherever a write fails, a run is there wholly or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_removed_wholly_or_not() {
    let mut failures = 0;
    for n in 0..6 {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &[]).await;
        let owner = Principal::clone(&host.who);
        let mut ids = Vec::new();
        for _ in 0..3 {
            let id = host.start(json!([])).await;
            host.ended(&id).await;
            age(&host, &id).await;
            ids.push(id);
        }
        let fault = match n % 2 {
            0 => Fault::Write { n: n / 2 },
            _ => Fault::Sync { n: n / 2 },
        };
        host.store.inject(fault);
        failures += u64::from(prune(&host, &owner, json!({})).await.is_err());
        drop(host);
        let host = Host::again(dir.path(), &disk).await;
        for id in &ids {
            let gone = code(&host, &owner, id) == "run-pruned";
            assert_eq!(records(&host.store, id) == 0, gone, "write {n}");
            assert_eq!(listed(&host).await.contains(id), !gone, "write {n}");
        }
        prune(&host, &owner, json!({})).await.expect("prunes");
        assert!(listed(&host).await.is_empty(), "write {n}");
    }
    assert!(failures >= 3, "only {failures} met a fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_kept_for_as_long_as_the_setting_says() {
    for (keep, gone) in [
        (None, false),
        (Some(Duration::from_secs(3 * 3_600)), false),
        (Some(Duration::from_secs(3_600)), true),
    ] {
        let (dir, disk): (_, Disk) = place();
        let config = RuntimeConfig {
            runs_keep: keep,
            ..config(dir.path())
        };
        let id = {
            let host = Host::with_agent(dir.path(), &disk, &[]).await;
            let id = host.start(json!([])).await;
            host.ended(&id).await;
            age(&host, &id).await;
            id
        };
        let host = Host::with(config, &disk).await;
        let owner = Principal::clone(&host.who);
        host.runtime.prune_by_time().await;
        assert_eq!(
            code(&host, &owner, &id),
            "ok",
            "another may look after the runs"
        );
        host.runtime.take_up_runs().await.expect("looked after");
        host.runtime.prune_by_time().await;
        let expect = if gone { "run-pruned" } else { "ok" };
        assert_eq!(code(&host, &owner, &id), expect, "{keep:?}");
    }
}
