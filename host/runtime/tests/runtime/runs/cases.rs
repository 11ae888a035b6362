//! What breaks durable engines, where no other test has it; `docs/faults.md` names
//! them all.

use super::*;

fn events(host: &Host, id: &str) -> Vec<Value> {
    let page = host.runtime.run_events(&host.who, id, 0, 1_000);
    let events = json!(page.expect("reads").events);
    events.as_array().expect("a list").clone()
}

fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let all = events.iter();
    all.filter(|event| event["event"] == kind).collect()
}

/// The number of a call's attempt survives a restart, and a run that a person ends
/// leaves no attempt behind.
#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_counted_on_over_a_restart_and_end_with_their_run() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let effects = json!({ "fail": "idempotent" });
    let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": effects });
    host.grant("keeper", kept).await;
    host.rule(json!({ "retry": { "backoff": "20s", "backoff_max": "30s" } }))
        .await;
    let fail = json!({ "call": { "tool": "keeper/fail", "input": { "code": "transient" } } });
    let run = host.start(json!([fail])).await;
    let again = |run: &RunDetail| run.waits_for.first().is_some_and(|open| open.attempt == 2);
    host.until(&run, again).await;
    let before = events(&host, &run);
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.until(&run, again).await;
    let after = events(&host, &run);
    assert_eq!(
        of(&after, "retried"),
        of(&before, "retried"),
        "nothing begins anew"
    );
    let retried = of(&after, "retried")[0];
    let wait = retried["after_ms"].as_u64().zip(retried["at_ms"].as_u64());
    let wait = wait.map(|(after, at)| after - at).expect("times");
    assert!((1..=30_000).contains(&wait), "{wait} ms");
    host.runtime
        .cancel_run(&host.who, &run, "enough")
        .await
        .expect("taken");
    host.ended(&run).await;
    let ended = events(&host, &run).len();
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        events(&host, &run).len(),
        ended,
        "the last record is the last"
    );
}

/// A timer whose time came while no host was there fires once, when one is.
#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_was_due_while_nobody_was_there_fires_once() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host.start(json!([{ "sleep": { "ms": 300 } }, add()])).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    host.runtime.shutdown(Duration::from_secs(5)).await;
    drop(host);
    tokio::time::sleep(Duration::from_millis(400)).await;
    for _ in 0..2 {
        let host = Host::again(dir.path(), &disk).await;
        host.results(&run).await;
        let all = events(&host, &run);
        let fired = of(&all, "answered")
            .into_iter()
            .filter(|event| event["id"] == 0);
        assert_eq!(fired.count(), 1, "{all:?}");
        assert_eq!(host.added().await, 1);
    }
}

/// What an agent was given stays, whatever is granted now; its next call is judged
/// by what is.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_revocation_replay_succeeds_and_the_next_call_is_denied() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host
        .start(json!([add(), { "signal": { "name": "go" } }, add()]))
        .await;
    let waits_for_the_signal = |run: &RunDetail| match &run.waits_for[..] {
        [open] => open.request["kind"] == "signal",
        _ => false,
    };
    host.until(&run, waits_for_the_signal).await;
    host.grant("prober", json!({})).await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.runtime
        .signal_run(&host.who, &run, "go", &json!(1))
        .await
        .expect("kept");
    let results = host.results(&run).await;
    assert_eq!(results[0], json!({ "ok": { "count": 1 } }));
    let denied = results[2]["error"].as_str().expect("an error");
    assert!(denied.contains("denied"), "{denied}");
    assert_eq!(host.added().await, 1);
}

/// Many questions at once, each decided twice at the same moment: each has one
/// answer, and its own.
#[tokio::test(flavor = "multi_thread")]
async fn questions_at_once_get_one_answer_each_and_their_own() {
    const QUESTIONS: usize = 12;
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let ask = |number: usize| {
        let choices = [format!("yes {number}"), format!("no {number}")];
        json!({ "ask": { "text": format!("{number}?"), "choices": choices } })
    };
    let asks: Vec<Value> = (0..QUESTIONS).map(ask).collect();
    let run = host.start(json!([{ "join": asks }])).await;
    host.until(&run, |run| run.waits_for.len() == QUESTIONS)
        .await;
    let open = host.open_questions();
    assert_eq!(open.len(), QUESTIONS);
    let decisions = open.iter().flat_map(|asked| {
        let host = &host;
        [0, 1].map(|choice| decide(host, "other", &asked.id, &asked.choices[choice]))
    });
    let decided = futures_util::future::join_all(decisions).await;
    for pair in decided.chunks(2) {
        let kept = pair.iter().filter(|one| one.is_ok()).count();
        assert_eq!(kept, 1, "{decided:?}");
    }
    let results = host.results(&run).await;
    let told = results[0].as_array().expect("a list");
    for (number, one) in told.iter().enumerate() {
        let choice = one["ok"]["choice"].as_str().expect("a choice");
        assert!(
            choice.ends_with(&format!(" {number}")),
            "{number}: {choice}"
        );
    }
    let all = events(&host, &run);
    assert_eq!(of(&all, "answered").len(), QUESTIONS);
}

/// A decision and the end of its run at the same moment: one of them counts, and
/// the call is made at most once.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_meets_the_end_of_its_run_counts_or_does_not() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    for round in 0..8_u64 {
        let before = host.added().await;
        let run = host
            .start_with(json!([add()]), json!({ "autonomy": "ask" }))
            .await;
        host.until(&run, |run| run.waits_for.iter().any(|open| open.to_approve))
            .await;
        let id = format!("{run}.0");
        let approve = decide(&host, "other", &id, "approve");
        let cancel = async {
            tokio::time::sleep(Duration::from_micros(round * 150)).await;
            host.runtime.cancel_run(&host.who, &run, "enough").await
        };
        let (approved, cancelled) = tokio::join!(approve, cancel);
        let run = host.ended(&run).await;
        let added = host.added().await - before;
        match run.end {
            Some(End::Succeeded { .. }) => assert_eq!((added, approved), (1, Ok(()))),
            Some(End::Cancelled { unknown }) => {
                assert!(cancelled.is_ok());
                assert!(
                    added == 0 || !unknown.is_empty() || approved.is_ok(),
                    "{unknown:?}"
                );
            }
            end => panic!("{end:?}"),
        }
        assert!(added <= 1);
    }
}
