//! What is allowed, and to which of a plugin's tools.

use airlock_runtime::{ExplainRequest, Failure};
use serde_json::json;

use crate::host::{Host, place};

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_is_not_for_tools_that_only_read() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let explain = |operation: &str, tool: Option<&str>| {
        let request = ExplainRequest {
            capability: "kv".to_owned(),
            operation: operation.to_owned(),
            tool: tool.map(str::to_owned),
        };
        host.runtime.explain(&host.who, "keeper", &request)
    };
    for (operation, tool, allowed, not_for) in [
        ("get kept k", None, true, json!([])),
        ("set kept k", None, true, json!(["get"])),
        ("set other k", None, false, json!([])),
        ("set kept k", Some("put"), true, json!([])),
        ("set kept k", Some("get"), false, json!([])),
        ("get kept k", Some("get"), true, json!([])),
    ] {
        let explained = explain(operation, tool).expect("it can be read");
        assert_eq!(explained.allowed, allowed, "{tool:?}: {explained:?}");
        assert_eq!(json!(explained.not_for), not_for, "{tool:?}: {explained:?}");
    }
    let unknown = explain("get kept k", Some("gte")).expect_err("no such tool");
    assert_eq!(unknown.code(), "invalid-grants");
    // Where all its tools only read, it is for none.
    let tools = ["add", "documents", "fail", "get", "put"];
    let only: serde_json::Map<_, _> = tools
        .map(|tool| (tool.to_owned(), json!("read-only")))
        .into_iter()
        .collect();
    host.grant(
        "keeper",
        json!({ "kv": [{ "bucket": "kept" }], "effects": only }),
    )
    .await;
    let explained = explain("set kept k", None).expect("it can be read");
    assert!(
        !explained.allowed && explained.not_for.is_empty(),
        "{explained:?}"
    );
}
