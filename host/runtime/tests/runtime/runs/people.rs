//! People: what a run does without asking, who decides what it asks, until when,
//! and what happens then.

use std::time::Duration;

use airlock_runtime::{
    ApprovalView, AtDue, Decide, Failure, Principal, Role, RunStatus, ToolCall, now_ms,
};
use serde_json::{Value, json};

use super::{add, put};
use crate::host::{Host, place};

/// How a question is answered, by an administrator of that name.
pub(super) async fn decide(
    host: &Host,
    by: &str,
    id: &str,
    decision: &str,
) -> Result<(), &'static str> {
    decide_as(host, &person(by, Role::Admin), id, decision).await
}

fn person(name: &str, role: Role) -> Principal {
    Principal {
        name: name.to_owned(),
        token_id: None,
        roles: [role].into(),
        plugins: None,
    }
}

async fn decide_as(
    host: &Host,
    who: &Principal,
    id: &str,
    decision: &str,
) -> Result<(), &'static str> {
    decide_what(host, who, id, decision, None).await
}

/// As [`decide_as`], what has this hash.
async fn decide_what(
    host: &Host,
    who: &Principal,
    id: &str,
    decision: &str,
    binding: Option<&str>,
) -> Result<(), &'static str> {
    let decide = Decide {
        decision: decision.to_owned(),
        binding: binding.map(str::to_owned),
        note: None,
    };
    let decided = host.runtime.decide_approval(who, id, decide).await;
    decided.map_err(|error| error.code())
}

pub(super) async fn question(host: &Host, run: &str) -> ApprovalView {
    host.until(run, |_| !host.open_questions().is_empty()).await;
    host.open_questions().remove(0)
}

/// The kinds of records of a run about one request.
fn kinds(host: &Host, run: &str, id: u64) -> Vec<String> {
    let page = host.runtime.run_events(&host.who, run, 0, 1_000);
    let events = json!(page.expect("reads").events);
    let events = events.as_array().expect("a list").clone();
    let about = events.iter().filter(|event| event["id"] == id);
    about
        .map(|event| event["event"].as_str().expect("a kind").to_owned())
        .collect()
}

impl Host {
    /// With the agent `prober`, whose rule for all tools of `keeper` says `more`.
    async fn with_rule(
        dir: &std::path::Path,
        disk: &airlock_journal::memory::Disk,
        more: Value,
    ) -> Self {
        let host = Self::with_agent(dir, disk, &[]).await;
        host.rule(more).await;
        host
    }

    pub async fn rule(&self, more: Value) {
        let mut rule = json!({ "tool": "keeper/*" });
        for (name, value) in more.as_object().expect("an object") {
            rule[name] = value.clone();
        }
        self.grant("prober", json!({ "tools": [rule] })).await;
    }

    async fn asks(&self, steps: Value) -> String {
        self.start_with(steps, json!({ "autonomy": "ask" })).await
    }
}

/// What a run under each autonomy makes of a tool of each class: made, asked or
/// withheld.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_may_do_unasked_is_what_its_autonomy_says() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let classes = ["read-only", "idempotent", "plain", "destructive"];
    let table = [
        ("observe", ["made", "withheld", "withheld", "withheld"]),
        ("ask", ["made", "asked", "asked", "asked"]),
        ("supervised", ["made", "made", "made", "asked"]),
        ("autonomous", ["made", "made", "made", "made"]),
    ];
    let mut made = 0;
    for (n, class) in classes.into_iter().enumerate() {
        let effects = json!({ "put": class, "get": "read-only", "add": "plain" });
        let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": effects });
        host.grant("keeper", kept).await;
        for (autonomy, expect) in table {
            let run = host
                .start_with(json!([put("v")]), json!({ "autonomy": autonomy }))
                .await;
            let was_asked = expect[n] == "asked";
            if was_asked {
                let asked = question(&host, &run).await;
                assert_eq!(asked.choices, ["approve", "deny"]);
                assert!(asked.text.contains("keeper/put"), "{asked:?}");
                assert_eq!(decide(&host, "other", &asked.id, "approve").await, Ok(()));
            }
            let results = host.results(&run).await;
            // A tool that only reads is kept from what it would write.
            let writes = class != "read-only" && expect[n] != "withheld";
            let told = results[0].to_string();
            match (writes, expect[n]) {
                (true, _) => assert!(told.contains("\"ok\""), "{told}"),
                (false, "withheld") => assert!(told.contains("only observes"), "{told}"),
                (false, _) => assert!(told.contains("denied"), "{told}"),
            }
            made += u64::from(writes);
            assert_eq!(host.counted("count").await, made, "{autonomy} {class}");
            let kinds = kinds(&host, &run, 0);
            let has = |kind: &str| kinds.iter().any(|found| found == kind);
            assert_eq!(
                has("approval-asked"),
                was_asked,
                "{autonomy} {class} {kinds:?}"
            );
            let withheld = expect[n] == "withheld";
            assert_eq!(has("withheld"), withheld, "{autonomy} {class} {kinds:?}");
        }
    }
    assert_eq!(made, 9);
}

/// A tool that writes, although its grant says that it reads, writes nothing in a
/// run that observes; what else the run would do is only on record.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_observes_it_does_not_change_and_approving_it_does_nothing() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let effects = json!({ "put": "read-only", "get": "read-only", "add": "plain" });
    let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": effects });
    host.grant("keeper", kept).await;
    let observe = json!({ "autonomy": "observe" });
    let steps = json!([put("v"), add(), { "signal": { "name": "go" } }]);
    let run = host.start_with(steps, observe).await;
    host.until(&run, |run| run.waits_for.len() == 1 && run.calls == 2)
        .await;
    assert_eq!(host.counted("count").await + host.counted("added").await, 0);
    assert_eq!(kinds(&host, &run, 1), ["requested", "withheld", "answered"]);
    let withheld = format!("{run}.1");
    for ended in [false, true] {
        assert!(host.open_questions().is_empty());
        for decision in ["approve", "deny"] {
            let decided = decide(&host, "other", &withheld, decision).await;
            assert_eq!(decided, Err("only-observed"), "{ended}");
        }
        let shown = host.runtime.approval(&host.who, &withheld);
        assert_eq!(shown.expect_err("none").code(), "only-observed");
        let of_a_call = decide(&host, "other", &format!("{run}.0"), "approve").await;
        assert_eq!(of_a_call, Err("approval-not-found"), "it was made");
        if !ended {
            let signalled = host
                .runtime
                .signal_run(&host.who, &run, "go", &json!(1))
                .await;
            signalled.expect("kept");
            host.results(&run).await;
        }
    }
    assert_eq!(host.counted("count").await + host.counted("added").await, 0);
}

/// A member that is there twice: people would be shown one, and the tool may take the
/// other. Nobody is asked, nothing is called, by whatever way it comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_same_to_each_reader_is_neither_asked_about_nor_called() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let members = json!([["value", "large"], ["to", "bob"], ["value", "small"]]);
    let call = json!({ "call-with": { "tool": "keeper/put", "members": members } });
    for autonomy in ["ask", "autonomous"] {
        let how = json!({ "autonomy": autonomy });
        let run = host.start_with(json!([call]), how).await;
        let told = host.results(&run).await[0]["error"].to_string();
        assert!(told.contains(r#"the member \"value\" twice"#), "{told}");
        assert!(!kinds(&host, &run, 0).contains(&"approval-asked".to_owned()));
    }
    let twice = ToolCall {
        plugin: "keeper".to_owned(),
        tool: "put".to_owned(),
        input: r#"{"value":"large","value":"small"}"#.into(),
        timeout: None,
        idempotency_key: None,
        log: false,
        stage: None,
    };
    let refused = host.runtime.call(&host.who, twice).await;
    let refused = refused.expect_err("it is refused");
    assert_eq!((refused.code(), refused.status()), ("member-twice", 400));
    assert_eq!(host.counted("count").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_holds_for_what_it_was_given_for_and_survives() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host
        .start_with(json!([add()]), json!({ "autonomy": "ask" }))
        .await;
    let before = question(&host, &run).await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    let after = question(&host, &run).await;
    assert_eq!(after.binding, before.binding, "asked once, over a restart");
    // Other grants, another question.
    let effects = json!({ "put": "idempotent", "get": "read-only", "add": "plain" });
    let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "2MiB" }], "effects": effects });
    host.grant("keeper", kept).await;
    assert_eq!(decide(&host, "other", &after.id, "approve").await, Ok(()));
    host.until(&run, |_| {
        let open = host.open_questions();
        open.iter().any(|asked| asked.binding != before.binding)
    })
    .await;
    assert_eq!(
        host.added().await,
        0,
        "what was approved is not what would be done"
    );
    let again = question(&host, &run).await;
    // Who looked at the question before decides that one, not this.
    let other = person("other", Role::Admin);
    for decision in ["approve", "deny"] {
        let stale = before.binding.as_deref();
        let decided = decide_what(&host, &other, &again.id, decision, stale).await;
        assert_eq!(decided, Err("approval-changed"), "{decision}");
    }
    let now = again.binding.as_deref();
    let decided = decide_what(&host, &other, &again.id, "approve", now).await;
    assert_eq!(decided, Ok(()));
    host.results(&run).await;
    assert_eq!(host.added().await, 1);
    assert_eq!(
        decide(&host, "other", &again.id, "approve").await,
        Err("approval-not-found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn several_people_approve_and_each_counts_once() {
    let (dir, disk) = place();
    let rule = json!({ "approvers": 3, "approver_role": "operator" });
    let host = Host::with_rule(dir.path(), &disk, rule.clone()).await;
    let run = host.asks(json!([add()])).await;
    let asked = question(&host, &run).await;
    assert_eq!(
        (asked.role, asked.approvers, &*asked.by),
        (Role::Operator, 3, "local:test")
    );
    let (ann, bob) = (person("ann", Role::Operator), person("bob", Role::Operator));
    let eve = person("eve", Role::Approver);
    let starter = person("local:test", Role::Operator);
    let id = &asked.id;
    assert_eq!(
        decide_as(&host, &eve, id, "approve").await,
        Err("approver-role")
    );
    assert_eq!(
        decide_as(&host, &starter, id, "approve").await,
        Err("own-approval")
    );
    assert_eq!(decide_as(&host, &ann, id, "approve").await, Ok(()));
    assert_eq!(
        decide_as(&host, &ann, id, "approve").await,
        Err("approved-already")
    );
    assert!(host.questions_for(&eve).is_empty());
    assert_eq!(
        host.runtime
            .approval(&eve, id)
            .expect_err("not hers")
            .code(),
        "approval-not-found"
    );
    // Over a restart, too.
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    let shown = host.runtime.approval(&bob, id).expect("open");
    assert_eq!(shown.approvals.len(), 1, "{shown:?}");
    assert_eq!(
        decide_as(&host, &ann, id, "approve").await,
        Err("approved-already")
    );
    assert_eq!(decide_as(&host, &bob, id, "approve").await, Ok(()));
    assert_eq!(host.added().await, 0, "two of three");
    assert_eq!(decide(&host, "root", id, "approve").await, Ok(()));
    host.results(&run).await;
    assert_eq!(host.added().await, 1);
    let audited = host.audited("admin.approval.decide").await;
    assert_eq!(audited.len(), 3, "{audited:?}");
    let binding = asked.binding.expect("of a call");
    assert!(
        audited.iter().all(|detail| detail.contains(&binding)),
        "{audited:?}"
    );

    // One says no.
    let run = host.asks(json!([add()])).await;
    let asked = question(&host, &run).await;
    assert_eq!(decide_as(&host, &ann, &asked.id, "approve").await, Ok(()));
    assert_eq!(decide_as(&host, &bob, &asked.id, "deny").await, Ok(()));
    let results = host.results(&run).await.to_string();
    assert!(results.contains("a person said no"), "{results}");
    // Other terms, another question: what was approved under fewer is void.
    let run = host.asks(json!([add()])).await;
    let asked = question(&host, &run).await;
    assert_eq!(decide_as(&host, &ann, &asked.id, "approve").await, Ok(()));
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.rule(json!({ "approvers": 1, "own_approval": true }))
        .await;
    let gone = decide_as(&host, &bob, &asked.id, "approve").await;
    assert_eq!(gone, Ok(()), "it still counts for what was asked");
    assert_eq!(decide(&host, "root", &asked.id, "approve").await, Ok(()));
    host.until(&run, |_| {
        host.open_questions()
            .first()
            .is_some_and(|now| now.binding != asked.binding)
    })
    .await;
    assert_eq!(host.added().await, 1);
    assert_eq!(
        decide_as(&host, &host.who, &asked.id, "approve").await,
        Ok(()),
        "their own"
    );
    host.results(&run).await;
    assert_eq!(host.added().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_not_decided_in_time_is_denied_or_goes_to_others() {
    let (dir, disk) = place();
    let host = Host::with_rule(dir.path(), &disk, json!({ "due": "30ms" })).await;
    let run = host.asks(json!([add()])).await;
    let results = host.results(&run).await.to_string();
    assert!(results.contains("nobody decided in time"), "{results}");
    let late = decide(&host, "other", &format!("{run}.0"), "approve").await;
    assert_eq!(late, Err("approval-not-found"));
    assert!(host.open_questions().is_empty());

    let escalates = json!({ "due": "30ms", "on_due": "escalate", "escalate_to": "admin" });
    host.rule(escalates).await;
    let run = host.asks(json!([add()])).await;
    let results = host.results(&run).await.to_string();
    assert!(results.contains("nobody decided in time"), "{results}");
    let expect = [
        "requested",
        "approval-asked",
        "question-escalated",
        "answered",
    ];
    assert_eq!(kinds(&host, &run, 0), expect, "a second due denies");
    assert_eq!(host.audited("approval.due").await.len(), 3);

    let mut rule =
        json!({ "due": "1h", "on_due": "escalate", "escalate_to": "admin", "approvers": 2 });
    host.rule(rule.clone()).await;
    let run = host.asks(json!([add()])).await;
    let asked = question(&host, &run).await;
    assert_eq!(
        (asked.on_due, asked.escalates_to),
        (Some(AtDue::Escalates), Some(Role::Admin))
    );
    let ann = person("ann", Role::Approver);
    assert_eq!(decide_as(&host, &ann, &asked.id, "approve").await, Ok(()));

    // The first time is over while no host is there.
    rule["due"] = json!("1s");
    host.rule(rule).await;
    let run = host.asks(json!([add()])).await;
    let id = format!("{run}.0");
    host.until(&run, |_| {
        kinds(&host, &run, 0).contains(&"approval-asked".to_owned())
    })
    .await;
    // In time, unless the machine is very slow.
    let _ = decide_as(&host, &ann, &id, "approve").await;
    drop(host);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let host = Host::again(dir.path(), &disk).await;
    host.until(&run, |_| {
        kinds(&host, &run, 0).contains(&"question-escalated".to_owned())
    })
    .await;
    let shown = host.runtime.approval(&host.who, &id);
    match shown {
        Ok(shown) => {
            assert_eq!(
                (shown.role, shown.on_due),
                (Role::Admin, Some(AtDue::Denies))
            );
            assert!(shown.approvals.is_empty(), "they decide anew: {shown:?}");
            let anns = host.questions_for(&ann);
            assert!(anns.iter().all(|other| other.id != id), "{anns:?}");
            let refused = decide_as(&host, &ann, &id, "approve").await;
            assert!(
                matches!(refused, Err("approver-role" | "approval-not-found")),
                "{refused:?}"
            );
        }
        // A machine so slow that the second time is over, too.
        Err(error) => assert_eq!(error.code(), "approval-not-found"),
    }
    host.results(&run).await;
    assert_eq!(host.added().await, 0);
}

/// The decision and the end of its time meet: one of them holds.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_arrives_at_its_time_has_one_outcome_and_many_do_not_cross() {
    let (dir, disk) = place();
    let host = Host::with_rule(dir.path(), &disk, json!({ "due": "400ms" })).await;
    let mut runs = Vec::new();
    for _ in 0..12 {
        runs.push(host.asks(json!([add()])).await);
    }
    let decisions = runs.iter().enumerate().map(|(n, run)| {
        let host = &host;
        async move {
            let id = format!("{run}.0");
            let due_ms = loop {
                match host.runtime.approval(&host.who, &id) {
                    Ok(asked) => break asked.due_ms.expect("a time"),
                    Err(_) if host.run(run).end.is_some() => break 0,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            // A third well before, the others around that moment.
            let early = if n % 3 == 0 { 300 } else { n as u64 % 3 };
            let wait = due_ms.saturating_sub(early).saturating_sub(now_ms());
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let first = decide(host, "other", &id, "approve").await;
            let again = decide(host, "other", &id, "deny").await;
            assert_eq!(again, Err("approval-not-found"), "single use");
            first
        }
    });
    let decided = futures_util::future::join_all(decisions).await;
    let mut approved = 0;
    for (run, decided) in runs.iter().zip(decided) {
        let results = host.results(run).await.to_string();
        let made = results.contains("\"ok\"");
        assert_eq!(decided.is_ok(), made, "{decided:?} {results}");
        assert!(
            made || results.contains("nobody decided in time"),
            "{results}"
        );
        assert_eq!(
            kinds(&host, run, 0)
                .iter()
                .filter(|kind| *kind == "answered")
                .count(),
            1
        );
        approved += u64::from(made);
    }
    assert_eq!(host.added().await, approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_own_question_has_a_time_and_people_who_decide_it() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let ask = |due_ms: u64| json!([{ "ask": { "text": "send?", "choices": ["yes", "no"], "due-ms": due_ms } }]);
    let run = host.start(ask(20)).await;
    let results = host.results(&run).await.to_string();
    assert!(results.contains("nobody answered in time"), "{results}");
    assert!(host.open_questions().is_empty());
    let run = host.start(ask(3_600_000)).await;
    let asked = question(&host, &run).await;
    assert_eq!(
        (asked.role, asked.on_due),
        (Role::Approver, Some(AtDue::TellsAgent))
    );
    assert!(
        asked.due_ms.is_some_and(|due_ms| due_ms > asked.at_ms),
        "{asked:?}"
    );
    for role in [Role::Caller, Role::Operator] {
        let refused = decide_as(&host, &person("ann", role), &asked.id, "yes").await;
        assert!(
            matches!(refused, Err("approver-role" | "approval-not-found")),
            "{role} {refused:?}"
        );
    }
    let ann = person("ann", Role::Approver);
    assert_eq!(
        decide_as(&host, &ann, &asked.id, "approve").await,
        Err("invalid-request")
    );
    assert_eq!(decide_as(&host, &ann, &asked.id, "yes").await, Ok(()));
    host.results(&run).await;

    // Questions of a run that has ended are gone.
    let run = host.start(ask(3_600_000)).await;
    let asked = question(&host, &run).await;
    host.runtime
        .cancel_run(&host.who, &run, "")
        .await
        .expect("taken");
    assert_eq!(host.ended(&run).await.run.status, RunStatus::Cancelled);
    assert!(host.open_questions().is_empty());
    assert_eq!(
        decide_as(&host, &ann, &asked.id, "yes").await,
        Err("approval-not-found")
    );
}

/// A run asks about so many calls at once; about the others as those are decided.
#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_those_that_may_be_asked_about_have_their_turn() {
    const AT_ONCE: usize = 64;
    const CALLS: usize = AT_ONCE + 2;
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host.asks(json!([{ "join": vec![add(); CALLS] }])).await;
    for decided in 0..CALLS {
        let open = AT_ONCE.min(CALLS - decided);
        host.until(&run, |_| host.open_questions().len() == open)
            .await;
        let question = host.open_questions().remove(0);
        let denied = decide(&host, "ann", &question.id, "deny").await;
        assert_eq!(denied, Ok(()), "{decided}");
    }
    let results = host.results(&run).await;
    let results = results[0].as_array().expect("a list").len();
    assert_eq!((results, host.added().await), (CALLS, 0));
}

/// What lists a question is not what decides it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_inbox_that_fits_no_run_is_left_out() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host.asks(json!([put(&"x".repeat(10_000))])).await;
    let asked = question(&host, &run).await;
    assert_eq!(
        (&asked.payload, asked.payload_bytes.is_some()),
        (&None, true),
        "too large"
    );
    let whole = host.runtime.approval(&host.who, &asked.id).expect("open");
    assert!(whole.payload.is_some());
    let mut stale = json!(asked);
    stale["run"] = json!("run_gone");
    let put = |key: &'static str, value: String| airlock_journal::Op::Put {
        space: "approvals",
        key: key.into(),
        value: value.into(),
    };
    let rows = vec![
        put("run_gone.0", stale.to_string()),
        put("damaged", "{".to_owned()),
    ];
    host.runtime.commit(rows).await.expect("kept");
    let listed: Vec<String> = host
        .open_questions()
        .into_iter()
        .map(|asked| asked.id)
        .collect();
    assert_eq!(listed, std::slice::from_ref(&asked.id));
    assert_eq!(
        decide(&host, "other", "run_gone.0", "approve").await,
        Err("approval-not-found")
    );
    assert_eq!(decide(&host, "other", &asked.id, "approve").await, Ok(()));
    host.results(&run).await;
}
