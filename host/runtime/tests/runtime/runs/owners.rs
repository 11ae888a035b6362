//! Whoever looks after the runs, and whoever did: what the late one learns is
//! refused, and each says whether it brings its runs on.

use std::sync::Arc;

use airlock_runtime::RuntimeConfig;

use super::*;

fn signal(name: &str) -> Value {
    json!({ "signal": { "name": name } })
}

impl Host {
    /// With a tool that computes until it is ended.
    async fn with_spinner(&self) {
        let spins = airlock_sandbox::testing::guest("", airlock_sandbox::testing::SPIN);
        install(&self.runtime, "spinner", spins).await;
        let limits = json!({ "grants": {}, "limits": { "cpu": "300s", "wall": "300s" } });
        let limits = serde_json::from_value(limits).expect("limits");
        let set = self.runtime.set_grants(&self.who, "spinner", limits);
        set.await.expect("they hold");
    }

    /// Another runtime over the same store, which takes up the runs.
    async fn beside(first: &Self, dir: &Path) -> Self {
        let config = RuntimeConfig::new(dir.join("other"), dir.join("keys"));
        let config = RuntimeConfig {
            data_dir: dir.join("data"),
            guest_workers: Some(1),
            ..config
        };
        let store = Arc::clone(&first.store);
        let runtime = crate::host::open(config, Arc::clone(&store) as Arc<_>).await;
        let runtime = runtime.expect("the runtime opens");
        runtime.take_up_runs().await.expect("they are read");
        Self {
            runtime,
            store,
            who: Arc::clone(&first.who),
        }
    }
}

/// Somebody else takes the runs over while their owner still thinks it has them.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_owners_writes_are_refused() {
    let (dir, disk) = place();
    let first = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let id = first.start(json!([signal("go"), add(), add()])).await;
    first.until(&id, |run| run.waits_for.len() == 1).await;
    let later = Host::beside(&first, dir.path()).await;
    let late = first.signal(&id, "go", json!("late")).await;
    assert_eq!(late, Err("store-failed"));
    later.signal(&id, "go", json!(1)).await.expect("kept");
    let results = later.results(&id).await;
    assert_eq!(results[0], json!({ "ok": 1 }));
    assert_eq!(later.added().await, 2);
    let new = first.start_request(json!([]), json!({})).await;
    assert_eq!(new.expect_err("fenced off"), "store-failed");
}

/// The lease goes to another during a call: what the late owner learns of it is
/// refused, whoever has it now asks a person, and the late one says that its runs
/// are not its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_late_with_an_outcome_is_refused_and_not_healthy() {
    let (dir, disk) = place();
    let first = Host::with_agent(dir.path(), &disk, &["spinner/run"]).await;
    first.with_spinner().await;
    let call = json!({ "call": { "tool": "spinner/run", "input": {} } });
    let id = first.start(json!([call])).await;
    first.until(&id, |_| first.calls_that_run() == 1).await;
    assert_eq!(first.runtime.health(), Ok(()));
    let later = Host::beside(&first, dir.path()).await;
    later.until(&id, |run| run.blocked.is_some()).await;
    let known = later.run(&id).events;
    let halt = HaltRequest {
        halted: true,
        plugin: Some("spinner".to_owned()),
        ..HaltRequest::default()
    };
    // The late owner's call ends.
    first.runtime.halt(&first.who, halt).await.expect("halted");
    let late = |_: &RunDetail| first.runtime.health() == Err(NotReady::Lease);
    first.until(&id, late).await;
    assert_eq!(later.runtime.health(), Ok(()));
    assert_eq!(later.run(&id).events, known, "nothing of it is kept");
    let resume = Resume {
        request: Some(0),
        outcome: Some(Outcome::Fail),
        ..Resume::default()
    };
    let resumed = later.runtime.resume_run(&later.who, &id, resume);
    resumed.await.expect("goes on");
    let results = later.results(&id).await;
    assert!(results[0].to_string().contains("not known"), "{results}");
}

/// With a run that waits for each of these: a signal, a person, twice a person's word,
/// what became of a call.
async fn four_that_wait(host: &Host) -> [String; 4] {
    host.prepare(&["keeper/*", "spinner/run"]).await;
    host.with_spinner().await;
    let told = host.start(json!([signal("go"), add()])).await;
    let asks = host.start(json!([parked::ask(), add()])).await;
    let twice = host.start(json!([signal("go"), add()])).await;
    for id in [&told, &asks, &twice] {
        host.until(id, |run| run.waits_for.len() == 1).await;
    }
    let call = json!({ "call": { "tool": "spinner/run", "input": {} } });
    let lost = host.start(json!([call])).await;
    host.until(&lost, |_| host.calls_that_run() == 1).await;
    for halted in [true, false] {
        let halt = HaltRequest {
            halted,
            plugin: Some("spinner".to_owned()),
            ..HaltRequest::default()
        };
        host.runtime.halt(&host.who, halt).await.expect("halted");
        host.until(&lost, |_| host.calls_that_run() == 0).await;
    }
    host.until(&lost, |run| run.blocked.is_some()).await;
    [told, asks, twice, lost]
}

fn always_warm(dir: &Path) -> RuntimeConfig {
    RuntimeConfig {
        agent_warm: Duration::from_secs(600),
        ..crate::host::config(dir)
    }
}

/// A command without a server says what a person says, and ends: nothing begins in it
/// that its end would cut off, and the next one says more. Also to runs that were going
/// on, with warm agents, when the last server ended.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_where_nobody_looks_after_runs_begins_nothing() {
    for (stays, was_warm) in [(false, false), (true, false), (false, true), (true, true)] {
        let (dir, disk) = place();
        let host = match was_warm {
            true => Host::with(always_warm(dir.path()), &disk).await,
            false => parked::narrow_host(dir.path(), &disk).await,
        };
        let all = four_that_wait(&host).await;
        if !was_warm {
            host.until_out_of_memory().await;
        }
        assert_eq!(host.in_memory(), if was_warm { 4 } else { 0 });
        let [told, asks, twice, lost] = &all;
        // It says nothing any more.
        host.store.inject(Fault::Write { n: 0 });
        drop(host);
        let command = Host::with(parked::narrow(dir.path()), &disk).await;
        command.signal(told, "go", json!(1)).await.expect("kept");
        let paused = command.runtime.pause_run(&command.who, twice).await;
        paused.expect("kept");
        drop(command);

        let command = Host::with(parked::narrow(dir.path()), &disk).await;
        assert_eq!(command.run(twice).run.status, RunStatus::Paused);
        let again = Resume {
            request: Some(0),
            outcome: Some(Outcome::Retry),
            ..Resume::default()
        };
        for (run, resume) in [(twice, Resume::default()), (lost, again)] {
            let resumed = command.runtime.resume_run(&command.who, run, resume);
            resumed.await.expect("kept");
        }
        command.signal(twice, "go", json!(1)).await.expect("kept");
        let question = command.open_questions().remove(0).id;
        let decided = decide(&command, "somebody", &question, "yes").await;
        assert_eq!(decided, Ok(()));
        let known = all.each_ref().map(|id| command.run(id).events);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = all.each_ref().map(|id| command.run(id).events);
        assert_eq!(now, known, "what was said, and no more");

        let host = match stays {
            true => {
                let taken = command.runtime.take_up_runs().await;
                taken.expect("they are read");
                command
            }
            false => {
                drop(command);
                parked::narrow_host(dir.path(), &disk).await
            }
        };
        for id in [told, asks, twice] {
            let results = host.results(id).await;
            assert!(results[1]["ok"]["count"].is_u64(), "{results}");
        }
        assert_eq!(host.added().await, 3);
        host.until(lost, |_| host.calls_that_run() == 1).await;
    }
}

/// A run that was cut off anywhere is ended before a server takes it up: that is what the
/// next one finds, and no more of it is done.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_can_be_cancelled_without_a_server() {
    for fault in [|n| Fault::Write { n }, |n| Fault::Sync { n }] {
        let (mut n, mut cancelled) = (0, 0);
        while let Some(was_cancelled) = cut_off_and_cancelled(fault(n)).await {
            cancelled += u32::from(was_cancelled);
            n += 1;
        }
        assert!(cancelled > 2, "{cancelled}");
    }
}

/// Whether a run was there to be cancelled after the fault; `None`: it did not meet it.
async fn cut_off_and_cancelled(fault: Fault) -> Option<bool> {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    host.store.inject(fault);
    let started = host.start_request(json!([add(), add()]), json!({})).await;
    let Ok(id) = started else {
        return Some(false);
    };
    let has_failed = || host.runtime.ready().is_err();
    let is_over = |run: &RunDetail| run.end.is_some() || has_failed();
    host.until(&id, is_over).await;
    if !has_failed() {
        return None;
    }
    drop(host);

    let command = Host::open(dir.path(), &disk).await;
    let had = command.added().await;
    let cancel = command.runtime.cancel_run(&command.who, &id, "enough");
    let cancelled = cancel.await.map_err(|error| error.code());
    drop(command);
    let command = Host::open(dir.path(), &disk).await;
    let shown = command.run(&id).run.status;
    drop(command);

    let host = Host::again(dir.path(), &disk).await;
    let ended = host.ended(&id).await.run.status;
    match cancelled {
        Ok(()) => {
            assert_eq!(shown, RunStatus::Cancelling, "{fault:?}");
            assert_eq!(ended, RunStatus::Cancelled, "{fault:?}");
        }
        Err(code) => {
            assert_eq!(code, "run-ended", "{fault:?}");
            assert_eq!(ended, shown, "{fault:?}");
        }
    }
    assert_eq!(host.added().await, had, "{fault:?}");
    Some(cancelled.is_ok())
}

/// Runs are taken and none gets a sandbox: the host says so, until one does.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_runs_do_not_go_on_is_not_healthy() {
    let (dir, disk) = place();
    let config = RuntimeConfig {
        agents_max: 1,
        runs_stuck: Duration::from_millis(20),
        ..crate::host::config(dir.path())
    };
    let host = Host::with(config, &disk).await;
    host.prepare(&["keeper/*"]).await;
    let limits = json!({ "grants": { "tools": [{ "tool": "keeper/*" }] }, "limits": { "cpu": "300s", "wall": "300s" } });
    let limits = serde_json::from_value(limits).expect("limits");
    let set = host.runtime.set_grants(&host.who, "prober", limits);
    set.await.expect("they hold");
    let waits = host.start(json!([signal("go")])).await;
    host.until(&waits, |run| run.waits_for.len() == 1).await;
    let spins = host.start(json!([{ "spin": {} }])).await;
    let starves = host.start(json!([add()])).await;
    // On a slow machine the one that spins may be late itself: what is told
    // stays only from when it has its sandbox.
    host.until(&starves, |_| {
        let text = host.runtime.metrics_text();
        text.lines().any(|line| line == "airlock_ready 0")
            && host.runtime.health() == Err(NotReady::Stuck)
    })
    .await;
    assert_eq!(host.runtime.ready(), Ok(()), "calls are still taken");
    host.runtime
        .cancel_run(&host.who, &spins, "enough")
        .await
        .expect("taken");
    host.results(&starves).await;
    host.until(&waits, |_| host.runtime.health() == Ok(()))
        .await;
}
