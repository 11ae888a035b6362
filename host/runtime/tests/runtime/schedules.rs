//! Schedules over a clock that the tests set: what is due happens once, wherever
//! the host stops.

use std::time::Duration;

use airlock_journal::memory::{Disk, Fault};
use airlock_journal::{Batch, MemoryStore, Store};
use airlock_runtime::{
    Did, End, Failure, HaltRequest, Principal, Role, RunStatus, RunView, RunsQuery,
    ScheduleRequest, ScheduleView,
};
use serde_json::{Value, json};

use crate::host::{Host, place};

const HOUR: u64 = 3_600_000;

/// An hour some days from now, on the hour: schedules begin now.
fn later() -> u64 {
    (airlock_runtime::now_ms() / HOUR + 48) * HOUR
}

async fn set(host: &Host, members: Value) -> Result<ScheduleView, String> {
    let mut request = json!({
        "name": "hourly", "cron": "0 * * * *",
        "start": { "agent": "prober", "input": { "steps": [] } },
    });
    for (name, value) in members.as_object().expect("an object") {
        request[name] = value.clone();
    }
    let request: ScheduleRequest = serde_json::from_value(request).map_err(|e| e.to_string())?;
    let set = host.runtime.set_schedule(&host.who, request, true).await;
    set.map_err(|error| format!("{} {error}", error.code()))
}

/// Lets it be so late, and gives the schedule after that.
async fn at(host: &Host, now_ms: u64) -> ScheduleView {
    host.runtime.fire_schedules(now_ms).await;
    host.runtime
        .schedule(&host.who, "hourly")
        .expect("a schedule")
}

fn did(schedule: &ScheduleView) -> Did {
    schedule.last.as_ref().expect("it came due").what
}

async fn runs(host: &Host) -> Vec<RunView> {
    let page = host.runtime.runs(&host.who, RunsQuery::default()).await;
    page.expect("runs").runs
}

async fn all_ended(host: &Host) {
    for run in runs(host).await {
        host.ended(&run.id).await;
    }
}

fn waiting() -> Value {
    json!({ "agent": "prober", "input": { "steps": [{ "signal": { "name": "go" } }] } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_started_when_it_is_due_and_missed_ones_as_asked() {
    // What is asked; hours that were missed; runs that are started.
    for (catch_up, hours, started) in [
        (json!({ "catch_up": "skip" }), 5, 1),
        (json!({ "catch_up": "once" }), 5, 1),
        (json!({ "catch_up": "all", "overlap": "allow" }), 5, 5),
        (
            json!({ "catch_up": "all", "catch_up_max": 3, "overlap": "allow" }),
            5,
            3,
        ),
    ] {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &[]).await;
        set(&host, catch_up.clone()).await.expect("set");
        let made = set(&host, catch_up.clone()).await.expect("set again");
        let first = made.next_ms[0];
        assert_eq!(at(&host, first - 1).await.last, None);
        // The first of the hours is the first due time.
        let now = first + (hours - 1) * HOUR;
        let shown = at(&host, now).await;
        assert_eq!(did(&shown), Did::Started, "{catch_up}");
        assert_eq!(runs(&host).await.len(), started, "{catch_up}");
        assert_eq!(shown.next_ms[0], now + HOUR);
        assert!(runs(&host).await.iter().all(|run| run.by == host.who.name));
        at(&host, now).await;
        at(&host, now - 30 * HOUR).await;
        assert_eq!(runs(&host).await.len(), started, "{catch_up}: twice");
        let missed = host.audited("schedule.missed").await.len();
        assert_eq!(missed, usize::from(started < 5), "{catch_up}");
        let begun = host.audited("admin.run.start").await;
        assert!(begun[0].contains("\"schedule\":\"hourly\""), "{begun:?}");
    }
}

/// Runs that are made up for are told each its own time, and not when they started.
#[tokio::test(flavor = "multi_thread")]
async fn each_run_is_told_which_time_it_stands_for() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let all = json!({ "catch_up": "all", "overlap": "allow" });
    let made = set(&host, all).await.expect("set");
    let first = made.next_ms[0];
    at(&host, first + 2 * HOUR).await;
    let rfc3339 = |ms: u64| {
        let at = std::time::UNIX_EPOCH + Duration::from_millis(ms);
        let at = jiff::Timestamp::try_from(at).expect("a moment");
        at.to_string()
    };
    let mut told: Vec<Value> = Vec::new();
    for run in runs(&host).await {
        told.push(host.run(&run.id).input);
    }
    told.sort_by_key(|input| input["logical_time"].to_string());
    let expect: Vec<Value> = (0..3)
        .map(|n| {
            let due = first + n * HOUR;
            let (start, end) = (rfc3339(due - HOUR), rfc3339(due));
            json!({ "steps": [], "logical_time": start, "interval": { "start": start, "end": end } })
        })
        .collect();
    assert_eq!(told, expect);
}

/// The schedule's own token; another one takes it over.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_does_nothing_once_its_token_is_revoked() {
    let (dir, disk) = place();
    let mut host = Host::with_agent(dir.path(), &disk, &[]).await;
    let other = host.with_token(Role::Caller).await;
    let ours = host.with_token(Role::Caller).await;
    let local = std::mem::replace(&mut host.who, ours.clone());
    let asked = || json!({ "overlap": "queue", "start": waiting() });
    let start = set(&host, asked()).await.expect("set").next_ms[0];
    assert_eq!(did(&at(&host, start).await), Did::Started);
    assert_eq!(did(&at(&host, start + HOUR).await), Did::Queued);
    host.who = local;
    let id = ours.token_id.clone().expect("of a token");
    let revoked = host.runtime.revoke_token(&host.who, &id, false, "").await;
    let revoked = revoked.expect("revoked");
    assert_eq!(
        (revoked.schedules, revoked.hooks.len()),
        (vec!["hourly".to_owned()], 0)
    );
    let shown = at(&host, start + 2 * HOUR).await;
    assert!(shown.revoked && shown.next_ms.is_empty(), "{shown:?}");
    assert_eq!(
        (did(&shown), shown.queued_ms),
        (Did::Failed, Some(start + HOUR))
    );
    let why = shown.last.and_then(|last| last.detail);
    assert!(why.expect("it is told").contains("revoked"));
    let run = runs(&host).await.remove(0).id;
    let ended = host.runtime.cancel_run(&host.who, &run, "").await;
    ended.expect("taken");
    host.ended(&run).await;
    let failed = at(&host, start + 3 * HOUR).await;
    assert_eq!((did(&failed), failed.queued_ms), (Did::Failed, None));
    assert_eq!(runs(&host).await.len(), 1, "nor what was queued");
    host.who = other;
    let theirs = set(&host, asked()).await.expect("it is theirs now");
    assert!(!theirs.revoked, "{theirs:?}");
    assert_eq!(did(&at(&host, start + 4 * HOUR).await), Did::Started);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_goes_on_is_treated_as_the_overlap_says() {
    for (overlap, second, third, open) in [
        ("allow", Did::Started, Did::Started, 3),
        ("skip", Did::Skipped, Did::Skipped, 1),
        ("queue", Did::Queued, Did::Skipped, 1),
        ("cancel-previous", Did::Queued, Did::Queued, 0),
    ] {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &[]).await;
        let asked = json!({ "overlap": overlap, "start": waiting() });
        let start = set(&host, asked).await.expect("set").next_ms[0];
        assert_eq!(did(&at(&host, start).await), Did::Started);
        let first = runs(&host).await[0].id.clone();
        assert_eq!(did(&at(&host, start + HOUR).await), second, "{overlap}");
        if overlap == "cancel-previous" {
            let end = host.ended(&first).await.end;
            assert!(matches!(end, Some(End::Cancelled { .. })), "{end:?}");
            assert_eq!(did(&at(&host, start + HOUR).await), Did::Started);
            assert_eq!(runs(&host).await.len(), 2);
            continue;
        }
        assert_eq!(did(&at(&host, start + 2 * HOUR).await), third, "{overlap}");
        let left = runs(&host)
            .await
            .iter()
            .filter(|run| run.status != RunStatus::Succeeded)
            .count();
        assert_eq!(left, open, "{overlap}");
        let go = host
            .runtime
            .signal_run(&host.who, &first, "go", &Value::Null);
        go.await.expect("it goes on");
        host.ended(&first).await;
        let shown = at(&host, start + 2 * HOUR).await;
        let queued = overlap == "queue";
        assert_eq!(shown.queued_ms, None);
        assert_eq!(did(&shown) == Did::Started, queued || overlap == "allow");
    }
}

/// Wherever a write fails, each due time has one run.
#[tokio::test(flavor = "multi_thread")]
async fn a_due_time_has_one_run_whatever_crashes() {
    let mut failures = 0;
    for n in 0..12 {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &[]).await;
        let asked = json!({ "catch_up": "all", "overlap": "allow" });
        let first = set(&host, asked).await.expect("set").next_ms[0];
        host.runtime.take_up_runs().await.expect("looked after");
        // A sync that fails leaves what was written: it happened and nobody knew.
        let fault = match n % 2 {
            0 => Fault::Write { n: n / 2 },
            _ => Fault::Sync { n: n / 2 },
        };
        host.store.inject(fault);
        host.runtime.fire_schedules(first + 3 * HOUR).await;
        all_ended_or_dead(&host).await;
        failures += u64::from(host.runtime.ready().is_err());
        drop(host);
        let host = Host::again(dir.path(), &disk).await;
        host.runtime.fire_schedules(first + 3 * HOUR).await;
        all_ended(&host).await;
        let begun = host.audited("admin.run.start").await;
        assert_eq!((runs(&host).await.len(), begun.len()), (4, 4), "write {n}");
    }
    assert!(failures >= 6, "only {failures} met a fault");
}

async fn all_ended_or_dead(host: &Host) {
    for run in runs(host).await {
        host.until(&run.id, |run| {
            run.end.is_some() || host.runtime.ready().is_err()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_given_once_and_follows_the_run() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let next = json!([{ "signal": { "name": "tick" } }, { "signal": { "name": "tick" } }]);
    let id = host
        .start(json!([{ "continue-as-new": { "steps": next } }]))
        .await;
    let Some(End::Continued { run }) = host.ended(&id).await.end else {
        panic!("{:?}", host.run(&id))
    };
    let signal = json!({ "run": id, "name": "tick", "payload": { "n": 1 } });
    let asked = json!({ "start": null, "signal": signal });
    let first = set(&host, asked).await.expect("set").next_ms[0];
    assert_eq!(did(&at(&host, first).await), Did::Signalled);
    at(&host, first).await;
    let waits = host.until(&run, |run| run.waits_for.len() == 1 && run.events > 4);
    assert_eq!(waits.await.waits_for[0].id, 1, "the first has its answer");
    at(&host, first + HOUR).await;
    let results = host.results(&run).await;
    assert_eq!(results, json!([{ "ok": { "n": 1 } }, { "ok": { "n": 1 } }]));
    // Its run has ended: that is told, and not tried again.
    let shown = at(&host, first + 2 * HOUR).await;
    assert_eq!(did(&shown), Did::Failed);
    let detail = shown.last.and_then(|last| last.detail).expect("why");
    assert!(detail.contains("has ended"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_stands_still_when_told_and_when_all_does() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    set(&host, json!({})).await.expect("set");
    let runtime = &host.runtime;
    let paused = runtime.pause_schedule(&host.who, "hourly", true).await;
    assert!(paused.expect("paused").next_ms.is_empty());
    at(&host, later()).await;
    assert!(runs(&host).await.is_empty());
    let resumed = runtime.pause_schedule(&host.who, "hourly", false).await;
    let first = resumed.expect("resumed").next_ms[0];
    assert_eq!(did(&at(&host, first).await), Did::Started);
    runtime
        .remove_schedule(&host.who, "hourly")
        .await
        .expect("removed");
    runtime.fire_schedules(first + HOUR).await;
    assert_eq!(runs(&host).await.len(), 1);
    for action in ["set", "pause", "resume", "remove"] {
        let action = format!("admin.schedule.{action}");
        assert_eq!(host.audited(&action).await.len(), 1, "{action}");
    }
}

/// The task of the server itself: it fires by the clock, and not while all stands
/// still.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_fires_by_itself_and_not_while_it_is_halted() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let asked = json!({ "cron": "* * * * *", "overlap": "allow" });
    set(&host, asked).await.expect("set");
    rewind(&disk, &host).await;
    let halt = |halted| HaltRequest {
        halted,
        why: String::new(),
        ..HaltRequest::default()
    };
    let runtime = &host.runtime;
    runtime.halt(&host.who, halt(true)).await.expect("halted");
    runtime.take_up_runs().await.expect("looked after");
    // Longer than it needs to look twice.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(runs(&host).await.is_empty(), "it is halted");
    runtime.halt(&host.who, halt(false)).await.expect("lifted");
    let wait = async {
        while runs(&host).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    waited.expect("it fires");
}

/// Makes the schedule's last decision an hour old.
async fn rewind(disk: &Disk, host: &Host) {
    use airlock_journal::{Batch, MemoryStore, Store};
    let store = MemoryStore::on(disk);
    let row = store.get("schedules", b"hourly").expect("reads");
    let mut row: Value = serde_json::from_slice(&row.expect("a row")).expect("JSON");
    row["decided_ms"] = json!(airlock_runtime::now_ms() - HOUR);
    let batch = Batch::new().put("schedules", "hourly", row.to_string());
    host.store.commit(batch).await.expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let start = |agent: &str| json!({ "agent": agent, "input": {} });
    for (members, expect) in [
        (json!({ "name": "Hourly" }), "bad-name"),
        (
            json!({ "cron": "0 0 31 2 *" }),
            "schedule-invalid cron: `0 0 31 2 *` never",
        ),
        (
            json!({ "zone": "Europe/Berln" }),
            "did you mean `Europe/Berlin`?",
        ),
        (json!({ "start": start("nobody") }), "plugin-not-found"),
        (json!({ "start": start("keeper") }), "not-an-agent"),
        (
            json!({ "start": { "agent": "prober", "gaol": "" } }),
            "start: unknown field `gaol`",
        ),
        (json!({ "start": null }), "give either `start` or `signal`"),
        (
            json!({ "signal": { "run": "r", "name": "n" } }),
            "give either",
        ),
        (
            json!({ "start": null, "signal": { "name": "n" } }),
            "named by its id",
        ),
        (
            json!({ "start": null, "signal": { "run": "r", "name": "n" } }),
            "run-not-found",
        ),
        (json!({ "catch_up_max": 5 }), "catch_up_max: it belongs"),
        (
            json!({ "catch_up": "all", "catch_up_max": 101 }),
            "1 to 100",
        ),
        (json!({ "overlap": "none" }), "unknown variant `none`"),
    ] {
        let error = set(&host, members.clone()).await.expect_err(expect);
        assert!(error.contains(expect), "{members}: {error}");
    }
    assert!(host.runtime.schedules(&host.who).expect("reads").is_empty());
}

/// Callers have their own schedules alone, and nobody one outside its scope; a
/// run has the scope of the token that its schedule was made with.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_is_its_makers() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/add"]).await;
    let who = |name: &str, role, scope: Option<&str>| Principal {
        name: name.to_owned(),
        token_id: None,
        roles: [role].into(),
        plugins: scope.map(|plugin| [plugin.to_owned()].into()),
    };
    let call = json!({ "call": { "tool": "keeper/add", "input": {} } });
    let request = json!({
        "name": "hourly", "cron": "0 * * * *",
        "start": { "agent": "prober", "input": { "steps": [call] } },
    });
    let request: ScheduleRequest = serde_json::from_value(request).expect("a request");
    let ann = who("ann", Role::Caller, Some("prober"));
    let runtime = &host.runtime;
    let made = runtime.set_schedule(&ann, request.clone(), false).await;
    let first = made.expect("made").next_ms[0];
    for (name, role, scope, sees, changes) in [
        ("ann", Role::Caller, None, true, true),
        ("bob", Role::Caller, None, false, false),
        ("bob", Role::Viewer, None, true, false),
        ("bob", Role::Operator, None, true, true),
        ("bob", Role::Operator, Some("keeper"), false, false),
    ] {
        let who = who(name, role, scope);
        let shown = runtime.schedule(&who, "hourly").is_ok();
        let listed = !runtime.schedules(&who).expect("reads").is_empty();
        assert_eq!((shown, listed), (sees, sees), "{name} {role} {scope:?}");
        let paused = runtime.pause_schedule(&who, "hourly", false).await;
        assert_eq!(paused.is_ok(), changes, "{name} {role} {scope:?}");
        if !changes {
            let taken = runtime.set_schedule(&who, request.clone(), true).await;
            assert!(taken.is_err(), "{name} {role} {scope:?}");
        }
    }
    runtime.fire_schedules(first).await;
    let run = runs(&host).await.remove(0);
    assert_eq!(run.by, "ann");
    let denied = host.results(&run.id).await;
    assert!(denied[0]["error"].is_string(), "out of its scope: {denied}");
    assert_eq!(host.added().await, 0);
}

/// The host that was lost may have fired since the backup was made.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_due_before_a_restore_is_not_made_up_for() {
    // Whether it is a restored backup, or the same host; runs that are started.
    for (restored, started) in [(false, 1), (true, 0)] {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &[]).await;
        set(&host, json!({ "catch_up": "once" }))
            .await
            .expect("set");
        drop(host);
        // It was made some hours ago.
        let store = MemoryStore::on(&disk);
        let (name, row) = store
            .range("schedules", b"", None, 9)
            .expect("reads")
            .remove(0);
        let mut row: Value = serde_json::from_slice(&row).expect("JSON");
        let made = row["decided_ms"].as_u64().expect("a time") - 5 * HOUR;
        row["decided_ms"] = json!(made);
        let mut batch = Batch::new().put("schedules", name, row.to_string());
        if restored {
            batch = batch.put("backup", "", r#"{"at_ms":7,"by":"ann"}"#);
        }
        store.commit(batch).await.expect("stores");
        drop(store);
        let host = Host::open(dir.path(), &disk).await;
        let now = airlock_runtime::now_ms();
        let shown = at(&host, now).await;
        assert_eq!(runs(&host).await.len(), started, "restored: {restored}");
        let expect = if restored { Did::Missed } else { Did::Started };
        assert_eq!(did(&shown), expect, "restored: {restored}");
        let missed = host.audited("schedule.missed").await;
        let noted = missed.iter().filter(|detail| detail.contains("restored"));
        assert_eq!(noted.count(), usize::from(restored), "{missed:?}");
        all_ended(&host).await;
        // What comes due from now on does.
        at(&host, shown.next_ms[0]).await;
        assert_eq!(runs(&host).await.len(), started + 1, "restored: {restored}");
    }
}
