//! Agents that call tools of an MCP server: the same journal, the same care for
//! effects that may have happened.

use airlock::commands::install;
use airlock_tests::component;
use airlock_tests::runs::Desk;
use serde_json::{Value, json};

use crate::{Host, can_start, counted, wait_for};

fn with_agent() -> Host {
    let host = Host::with_notes();
    let bytes = std::fs::read(component("agent-prober")).expect("a component");
    install(&host.api(), "prober", bytes, None).expect("installed");
    host.set(
        "notes",
        json!({
            "limits": { "wall": "60s" },
            "grants": { "effects": { "count": "plain", "wait": "plain", "look": "idempotent" } },
        }),
    );
    host.set(
        "prober",
        json!({ "grants": { "tools": [{ "tool": "notes/*" }] } }),
    );
    host
}

fn start(host: &Host, steps: Value) -> String {
    let body = json!({ "agent": "prober", "goal": "test", "input": { "steps": steps } });
    let (status, run) = host.ask("POST", "/v1/runs", &body);
    assert_eq!(status, 201, "{run}");
    run["id"].as_str().expect("an id").to_owned()
}

fn show(host: &Host, id: &str) -> Value {
    host.api().get(&format!("/v1/runs/{id}")).expect("a run")
}

fn ended(host: &Host, id: &str) -> Value {
    wait_for("the run ends", || show(host, id).get("end").is_some());
    show(host, id)
}

fn call(tool: &str, input: Value) -> Value {
    json!({ "call": { "tool": tool, "input": input } })
}

#[test]
fn an_agent_calls_what_it_was_granted_and_a_replay_calls_nothing() {
    if !can_start() {
        return;
    }
    let host = with_agent();
    let id = start(
        &host,
        json!([
            call("notes/count", json!({})),
            call("notes/add", json!({ "a": 1, "b": 2 }))
        ]),
    );
    let run = ended(&host, &id);
    assert_eq!(run["end"]["state"], "succeeded", "{run}");
    assert!(run.to_string().contains("sum"), "{run}");
    assert_eq!(counted(&host.own("notes")), 1);
    let of_run = host.audited("call.done");
    let of_run = of_run.iter().filter(|call| call["detail"]["run"] == *id);
    assert_eq!(of_run.count(), 2);
    let (status, replay) = host.ask("POST", &format!("/v1/runs/{id}/replay"), &json!({}));
    assert_eq!(status, 200, "{replay}");
    assert_eq!(counted(&host.own("notes")), 1, "a replay reaches no server");
    assert_eq!(host.audited("call.done").len(), 2);
    // What it was not granted is denied as any tool.
    host.set(
        "prober",
        json!({ "grants": { "tools": [{ "tool": "notes/add" }] } }),
    );
    let id = start(&host, json!([call("notes/count", json!({}))]));
    let run = ended(&host, &id);
    assert!(run.to_string().contains("denied"), "{run}");
    assert_eq!(counted(&host.own("notes")), 1);
}

#[test]
fn a_call_that_a_crash_cut_off_is_unknown_where_it_may_not_be_repeated() {
    if !can_start() {
        return;
    }
    for (class, repeated) in [("plain", false), ("idempotent", true)] {
        let mut host = with_agent();
        host.set(
            "notes",
            json!({
                "limits": { "wall": "60s" }, "grants": { "effects": { "wait": class } },
            }),
        );
        let id = start(&host, json!([call("notes/wait", json!({ "ms": 1_500 }))]));
        let began = host.own("notes").join("began");
        wait_for("the call begins", || began.exists());
        host.kill();
        std::fs::remove_file(&began).expect("it was there");
        host.start();
        match repeated {
            true => {
                let run = ended(&host, &id);
                assert_eq!(run["end"]["state"], "succeeded", "{run}");
                assert!(run.to_string().contains("waited"), "{run}");
                assert!(began.exists(), "it was asked again");
            }
            false => {
                wait_for("it waits for a person", || {
                    show(&host, &id).get("blocked").is_some()
                });
                let run = show(&host, &id);
                assert!(run["blocked"].to_string().contains("unknown"), "{run}");
                assert!(!began.exists(), "it was not asked again");
            }
        }
    }
}

#[test]
fn who_approves_a_call_is_told_that_it_is_not_sandboxed() {
    if !can_start() {
        return;
    }
    let host = with_agent();
    host.set(
        "prober",
        json!({ "grants": { "tools": [{ "tool": "notes/*", "approval": "always" }] } }),
    );
    let desk = Desk::new(host.server()).expect("a desk");
    let id = start(&host, json!([call("notes/count", json!({}))]));
    let asked = || desk.approver.get("/v1/approvals").expect("approvals")["approvals"][0].clone();
    wait_for("it is asked for", || asked().is_object());
    let question = asked();
    assert_eq!(question["sandboxed"], false, "{question}");
    assert_eq!(question["tool"], "notes/count", "{question}");
    assert!(
        question["text"]
            .as_str()
            .expect("a text")
            .contains("not sandboxed"),
        "{question}"
    );
    assert_eq!(counted(&host.own("notes")), 0);
    // Whatever was asked for under other words is not called.
    host.says("renew", json!({ "text": "Gives back its text" }));
    let (status, reply) = {
        let path = format!("/v1/approvals/{}", question["id"].as_str().expect("an id"));
        let body = json!({ "decision": "approve", "binding": question["binding"] });
        let sent = airlock::client::Request::json("POST", path, &body);
        let reply = desk.approver.send(&sent).expect("a reply");
        (
            reply.status,
            String::from_utf8_lossy(&reply.body).into_owned(),
        )
    };
    assert!(status < 300, "{status} {reply}");
    let run = ended(&host, &id);
    assert_eq!(run["end"]["state"], "succeeded", "{run}");
    assert_eq!(counted(&host.own("notes")), 1);
}
