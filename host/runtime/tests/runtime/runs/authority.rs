//! What was asked for with a token that was revoked before it could be done.

use std::time::Duration;

use airlock_fake_models::{Reply, What};
use airlock_runtime::{
    Decide, DocumentPut, Failure, ForkRun, HaltRequest, HookRequest, InstallServer, MemoryFailure,
    MemoryImport, MemorySearch, Principal, PruneRequest, Role, RotateHook, ScheduleRequest, Secret,
    StartRun, ToolCall,
};
use serde_json::{Value, json};

use super::models::{chat, rich, rule, server, with_models};
use super::{add, people};
use crate::host::{Host, audited, place};

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a request")
}

fn hook(name: &str) -> HookRequest {
    let start = json!({ "agent": "prober", "input": { "steps": [] } });
    read(json!({ "name": name, "scheme": "github", "start": start }))
}

fn schedule() -> ScheduleRequest {
    let start = json!({ "agent": "prober", "input": { "steps": [] } });
    read(json!({ "name": "daily", "cron": "0 3 * * *", "start": start }))
}

fn code<T, E: Failure>(done: Result<T, E>) -> (&'static str, u16) {
    match done {
        Ok(_) => ("done", 200),
        Err(error) => (error.code(), error.status()),
    }
}

/// What the host holds that changes may change, and how much is on record.
async fn state(host: &Host) -> Value {
    let runtime = &host.runtime;
    let runs = runtime.runs(&host.who, Default::default()).await;
    let runs = runs.expect("runs").runs.into_iter();
    // Not where they stand, which is another once their sandbox has gone.
    let journals = runs.map(|run| {
        let page = runtime.run_events(&host.who, &run.id, 0, 1_000);
        (run.id, page.expect("reads").events)
    });
    let records = runtime.audit(Default::default()).await.expect("a page");
    json!([
        runtime.hooks(&host.who).expect("hooks"),
        runtime.schedules(&host.who).expect("schedules"),
        journals.collect::<Vec<_>>(),
        runtime.secrets().expect("secrets"),
        runtime.halt_view().expect("whether it is halted"),
        records.records.len(),
    ])
}

impl Host {
    /// An administrator whose token is revoked, as a request has one that waited.
    async fn too_late(&self) -> std::sync::Arc<Principal> {
        let who = self.with_token(Role::Admin).await;
        self.revoke(&who).await;
        who
    }

    async fn revoke(&self, who: &Principal) {
        let id = who.token_id.as_deref().expect("of a token");
        let revoked = self.runtime.revoke_token(&self.who, id, false, "").await;
        revoked.expect("is revoked");
    }
}

/// Each change is refused where it would be made, whatever it waited for before.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_with_a_token_that_was_revoked_meanwhile() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let runtime = &host.runtime;
    runtime
        .add_hook(&host.who, hook("paid"))
        .await
        .expect("made");
    let set = runtime.set_schedule(&host.who, schedule(), false).await;
    set.expect("set");
    let value = Secret::new(b"value".to_vec());
    let kept = runtime.set_secret(&host.who, "kept", &value).await;
    kept.expect("set");
    let waits = json!([{ "signal": { "name": "go" } }]);
    let run = host.start(waits.clone()).await;
    host.until(&run, |run| run.waits_for.len() == 1).await;
    let halt =
        |halted: bool| -> HaltRequest { read(json!({ "halted": halted, "agent": "prober" })) };
    let halted = runtime.halt(&host.who, halt(true)).await;
    halted.expect("stands still");
    let ann = host.too_late().await;
    let before = state(&host).await;

    let start: StartRun = read(json!({ "agent": "prober", "input": { "steps": [] } }));
    let fork: ForkRun = read(json!({ "at": 0 }));
    let prune: PruneRequest = read(json!({ "older_than_s": 60, "why": "" }));
    let rotate = RotateHook::default();
    let why = "";
    let refused = [
        ("hook.add", code(runtime.add_hook(&ann, hook("new")).await)),
        (
            "hook.rotate",
            code(runtime.rotate_hook(&ann, "paid", rotate).await),
        ),
        ("hook.remove", code(runtime.remove_hook(&ann, "paid").await)),
        (
            "schedule.set",
            code(runtime.set_schedule(&ann, schedule(), true).await),
        ),
        (
            "schedule.pause",
            code(runtime.pause_schedule(&ann, "daily", true).await),
        ),
        (
            "schedule.remove",
            code(runtime.remove_schedule(&ann, "daily").await),
        ),
        ("run.start", code(runtime.start_run(&ann, start).await)),
        ("run.fork", code(runtime.fork_run(&ann, &run, fork).await)),
        (
            "run.signal",
            code(runtime.signal_run(&ann, &run, "go", &json!(1)).await),
        ),
        ("run.pause", code(runtime.pause_run(&ann, &run).await)),
        (
            "run.cancel",
            code(runtime.cancel_run(&ann, &run, why).await),
        ),
        (
            "run.resume",
            code(runtime.resume_run(&ann, &run, Default::default()).await),
        ),
        ("runs.prune", code(runtime.prune_runs(&ann, prune).await)),
        (
            "secret.set",
            code(runtime.set_secret(&ann, "other", &value).await),
        ),
        (
            "secret.remove",
            code(runtime.remove_secret(&ann, "kept").await),
        ),
        ("halt.lift", code(runtime.halt(&ann, halt(false)).await)),
        (
            "halt.lift",
            code(runtime.halt(&ann, read(json!({ "halted": false }))).await),
        ),
    ];
    for (what, refused) in refused {
        assert_eq!(refused, ("unauthenticated", 401), "{what}");
    }
    assert_eq!(state(&host).await, before);
}

/// A call that waited for its turn, and a program that would be asked for its tools.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_with_a_token_that_was_revoked_meanwhile() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let ann = host.too_late().await;
    let call = ToolCall {
        plugin: "keeper".to_owned(),
        tool: "add".to_owned(),
        input: "{}".into(),
        timeout: None,
        idempotency_key: None,
        log: false,
        stage: None,
    };
    let called = host.runtime.call(&ann, call).await;
    assert_eq!(code(called), ("unauthenticated", 401));
    assert_eq!(host.counted("added").await, 0);
    for check in [false, true] {
        let server = json!({ "command": "/bin/true", "allow_network": true });
        let request: InstallServer = read(json!({ "server": server, "check": check }));
        let begun = host.runtime.install_server(&ann, "tickets", request).await;
        let id = begun.expect("begins").id;
        let ended = host.runtime.wait_operation(&host.who, &id).await;
        let problem = ended.expect("is known").problem.expect("it failed");
        assert_eq!(problem.code, "unauthenticated", "{problem:?}");
    }
}

/// A question is not decided with it either.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_approved_with_a_token_that_was_revoked_meanwhile() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let asks = json!({ "autonomy": "ask" });
    let run = host.start_with(json!([add()]), asks).await;
    let asked = people::question(&host, &run).await;
    let ann = host.too_late().await;
    let decide: Decide = read(json!({ "decision": "approve", "binding": asked.binding }));
    let decided = host.runtime.decide_approval(&ann, &asked.id, decide).await;
    assert_eq!(code(decided), ("unauthenticated", 401));
    assert_eq!(host.open_questions().len(), 1);
}

fn vector() -> Reply {
    Reply {
        dimensions: 3,
        ..Reply::default()
    }
}

/// A vector that the test lets come.
fn held() -> What {
    let mut reply = vector();
    reply.damage.held = true;
    What::Answer(reply)
}

/// The model takes its time, and the token is revoked: nothing is written, found or
/// asked for after it, and what was paid for is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a_vector_that_comes_too_late_writes_nothing() {
    let file = |path: &str| json!({ "path": path, "chunks": [{ "text": path, "source": {} }] });
    let import = json!({
        "namespace": "shared/late", "embed": "near", "files": [file("a.txt"), file("b.txt")],
    });
    let put = json!({ "text": "late", "embed": "near" });
    let find = json!({ "namespaces": ["shared/late"], "text": "late", "embed": "near" });
    for what in ["put", "import", "search"] {
        let (dir, disk) = place();
        let server = server([held(), held()]).await;
        let host = Host::with(with_models(dir.path(), &server), &disk).await;
        host.prepare(&[]).await;
        let ann = host.with_token(Role::Admin).await;
        let (runtime, put, import) = (&host.runtime, put.clone(), import.clone());
        let find = find.clone();
        let changed = async {
            match what {
                "put" => {
                    let put: DocumentPut = read(put);
                    let put = runtime.put_memory_document(&ann, "shared/late", "a", put);
                    code(put.await)
                }
                "import" => code(
                    runtime
                        .import_memory(&ann, read::<MemoryImport>(import))
                        .await,
                ),
                _ => code(
                    runtime
                        .search_memory(&ann, read::<MemorySearch>(find))
                        .await,
                ),
            }
        };
        let meanwhile = async {
            while server.seen().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            host.revoke(&ann).await;
            server.release();
        };
        let (changed, ()) = tokio::join!(changed, meanwhile);
        assert_eq!(changed, ("unauthenticated", 401), "{what}");
        assert_eq!(server.seen().len(), 1, "{what}");
        let there = runtime
            .memory_documents(&host.who, "shared/late", read(json!({})))
            .await;
        let none = matches!(&there, Err(MemoryFailure::NoNamespace(_)))
            || there.is_ok_and(|page| page.documents.is_empty());
        assert!(none, "{what}");
        let paid = audited(runtime, "admin.memory.embed").await;
        assert!(
            paid.last().is_some_and(|paid| paid.contains("near")),
            "{what}: {paid:?}"
        );
    }
}

/// Nor is one that waited for a place among those of its principal.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_place_in_the_memory_is_not_changed_too_late() {
    // As many as one principal has.
    const PLACES: usize = 8;
    let changes = ["put", "delete", "delete-namespace"];
    for what in changes {
        let (dir, disk) = place();
        let server = server(vec![held(); PLACES]).await;
        let host = Host::with(with_models(dir.path(), &server), &disk).await;
        host.prepare(&[]).await;
        let runtime = &host.runtime;
        let put = |text: &str| read::<DocumentPut>(json!({ "text": text }));
        let kept = runtime.put_memory_document(&host.who, "shared/kept", "a", put("before"));
        kept.await.expect("is put");
        let ann = host.with_token(Role::Admin).await;
        let imports = (0..PLACES).map(|n| {
            let files =
                json!([{ "path": n.to_string(), "chunks": [{ "text": "x", "source": {} }] }]);
            let import =
                json!({ "namespace": format!("shared/{n}"), "embed": "near", "files": files });
            runtime.import_memory(&ann, read(import))
        });
        let imports = futures_util::future::join_all(imports);
        let changed = async {
            server.arrived(PLACES).await;
            match what {
                "put" => {
                    let put = put("too late");
                    code(
                        runtime
                            .put_memory_document(&ann, "shared/kept", "a", put)
                            .await,
                    )
                }
                "delete" => {
                    let how = (None, "");
                    code(
                        runtime
                            .delete_memory_document(&ann, "shared/kept", "a", how)
                            .await,
                    )
                }
                _ => code(
                    runtime
                        .delete_memory_namespace(&ann, "shared/kept", "")
                        .await,
                ),
            }
        };
        let meanwhile = async {
            let action = format!("admin.memory.{what}");
            // Of the whole namespace, how much there is is looked up in a place, too.
            let waits = match what {
                "delete-namespace" => 0,
                "put" => 2,
                _ => 1,
            };
            server.arrived(PLACES).await;
            while audited(runtime, &action).await.len() < waits {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            host.revoke(&ann).await;
            server.release();
        };
        let (_, changed, ()) = tokio::join!(imports, changed, meanwhile);
        assert_eq!(changed, ("unauthenticated", 401), "{what}");
        let there = runtime.memory_document(&host.who, "shared/kept", "a").await;
        let there = serde_json::to_value(there.expect("is there")).expect("JSON");
        assert!(there.to_string().contains("before"), "{what}: {there}");
    }
}

/// What models are asked for here counts in no budget.
#[tokio::test(flavor = "multi_thread")]
async fn only_an_administrator_of_the_whole_host_has_vectors_made() {
    let (dir, disk) = place();
    let server = server([What::Answer(vector())]).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    let asked = || MemorySearch {
        namespaces: vec!["agent/prober".to_owned()],
        text: Some("x".to_owned()),
        embed: Some("near".to_owned()),
        limit: 1,
        ..MemorySearch::default()
    };
    let who = |role: Role, plugins: Option<&str>| Principal {
        name: "ann".to_owned(),
        token_id: None,
        roles: [role].into(),
        plugins: plugins.map(|plugin| [plugin.to_owned()].into()),
    };
    let table = [
        (who(Role::Operator, Some("prober")), ("forbidden", 403), 0),
        (who(Role::Operator, None), ("forbidden", 403), 0),
        (who(Role::Admin, Some("prober")), ("forbidden", 403), 0),
        (who(Role::Admin, None), ("done", 200), 1),
    ];
    for (who, expect, sent) in table {
        let found = host.runtime.search_memory(&who, asked()).await;
        assert_eq!(code(found), expect, "{who:?}");
        assert_eq!(server.seen().len(), sent, "{who:?}");
    }
}

/// A rule that is revoked between two attempts at models, and a plugin that is removed.
#[tokio::test(flavor = "multi_thread")]
async fn no_model_is_asked_again_once_its_rule_is_revoked() {
    for removed in [false, true] {
        let (dir, disk) = place();
        let server = server([What::error(500, "broken", "broken"), What::text("late")]).await;
        let config = with_models(dir.path(), &server);
        let file = config.models_file.clone().expect("a file");
        let models = std::fs::read_to_string(&file).expect("is there");
        let models = models.replace("retries = 0", "retries = 1\nbackoff_ms = 1500");
        std::fs::write(&file, models).expect("written");
        let host = Host::with(config, &disk).await;
        host.prepare(&[]).await;
        host.grant("prober", rule(json!({}))).await;
        let run = host.start_with(json!([chat(&["A"])]), rich()).await;
        while server.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match removed {
            false => host.grant("prober", json!({})).await,
            true => {
                let gone = host
                    .runtime
                    .remove_plugin(&host.who, "prober", true, "")
                    .await;
                gone.expect("is removed");
            }
        }
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert_eq!(server.seen().len(), 1, "removed: {removed}");
        if !removed {
            let results = host.results(&run).await.to_string();
            assert!(results.contains("denied"), "{results}");
        }
    }
}
