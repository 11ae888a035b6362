//! What a run may put into its journal and leave behind, and what becomes of what
//! was acknowledged when it goes on as another one.

use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{Block, End, Failure, GrantsUpdate, Outcome, Resume, RunDetail, RunStatus};
use serde_json::{Value, json};

use airlock_sandbox::testing::guest;

use crate::host::{Host, install, place};
use crate::runs::add;

impl Host {
    async fn limit(&self, limits: Value) {
        let grants = json!({ "tools": [{ "tool": "keeper/*" }] });
        let update = json!({ "grants": grants, "limits": limits });
        let update: GrantsUpdate = serde_json::from_value(update).expect("limits");
        let set = self.runtime.set_grants(&self.who, "prober", update).await;
        set.expect("they hold");
    }

    async fn let_go_on(&self, id: &str) {
        let payload = json!(1);
        let given = self.runtime.signal_run(&self.who, id, "go", &payload);
        given.await.expect("kept");
    }

    /// Waits until the run waits for a signal, or has ended.
    async fn until_it_waits(&self, id: &str) -> RunDetail {
        let waits = |run: &RunDetail| match &run.waits_for[..] {
            [open] => open.request["kind"] == "signal",
            _ => run.end.is_some(),
        };
        self.until(id, waits).await
    }

    async fn stands(&self, id: &str) -> RunDetail {
        self.until(id, |run| run.blocked.is_some() || run.end.is_some())
            .await
    }

    /// The run at the end of those that go on one in the other.
    async fn last_of(&self, first: &str) -> RunDetail {
        let mut id = first.to_owned();
        loop {
            match self.stands(&id).await {
                RunDetail {
                    end: Some(End::Continued { run }),
                    ..
                } => id = run,
                run => return run,
            }
        }
    }
}

/// Steps that go on as new so often, then do `last`.
fn going_on(times: u64, each: &Value, last: &Value) -> Value {
    match times {
        0 => json!([last]),
        _ => {
            json!([each, { "continue-as-new": { "steps": going_on(times - 1, each, last) } }])
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_journal_holds_is_bounded_in_bytes() {
    const MOST: u64 = 1 << 20;
    const EACH: usize = 30 << 10;
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let text = "x".repeat(EACH);
    for step in [
        json!({ "set": { "key": "k", "value": text } }),
        json!({ "record": { "value": text } }),
        json!({ "tell": { "text": &text[..1_000] } }),
    ] {
        let steps = json!([{ "repeat": { "times": 400, "steps": [step] } }]);
        let budget = json!({ "budget": { "journal_bytes": MOST } });
        let id = host.start_with(steps, budget).await;
        let run = host.stands(&id).await;
        let Some(Block::Spent { what, used }) = &run.blocked else {
            panic!("{run:?}")
        };
        assert_eq!(what, "journal_bytes");
        // Its input is a part of it.
        let over = MOST + 2 * EACH as u64;
        assert!((MOST..over).contains(used), "{used}");
        // The record of the block came after.
        assert!(run.journal_bytes > *used, "{run:?}");
    }
}

/// Calls that were asked for before count when they are made.
#[tokio::test(flavor = "multi_thread")]
async fn what_answers_add_to_a_journal_is_bounded() {
    const MOST: u64 = 256 << 10;
    const EACH: usize = 30_000;
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let says_much = format!(
        "(memory.fill (i32.const 4096) (i32.const 120) (i32.const {EACH}))
         (i32.store8 (i32.const 4096) (i32.const 34))
         (i32.store8 (i32.const {}) (i32.const 34))
         (call $answer (i32.const 4096) (i32.const {EACH}))",
        4095 + EACH
    );
    install(&host.runtime, "sayer", guest("", &says_much)).await;
    host.grant("prober", json!({ "tools": [{ "tool": "sayer/*" }] }))
        .await;
    let call = |n: u32| json!({ "call": { "tool": "sayer/run", "input": { "n": n } } });
    let calls: Vec<Value> = (0..60).map(call).collect();
    let budget = json!({ "budget": { "journal_bytes": MOST } });
    let id = host.start_with(json!([{ "join": calls }]), budget).await;
    let run = host.stands(&id).await;
    let Some(Block::Spent { what, .. }) = &run.blocked else {
        panic!("{:?} {:?}", run.blocked, run.end)
    };
    assert_eq!(what, "journal_bytes");
    // Those that had begun end, and what was asked for is a part of it.
    let run = host
        .until(&id, |_| {
            host.runtime
                .metrics_text()
                .contains("airlock_calls_in_flight 0")
        })
        .await;
    assert!(run.journal_bytes < 3 * MOST, "{}", run.journal_bytes);
    let more = serde_json::from_value(json!({ "journal_bytes": 64 << 20 })).expect("a change");
    let resume = Resume {
        budget: Some(more),
        ..Resume::default()
    };
    let resumed = host.runtime.resume_run(&host.who, &id, resume).await;
    assert_eq!(resumed.map_err(|error| error.code()), Ok(()));
    let results = host.results(&id).await;
    assert_eq!(results[0].as_array().map(Vec::len), Some(60));
}

/// Those that requests have got and that the agent does not look at count too.
#[tokio::test(flavor = "multi_thread")]
async fn signals_that_an_agent_does_not_look_at_are_bounded() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let go = json!({ "signal": { "name": "go" } });
    let held = json!({ "hold": { "name": "big", "times": 8, "steps": [go] } });
    let id = host.start(json!([held])).await;
    host.until(&id, |run| run.waits_for.len() == 9).await;
    let big = json!("x".repeat((1 << 20) - 2));
    for kept in 0..4 {
        let given = host.runtime.signal_run(&host.who, &id, "big", &big).await;
        assert!(given.is_ok(), "{kept}: {given:?}");
    }
    let refused = host.runtime.signal_run(&host.who, &id, "big", &big).await;
    assert_eq!(refused.map_err(|error| error.code()), Err("inbox-full"));
    let ended = host.runtime.cancel_run(&host.who, &id, "").await;
    ended.expect("taken");
    host.ended(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_nobody_waits_for_are_bounded() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let id = host
        .start(json!([{ "signal": { "name": "go" } }, { "signal": { "name": "big" } }]))
        .await;
    let big = json!("x".repeat((1 << 20) - 2));
    for kept in 0..4 {
        let given = host.runtime.signal_run(&host.who, &id, "big", &big).await;
        assert!(given.is_ok(), "{kept}: {given:?}");
    }
    let refused = host.runtime.signal_run(&host.who, &id, "big", &big).await;
    let refused = refused.expect_err("they are full");
    assert_eq!((refused.code(), refused.status()), ("inbox-full", 429));
    // What the agent takes makes room.
    let go = host.runtime.cancel_run(&host.who, &id, "enough").await;
    assert!(go.is_ok());
    assert_eq!(host.ended(&id).await.run.status, RunStatus::Cancelled);
    let late = host.runtime.signal_run(&host.who, &id, "big", &big).await;
    assert_eq!(late.map_err(|error| error.code()), Err("run-ended"));
}

/// The agent takes one signal and goes on as new, again and again, while others
/// signal whichever run there is.
#[tokio::test(flavor = "multi_thread")]
async fn no_signal_that_was_acknowledged_is_lost_when_a_run_goes_on() {
    const SIGNALS: u64 = 12;
    let (dir, disk) = place();
    let host = Arc::new(Host::with_agent(dir.path(), &disk, &[]).await);
    let each = json!({ "signal": { "name": "go" } });
    let first = host.start(going_on(SIGNALS, &each, &add())).await;
    let mut senders = Vec::new();
    for _ in 0..3 {
        let (host, first) = (Arc::clone(&host), first.clone());
        senders.push(tokio::spawn(async move {
            let mut id = first;
            for number in 0..SIGNALS / 3 {
                loop {
                    let payload = json!(number);
                    match host
                        .runtime
                        .signal_run(&host.who, &id, "go", &payload)
                        .await
                    {
                        Ok(()) => break,
                        Err(error) => assert_eq!(error.code(), "run-ended"),
                    }
                    let Some(End::Continued { run }) = host.run(&id).end else {
                        panic!("{:?}", host.run(&id))
                    };
                    id = run;
                }
            }
        }));
    }
    for sender in senders {
        sender.await.expect("no panic");
    }
    let last = host.last_of(&first).await;
    assert!(matches!(last.end, Some(End::Succeeded { .. })), "{last:?}");
    assert_eq!(last.used.steps, 2 * SIGNALS + 1, "each going on is a step");
}

#[tokio::test(flavor = "multi_thread")]
async fn going_on_as_new_is_no_way_around_a_budget() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let steps = going_on(8, &json!({ "get": { "key": "k" } }), &json!({ "look": {} }));
    let budget = json!({ "budget": { "steps": 5 } });
    let first = host.start_with(steps, budget).await;
    let run = host.last_of(&first).await;
    let what = "steps".to_owned();
    assert_eq!(run.blocked, Some(Block::Spent { what, used: 5 }));
    let more = serde_json::from_value(json!({ "steps": 100 })).expect("a change");
    let resume = Resume {
        budget: Some(more),
        ..Resume::default()
    };
    let id = run.run.id.clone();
    let resumed = host.runtime.resume_run(&host.who, &id, resume).await;
    assert_eq!(resumed.map_err(|error| error.code()), Ok(()));
    let last = host.last_of(&id).await;
    assert!(matches!(last.end, Some(End::Succeeded { .. })), "{last:?}");
}

/// `cpu` bounds what an agent computes without waiting, not its whole life, nor
/// catching up with that.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_waits_may_compute_for_long() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    host.limit(json!({ "cpu": "600ms" })).await;
    let burst = json!([{ "burn": { "rounds": 40_000_000 } }, add()]);
    let steps = json!([
        { "repeat": { "times": 60, "steps": burst } },
        { "signal": { "name": "go" } },
        { "burn": { "rounds": 1 } },
    ]);
    let id = host.start(steps).await;
    let used = host.until_it_waits(&id).await;
    assert!(used.end.is_none(), "{used:?}");
    assert!(used.used.cpu_us > 600_000, "{:?}", used.used);
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.let_go_on(&id).await;
    host.results(&id).await;
}

/// What catching up may take is not there for what comes after it.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_has_caught_up_has_its_limit() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    host.limit(json!({ "cpu": "150ms" })).await;
    let burst = json!([{ "burn": { "rounds": 10_000_000 } }, add()]);
    let steps = json!([
        { "repeat": { "times": 60, "steps": burst } },
        { "signal": { "name": "go" } },
        { "spin": {} },
    ]);
    let id = host.start(steps).await;
    let before = host.until_it_waits(&id).await;
    assert!(before.end.is_none(), "{before:?}");
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.let_go_on(&id).await;
    let ended = host.ended(&id).await;
    assert!(matches!(ended.end, Some(End::Failed { .. })), "{ended:?}");
    let live = ended.used.cpu_us - before.used.cpu_us;
    assert!(live < before.used.cpu_us, "{live} {:?}", before.used);
}

/// An administrator lowered a limit meanwhile: nothing of the run is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_reached_while_catching_up_blocks() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let id = host.start(json!([{ "signal": { "name": "go" } }])).await;
    host.until(&id, |run| run.waits_for.len() == 1).await;
    host.limit(json!({ "memory": "64KiB" })).await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    let run = host.stands(&id).await;
    let Some(Block::Component { detail }) = &run.blocked else {
        panic!("{run:?}")
    };
    assert!(detail.contains("raise the limit"), "{detail}");
    host.limit(json!({ "memory": "64MiB" })).await;
    let none = Resume {
        outcome: None::<Outcome>,
        ..Resume::default()
    };
    let resumed = host.runtime.resume_run(&host.who, &id, none).await;
    assert_eq!(resumed.map_err(|error| error.code()), Ok(()));
    host.let_go_on(&id).await;
    tokio::time::timeout(Duration::from_secs(60), host.results(&id))
        .await
        .expect("it ends");
}
