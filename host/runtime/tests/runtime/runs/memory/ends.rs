//! What is told of changes that were cut off, and of a memory that nobody has used.

use airlock_runtime::HaltRequest;

use super::*;

/// The host dies at each write of a change, and the run is cancelled as it is taken up:
/// what happened is told, whoever is first, and nothing is unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_cut_off_and_cancelled_is_told_as_it_was() {
    let (dir, disk) = place();
    drop(host(dir.path(), &disk).await);
    let (mut happened, mut not) = (0, 0);
    let faults = |n| [Fault::Write { n }, Fault::Sync { n }];
    for (at, fault) in (0..5).flat_map(faults).enumerate() {
        let first = Host::again(dir.path(), &disk).await;
        let id = format!("doc-{at}");
        let wait = json!({ "signal": { "name": "go" } });
        let run = first
            .start(json!([wait, put("shared/team-a", &id, "x")]))
            .await;
        first.until(&run, |run| run.waits_for.len() == 1).await;
        first.store.inject(fault);
        let go = json!(1);
        // The write that fails may be its own.
        let _ = first.runtime.signal_run(&first.who, &run, "go", &go).await;
        first
            .until(&run, |run| {
                run.end.is_some() || first.runtime.ready().is_err()
            })
            .await;
        drop(first);
        let second = Host::open(dir.path(), &disk).await;
        halt(&second, true).await;
        second.runtime.take_up_runs().await.expect("they are read");
        if second.run(&run).end.is_some() {
            halt(&second, false).await;
            continue;
        }
        let cancel = second.runtime.cancel_run(&second.who, &run, "enough");
        cancel.await.expect("it is cancelled");
        // Whoever makes the change and whoever ends it go on at once.
        halt(&second, false).await;
        let end = second.ended(&run).await.end;
        let Some(End::Cancelled { unknown }) = &end else {
            panic!("{fault:?}: {end:?}")
        };
        assert!(unknown.is_empty(), "{fault:?}: {unknown:?}");
        let page = second.runtime.run_events(&second.who, &run, 0, 1_000);
        let events = page.expect("reads").events.into_iter();
        let events: Vec<Value> = events
            .map(|event| serde_json::to_value(event).expect("JSON"))
            .collect();
        let answers = events.iter().filter(|event| event["event"] == "answered");
        let told: Vec<String> = answers.map(|event| event["answer"].to_string()).collect();
        let there = second
            .runtime
            .memory_document(&second.who, "shared/team-a", &id)
            .await
            .is_ok();
        let told = told.join(" ");
        assert_eq!(told.contains("version"), there, "{fault:?}: {events:?}");
        happened += u32::from(there);
        not += u32::from(!there);
    }
    assert!(
        happened > 0 && not > 0,
        "{happened} happened, {not} did not"
    );
}

async fn halt(host: &Host, halted: bool) {
    let request = HaltRequest {
        halted,
        ..HaltRequest::default()
    };
    host.runtime
        .halt(&host.who, request)
        .await
        .expect("it is on record");
}

/// Nobody opens a memory by looking at nothing: not an agent, and no administrator.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_an_unused_memory_makes_nothing() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk).await;
    let list = ask(json!({ "op": "list", "namespace": "agent" }));
    for (step, expect) in [
        (get("agent", "n"), Value::Null),
        (list, json!({ "entries": [] })),
        (search(&["agent", "run"], "x"), json!({ "hits": [] })),
    ] {
        assert_eq!(host.one(step.clone()).await["ok"], expect, "{step}");
    }
    let none = ask(json!({ "op": "list", "namespace": "agent", "limit": 0 }));
    let told = host.one(none).await["error"].to_string();
    assert!(told.contains("limit: it is 0"), "{told}");
    assert!(host.namespaces().await.is_empty());
    assert!(host.found("shared/handbook", "x").await.is_empty());
    let (runtime, who) = (&host.runtime, &*host.who);
    let query = DocumentsQuery {
        limit: 1,
        ..DocumentsQuery::default()
    };
    let told = [
        runtime
            .memory_documents(who, "shared/handbook", query)
            .await
            .map(drop),
        runtime
            .delete_memory_namespace(who, "shared/handbook", "over")
            .await
            .map(drop),
        runtime
            .memory_document(who, "shared/handbook", "a")
            .await
            .map(drop),
        runtime
            .delete_memory_document(who, "shared/handbook", "a", (None, "over"))
            .await,
    ];
    let codes = told.map(|told| told.expect_err("there is none").code());
    assert_eq!(
        codes,
        [
            "namespace-not-found",
            "namespace-not-found",
            "document-not-found",
            "document-not-found"
        ]
    );
    let folder = dir.path().join("data/memory");
    assert!(!folder.exists(), "nothing is made");
    host.one(put("agent", "n", "x")).await;
    assert!(folder.is_dir());
}
