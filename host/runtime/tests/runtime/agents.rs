//! What an agent may ask for besides calls: values that are kept, state, tools,
//! children, an end from inside.

use airlock_journal::memory::Fault;
use airlock_runtime::{End, RunDetail, RunStatus};
use serde_json::{Value, json};

use crate::host::{Host, place};
use crate::runs::{add, put};

impl Host {
    /// The runs that `parent` started, in the order of their start.
    fn children(&self, parent: &str) -> Vec<RunDetail> {
        let children = self.run(parent).children;
        children.iter().map(|run| self.run(run)).collect()
    }

    /// The records of a run, by kind.
    fn records(&self, id: &str, kind: &str) -> Vec<Value> {
        let page = self.runtime.run_events(&self.who, id, 0, 1_000);
        let events = json!(page.expect("reads").events);
        let events = events.as_array().expect("a list").clone();
        let of_kind = events.into_iter().filter(|event| event["event"] == kind);
        of_kind.collect()
    }
}

fn signal(name: &str) -> Value {
    json!({ "signal": { "name": name } })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_keeps_is_there_after_a_restart() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let steps = json!([
        { "record": { "value": { "n": 1 } } },
        { "set": { "key": "seen", "value": [1] } },
        { "tools": {} },
        signal("go"),
        { "get": { "key": "seen" } },
        { "tools": {} },
        { "set": { "key": "seen", "value": [2] } },
        { "get": { "key": "seen" } },
    ]);
    let id = host.start(steps).await;
    host.until(&id, |run| run.waits_for.len() == 1).await;
    assert_eq!(json!(host.run(&id).state), json!({ "seen": [1] }));
    assert_eq!(host.records(&id, "recorded").len(), 1);
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    // What it was told before stays; what it is told from now on is new.
    host.grant("prober", json!({ "tools": [{ "tool": "keeper/get" }] }))
        .await;
    host.runtime
        .signal_run(&host.who, &id, "go", &json!(1))
        .await
        .expect("kept");
    let results = host.results(&id).await;
    assert_eq!(results[0], json!({ "ok": { "n": 1 } }));
    let names = |told: &Value| -> Vec<String> {
        let tools = told.as_array().expect("a list").iter();
        let name = |tool: &Value| format!("{} {}", tool[0], tool[1]).replace('"', "");
        tools.map(name).collect()
    };
    let all = [
        "keeper/add Plain",
        "keeper/documents Plain",
        "keeper/fail Plain",
        "keeper/get ReadOnly",
        "keeper/put Idempotent",
    ];
    assert_eq!(names(&results[2]), all);
    assert_eq!(names(&results[5]), all[3..4]);
    assert_eq!(results[4], json!({ "ok": [1] }));
    assert_eq!(results[7], json!({ "ok": [2] }));
    assert_eq!(json!(host.run(&id).state), json!({ "seen": [2] }));
}

/// One write a value, as long as it is alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_kept_costs_one_commit() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let steps = |values: u64| {
        let record = json!({ "record": { "value": 7 } });
        json!([{ "repeat": { "times": values, "steps": [record] } }])
    };
    let mut commits = Vec::new();
    // The first one is not counted: with it this host becomes the owner of runs.
    for values in [1, 1, 101] {
        let before = host.store.commits();
        let id = host.start(steps(values)).await;
        assert_eq!(host.results(&id).await[0], json!({ "ok": 7 }));
        commits.push(host.store.commits() - before);
    }
    // Its start, its end, and now and then what it took.
    assert!((101..=108).contains(&commits[2]), "{commits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn state_signals_and_what_is_left_carry_over() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let next = json!([
        { "get": { "key": "n" } },
        signal("early"),
        signal("early"),
        add(),
        add(),
    ]);
    let steps = json!([
        { "set": { "key": "n", "value": 5 } },
        add(),
        signal("go"),
        { "continue-as-new": { "steps": next } },
    ]);
    let id = host
        .start_with(steps, json!({ "budget": { "calls": 2 } }))
        .await;
    for (name, payload) in [("early", 1), ("early", 2), ("go", 3)] {
        host.runtime
            .signal_run(&host.who, &id, name, &json!(payload))
            .await
            .expect("kept");
    }
    let Some(End::Continued { run }) = host.ended(&id).await.end else {
        panic!("{:?}", host.run(&id))
    };
    let results = host.results(&run).await;
    assert_eq!(results[0], json!({ "ok": 5 }));
    assert_eq!(results[1], json!({ "ok": 1 }));
    assert_eq!(results[2], json!({ "ok": 2 }));
    assert_eq!(results[3], json!({ "ok": { "count": 2 } }));
    assert_eq!(results[4], json!({ "error": "limit: calls (2)" }));
    assert_eq!(host.added().await, 2);
    assert_eq!(host.run(&run).calls, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_its_run_from_inside_and_not_with_open_handles() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let inside = json!([{ "join": [add(), { "finish": { "output": 7 } }] }, add()]);
    let id = host.start(inside).await;
    let end = host.ended(&id).await.end;
    let output = "7".to_owned();
    assert_eq!(end, Some(End::Succeeded { output }));
    assert_eq!(host.added().await, 1, "what was under way came to its end");

    let forgets = json!([{ "forget": { "tool": "keeper/add", "input": {} } }]);
    let id = host.start(forgets).await;
    let Some(End::Failed { code, detail }) = host.ended(&id).await.end else {
        panic!("{:?}", host.run(&id))
    };
    assert_eq!(code, "open-handles", "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_is_told_how_its_child_ended() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let child = |steps: Value| json!({ "start": { "steps": steps } });
    let steps = json!([
        child(json!([add()])),
        child(json!([{ "fail": { "text": "no" } }])),
        child(json!([{ "escalate": { "text": "look" } }])),
        child(json!([{ "panic": {} }])),
        child(json!([{ "continue-as-new": { "steps": [{ "sleep": { "ms": 1 } }] } }])),
        { "start": { "agent": "nobody", "steps": [] } },
        { "start": { "agent": "keeper", "steps": [] } },
        { "start-and-cancel": { "steps": [signal("never")] } },
        child(json!([child(json!([add()]))])),
    ]);
    let id = host.start(steps).await;
    let results = host.results(&id).await;
    let output = json!({ "goal": "as a child", "results": [{ "ok": { "count": 1 } }] });
    assert_eq!(results[0], json!({ "ok": output }));
    let error = |index: usize| results[index]["error"].as_str().expect("an error");
    assert_eq!(error(1), "permanent: no");
    assert_eq!(error(2), "escalate: look");
    assert!(error(3).contains("permanent"), "{results}");
    assert_eq!(results[4]["ok"]["results"], json!([{ "ok": null }]));
    for index in [5, 6] {
        assert!(error(index).contains("needed: agents = ["), "{results}");
    }
    assert_eq!(error(7), "cancelled");
    assert_eq!(host.added().await, 2);
    let children = host.children(&id);
    // The one that was cancelled at once may never have been started.
    assert!((6..=7).contains(&children.len()), "{children:?}");
    let started = host.audited("admin.run.start").await.len();
    assert_eq!(started, 1 + children.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_ends_after_the_children_it_holds() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let waits = json!([signal("go"), add()]);
    let steps = json!([
        { "start-and-leave": { "steps": waits } },
        { "start": { "steps": [{ "start": { "steps": [signal("never")] } }] } },
    ]);
    let id = host.start(steps).await;
    host.until(&id, |_| host.children(&id).len() == 2).await;
    let [left, held] = host.children(&id).try_into().expect("two");
    host.until(&id, |_| host.children(&held.run.id).len() == 1)
        .await;
    let grandchild = host.children(&held.run.id).remove(0).run.id;
    host.runtime
        .cancel_run(&host.who, &id, "enough")
        .await
        .expect("taken");
    host.ended(&id).await;
    // No waiting: they ended before.
    for run in [&held.run.id, &grandchild] {
        assert_eq!(host.run(run).run.status, RunStatus::Cancelled);
    }
    let left = left.run.id;
    assert!(host.run(&left).end.is_none(), "it was let go of");
    host.runtime
        .signal_run(&host.who, &left, "go", &json!(1))
        .await
        .expect("kept");
    host.results(&left).await;
    assert_eq!(host.added().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn children_are_bounded_in_depth_and_by_what_their_parent_has() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let mut steps = json!([add()]);
    for _ in 0..8 {
        steps = json!([{ "start": { "steps": steps, "calls": 4 } }]);
    }
    let id = host
        .start_with(steps, json!({ "budget": { "calls": 4 } }))
        .await;
    let mut results = host.results(&id).await;
    for _ in 0..7 {
        results = results[0]["ok"]["results"].clone();
    }
    assert_eq!(results, json!([{ "error": "limit: depth (8)" }]));

    // Two at once get no more than there is, and what they leave comes back.
    let child =
        |calls: u64, adds: Vec<Value>| json!({ "start": { "steps": adds, "calls": calls } });
    let steps = json!([
        { "join": [child(2, vec![add(); 3]), child(2, vec![add(); 1]), child(2, vec![add()])] },
        add(),
        child(2, vec![]),
    ]);
    let id = host
        .start_with(steps, json!({ "budget": { "calls": 4 } }))
        .await;
    let results = host.results(&id).await;
    let last = &results[0][0]["ok"]["results"][2];
    assert_eq!(*last, json!({ "error": "limit: calls (2)" }), "{results}");
    assert_eq!(results[0][2], json!({ "error": "limit: calls (0)" }));
    assert!(results[1]["ok"].is_object(), "one was left: {results}");
    assert_eq!(results[2], json!({ "error": "limit: calls (0)" }));
    assert_eq!(host.added().await, 4);
    assert_eq!(host.run(&id).used.calls, 4);
}

/// A parent and its child, cut off between any two writes: one child, and each
/// effect once.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_one_child_is_started() {
    let mut met = 0;
    for n in 0..60 {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
        let child = json!({ "start": { "steps": [put("a"), { "record": { "value": 1 } }] } });
        let cancelled = json!({ "start-and-cancel": { "steps": [signal("never")] } });
        let id = host
            .start(json!([child, cancelled, { "record": { "value": 2 } }]))
            .await;
        host.store.inject(Fault::Write { n });
        let over = |run: &RunDetail| run.end.is_some() || host.runtime.ready().is_err();
        host.until(&id, over).await;
        let failed = host.runtime.ready().is_err();
        met += u64::from(failed);
        drop(host);
        let host = Host::again(dir.path(), &disk).await;
        let results = host.results(&id).await;
        assert_eq!(results[0]["ok"]["results"][1], json!({ "ok": 1 }), "{n}");
        assert_eq!(results[1], json!({ "error": "cancelled" }), "{n}");
        assert_eq!(results[2], json!({ "ok": 2 }), "{n}");
        let children = host.children(&id);
        assert!(children.iter().all(|child| child.end.is_some()), "{n}");
        assert!((1..=2).contains(&children.len()), "{n}: {children:?}");
        if !failed {
            break;
        }
    }
    assert!(met >= 8, "only {met} runs met a fault");
}
