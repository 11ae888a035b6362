//! Runs that wait for long: out of their sandbox, out of memory, and there again.

use super::*;

use airlock_runtime::{Failure, ForkRun, Principal, Role, RuntimeConfig};

/// A place where waiting agents give way at once, and two have a sandbox.
pub(super) fn narrow(dir: &Path) -> RuntimeConfig {
    RuntimeConfig {
        agents_max: 2,
        agent_warm: Duration::ZERO,
        ..crate::host::config(dir)
    }
}

pub(super) async fn narrow_host(dir: &Path, disk: &Disk) -> Host {
    let host = Host::with(narrow(dir), disk).await;
    let taken = host.runtime.take_up_runs().await;
    taken.expect("they are read");
    host
}

impl Host {
    pub(super) fn in_memory(&self) -> u64 {
        let text = self.runtime.metrics_text();
        let line = text.lines().find_map(|line| {
            let value = line.strip_prefix("airlock_runs_in_memory ")?;
            value.trim().parse().ok()
        });
        line.unwrap_or_else(|| panic!("{text}"))
    }

    pub(super) async fn signal(
        &self,
        id: &str,
        name: &str,
        payload: Value,
    ) -> Result<(), &'static str> {
        let signalled = self.runtime.signal_run(&self.who, id, name, &payload).await;
        signalled.map_err(|error| error.code())
    }

    pub(super) async fn until_out_of_memory(&self) {
        let wait = async {
            while self.in_memory() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{} runs stay in memory", self.in_memory());
    }
}

fn signal(name: &str) -> Value {
    json!({ "signal": { "name": name } })
}

fn sleep(ms: u64) -> Value {
    json!({ "sleep": { "ms": ms } })
}

pub(super) fn ask() -> Value {
    json!({ "ask": { "text": "now?", "choices": ["yes", "no"] } })
}

/// Whatever they wait for, and over a restart too.
#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_leave_memory_and_are_found_again() {
    let (dir, disk) = place();
    let host = narrow_host(dir.path(), &disk).await;
    host.prepare(&["keeper/*"]).await;
    let by_signal = host.start(json!([signal("go"), add()])).await;
    let by_timer = host.start(json!([sleep(1_500), add()])).await;
    let by_person = host.start(json!([ask(), add()])).await;
    let either = json!([{ "select": [sleep(3_600_000), signal("go")] }, add()]);
    let either = host.start(either).await;
    let paused = host.start(json!([signal("go"), add()])).await;
    let stopped = host.start(json!([signal("go"), add()])).await;
    let held = host.runtime.pause_run(&host.who, &paused).await;
    held.expect("paused");
    for id in [&by_signal, &by_person, &either] {
        let seen = host.until(id, |run| !run.waits_for.is_empty()).await;
        assert!(seen.end.is_none(), "{seen:?}");
    }
    host.until(&by_timer, |run| run.calls == 1).await;
    host.until_out_of_memory().await;
    assert_eq!(host.run(&by_signal).run.status, RunStatus::Waiting);
    assert_eq!(host.run(&paused).run.status, RunStatus::Paused);
    drop(host);

    let host = narrow_host(dir.path(), &disk).await;
    assert_eq!(host.in_memory(), 0, "none is taken up before its time");
    for id in [&by_signal, &either, &paused] {
        host.signal(id, "go", json!(1)).await.expect("kept");
    }
    let asked = host.open_questions();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let decided = decide(&host, "somebody", &asked[0].id, "yes").await;
    assert_eq!(decided, Ok(()));
    let cancelled = host.runtime.cancel_run(&host.who, &stopped, "enough").await;
    cancelled.expect("taken");
    for id in [&by_signal, &by_timer, &by_person, &either] {
        let results = host.results(id).await;
        assert!(results[1]["ok"]["count"].is_u64(), "{results}");
    }
    assert_eq!(host.ended(&stopped).await.run.status, RunStatus::Cancelled);
    assert_eq!(host.run(&paused).run.status, RunStatus::Paused);
    let resumed = host
        .runtime
        .resume_run(&host.who, &paused, Resume::default());
    resumed.await.expect("goes on");
    host.results(&paused).await;
    assert_eq!(host.added().await, 5);
    host.until_out_of_memory().await;
}

/// More runs than sandboxes, each of which waits for another.
#[tokio::test(flavor = "multi_thread")]
async fn runs_that_wait_give_way_to_runs_that_work() {
    let (dir, disk) = place();
    let patient = RuntimeConfig {
        agent_warm: Duration::from_secs(3_600),
        ..narrow(dir.path())
    };
    let host = Host::with(patient, &disk).await;
    host.prepare(&["keeper/*"]).await;
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(host.start(json!([signal("go"), add()])).await);
    }
    let works = host.start(json!([add()])).await;
    host.results(&works).await;
    for id in &waiting {
        host.until(id, |run| run.waits_for.len() == 1).await;
        host.signal(id, "go", json!(1)).await.expect("kept");
    }
    for id in &waiting {
        host.results(id).await;
    }
    assert_eq!(host.added().await, 7);
}

/// Signals, decisions and timers that come while a run leaves memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_a_run_leaves_is_not_lost() {
    let (dir, disk) = place();
    let host = narrow_host(dir.path(), &disk).await;
    host.prepare(&[]).await;
    let steps = json!([{ "repeat": { "times": 30, "steps": [
        { "join": [signal("a"), signal("b"), sleep(3)] }
    ] } }]);
    let id = host.start(steps).await;
    for number in 0..30 {
        for name in ["a", "b"] {
            host.signal(&id, name, json!(number)).await.expect("kept");
        }
        tokio::time::sleep(Duration::from_millis(number)).await;
    }
    let results = host.results(&id).await;
    let last = json!([{ "ok": 29 }, { "ok": 29 }, { "ok": null }]);
    assert_eq!(results[0], last, "in the order they were sent");
}

/// Signals that nothing waits for change nothing but the journal: what the store says
/// of a run that leaves memory at that moment must be what is true.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_found_however_it_is_told_of_while_it_leaves() {
    let (dir, disk) = place();
    let host = narrow_host(dir.path(), &disk).await;
    host.prepare(&[]).await;
    let id = host.start(json!([signal("go")])).await;
    for number in 0..900 {
        let sent = host.signal(&id, "other", json!(number)).await;
        assert_eq!(sent.map_err(|error| error.to_string()), Ok(()), "{number}");
        tokio::time::sleep(Duration::from_micros(number % 20 * 100)).await;
    }
    host.signal(&id, "go", json!(1)).await.expect("kept");
    assert_eq!(host.results(&id).await, json!([{ "ok": 1 }]));
}

/// What it did after the backup was made may have happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_restored_backup_waits_for_a_person() {
    let (dir, disk) = place();
    let (host, id) = restored_while_it_waits(dir.path(), &disk).await;
    host.signal(&id, "go", json!(1)).await.expect("kept");
    let blocked = host.run(&id);
    let restored = airlock_runtime::Block::Restored { made_at_ms: 7 };
    assert_eq!(blocked.blocked, Some(restored), "{blocked:?}");
    assert_eq!(
        (blocked.run.status, host.added().await),
        (RunStatus::Blocked, 0)
    );
    let resumed = host.runtime.resume_run(&host.who, &id, Resume::default());
    resumed.await.expect("goes on");
    host.results(&id).await;
    assert_eq!(host.added().await, 1);
}

/// A host over the copy that a backup was.
async fn restored(dir: &Path, disk: &Disk) -> Host {
    let store = airlock_journal::MemoryStore::on(disk);
    let label = airlock_journal::Batch::new().put("backup", "", r#"{"at_ms":7,"by":"ann"}"#);
    airlock_journal::Store::commit(&*store, label)
        .await
        .expect("stores");
    drop(store);
    Host::again(dir, disk).await
}

/// The same, with a run that waited for a signal, and then calls.
async fn restored_while_it_waits(dir: &Path, disk: &Disk) -> (Host, String) {
    let host = Host::with_agent(dir, disk, &["keeper/*"]).await;
    let id = host.start(json!([signal("go"), add()])).await;
    host.until(&id, |run| run.waits_for.len() == 1).await;
    drop(host);
    (restored(dir, disk).await, id)
}

/// A call that was asked for, and not begun when the backup was made.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_run_makes_no_call_before_a_person_looked() {
    for resumes in [true, false] {
        let (dir, disk) = place();
        let host = narrow_host(dir.path(), &disk).await;
        host.prepare(&["keeper/*"]).await;
        let halt = |halted: bool| HaltRequest {
            halted,
            plugin: Some("keeper".to_owned()),
            ..HaltRequest::default()
        };
        host.runtime
            .halt(&host.who, halt(true))
            .await
            .expect("it is");
        let steps = json!([{ "join": [signal("go"), add()] }]);
        let id = host.start(steps).await;
        host.until(&id, |run| run.waits_for.len() == 2).await;
        drop(host);
        let host = restored(dir.path(), &disk).await;
        host.runtime
            .halt(&host.who, halt(false))
            .await
            .expect("it is");
        // Whoever has something for it loads it, and that is all.
        host.signal(&id, "go", json!(1)).await.expect("kept");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(host.run(&id).run.status, RunStatus::Blocked);
        assert_eq!(host.added().await, 0);
        if resumes {
            let resumed = host.runtime.resume_run(&host.who, &id, Resume::default());
            resumed.await.expect("goes on");
            host.results(&id).await;
            assert_eq!(host.added().await, 1);
            continue;
        }
        let cancelled = host.runtime.cancel_run(&host.who, &id, "enough").await;
        cancelled.expect("taken");
        let end = host.ended(&id).await.end;
        let unknown = vec![1];
        assert_eq!(
            end,
            Some(End::Cancelled { unknown }),
            "it may have happened"
        );
        assert_eq!(host.added().await, 0);
    }
}

/// Whoever may not let it go on may not do it in another run's name either.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_of_a_restored_run_waits_for_a_person() {
    let (dir, disk) = place();
    let (host, id) = restored_while_it_waits(dir.path(), &disk).await;
    let caller = Principal {
        roles: [Role::Caller].into(),
        ..(*host.who).clone()
    };
    let fork = |at| ForkRun {
        at,
        input: None,
        agent: None,
    };
    for (cancelled, at) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        if cancelled {
            let ended = host.runtime.cancel_run(&caller, &id, "enough").await;
            ended
                .or_else(|error| match error.code() {
                    "run-ended" => Ok(()),
                    _ => Err(error),
                })
                .expect("it is over");
        }
        let made = host.added().await;
        let forked = host.runtime.fork_run(&caller, &id, fork(at)).await;
        let forked = forked.expect("it is made");
        assert_eq!(forked.status, RunStatus::Blocked, "{cancelled} {at}");
        let of_it = host.runtime.fork_run(&caller, &forked.id, fork(0)).await;
        let of_it = of_it.expect("it is made").status;
        assert_eq!(of_it, RunStatus::Blocked, "a fork of the fork");
        host.signal(&forked.id, "go", json!(1)).await.expect("kept");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(host.added().await, made, "{cancelled} {at}");
        let resume = |who| host.runtime.resume_run(who, &forked.id, Resume::default());
        let refused = resume(&caller).await.expect_err("is refused");
        assert_eq!(refused.code(), "forbidden");
        resume(&host.who).await.expect("goes on");
        host.results(&forked.id).await;
        assert_eq!(host.added().await, made + 1, "{cancelled} {at}");
    }
}

/// A child that was asked for, and not started when the backup was made.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_run_starts_no_child_before_a_person_looked() {
    let mut met = 0;
    for n in 0..6 {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
        host.store.inject(Fault::Write { n });
        let child = json!({ "start": { "steps": [add()] } });
        let Ok(id) = host.start_request(json!([child]), json!({})).await else {
            continue;
        };
        let over = |run: &RunDetail| run.end.is_some() || host.runtime.ready().is_err();
        host.until(&id, over).await;
        drop(host);
        let host = restored(dir.path(), &disk).await;
        let run = host.run(&id);
        if run.waits_for.len() != 1 || !run.children.is_empty() {
            continue;
        }
        met += 1;
        host.signal(&id, "any", json!(1)).await.expect("kept");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(host.run(&id).children.len(), 0);
        let resumed = host.runtime.resume_run(&host.who, &id, Resume::default());
        resumed.await.expect("goes on");
        host.results(&id).await;
        assert_eq!((host.run(&id).children.len(), host.added().await), (1, 1));
    }
    assert!(met > 0, "no run was cut off before its child began");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_may_not_start_now_is_told_why() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let update = json!({ "limits": { "rate": "2/h" }, "grants": {} });
    let update: GrantsUpdate = serde_json::from_value(update).expect("limits");
    let granted = host.runtime.set_grants(&host.who, "prober", update).await;
    granted.expect("they hold");
    let start = || host.start_request(json!([]), json!({}));
    assert!(start().await.is_ok() && start().await.is_ok());
    assert_eq!(start().await, Err("rate-limited"));
    let halt = HaltRequest {
        halted: true,
        why: String::new(),
        ..HaltRequest::default()
    };
    host.runtime.halt(&host.who, halt).await.expect("halted");
    assert_eq!(start().await, Err("halted"));
}

impl Host {
    pub(super) async fn start_request(
        &self,
        steps: Value,
        members: Value,
    ) -> Result<String, &'static str> {
        let mut request = json!({ "agent": "prober", "goal": "test", "input": { "steps": steps } });
        for (name, value) in members.as_object().expect("an object") {
            request[name] = value.clone();
        }
        let request: StartRun = serde_json::from_value(request).expect("a request");
        let started = self.runtime.start_run(&self.who, request).await;
        started.map(|run| run.id).map_err(|error| error.code())
    }
}
