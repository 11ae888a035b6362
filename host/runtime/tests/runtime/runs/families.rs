//! Runs and the runs that they start, however they end and wherever their host
//! dies.

use super::crashing::{Place, add_as, records};
use super::*;

fn child(steps: &Value) -> Value {
    json!({ "start": { "steps": steps } })
}

fn signal(name: &str) -> Value {
    json!({ "signal": { "name": name } })
}

impl Host {
    /// Waits until a run of the family waits for the signal; gives its id.
    async fn waiting(&self, root: &str, name: &str) -> String {
        let waits = |run: &RunDetail| {
            let mut open = run.waits_for.iter();
            open.any(|open| open.request["name"] == *name)
        };
        let find = || self.family(root).into_iter().find(|run| waits(run));
        self.until(root, |_| find().is_some()).await;
        find().expect("it waits for ever").run.id
    }
}

/// However a run ends before its children do: they and theirs are over when its
/// end is told, and nothing of theirs happens after.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_before_its_children_ends_them_first() {
    let fails = json!({ "call": { "tool": "keeper/fail", "input": { "code": "permanent" } } });
    let cases = [
        ("it panics", Some(json!({ "panic": {} })), RunStatus::Failed),
        (
            "it reaches its limit",
            Some(json!({ "spin": {} })),
            RunStatus::Failed,
        ),
        ("its grant ends it", Some(fails), RunStatus::Escalated),
        ("a person ends it", None, RunStatus::Cancelled),
    ];
    for (name, last, status) in cases {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &[]).await;
        let rule = json!({ "tool": "keeper/*", "on_error": { "permanent": "escalate" } });
        let agents = json!([{ "agent": "prober" }]);
        host.grant("prober", json!({ "tools": [rule], "agents": agents }))
            .await;
        let below = child(&json!([child(&json!([signal("never"), add()])), add()]));
        let then = last.clone().unwrap_or_else(|| signal("never-either"));
        let own = json!({ "repeat": { "times": 1, "steps": [signal("go"), then] } });
        let id = host.start(json!([{ "join": [below, own] }])).await;
        host.waiting(&id, "never").await;
        host.signal(&id, "go", json!(1)).await.expect("kept");
        if last.is_none() {
            let ended = host.runtime.cancel_run(&host.who, &id, "enough").await;
            ended.expect("taken");
        }
        // One reader sees all of it at the moment of the end.
        host.ended(&id).await;
        let family = host.family(&id);
        assert_eq!(family.len(), 3, "{name}");
        assert_eq!(family[0].run.status, status, "{name}: {:?}", family[0]);
        for below in &family[1..] {
            assert_eq!(below.run.status, RunStatus::Cancelled, "{name}");
        }
        let late = host.signal(&family[2].run.id, "never", json!(1)).await;
        assert_eq!(late, Err("run-ended"), "{name}");
        assert_eq!(host.added().await, 0, "{name}");
    }
}

/// A parent that is ended while its host dies, at any write: it and its children
/// end, and no effect of theirs is had twice or after.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_a_parent_ends_after_its_children() {
    let mut place = Place::new().await;
    let below = child(&json!([add(), signal("never"), add()]));
    let steps = json!([{ "join": [below, child(&json!([signal("never")])), add()] }]);
    for n in 0..30 {
        let host = place.host();
        let before = host.added().await;
        let id = host.start(steps.clone()).await;
        let waits = |run: &RunDetail| {
            run.waits_for.len() == 1 && run.waits_for[0].request["name"] == "never"
        };
        host.until(&id, |run| {
            let below = run.children.iter().filter(|id| waits(&host.run(id)));
            // Its own call is asked for after its children: they may be there first.
            let called = |it: &Value| it["event"] == "answered" && it["id"] == 2;
            below.count() == 2 && records(host, &id).iter().any(called)
        })
        .await;
        let died = place.cancels(&id, n).await;
        let host = place.host();
        host.ended(&id).await;
        let family = host.family(&id);
        assert_eq!(family.len(), 3, "write {n}");
        for run in &family {
            let end = Some(End::Cancelled { unknown: vec![] });
            assert_eq!(run.end, end, "write {n}: {run:?}");
            let ends = records(host, &run.run.id);
            let ends = ends.iter().filter(|record| record["event"] == "ended");
            assert_eq!(ends.count(), 1, "write {n}");
        }
        assert_eq!(host.added().await, before + 2, "write {n}");
        if !died {
            assert!(n >= 5, "only {n} hosts died");
            return;
        }
    }
    panic!("it never ended in one go");
}

/// A run ends at once when it has let go of its child: the child is there all the
/// same, once, and does what it is for.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_a_child_that_was_let_go_of_is_started() {
    let mut place = Place::new().await;
    for n in 0..30 {
        let before = place.deaths;
        let steps = json!([add_as("last")]);
        let leaves = json!([{ "start-and-leave": { "steps": steps } }]);
        let run = place.run(leaves, json!({}), &[], Some(n)).await;
        assert_eq!(place.host().family(&run).len(), 2, "write {n}");
        if place.deaths == before {
            assert!(place.deaths >= 5, "only {} hosts died", place.deaths);
            return;
        }
    }
    panic!("it never ended in one go");
}

/// A parent and two children at once, under a budget that is just enough: what is
/// used at the end is what was done, wherever the host died, and nothing stays set
/// aside.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_a_budget_is_neither_lost_nor_spent_twice() {
    let mut place = Place::new().await;
    let below = |steps: &[Value]| json!({ "start": { "steps": steps, "calls": 2 } });
    let steps = json!([
        { "join": [
            below(&[add_as("a"), put("x")]),
            below(&[add_as("b"), json!({ "record": { "value": 1 } })]),
        ] },
        add_as("c"),
        put("y"),
    ]);
    let budget = json!({ "budget": { "calls": 5 } });
    let mut used = None;
    for n in 0..60 {
        let before = place.deaths;
        // The first one in peace.
        let fault = (n > 0).then(|| n - 1);
        let run = place.run(steps.clone(), budget.clone(), &[], fault).await;
        let run = place.host().run(&run);
        assert_eq!((run.used.calls, run.calls), (5, 5), "write {n}: {run:?}");
        let now = (run.used.calls, run.used.steps);
        assert_eq!(*used.get_or_insert(now), now, "write {n}: {run:?}");
        let of: u64 = place.host().family(&run.run.id)[1..]
            .iter()
            .map(|run| run.calls)
            .sum();
        assert_eq!(of, 3, "write {n}");
        if n > 0 && place.deaths == before {
            assert!(place.deaths >= 12, "only {} hosts died", place.deaths);
            return;
        }
    }
    panic!("it never ended in one go");
}
