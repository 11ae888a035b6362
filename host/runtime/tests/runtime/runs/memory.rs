//! Agents and tools that keep documents: what they may, what becomes of it wherever
//! the host dies, and what is gone when it has to be.

mod ends;
mod outside;

use airlock_journal::Store;
use airlock_runtime::{DocumentsQuery, ErasedData, MemoryFailure, MemoryQuery, MemorySearch};

use super::*;

fn ask(request: Value) -> Value {
    json!({ "memory": { "request": request } })
}

fn put(namespace: &str, id: &str, text: &str) -> Value {
    ask(json!({ "op": "put", "namespace": namespace, "document": { "id": id, "text": text } }))
}

fn get(namespace: &str, id: &str) -> Value {
    ask(json!({ "op": "get", "namespace": namespace, "id": id }))
}

fn delete(namespace: &str, id: &str) -> Value {
    ask(json!({ "op": "delete", "namespace": namespace, "id": id }))
}

fn search(namespaces: &[&str], text: &str) -> Value {
    ask(json!({ "op": "search", "namespaces": namespaces, "text": text }))
}

fn rules() -> Value {
    json!({
        "tools": [{ "tool": "keeper/*" }], "agents": [{ "agent": "prober" }],
        "memory": [
            { "namespace": "run", "access": "write" },
            { "namespace": "agent", "access": "write", "documents": 200 },
            { "namespace": "shared/handbook" },
            { "namespace": "shared/team-*", "access": "write", "ttl": "1h" },
        ],
    })
}

async fn host(dir: &Path, disk: &Disk) -> Host {
    let host = Host::with_agent(dir, disk, &[]).await;
    host.grant("prober", rules()).await;
    host
}

impl Host {
    /// What one step gives, by itself.
    async fn one(&self, step: Value) -> Value {
        let run = self.start(json!([step])).await;
        self.results(&run).await[0].clone()
    }

    async fn namespaces(&self) -> Vec<String> {
        let page = self
            .runtime
            .memory_namespaces(&self.who, query(1_000))
            .await;
        let all = page.expect("they are listed").namespaces.into_iter();
        all.map(|view| view.namespace).collect()
    }

    async fn ids(&self, namespace: &str) -> Vec<String> {
        let query = DocumentsQuery {
            limit: 1_000,
            ..DocumentsQuery::default()
        };
        let page = self
            .runtime
            .memory_documents(&self.who, namespace, query)
            .await;
        let all = page.expect(namespace).documents.into_iter();
        all.map(|entry| entry.id).collect()
    }

    async fn found(&self, namespace: &str, text: &str) -> Vec<String> {
        let search = MemorySearch {
            namespaces: vec![namespace.to_owned()],
            text: Some(text.to_owned()),
            limit: 10,
            ..MemorySearch::default()
        };
        let found = self.runtime.search_memory(&self.who, search).await;
        let hits = found.expect("a search").hits.into_iter();
        hits.map(|hit| hit.entry.id).collect()
    }

    /// An administrator writes a document.
    async fn filled(&self, namespace: &str, id: &str, text: &str) {
        let document = json!({ "text": text });
        let document = serde_json::from_value(document).expect("a document");
        let put = self
            .runtime
            .put_memory_document(&self.who, namespace, id, document);
        put.await.expect("it is written");
    }
}

fn query(limit: usize) -> MemoryQuery {
    MemoryQuery {
        limit,
        ..MemoryQuery::default()
    }
}

/// Each operation, granted and not; a denial is on record, and nothing was done.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_with_documents_what_was_granted_and_nothing_else() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk).await;
    host.filled("shared/handbook", "a", "travel costs 70 francs a day")
        .await;
    let allowed = [
        (put("run", "n", "a note"), json!({ "version": 1 })),
        (put("agent", "n", "a fact"), json!({ "version": 1 })),
        (put("shared/team-a", "n", "ours"), json!({ "version": 1 })),
        (delete("agent", "n"), json!({ "deleted": true })),
        (delete("agent", "n"), json!({ "deleted": false })),
        (get("agent", "n"), Value::Null),
        (search(&["agent"], "fact"), json!({ "hits": [] })),
    ];
    for (step, expect) in allowed {
        assert_eq!(host.one(step.clone()).await["ok"], expect, "{step}");
    }
    let found = host
        .one(search(&["shared/handbook", "run"], "francs"))
        .await;
    let hit = &found["ok"]["hits"][0];
    assert_eq!(
        (&hit["id"], &hit["namespace"]),
        (&json!("a"), &json!("shared/handbook"))
    );
    assert_eq!(hit["provenance"], json!({}), "nobody is told who wrote it");
    let denied = [
        (
            put("shared/handbook", "a", "x"),
            "needed: access = \\\"write\\\"",
        ),
        (
            delete("shared/handbook", "a"),
            "needed: access = \\\"write\\\"",
        ),
        (
            get("shared/other", "a"),
            "no memory rule covers `shared/other`",
        ),
        (search(&["agent", "shared/other"], "x"), "shared/other"),
        (get("agent/prober", "a"), "is no namespace"),
        (get("run/run_1", "a"), "is no namespace"),
    ];
    let count = denied.len();
    for (step, expect) in denied {
        let told = host.one(step.clone()).await["error"].to_string();
        assert!(told.contains(expect), "{step}: {told}");
    }
    assert_eq!(host.audited("denied").await.len(), count);
    let wrong = [
        (ask(json!({ "op": "drop" })), "unknown variant `drop`"),
        (
            ask(json!({ "op": "list", "namespace": "agent", "limit": 1_001 })),
            "limit: it is 1001",
        ),
        (put("agent", "", "x"), "id: it is empty"),
        (ask(json!([])), "the request"),
    ];
    for (step, expect) in wrong {
        let told = host.one(step.clone()).await["error"].to_string();
        assert!(told.contains(expect), "{step}: {told}");
    }
    assert_eq!(host.ids("shared/handbook").await, ["a"]);
}

/// A document says which run and request wrote it, ends when its rule says, and is
/// changed only in the version that was expected.
#[tokio::test(flavor = "multi_thread")]
async fn a_document_says_who_wrote_it_and_when_it_ends() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk).await;
    let expecting = |expect: Value| {
        let mut step = put("shared/team-a", "n", "other");
        step["memory"]["request"]["expect"] = expect;
        step
    };
    let steps = [
        put("run", "a", "x"),
        put("shared/team-a", "n", "ours"),
        expecting(json!("absent")),
        expecting(json!({ "version": 7 })),
        expecting(json!({ "version": 1 })),
    ];
    let run = host.start(json!(steps)).await;
    let results = host.results(&run).await;
    let conflict = json!({ "conflict": { "found": 1 } });
    let told: Vec<&Value> = (1..5).map(|at| &results[at]["ok"]).collect();
    assert_eq!(
        told,
        [
            &json!({ "version": 1 }),
            &conflict,
            &conflict,
            &json!({ "version": 2 })
        ]
    );
    let got = host
        .runtime
        .memory_document(&host.who, "shared/team-a", "n")
        .await;
    let entry = got.expect("it is there").entry;
    let by = &entry.provenance;
    let names = [&by.by, &by.run, &by.request, &by.plugin].map(Option::as_deref);
    let expect = [Some("local:test"), Some(&*run), Some("4"), Some("prober")];
    assert_eq!(names, expect);
    let ends = entry.expires_ms.expect("the rule says so") - entry.updated_ms;
    assert_eq!(ends, 3_600_000);
    assert_eq!(host.ids(&format!("run/{run}")).await, ["a"]);
}

/// Two principals have nothing of each other's under `agent`, nor have two runs under
/// `run`; what is granted for all of a plugin's callers they share.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_do_not_meet() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk).await;
    let of = |name: &str| Host {
        runtime: Arc::clone(&host.runtime),
        store: Arc::clone(&host.store),
        who: Arc::new(Principal::local_admin(name)),
    };
    let (ann, bob) = (of("ann"), of("bob"));
    ann.one(put("agent", "a", "secret of ann")).await;
    ann.one(put("run", "a", "secret of a run")).await;
    for (who, sees) in [(&ann, true), (&bob, false)] {
        let found = who.one(search(&["agent", "run"], "secret")).await;
        let hits = found["ok"]["hits"].as_array().expect("hits").len();
        assert_eq!(hits == 1, sees, "{found}");
        assert_eq!(!who.one(get("agent", "a")).await["ok"].is_null(), sees);
    }
    let all = json!({ "memory": [{ "namespace": "agent", "access": "write", "scope": "plugin" }] });
    host.grant("prober", all).await;
    ann.one(put("agent", "b", "for all")).await;
    assert_eq!(bob.one(get("agent", "b")).await["ok"]["text"], "for all");
    assert!(bob.one(get("agent", "a")).await["ok"].is_null());
}

/// What was answered is in the journal: a run that goes on, and a replay, see the same
/// though the memory has changed, and it is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_does_not_reach_the_memory() {
    let (dir, disk) = place();
    let first = host(dir.path(), &disk).await;
    first.filled("shared/handbook", "a", "old").await;
    let wait = json!({ "signal": { "name": "go" } });
    let steps = json!([get("shared/handbook", "a"), put("agent", "n", "once"), wait]);
    let run = first.start(steps).await;
    first
        .until(&run, |run| {
            run.waits_for
                .iter()
                .any(|open| open.request["name"] == "go")
        })
        .await;
    first.filled("shared/handbook", "a", "new").await;
    drop(first);
    let second = Host::again(dir.path(), &disk).await;
    second
        .runtime
        .signal_run(&second.who, &run, "go", &json!(1))
        .await
        .expect("taken");
    let results = second.results(&run).await;
    assert_eq!(results[0]["ok"]["text"], "old", "{results}");
    assert_eq!(results[1]["ok"]["version"], 1);
    // The memory is closed: whoever asked it would not get the same.
    second
        .runtime
        .delete_memory_namespace(&second.who, "shared/handbook", "over")
        .await
        .expect("gone");
    let replay = second
        .runtime
        .replay_run(&second.who, &run, Default::default())
        .await;
    let replay = serde_json::to_value(replay.expect("it replays")).expect("JSON");
    assert_eq!(replay["verdict"], "same", "{replay}");
}

/// The host dies at each write, before and after it is durable: each change happens
/// once, which its version shows, and the agent is told what it did.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_a_change_happens_once() {
    let (dir, disk) = place();
    drop(host(dir.path(), &disk).await);
    let mut deaths = 0;
    let faults = |n| [Fault::Write { n }, Fault::Sync { n }];
    for (at, fault) in (0..12).flat_map(faults).enumerate() {
        let host = Host::again(dir.path(), &disk).await;
        let id = format!("doc-{at}");
        let steps = json!([
            put("agent", &id, "one"),
            put("agent", &id, "two"),
            put("run", "note", "three"),
            get("agent", &id),
        ]);
        let run = host.start(steps).await;
        host.store.inject(fault);
        host.until(&run, |run| {
            run.end.is_some() || host.runtime.ready().is_err()
        })
        .await;
        deaths += u32::from(host.runtime.ready().is_err());
        drop(host);
        let host = Host::again(dir.path(), &disk).await;
        let results = host.results(&run).await;
        let told: Vec<&Value> = (0..3).map(|at| &results[at]["ok"]["version"]).collect();
        assert_eq!(
            told,
            [&json!(1), &json!(2), &json!(1)],
            "{fault:?}: {results}"
        );
        let got = &results[3]["ok"];
        assert_eq!(
            (&got["text"], &got["version"]),
            (&json!("two"), &json!(2)),
            "{fault:?}"
        );
        let notes = format!("run/{run}");
        let entry = host.runtime.memory_document(&host.who, &notes, "note");
        assert_eq!(entry.await.expect("a note").entry.version, 1, "{fault:?}");
    }
    assert!(deaths >= 12, "the host died {deaths} times");
}

/// A write that happened while its answer was lost is told as it was, though another
/// run has changed the document meanwhile: it is not done again over that.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_overtaken_is_not_done_again() {
    let (dir, disk) = place();
    let gated = gated::Gated::on(&disk);
    let first = gated.host(crate::host::config(dir.path())).await;
    first.prepare(&[]).await;
    first.grant("prober", rules()).await;
    first.one(put("shared/team-a", "x", "before")).await;
    gated.hold("memory.receipts");
    let run = first
        .start(json!([put("shared/team-a", "x", "mine")]))
        .await;
    while !gated.is_held() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It is durable, and nobody was told.
    let asked = first.run(&run).waits_for;
    assert_eq!(asked.len(), 1, "{asked:?}");
    first.store.inject(Fault::Write { n: 0 });
    gated.let_go();
    first.until(&run, |_| first.runtime.ready().is_err()).await;
    drop(first);
    let second = Host::open(dir.path(), &disk).await;
    second.filled("shared/team-a", "x", "another's").await;
    second.runtime.take_up_runs().await.expect("they are read");
    let results = second.results(&run).await;
    assert_eq!(results[0]["ok"], json!({ "version": 2 }));
    let got = second
        .runtime
        .memory_document(&second.who, "shared/team-a", "x")
        .await
        .expect("it is there");
    assert_eq!((&*got.text, got.entry.version), ("another's", 3));
}

/// The notes of a run that is pruned are gone, those of one that it goes on as stay,
/// and nothing is left of what was written down of its writes.
#[tokio::test(flavor = "multi_thread")]
async fn the_notes_of_a_run_go_with_it() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk).await;
    let old = host.start(json!([put("run", "n", "old words")])).await;
    let steps = json!([put("run", "n", "kept words"), { "continue-as-new": { "steps": [get("run", "n")] } }]);
    let first = host.start(steps).await;
    let Some(End::Continued { run: next }) = host.ended(&first).await.end else {
        panic!("{:?}", host.run(&first))
    };
    let results = host.results(&next).await;
    assert_eq!(
        results[0]["ok"]["text"], "kept words",
        "notes go on with the run"
    );
    host.ended(&old).await;
    let notes = |run: &str| format!("run/{run}");
    for run in [&old, &first] {
        super::super::prune::age(&host, run).await;
    }
    let request = serde_json::from_value(json!({ "older_than_s": 3_600 })).expect("a request");
    let pruned = host.runtime.prune_runs(&host.who, request).await;
    assert_eq!(pruned.expect("pruned").runs, 2);
    assert_eq!(host.namespaces().await, [notes(&first)]);
    assert!(host.found(&notes(&old), "words").await.is_empty());
    assert_eq!(host.found(&notes(&first), "words").await, ["n"]);
    super::super::prune::age(&host, &next).await;
    let request = serde_json::from_value(json!({ "older_than_s": 3_600 })).expect("a request");
    host.runtime
        .prune_runs(&host.who, request)
        .await
        .expect("pruned");
    assert!(host.namespaces().await.is_empty());
    let receipts = host.store.range("memory.receipts", b"", None, 10);
    assert!(receipts.expect("reads").is_empty());
}

/// What a plugin keeps for itself is erased with it, whoever it worked for, and what
/// is shared is not; a plugin of the same name begins with nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_removed_plugin_kept_is_gone() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk).await;
    let ann = Host {
        runtime: Arc::clone(&host.runtime),
        store: Arc::clone(&host.store),
        who: Arc::new(Principal::local_admin("ann")),
    };
    for who in [&host, &ann] {
        who.one(put("agent", "n", "words of a plugin")).await;
    }
    host.one(put("shared/team-a", "n", "words of all")).await;
    let own: Vec<String> = host.namespaces().await;
    assert_eq!(own.len(), 3, "{own:?}");
    let removed = host
        .runtime
        .remove_plugin(&host.who, "prober", true, "over");
    assert_eq!(removed.await.expect("removed").erased, None);
    assert_eq!(host.namespaces().await, own, "kept");
    let removed = host
        .runtime
        .remove_plugin(&host.who, "prober", false, "over");
    let erased = removed.await.expect("removed").erased;
    let expect = ErasedData {
        namespaces: 2,
        pairs: 0,
        bytes: 0,
    };
    assert_eq!(erased, Some(expect));
    assert_eq!(host.namespaces().await, ["shared/team-a"]);
    for namespace in &own[..2] {
        assert!(host.found(namespace, "words").await.is_empty());
    }
    install(&host.runtime, "prober", built("agent_prober")).await;
    host.grant("prober", rules()).await;
    assert_eq!(host.one(get("agent", "n")).await["ok"], Value::Null);
}

/// Without its index's files the memory answers the same; a namespace that is deleted
/// is found by nothing, before and after.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_may_be_deleted_while_the_host_is_down() {
    let (dir, disk) = place();
    let first = host(dir.path(), &disk).await;
    for (id, text) in [("a", "red fox"), ("b", "red hen"), ("c", "blue fox")] {
        first.filled("shared/handbook", id, text).await;
    }
    first.filled("shared/gone", "a", "red fox").await;
    let gone = first
        .runtime
        .delete_memory_namespace(&first.who, "shared/gone", "old");
    assert_eq!(gone.await.expect("deleted").usage.documents, 1);
    let answers = async |host: &Host| {
        let mut all = Vec::new();
        for text in ["red", "fox", "blue fox", "hen"] {
            all.push(host.found("shared/handbook", text).await);
        }
        assert!(host.found("shared/gone", "red").await.is_empty());
        all
    };
    let before = answers(&first).await;
    assert_eq!(before[3], ["b"]);
    first.runtime.shutdown(Duration::from_secs(5)).await;
    let stopped = first
        .runtime
        .memory_document(&first.who, "shared/handbook", "a")
        .await;
    assert!(
        matches!(stopped, Err(MemoryFailure::Memory(_))),
        "{stopped:?}"
    );
    drop(first);
    let index = dir.path().join("data/memory");
    assert!(index.is_dir());
    std::fs::remove_dir_all(&index).expect("deleted");
    let second = Host::again(dir.path(), &disk).await;
    assert_eq!(answers(&second).await, before);
    assert!(index.is_dir(), "it is made again");
}

/// A run that only observes writes its own notes and nothing else; one that is
/// cancelled, or halted, ends or waits as any other.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_only_observes_writes_its_own_notes_alone() {
    let (dir, disk) = place();
    let host = host(dir.path(), &disk).await;
    let steps = json!([
        put("run", "n", "x"),
        put("agent", "n", "x"),
        get("agent", "n")
    ]);
    let run = host
        .start_with(steps, json!({ "autonomy": "observe" }))
        .await;
    let results = host.results(&run).await;
    assert_eq!(results[0]["ok"], json!({ "version": 1 }));
    let told = results[1]["error"].to_string();
    assert!(told.contains("only observes"), "{told}");
    assert_eq!(results[2]["ok"], Value::Null);
}
