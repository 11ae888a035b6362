//! Agents that ship, on the real host, with a language model that says what a script
//! says.

use airlock_fake_models::{Call, FakeModels, Reply, Script, Step, What};
use airlock_runtime::{End, ModelUsageQuery};
use serde_json::{Value, json};

use super::models::{BUDGET, server, with_models};
use crate::host::{Host, install, place};

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

/// `planner`, `react` and `verifier`, as they ship: two tasks at once, a result that
/// the judge sends back, and one that passes. What is used is the family's.
#[tokio::test(flavor = "multi_thread")]
async fn planner_has_tasks_done_and_its_result_judged() {
    let (dir, disk) = place();
    let server = FakeModels::start(Script::default()).await;
    let server = server.expect("a server");
    let says = |value: Value| What::text(&value.to_string());
    let task = |id: &str| json!({ "id": id, "goal": format!("add {id}"), "after": [] });
    let judged = |verdict: &str, quote: &str| {
        let one = json!({ "id": "said", "verdict": verdict, "reason": "so", "evidence": [quote] });
        says(json!({ "criteria": [one], "advice": "Say how many." }))
    };
    let careful = [
        says(json!({ "why": "Both.", "tasks": [task("a"), task("b")] })),
        says(json!({ "result": "Some were added." })),
        judged("fail", "Some were added."),
        says(json!({ "result": "Two were added." })),
        judged("pass", "Two were added."),
    ];
    let script = |model: &str, says: Vec<What>| {
        for what in says {
            let model = Some(model.to_owned());
            server.push(Step {
                model,
                ..what.into()
            });
        }
    };
    script("large", careful.into());
    let fast = [
        calls("keeper_add", &json!({})),
        calls("keeper_add", &json!({})),
        calls("finish", &json!({ "result": "added" })),
        calls("finish", &json!({ "result": "added" })),
    ];
    script("small", fast.into());
    let settings = with_models(dir.path(), &server);
    let file = settings.models_file.clone().expect("a file");
    let text = std::fs::read_to_string(&file).expect("read");
    let large = "[models.large]\nprovider = 'own'\nid = 'large'\ncontext_tokens = 4000\n\
        output_tokens_max = 100\nprices = { input = '1000', output = '1000' }\n\
        [roles.careful]\nmodels = ['large']\nretries = 0\n";
    std::fs::write(file, text + large).expect("written");
    let host = Host::with(settings, &disk).await;
    host.prepare(&[]).await;
    let role = |role: &str| json!([{ "role": role }]);
    for (name, grants) in [
        (
            "planner",
            json!({ "models": role("careful"), "agents": [{ "agent": "react" }, { "agent": "verifier" }] }),
        ),
        (
            "react",
            json!({ "models": role("fast"), "tools": [{ "tool": "keeper/add" }] }),
        ),
        ("verifier", json!({ "models": role("careful") })),
    ] {
        let component = airlock_sandbox::testing::built(&format!("airlock_plugin_{name}"));
        install(&host.runtime, name, component).await;
        host.grant(name, grants).await;
    }
    let request = json!({ "agent": "planner", "goal": "Add two.",
        "input": { "verifier": "verifier", "criteria": [{ "id": "said", "text": "It says how many." }] },
        "budget": { "model_micros": 100 * BUDGET } });
    let request = serde_json::from_value(request).expect("a request");
    let run = host.runtime.start_run(&host.who, request).await;
    let ended = host.ended(&run.expect("it starts").id).await;
    let Some(End::Succeeded { output }) = &ended.end else {
        panic!("{ended:?}\n{:?}", server.seen())
    };
    assert!(output.contains("Two were added."), "{output}");
    assert_eq!(host.added().await, 2);
    let seen = server.seen();
    assert_eq!(seen.len(), 9);
    let told = seen.iter().any(|one| one.text.contains("Say how many."));
    assert!(told, "the judgement went back");
    let usage = host.runtime.model_usage(&ModelUsageQuery::default());
    let usage = usage.expect("usage");
    assert_eq!((usage.agents.len(), usage.all.requests), (3, 9));
    assert_eq!(
        ended.used.model_tokens, usage.all.tokens,
        "its children's too"
    );
}
