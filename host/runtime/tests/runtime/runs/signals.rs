//! Who gets a signal, and what becomes of what an agent lets go of.

use airlock_runtime::{ReplayRun, ReplayVerdict};

use super::*;
use crate::host::gated::Gated;

fn signal(name: &str) -> Value {
    json!({ "signal": { "name": name } })
}

fn within(ms: u64, step: Value) -> Value {
    json!({ "within": { "ms": ms, "steps": [step] } })
}

async fn send(host: &Host, run: &str, name: &str, payload: Value) {
    let sent = host.runtime.signal_run(&host.who, run, name, &payload);
    sent.await.expect("kept");
}

/// Waits until a run waits for this request alone.
async fn waits_for(host: &Host, run: &str, id: u64) {
    let alone = |run: &RunDetail| run.waits_for.iter().all(|open| open.id == id);
    host.until(run, |run| !run.waits_for.is_empty() && alone(run))
        .await;
}

async fn replays(host: &Host, run: &str) {
    let replay = host
        .runtime
        .replay_run(&host.who, run, ReplayRun::default());
    let replay = replay.await.expect("replays");
    assert_eq!(replay.verdict, ReplayVerdict::Same, "{replay:?}");
}

/// One that was let go of, without or with a signal for it, takes none from the
/// next.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_goes_to_one_who_waits() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let late = json!({ "repeat": { "times": 3, "steps": [within(1, signal("order"))] } });
    let run = host.start(json!([late, signal("order")])).await;
    waits_for(&host, &run, 6).await;
    send(&host, &run, "order", json!(7)).await;
    assert_eq!(host.results(&run).await[1], json!({ "ok": 7 }));
    replays(&host, &run).await;

    // Both are there; the second one is let go of unread.
    let select = json!({ "select": [signal("a"), signal("x")] });
    let steps = json!([signal("go"), select, signal("x"), signal("x")]);
    let run = host.start(steps).await;
    for (name, payload) in [("a", 0), ("x", 1), ("x", 2), ("go", 3)] {
        send(&host, &run, name, json!(payload)).await;
    }
    let results = host.results(&run).await;
    assert_eq!(results[1]["first"], 0, "{results}");
    assert_eq!(
        [&results[2]["ok"], &results[3]["ok"]],
        [&json!(1), &json!(2)]
    );
    replays(&host, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_was_not_read_goes_on_with_the_run() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let select = json!({ "select": [signal("a"), signal("x")] });
    let next = json!({ "continue-as-new": { "steps": [signal("x")] } });
    let run = host.start(json!([signal("go"), select, next])).await;
    for name in ["a", "x", "go"] {
        send(&host, &run, name, json!(name)).await;
    }
    let Some(End::Continued { run }) = host.ended(&run).await.end else {
        panic!("{:?}", host.run(&run))
    };
    assert_eq!(host.results(&run).await, json!([{ "ok": "x" }]));
}

/// Over a restart too, which is where an earlier host's would come back.
#[tokio::test(flavor = "multi_thread")]
async fn timers_and_questions_that_were_let_go_of_are_over() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let ask = json!({ "ask": { "text": "now?", "choices": ["yes", "no"], "due_ms": 3_600_000 } });
    let timer = json!({ "select": [signal("a"), { "sleep": { "ms": 3_600_000 } }] });
    let steps = json!([signal("go"), within(1, ask), timer, signal("end")]);
    let run = host.start(steps).await;
    for name in ["a", "go"] {
        send(&host, &run, name, json!(1)).await;
    }
    let question = format!("{run}.1");
    waits_for(&host, &run, 5).await;
    assert!(host.open_questions().is_empty(), "it is no longer listed");
    let late = decide(&host, "other", &question, "yes").await;
    assert_eq!(late, Err("approval-not-found"));
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    waits_for(&host, &run, 5).await;
    send(&host, &run, "end", json!(1)).await;
    host.results(&run).await;
    replays(&host, &run).await;
}

/// The run that goes on in the place of another is durable, and its host has not come
/// to look after it: it only has to be waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_for_a_run_that_has_just_begun_waits_until_it_is_looked_after() {
    let (dir, disk) = place();
    let gate = Gated::on(&disk);
    let host = gate.host(crate::host::config(dir.path())).await;
    host.prepare(&[]).await;
    let next = json!({ "continue-as-new": { "steps": [signal("go")] } });
    let run = host.start(json!([signal("a"), next])).await;
    gate.hold("runs-chain");
    send(&host, &run, "a", json!(1)).await;
    while !gate.is_held() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let Some(End::Continued { run: next }) = host.run(&run).end else {
        panic!("{:?}", host.run(&run))
    };
    let let_go = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.let_go();
    };
    let (sent, ()) = tokio::join!(host.signal(&next, "go", json!(7)), let_go);
    assert_eq!(sent, Ok(()));
    assert_eq!(host.results(&next).await, json!([{ "ok": 7 }]));
}
