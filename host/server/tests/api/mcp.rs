//! The Model Context Protocol: what is offered, what a call is answered, what is
//! told meanwhile, in each version.

use airlock_runtime::Role;
use airlock_sandbox::testing::built;
use serde_json::{Value, json};

use crate::guests;
use crate::mcp_client::{CURRENT, Client, EARLIER, messages};
use crate::server::Server;

/// A server with `echo`.
async fn with_echo() -> Server {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    server
}

fn names(tools: &[Value]) -> Vec<&str> {
    let name = |tool: &'_ Value| tool["name"].as_str().map(str::to_owned);
    let names: Vec<Option<String>> = tools.iter().map(name).collect();
    assert!(names.iter().all(Option::is_some), "{tools:?}");
    tools
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_calls_the_same_tool() {
    let server = with_echo().await;
    let token = server.token("caller", &[Role::Caller], None).await;
    let input = json!({ "a": [1, "é"], "b": { "c": null } });
    let over_http = server
        .with(&token, "POST", "/v1/tools/echo/run", input.to_string())
        .await;
    let expect = over_http.json()["output"].clone();
    let mut clients = vec![Client::current(&server, &token)];
    for version in EARLIER {
        clients.push(Client::begin(&server, &token, version).await);
    }
    for client in &clients {
        let tools = client.tools().await;
        assert_eq!(names(&tools), ["echo__run"]);
        assert_eq!(tools[0]["inputSchema"]["type"], "object");
        let result = client.call("echo__run", input.clone()).await;
        assert_ne!(result["isError"], true, "{result}");
        assert_eq!(result["structuredContent"], expect, "{result}");
        let text = result["content"][0]["text"].as_str().expect("text");
        let text: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(text, expect);
        let call = result["_meta"]["airlock/call-id"].as_str();
        assert!(call.is_some_and(|id| id.starts_with("call_")), "{result}");
    }
    let current = &clients[0];
    let discovered = current.result("server/discover", json!({})).await;
    let versions = discovered["supportedVersions"].as_array().expect("a list");
    assert!(versions.contains(&json!(CURRENT)), "{discovered}");
    for absent in ["resources", "prompts", "completions"] {
        assert_eq!(discovered["capabilities"].get(absent), None, "{absent}");
    }
    let done = server.audited("call.done").await;
    assert_eq!(done.len(), 1 + clients.len());
    server.stopped().await;
}

/// What a token may not call is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_offered_what_it_may_call() {
    let server = with_echo().await;
    server.install("other", guests::echo_other()).await;
    server.install("prober", built("agent_prober")).await;
    let own = [
        "airlock__run_cancel",
        "airlock__run_status",
        "airlock__run_wait",
    ];
    let all = [&own[..], &["echo__run", "other__run", "prober"]].concat();
    type Case<'a> = (&'a [Role], Option<&'a [&'a str]>, &'a [&'a str]);
    let cases: [Case<'_>; 6] = [
        (&[Role::Admin], None, &all),
        (&[Role::Caller], None, &all),
        (&[Role::Caller], Some(&["echo"]), &["echo__run"]),
        (&[Role::Viewer], None, &own[1..]),
        (&[Role::Approver], None, &own[1..]),
        (&[Role::Operator], None, &own),
    ];
    for (roles, plugins, expect) in cases {
        let token = server.token("somebody", roles, plugins).await;
        let client = Client::current(&server, &token);
        let tools = client.tools().await;
        assert_eq!(names(&tools), expect, "{roles:?} {plugins:?}");
        for name in &all {
            let params = json!({ "name": name, "arguments": { "run": "run_x", "input": {} } });
            let (_, answer) = client.ask("tools/call", params).await;
            // Where there is an agent to start, a run is.
            let offered = answer["error"]["code"] != -32_602;
            let hidden = own.contains(name) && plugins.is_some();
            let expected = expect.contains(name) || hidden;
            assert_eq!(offered, expected, "{roles:?} {plugins:?} {name}: {answer}");
        }
    }
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn annotations_say_what_is_granted() {
    let server = with_echo().await;
    let token = server.token("caller", &[Role::Caller], None).await;
    let client = Client::current(&server, &token);
    let http = json!([{ "url": "https://a.test/*", "methods": ["GET"] }]);
    let table = [
        (json!({}), [false, false, false, false]),
        (
            json!({ "effects": { "run": "read-only" } }),
            [true, false, true, false],
        ),
        (
            json!({ "effects": { "run": "idempotent" } }),
            [false, false, true, false],
        ),
        (
            json!({ "effects": { "run": "destructive" }, "http": http }),
            [false, true, false, true],
        ),
    ];
    for (grants, expect) in table {
        server.grant("echo", grants.clone(), json!({})).await;
        let tools = client.tools().await;
        let hints = &tools[0]["annotations"];
        let found = [
            "readOnlyHint",
            "destructiveHint",
            "idempotentHint",
            "openWorldHint",
        ]
        .map(|hint| hints[hint].as_bool().expect("a hint"));
        assert_eq!(found, expect, "{grants}");
    }
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_comes_in_pages() {
    let server = Server::start().await;
    let mut expect = Vec::new();
    for number in 0..103 {
        let name = format!("echo{number:03}");
        server.install(&name, guests::echo()).await;
        expect.push(format!("{name}__run"));
    }
    let token = server.token("caller", &[Role::Caller], None).await;
    let client = Client::current(&server, &token);
    let first = client.result("tools/list", json!({})).await;
    assert_eq!(first["tools"].as_array().map(Vec::len), Some(100));
    assert_eq!(
        (&first["ttlMs"], &first["cacheScope"]),
        (&json!(0), &json!("private"))
    );
    let tools = client.tools().await;
    assert_eq!(names(&tools), expect);
    for bad in ["", "x", "%%%"] {
        let code = client.error("tools/list", json!({ "cursor": bad })).await;
        assert_eq!(code, -32_602, "{bad}");
    }
    server.stopped().await;
}

/// Each way a call ends that is no success: as a result, with its code.
#[tokio::test(flavor = "multi_thread")]
async fn failures_are_results_with_a_code() {
    let server = with_echo().await;
    let guests = [
        ("trap", guests::trap()),
        ("garbage", guests::garbage()),
        ("spin", guests::spin()),
        ("asks", guests::asks()),
    ];
    for (name, component) in guests {
        server.install(name, component).await;
    }
    server
        .grant("spin", json!({}), json!({ "cpu": "50ms" }))
        .await;
    server
        .grant("echo", json!({}), json!({ "input": "1KiB" }))
        .await;
    let current = Client::current(&server, &server.admin);
    let earlier = Client::begin(&server, &server.admin, EARLIER[0]).await;
    let large = json!({ "a": "x".repeat(2_000) });
    let table = [
        ("trap__run", json!({}), "permanent", false),
        ("garbage__run", json!({}), "permanent", false),
        ("spin__run", json!({}), "limit", false),
        ("echo__run", large, "input-too-large", false),
    ];
    for (name, arguments, code, retry) in table {
        for client in [&current, &earlier] {
            let result = client.call(name, arguments.clone()).await;
            assert_eq!(result["isError"], true, "{name}: {result}");
            let error = &result["_meta"]["airlock/error"];
            assert_eq!(
                (&error["code"], &error["retry"]),
                (&json!(code), &json!(retry)),
                "{name}"
            );
            assert_eq!(result.get("structuredContent"), None, "{name}");
            let text = result["content"][0]["text"].as_str().expect("text");
            assert!(text.starts_with(code), "{name}: {text}");
        }
    }
    // A denial does not fail this tool, and is told.
    let result = current.call("asks__run", json!({})).await;
    let denials = &result["_meta"]["airlock/denials"];
    assert_eq!(denials[0]["capability"], "config", "{result}");
    server
        .grant("echo", json!({}), json!({ "rate": "1/h" }))
        .await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        let result = current.call("echo__run", json!({})).await;
        codes.push(result["_meta"]["airlock/error"].clone());
    }
    let limited = codes.last().expect("three");
    assert_eq!(
        (&limited["code"], &limited["retry"]),
        (&json!("rate-limited"), &json!(true))
    );
    assert!(limited["retry_after_s"].as_u64() > Some(0), "{limited}");
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_of_a_call_come_in_its_meta() {
    let server = with_echo().await;
    let client = Client::current(&server, &server.admin);
    let keyed = |key: Value, arguments: Value| json!({ "name": "echo__run", "arguments": arguments, "_meta": { "airlock/idempotency-key": key } });
    let first = client
        .result("tools/call", keyed(json!("k"), json!({ "a": 1 })))
        .await;
    let again = client
        .result("tools/call", keyed(json!("k"), json!({ "a": 1 })))
        .await;
    let id = |result: &Value| result["_meta"]["airlock/call-id"].clone();
    assert_eq!(id(&first), id(&again), "it was made once");
    assert_eq!(again["_meta"]["airlock/replayed"], true);
    let over_http = server
        .send(
            "POST",
            "/v1/tools/echo/run",
            &[
                ("authorization", &format!("Bearer {}", server.admin)),
                ("idempotency-key", "k"),
            ],
            json!({ "a": 1 }).to_string(),
        )
        .await;
    assert_eq!(over_http.json()["call_id"], id(&first), "one key over both");
    let bad = [
        keyed(json!("k"), json!({ "a": 2 })),
        keyed(json!(1), json!({})),
        json!({ "name": "echo__run", "_meta": { "airlock/timeout-ms": 0 } }),
    ];
    let codes = ["idempotency-key-reused", "bad-meta", "bad-meta"];
    for (params, code) in bad.into_iter().zip(codes) {
        let result = client.result("tools/call", params.clone()).await;
        assert_eq!(result["_meta"]["airlock/error"]["code"], code, "{params}");
    }
    server.install("sleep", guests::sleep()).await;
    let short = json!({ "name": "sleep__run", "_meta": { "airlock/timeout-ms": 3000 } });
    let result = client.result("tools/call", short).await;
    assert_eq!(
        result["_meta"]["airlock/error"]["code"], "limit",
        "{result}"
    );
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_to_who_asks_for_it() {
    let server = Server::start().await;
    server.install("reports", guests::reports()).await;
    let current = Client::current(&server, &server.admin);
    let earlier = Client::begin(&server, &server.admin, EARLIER[0]).await;
    for client in [&current, &earlier] {
        let params = json!({ "name": "reports__run", "_meta": { "progressToken": "t" } });
        let (told, answer) = client.ask("tools/call", params).await;
        assert_ne!(answer["result"]["isError"], true, "{answer}");
        let mut last = 0.0;
        for notice in &told {
            assert_eq!(notice["method"], "notifications/progress", "{notice}");
            let params = &notice["params"];
            assert_eq!(
                (&params["progressToken"], &params["total"]),
                (&json!("t"), &json!(3.0))
            );
            let progress = params["progress"].as_f64().expect("a number");
            assert!(progress > last, "{told:?}");
            last = progress;
        }
        assert_eq!(last, 3.0, "{told:?}");
        let (told, _) = client
            .ask("tools/call", json!({ "name": "reports__run" }))
            .await;
        assert_eq!(told, Vec::<Value>::new(), "nobody asked");
    }
    server.stopped().await;
}

/// A call whose request is taken back is over at once, and on record as that.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_taken_back_ends_its_call() {
    let server = Server::start().await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "55s" }))
        .await;
    let none_in_flight = async || {
        server
            .eventually("no call in flight", async || {
                server.figure("airlock_calls_in_flight").await == 0
            })
            .await;
    };
    let params = json!({ "name": "sleep__run" });
    let earlier = Client::begin(&server, &server.admin, EARLIER[0]).await;
    let (mut stream, id) = earlier.open("tools/call", params.clone()).await;
    server.a_call_runs().await;
    let noted = earlier
        .note("notifications/cancelled", json!({ "requestId": id }))
        .await;
    assert_eq!(noted.status, 202);
    none_in_flight().await;
    let said = stream.rest().await;
    assert!(said.iter().all(|said| said["id"] != id), "{said:?}");

    // Without a session, by leaving.
    let current = Client::current(&server, &server.admin);
    tokio::select! {
        answer = current.post("tools/call", params) => panic!("it sleeps: {answer:?}"),
        () = server.a_call_runs() => {}
    }
    none_in_flight().await;
    server
        .eventually("both are on record", async || {
            server.audited("call.done").await.len() == 2
        })
        .await;
    for record in server.audited("call.done").await {
        assert_eq!(record["outcome"], "cancelled", "{record}");
    }
    server.stopped().await;
}

/// Both ways to hear of changes: a session's stream, a subscription.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_list_are_told() {
    let mut server = with_echo().await;
    let all = server.token("all", &[Role::Caller], None).await;
    let one = server.token("one", &[Role::Caller], Some(&["echo"])).await;
    let (sees, does_not) = (
        Client::begin(&server, &all, EARLIER[0]).await,
        Client::begin(&server, &one, EARLIER[0]).await,
    );
    let current = Client::current(&server, &all);
    let (mut sees, mut does_not) = (sees.listen().await, does_not.listen().await);
    assert_eq!((sees.status, does_not.status), (200, 200));
    let wants = json!({ "notifications": { "toolsListChanged": true } });
    let (mut subscribed, id) = current.open("subscriptions/listen", wants).await;
    let acknowledged = subscribed
        .until(|said| said["method"] == "notifications/subscriptions/acknowledged")
        .await;
    assert!(acknowledged.is_some());
    server.install("other", guests::echo_other()).await;
    let changed = |said: &Value| said["method"] == "notifications/tools/list_changed";
    assert!(sees.until(changed).await.is_some());
    let told = subscribed.until(changed).await.expect("told");
    let of = &told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(*of, json!(id), "{told}");
    server
        .grant(
            "echo",
            json!({ "effects": { "run": "read-only" } }),
            json!({}),
        )
        .await;
    assert!(does_not.until(changed).await.is_some(), "its own changes");
    server.stop();
    let counted = |said: Vec<Value>| said.iter().filter(|said| changed(said)).count();
    assert_eq!(counted(does_not.rest().await), 1, "another's did not");
    assert!(counted(sees.rest().await) >= 2);
    server.stopped().await;
}

/// What a tool writes is told at the level that was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_told_at_its_level() {
    let server = Server::start().await;
    server.install("fixture", built("mcp_fixture")).await;
    let token = &server.admin;
    let name = "fixture__test_tool_with_logging";
    let earlier = Client::begin(&server, token, EARLIER[0]).await;
    let set = earlier
        .result("logging/setLevel", json!({ "level": "debug" }))
        .await;
    assert_eq!(set, json!({}));
    let mut stream = earlier.listen().await;
    let call = json!({ "name": name, "arguments": {} });
    let result = earlier.result("tools/call", call.clone()).await;
    let logged = stream
        .until(|said| said["method"] == "notifications/message")
        .await
        .unwrap_or_else(|| panic!("no log of {result}"));
    assert!(
        logged["params"]["logger"]
            .as_str()
            .is_some_and(|of| of.starts_with("fixture/"))
    );
    let current = Client::current(&server, token);
    let (told, _) = current.ask("tools/call", call.clone()).await;
    assert!(told.is_empty(), "{told:?}");
    let mut quiet = call.clone();
    quiet["_meta"]["io.modelcontextprotocol/logLevel"] = json!("emergency");
    let mut loud = call;
    loud["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
    for (params, expect) in [(quiet, false), (loud, true)] {
        let answer = current.post("tools/call", params).await;
        let told = messages(&answer);
        let logs = told
            .iter()
            .any(|said| said["method"] == "notifications/message");
        assert_eq!(logs, expect, "{told:?}");
    }
    server.stopped().await;
}

/// A connection that breaks off ends nothing, and the answer is there for the client
/// that comes back, also when the call has ended meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_the_client_that_comes_back() {
    let server = Server::start().await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "1s" }))
        .await;
    let client = Client::begin(&server, &server.admin, EARLIER[0]).await;
    let params = json!({ "name": "sleep__run" });
    let (mut stream, id) = client.open("tools/call", params).await;
    let last = stream.event_id().await;
    drop(stream);
    server
        .eventually("the call is on record", async || {
            server.audited("call.done").await.len() == 1
        })
        .await;
    // Twice: what was sent may be lost again.
    for _ in 0..2 {
        server
            .eventually("the answer comes", async || {
                let mut resumed = client.resume(&last).await;
                let answer = resumed.until(|said| said["id"] == id).await;
                answer.is_some_and(|answer| answer["result"]["isError"] == true)
            })
            .await;
    }
    let other = Client::begin(&server, &server.admin, EARLIER[0]).await;
    assert_eq!(other.resume(&last).await.rest().await, Vec::<Value>::new());
    server.stopped().await;
}

/// An event without a message is of the newest version with sessions: clients of those
/// before take it for one.
#[tokio::test(flavor = "multi_thread")]
async fn events_without_a_message_go_to_those_who_know_them() {
    let server = with_echo().await;
    for version in EARLIER {
        let client = Client::begin(&server, &server.admin, version).await;
        let params = json!({ "name": "echo__run", "arguments": {} });
        let answer = client.post("tools/call", params).await;
        let text = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
        let primed = text.lines().any(|line| line.trim_end() == "data:");
        assert_eq!(primed, version == EARLIER[0], "{version}: {text}");
    }
    server.stopped().await;
}

/// What goes straight to the runtime is answered as what the protocol's own service
/// handles: only what names the call, and what it took, differs.
#[tokio::test(flavor = "multi_thread")]
async fn both_ways_give_the_same_answer() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    server.install("trap", guests::trap()).await;
    let client = Client::current(&server, &server.admin);
    let table = [
        ("echo__run", json!({ "a": [1, "é", null], "b": 1.5 })),
        ("echo__run", json!({})),
        ("trap__run", json!({})),
        ("echo__none", json!({})),
        ("none__run", json!({})),
        ("airlock__run_status", json!({ "run": "run_1" })),
    ];
    for (name, arguments) in table {
        let plain = json!({ "name": name, "arguments": arguments });
        // A trace is nothing that a call looks at, and not plain.
        let mut other = plain.clone();
        other["_meta"]["traceparent"] = json!("00-1-1-01");
        let mut answers = Vec::new();
        for params in [plain, other] {
            let answer = client.post("tools/call", params).await;
            let headers = answer.header("content-type").map(str::to_owned);
            let mut said = answer.json();
            said["id"] = Value::Null;
            for name in ["airlock/call-id", "airlock/usage"] {
                if let Some(meta) = said["result"]["_meta"].as_object_mut() {
                    assert!(
                        name != "airlock/call-id" || meta.get(name).is_none_or(Value::is_string)
                    );
                    meta.remove(name);
                }
            }
            answers.push((answer.status, headers, said));
        }
        assert_eq!(answers[0], answers[1], "{name}");
    }
    // There are two ways: one gives a tool its arguments as they were written, the other
    // as they were understood.
    for (trace, expect) in [(false, r#"{"b":1.50}"#), (true, r#"{"b":1.5}"#)] {
        let mut params = json!({ "name": "echo__run", "arguments": { "b": 1.5 } });
        if trace {
            params["_meta"]["traceparent"] = json!("00-1-1-01");
        }
        let written = client.post_written("tools/call", params, ["1.5", "1.50"]);
        let said = written.await.json();
        assert_eq!(said["result"]["content"][0]["text"], expect, "{said}");
    }
    server.stopped().await;
}

/// A session's own stream tells of changes however often it broke off, and was resumed.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_broke_off_twice_tells_again() {
    let server = Server::start().await;
    let client = Client::begin(&server, &server.admin, EARLIER[0]).await;
    let mut first = client.listen().await;
    let last = first.event_id().await;
    drop(first);
    drop(client.resume(&last).await);
    // The server sees that they are gone when it does.
    for round in 0..30 {
        let mut stream = client.listen().await;
        server
            .install(&format!("echo{round}"), guests::echo())
            .await;
        let told = stream.until(|said| said["method"] == "notifications/tools/list_changed");
        let told = tokio::time::timeout(std::time::Duration::from_secs(2), told).await;
        if matches!(told, Ok(Some(_))) {
            server.stopped().await;
            return;
        }
    }
    panic!("nothing is told any more");
}
