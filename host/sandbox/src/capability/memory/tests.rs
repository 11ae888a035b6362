use std::sync::Arc;

use airlock_journal::{MemoryStore, Store};
use airlock_memory::{MemoryHome, Namespace, Options};
use serde_json::{Value, json};

use super::backend::{Backend, Failure};
use super::{ANSWER_BYTES_MAX, Memory, Owner, Request, Rule, State, Task};
use crate::call::CallError;
use crate::capability::{Capability, Cases};
use crate::grants::EffectClass;
use crate::services::Services;
use crate::testing::{Door, grants, services};

pub(crate) const CASES: Cases = Cases {
    grants: r#"memory = [
        { namespace = "run", access = "write" },
        { namespace = "agent" },
        { namespace = "shared/handbook" },
        { namespace = "shared/team-*" },
        { namespace = "shared/team-a", access = "write", documents = 5, bytes = "1KiB", ttl = "30d" },
    ]"#,
    allowed: &[
        "get run a",
        "put run a",
        "delete run a",
        "list run",
        "search run",
        "get agent a",
        "search agent",
        "get shared/handbook a.md#00001",
        "list shared/handbook",
        "search shared/handbook",
        "get shared/team-b x",
        "put shared/team-a x",
        "delete shared/team-a x",
    ],
    denied: &[
        "put agent a",
        "delete agent a",
        "put shared/handbook a",
        "delete shared/handbook a",
        "put shared/team-b x",
        "get shared/handbook2 a",
        "get shared/Handbook a",
        "get shared/other a",
        "get shared/tea a",
        "get shared/team-* a",
        "get shared/team-../a a",
        "get shared/ a",
        "get run/run_1 a",
        "get agent/other a",
        "search shared/*",
        "get  a",
    ],
};

fn rule(text: &str) -> Result<Rule, String> {
    let rule: Rule = toml::from_str(text).map_err(|error| error.to_string())?;
    rule.validate().map(|()| rule)
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    let long = format!("namespace = \"shared/{}\"", "a".repeat(129));
    let table = [
        ("namespace = \"\"", "must be `run`"),
        ("namespace = \"*\"", "must be `run`"),
        ("namespace = \"run*\"", "must be `run`"),
        ("namespace = \"run/run_1\"", "must be `run`"),
        ("namespace = \"agent/react\"", "must be `run`"),
        ("namespace = \"shared\"", "must be `run`"),
        ("namespace = \"shared/\"", "must be `run`"),
        ("namespace = \"shared/a/b\"", "must be `run`"),
        ("namespace = \"shared/a*b\"", "must be `run`"),
        ("namespace = \"shared/.*\"", "must be `run`"),
        (long.as_str(), "must be `run`"),
        ("namespace = \"run\"\nscope = \"plugin\"", "one run's"),
        (
            "namespace = \"shared/a\"\nscope = \"principal\"",
            "shared by all",
        ),
        ("namespace = \"agent\"\nscope = \"all\"", "unknown variant"),
        (
            "namespace = \"agent\"\naccess = \"read-write\"",
            "unknown variant",
        ),
        ("namespace = \"agent\"\ndocuments = 0", "at least 1"),
        ("namespace = \"agent\"\nbytes = \"0B\"", "must be 1B"),
        ("namespace = \"agent\"\nttl = \"0s\"", "must be 1ms"),
        ("namespace = \"agent\"\nbytes = \"1025GiB\"", "must be 1B"),
        ("namespace = \"agent\"\nttl = \"101y\"", "must be 1ms"),
        ("namespace = \"agent\"\nkeys = 1", "unknown field"),
    ];
    for (text, expect) in table {
        let complaint = rule(text).expect_err(text);
        assert!(complaint.contains(expect), "{text}: {complaint}");
    }
    for text in [
        "namespace = \"shared/*\"",
        "namespace = \"shared/a-*\"",
        "namespace = \"agent\"\nscope = \"plugin\"\nttl = \"30d\"",
        "namespace = \"agent\"\nbytes = \"1024GiB\"",
        "namespace = \"agent\"\nttl = \"36600d\"",
    ] {
        assert!(rule(text).is_ok(), "{text}");
    }
}

/// The rule that a denial names allows what was denied.
#[test]
fn a_denial_names_the_rule_that_is_missing() {
    let read = "memory = [{ namespace = \"agent\" }]";
    let write = "memory = [{ namespace = \"agent\", access = \"write\" }]";
    let table = [
        ("", "get agent a", read),
        ("", "put agent a", write),
        (read, "put agent a", "access = \"write\""),
    ];
    for (granted, words, named) in table {
        let words: Vec<&str> = words.split(' ').collect();
        let denied = grants(granted)
            .explain("memory", &words)
            .expect("an operation");
        assert!(!denied.allowed, "{granted}: {denied:?}");
        let (_, needed) = denied.because.split_once("needed: ").expect("what is");
        assert_eq!(needed, named, "{granted}");
        if needed.starts_with("memory") {
            let allowed = grants(needed).explain("memory", &words);
            assert!(allowed.expect("an operation").allowed, "{needed}");
        }
    }
}

#[test]
fn each_owner_has_a_place_of_its_own() {
    let owner = |plugin, principal, run| Owner {
        plugin,
        principal,
        run,
    };
    let place = |rule_text: &str, asked: &str, owner| {
        let rule = rule(rule_text).expect(rule_text);
        let place = rule.place(asked, owner).map(|place| place.to_string());
        place.map_err(|error| error.to_string())
    };
    let ann = owner("react", "0a", Some("run_1"));
    let own = "namespace = \"agent\"";
    let all = "namespace = \"agent\"\nscope = \"plugin\"";
    let table = [
        (own, "agent", ann, "agent/react.0a"),
        (own, "agent", owner("react", "0b", None), "agent/react.0b"),
        (own, "agent", owner("react2", "0a", None), "agent/react2.0a"),
        (all, "agent", ann, "agent/react"),
        (all, "agent", owner("react", "0b", None), "agent/react"),
        ("namespace = \"run\"", "run", ann, "run/run_1"),
        (
            "namespace = \"shared/t-*\"",
            "shared/t-1",
            ann,
            "shared/t-1",
        ),
    ];
    for (rule_text, asked, owner, expect) in table {
        assert_eq!(place(rule_text, asked, owner).as_deref(), Ok(expect));
    }
    let refused = place("namespace = \"run\"", "run", owner("tool", "0a", None));
    assert!(refused.expect_err("no run").contains("a tool has"));
    let is_own =
        |name: &str, plugin| super::is_agents_own(&Namespace::parse(name).expect(name), plugin);
    assert!(is_own("agent/react", "react") && is_own("agent/react.0a", "react"));
    assert!(!is_own("agent/react2", "react") && !is_own("shared/react", "react"));
    assert!(!is_own("agent/react-2.0a", "react"));
}

#[test]
fn a_document_lives_no_longer_than_its_rule_says() {
    let (bounded, free) = (
        rule("namespace = \"agent\"\nttl = \"10s\"").expect("a rule"),
        rule("namespace = \"agent\"").expect("a rule"),
    );
    let table = [
        (&bounded, None, Some(10_000)),
        (&bounded, Some(1), Some(1)),
        (&bounded, Some(20_000), Some(10_000)),
        (&free, None, None),
        (&free, Some(20_000), Some(20_000)),
    ];
    for (rule, asked, expect) in table {
        assert_eq!(rule.ttl_ms(asked), expect);
    }
}

/// Tools over one memory.
struct World {
    services: Arc<Services>,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (services, _) = services();
        let store: Arc<dyn Store> = MemoryStore::new();
        let mut services = Arc::into_inner(services).expect("nobody else has it");
        services.memory = MemoryHome::new(store, dir.path().join("memory"), options);
        Self {
            services: Arc::new(services),
            dir,
        }
    }

    /// What a tool is answered.
    async fn ask(&self, plugin: &str, door: &Door, request: Value) -> Result<Value, String> {
        let told = self.told(plugin, door, &request.to_string()).await?;
        Ok(serde_json::from_str(&told).expect("JSON"))
    }

    /// The same as it is written.
    async fn told(&self, plugin: &str, door: &Door, request: &str) -> Result<String, String> {
        let backend = Arc::new(Backend::new(&self.services, plugin));
        let state = State::new(door.gate(), backend);
        match state.ask(request).await {
            Ok(answer) => Ok(answer),
            Err(Failure::Told(error)) => Err(error.to_string()),
            Err(Failure::Limit(limit)) => Err(format!("ends: {limit}")),
        }
    }
}

fn put(namespace: &str, id: &str, text: &str) -> Value {
    json!({ "op": "put", "namespace": namespace, "document": { "id": id, "text": text } })
}

const OWN: &str = "memory = [{ namespace = \"agent\", access = \"write\" }]";

#[tokio::test]
async fn a_tool_puts_gets_lists_finds_and_deletes() {
    let (world, door) = (World::new(), Door::new(OWN));
    let ask = |request| world.ask("notes", &door, request);
    let first = ask(put("agent", "a", "the quick brown fox")).await;
    assert_eq!(first, Ok(json!({ "version": 1 })));
    let got = ask(json!({ "op": "get", "namespace": "agent", "id": "a" })).await;
    let got = got.expect("it is there");
    assert_eq!(got["text"], "the quick brown fox");
    assert_eq!(got["namespace"], "agent");
    let provenance = json!({ "request": "call-1", "plugin": "notes" });
    assert_eq!(got["provenance"], provenance, "nobody is told who it was");
    let mut again = put("agent", "a", "another");
    again["expect"] = json!("absent");
    let conflict = json!({ "conflict": { "found": 1 } });
    assert_eq!(ask(again.clone()).await, Ok(conflict));
    again["expect"] = json!({ "version": 1 });
    assert_eq!(ask(again).await, Ok(json!({ "version": 2 })));
    let found = ask(json!({ "op": "search", "namespaces": ["agent"], "text": "another" })).await;
    let found = found.expect("a search");
    assert_eq!(found["hits"][0]["id"], "a");
    assert_eq!(found["hits"][0]["snippet"], "another");
    let listed = ask(json!({ "op": "list", "namespace": "agent", "prefix": "a" })).await;
    assert_eq!(listed.expect("a list")["entries"][0]["version"], 2);
    let delete = json!({ "op": "delete", "namespace": "agent", "id": "a" });
    assert_eq!(ask(delete.clone()).await, Ok(json!({ "deleted": true })));
    assert_eq!(ask(delete).await, Ok(json!({ "deleted": false })));
    let got = ask(json!({ "op": "get", "namespace": "agent", "id": "a" })).await;
    assert_eq!(got, Ok(Value::Null));
}

/// Numbers that no float has come back as they were written; what nobody could read is
/// refused.
#[tokio::test]
async fn a_value_comes_back_as_it_was_written() {
    let (world, door) = (World::new(), Door::new(OWN));
    let put = |value: &str| {
        format!(
            r#"{{"op":"put","namespace":"agent","document":{{"id":"a","text":"x","value":{value}}}}}"#
        )
    };
    let get = r#"{"op":"get","namespace":"agent","id":"a"}"#;
    for value in [
        r#"{"n":12345678901234567890123,"x":1.10,"e":1E2}"#,
        "-0.0",
        r#"[1, 2.00 ,{ "a" : "\u00e9" }]"#,
        "\"text\"",
    ] {
        world.told("notes", &door, &put(value)).await.expect(value);
        let got = world.told("notes", &door, get).await.expect(value);
        assert!(
            got.contains(&format!("\"value\":{value}")),
            "{value}: {got}"
        );
    }
    for value in [
        "1e999".to_owned(),
        r#""\ud800""#.to_owned(),
        "[".repeat(200) + &"]".repeat(200),
    ] {
        let refused = world.told("notes", &door, &put(&value)).await;
        let refused = refused.expect_err(&value);
        assert!(refused.contains("value: "), "{value}: {refused}");
    }
    let odd = r#"{"op":"put","namespace":"agent","document":{"id":"a","txt":"x"}}"#;
    let refused = world.told("notes", &door, odd).await.expect_err("odd");
    assert!(refused.contains("unknown field `txt`"), "{refused}");
    let odd = r#"{"op":"put","namespace":"agent","document":{"id":"a"},"limit":1}"#;
    let refused = world.told("notes", &door, odd).await.expect_err("odd");
    assert!(refused.contains("unknown field `limit`"), "{refused}");
    let twice = r#"{"op":"get","op":"put","namespace":"agent","id":"a"}"#;
    let refused = world.told("notes", &door, twice).await.expect_err("twice");
    assert!(refused.contains("duplicate field `op`"), "{refused}");
}

#[tokio::test]
async fn two_principals_and_two_plugins_never_meet() {
    let world = World::new();
    let (alice, mut bob) = (Door::new(OWN), Door::new(OWN));
    bob.principal = "bob";
    let find = json!({ "op": "search", "namespaces": ["agent"], "text": "secret" });
    let get = json!({ "op": "get", "namespace": "agent", "id": "a" });
    world
        .ask("notes", &alice, put("agent", "a", "secret of alice"))
        .await
        .expect("it is written");
    for (plugin, door, sees) in [
        ("notes", &alice, true),
        ("notes", &bob, false),
        ("other", &alice, false),
    ] {
        let found = world
            .ask(plugin, door, find.clone())
            .await
            .expect("a search");
        assert_eq!(found["hits"][0]["id"] == "a", sees, "{plugin}");
        let got = world.ask(plugin, door, get.clone()).await.expect("a get");
        assert_eq!(!got.is_null(), sees, "{plugin}");
    }
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_on_record() {
    let world = World::new();
    let text = "memory = [{ namespace = \"agent\", access = \"write\", documents = 1 }, { namespace = \"shared/a\" }, { namespace = \"run\" }]";
    let mut door = Door::new(text);
    let over = json!({ "op": "search", "namespaces": ["agent", "shared/b"], "text": "x" });
    let table = [
        (put("shared/a", "x", "y"), "access = \"read\""),
        (put("shared/b", "x", "y"), "no memory rule covers"),
        (over, "no memory rule covers `shared/b`"),
        (
            json!({ "op": "get", "namespace": "run", "id": "x" }),
            "a tool has `agent`",
        ),
        (
            json!({ "op": "search", "namespaces": [], "text": "x" }),
            "none to search in",
        ),
        (
            json!({ "op": "drop", "namespace": "agent" }),
            "unknown variant `drop`",
        ),
        (
            json!({ "op": "list", "namespace": "agent", "lim": 1 }),
            "unknown field `lim`",
        ),
        (
            json!({ "op": "list", "namespace": "agent", "limit": 1001 }),
            "limit: it is 1001; 1 to 1000",
        ),
        (
            json!({ "op": "list", "namespace": "agent", "limit": 0 }),
            "limit: it is 0",
        ),
        (put("agent", "", "y"), "id: it is empty"),
    ];
    for (request, expect) in table {
        let error = world.ask("notes", &door, request.clone()).await;
        let error = error.expect_err("it is refused");
        assert!(error.contains(expect), "{request}: {error}");
    }
    let first = world.ask("notes", &door, put("agent", "a", "x")).await;
    assert!(first.is_ok(), "{first:?}");
    let second = world.ask("notes", &door, put("agent", "b", "x")).await;
    assert!(second.expect_err("full").contains("its quota is 1"));
    door.class = EffectClass::ReadOnly;
    let get = json!({ "op": "get", "namespace": "agent", "id": "a" });
    assert!(world.ask("notes", &door, get).await.is_ok());
    let write = world.ask("notes", &door, put("agent", "a", "x")).await;
    assert!(
        write
            .expect_err("read-only")
            .contains("called as read-only")
    );
}

#[tokio::test]
async fn what_a_request_holds_counts() {
    let world = World::new();
    let mut door = Door::new(OWN);
    door.budget_bytes = 1_000;
    let long = put("agent", "a", &"x".repeat(1_000));
    let error = world.ask("notes", &door, long).await;
    assert!(error.expect_err("too much").contains("host_memory"));
    door.budget_bytes = 1 << 30;
    let long = put("agent", "a", &"x".repeat(1 << 20));
    let error = world.ask("notes", &door, long).await.expect_err("too long");
    assert!(error.contains("at most 1048576"), "{error}");
}

/// A write that was permitted before the grant was taken away is refused, or is
/// there before anything that is deleted afterwards.
#[tokio::test]
async fn a_write_ends_with_its_grant() {
    let world = World::new();
    let door = Door::new(OWN);
    let backend = Arc::new(Backend::new(&world.services, "notes"));
    let state = State::new(door.gate(), backend);
    let request = put("agent", "a", "x").to_string();
    assert!(state.ask(&request).await.is_ok());
    door.cell.replace(2, grants(""));
    let refused = state.ask(&request).await;
    let Err(Failure::Told(CallError::Denied(denial))) = refused else {
        panic!("{refused:?}")
    };
    assert!(denial.rule.contains("no memory rule"), "{denial:?}");
}

/// Entries that are not one answer are several, each as large as it may be.
#[tokio::test]
async fn a_long_list_comes_in_answers_of_a_bounded_size() {
    const DOCUMENTS: usize = 150;
    let (world, door) = (World::new(), Door::new(OWN));
    let ask = |request| world.ask("notes", &door, request);
    // Each byte of these is two in JSON.
    let labels = (0..32).map(|n| (format!("{n:064}"), json!("\"".repeat(256))));
    let labels = Value::Object(labels.collect());
    for n in 0..DOCUMENTS {
        let mut put = put("agent", &format!("{n:03}"), "");
        put["document"]["labels"] = labels.clone();
        ask(put).await.expect("it is written");
    }
    let (mut ids, mut after, mut sizes) = (Vec::new(), Value::Null, Vec::new());
    loop {
        let list = json!({ "op": "list", "namespace": "agent", "limit": 1_000, "after": after });
        let answer = ask(list).await.expect("a part");
        sizes.push(answer.to_string().len());
        let entries = answer["entries"].as_array().expect("entries");
        ids.extend(entries.iter().map(|entry| entry["id"].clone()));
        after = answer["next"].clone();
        if after.is_null() {
            break;
        }
    }
    let all: Vec<Value> = (0..DOCUMENTS).map(|n| json!(format!("{n:03}"))).collect();
    assert_eq!(ids, all);
    let one = sizes.iter().sum::<usize>() / DOCUMENTS;
    assert_eq!(sizes.len(), 3, "{sizes:?}");
    for size in &sizes[..2] {
        let bounds = ANSWER_BYTES_MAX - 2 * one..=ANSWER_BYTES_MAX;
        assert!(bounds.contains(size), "{sizes:?}");
    }
}

/// One grant does not take all the namespaces there may be.
#[tokio::test]
async fn a_plugin_makes_no_more_namespaces_than_its_share() {
    let world = World::with(Options {
        plugin_namespaces_max: 2,
        ..Options::default()
    });
    let all = "memory = [{ namespace = \"shared/*\", access = \"write\" }, { namespace = \"agent\", access = \"write\" }]";
    let door = Door::new(all);
    for name in ["shared/a", "shared/b", "agent"] {
        let first = world.ask("notes", &door, put(name, "x", "y")).await;
        assert!(first.is_ok(), "{name}: {first:?}");
    }
    let backend = Arc::new(Backend::new(&world.services, "notes"));
    let state = State::new(door.gate(), backend);
    let refused = state.ask(&put("shared/c", "x", "y").to_string()).await;
    let Err(Failure::Told(CallError::Denied(denial))) = refused else {
        panic!("{refused:?}")
    };
    let said = "plugin notes would have 3 shared namespaces, at most 2 are allowed";
    assert!(denial.rule.starts_with(said), "{denial:?}");
    let other = world.ask("other", &door, put("shared/c", "x", "y")).await;
    assert!(other.is_ok(), "{other:?}");
    let gone = json!({ "op": "delete", "namespace": "shared/a", "id": "x" });
    assert!(world.ask("notes", &door, gone).await.is_ok());
    let next = world.ask("notes", &door, put("shared/d", "x", "y")).await;
    assert!(next.is_ok(), "{next:?}");
}

/// A look at a memory that was never used finds nothing, and makes nothing.
#[tokio::test]
async fn a_read_opens_no_unused_memory() {
    let (world, door) = (World::new(), Door::new(OWN));
    let cases = [
        (
            json!({ "op": "get", "namespace": "agent", "id": "a" }),
            Value::Null,
        ),
        (
            json!({ "op": "list", "namespace": "agent" }),
            json!({ "entries": [] }),
        ),
        (
            json!({ "op": "search", "namespaces": ["agent"], "text": "x" }),
            json!({ "hits": [] }),
        ),
    ];
    for (request, expect) in cases {
        let answer = world.ask("notes", &door, request.clone()).await;
        assert_eq!(answer, Ok(expect), "{request}");
    }
    let made = || world.dir.path().join("memory").exists();
    assert!(!made() && world.services.memory.opened().is_none());
    let put = world.ask("notes", &door, put("agent", "a", "x")).await;
    assert!(put.is_ok() && made(), "{put:?}");
}

/// A permit is for its own operation: for another one there is no task.
#[test]
fn a_run_does_what_it_was_permitted_and_nothing_else() {
    let granted = grants(CASES.grants);
    let get = r#"{"op":"get","namespace":"run","id":"a"}"#;
    let two = r#"{"op":"search","namespaces":["run","agent"]}"#;
    for (request, words, permitted) in [
        (get, &["get run a"][..], true),
        (get, &["get run b"], false),
        (get, &["put run a"], false),
        (get, &["get agent a"], false),
        (get, &["get run a", "get run a"], false),
        (get, &[], false),
        (two, &["search run", "search agent"], true),
        (two, &["search agent", "search run"], false),
        (two, &["search run"], false),
    ] {
        let permit = |words: &&str| {
            let words: Vec<&str> = words.split(' ').collect();
            let op = Memory::parse_op(&words).expect("an operation");
            granted.permit_run::<Memory>(op).expect("granted")
        };
        let permits: Vec<_> = words.iter().map(permit).collect();
        let owner = Owner {
            plugin: "p",
            principal: "u",
            run: Some("run_1"),
        };
        let asked = Request::read(request).expect("a request");
        let task = Task::of_run(asked, &permits, owner);
        assert_eq!(task.is_ok(), permitted, "{request} by {words:?}: {task:?}");
    }
}
