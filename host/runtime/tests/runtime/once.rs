//! Runs that are started once under a key, however long ago that was.

use std::sync::Arc;

use airlock_runtime::{Failure, Principal, Role, StartRun};
use serde_json::{Value, json};

use crate::host::{Host, place};
use crate::prune::{age, prune};

fn request(goal: &str, input: &Value) -> StartRun {
    let request = json!({ "agent": "prober", "goal": goal, "input": input });
    serde_json::from_value(request).expect("a request")
}

async fn once(host: &Host, who: &Principal, key: &str, request: StartRun) -> (String, bool) {
    let started = host.runtime.start_run_once(who, key, request).await;
    let (run, new) = started.expect("it is known");
    (run.id, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_started_once_and_anything_else_anew() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let other = Principal {
        name: "other".to_owned(),
        roles: [Role::Caller].into(),
        ..Principal::clone(&host.who)
    };
    let none = || json!({ "steps": [] });
    let (first, new) = once(&host, &host.who, "k", request("g", &none())).await;
    assert!(new);
    host.ended(&first).await;
    let looks = json!({ "steps": [{ "look": {} }] });
    for (who, key, request, is_it) in [
        (&*host.who, "k", request("g", &none()), true),
        (&*host.who, "l", request("g", &none()), false),
        (&*host.who, "k", request("h", &none()), false),
        (&*host.who, "k", request("g", &looks), false),
        (&other, "k", request("g", &none()), false),
    ] {
        let what = format!("{} {key} {request:?}", who.name);
        let (run, new) = once(&host, who, key, request.clone()).await;
        assert_eq!((run == first, new), (is_it, !is_it), "{what}");
        assert_eq!(once(&host, who, key, request).await, (run, false), "{what}");
    }
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    let (again, new) = once(&host, &host.who, "k", request("g", &none())).await;
    assert_eq!((again == first, new), (true, false), "after a restart");

    // Removed: it was there all the same.
    age(&host, &first).await;
    let pruned = prune(&host, &host.who, json!({})).await.expect("it goes");
    assert_eq!(pruned.runs, 1);
    let asked = host
        .runtime
        .start_run_once(&host.who, "k", request("g", &none()));
    assert_eq!(asked.await.expect_err("it is gone").code(), "run-pruned");
    for key in ["", "a b", &"k".repeat(256)] {
        let asked = host
            .runtime
            .start_run_once(&host.who, key, request("g", &none()));
        let code = asked.await.expect_err("it is none").code();
        assert_eq!(code, "invalid-request", "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_start_one_run() {
    let (dir, disk) = place();
    let host = Arc::new(Host::with_agent(dir.path(), &disk, &[]).await);
    let asked = (0..16).map(|_| {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            let request = request("g", &json!({ "steps": [] }));
            once(&host, &host.who, "k", request).await
        })
    });
    let mut runs = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        runs.push(asked.await.expect("it ends"));
    }
    assert_eq!(runs.iter().filter(|(_, new)| *new).count(), 1, "{runs:?}");
    assert!(runs.iter().all(|(id, _)| *id == runs[0].0), "{runs:?}");
    assert_eq!(host.audited("admin.run.start").await.len(), 1);
}
