//! Questions of runs: who sees them, who decides.

use airlock_runtime::Role;
use airlock_sandbox::testing::built;
use serde_json::json;

use crate::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_shown_to_and_decided_by_the_role_it_is_for() {
    let server = Server::start().await;
    for (name, guest) in [("prober", "agent_prober"), ("keeper", "keeper")] {
        server.install(name, built(guest)).await;
    }
    let kept = json!({ "kv": [{ "bucket": "kept", "bytes": "1MiB" }] });
    server.grant("keeper", kept, json!({})).await;
    let rule = json!({ "tool": "keeper/add", "approval": "always", "approver_role": "operator" });
    server
        .grant("prober", json!({ "tools": [rule] }), json!({}))
        .await;
    let starter = server
        .token("starter", &[Role::Caller, Role::Operator], None)
        .await;
    let step = json!({ "call": { "tool": "keeper/add", "input": {} } });
    let body = json!({ "agent": "prober", "input": { "steps": [step] } }).to_string();
    let run = server.with(&starter, "POST", "/v1/runs", body).await.json();
    let target = format!("/v1/approvals/{}.0", run["id"].as_str().expect("an id"));
    server
        .eventually("it is asked", async || {
            server.admin("GET", &target, "").await.status == 200
        })
        .await;

    let approve = json!({ "decision": "approve" }).to_string();
    let scoped: &[&str] = &["keeper"];
    // Role and scope: what it sees, how many are listed, what its decision gets.
    let table = [
        (Role::Viewer, None, "200", 1, "403 forbidden"),
        (Role::Caller, None, "403 forbidden", 9, "403 forbidden"),
        (
            Role::Approver,
            None,
            "404 approval-not-found",
            0,
            "403 approver-role",
        ),
        (
            Role::Operator,
            Some(scoped),
            "404 approval-not-found",
            0,
            "404 approval-not-found",
        ),
        (Role::Operator, None, "200", 1, "204"),
    ];
    for (role, plugins, shown, listed, decided) in table {
        let token = server.token("somebody", &[role], plugins).await;
        if role == Role::Operator && plugins.is_none() {
            let own = server
                .with(&starter, "POST", &target, approve.clone())
                .await;
            assert_eq!(own.verdict(), "403 own-approval");
        }
        let answer = server.with(&token, "GET", &target, "").await;
        assert_eq!(answer.verdict(), shown, "{role}");
        let list = server.with(&token, "GET", "/v1/approvals", "").await;
        if list.status == 200 {
            let list = list.json();
            let list = list["approvals"].as_array().expect("a list");
            assert_eq!(list.len(), listed, "{role}");
        }
        let answer = server.with(&token, "POST", &target, approve.clone()).await;
        assert_eq!(answer.verdict(), decided, "{role}");
    }
    let over = server.admin("POST", &target, approve).await;
    assert_eq!(over.verdict(), "404 approval-not-found");
    server.stopped().await;
}
