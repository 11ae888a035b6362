//! Agents that ask language models, over the real protocol and a server of ours.

use std::path::Path;

use airlock_fake_models::{Call, Damage, FakeModels, Reply, Script, What};
use airlock_runtime::{End, ModelUsageQuery, RuntimeConfig, Secret};
use serde_json::{Value, json};

use crate::host::{Host, audited, config, install, place};

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

fn rule(members: Value) -> Value {
    let mut rule = json!({ "role": "fast" });
    for (name, value) in members.as_object().expect("an object") {
        rule[name] = value.clone();
    }
    json!({ "tools": [{ "tool": "keeper/*" }], "agents": [{ "agent": "prober" }], "models": [rule, { "role": "near" }] })
}

fn chat(turns: &[&str]) -> Value {
    json!({ "chat": { "role": "fast", "turns": turns } })
}

const BUDGET: u64 = 100_000_000;

fn rich() -> Value {
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

/// What fits once fits, though three times as much would not; many requests at once
/// get no more than there is.
#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_share_what_is_left() {
    let (dir, disk) = place();
    let server = server((0..8).map(|_| What::text("one"))).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    let table = [
        (rule(json!({ "day_tokens": 4_500 })), rich()),
        (
            rule(json!({})),
            json!({ "budget": { "model_tokens": 4_500, "model_micros": BUDGET } }),
        ),
    ];
    for (grants, members) in table {
        host.grant("prober", grants).await;
        let at_once: Vec<Value> = (0..4).map(|_| chat(&["A"])).collect();
        let run = host.start_with(json!([{ "join": at_once }]), members).await;
        let results = host.results(&run).await;
        let fit = results[0].as_array().expect("four").iter();
        let fit = fit.filter(|result| result.get("ok").is_some()).count();
        assert!((1..=4).contains(&fit), "{results}");
        assert_eq!(host.run(&run).used.model_tokens, 15 * fit as u64);
    }
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

/// A run that is cancelled ends its request, whose part counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_cancelled_ends_and_counts() {
    let (dir, disk) = place();
    let held = Reply {
        damage: Damage {
            held: true,
            ..Damage::default()
        },
        ..Reply::default()
    };
    let server = server([What::Answer(held)]).await;
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
    assert!(ended.used.model_tokens > 0, "{ended:?}");
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

fn calls(name: &str, arguments: &Value) -> What {
    let call = Call {
        id: format!("call-{name}"),
        name: name.to_owned(),
        arguments: arguments.to_string(),
    };
    What::Answer(Reply {
        calls: vec![call],
        ..Reply::default()
    })
}

/// `react`, as it ships: the model asks for what it was not offered, then for what
/// was granted, then says what it found. The gate decides what is done.
#[tokio::test(flavor = "multi_thread")]
async fn react_does_what_was_granted_and_nothing_else() {
    let (dir, disk) = place();
    let server = server([
        calls("keeper_put", &json!({ "key": "k", "value": "injected" })),
        calls("keeper_add", &json!({})),
        calls("finish", &json!({ "result": "added" })),
    ])
    .await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    let react = airlock_sandbox::testing::built("airlock_plugin_react");
    install(&host.runtime, "react", react).await;
    let grants = json!({ "tools": [{ "tool": "keeper/add" }], "models": [{ "role": "fast" }] });
    host.grant("react", grants).await;
    let request = json!({ "agent": "react", "goal": "Add one.", "input": {}, "budget": { "model_micros": BUDGET } });
    let request = serde_json::from_value(request).expect("a request");
    let run = host.runtime.start_run(&host.who, request).await;
    let run = run.expect("it starts").id;
    let ended = host.ended(&run).await;
    let Some(End::Succeeded { output }) = &ended.end else {
        panic!("{ended:?}")
    };
    assert!(output.contains("added"), "{output}");
    assert_eq!(host.added().await, 1);
    assert_eq!(ended.calls, 1, "what was not offered was not called");
    let second = &server.seen()[1].text;
    assert!(second.contains("keeper_put"), "it is told why: {second}");
}
