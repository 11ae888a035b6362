//! Calls: what is replied, what is recorded, what is refused before it starts.

use airlock_runtime::Role;
use serde_json::{Value, json};

use crate::guests;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_replies_output_and_usage_and_is_on_record() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let token = server
        .token("billing", &[Role::Caller], Some(&["echo"]))
        .await;
    let answer = server
        .with(&token, "POST", "/v1/tools/echo/run", r#"{"a": 1e3}"#)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains(r#""output":{"a": 1e3},"usage":{"#),
        "as the tool wrote it: {text}"
    );
    let body = answer.json();
    assert!(body["usage"]["wall_us"].as_u64().expect("a number") > 0);
    let records = server.audited("call.done").await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(
        (&record["principal"], &record["subject"]),
        (&json!("billing"), &json!("echo/run"))
    );
    assert_eq!(record["outcome"], "ok");
    assert_eq!(record["detail"]["call_id"], body["call_id"]);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_in_the_reply_and_on_record_and_a_grant_ends_it() {
    let server = Server::start().await;
    server.install("asks", guests::asks()).await;
    let denied = server.admin("POST", "/v1/tools/asks/run", "1").await.json();
    assert_eq!(denied["denials"][0]["capability"], "config", "{denied}");
    let records = server.audited("denied").await;
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(record["detail"]["operation"], "get color");
    assert_eq!(record["detail"]["call_id"], denied["call_id"]);
    let question = json!({ "capability": "config", "operation": "get color" }).to_string();
    let explained = server
        .admin("POST", "/v1/plugins/asks/explain", question.clone())
        .await
        .json();
    assert_eq!(explained["allowed"], false, "{explained}");
    server
        .grant(
            "asks",
            json!({ "config": [{ "key": "color", "value": "red" }] }),
            json!({}),
        )
        .await;
    let allowed = server.admin("POST", "/v1/tools/asks/run", "1").await.json();
    assert_eq!(allowed["denials"], Value::Null, "{allowed}");
    assert_eq!(
        allowed["usage"]["capabilities"][0]["allowed"], 1,
        "{allowed}"
    );
    let explained = server
        .admin("POST", "/v1/plugins/asks/explain", question)
        .await
        .json();
    assert_eq!(
        (&explained["allowed"], &explained["rule"]),
        (&json!(true), &json!(0))
    );
    let usage = server
        .admin("GET", "/v1/usage?plugin=asks", "")
        .await
        .json();
    let used: u64 = usage["usage"]
        .as_array()
        .expect("usage")
        .iter()
        .filter_map(|one| one["allowed"].as_u64())
        .sum();
    assert_eq!(used, 1, "{usage}");
    server.stopped().await;
}

/// What a plugin asks for can't be so long that what it used is left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_the_longest_denials_is_whole_on_record() {
    let server = Server::start().await;
    server.install("asks", guests::asks_much()).await;
    let answer = server.admin("POST", "/v1/tools/asks/run", "1").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let call = answer.json()["call_id"].clone();
    let record = server.audited("call.done").await.remove(0);
    let detail = &record["detail"];
    assert_eq!(detail["call_id"], call, "{detail}");
    // As many as are kept; further ones are counted.
    let mut denied = server.audited("denied").await;
    denied.retain(|denial| denial["detail"]["call_id"] == call);
    assert_eq!(denied.len(), 100);
    let target = "/v1/usage?plugin=asks";
    let usage = server.admin("GET", target, "").await.json();
    let of_grants = usage["usage"].as_array().expect("usage").iter();
    let denied: u64 = of_grants.filter_map(|one| one["denied"].as_u64()).sum();
    assert_eq!(denied, 101, "{usage}");
    server.stopped().await;
}

/// Begins a call with a grant, does `during` while it runs, and tells whether it
/// was denied.
async fn denied_after(during: impl AsyncFnOnce(&Server)) -> bool {
    let server = Server::start().await;
    server.install("asks", guests::asks_late()).await;
    let red = json!({ "config": [{ "key": "color", "value": "red" }] });
    server.grant("asks", red, json!({ "wall": "50s" })).await;
    let (answer, ()) = tokio::join!(server.admin("POST", "/v1/tools/asks/run", "1"), async {
        server.a_call_runs().await;
        during(&server).await;
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let denials = answer.json()["denials"].clone();
    server.stopped().await;
    denials[0]["capability"] == "config"
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_gone_for_calls_in_flight() {
    let (nothing, revoked, removed, upgraded) = tokio::join!(
        denied_after(async |_: &Server| {}),
        denied_after(async |server: &Server| {
            let answer = server.admin("DELETE", "/v1/plugins/asks/grants", "").await;
            assert_eq!(answer.status, 200);
        }),
        denied_after(async |server: &Server| {
            assert_eq!(
                server.admin("DELETE", "/v1/plugins/asks", "").await.status,
                200
            );
        }),
        denied_after(async |server: &Server| {
            // The call is of the version before; it must hear of it too.
            server.install("asks", guests::asks()).await;
            let answer = server.admin("DELETE", "/v1/plugins/asks/grants", "").await;
            assert_eq!(answer.status, 200);
        }),
    );
    assert_eq!(
        (nothing, revoked, removed, upgraded),
        (false, true, true, true)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_says_how() {
    let server = Server::start().await;
    let limits = json!({ "cpu": "100ms", "wall": "20s" });
    for (name, component, verdict) in [
        ("spin", guests::spin(), "504 limit"),
        ("trap", guests::trap(), "502 permanent"),
        ("garbage", guests::garbage(), "502 permanent"),
    ] {
        server.install(name, component).await;
        server.grant(name, json!({}), limits.clone()).await;
        let answer = server
            .admin("POST", &format!("/v1/tools/{name}/run"), "{}")
            .await;
        assert_eq!(answer.verdict(), verdict, "{name} {answer:?}");
        let problem = answer.json();
        assert!(
            problem["call_id"].is_string() && problem["usage"].is_object(),
            "{problem}"
        );
    }
    assert_eq!(server.audited("call.done").await.len(), 3);
    let stats = server.admin("GET", "/v1/stats", "").await.json();
    assert_eq!(
        stats["stats"].as_array().expect("stats").len(),
        3,
        "{stats}"
    );
    let calls = server.admin("GET", "/v1/calls?limit=2", "").await.json();
    assert_eq!(
        calls["calls"].as_array().expect("calls").len(),
        2,
        "{calls}"
    );
    let before = calls["next_before"].as_u64().expect("a cursor");
    let rest = server
        .admin("GET", &format!("/v1/calls?before={before}"), "")
        .await
        .json();
    assert_eq!(rest["calls"].as_array().expect("calls").len(), 1, "{rest}");
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_queue_and_time_are_bounded() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    server
        .grant("echo", json!({}), json!({ "rate": "2/h" }))
        .await;
    for _ in 0..2 {
        assert_eq!(
            server.admin("POST", "/v1/tools/echo/run", "1").await.status,
            200
        );
    }
    let limited = server.admin("POST", "/v1/tools/echo/run", "1").await;
    assert_eq!(limited.verdict(), "429 rate-limited");
    let wait: u64 = limited
        .header("retry-after")
        .expect("a time")
        .parse()
        .expect("a number");
    assert!((60..=3600).contains(&wait), "{wait}");
    server.install("sleep", guests::sleep()).await;
    server
        .grant(
            "sleep",
            json!({}),
            json!({ "concurrency": 1, "queue": 0, "wall": "50s" }),
        )
        .await;
    let bearer = format!("Bearer {}", server.admin);
    let slow = [
        ("authorization", bearer.as_str()),
        ("airlock-timeout-ms", "3000"),
    ];
    let (first, second) = tokio::join!(
        server.send("POST", "/v1/tools/sleep/run", &slow, "1"),
        async {
            server
                .eventually("a call runs", async || {
                    server.figure("airlock_calls_in_flight").await > 0
                })
                .await;
            server.admin("POST", "/v1/tools/sleep/run", "1").await
        }
    );
    assert_eq!(first.verdict(), "504 limit", "{first:?}");
    assert_eq!(first.json()["limit"], "wall");
    assert_eq!(second.verdict(), "429 plugin-busy");
    assert!(second.header("retry-after").is_some());
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_ends_its_call_and_the_record_says_so() {
    let server = Server::start().await;
    server.install("sleep", guests::sleep()).await;
    server
        .grant("sleep", json!({}), json!({ "wall": "55s" }))
        .await;
    tokio::select! {
        answer = server.admin("POST", "/v1/tools/sleep/run", "1") => panic!("it sleeps: {answer:?}"),
        () = server.a_call_runs() => {}
    }
    server
        .eventually("the call is on record", async || {
            let records = server.audited("call.done").await;
            records
                .iter()
                .any(|record| record["outcome"] == "cancelled")
        })
        .await;
    assert_eq!(server.figure("airlock_calls_in_flight").await, 0);
    server.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn principals_differ_and_are_opaque_to_the_audit_of_others() {
    let server = Server::start().await;
    server.install("echo", guests::echo()).await;
    let viewer = server
        .token("viewer", &[Role::Viewer], Some(&["other"]))
        .await;
    server.admin("POST", "/v1/tools/echo/run", "1").await;
    let calls = server.with(&viewer, "GET", "/v1/calls", "").await.json();
    assert_eq!(calls["calls"], json!([]), "outside its scope");
    server.stopped().await;
}
