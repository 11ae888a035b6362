//! Documents of who is no agent: a tool's own, and what an administrator imports and
//! looks for.

use airlock_fake_models::{Reply, What};

use super::*;
use crate::host::audited;

/// A tool, as a component: the same through its interface; called as read-only it
/// reads alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_keeps_documents_of_its_own() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk).await;
    let grants = |class: &str| {
        json!({
            "memory": [{ "namespace": "agent", "access": "write", "documents": 1 }],
            "effects": { "documents": class },
        })
    };
    host.grant("keeper", grants("plain")).await;
    let call = async |step: Value| {
        let input = json!({ "request": step["memory"]["request"] });
        let call = ToolCall {
            log: false,
            plugin: "keeper".to_owned(),
            tool: "documents".to_owned(),
            input: input.to_string().into(),
            timeout: None,
            idempotency_key: None,
            stage: None,
        };
        let reply = host.runtime.call(&host.who, call).await.expect("a reply");
        serde_json::from_slice::<Value>(&reply.body).expect("JSON")
    };
    let reply = call(put("agent", "a", "of a tool")).await;
    assert_eq!(reply["output"], json!({ "version": 1 }), "{reply}");
    let found = call(search(&["agent"], "tool")).await;
    let hit = &found["output"]["hits"][0];
    assert_eq!(hit["provenance"]["plugin"], "keeper", "{found}");
    assert!(
        host.one(get("agent", "a")).await["ok"].is_null(),
        "not the agent's"
    );
    for (step, expect) in [
        (put("agent", "b", "one too many"), "its quota is 1"),
        (put("shared/team-a", "a", "x"), "no memory rule covers"),
        (get("run", "a"), "no memory rule covers"),
    ] {
        let reply = call(step.clone()).await;
        assert!(
            reply["detail"].to_string().contains(expect),
            "{step}: {reply}"
        );
        assert_eq!(reply["code"], "denied", "{reply}");
    }
    host.grant("keeper", grants("read-only")).await;
    assert_eq!(call(get("agent", "a")).await["output"]["text"], "of a tool");
    let reply = call(delete("agent", "a")).await;
    assert!(
        reply["detail"].to_string().contains("called as read-only"),
        "{reply}"
    );
}

/// Vectors that the host makes for an administrator: of what is imported and of what is
/// looked for, fused with words; what they cost is on record, and an agent finds by a
/// vector of its own.
#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_made_of_what_is_imported_and_looked_for() {
    let (dir, disk) = place();
    let vectors = || {
        What::Answer(Reply {
            dimensions: 3,
            ..Reply::default()
        })
    };
    let server = models::server((0..4).map(|_| vectors())).await;
    let host = Host::with(models::with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    let mut granted = rules();
    granted["models"] = json!([{ "role": "near" }]);
    host.grant("prober", granted).await;
    let file = |path: &str, text: &str| json!({ "path": path, "chunks": [{ "text": text, "source": { "lines": [1, 2] } }] });
    let request = json!({
        "namespace": "shared/handbook", "embed": "near",
        "files": [file("a.txt", "aaaa"), file("z.txt", "zzzzzzzz")],
    });
    let import: airlock_runtime::MemoryImport = serde_json::from_value(request).expect("a request");
    let said = host.runtime.import_memory(&host.who, import).await;
    assert_eq!(said.expect("imported").files.len(), 2);
    let looked = |text: &str, embed: bool| MemorySearch {
        namespaces: vec!["shared/handbook".to_owned()],
        text: Some(text.to_owned()),
        embed: embed.then(|| "near".to_owned()),
        limit: 1,
        ..MemorySearch::default()
    };
    let words = host
        .runtime
        .search_memory(&host.who, looked("aaab", false))
        .await;
    assert!(words.expect("a search").hits.is_empty(), "no such word");
    let near = host
        .runtime
        .search_memory(&host.who, looked("aaab", true))
        .await;
    let near = near.expect("a search").hits;
    assert_eq!(near[0].entry.id, "a.txt#00001");
    assert_eq!(
        near[0].entry.source.as_ref().expect("a source").uri,
        "a.txt"
    );
    let embedded = audited(&host.runtime, "admin.memory.embed").await;
    assert_eq!(embedded.len(), 2, "{embedded:?}");
    let run = host
        .start(json!([{ "embed": { "role": "near", "text": "aaac" } }]))
        .await;
    let vector = host.results(&run).await[0]["ok"][0].clone();
    let step = ask(json!({ "op": "search", "namespaces": ["shared/handbook"], "vector": vector }));
    let hits = host.one(step).await;
    assert_eq!(hits["ok"]["hits"][0]["id"], "a.txt#00001", "{hits}");
    let wrong = ask(json!({ "op": "search", "namespaces": ["shared/handbook"], "vector": [1.0] }));
    let told = host.one(wrong).await["error"].to_string();
    assert!(told.contains("has vectors of 3"), "{told}");
}
