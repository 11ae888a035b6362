//! What people say of runs that stand still, and what remains unknown when a run
//! ends.

use airlock_runtime::{Block, End, RunDetail};

use super::*;

fn fail() -> Value {
    json!({ "call": { "tool": "keeper/fail", "input": { "code": "unknown" } } })
}

fn about(request: u64, outcome: Outcome) -> Resume {
    Resume {
        request: Some(request),
        outcome: Some(outcome),
        ..Resume::default()
    }
}

impl Host {
    async fn resume(&self, who: &Principal, id: &str, resume: Resume) -> Result<(), &'static str> {
        let resumed = self.runtime.resume_run(who, id, resume).await;
        resumed.map_err(|error| error.code())
    }

    /// A run whose call may have happened or not.
    async fn lost(&self, steps: Value) -> String {
        let id = self.start(steps).await;
        let lost = |run: &RunDetail| matches!(run.blocked, Some(Block::UnknownOutcome { .. }));
        self.until(&id, lost).await;
        id
    }
}

/// Two operators at once: one of them is told that it is done, and the agent gets
/// what the other one said.
#[tokio::test(flavor = "multi_thread")]
async fn two_words_on_one_lost_outcome_count_once() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    for _ in 0..4 {
        let id = host.lost(json!([fail()])).await;
        let record = about(0, Outcome::Record(json!({ "said": "it happened" })));
        let (first, second) = tokio::join!(
            host.resume(&host.who, &id, record),
            host.resume(&host.who, &id, about(0, Outcome::Fail)),
        );
        let results = host.results(&id).await;
        let expect = match (first, second) {
            (Ok(()), Err("run-not-blocked" | "run-ended")) => json!({ "said": "it happened" }),
            (Err("run-not-blocked" | "run-ended"), Ok(())) => Value::Null,
            both => panic!("{both:?}"),
        };
        assert_eq!(results[0]["ok"], expect, "{results}");
    }
}

/// Who may let a run go on, and what stays an operator's.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_lets_go_on_what_it_paused_and_nothing_else() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let owner = Principal {
        roles: [Role::Caller].into(),
        ..(*host.who).clone()
    };
    let operator = Principal {
        name: "op".to_owned(),
        roles: [Role::Operator].into(),
        ..owner.clone()
    };
    let id = host.start(json!([{ "signal": { "name": "go" } }])).await;
    host.until(&id, |run| run.waits_for.len() == 1).await;
    for (pauses, resumed) in [(&owner, Ok(())), (&operator, Err("forbidden"))] {
        let paused = host.runtime.pause_run(pauses, &id).await;
        paused.expect("paused");
        let said = host.resume(&owner, &id, Resume::default()).await;
        assert_eq!(said, resumed, "{}", pauses.name);
        let status = host.run(&id).run.status;
        assert_eq!(status == RunStatus::Paused, resumed.is_err(), "{status:?}");
    }
    let said = host.resume(&operator, &id, Resume::default()).await;
    assert_eq!(said, Ok(()));
    let lost = host.lost(json!([fail()])).await;
    let fails = || about(0, Outcome::Fail);
    assert_eq!(host.resume(&owner, &lost, fails()).await, Err("forbidden"));
    assert_eq!(host.resume(&operator, &lost, fails()).await, Ok(()));
    host.results(&lost).await;
}

/// However a run ends, its end names the calls that may have happened.
#[tokio::test(flavor = "multi_thread")]
async fn each_end_names_what_remains_unknown() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let go_on = json!({ "continue-as-new": { "steps": [] } });
    let table = [
        (
            json!({}),
            json!([{ "look": {} }, fail()]),
            "succeeded",
            vec![0],
        ),
        (
            json!({}),
            json!([fail(), { "fail": { "text": "no" } }]),
            "failed",
            vec![0],
        ),
        (
            json!({}),
            json!([fail(), fail(), go_on]),
            "continued",
            vec![0, 1],
        ),
        (
            json!({ "on_error": { "unknown": "abort" } }),
            json!([fail()]),
            "failed",
            vec![0],
        ),
        (json!({}), json!([add()]), "succeeded", vec![]),
    ];
    for (more, steps, state, unknown) in table {
        let mut rule = json!({ "on_unknown": "fail" });
        rule.as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        host.rule(rule).await;
        let id = host.start(steps.clone()).await;
        let run = host.ended(&id).await;
        assert_eq!(run.unknown, unknown, "{steps}");
        assert_eq!(json!(run.end)["state"], state, "{steps}: {run:?}");
        let page = host.runtime.run_events(&host.who, &id, 0, 1_000);
        let last = json!(page.expect("reads").events);
        let last = last.as_array().and_then(|all| all.last()).cloned();
        let last = last.expect("a record");
        let told = last.get("unknown").cloned().unwrap_or(json!([]));
        assert_eq!((&last["event"], told), (&json!("ended"), json!(unknown)));
    }
    let noted = host.audited("run.end").await;
    let noted = noted
        .iter()
        .filter(|detail| detail.contains("\"unknown\":["));
    assert_eq!(noted.count(), 4);
    let id = host.start(json!([{ "signal": { "name": "never" } }])).await;
    let cancelled = host.runtime.cancel_run(&host.who, &id, "enough").await;
    cancelled.expect("taken");
    let end = host.ended(&id).await.end;
    assert_eq!(end, Some(End::Cancelled { unknown: vec![] }));
}
