//! Runs replayed against versions of their agent.

use airlock_runtime::{
    DifferenceKind, Failure, ForkRun, InstallRequest, OperationState, Principal, ReplayRun,
    ReplayVerdict, Role, RunReplay,
};

use super::*;

/// The agent `prober` with another version number inside.
fn version(digit: u8) -> Bytes {
    let mut bytes = built("agent_prober").to_vec();
    let name = b"prober-version-1";
    let at = bytes.windows(name.len()).position(|part| part == name);
    let at = at.expect("its version stands in it");
    bytes[at + name.len() - 1] = digit;
    bytes.into()
}

/// Installs it beside the active version.
pub(super) async fn installed(host: &Host, digit: u8) -> String {
    let request = InstallRequest {
        name: "prober".to_owned(),
        component: version(digit),
        digest: None,
        activate: false,
        check: false,
        why: String::new(),
    };
    let begun = host.runtime.install(&host.who, request).expect("begins");
    let ended = host.runtime.wait_operation(&host.who, &begun.id).await;
    let ended = ended.expect("is known");
    assert_eq!(ended.state, OperationState::Succeeded, "{ended:?}");
    let installed = ended.installed.expect("is told");
    assert!(!installed.active);
    installed.digest
}

pub(super) async fn replay(host: &Host, run: &str, agent: Option<&str>) -> RunReplay {
    let request = ReplayRun {
        agent: agent.map(str::to_owned),
    };
    let replay = host.runtime.replay_run(&host.who, run, request).await;
    replay.expect("it is replayed")
}

/// A journal is replayed without an effect, a write or a decision, also when
/// what it was granted is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_replays_without_effects_whatever_is_granted_now() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let steps = json!([
        { "look": {} }, add(), { "tell": { "text": "half" } },
        { "join": [add(), put("b"), { "sleep": { "ms": 5 } }] },
        { "select": [{ "sleep": { "ms": 1 } }, { "sleep": { "ms": 600_000 } }] },
        { "cancel-sleep": { "ms": 600_000 } }, add(),
    ]);
    let run = host.start(steps).await;
    host.results(&run).await;
    let before = (host.added().await, host.run(&run).events);
    host.grant("prober", json!({})).await;
    let seen = replay(&host, &run, None).await;
    assert_eq!(seen.verdict, ReplayVerdict::Same, "{seen:?}");
    assert_eq!(seen.same, seen.steps);
    assert!(seen.steps >= 11 && seen.cpu_us > 0, "{seen:?}");
    assert_eq!((host.added().await, host.run(&run).events), before);
    let denied = host.audited("denied").await;
    assert_eq!(denied, Vec::<String>::new(), "no policy was asked");

    let waits = host.start(json!([{ "signal": { "name": "go" } }])).await;
    host.until(&waits, |run| run.waits_for.len() == 1).await;
    let seen = replay(&host, &waits, None).await;
    assert_eq!(seen.verdict, ReplayVerdict::SameSoFar, "{seen:?}");
    assert!(host.run(&waits).end.is_none(), "the run itself goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_compared_call_by_call() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let by_version = json!({ "by-version": {
        "1": [add(), put("a"), add()],
        "2": [put("a"), add(), add()],
        "3": [add(), put("b")],
        "4": [add(), put("a"), add()],
    }});
    let run = host.start(json!([by_version])).await;
    host.results(&run).await;
    use DifferenceKind::{ChangedArguments, OtherOrder};
    let cases: [(u8, ReplayVerdict, &[DifferenceKind]); 3] = [
        (b'4', ReplayVerdict::Same, &[]),
        (b'2', ReplayVerdict::Differs, &[OtherOrder, OtherOrder]),
        (b'3', ReplayVerdict::Differs, &[ChangedArguments]),
    ];
    for (digit, verdict, kinds) in cases {
        let digest = installed(&host, digit).await;
        let seen = replay(&host, &run, Some(&digest)).await;
        assert_eq!((seen.verdict, &seen.digest), (verdict, &digest), "{seen:?}");
        let found: Vec<DifferenceKind> = seen.differences.iter().map(|d| d.kind).collect();
        assert_eq!(found, kinds, "{seen:?}");
    }
    assert_eq!(host.added().await, 2, "nothing was done again");
    let active = replay(&host, &run, Some("prober")).await;
    assert_eq!(active.verdict, ReplayVerdict::Same);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_replayed_is_named() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let run = host.start(json!([])).await;
    host.results(&run).await;
    let stranger = Principal {
        name: "bob".to_owned(),
        token_id: None,
        roles: [Role::Caller].into(),
        plugins: None,
    };
    let nowhere = format!("sha256:{}", "0".repeat(64));
    for (who, run, agent, code) in [
        (&*host.who, "run_none", None, "run-not-found"),
        (&stranger, &run, None, "run-not-found"),
        (&host.who, &run, Some("keeper"), "not-an-agent"),
        (&host.who, &run, Some("nobody"), "plugin-not-found"),
        (&host.who, &run, Some(&*nowhere), "version-not-found"),
    ] {
        let request = ReplayRun {
            agent: agent.map(str::to_owned),
        };
        let refused = host.runtime.replay_run(who, run, request).await;
        assert_eq!(refused.expect_err("is refused").code(), code, "{agent:?}");
    }
}

/// Forks a run and gives the new one.
pub(super) async fn fork(host: &Host, run: &str, request: Value) -> Result<String, &'static str> {
    let request: ForkRun = serde_json::from_value(request).expect("a request");
    let forked = host.runtime.fork_run(&host.who, run, request).await;
    forked.map(|run| run.id).map_err(|error| error.code())
}

/// The effects before the step are taken from the journal, those after it are new.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_repeats_no_effect_from_before_its_step() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host
        .start(json!([add(), put("a"), { "join": [add(), add()] }]))
        .await;
    let results = host.results(&run).await;
    let events = host.run(&run).events;
    let mut added = 3;
    assert_eq!(host.added().await, added);
    for (at, again) in [(4, 0), (3, 1), (2, 2), (1, 2), (0, 3)] {
        let forked = fork(&host, &run, json!({ "at": at }))
            .await
            .expect("forked");
        let seen = host.results(&forked).await;
        added += again;
        assert_eq!(host.added().await, added, "fork at {at}");
        let counts = [&seen[0], &seen[2][0], &seen[2][1]].map(|one| &one["ok"]["count"]);
        let last = counts.into_iter().filter_map(Value::as_u64).max();
        let expect = if again == 0 { 3 } else { added };
        assert_eq!(last, Some(expect), "fork at {at}: {seen}");
        let kept = match at {
            0 => Value::Null,
            _ => results[0].clone(),
        };
        assert!(kept.is_null() || seen[0] == kept, "fork at {at}: {seen}");
        let detail = host.run(&forked);
        let from = detail.forked_from.expect("it says so");
        assert_eq!((from.run.as_str(), from.at), (run.as_str(), at));
        let seen = replay(&host, &forked, None).await;
        assert_eq!(seen.verdict, ReplayVerdict::Same, "{seen:?}");
    }
    assert_eq!(host.run(&run).events, events, "the other run is as it was");
    assert_eq!(host.audited("admin.run.fork").await.len(), 5);
    assert_eq!(
        fork(&host, &run, json!({ "at": 5 })).await,
        Err("no-such-step")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_asks_for_its_own_approvals() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let asks = json!({ "autonomy": "ask" });
    let run = host.start_with(json!([add(), add()]), asks).await;
    let first = question(&host, &run).await;
    assert_eq!(decide(&host, "other", &first.id, "approve").await, Ok(()));
    host.until(&run, |run| {
        run.waits_for
            .iter()
            .any(|open| open.id == 1 && open.to_approve)
    })
    .await;
    // While it waits: one is made already, one waits to be approved.
    let forked = fork(&host, &run, json!({ "at": 2 })).await.expect("forked");
    host.until(&forked, |run| {
        run.waits_for
            .iter()
            .any(|open| open.id == 1 && open.to_approve)
    })
    .await;
    let own = format!("{forked}.1");
    assert_eq!(decide(&host, "other", &own, "approve").await, Ok(()));
    host.results(&forked).await;
    assert_eq!(
        host.added().await,
        2,
        "the first of the other run, the second of this one"
    );
    let open = host.run(&run).waits_for;
    assert!(
        open.iter().any(|open| open.to_approve),
        "the other still waits: {open:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_with_another_version_or_input_has_to_come_to_its_step() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let by_version = json!([{ "by-version": {
        "1": [add(), put("a"), add()],
        "2": [add(), put("b"), add(), add()],
    }}]);
    let run = host.start(by_version).await;
    host.results(&run).await;
    let two = installed(&host, b'2').await;
    for (at, code) in [
        (0, "ok"),
        (1, "ok"),
        (2, "fork-differs"),
        (3, "fork-differs"),
    ] {
        let forked = fork(&host, &run, json!({ "at": at, "agent": two })).await;
        let seen = forked.as_ref().map_or_else(|code| *code, |_| "ok");
        assert_eq!(seen, code, "at {at}");
        if let Ok(forked) = forked {
            host.results(&forked).await;
            assert_eq!(host.run(&forked).digest, two);
        }
    }
    assert_eq!(host.added().await, 2 + 3 + 2);
    let input = |steps: Value| json!({ "at": 1, "input": { "steps": steps } });
    let same = fork(&host, &run, input(json!([add(), put("c")])))
        .await
        .expect("forked");
    assert_eq!(host.results(&same).await.as_array().map(Vec::len), Some(2));
    assert_eq!(host.added().await, 7);
    let other = fork(&host, &run, input(json!([put("c")]))).await;
    assert_eq!(other, Err("fork-differs"));
}

/// Who forks with which version: a fork has the grants of its run's agent, so it
/// runs what was activated for it, or what an administrator says.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_runs_no_component_that_was_not_activated_for_its_agent() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let run = host.start(json!([add()])).await;
    host.results(&run).await;
    let own = host.run(&run).digest;
    let beside = installed(&host, b'2').await;
    let active = install(&host.runtime, "prober", version(b'3')).await;
    let other = install(&host.runtime, "other", version(b'4')).await;
    let who = |name: &str, roles: &[Role]| Principal {
        name: name.to_owned(),
        token_id: None,
        roles: roles.iter().copied().collect(),
        plugins: None,
    };
    let owner = who(&host.who.name, &[Role::Caller]);
    let operator = who("op", &[Role::Caller, Role::Operator]);
    let mut forks = 0;
    for (agent, expect, as_admin) in [
        (None, "ok", "ok"),
        (Some(&*own), "ok", "ok"),
        (Some(&*active), "ok", "ok"),
        (Some("prober"), "ok", "ok"),
        (Some(&*beside), "version-not-active", "ok"),
        (Some("other"), "invalid-request", "invalid-request"),
        (Some(&*other), "version-not-found", "version-not-found"),
    ] {
        for (who, expect) in [
            (&owner, expect),
            (&operator, expect),
            (&*host.who, as_admin),
        ] {
            let request = json!({ "at": 0, "agent": agent });
            let request: ForkRun = serde_json::from_value(request).expect("a request");
            let forked = host.runtime.fork_run(who, &run, request).await;
            let code = forked.as_ref().map_or_else(|error| error.code(), |_| "ok");
            assert_eq!(code, expect, "{} {agent:?}", who.name);
            if let Ok(forked) = forked {
                let results = host.results(&forked.id).await;
                assert!(results[0]["ok"]["count"].is_u64(), "{results}");
                forks += 1;
            }
        }
    }
    assert_eq!(forks, 13);
    // Another plugin that has the name now has none of the versions of before.
    let gone = host
        .runtime
        .remove_plugin(&host.who, "prober", false, "")
        .await;
    gone.expect("is removed");
    install(&host.runtime, "prober", version(b'5')).await;
    for (who, agent) in [(&owner, None), (&operator, Some(&*own)), (&*host.who, None)] {
        let request = json!({ "at": 0, "agent": agent });
        let request: ForkRun = serde_json::from_value(request).expect("a request");
        let forked = host.runtime.fork_run(who, &run, request).await;
        let code = forked.as_ref().map_or_else(|error| error.code(), |_| "ok");
        assert_eq!(code, "version-not-found", "{} {agent:?}", who.name);
    }
}

/// A child of the other run that has not ended is not started once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_starts_no_child_that_the_other_run_has_under_way() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let waits = json!([{ "signal": { "name": "go" } }, add()]);
    let run = host.start(json!([{ "start": { "steps": waits } }])).await;
    let child = |run: &RunDetail| run.children.len() == 1;
    let first = host.until(&run, child).await.children.remove(0);
    let go = async |child: &str| {
        let payload = json!(1);
        let signalled = host.runtime.signal_run(&host.who, child, "go", &payload);
        signalled.await.expect("kept");
    };
    let mut forks = Vec::new();
    for _ in 0..2 {
        let forked = fork(&host, &run, json!({ "at": 1 })).await.expect("forked");
        let unclear = host.until(&forked, |run| run.blocked.is_some()).await;
        let unknown = matches!(
            unclear.blocked,
            Some(airlock_runtime::Block::UnknownOutcome { id: 0, .. })
        );
        assert!(unknown, "{unclear:?}");
        forks.push(forked);
    }
    go(&first).await;
    host.results(&run).await;
    for forked in &forks {
        assert_eq!(host.run(forked).children.len(), 0);
    }
    assert_eq!(host.added().await, 1);
    let say = async |run: &str, outcome: Outcome| {
        let resume = Resume {
            request: Some(0),
            outcome: Some(outcome),
            ..Resume::default()
        };
        let resumed = host.runtime.resume_run(&host.who, run, resume).await;
        resumed.expect("taken");
    };
    say(&forks[0], Outcome::Fail).await;
    let results = host.results(&forks[0]).await.to_string();
    assert!(results.contains("unknown"), "{results}");
    say(&forks[1], Outcome::Retry).await;
    let second = host.until(&forks[1], child).await.children.remove(0);
    go(&second).await;
    host.results(&forks[1]).await;
    assert_eq!(host.added().await, 2, "one more, since a person said so");
}
