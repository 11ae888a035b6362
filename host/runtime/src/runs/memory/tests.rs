use std::sync::Arc;

use airlock_journal::{MemoryStore, Store};
use airlock_memory::{Change, Expect, Kind, Namespace, NewDocument, Options, Quota};
use serde_json::{Value, json};

use super::*;
use crate::runs::event::Record;
use crate::runs::fold::RunState;

fn asked(request: Request, begun: bool) -> Asked {
    let mut state = RunState::default();
    let event = Event::Requested {
        id: 0,
        request,
        begun: begun.then_some(EffectClass::Plain),
    };
    state.apply(&Record { at_ms: 1, event });
    state.requests[&0].clone()
}

fn memory(request: Value) -> Request {
    let request = request.to_string();
    Request::Memory { request }
}

/// What is ended while nobody makes it did what its receipt says; without one it did
/// not happen. What was not begun, and what another run did, no receipt knows.
#[tokio::test]
async fn a_change_that_is_ended_is_told_by_its_receipt() {
    let dir = tempfile::tempdir().expect("a folder");
    let store: Arc<dyn Store> = MemoryStore::new();
    let home = MemoryHome::new(store, dir.path().join("memory"), Options::default());
    let place = Namespace::new(Kind::Agent, "prober").expect("a namespace");
    let put = || memory(json!({ "op": "put", "namespace": "agent", "document": { "id": "a" } }));
    let delete = || memory(json!({ "op": "delete", "namespace": "agent", "id": "a" }));
    let none = Some(Told::Error(CallError::Cancelled));
    let before = what_happened(&home, "run_1", 1, &asked(put(), true));
    assert_eq!(before, none, "nobody ever wrote");
    assert!(home.opened().is_none(), "a look opens nothing");
    let document = NewDocument {
        id: "a".to_owned(),
        ..NewDocument::default()
    };
    let by = Provenance {
        by: "somebody".to_owned(),
        ..Provenance::default()
    };
    let changes = [
        (1, Change::put(document, Expect::Any)),
        (2, Change::delete("a", Expect::Any)),
        (3, Change::delete("a", Expect::Any)),
    ];
    for (id, change) in changes {
        let documents = home.open().expect("the memory");
        let quota = Quota::default();
        let written = documents.write_once(("run_1", id), &place, vec![change], &by, quota);
        written.await.expect("it is written");
    }
    let ok = |answer: Value| Some(Told::Ok(answer.to_string()));
    let unknown = Asked {
        unknown: Some("nobody knows".to_owned()),
        ..asked(put(), true)
    };
    let timer = Request::Timer { due_ms: 1 };
    let table = [
        ("run_1", 1, asked(put(), true), ok(json!({ "version": 1 }))),
        (
            "run_1",
            2,
            asked(delete(), true),
            ok(json!({ "deleted": true })),
        ),
        (
            "run_1",
            3,
            asked(delete(), true),
            ok(json!({ "deleted": false })),
        ),
        ("run_1", 4, asked(put(), true), none.clone()),
        ("run_2", 1, asked(put(), true), none),
        ("run_1", 1, asked(put(), false), None),
        ("run_1", 1, unknown, None),
        ("run_1", 1, asked(timer, true), None),
    ];
    for (run, id, asked, expect) in table {
        let told = what_happened(&home, run, id, &asked);
        assert_eq!(told, expect, "{run} {id} {asked:?}");
    }
}
