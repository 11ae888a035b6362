//! Replays and forks of runs that kept values and state, were told of tools, had
//! children, only observed, or were at the end of a budget.

use airlock_runtime::{Block, DifferenceKind, ReplayVerdict};

use super::faults::found;
use super::replays::{fork, installed, replay};
use super::*;

fn signal(name: &str) -> Value {
    json!({ "signal": { "name": name } })
}

fn child(steps: &Value) -> Value {
    json!({ "start": { "steps": steps } })
}

/// Something of every kind, by the version of the agent where versions differ.
fn work() -> Value {
    let kept = |value: u64| {
        let set = json!({ "set": { "key": "b", "value": value } });
        json!([{ "record": { "value": value } }, set, { "get": { "key": "b" } }])
    };
    json!([
        { "record": { "value": { "n": 1 } } },
        { "set": { "key": "a", "value": 1 } },
        { "tools": {} },
        child(&json!([add()])),
        { "burn": { "rounds": 5_000_000 } },
        { "start-and-cancel": { "steps": [signal("never")] } },
        { "start-and-leave": { "steps": [] } },
        { "sleep": { "ms": 50 } },
        { "by-version": { "1": kept(1), "2": kept(2) } },
        put("x"),
        { "tools": {} },
        { "get": { "key": "a" } },
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_kept_and_was_told_replays_whatever_is_granted_now() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let done = host.start(work()).await;
    host.results(&done).await;
    let observes = json!({ "autonomy": "observe" });
    let observed = host
        .start_with(json!([put("y"), add(), { "tools": {} }]), observes)
        .await;
    host.results(&observed).await;
    let few = json!({ "budget": { "steps": 2, "calls": 1 } });
    let records = json!({ "record": { "value": 1 } });
    let bounded = json!([records, add(), add(), records, child(&json!([])), records]);
    let bounded = host.start_with(bounded, few).await;
    host.until(&bounded, |run| run.blocked.is_some()).await;
    let more = json!({ "budget": { "steps": 100 } });
    let more: Resume = serde_json::from_value(more).expect("a request");
    host.runtime
        .resume_run(&host.who, &bounded, more)
        .await
        .expect("goes on");
    host.results(&bounded).await;
    host.rule(json!({ "on_error": { "permanent": "abort" } }))
        .await;
    let fails = json!({ "call": { "tool": "keeper/fail", "input": { "code": "permanent" } } });
    let given_up = host.start(json!([records, fails, add()])).await;
    assert_eq!(host.ended(&given_up).await.run.status, RunStatus::Failed);
    let added = host.added().await;
    let two = installed(&host, b'2').await;
    host.grant("prober", json!({})).await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    for (run, verdict) in [
        (&done, ReplayVerdict::Same),
        (&observed, ReplayVerdict::Same),
        (&bounded, ReplayVerdict::Same),
        (&given_up, ReplayVerdict::SameSoFar),
    ] {
        let same = replay(&host, run, None).await;
        assert_eq!(same.verdict, verdict, "{same:?}");
        assert_eq!((same.same, same.stopped), (same.steps, None), "{run}");
    }
    let other = replay(&host, &done, Some(&two)).await;
    let kinds: Vec<DifferenceKind> = other.differences.iter().map(|one| one.kind).collect();
    let changed = DifferenceKind::ChangedArguments;
    let expect = [changed, changed, DifferenceKind::OtherOutcome];
    assert_eq!(kinds, expect, "{other:?}");
    assert_eq!(other.stopped, None, "it comes to its end: {other:?}");
    assert_eq!(host.added().await, added, "nothing was done");
}

/// What was kept, set, told and answered before the step is there, and is not done
/// again; what comes after is the fork's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_goes_on_with_what_was_kept_and_told() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let (run, whole) = loop {
        let run = host.start(work()).await;
        let whole = host.results(&run).await;
        // The child that it let go of ended before it: nearly always.
        let page = host.runtime.run_events(&host.who, &run, 0, 1_000);
        let events = json!(page.expect("reads").events);
        let answers = |event: &Value| event["event"] == "answered" && event["id"] == 3;
        if events.as_array().expect("a list").iter().any(answers) {
            break (run, whole);
        }
    };
    let children = host.run(&run).children.len();
    let added = host.added().await;
    // The tools it was told of before the step are not those of now.
    let now = json!({ "tools": [{ "tool": "keeper/put" }], "agents": [{ "agent": "prober" }] });
    host.grant("prober", now).await;
    // Requests: the value, three children, a timer, a value by version, a call.
    for at in 2..=7 {
        let forked = fork(&host, &run, json!({ "at": at }))
            .await
            .expect("forked");
        let results = host.results(&forked).await;
        for step in [0, 2, 3, 5, 8, 11] {
            assert_eq!(results[step], whole[step], "at {at}, step {step}");
        }
        let detail = host.run(&forked);
        assert_eq!(json!(detail.state), json!({ "a": 1, "b": 1 }), "at {at}");
        let own = 4_usize.saturating_sub(at);
        assert!(detail.children.len() <= own, "at {at}: {detail:?}");
        assert!(own == 0 || children > 0);
        assert_eq!(detail.used.calls, 2, "at {at}: the child's and its own");
    }
    assert_eq!(host.added().await, added, "no child was started again");
}

/// A child that has no answer yet goes on for the run that started it; whether the
/// fork has one of its own is for a person to say.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_of_a_parent_starts_no_child_again() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let waits = child(&json!([signal("go"), add()]));
    let run = host
        .start(json!([child(&json!([add()])), waits, add()]))
        .await;
    host.until(&run, |run| run.children.len() == 2).await;
    let below = host.run(&run).children.remove(1);
    host.until(&below, |run| run.waits_for.len() == 1).await;
    for (outcome, adds, own) in [
        (Outcome::Record(json!({ "results": [] })), 1, 0),
        (Outcome::Fail, 1, 0),
        (Outcome::Retry, 2, 1),
    ] {
        let before = host.added().await;
        let forked = fork(&host, &run, json!({ "at": 2 })).await.expect("forked");
        let blocked = host.until(&forked, |run| run.blocked.is_some()).await;
        let why = blocked.blocked.as_ref();
        assert!(
            matches!(why, Some(Block::UnknownOutcome { id: 1, .. })),
            "{blocked:?}"
        );
        assert!(blocked.children.is_empty(), "{blocked:?}");
        let resume = Resume {
            request: Some(1),
            outcome: Some(outcome.clone()),
            ..Resume::default()
        };
        host.runtime
            .resume_run(&host.who, &forked, resume)
            .await
            .expect("goes on");
        if own > 0 {
            let run = host.until(&forked, |run| run.children.len() == own).await;
            host.signal(&run.children[0], "go", json!(1))
                .await
                .expect("kept");
        }
        host.results(&forked).await;
        assert_eq!(host.added().await, before + adds, "{outcome:?}");
        assert_eq!(host.run(&forked).children.len(), own, "{outcome:?}");
    }
    let before = host.added().await;
    host.signal(&below, "go", json!(1)).await.expect("kept");
    host.results(&run).await;
    assert_eq!(host.added().await, before + 2, "the other one's own");
}

/// A run at the end of its time: one that is forked from it has time of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_has_time_of_its_own() {
    let day_ms = 86_400_000;
    let steps = json!([{ "record": { "value": 1 } }, add()]);
    let change = |started: &mut Value| {
        started["at_ms"] = json!(airlock_runtime::now_ms() - day_ms);
        started["budget"]["wall_ms"] = json!(day_ms / 2);
    };
    let (_dir, host, run) = found(change, steps, Vec::new()).await;
    let blocked = host.until(&run, |run| run.blocked.is_some()).await;
    let why = blocked.blocked.as_ref();
    assert!(
        matches!(why, Some(Block::Spent { what, .. }) if what == "wall_ms"),
        "{blocked:?}"
    );
    let before = host.added().await;
    let forked = fork(&host, &run, json!({ "at": 0 })).await.expect("forked");
    host.results(&forked).await;
    assert_eq!(host.added().await, before + 1);
    let (began, own) = (
        host.run(&run).run.started_ms,
        host.run(&forked).run.started_ms,
    );
    assert!(
        own > began + day_ms / 2,
        "it began with the fork: {began} {own}"
    );
}
