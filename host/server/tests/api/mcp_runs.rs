//! Agents as tools, and the questions that their runs ask people.

use airlock_runtime::Role;
use airlock_sandbox::testing::built;
use serde_json::{Value, json};

use crate::mcp_client::{Client, EARLIER};
use crate::server::Server;

/// With the agent `prober`, and `keeper`, whose tool it has to ask for.
async fn with_agent() -> Server {
    let server = Server::start().await;
    for (name, guest) in [("prober", "agent_prober"), ("keeper", "keeper")] {
        server.install(name, built(guest)).await;
    }
    let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }] });
    server.grant("keeper", kept, json!({})).await;
    let rule = json!({ "tool": "keeper/add", "approval": "always" });
    server
        .grant("prober", json!({ "tools": [rule] }), json!({}))
        .await;
    server
}

fn steps(steps: Value) -> Value {
    json!({ "input": { "steps": steps }, "wait_seconds": 60 })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_a_tool_that_starts_runs() {
    let server = with_agent().await;
    let token = server.token("anna", &[Role::Caller], None).await;
    let other = server.token("ben", &[Role::Caller], None).await;
    let current = Client::current(&server, &token);
    let earlier = Client::begin(&server, &token, EARLIER[0]).await;
    for client in [&current, &earlier] {
        let mut params = json!({
            "name": "prober",
            "arguments": steps(json!([{ "tell": { "text": "hello" } }])),
        });
        params["_meta"]["progressToken"] = json!(7);
        let (told, answer) = client.ask("tools/call", params).await;
        let run = &answer["result"]["structuredContent"];
        assert_eq!(run["status"], "succeeded", "{answer}");
        let progress: Vec<f64> = told
            .iter()
            .filter_map(|said| said["params"]["progress"].as_f64())
            .collect();
        assert!(!progress.is_empty() && progress.is_sorted(), "{told:?}");
    }
    // One that goes on is followed by its id, and by nobody else.
    let waits =
        json!({ "input": { "steps": [{ "signal": { "name": "go" } }] }, "wait_seconds": 0 });
    let started = current.call("prober", waits).await;
    let run = started["structuredContent"]["run"]
        .as_str()
        .expect("a run")
        .to_owned();
    assert_ne!(started["isError"], true, "{started}");
    let status = current
        .call("airlock__run_status", json!({ "run": run }))
        .await;
    assert_ne!(status["structuredContent"]["status"], "succeeded");
    let stranger = Client::current(&server, &other);
    for tool in [
        "airlock__run_status",
        "airlock__run_wait",
        "airlock__run_cancel",
    ] {
        let result = stranger.call(tool, json!({ "run": run })).await;
        assert_eq!(
            result["_meta"]["airlock/error"]["code"], "run-not-found",
            "{tool}"
        );
    }
    let wait = current.call(
        "airlock__run_wait",
        json!({ "run": run, "wait_seconds": 60 }),
    );
    let signal = async {
        let target = format!("/v1/runs/{run}/signals/go");
        let answer = server.with(&token, "POST", &target, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let (waited, ()) = tokio::join!(wait, signal);
    assert_eq!(
        waited["structuredContent"]["status"], "succeeded",
        "{waited}"
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_fail_end_and_start_once() {
    let server = with_agent().await;
    let client = Client::current(&server, &server.admin);
    let failed = client
        .call("prober", steps(json!([{ "fail": { "text": "no" } }])))
        .await;
    assert_eq!(failed["isError"], true, "{failed}");
    assert_eq!(failed["structuredContent"]["status"], "failed");
    let waits =
        json!({ "input": { "steps": [{ "signal": { "name": "go" } }] }, "wait_seconds": 0 });
    let mut params = json!({ "name": "prober", "arguments": waits });
    params["_meta"]["airlock/idempotency-key"] = json!("k");
    let run = async || {
        let result = client.result("tools/call", params.clone()).await;
        result["structuredContent"]["run"]
            .as_str()
            .expect("a run")
            .to_owned()
    };
    let first = run().await;
    assert_eq!(first, run().await, "it was started once");
    let mut other = params.clone();
    other["arguments"]["goal"] = json!("another");
    let reused = client.result("tools/call", other).await;
    let code = &reused["_meta"]["airlock/error"]["code"];
    assert_eq!(*code, "idempotency-key-reused");
    let ended = client
        .call(
            "airlock__run_cancel",
            json!({ "run": first, "why": "enough" }),
        )
        .await;
    assert_ne!(ended["isError"], true, "{ended}");
    let waited = client
        .call(
            "airlock__run_wait",
            json!({ "run": first, "wait_seconds": 60 }),
        )
        .await;
    assert_eq!(
        waited["structuredContent"]["status"], "cancelled",
        "{waited}"
    );
    let table = [
        ("prober", json!({ "gaol": 1 })),
        ("prober", json!({ "wait_seconds": 1e9 })),
        ("airlock__run_wait", json!({})),
        ("airlock__run_cancel", json!({ "run": 1 })),
    ];
    for (name, arguments) in table {
        let result = client.call(name, arguments.clone()).await;
        let code = &result["_meta"]["airlock/error"]["code"];
        assert_eq!(*code, "invalid-input", "{name} {arguments}");
    }
    server.stopped().await;
}

/// A run of `starter` that asks whether it may call `keeper/add`.
async fn asking(server: &Server, starter: &str) -> String {
    let body = json!({
        "agent": "prober",
        "input": { "steps": [{ "call": { "tool": "keeper/add", "input": {} } }] },
    });
    let run = server
        .with(starter, "POST", "/v1/runs", body.to_string())
        .await;
    let id = run.json()["id"].as_str().expect("an id").to_owned();
    let target = format!("/v1/approvals/{id}.0");
    server
        .eventually("it is asked", async || {
            server.admin("GET", &target, "").await.status == 200
        })
        .await;
    id
}

/// Who is asked: those who may decide, where their client can ask them.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_offered_to_those_who_may_decide_it() {
    let server = with_agent().await;
    let starter = server
        .token("starter", &[Role::Caller, Role::Approver], None)
        .await;
    let run = asking(&server, &starter).await;
    let can = json!({ "elicitation": { "form": {} } });
    let cases: [(&str, &[Role], Value, bool); 6] = [
        ("a", &[Role::Approver], json!({}), false),
        ("b", &[Role::Viewer], can.clone(), false),
        ("c", &[Role::Operator], can.clone(), false),
        // Whoever started it does not approve it.
        ("starter", &[Role::Approver], can.clone(), false),
        (
            "d",
            &[Role::Approver],
            json!({ "elicitation": { "url": {} } }),
            false,
        ),
        ("e", &[Role::Approver], can.clone(), true),
    ];
    for (name, roles, capabilities, expect) in cases {
        let token = server.token(name, roles, None).await;
        let mut client = Client::current(&server, &token);
        client.capabilities = capabilities;
        let result = client
            .call(
                "airlock__run_wait",
                json!({ "run": run, "wait_seconds": 0 }),
            )
            .await;
        let asked = result["resultType"] == "input_required";
        assert_eq!(asked, expect, "{name} {roles:?}: {result}");
    }
    server.stopped().await;
}

/// The current version: the question comes as a result, the answer with the
/// request made again.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_decides_by_asking_again_with_the_answer() {
    let server = with_agent().await;
    let starter = server.token("starter", &[Role::Caller], None).await;
    let token = server.token("person", &[Role::Approver], None).await;
    let stranger = server.token("stranger", &[Role::Approver], None).await;
    let mut client = Client::current(&server, &token);
    client.capabilities = json!({ "elicitation": {} });
    let run = asking(&server, &starter).await;
    let arguments = json!({ "run": run, "wait_seconds": 60 });
    let asked = client.call("airlock__run_wait", arguments.clone()).await;
    let question = &asked["inputRequests"]["question"];
    assert_eq!(question["method"], "elicitation/create", "{asked}");
    let choices = &question["params"]["requestedSchema"]["properties"]["decision"]["enum"];
    assert_eq!(*choices, json!(["approve", "deny"]));
    let state = asked["requestState"].as_str().expect("a state").to_owned();
    let answer = |state: &str, action: &str, decision: &str| {
        json!({
            "name": "airlock__run_wait", "arguments": { "run": run, "wait_seconds": 60 },
            "requestState": state,
            "inputResponses": { "question": {
                "action": action, "content": { "decision": decision, "note": "seen" },
            } },
        })
    };
    // A state that was changed, or is another's, decides nothing.
    let at = state.len() / 2;
    let other = if state.as_bytes()[at] == b'A' {
        'B'
    } else {
        'A'
    };
    let forged = format!("{}{other}{}", &state[..at], &state[at + 1..]);
    let code = client
        .error("tools/call", answer(&forged, "accept", "approve"))
        .await;
    assert_eq!(code, -32_602);
    let mut other = Client::current(&server, &stranger);
    other.capabilities = json!({ "elicitation": {} });
    let code = other
        .error("tools/call", answer(&state, "accept", "approve"))
        .await;
    assert_eq!(code, -32_602);
    // Not deciding leaves it open, and does not ask at once again.
    let mut later = answer(&state, "decline", "");
    later["arguments"]["wait_seconds"] = json!(0);
    let left = client.result("tools/call", later).await;
    assert_ne!(left["structuredContent"]["status"], "succeeded", "{left}");
    let wrong = client
        .result("tools/call", answer(&state, "accept", "perhaps"))
        .await;
    assert_eq!(
        wrong["_meta"]["airlock/error"]["code"], "invalid-request",
        "{wrong}"
    );
    assert_eq!(wrong["_meta"]["airlock/run"], run, "{wrong}");
    let decided = client
        .result("tools/call", answer(&state, "accept", "approve"))
        .await;
    assert_eq!(
        decided["structuredContent"]["status"], "succeeded",
        "{decided}"
    );
    let records = server.audited("admin.approval.decide").await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["principal"], "person", "{records:?}");
    assert_eq!(records[0]["detail"]["note"], "seen");
    server.stopped().await;
}

/// Earlier versions: the server asks while the request is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_decides_while_the_request_waits() {
    let server = with_agent().await;
    let starter = server.token("starter", &[Role::Caller], None).await;
    let token = server.token("person", &[Role::Approver], None).await;
    let can = json!({ "elicitation": {} });
    let client = Client::begin_with(&server, &token, EARLIER[0], can).await;
    // What is no answer decides nothing, and the client keeps the run.
    for content in [json!({}), json!({ "decision": "perhaps" })] {
        let run = asking(&server, &starter).await;
        let params = json!({
            "name": "airlock__run_wait", "arguments": { "run": run, "wait_seconds": 1 },
        });
        let (mut stream, id) = client.open("tools/call", params).await;
        let asked = stream.until(|said| said["method"] == "elicitation/create");
        let asked = asked.await.expect("it is asked");
        let reply = json!({ "action": "accept", "content": content });
        assert_eq!(client.reply(&asked["id"], reply).await.status, 202);
        let answer = stream.until(|said| said["id"] == id && said.get("result").is_some());
        let result = answer.await.expect("an answer")["result"].clone();
        assert_eq!(
            result["structuredContent"]["run"], run,
            "{content}: {result}"
        );
        assert_ne!(result["isError"], true, "{content}: {result}");
    }
    for (decision, denied) in [("approve", false), ("deny", true)] {
        let run = asking(&server, &starter).await;
        let params = json!({
            "name": "airlock__run_wait", "arguments": { "run": run, "wait_seconds": 60 },
        });
        let (mut stream, id) = client.open("tools/call", params).await;
        let asked = stream
            .until(|said| said["method"] == "elicitation/create")
            .await
            .expect("it is asked");
        let message = asked["params"]["message"].as_str().expect("text");
        assert!(message.contains("keeper/add"), "{message}");
        let content = json!({ "decision": decision });
        let reply = json!({ "action": "accept", "content": content });
        let taken = client.reply(&asked["id"], reply).await;
        assert_eq!(taken.status, 202, "{taken:?}");
        let answer = stream
            .until(|said| said["id"] == id && said.get("result").is_some())
            .await;
        let answer = answer.expect("an answer");
        let run = &answer["result"]["structuredContent"];
        // The agent is told, and goes on.
        assert_eq!(run["status"], "succeeded", "{decision}: {answer}");
        let told = run["output"].to_string();
        assert_eq!(
            told.contains("a person said no"),
            denied,
            "{decision}: {told}"
        );
    }
    server.stopped().await;
}

/// An agent's own question, to whoever started its run: the request that is made
/// again with the answer starts no other run.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_asks_is_started_once() {
    let server = with_agent().await;
    let token = server
        .token("anna", &[Role::Caller, Role::Approver], None)
        .await;
    let mut client = Client::current(&server, &token);
    client.capabilities = json!({ "elicitation": {} });
    let step = json!({ "ask": { "text": "Which?", "choices": ["this", "that"] } });
    let params = json!({ "name": "prober", "arguments": steps(json!([step])) });
    let asked = client.result("tools/call", params.clone()).await;
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let question = &asked["inputRequests"]["question"]["params"];
    let message = question["message"].as_str().expect("text");
    assert!(message.contains("Which?"), "{message}");
    let mut again = params;
    again["requestState"] = asked["requestState"].clone();
    again["inputResponses"] = json!({
        "question": { "action": "accept", "content": { "decision": "that" } },
    });
    let done = client.result("tools/call", again.clone()).await;
    let run = &done["structuredContent"];
    assert_eq!(run["status"], "succeeded", "{done}");
    assert!(run["output"].to_string().contains("that"), "{run}");
    // The answer that comes twice finds the run as it ended.
    let twice = client.result("tools/call", again).await;
    assert_eq!(twice["structuredContent"]["run"], run["run"], "{twice}");
    let started = server.audited("admin.run.start").await;
    assert_eq!(started.len(), 1, "{started:?}");
    server.stopped().await;
}
