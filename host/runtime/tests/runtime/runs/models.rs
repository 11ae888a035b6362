//! Agents that ask language models, over the real protocol and a server of ours.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use airlock_fake_models::{Counted, Damage, FakeModels, Raw, Reply, Script, What};
use airlock_journal::memory::Fault;
use airlock_runtime::{
    End, Failure, ModelUsageQuery, Principal, RunDetail, Runtime, RuntimeConfig, Secret, TryModel,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::host::{Host, audited, config, place};

/// A configuration with one model of the server, at 1,000 millionths a token.
pub(super) fn with_models(dir: &Path, server: &FakeModels) -> RuntimeConfig {
    let file = dir.join("models.toml");
    let base = server.base_url();
    let text = format!(
        r#"
currency = "USD"
[providers.own]
kind = "openai-compatible"
base_url = "{base}"
[models.small]
provider = "own"
id = "small"
context_tokens = 4000
output_tokens_max = 100
prices = {{ input = "1000", output = "1000" }}
[models.vectors]
provider = "own"
id = "vectors"
context_tokens = 4000
embeddings = true
prices = {{ input = "0", output = "0" }}
[roles.fast]
models = ["small"]
retries = 0
[roles.near]
models = ["vectors"]
"#
    );
    std::fs::write(&file, text).expect("written");
    RuntimeConfig {
        models_file: Some(file),
        ..config(dir)
    }
}

pub(super) async fn server(steps: impl IntoIterator<Item = What>) -> FakeModels {
    FakeModels::start(Script::of(steps))
        .await
        .expect("a server")
}

/// An answer that waits for the test, and may say what it took.
pub(super) fn held(usage: Option<Counted>) -> What {
    let What::Answer(reply) = What::text("one") else {
        unreachable!("it is an answer")
    };
    What::Answer(Reply {
        usage: usage.or(reply.usage),
        damage: Damage {
            held: true,
            ..Damage::default()
        },
        ..reply
    })
}

pub(super) fn rule(members: Value) -> Value {
    let mut rule = json!({ "role": "fast" });
    for (name, value) in members.as_object().expect("an object") {
        rule[name] = value.clone();
    }
    json!({ "tools": [{ "tool": "keeper/*" }], "agents": [{ "agent": "prober" }], "models": [rule, { "role": "near" }] })
}

pub(super) fn chat(turns: &[&str]) -> Value {
    json!({ "chat": { "role": "fast", "turns": turns } })
}

pub(super) const BUDGET: u64 = 100_000_000;

pub(super) fn rich() -> Value {
    json!({ "budget": { "model_micros": BUDGET } })
}

/// What is answered is on record with what it took; the conversation goes on; a replay
/// asks nobody.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_says_is_kept_and_paid_for_once() {
    let (dir, disk) = place();
    let server = server([What::text("one"), What::text("two")]).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let run = host.start_with(json!([chat(&["A", "B"])]), rich()).await;
    let results = host.results(&run).await;
    assert_eq!(results[0]["ok"]["text"], "two", "{results}");
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    let at = |text: &str| seen[1].text.find(text).expect("it was said");
    let (first, second, third) = (at("\"A\""), at("\"one\""), at("\"B\""));
    assert!(first < second && second < third, "{}", seen[1].text);
    let used = host.run(&run).used;
    assert_eq!((used.model_tokens, used.model_micros), (30, 30_000));
    let usage = host.runtime.model_usage(&ModelUsageQuery::default());
    let usage = usage.expect("usage");
    let counted = usage.agents["prober"];
    assert_eq!(
        (counted.requests, counted.tokens, counted.micros),
        (2, 30, 30_000)
    );
    assert_eq!(audited(&host.runtime, "model.ask").await.len(), 2);
    let figures = host.runtime.metrics_text();
    for line in [
        "airlock_model_requests_total{role=\"fast\",model=\"small\",outcome=\"ok\"} 2",
        "airlock_model_tokens_total{role=\"fast\"} 30",
        "airlock_model_cost_micros_total{role=\"fast\"} 30000",
        "airlock_model_wall_seconds_count 2",
    ] {
        assert!(figures.contains(line), "{line}: {figures}");
    }
    let replay = host
        .runtime
        .replay_run(&host.who, &run, Default::default())
        .await;
    let replay = serde_json::to_value(replay.expect("it replays")).expect("JSON");
    assert_eq!(replay["verdict"], "same", "{replay}");
    assert_eq!(server.seen().len(), 2, "a replay asks nobody");
}

/// Each thing that keeps a request from being sent is told, and nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_or_does_not_fit_is_not_sent() {
    let (dir, disk) = place();
    let server = server([]).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    let none = json!({ "tools": [{ "tool": "keeper/*" }] });
    let table = [
        (none, rich(), "needed: models"),
        (rule(json!({ "run_tokens": 10 })), rich(), "run_tokens"),
        (
            rule(json!({ "run_cost": "0.5" })),
            rich(),
            "run_cost_micros",
        ),
        (rule(json!({ "day_tokens": 10 })), rich(), "day_tokens"),
        (rule(json!({ "day_cost": "0.000001" })), rich(), "day_cost"),
        (
            rule(json!({})),
            json!({ "budget": { "model_tokens": 10 } }),
            "model_tokens",
        ),
        (
            rule(json!({})),
            json!({ "budget": { "model_micros": 0 } }),
            "model_micros",
        ),
    ];
    for (grants, members, expect) in table {
        host.grant("prober", grants).await;
        let run = host.start_with(json!([chat(&["A"])]), members).await;
        let results = host.results(&run).await;
        let error = results[0]["error"].as_str().unwrap_or_default();
        assert!(error.contains(expect), "{expect}: {results}");
        assert_eq!(host.run(&run).used.model_tokens, 0, "{expect}");
    }
    assert_eq!(server.seen().len(), 0);
    assert_eq!(audited(&host.runtime, "denied").await.len(), 1);
}

/// What all agents may use in a day bounds each, whatever its own rule says.
#[tokio::test(flavor = "multi_thread")]
async fn what_agents_use_together_in_a_day_is_bounded() {
    let (dir, disk) = place();
    for (budget, expect) in [
        ("day_tokens = 10", "host_day_tokens"),
        ("day_cost = '0.000001'", "host_day_cost_micros"),
    ] {
        let server = server([]).await;
        let settings = with_models(dir.path(), &server);
        let file = settings.models_file.clone().expect("a file");
        let text = std::fs::read_to_string(&file).expect("read");
        std::fs::write(file, format!("{text}[budget]\n{budget}\n")).expect("written");
        let host = Host::with(settings, &disk).await;
        if expect == "host_day_tokens" {
            host.prepare(&[]).await;
            host.grant("prober", rule(json!({}))).await;
        }
        let run = host.start_with(json!([chat(&["A"])]), rich()).await;
        let results = host.results(&run).await;
        let error = results[0]["error"].as_str().unwrap_or_default();
        assert!(error.contains(expect), "{expect}: {results}");
        assert_eq!(server.seen().len(), 0);
    }
}

/// An administrator learns whether a role's models answer, and of what they failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_can_be_tried() {
    let (dir, disk) = place();
    let broken = What::Raw(Raw {
        status: 401,
        body: r#"{"error":{"message":"bad key","code":"invalid_api_key"}}"#.to_owned(),
        ..Raw::default()
    });
    let vectors = What::Answer(Reply {
        dimensions: 3,
        ..Reply::default()
    });
    let server = server([What::text("Hello."), broken, vectors]).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    let asked = |role: &str, text: &str| TryModel {
        role: role.to_owned(),
        text: text.to_owned(),
    };
    let tried = host.runtime.try_model(&host.who, asked("fast", "Hi")).await;
    let tried = tried.expect("an answer");
    assert_eq!(
        (tried.model.as_str(), tried.text.as_str()),
        ("small", "Hello.")
    );
    assert_eq!((tried.tokens, tried.cost_micros), (15, 15_000));
    let long = "x".repeat((64 << 10) + 1);
    for (role, text, code, says) in [
        ("fast", "Hi", "model-failed", "small: key: "),
        ("slow", "Hi", "role-not-found", "there are: fast, near"),
        ("fast", long.as_str(), "invalid-request", "65537 bytes"),
    ] {
        let failed = host.runtime.try_model(&host.who, asked(role, text)).await;
        let failed = failed.expect_err(code);
        assert_eq!(failed.code(), code);
        assert!(failed.to_string().contains(says), "{failed}");
    }
    let tried = host.runtime.try_model(&host.who, asked("near", "Hi")).await;
    assert_eq!(tried.expect("a vector").dimensions, Some(3));
    assert_eq!(audited(&host.runtime, "admin.models.try").await.len(), 3);
    let usage = host.runtime.model_usage(&ModelUsageQuery::default());
    assert_eq!(usage.expect("usage").all.requests, 0);
}

/// Wherever a disk hangs, a run that is ended, or halted, meanwhile: what was sent
/// counts, what was ended before it began does not, and days and runs agree.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_waits_what_is_not_sent_does_not_count() {
    let (mut unsent, mut sent) = (0, 0);
    for (n, ends) in (0..8).flat_map(|n| [(n, true), (n, false)]) {
        let (dir, disk) = place();
        let server = server((0..3).map(|_| What::text("one"))).await;
        let host = Host::with(with_models(dir.path(), &server), &disk).await;
        host.prepare(&[]).await;
        host.grant("prober", rule(json!({}))).await;
        let steps = json!([{ "sleep": { "ms": 400 } }, chat(&["A"])]);
        let run = host.start_with(steps, rich()).await;
        host.until(&run, |run| !run.waits_for.is_empty()).await;
        host.store.hold_after(n);
        tokio::time::sleep(Duration::from_millis(600)).await;
        let (runtime, who, id) = (host.runtime.clone(), host.who.clone(), run.clone());
        let done = tokio::spawn(async move {
            match ends {
                true => drop(runtime.cancel_run(&who, &id, "enough").await),
                false => halt(&runtime, &who, true).await,
            }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        host.store.release();
        done.await.expect("no panic");
        if !ends {
            halt(&host.runtime, &host.who, false).await;
        }
        let ended = host.ended(&run).await;
        let seen = server.seen().len() as u64;
        let used = ended.used.model_tokens;
        let usage = host.runtime.model_usage(&ModelUsageQuery::default());
        assert_eq!(
            usage.expect("usage").all.tokens,
            used,
            "write {n}, ends: {ends}"
        );
        assert!(
            used >= 15 * seen,
            "write {n}, ends: {ends}: {used}, {seen} sent"
        );
        if !ends {
            assert!(
                matches!(ended.end, Some(End::Succeeded { .. })),
                "{ended:?}"
            );
        }
        // One that was ended as it began may have been sent.
        unsent += u64::from(used == 0);
        sent += u64::from(seen > 0);
    }
    assert!(unsent >= 1 && sent >= 1, "{unsent} unsent, {sent} sent");
}

pub(super) async fn halt(runtime: &Arc<Runtime>, who: &Principal, halted: bool) {
    let request = json!({ "halted": halted, "agent": "prober" });
    let request = serde_json::from_value(request).expect("a request");
    runtime.halt(who, request).await.expect("taken");
}

/// A run whose budget of records ends anywhere in a request to a model: it is
/// blocked, and goes on when it is given more.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_ends_in_a_request_blocks_the_run() {
    let (dir, disk) = place();
    let server = server((0..60).map(|_| What::text("one"))).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let mut blocked = 0;
    for events in 3..15 {
        let members = json!({ "budget": { "events": events, "model_micros": BUDGET } });
        let run = host.start_with(json!([chat(&["A", "B"])]), members).await;
        let stands = |run: &RunDetail| run.end.is_some() || run.blocked.is_some();
        let run_then = host.until(&run, stands).await;
        if run_then.blocked.is_some() {
            blocked += 1;
            let more = json!({ "budget": { "events": 1_000 } });
            let more = serde_json::from_value(more).expect("a change");
            let resumed = host.runtime.resume_run(&host.who, &run, more).await;
            resumed.expect("goes on");
        }
        let results = host.results(&run).await;
        assert_eq!(results[0]["ok"]["text"], "one", "{events}: {results}");
    }
    assert!(blocked >= 6, "{blocked}");
}

/// A secret of the host never leaves in a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_the_host_is_in_no_request() {
    let (dir, disk) = place();
    let server = server([What::text("fine")]).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let secret = Secret::new("correct-horse".as_bytes().to_vec());
    host.runtime
        .set_secret(&host.who, "other", &secret)
        .await
        .expect("set");
    let run = host
        .start_with(json!([chat(&["it is correct-horse"])]), rich())
        .await;
    host.results(&run).await;
    let sent = server.seen()[0].text.clone();
    assert!(
        sent.contains("it is [secret") && !sent.contains("correct-horse"),
        "{sent}"
    );
}

/// Nor does one come back in an answer, in the spellings that are looked for: not to
/// the agent, not into the journal.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_model_repeats_is_in_no_record() {
    let (dir, disk) = place();
    let key = "key-of-the-provider-0123456789";
    // The same in base64.
    let coded = "a2V5LW9mLXRoZS1wcm92aWRlci0wMTIzNDU2Nzg5";
    let server = server([What::text(&format!("you sent {key}, {coded}."))]).await;
    let settings = with_models(dir.path(), &server);
    let file = settings.models_file.clone().expect("a file");
    let text = std::fs::read_to_string(&file).expect("it is read");
    let text = text.replace("[models.small]", "key = \"prov-key\"\n[models.small]");
    std::fs::write(&file, text).expect("written");
    let host = Host::with(settings, &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let secret = Secret::new(key.as_bytes().to_vec());
    let set = host
        .runtime
        .set_secret(&host.who, "prov-key", &secret)
        .await;
    set.expect("set");
    let run = host.start_with(json!([chat(&["A"])]), rich()).await;
    let results = host.results(&run).await;
    let said = results[0]["ok"]["text"].as_str().expect("a text");
    assert!(said.starts_with("you sent [secret], "), "{said}");
    let record = format!("{results} {:?}", host.run(&run));
    assert!(!record.contains(key) && !record.contains(coded), "{record}");
    let sent = server.seen()[0].header("authorization").map(str::to_owned);
    assert_eq!(sent, Some(format!("Bearer {key}")));
}

/// The host dies while a model answers: its part is used, and it is asked once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_a_crash_cut_off_is_asked_again_and_both_count() {
    let (dir, disk) = place();
    let server = server([What::Never, What::text("at last")]).await;
    let settings = with_models(dir.path(), &server);
    let first = Host::with(settings.clone(), &disk).await;
    first.prepare(&[]).await;
    first.grant("prober", rule(json!({}))).await;
    let run = first.start_with(json!([chat(&["A"])]), rich()).await;
    server.arrived(1).await;
    drop(first);
    let second = Host::with(settings, &disk).await;
    second.runtime.take_up_runs().await.expect("they are read");
    let results = second.results(&run).await;
    assert_eq!(results[0]["ok"]["text"], "at last", "{results}");
    assert_eq!(server.seen().len(), 2);
    let used = second.run(&run).used;
    assert!(used.model_tokens > 15, "what was cut off counts: {used:?}");
    let usage = second.runtime.model_usage(&ModelUsageQuery::default());
    assert_eq!(usage.expect("usage").all.tokens, used.model_tokens);
}

/// A host that died at a write, while a run asked models, and the one after it, before
/// it takes up what there is.
pub(super) struct Cut {
    pub(super) server: FakeModels,
    pub(super) next: Host,
    pub(super) run: String,
    /// Whether there was such a write before the run's end.
    pub(super) died: bool,
    _dir: TempDir,
}

impl Cut {
    /// At the write `n` of a run of these steps, or at its end.
    pub(super) async fn at(n: u64, says: impl IntoIterator<Item = What>, steps: Value) -> Self {
        let (dir, disk) = place();
        let server = server(says).await;
        let settings = with_models(dir.path(), &server);
        let first = Host::with(settings.clone(), &disk).await;
        first.prepare(&[]).await;
        first.grant("prober", rule(json!({}))).await;
        let run = first.start_with(steps, rich()).await;
        first.store.inject(Fault::Write { n });
        let over = |run: &RunDetail| run.end.is_some() || first.runtime.ready().is_err();
        first.until(&run, over).await;
        let died = first.runtime.ready().is_err();
        drop(first);
        let next = Host::with(settings, &disk).await;
        Self {
            server,
            next,
            run,
            died,
            _dir: dir,
        }
    }
}

/// Each boundary between two writes in turn: the host dies there. An answer that is
/// in the journal is not asked for again; what was asked for counts.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_no_answer_is_paid_for_twice() {
    let (mut died, mut asked_again) = (0, 0);
    for n in 0..40 {
        let steps = json!([chat(&["A"]), chat(&["B", "C"])]);
        let says = (0..6).map(|n| What::text(&format!("answer {n}")));
        let cut = Cut::at(n, says, steps).await;
        let (server, second, run) = (&cut.server, &cut.next, &cut.run);
        let kept = answers(second, run);
        let seen = server.seen().len();
        second.runtime.take_up_runs().await.expect("they are read");
        let results = second.results(run).await;
        assert_eq!(server.seen().len() - seen, 3 - kept.len(), "write {n}");
        let all = answers(second, run);
        assert!(all.starts_with(&kept), "write {n}: {kept:?}, then {all:?}");
        assert_eq!(all.len(), 3, "write {n}: {results}");
        let (used, sent) = (
            second.run(run).used.model_tokens,
            server.seen().len() as u64,
        );
        assert!(used >= 15 * sent, "write {n}: {used} for {sent} requests");
        let usage = second.runtime.model_usage(&ModelUsageQuery::default());
        assert_eq!(usage.expect("usage").all.tokens, used, "write {n}");
        died += u64::from(cut.died);
        asked_again += sent - 3;
        if !cut.died {
            break;
        }
    }
    assert!(
        died >= 4 && asked_again >= 1,
        "{died} died, {asked_again} asked again"
    );
}

/// The texts of the answers in a run's journal.
fn answers(host: &Host, run: &str) -> Vec<String> {
    let page = host.runtime.run_events(&host.who, run, 0, 1_000);
    let events = json!(page.expect("reads").events);
    let events = events.as_array().expect("a list").iter();
    events
        .filter(|event| event["event"] == "answered")
        .map(|event| event["answer"].to_string())
        .collect()
}

/// A run that is cancelled ends its request; the one attempt that was begun counts,
/// in its day too.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_cancelled_ends_and_counts() {
    let (dir, disk) = place();
    let server = server([held(None)]).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let run = host.start_with(json!([chat(&["A"])]), rich()).await;
    server.arrived(1).await;
    host.runtime
        .cancel_run(&host.who, &run, "enough")
        .await
        .expect("taken");
    let ended = host.ended(&run).await;
    let used = ended.used.model_tokens;
    assert!((1_000..1_500).contains(&used), "one bound: {ended:?}");
    let usage = host.runtime.model_usage(&ModelUsageQuery::default());
    assert_eq!(usage.expect("usage").all.tokens, used);
}

/// Vectors, and what a model may not be asked with.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_kept_as_they_came() {
    let (dir, disk) = place();
    let vectors = Reply {
        dimensions: 3,
        ..Reply::default()
    };
    let server = server([What::Answer(vectors)]).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let run = host
        .start(json!([{ "embed": { "role": "near", "text": "A" } }]))
        .await;
    let results = host.results(&run).await;
    let vector = results[0]["ok"][0].as_array().expect("a vector");
    assert_eq!(vector.len(), 3, "{results}");
}
