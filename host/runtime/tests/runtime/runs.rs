//! Runs of agents: what they do, and what is left of them wherever the host
//! stops.

mod anew;
mod authority;
mod cases;
mod children;
mod crashing;
mod ends;
mod families;
mod faults;
mod golden;
mod inbox;
mod lost;
mod memory;
mod models;
mod owners;
mod parked;
mod people;
mod random_agents;
mod reads;
mod replays;
mod resumes;
mod retries;
mod shares;
mod shipped;
mod signals;
mod stops;
mod turns;
mod withdrawn;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use airlock_journal::memory::{Disk, Fault};
use airlock_runtime::{
    ApprovalView, ApprovalsQuery, BudgetChange, Decide, End, Failure, GrantsUpdate, HaltRequest,
    NotReady, Outcome, Principal, Resume, Role, RunDetail, RunStatus, RunsQuery, StartRun,
    ToolCall,
};
use airlock_sandbox::testing::built;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::host::{Host, gated, install, place};
use people::{decide, question};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(180);

impl Host {
    /// A host that goes on with the runs there are.
    pub async fn again(dir: &Path, disk: &Disk) -> Self {
        let host = Self::open(dir, disk).await;
        let taken = host.runtime.take_up_runs().await;
        taken.expect("they are read");
        host
    }

    /// With the agent `prober`, granted the tools of `keeper` in `granted`.
    pub async fn with_agent(dir: &Path, disk: &Disk, granted: &[&str]) -> Self {
        let host = Self::open(dir, disk).await;
        host.prepare(granted).await;
        host
    }

    pub async fn prepare(&self, granted: &[&str]) {
        let host = self;
        install(&host.runtime, "prober", built("agent_prober")).await;
        install(&host.runtime, "keeper", built("keeper")).await;
        let effects = json!({ "put": "idempotent", "get": "read-only", "add": "plain" });
        let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": effects });
        host.grant("keeper", kept).await;
        let tools: Vec<Value> = granted.iter().map(|tool| json!({ "tool": tool })).collect();
        let agents = json!([{ "agent": "prober" }]);
        host.grant("prober", json!({ "tools": tools, "agents": agents }))
            .await;
    }

    pub async fn grant(&self, plugin: &str, grants: Value) {
        let update: GrantsUpdate =
            serde_json::from_value(json!({ "grants": grants })).expect("grants");
        let granted = self.runtime.set_grants(&self.who, plugin, update).await;
        granted.expect("they hold");
    }

    pub async fn start(&self, steps: Value) -> String {
        self.start_with(steps, json!({})).await
    }

    /// A run with further members of the request.
    pub async fn start_with(&self, steps: Value, members: Value) -> String {
        let mut request = json!({ "agent": "prober", "goal": "test", "input": { "steps": steps } });
        for (name, value) in members.as_object().expect("an object") {
            request[name] = value.clone();
        }
        let request: StartRun = serde_json::from_value(request).expect("a request");
        let started = self.runtime.start_run(&self.who, request).await;
        started.expect("it starts").id
    }

    pub fn open_questions(&self) -> Vec<ApprovalView> {
        self.questions_for(&self.who)
    }

    /// Those of the first page.
    pub fn questions_for(&self, who: &Principal) -> Vec<ApprovalView> {
        let page = self.runtime.approvals(who, &ApprovalsQuery::default());
        page.expect("reads").approvals
    }

    pub fn run(&self, id: &str) -> RunDetail {
        self.runtime.run_detail(&self.who, id).expect("a run")
    }

    /// Waits until the run is as `is_it` says.
    pub async fn until(&self, id: &str, is_it: impl Fn(&RunDetail) -> bool) -> RunDetail {
        let wait = async {
            loop {
                let run = self.run(id);
                if is_it(&run) {
                    return run;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("{:?}", self.run(id)))
    }

    pub async fn ended(&self, id: &str) -> RunDetail {
        self.until(id, |run| run.end.is_some()).await
    }

    /// What the run's steps gave.
    pub async fn results(&self, id: &str) -> Value {
        let run = self.ended(id).await;
        let Some(End::Succeeded { output }) = &run.end else {
            panic!("{run:?}")
        };
        let output: Value = serde_json::from_str(output).expect("JSON");
        output["results"].clone()
    }

    /// How often `keeper/add` had its effect.
    pub async fn added(&self) -> u64 {
        self.looked().await.expect("a reply")
    }

    /// The same; `None`: the host can't say.
    pub async fn looked(&self) -> Option<u64> {
        self.counted_if("added").await
    }

    /// A count that `keeper` keeps.
    async fn counted(&self, key: &str) -> u64 {
        self.counted_if(key).await.expect("a reply")
    }

    async fn counted_if(&self, key: &str) -> Option<u64> {
        let call = ToolCall {
            log: false,
            plugin: "keeper".to_owned(),
            tool: "get".to_owned(),
            input: json!({ "key": key }).to_string().into(),
            timeout: None,
            idempotency_key: None,
            stage: None,
        };
        let reply = self.runtime.call(&self.who, call).await.ok()?;
        let reply: Value = serde_json::from_slice(&reply.body).expect("JSON");
        let value = &reply["output"]["value"];
        let count = value.as_str();
        Some(count.map_or(0, |count| count.parse().expect("a number")))
    }
}

pub fn add() -> Value {
    json!({ "call": { "tool": "keeper/add", "input": {} } })
}

pub fn put(value: &str) -> Value {
    json!({ "call": { "tool": "keeper/put", "input": { "key": "k", "value": value } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_calls_what_it_was_granted_and_nothing_else() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/add"]).await;
    let steps =
        json!([add(), add(), put("x"), { "call": { "tool": "nobody/there", "input": {} } }]);
    let id = host.start(steps).await;
    let results = host.results(&id).await;
    assert_eq!(results[0], json!({ "ok": { "count": 1 } }));
    assert_eq!(results[1], json!({ "ok": { "count": 2 } }));
    let denied = results[2]["error"].as_str().expect("an error");
    assert!(
        denied.contains("needed: tools = [{ tool = \"keeper/put\" }]"),
        "{denied}"
    );
    assert!(results[3]["error"].is_string(), "{results}");
    assert_eq!(host.added().await, 2);
    assert_eq!(host.run(&id).run.status, RunStatus::Succeeded);

    let page = host.runtime.audit(Default::default()).await.expect("reads");
    let actions: Vec<&str> = page
        .records
        .iter()
        .map(|entry| &*entry.record.action)
        .collect();
    assert!(actions.contains(&"admin.run.start"), "{actions:?}");
    assert!(
        actions.iter().filter(|action| **action == "denied").count() >= 2,
        "{actions:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_of_an_agent_has_its_name() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    for (steps, expect) in [
        (json!([]), RunStatus::Succeeded),
        (json!([{ "fail": { "text": "no" } }]), RunStatus::Failed),
        (
            json!([{ "escalate": { "text": "look" } }]),
            RunStatus::Escalated,
        ),
        (json!([{ "panic": {} }]), RunStatus::Failed),
        (json!([{ "spin": {} }]), RunStatus::Failed),
        (json!([{ "nonsense": {} }]), RunStatus::Failed),
    ] {
        let id = host.start(steps.clone()).await;
        assert_eq!(host.ended(&id).await.run.status, expect, "{steps}");
    }
    let next = json!([{ "sleep": { "ms": 1 } }]);
    let id = host
        .start(json!([{ "continue-as-new": { "steps": next } }]))
        .await;
    let Some(End::Continued { run }) = host.ended(&id).await.end else {
        panic!("{:?}", host.run(&id))
    };
    assert_eq!(host.results(&run).await, json!([{ "ok": null }]));
    assert_eq!(host.run(&run).continues, Some(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_people_and_timers_are_waited_for() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let ask = json!({ "ask": { "text": "send?", "choices": ["yes", "no"] } });
    let steps = json!([
        { "signal": { "name": "early" } },
        { "select": [{ "sleep": { "ms": 3_600_000 } }, { "signal": { "name": "late" } }] },
        ask,
        { "std-sleep": { "ms": 20 } },
        { "cancel-sleep": { "ms": 3_600_000 } },
    ]);
    let id = host.start(steps).await;
    let signal = |name: &'static str, payload: Value| {
        let host = &host;
        let id = id.clone();
        async move {
            host.runtime
                .signal_run(&host.who, &id, name, &payload)
                .await
        }
    };
    signal("early", json!({ "n": 1 })).await.expect("kept");
    host.until(&id, |run| run.waits_for.len() == 2).await;
    signal("late", json!("now")).await.expect("kept");
    host.until(&id, |_| !host.open_questions().is_empty()).await;
    let asked = host.open_questions().remove(0);
    assert_eq!((asked.text.as_str(), asked.choices.len()), ("send?", 2));
    let decide = |decision: &str| Decide {
        decision: decision.to_owned(),
        binding: None,
        note: Some("fine".to_owned()),
    };
    let runtime = &host.runtime;
    let wrong = runtime
        .decide_approval(&host.who, &asked.id, decide("maybe"))
        .await;
    assert_eq!(wrong.expect_err("no choice").code(), "invalid-request");
    runtime
        .decide_approval(&host.who, &asked.id, decide("yes"))
        .await
        .expect("decided");
    let twice = runtime
        .decide_approval(&host.who, &asked.id, decide("no"))
        .await;
    assert_eq!(twice.expect_err("once").code(), "approval-not-found");
    let results = host.results(&id).await;
    assert_eq!(results[0], json!({ "ok": { "n": 1 } }));
    assert_eq!(results[1]["first"], 1);
    assert_eq!(
        results[2],
        json!({ "ok": { "choice": "yes", "note": "fine" } })
    );
    assert_eq!(results[4], json!({ "error": "cancelled" }));
    let late = signal("late", json!(null)).await;
    assert_eq!(late.expect_err("over").code(), "run-ended");
}

/// Tenants of one host: a caller has its own runs alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_another_is_seen_by_readers_and_changed_by_operators() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let id = host.start(json!([{ "signal": { "name": "go" } }])).await;
    let owner = host.who.name.clone();
    // By role, whether it is the owner: may it see the run, may it change it.
    for (name, role, sees, changes) in [
        ("bob", Role::Caller, false, false),
        ("bob", Role::Viewer, true, false),
        ("bob", Role::Approver, true, false),
        ("bob", Role::Operator, true, true),
        ("bob", Role::Admin, true, true),
        (&owner, Role::Caller, true, true),
    ] {
        let who = Principal {
            name: name.to_owned(),
            token_id: None,
            roles: [role].into(),
            plugins: None,
        };
        let runtime = &host.runtime;
        let listed = runtime.runs(&who, RunsQuery::default()).await;
        let listed = listed.expect("reads").runs.len() == 1;
        let shown = runtime.run_detail(&who, &id).is_ok();
        let told = runtime.run_events(&who, &id, 0, 10).is_ok();
        assert_eq!([listed, shown, told], [sees; 3], "{name} {role}");
        let signalled = runtime.signal_run(&who, &id, "other", &json!(1)).await;
        let code = signalled.map_or_else(|error| error.code(), |()| "ok");
        let expected = if changes { "ok" } else { "run-not-found" };
        assert_eq!(code, expected, "{name} {role}");
        if !changes {
            let ended = runtime.cancel_run(&who, &id, "").await;
            let code = ended.map_or_else(|error| error.code(), |()| "ok");
            assert_eq!(code, "run-not-found", "{name} {role}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_ended_by_a_person() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    for steps in [
        json!([{ "signal": { "name": "never" } }]),
        json!([{ "spin": {} }]),
    ] {
        let id = host.start(steps).await;
        host.runtime
            .cancel_run(&host.who, &id, "enough")
            .await
            .expect("taken");
        let end = host.ended(&id).await.end;
        assert!(
            matches!(end, Some(End::Cancelled { .. } | End::Failed { .. })),
            "{end:?}"
        );
        let again = host.runtime.cancel_run(&host.who, &id, "").await;
        assert_eq!(again.expect_err("over").code(), "run-ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_in_order_loses_nothing() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let steps = json!([add(), { "signal": { "name": "go" } }, add(), { "sleep": { "ms": 1 } }]);
    let id = host.start(steps).await;
    host.until(&id, |run| run.waits_for.len() == 1 && run.events > 3)
        .await;
    host.runtime.shutdown(Duration::from_secs(5)).await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.runtime
        .signal_run(&host.who, &id, "go", &json!(1))
        .await
        .expect("kept");
    host.results(&id).await;
    assert_eq!(host.added().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_bounds_calls_and_records() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let calls = json!({ "budget": { "calls": 2 } });
    let run = host.start_with(json!([add(), add(), add()]), calls).await;
    let results = host.results(&run).await;
    assert_eq!(
        results[2],
        json!({ "error": "limit: calls (2)" }),
        "{results}"
    );
    assert_eq!(host.added().await, 2);

    let endless = json!([{ "repeat": { "times": 1_000, "steps": [{ "sleep": { "ms": 0 } }] } }]);
    let run = host
        .start_with(endless, json!({ "budget": { "events": 50 } }))
        .await;
    host.until(&run, |run| run.blocked.is_some()).await;
    let resume = |events: u64| Resume {
        budget: Some(BudgetChange {
            events: Some(events),
            ..BudgetChange::default()
        }),
        ..Resume::default()
    };
    let few = host.runtime.resume_run(&host.who, &run, resume(10)).await;
    assert_eq!(few.expect_err("too few").code(), "invalid-request");
    host.runtime
        .resume_run(&host.who, &run, resume(100_000))
        .await
        .expect("goes on");
    host.results(&run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_stands_still_over_a_restart() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host
        .start(json!([{ "signal": { "name": "go" } }, add()]))
        .await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    host.runtime
        .pause_run(&host.who, &run)
        .await
        .expect("paused");
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.runtime
        .signal_run(&host.who, &run, "go", &json!(1))
        .await
        .expect("kept");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let paused = host.run(&run);
    assert_eq!(paused.run.status, RunStatus::Paused, "{paused:?}");
    assert_eq!(host.added().await, 0);
    host.runtime
        .resume_run(&host.who, &run, Resume::default())
        .await
        .expect("goes on");
    host.results(&run).await;
    assert_eq!(host.added().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kill_switch_holds_calls_and_runs_over_a_restart() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host
        .start(json!([{ "signal": { "name": "go" } }, add(), put("x")]))
        .await;
    let spins = host.start(json!([{ "spin": {} }])).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    let halt = |halted: bool| HaltRequest {
        halted,
        why: "incident".to_owned(),
        ..HaltRequest::default()
    };
    let view = host
        .runtime
        .halt(&host.who, halt(true))
        .await
        .expect("halted");
    assert!(view.halted);
    assert_eq!(host.runtime.ready(), Err(NotReady::Halted));
    let call = crate::host::run("keeper", None);
    let refused = host.runtime.call(&host.who, call).await;
    assert_eq!(refused.expect_err("halted").code(), "halted");
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    assert_eq!(
        host.runtime.ready(),
        Err(NotReady::Halted),
        "over a restart"
    );
    host.runtime
        .signal_run(&host.who, &run, "go", &json!(1))
        .await
        .expect("kept");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let held = host.run(&run);
    assert!(held.end.is_none() && held.calls == 0);
    assert_eq!(held.halted, ["everything"]);
    host.runtime
        .halt(&host.who, halt(false))
        .await
        .expect("lifted");
    host.results(&run).await;
    assert_eq!(host.added().await, 1);
    assert_eq!(host.ended(&spins).await.run.status, RunStatus::Failed);
    assert_eq!(host.audited("admin.halt").await.len(), 1);
}
