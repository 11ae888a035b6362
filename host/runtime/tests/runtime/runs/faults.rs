//! Runs whose host dies wherever it writes, and runs whose journal is not what
//! their agent does.

use airlock_journal::{Batch, Op, Store};
use airlock_runtime::{Block, ReplayRun, ReplayVerdict, RunDetail};

use super::crashing::{Place, add_as};
use super::*;

/// Adds records to the journal of a run, as another version of its agent would
/// have, while nobody looks after it.
async fn written(disk: &Disk, run: &str, records: Vec<Value>, more: Vec<Op>) {
    let store = airlock_journal::MemoryStore::on(disk);
    let record = |record: &Value| Bytes::from(record.to_string());
    let mut ops = vec![Op::Append {
        stream: format!("run/{run}").into(),
        expect: None,
        records: records.iter().map(record).collect(),
    }];
    ops.extend(more);
    store.commit(Batch { ops }).await.expect("is kept");
}

/// A run with these records after its start.
async fn found_with(steps: Value, records: Vec<Value>) -> (tempfile::TempDir, Host, String) {
    found(|_| {}, steps, records).await
}

/// The same, with other members in its first record.
pub(super) async fn found(
    change: impl FnOnce(&mut Value),
    steps: Value,
    records: Vec<Value>,
) -> (tempfile::TempDir, Host, String) {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    // Its first record is that of another.
    let twin = host.start(steps).await;
    let page = host
        .runtime
        .run_events(&host.who, &twin, 0, 1)
        .expect("reads");
    let mut started = json!(page.events[0]);
    started.as_object_mut().expect("an object").remove("seq");
    change(&mut started);
    // Not in the middle of a call, which would be made again later.
    let rests = |run: &RunDetail| {
        let calls = run
            .waits_for
            .iter()
            .any(|open| open.request["kind"] == "call");
        run.end.is_some() || !(calls || run.waits_for.is_empty())
    };
    host.until(&twin, rests).await;
    drop(host);
    let run = format!("{twin}0");
    let row = json!({
        "id": run, "agent": "prober", "goal": "test", "by": "test", "state": "open",
        "started_ms": started["at_ms"], "updated_ms": started["at_ms"],
    });
    let put = |space, value: Value| Op::Put {
        space,
        key: run.clone().into(),
        value: value.to_string().into(),
    };
    let rows = vec![put("runs", row), put("runs-open", json!({}))];
    let records = [vec![started], records].concat();
    written(&disk, &run, records, rows).await;
    let host = Host::again(dir.path(), &disk).await;
    (dir, host, run)
}

fn event(event: &str, members: Value) -> Value {
    let mut record = json!({ "at_ms": 4_000_000_000_000_u64, "event": event });
    for (name, value) in members.as_object().expect("an object") {
        record[name] = value.clone();
    }
    record
}

fn asked(id: u64, request: Value) -> Value {
    event("requested", json!({ "id": id, "request": request }))
}

fn calls_add(id: u64) -> Value {
    asked(
        id,
        json!({ "kind": "call", "tool": "keeper/add", "input": "{}" }),
    )
}

fn answered(id: u64) -> Value {
    let answer = json!({ "ok": "{\"count\":1}" });
    event("answered", json!({ "id": id, "answer": answer }))
}

/// Whatever an agent does that its journal does not have, or has otherwise: the
/// run is blocked with both, nothing is done and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_something_else_blocks_its_run_and_does_nothing() {
    let woke = |id: u64| event("woke", json!({ "poll": 0, "ready": [id] }));
    let other = || {
        asked(
            0,
            json!({ "kind": "call", "tool": "keeper/add", "input": "[]" }),
        )
    };
    let waits = || asked(0, json!({ "kind": "signal", "name": "go" }));
    let done = || vec![calls_add(0), answered(0), woke(0)];
    let cases = [
        ("other arguments", json!([add()]), vec![other()]),
        ("another request", json!([add()]), vec![waits()]),
        (
            "one more",
            json!([add()]),
            vec![event(
                "noted",
                json!({ "note": "log", "level": "info", "message": "" }),
            )],
        ),
        (
            "one less",
            json!([add()]),
            [done(), vec![calls_add(1)]].concat(),
        ),
        ("none at all", json!([]), vec![waits()]),
        (
            "an end instead",
            json!([{ "fail": { "text": "no" } }]),
            vec![waits()],
        ),
        (
            "a wait instead",
            json!([{ "signal": { "name": "go" } }]),
            vec![waits(), calls_add(1)],
        ),
    ];
    for (name, steps, records) in cases {
        let len = 1 + records.len() as u64;
        let (_dir, host, run) = found_with(steps, records).await;
        let before = host.added().await;
        let blocked = host.until(&run, |run| run.blocked.is_some()).await;
        let Some(Block::Nondeterminism { expected, found }) = &blocked.blocked else {
            panic!("{name}: {blocked:?}")
        };
        assert!(!expected.is_empty() && !found.is_empty(), "{name}");
        assert!(blocked.events > len, "{name}: the journal is kept");
        assert_eq!(host.added().await, before, "{name}: nothing was done");
        let replay = host
            .runtime
            .replay_run(&host.who, &run, ReplayRun::default())
            .await;
        let replay = replay.expect("replays");
        assert_eq!(replay.verdict, ReplayVerdict::Differs, "{name}: {replay:?}");
    }
}

/// What a host that is gone had begun is made again only where it may happen twice,
/// by the class that it began under and by the one in force.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_begun_is_repeated_only_where_it_may_be() {
    let begun = |tool: &str, input: &str, class: &str| {
        let mut record = asked(0, json!({ "kind": "call", "tool": tool, "input": input }));
        record["begun"] = json!(class);
        record["at_ms"] = json!(airlock_runtime::now_ms());
        record
    };
    let adds = |class: &str| (add(), begun("keeper/add", "{}", class));
    let puts = |class: &str| {
        let input = r#"{"key":"k","value":"x"}"#;
        (put("x"), begun("keeper/put", input, class))
    };
    for ((step, record), repeated) in [
        (adds("plain"), false),
        (adds("idempotent"), false),
        (adds("read-only"), false),
        (puts("plain"), false),
        (puts("destructive"), false),
        (puts("idempotent"), true),
    ] {
        let case = record.to_string();
        let (_dir, host, run) = found_with(json!([step]), vec![record]).await;
        let stands = |run: &RunDetail| run.end.is_some() || run.blocked.is_some();
        let run = host.until(&run, stands).await;
        assert_eq!(run.end.is_some(), repeated, "{case}: {run:?}");
        let unknown = matches!(run.blocked, Some(Block::UnknownOutcome { .. }));
        assert_eq!(unknown, !repeated, "{case}: {run:?}");
        // Its twin's call, and no other.
        let twins = u64::from(case.contains("keeper/add"));
        assert_eq!(host.added().await, twins, "{case}");
    }
}

/// It is made again and fails; that says nothing of the attempt that was begun before,
/// unless neither could have had an effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_begun_and_fails_now_may_have_happened() {
    for (tool, class, unknown) in [
        ("keeper/put", "idempotent", true),
        ("keeper/get", "read-only", false),
    ] {
        let call = json!({ "call": { "tool": tool, "input": { "wrong": 1 } } });
        let request = json!({ "kind": "call", "tool": tool, "input": "{\"wrong\":1}" });
        let mut record = asked(0, request);
        record["begun"] = json!(class);
        record["at_ms"] = json!(airlock_runtime::now_ms());
        let (_dir, host, run) = found_with(json!([call]), vec![record]).await;
        let stands = |run: &RunDetail| run.end.is_some() || run.blocked.is_some();
        let run = host.until(&run, stands).await;
        let blocked = matches!(run.blocked, Some(Block::UnknownOutcome { .. }));
        assert_eq!(blocked, unknown, "{tool}: {run:?}");
        let why = json!(run.blocked)["detail"].to_string();
        let says = why.contains("an attempt before may have happened");
        assert_eq!(says, unknown, "{tool}: {why}");
    }
}

/// What a call did after the backup is not in its journal: cancelled, it stays
/// unknown unless it only reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cancelled_after_a_restore_stays_unknown() {
    let get = json!({ "call": { "tool": "keeper/get", "input": { "key": "k" } } });
    for (step, tool, input, unknown) in [
        (add(), "keeper/add", "{}", vec![0]),
        (
            put("x"),
            "keeper/put",
            r#"{"key":"k","value":"x"}"#,
            vec![0],
        ),
        (get, "keeper/get", r#"{"key":"k"}"#, vec![]),
    ] {
        let request = json!({ "kind": "call", "tool": tool, "input": input });
        let restored = json!({ "why": { "because": "restored", "made_at_ms": 1 } });
        let records = vec![asked(0, request), event("blocked", restored)];
        let (_dir, host, run) = found_with(json!([step]), records).await;
        host.until(&run, |run| run.blocked.is_some()).await;
        let cancelled = host.runtime.cancel_run(&host.who, &run, "").await;
        cancelled.expect("taken");
        assert_eq!(host.ended(&run).await.unknown, unknown, "{tool}");
    }
}

/// The clock was set while nobody was there, forward or back: a run's own time does
/// not go back, and a timer fires once, when its moment has come.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_moves_no_run_back_and_fires_each_timer_once() {
    for ahead_ms in [-86_400_000, -1_000, 1_500] {
        let since_ms = airlock_runtime::now_ms().saturating_add_signed(ahead_ms);
        let due_ms = since_ms + 10;
        let mut timer = asked(0, json!({ "kind": "timer", "due_ms": due_ms }));
        timer["at_ms"] = json!(since_ms);
        let sleep = |ms: u64| json!({ "sleep": { "ms": ms } });
        let steps = json!([sleep(10), { "look": {} }, sleep(1), { "look": {} }]);
        let (_dir, host, run) = found(
            |started| started["at_ms"] = json!(since_ms),
            steps,
            vec![timer],
        )
        .await;
        let results = host.results(&run).await;
        assert!(
            airlock_runtime::now_ms() >= due_ms,
            "{ahead_ms}: not before its time"
        );
        let seen = [1, 3].map(|look| results[look]["now_ms"].as_u64().expect("a time"));
        assert!(
            due_ms <= seen[0] && seen[0] < seen[1],
            "{ahead_ms}: {seen:?}"
        );
        let page = host.runtime.run_events(&host.who, &run, 0, 100);
        let events = json!(page.expect("reads").events);
        let events = events.as_array().expect("a list");
        let times: Vec<Option<u64>> = events.iter().map(|event| event["at_ms"].as_u64()).collect();
        assert!(times.is_sorted(), "{ahead_ms}: {times:?}");
        for id in [0, 1] {
            let answers = events
                .iter()
                .filter(|event| event["event"] == "answered" && event["id"] == id);
            assert_eq!(answers.count(), 1, "{ahead_ms}: timer {id}");
        }
    }
}

/// A record that can't be read stops its run and no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_can_not_be_read_strands_no_other() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let waits = || json!([{ "signal": { "name": "go" } }, add()]);
    let runs = [
        host.start(waits()).await,
        host.start(waits()).await,
        host.start(waits()).await,
    ];
    for run in &runs {
        host.until(run, |run| run.waits_for.len() == 1).await;
    }
    drop(host);
    written(
        &disk,
        &runs[1],
        vec![json!({ "at_ms": 1, "event": "nonsense" })],
        vec![],
    )
    .await;
    let host = Host::again(dir.path(), &disk).await;
    let go = json!(1);
    for run in [&runs[0], &runs[2]] {
        host.runtime
            .signal_run(&host.who, run, "go", &go)
            .await
            .expect("kept");
        host.results(run).await;
    }
    let lost = host
        .runtime
        .signal_run(&host.who, &runs[1], "go", &go)
        .await;
    let code = lost.expect_err("it can't be read").code();
    assert!(
        ["store-failed", "run-not-taken-up"].contains(&code),
        "{code}"
    );
    let listed = host.runtime.runs(&host.who, RunsQuery::default()).await;
    assert_eq!(listed.expect("the others are listed").runs.len(), 3);
    assert_eq!(host.added().await, 2);
}

/// Answers that come at the same moment, and signals among them, reach the agent
/// in one order: the one that it is told again.
#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_what_ends_at_once_is_the_replayed_order() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let sleep = |ms: u64| json!({ "sleep": { "ms": ms } });
    let signal = |name: &str| json!({ "signal": { "name": name } });
    let race =
        |name: &str| json!({ "select": [sleep(3), signal(name), put("x"), add(), sleep(3)] });
    let steps = json!([
        { "join": [race("a"), add(), race("b"), put("y"), race("c"), sleep(3), signal("d")] },
        { "look": {} },
        signal("end"),
    ]);
    let run = host.start(steps).await;
    for name in ["a", "b", "c", "d"] {
        host.runtime
            .signal_run(&host.who, &run, name, &json!(name))
            .await
            .expect("kept");
    }
    host.until(&run, |run| {
        run.waits_for
            .iter()
            .any(|open| open.request["name"] == "end")
    })
    .await;
    // The losers' answers come, and nobody is told.
    tokio::time::sleep(Duration::from_millis(30)).await;
    let before = host
        .runtime
        .run_events(&host.who, &run, 0, 1_000)
        .expect("reads");
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.runtime
        .signal_run(&host.who, &run, "end", &json!(1))
        .await
        .expect("kept");
    let seen = host.results(&run).await;
    let after = host
        .runtime
        .run_events(&host.who, &run, 0, 1_000)
        .expect("reads");
    let (before, after) = (json!(before.events), json!(after.events));
    let kept = before.as_array().expect("a list").len();
    assert_eq!(
        after.as_array().expect("a list")[..kept],
        before.as_array().expect("a list")[..]
    );
    let replay = host
        .runtime
        .replay_run(&host.who, &run, ReplayRun::default())
        .await;
    let replay = replay.expect("replays");
    assert_eq!(replay.verdict, ReplayVerdict::Same, "{replay:?}");
    let end = replay.replayed_end.expect("it ends");
    let told: Value = serde_json::from_str(&end.detail).expect("JSON");
    assert_eq!(told["results"], seen, "the clock too");
    for race in [0, 2, 4].map(|race| &seen[0][race]["results"]) {
        let won = race
            .as_array()
            .expect("a list")
            .iter()
            .filter(|one| !one.is_null());
        assert!(won.count() >= 1, "{race}");
    }
}

/// What a run does in the test of failing writes: an effect that may not be
/// repeated, one that may, waiting for everything there is to wait for, and some of
/// it at once.
fn work() -> Value {
    json!([
        { "look": {} },
        add_as("first"),
        put("a"),
        { "tell": { "text": "half" } },
        { "join": [add_as("joined"), put("b"), { "sleep": { "ms": 5 } }, { "signal": { "name": "go" } }] },
        { "select": [{ "sleep": { "ms": 1 } }, { "sleep": { "ms": 600_000 } }] },
        { "ask": { "text": "go on?", "choices": ["yes", "no"] } },
        { "cancel-sleep": { "ms": 600_000 } },
        add_as("last"),
    ])
}

/// Each boundary between two writes in turn: the host dies there, and the run
/// goes on where it was when it starts again.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_no_effect_is_lost_or_repeated() {
    for (autonomy, least) in [("supervised", 12), ("ask", 18)] {
        let mut place = Place::new().await;
        for n in 0..100 {
            let before = place.deaths;
            let members = json!({ "autonomy": autonomy });
            let run = place
                .run(work(), members, &["go".to_owned()], Some(n))
                .await;
            let look = place.host().results(&run).await[0].clone();
            assert!(look["now_ms"].is_u64(), "{look}");
            if place.deaths == before {
                break;
            }
        }
        let (deaths, lost) = (place.deaths, place.lost);
        assert!(deaths >= least, "{autonomy}: only {deaths} hosts died");
        assert!(
            lost >= 1,
            "{autonomy}: no call was cut off between its effect and its record"
        );
    }
}

/// A run that a person ends, wherever the host dies meanwhile: it ends, and
/// nothing of it begins again.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_a_run_that_is_ended_ends() {
    let mut place = Place::new().await;
    let steps = json!([add(), { "join": [
        { "signal": { "name": "never" } }, { "sleep": { "ms": 600_000 } }] }, add()]);
    for n in 0..20 {
        let host = place.host();
        let before = host.added().await;
        let id = host.start(steps.clone()).await;
        host.until(&id, |run| run.waits_for.len() == 2).await;
        let died = place.cancels(&id, n).await;
        let host = place.host();
        let end = host.ended(&id).await.end;
        assert_eq!(end, Some(End::Cancelled { unknown: vec![] }), "write {n}");
        assert_eq!(host.added().await, before + 1, "write {n}");
        if !died {
            assert!(n >= 2, "only {n} hosts died");
            return;
        }
    }
    panic!("it never ended in one go");
}
