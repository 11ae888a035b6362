//! The kill switch for one part: an agent, a plugin, a run.

use std::time::Duration;

use airlock_runtime::{Block, Decide, End, Failure, HaltRequest, Part, Principal, RunStatus};
use airlock_sandbox::testing::{SPIN, guest};
use serde_json::{Value, json};

use crate::host::gated::Gated;
use crate::host::{Host, install, place};
use crate::runs::{add, put};

impl Host {
    async fn halt(&self, part: &Part, halted: bool) {
        let mut request = HaltRequest {
            halted,
            ..HaltRequest::default()
        };
        match part.clone() {
            Part::Agent(name) => request.agent = Some(name),
            Part::Plugin(name) => request.plugin = Some(name),
            Part::Run(id) => request.run = Some(id),
        }
        let view = self.runtime.halt(&self.who, request).await;
        let parts = view.expect("halted").parts;
        assert_eq!(parts.iter().any(|held| held.part == *part), halted);
    }

    fn has_record(&self, run: &str, kind: &str) -> bool {
        let page = self.runtime.run_events(&self.who, run, 0, 1_000);
        let events = page.expect("reads").events;
        events.iter().any(|event| json!(event)["event"] == kind)
    }

    fn calls_in_flight(&self) -> u64 {
        self.figure("airlock_calls_in_flight ")
    }

    /// Those that run. One is in flight a moment before: it has its place, and may
    /// still be refused.
    pub fn calls_that_run(&self) -> u64 {
        self.figure("airlock_sandbox_calls ")
    }

    fn figure(&self, name: &str) -> u64 {
        let text = self.runtime.metrics_text();
        let figure = text.lines().find_map(|line| line.strip_prefix(name));
        figure.expect("the figure").parse().expect("a number")
    }

    async fn go(&self, id: &str) {
        let signalled = self
            .runtime
            .signal_run(&self.who, id, "go", &json!(1))
            .await;
        signalled.expect("kept");
    }
}

fn waits_then(step: Value) -> Value {
    json!([{ "signal": { "name": "go" } }, step])
}

/// Each part in turn, over a restart: what it holds stands still, nothing else
/// does, and it goes on when it is lifted.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_halted_stands_still_over_a_restart() {
    for kind in ["agent", "plugin", "run"] {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
        host.install("echo").await;
        let held = host.start(waits_then(add())).await;
        let other = host.start(waits_then(json!({ "look": {} }))).await;
        for run in [&held, &other] {
            host.until(run, |run| run.waits_for.len() == 1).await;
        }
        let part = match kind {
            "agent" => Part::Agent("prober".to_owned()),
            "plugin" => Part::Plugin("keeper".to_owned()),
            _ => Part::Run(held.clone()),
        };
        host.halt(&part, true).await;
        drop(host);
        let host = Host::again(dir.path(), &disk).await;
        host.go(&held).await;
        host.go(&other).await;
        let direct = host
            .runtime
            .call(&host.who, crate::host::run("echo", None))
            .await;
        assert!(direct.is_ok(), "{kind}: {direct:?}");
        if kind != "agent" {
            assert_eq!(host.ended(&other).await.run.status, RunStatus::Succeeded);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(host.run(&held).end.is_none(), "{kind}");
        let told = host.until(&held, |run| !run.halted.is_empty()).await.halted;
        assert_eq!(told, [part.to_string()], "{kind}");
        let adds = crate::host::run("keeper", None);
        if kind == "plugin" {
            let refused = host.runtime.call(&host.who, adds).await;
            assert_eq!(refused.expect_err("halted").code(), "halted");
        } else {
            assert_eq!(host.added().await, 0, "{kind}");
        }
        host.halt(&part, false).await;
        host.results(&held).await;
        host.results(&other).await;
        assert!(host.run(&held).halted.is_empty(), "{kind}");
        assert_eq!(host.added().await, 1, "{kind}");
        let calls = host.audited("call.done").await;
        let of_run = format!("\"run\":\"{held}\",\"request\":1");
        assert!(calls.iter().any(|call| call.contains(&of_run)), "{calls:?}");
        assert_eq!(host.audited("admin.halt").await.len(), 1, "{kind}");
        assert_eq!(host.audited("admin.halt.lift").await.len(), 1, "{kind}");
    }
}

/// Whoever halts it again is on record; since when and why it stands still is
/// what the first said. And what has no runs is halted as a plugin alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_still_does_so_since_the_first_who_said_so() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let halt = async |who: &str, plugin: Option<&str>, why: &str| {
        let request = HaltRequest {
            halted: true,
            why: why.to_owned(),
            plugin: plugin.map(str::to_owned),
            ..HaltRequest::default()
        };
        let who = airlock_runtime::Principal::local_admin(who);
        host.runtime.halt(&who, request).await.expect("halted")
    };
    for part in [None, Some("keeper")] {
        halt("ann", part, "first").await;
        let view = halt("bob", part, "second").await;
        let (by, why) = match part {
            None => (view.by, view.why),
            Some(_) => (
                Some(view.parts[0].by.clone()),
                Some(view.parts[0].why.clone()),
            ),
        };
        assert_eq!(why.as_deref(), Some("first"), "{part:?}");
        assert!(by.is_some_and(|by| by.contains("ann")), "{part:?}");
    }
    assert_eq!(host.audited("admin.halt").await.len(), 4);
    let request = HaltRequest {
        halted: true,
        agent: Some("keeper".to_owned()),
        ..HaltRequest::default()
    };
    let refused = host.runtime.halt(&host.who, request).await;
    assert_eq!(refused.expect_err("has tools").code(), "not-an-agent");
}

/// Whichever of those that go on one in the other is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_halted_run_stands_still_as_the_one_it_goes_on_as() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let first = host
        .start(waits_then(
            json!({ "continue-as-new": { "steps": waits_then(add()) } }),
        ))
        .await;
    host.go(&first).await;
    let Some(End::Continued { run: next }) = host.ended(&first).await.end else {
        panic!("{:?}", host.run(&first))
    };
    host.until(&next, |run| run.waits_for.len() == 1).await;
    let part = Part::Run(first.clone());
    host.halt(&part, true).await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.go(&next).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(host.run(&next).halted, [part.to_string()]);
    assert_eq!(host.added().await, 0);
    let request = HaltRequest {
        run: Some(next.clone()),
        ..HaltRequest::default()
    };
    let lifted = host.runtime.halt(&host.who, request).await.expect("lifted");
    assert!(lifted.parts.is_empty(), "{lifted:?}");
    host.results(&next).await;
    assert_eq!(host.added().await, 1);
    let late = HaltRequest {
        halted: true,
        run: Some(first),
        ..HaltRequest::default()
    };
    let late = host.runtime.halt(&host.who, late).await;
    assert_eq!(late.expect_err("it is over").code(), "run-ended");
}

/// The child waits for a place, and has it while its parent is halted.
#[tokio::test(flavor = "multi_thread")]
async fn a_halted_run_starts_no_child() {
    let (dir, disk) = place();
    let config = airlock_runtime::RuntimeConfig {
        runs_max: 4,
        ..crate::host::config(dir.path())
    };
    let host = Host::with(config, &disk).await;
    host.runtime.take_up_runs().await.expect("they are read");
    host.prepare(&[]).await;
    let child = || json!({ "start": { "steps": [{ "signal": { "name": "go" } }] } });
    let root = host.start(json!([{ "join": [child(), child()] }])).await;
    let begun = host.until(&root, |run| run.children.len() == 1).await;
    let part = Part::Run(root.clone());
    host.halt(&part, true).await;
    host.go(&begun.children[0]).await;
    host.results(&begun.children[0]).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(host.run(&root).children.len(), 1);
    host.halt(&part, false).await;
    let begun = host.until(&root, |run| run.children.len() == 2).await;
    for child in &begun.children {
        if host.run(child).end.is_none() {
            host.go(child).await;
        }
    }
    host.results(&root).await;
}

/// It was cancelled while it stood still: what was cut off is not made again.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cancelled_begins_nothing_when_it_is_lifted() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["spinner/run"]).await;
    install(&host.runtime, "spinner", guest("", SPIN)).await;
    let grants = json!({ "effects": { "run": "idempotent" } });
    let limits = json!({ "grants": grants, "limits": { "cpu": "300s", "wall": "300s" } });
    let update = serde_json::from_value(limits).expect("limits");
    let set = host.runtime.set_grants(&host.who, "spinner", update).await;
    set.expect("they hold");
    let call = json!({ "call": { "tool": "spinner/run", "input": {} } });
    let run = host.start(json!([call])).await;
    host.until(&run, |_| host.calls_that_run() == 1).await;
    let part = Part::Agent("prober".to_owned());
    host.halt(&part, true).await;
    host.until(&run, |_| host.calls_in_flight() == 0).await;
    let cancelled = host.runtime.cancel_run(&host.who, &run, "enough").await;
    cancelled.expect("taken");
    host.halt(&part, false).await;
    let ended = host.ended(&run).await;
    assert_eq!(ended.run.status, RunStatus::Cancelled);
    assert_eq!(host.audited("call.done").await.len(), 1);
}

/// A call that spins ends at once, and a person is asked what became of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_of_a_halted_part_ends() {
    for kind in ["agent", "plugin", "run"] {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &["spinner/run"]).await;
        install(&host.runtime, "spinner", guest("", SPIN)).await;
        let limits = json!({ "grants": {}, "limits": { "cpu": "300s", "wall": "300s" } });
        let update = serde_json::from_value(limits).expect("limits");
        let set = host.runtime.set_grants(&host.who, "spinner", update).await;
        set.expect("they hold");
        let call = json!({ "call": { "tool": "spinner/run", "input": {} } });
        let held = host.start(json!([call])).await;
        host.until(&held, |_| host.calls_that_run() == 1).await;
        let part = match kind {
            "agent" => Part::Agent("prober".to_owned()),
            "plugin" => Part::Plugin("spinner".to_owned()),
            _ => Part::Run(held.clone()),
        };
        host.halt(&part, true).await;
        host.until(&held, |_| host.calls_in_flight() == 0).await;
        assert!(host.run(&held).blocked.is_none(), "{kind}");
        host.halt(&part, false).await;
        let run = host.until(&held, |run| run.blocked.is_some()).await;
        assert!(
            matches!(run.blocked, Some(Block::UnknownOutcome { id: 0, .. })),
            "{kind}: {run:?}"
        );
    }
}

/// Its intent is durable, and whoever makes it is not told yet: it is not made, nobody is
/// asked what became of it, and it is made once that is lifted.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_run_is_halted_while_its_intent_is_written_is_not_made() {
    for kind in ["agent", "run"] {
        let (dir, disk) = place();
        let gate = Gated::on(&disk);
        let host = gate.host(crate::host::config(dir.path())).await;
        host.prepare(&[]).await;
        host.rule(json!({ "approval": "always" })).await;
        let run = host.start(json!([add()])).await;
        host.until(&run, |_| !host.open_questions().is_empty())
            .await;
        gate.hold_event("begun");
        let approved = tokio::spawn(approve(&host));
        while !gate.is_held() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let part = match kind {
            "agent" => Part::Agent("prober".to_owned()),
            _ => Part::Run(run.clone()),
        };
        host.halt(&part, true).await;
        gate.let_go();
        approved.await.expect("ends");
        host.until(&run, |_| host.has_record(&run, "retried")).await;
        assert!(host.audited("call.done").await.is_empty(), "{kind}");
        host.halt(&part, false).await;
        host.results(&run).await;
        assert_eq!(host.added().await, 1, "{kind}");
    }
}

/// Somebody else than who started the run approves the one question there is.
fn approve(host: &Host) -> impl Future<Output = ()> + use<> {
    let runtime = host.runtime.clone();
    let question = host.open_questions().remove(0).id;
    let decide = Decide {
        decision: "approve".to_owned(),
        binding: None,
        note: None,
    };
    async move {
        let who = Principal::local_admin("other");
        let decided = runtime.decide_approval(&who, &question, decide).await;
        decided.expect("taken");
    }
}

/// By the class of a call that is cut off while it runs: whether its run's end
/// lists it. An idempotent one is no exception: its agent, or whoever begins anew,
/// would make it under another key.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cut_off_may_have_happened_unless_it_only_reads() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["spinner/run"]).await;
    install(&host.runtime, "spinner", guest("", SPIN)).await;
    for (class, unknown) in [
        ("read-only", vec![]),
        ("idempotent", vec![0]),
        ("plain", vec![0]),
        ("destructive", vec![0]),
    ] {
        let update = json!({
            "grants": { "effects": { "run": class } },
            "limits": { "cpu": "300s", "wall": "300s" },
        });
        let update = serde_json::from_value(update).expect("grants");
        let set = host.runtime.set_grants(&host.who, "spinner", update).await;
        set.expect("they hold");
        let call = json!({ "call": { "tool": "spinner/run", "input": {} } });
        let request = json!({ "autonomy": "autonomous" });
        let run = host.start_with(json!([call]), request).await;
        host.until(&run, |_| host.calls_that_run() == 1).await;
        let cancelled = host.runtime.cancel_run(&host.who, &run, "enough").await;
        cancelled.expect("taken");
        let ended = host.ended(&run).await;
        assert_eq!(ended.unknown, unknown, "{class}: {ended:?}");
        assert_eq!(ended.end, Some(End::Cancelled { unknown }), "{class}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_names_one_part_that_is_there() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let request = |agent: &str, run: Option<&str>| HaltRequest {
        halted: true,
        agent: Some(agent.to_owned()),
        run: run.map(str::to_owned),
        ..HaltRequest::default()
    };
    for (request, code) in [
        (request("nobody", None), "not-found"),
        (request("prober", Some("run_1")), "invalid-request"),
    ] {
        let refused = host.runtime.halt(&host.who, request).await;
        assert_eq!(refused.expect_err(code).code(), code);
    }
    let results = host.results(&host.start(json!([put("x")])).await).await;
    assert!(results[0]["error"].is_string(), "it was not granted");
}

/// Whoever lifts the halt is held up after that is durable, and somebody halts
/// again: what stands still is what the store says.
#[tokio::test(flavor = "multi_thread")]
async fn a_halt_and_a_lift_at_once_take_turns() {
    for part in [None, Some(Part::Agent("prober".to_owned()))] {
        let (dir, disk) = place();
        let store = Gated::on(&disk);
        let host = store.host(crate::host::config(dir.path())).await;
        host.prepare(&["keeper/*"]).await;
        let run = host.start(waits_then(add())).await;
        host.until(&run, |run| run.waits_for.len() == 1).await;
        let used = |halted: bool| {
            let mut request = HaltRequest {
                halted,
                ..HaltRequest::default()
            };
            if let Some(Part::Agent(name)) = &part {
                request.agent = Some(name.clone());
            }
            let (runtime, who) = (host.runtime.clone(), host.who.clone());
            tokio::spawn(async move { runtime.halt(&who, request).await.expect("taken") })
        };
        used(true).await.expect("ends");
        store.hold("halt");
        let lifts = used(false);
        while !store.is_held() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let halts = used(true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.let_go();
        lifts.await.expect("ends");
        let view = halts.await.expect("ends");
        assert!(view.halted || !view.parts.is_empty(), "the halt came last");
        host.go(&run).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(host.run(&run).end.is_none(), "{part:?}: it stands still");
        let ready = host.runtime.ready().is_ok();
        assert_eq!(ready, part.is_some(), "{part:?}");
        used(false).await.expect("ends");
        host.results(&run).await;
    }
}
