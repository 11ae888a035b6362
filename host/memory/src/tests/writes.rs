//! What may be written, and what becomes of it.

use std::time::{Duration, Instant};

use super::{World, author, document, namespace, options, told};
use crate::limits::{DIMENSION_MAX, DOCUMENT_OVERHEAD_BYTES};
use crate::rows::{DOCS, EXPIRY, GONE, LOG, VECTORS};
use crate::wait::wait;
use crate::{Change, Expect, Json, Memory, NewDocument, Options, Quota, Source, Usage};

const SPACE: &str = "agent/react";

#[test]
fn a_change_happens_only_on_what_it_expects() {
    let world = World::new();
    let put = |id: &str, expect| {
        let outcome = world.try_put(SPACE, document(id, "text"), expect);
        outcome.map_err(|error| format!("{}: {error}", error.code()))
    };
    let delete = |id: &str, expect| {
        let deleted = world
            .memory
            .delete(&namespace(SPACE), id, expect, &author());
        wait(deleted).map_err(|error| format!("{}: {error}", error.code()))
    };
    fn refused<T>(text: &str) -> Result<T, String> {
        Err(format!("conflict: document {text}; nothing was changed"))
    }
    assert_eq!(
        delete("a", Expect::Any),
        Ok(false),
        "there is no namespace yet"
    );
    assert_eq!(
        delete("a", Expect::Version(1)),
        refused("\"a\" does not exist")
    );
    assert_eq!(
        put("a", Expect::Version(1)),
        refused("\"a\" does not exist")
    );
    assert_eq!(put("a", Expect::Absent), Ok(1));
    assert_eq!(put("a", Expect::Absent), refused("\"a\" is in version 1"));
    assert_eq!(
        put("a", Expect::Version(2)),
        refused("\"a\" is in version 1")
    );
    assert_eq!(put("a", Expect::Version(1)), Ok(2));
    assert_eq!(put("a", Expect::Any), Ok(3));
    assert_eq!(put("b", Expect::Any), Ok(1));
    assert_eq!(
        delete("a", Expect::Absent),
        refused("\"a\" is in version 3")
    );
    assert_eq!(
        delete("a", Expect::Version(2)),
        refused("\"a\" is in version 3")
    );
    assert_eq!(delete("a", Expect::Version(3)), Ok(true));
    assert_eq!(delete("a", Expect::Any), Ok(false));
    // Whoever still knows version 3 must not take the new one for it.
    assert_eq!(put("a", Expect::Absent), Ok(4));
    assert!(world.drop_namespace(SPACE));
    assert!(!world.drop_namespace(SPACE));
    assert_eq!(
        put("a", Expect::Absent),
        Ok(1),
        "a new namespace begins anew"
    );
}

#[test]
fn a_write_happens_whole_or_not_at_all() {
    let world = World::new();
    world.put(SPACE, document("there", "old"));
    let before = world.memory.usage(&namespace(SPACE)).expect("usage");
    let log = world.rows(LOG);
    let changes = vec![
        Change::put(document("new", "new"), Expect::Absent),
        Change::delete("there", Expect::Any),
        Change::put(document("there", "again"), Expect::Absent),
        Change::put(document("other", "x"), Expect::Version(7)),
    ];
    let refused = told(world.write(SPACE, changes.clone(), Quota::default()));
    assert_eq!(
        refused,
        "conflict: document \"other\" does not exist; nothing was changed"
    );
    let refused = told(world.write("run/r1", changes, Quota::default()));
    assert!(
        refused.starts_with("conflict: document \"other\""),
        "{refused}"
    );
    assert_eq!(world.ids(SPACE), ["there"]);
    assert_eq!(
        world.memory.usage(&namespace(SPACE)).expect("usage"),
        before
    );
    assert_eq!(
        world.memory.usage(&namespace("run/r1")).expect("usage"),
        None
    );
    assert_eq!(world.rows(LOG), log);
    let changes = vec![
        Change::put(document("new", "new"), Expect::Absent),
        Change::put(document("new", "newer"), Expect::Version(1)),
        Change::delete("new", Expect::Version(2)),
        Change::put(document("new", "newest"), Expect::Absent),
    ];
    world
        .write(SPACE, changes, Quota::default())
        .expect("each sees those before it");
    let new = world
        .memory
        .get(&namespace(SPACE), "new")
        .expect("a read")
        .expect("it is there");
    assert_eq!((new.text.as_str(), new.entry.version), ("newest", 3));
}

/// Numbers that no float has, spaces and a member twice: kept as written.
const VALUE: &str =
    r#"{"n": 12345678901234567890123, "x":1.10, "e":1E5, "a" : [ {"a":null} ], "a":1}"#;

#[test]
fn what_was_written_is_read() {
    let world = World::new();
    let source = Source {
        uri: "docs/setup.md".to_owned(),
        bytes: Some((10, 20)),
        lines: Some((2, 4)),
        headings: vec!["Setup".to_owned()],
        ..Source::default()
    };
    let new = NewDocument {
        value: serde_json::from_str(VALUE).expect("JSON"),
        labels: [("team".to_owned(), "a:b=c".to_owned())].into(),
        vector: Some(vec![3.0, 4.0]),
        ttl_ms: Some(500),
        source: Some(source.clone()),
        ..document("x/y#1", "line\n\0\u{202e}weird")
    };
    world.put(SPACE, new.clone());
    world.advance(10);
    let world = world.reopen();
    let read = world
        .memory
        .get(&namespace(SPACE), "x/y#1")
        .expect("a read")
        .expect("it is there");
    assert_eq!((read.text, &read.value), (new.text, &new.value));
    assert_eq!(read.value.as_ref().map(Json::text), Some(VALUE));
    let entry = read.entry;
    assert_eq!((entry.labels, entry.source), (new.labels, Some(source)));
    assert_eq!((entry.version, entry.dimension), (1, Some(2)));
    assert_eq!((entry.created_ms, entry.updated_ms), (1_000_000, 1_000_000));
    assert_eq!(
        (entry.expires_ms, entry.provenance),
        (Some(1_000_500), author())
    );
    let vector = world
        .memory
        .vector(&namespace(SPACE), "x/y#1")
        .expect("a read");
    assert_eq!(vector, Some(vec![0.6, 0.8]));
    world.put(SPACE, document("x/y#1", "plain"));
    let read = world
        .memory
        .get(&namespace(SPACE), "x/y#1")
        .expect("a read")
        .expect("it is there");
    assert_eq!(
        (read.entry.created_ms, read.entry.updated_ms),
        (1_000_000, 1_000_010)
    );
    assert_eq!((read.entry.expires_ms, read.value), (None, None));
    assert_eq!((world.rows(VECTORS), world.rows(EXPIRY)), (0, 0));
}

#[test]
fn quotas_hold_at_their_limit() {
    let size = |text: &str| DOCUMENT_OVERHEAD_BYTES + 1 + text.len() as u64;
    let (ten, eleven) = ("x".repeat(10), "x".repeat(11));
    let quota = |documents_max, bytes_max| Quota {
        documents_max,
        bytes_max,
    };
    let world = World::new();
    let put = |id: &str, text: &str, quota| {
        let changes = vec![Change::put(document(id, text), Expect::Any)];
        world.write(SPACE, changes, quota)
    };
    let full = 2 * size(&ten);
    put("a", &ten, quota(2, full)).expect("the first");
    assert_eq!(
        told(put("b", &ten, quota(1, full))),
        "quota: namespace agent/react would hold 2 documents, its quota is 1; delete documents \
         or raise the quota"
    );
    let refused = told(put("b", &ten, quota(2, full - 1)));
    assert!(
        refused.contains(&format!("{full} bytes, its quota is {}", full - 1)),
        "{refused}"
    );
    put("b", &ten, quota(2, full)).expect("exactly");
    told(put("b", &eleven, quota(2, full)));
    put("a", "", quota(2, full)).expect("less");
    put("b", &eleven, quota(2, full)).expect("there is room now");
    // A quota that was lowered refuses growth, not what shrinks.
    put("b", &ten, quota(1, 1)).expect("less");
    told(put("b", &eleven, quota(1, 1)));
    told(put("c", "", quota(0, full)));
    let usage = world.memory.usage(&namespace(SPACE)).expect("usage");
    let bytes = size("") + size(&ten);
    let expected = Usage {
        documents: 2,
        bytes,
        ..Usage::default()
    };
    assert_eq!(usage, Some(expected));
    for id in ["a", "b"] {
        world.delete(SPACE, id);
    }
    let usage = world.memory.usage(&namespace(SPACE)).expect("usage");
    assert_eq!(usage, None, "it went with its last document");
}

#[test]
fn vectors_of_a_namespace_have_one_length() {
    let world = World::new();
    let with = |id: &str, vector: Vec<f32>| NewDocument {
        vector: Some(vector),
        ..document(id, "")
    };
    world.put(SPACE, with("a", vec![1.0, 0.0]));
    world.put(SPACE, with("a", vec![1.0, 0.0, 0.0]));
    let refused = told(world.try_put(SPACE, with("b", vec![1.0, 0.0]), Expect::Any));
    assert_eq!(
        refused,
        "dimension: a vector of 2 numbers, but namespace agent/react has vectors of 3"
    );
    world.put("agent/other", with("b", vec![1.0, 0.0]));
    world.put(SPACE, document("a", "no vector"));
    world.put(SPACE, with("b", vec![1.0, 0.0]));
    let bad = [
        (vec![], "invalid-input: vector: it is empty or all zeros"),
        (
            vec![0.0, 0.0],
            "invalid-input: vector: it is empty or all zeros",
        ),
        (
            vec![1.0, f32::NAN],
            "invalid-input: vector: number 1 is not finite",
        ),
        (
            vec![f32::INFINITY, 1.0],
            "invalid-input: vector: number 0 is not finite",
        ),
        (
            vec![1.0; DIMENSION_MAX + 1],
            "too-large: vector: 4097 numbers, at most 4096 are allowed",
        ),
    ];
    for (vector, expected) in bad {
        assert_eq!(
            told(world.try_put(SPACE, with("c", vector), Expect::Any)),
            expected
        );
    }
    world.put(SPACE, with("b", vec![f32::MIN_POSITIVE, f32::MAX]));
}

#[test]
fn what_is_over_is_never_shown_and_swept_in_steps() {
    let world = World::new();
    let short = |id: &str, ttl_ms| NewDocument {
        ttl_ms: Some(ttl_ms),
        ..document(id, "word")
    };
    for n in 0..300 {
        world.put(SPACE, short(&format!("{n:03}"), 100));
    }
    world.put(SPACE, short("long", 101));
    world.advance(99);
    assert_eq!(world.ids(SPACE).len(), 301);
    world.advance(1);
    assert_eq!(world.ids(SPACE), ["long"]);
    assert_eq!(
        world.memory.get(&namespace(SPACE), "000").expect("a read"),
        None
    );
    assert_eq!(
        world.find(super::text_search(&[SPACE], "word")),
        ["agent/react:long"]
    );
    // One that is over is absent, and its version is not used again.
    let expect = Expect::Absent;
    assert_eq!(
        world
            .try_put(SPACE, document("000", "new"), expect)
            .expect("it is absent"),
        2
    );
    let refused = told(world.try_put(SPACE, document("001", "new"), Expect::Version(1)));
    assert!(refused.contains("does not exist"), "{refused}");
    assert!(!world.delete(SPACE, "002"));
    let steps = [wait(world.memory.sweep()), wait(world.memory.sweep())];
    let steps = steps.map(|step| step.expect("it is swept"));
    assert_eq!((steps[0].expired, steps[0].more), (256, true));
    assert_eq!((steps[1].expired, steps[1].more), (42, false));
    assert_eq!(world.ids(SPACE), ["000", "long"]);
    assert_eq!((world.rows(DOCS), world.rows(EXPIRY)), (2, 1));
    assert_eq!(
        world
            .try_put(SPACE, document("003", ""), Expect::Any)
            .expect("it is written"),
        2
    );
    // A time that can't be reached is no end.
    world.put(SPACE, short("last", u64::MAX));
    assert!(world.ids(SPACE).contains(&"last".to_owned()));
}

/// What one writes, again and again, keeps nobody's documents.
#[test]
fn what_is_over_is_swept_while_others_write() {
    let world = World::with(Options {
        background: true,
        ..options()
    });
    let brief = NewDocument {
        ttl_ms: Some(1),
        ..document("a", "over soon")
    };
    world.put("agent/brief", brief);
    world.advance(10);
    let begun = Instant::now();
    for n in 0.. {
        world.put("shared/busy", document("x", &format!("text {n}")));
        // The writer's own document alone is left.
        if world.rows(DOCS) == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "{n} writes");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(world.ids("shared/busy"), ["x"]);
}

#[test]
fn a_deleted_namespace_is_gone_at_once_and_swept_in_steps() {
    let world = World::new();
    for n in 0..100 {
        let new = NewDocument {
            vector: Some(vec![1.0]),
            ttl_ms: Some(1_000_000),
            ..document(&format!("{n}"), "word")
        };
        world.put(SPACE, new);
    }
    world.put("agent/other", document("kept", "word"));
    assert!(world.drop_namespace(SPACE));
    let look = |world: &World| {
        assert_eq!(world.ids(SPACE), Vec::<String>::new());
        assert_eq!(
            world.memory.get(&namespace(SPACE), "1").expect("a read"),
            None
        );
        assert_eq!(world.memory.usage(&namespace(SPACE)).expect("usage"), None);
        let found = world.find(super::text_search(&[SPACE, "agent/other"], "word"));
        assert_eq!(found, ["agent/other:kept"]);
    };
    look(&world);
    assert_eq!(world.rows(DOCS), 101, "nothing is swept yet");
    let step = wait(world.memory.sweep()).expect("it is swept");
    assert_eq!((step.gone, step.more), (64, true));
    look(&world);
    let world = world.reopen();
    look(&world);
    world.put(SPACE, document("fresh", "word"));
    world.sweep();
    let rows = [DOCS, VECTORS, EXPIRY, GONE].map(|space| world.rows(space));
    assert_eq!(rows, [2, 0, 0, 0]);
    assert_eq!(world.ids(SPACE), ["fresh"]);
}

/// Many small ones, as the notes of runs are, do not wait for each other.
#[test]
fn deleted_namespaces_are_swept_together() {
    let world = World::new();
    for n in 0..90 {
        let space = format!("run/r{n}");
        world.put(&space, document("a", "word"));
        assert!(world.drop_namespace(&space));
    }
    let steps = [(64, true), (26, true), (0, false)];
    for expected in steps {
        let step = wait(world.memory.sweep()).expect("it is swept");
        assert_eq!((step.gone, step.more), expected);
    }
    assert_eq!([DOCS, GONE].map(|space| world.rows(space)), [0, 0]);
}

#[test]
fn the_log_is_trimmed_when_the_index_has_it() {
    let world = World::new();
    for n in 0..20 {
        world.put(SPACE, document(&n.to_string(), "word"));
    }
    world.sweep();
    assert_eq!(world.rows(LOG), 20);
    world.memory.flush().expect("the index");
    world.sweep();
    assert_eq!(world.rows(LOG), 1, "the last tells whose log it is");
    let world = world.reopen();
    assert_eq!(world.find(super::text_search(&[SPACE], "word")).len(), 20);
}

/// Meanwhile the index takes changes all the time.
#[test]
fn writes_of_many_callers_are_all_there() {
    let world = World::with(Options {
        tail_changes_max: 5,
        tail_age_max: Duration::from_millis(1),
        ..Options::default()
    });
    let memory: &Memory = &world.memory;
    std::thread::scope(|scope| {
        for caller in 0..8 {
            scope.spawn(move || one_caller(memory, caller));
        }
    });
    let check = |world: &World| {
        let mut bytes = 0;
        for space in [SPACE, "run/r"] {
            let page = world
                .memory
                .list(&namespace(space), "", None, 1000)
                .expect("a list");
            let usage = world
                .memory
                .usage(&namespace(space))
                .expect("usage")
                .expect("some");
            assert_eq!((page.entries.len(), usage.documents), (160, 160));
            bytes += usage.bytes;
            bytes -= page.entries.iter().map(|entry| entry.bytes).sum::<u64>();
            for entry in page.entries {
                let (caller, n) = entry.id.split_once('-').expect("an id");
                let search = super::text_search(&[SPACE, "run/r"], &format!("c{caller}n{n}"));
                assert_eq!(world.find(search).len(), 1, "{}", entry.id);
            }
        }
        assert_eq!(bytes, 0);
        let common = super::text_search(&[SPACE, "run/r"], "first");
        assert_eq!(world.find(common).len(), 100, "the rest was written again");
    };
    check(&world);
    check(&world.reopen());
}

/// 50 documents, of which each fifth is removed and each second of the others written
/// again.
fn one_caller(memory: &Memory, caller: usize) {
    let put = |space: &str, new, expect| {
        let put = memory.put(&namespace(space), new, expect, &author(), Quota::default());
        wait(put).expect("it is written")
    };
    for n in 0..50 {
        let (space, id) = (
            if n % 2 == 0 { SPACE } else { "run/r" },
            format!("{caller}-{n}"),
        );
        let word = format!("c{caller}n{n}");
        let new = document(&id, &format!("first {word}"));
        // What others removed from the namespace raises the first version.
        let first = put(space, new, Expect::Absent);
        if n % 4 == 1 {
            let again = put(space, document(&id, &word), Expect::Version(first));
            assert_eq!(again, first + 1);
        }
        if n % 5 == 3 {
            let delete = memory.delete(&namespace(space), &id, Expect::Any, &author());
            assert!(wait(delete).expect("it is removed"));
        }
        let found = memory.search(&super::text_search(&[SPACE, "run/r"], &word));
        let found = found.expect("an answer").len();
        assert_eq!(found, usize::from(n % 5 != 3), "{caller} {n}");
    }
}
