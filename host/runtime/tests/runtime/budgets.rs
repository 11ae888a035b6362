//! What a run may use: each member of a budget, loops, and what catching up
//! costs.

use airlock_runtime::{Block, BudgetChange, Failure, Resume, RunDetail, RunStatus};
use serde_json::{Value, json};

use crate::host::{Host, place};
use crate::runs::add;

impl Host {
    /// A run with this budget, once it is blocked.
    async fn blocked(&self, steps: Value, budget: Value) -> RunDetail {
        let id = self.start_with(steps, json!({ "budget": budget })).await;
        let run = self.until(&id, |run| run.blocked.is_some() || run.end.is_some());
        run.await
    }

    async fn give(&self, id: &str, budget: Option<BudgetChange>) -> Result<(), &'static str> {
        let resume = Resume {
            budget,
            ..Resume::default()
        };
        let resumed = self.runtime.resume_run(&self.who, id, resume).await;
        resumed.map_err(|error| error.code())
    }
}

fn times(times: u64, step: Value) -> Value {
    json!([{ "repeat": { "times": times, "steps": [step] } }])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_used_what_it_may_waits_for_more() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let sleeps = || times(10, json!({ "sleep": { "ms": 5 } }));
    let more = |what: &str| -> BudgetChange {
        serde_json::from_value(json!({ what: 10_000_000_000_u64 })).expect("a change")
    };
    for (what, few) in [
        ("steps", 3),
        ("cpu_us", 1),
        ("wall_ms", 20),
        ("bytes_out", 0),
    ] {
        let run = host.blocked(sleeps(), json!({ what: few })).await;
        let Some(Block::Spent { what: found, used }) = &run.blocked else {
            panic!("{run:?}")
        };
        assert_eq!((&**found, *used >= few), (what, true), "{run:?}");
        let id = &run.run.id;
        assert_eq!(host.give(id, None).await, Err("invalid-request"), "{what}");
        assert_eq!(host.give(id, Some(more(what))).await, Ok(()), "{what}");
        host.results(id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_used_is_told_with_its_tools() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let id = host
        .start(json!([add(), add(), { "sleep": { "ms": 1 } }]))
        .await;
    host.results(&id).await;
    let used = host.run(&id).used;
    assert_eq!((used.calls, used.steps), (2, 3));
    assert!(used.cpu_us > 0 && used.bytes_out > 0, "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_gives_the_same_again_and_again_blocks_its_run() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let get = json!({ "call": { "tool": "keeper/get", "input": { "key": "none" } } });
    // By how often it is called, and the budget: how often it is blocked.
    for (calls, budget, blocks) in [
        (7, json!({ "repeats": 3 }), 2),
        (19, json!({}), 0),
        (20, json!({}), 1),
    ] {
        let run = host
            .blocked(times(calls, get.clone()), budget.clone())
            .await;
        let most = budget["repeats"].as_u64().unwrap_or(20);
        for block in 0..blocks {
            let run = host
                .until(&run.run.id, |run| {
                    run.blocked.is_some() || run.end.is_some()
                })
                .await;
            let tool = "keeper/get".to_owned();
            let looped = Block::Loop { tool, times: most };
            assert_eq!(run.blocked, Some(looped), "{calls} {budget} {block}");
            assert_eq!(host.give(&run.run.id, None).await, Ok(()));
        }
        host.results(&run.run.id).await;
    }
    // Another answer each time is no loop.
    let id = host.start(times(30, add())).await;
    host.results(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_costs_a_run_nothing() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let go = json!({ "signal": { "name": "go" } });
    let id = host
        .start(json!([{ "burn": { "rounds": 20_000_000 } }, go]))
        .await;
    let waits = |run: &RunDetail| run.waits_for.len() == 1;
    let once = host.until(&id, waits).await.used.cpu_us;
    assert!(once > 1_000, "{once} us");
    drop(host);
    for _ in 0..4 {
        let host = Host::again(dir.path(), &disk).await;
        host.until(&id, |run| {
            waits(run) && run.run.status == RunStatus::Waiting
        })
        .await;
        let within = std::time::Duration::from_secs(5);
        host.runtime.shutdown(within).await;
    }
    let host = Host::again(dir.path(), &disk).await;
    let payload = json!(1);
    let signalled = host.runtime.signal_run(&host.who, &id, "go", &payload);
    signalled.await.expect("kept");
    host.results(&id).await;
    let all = host.run(&id).used.cpu_us;
    let who = &host.who;
    let events = host.runtime.run_events(who, &id, 0, 100).expect("read");
    assert!(all < once * 2, "{once} us, then {all} us: {events:?}");
}
