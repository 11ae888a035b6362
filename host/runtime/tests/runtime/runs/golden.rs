//! Records journals for `tests/golden`, where they are kept for ever.

use std::fs::OpenOptions;
use std::io::Write;

use super::crashing::{Place, add_as};
use super::*;

/// Says that journals are to be recorded.
const RECORD: &str = "AIRLOCK_GOLDEN";

/// A journal as it lies in the store, and what it comes to.
fn kept(host: &Host, name: &str, id: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");
    let version = env!("CARGO_PKG_VERSION");
    let path = format!("{folder}/{version}-{name}.jsonl");
    // What was recorded once is not recorded again.
    let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(&path) else {
        println!("{path} is there");
        return;
    };
    let run = json!(host.run(id));
    let page = host
        .runtime
        .run_events(&host.who, id, 0, 1_000)
        .expect("reads");
    let records: Vec<Value> = page.events.iter().map(|event| json!(event)).collect();
    let requests = records
        .iter()
        .filter(|record| {
            ["requested", "recorded"].contains(&record["event"].as_str().unwrap_or(""))
        })
        .count();
    let of = |name: &str| run.get(name).cloned().unwrap_or_default();
    let summary = json!({
        "records": records.len(), "requests": requests,
        "calls": of("calls"), "end": of("end"), "blocked": of("blocked"),
    });
    writeln!(file, "{summary}").expect("written");
    for mut record in records {
        record.as_object_mut().expect("an object").remove("seq");
        writeln!(file, "{record}").expect("written");
    }
}

/// Waits, tellings, a cancelled request, one that is let go of, a person's answer.
async fn waits(host: &Host) -> String {
    let never = json!({ "sleep": { "ms": 3_600_000 } });
    let steps = json!([
        { "look": {} }, { "tell": { "text": "half" } }, { "signal": { "name": "go" } },
        { "select": [never, { "sleep": { "ms": 3 } }] }, { "cancel-sleep": { "ms": 3_600_000 } },
        { "ask": { "text": "send it?", "choices": ["yes", "no"] } },
        { "join": [put("a"), add(), { "std-sleep": { "ms": 4 } }, { "signal": { "name": "go" } }] },
    ]);
    let run = host.start(steps).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    host.runtime
        .pause_run(&host.who, &run)
        .await
        .expect("paused");
    for payload in [json!({ "n": 1 }), json!(2)] {
        host.runtime
            .signal_run(&host.who, &run, "go", &payload)
            .await
            .expect("kept");
    }
    host.runtime
        .resume_run(&host.who, &run, Resume::default())
        .await
        .expect("goes on");
    let question = question(host, &run).await;
    decide(host, "other", &question.id, "yes")
        .await
        .expect("decided");
    host.results(&run).await;
    run
}

/// Calls that are approved, denied, tried again, and the run ended by a person.
async fn decided(host: &Host) -> String {
    let steps = json!([add(), add(), put("a"), put("b")]);
    let run = host.start_with(steps, json!({ "autonomy": "ask" })).await;
    for (number, decision) in (0..).zip(["approve", "deny", "approve", "approve"]) {
        let asks = |run: &RunDetail| {
            run.waits_for
                .iter()
                .any(|open| open.id == number && open.to_approve)
        };
        host.until(&run, asks).await;
        if number == 3 {
            let slow = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": { "put": "idempotent" } });
            let slow = json!({ "grants": slow, "limits": { "rate": "1/min" } });
            let slow: GrantsUpdate = serde_json::from_value(slow).expect("grants");
            host.runtime
                .set_grants(&host.who, "keeper", slow)
                .await
                .expect("granted");
            let call = ToolCall {
                idempotency_key: None,
                ..crate::host::run("keeper", None)
            };
            // The one that the rate allows.
            let _ = host
                .runtime
                .call(
                    &host.who,
                    ToolCall {
                        tool: "get".to_owned(),
                        input: Bytes::from_static(b"{\"key\":\"k\"}"),
                        ..call
                    },
                )
                .await;
        }
        let decided = decide(host, "other", &format!("{run}.{number}"), decision).await;
        if decided.is_err() || number == 3 {
            // Other grants, another question.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = decide(host, "other", &format!("{run}.{number}"), decision).await;
        }
    }
    host.until(&run, |run| {
        run.waits_for.first().is_some_and(|open| open.attempt == 2)
    })
    .await;
    host.runtime
        .cancel_run(&host.who, &run, "wrong month")
        .await
        .expect("taken");
    host.ended(&run).await;
    run
}

/// A journal that was full.
async fn budgeted(host: &Host) -> String {
    let steps = json!([{ "repeat": { "times": 30, "steps": [{ "sleep": { "ms": 0 } }] } }]);
    let run = host
        .start_with(steps, json!({ "budget": { "events": 40 } }))
        .await;
    host.until(&run, |run| run.blocked.is_some()).await;
    let resume = json!({ "budget": { "events": 1_000 } });
    let resume: Resume = serde_json::from_value(resume).expect("a request");
    host.runtime
        .resume_run(&host.who, &run, resume)
        .await
        .expect("goes on");
    host.results(&run).await;
    run
}

/// Values that are kept, state, tools, what computing costs, and children.
async fn keeps(host: &Host) -> String {
    let record = || json!({ "record": { "value": { "n": 1 } } });
    let child = json!({ "start": { "steps": [add()], "calls": 2 } });
    let never = json!({ "signal": { "name": "never" } });
    let steps = json!([
        record(), { "set": { "key": "a", "value": 1 } }, { "set": { "key": "a", "value": null } },
        { "set": { "key": "b", "value": [2] } }, { "get": { "key": "b" } },
        { "tools": {} }, { "tools": {} }, { "burn": { "rounds": 50_000_000 } }, record(),
        child, { "start-and-leave": { "steps": [] } }, { "start-and-cancel": { "steps": [never] } },
    ]);
    let run = host.start(steps).await;
    host.results(&run).await;
    run
}

/// A run that only observes.
async fn observes(host: &Host) -> String {
    let observe = json!({ "autonomy": "observe" });
    let run = host.start_with(json!([add()]), observe).await;
    host.results(&run).await;
    run
}

/// A question that others decide when its time is over, and a run that its grant
/// ends.
async fn ruled(host: &Host) -> [String; 2] {
    let escalates = json!({ "due": "1s", "on_due": "escalate", "escalate_to": "admin" });
    host.rule(escalates).await;
    let asks = json!({ "autonomy": "ask" });
    let escalated = host.start_with(json!([add()]), asks).await;
    let asked = question(host, &escalated).await;
    host.until(&escalated, |_| {
        let now = host.runtime.approval(&host.who, &asked.id);
        now.is_ok_and(|now| now.role == Role::Admin)
    })
    .await;
    decide(host, "other", &asked.id, "approve")
        .await
        .expect("in time");
    host.results(&escalated).await;
    host.rule(json!({ "on_error": { "permanent": "escalate" } }))
        .await;
    let fail = json!({ "call": { "tool": "keeper/fail", "input": { "code": "permanent" } } });
    let given_up = host.start(json!([fail, add()])).await;
    host.ended(&given_up).await;
    [escalated, given_up]
}

/// A run that went on as another, and one whose outcome was lost.
#[tokio::test(flavor = "multi_thread")]
async fn golden_journals_are_recorded() {
    if std::env::var(RECORD).as_deref() != Ok("record") {
        return;
    }
    let mut place = Place::new().await;
    let host = place.host();
    kept(host, "waits", &waits(host).await);
    kept(host, "budget", &budgeted(host).await);
    let continues = host
        .start(json!([add(), { "continue-as-new": { "steps": [add()] } }]))
        .await;
    host.ended(&continues).await;
    kept(host, "continued", &continues);
    let fails = host
        .start(json!([add(), { "escalate": { "text": "look" } }]))
        .await;
    host.ended(&fails).await;
    kept(host, "escalated", &fails);
    let request = json!({ "at": 1 });
    let request = serde_json::from_value(request).expect("a request");
    let forked = host
        .runtime
        .fork_run(&host.who, &fails, request)
        .await
        .expect("forked");
    host.ended(&forked.id).await;
    kept(host, "forked", &forked.id);
    for n in 0..30 {
        let run = place
            .run(json!([add_as("a"), add_as("b")]), json!({}), &[], Some(n))
            .await;
        if place.lost > 0 {
            kept(place.host(), "lost", &run);
            break;
        }
    }
    let host = place.host();
    kept(host, "kept", &keeps(host).await);
    kept(host, "observed", &observes(host).await);
    let [escalated, given_up] = ruled(host).await;
    kept(host, "question-escalated", &escalated);
    kept(host, "given-up", &given_up);
    host.rule(json!({})).await;
    kept(host, "decided", &decided(host).await);
}
