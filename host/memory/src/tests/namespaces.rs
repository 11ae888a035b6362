//! How many namespaces there may be, and when one is gone.

use std::collections::BTreeMap;

use airlock_journal::Store;
use bytes::Bytes;

use super::{World, author, document, namespace, options, told};
use crate::rows::{self, FLOORS, HEAD, HeadRow, MAKERS, META, NAMES, NameRow};
use crate::wait::wait;
use crate::{Change, Expect, Kind, MemoryError, NewDocument, Options, Provenance, Quota};

const SPACE: &str = "agent/react";

/// What is counted is what there is, and nothing that is empty is.
pub(super) fn check_counts(world: &World, what: &str) {
    let names = world.store.range(NAMES, b"", None, usize::MAX);
    let mut made: BTreeMap<Bytes, u64> = BTreeMap::new();
    let names = names.expect("the names");
    for (key, row) in &names {
        let name: NameRow = rows::from_json(NAMES, key, row).expect("a name");
        assert!(name.documents > 0, "{what}: {}", key.escape_ascii());
        let kind = rows::namespace_of(key).expect("a name").kind();
        if let Some(maker) = &name.maker {
            *made.entry(rows::maker_key(kind, maker)).or_default() += 1;
        }
    }
    let counted = world.store.range(MAKERS, b"", None, usize::MAX);
    let counted = counted.expect("the counts").into_iter();
    let counted = counted.map(|(key, row)| {
        let count: u64 = rows::from_json(MAKERS, &key, &row).expect("a count");
        (key, count)
    });
    assert_eq!(counted.collect::<BTreeMap<_, _>>(), made, "{what}");
    let head = world.store.get(META, HEAD).expect("a read");
    let head = head.map(|row| rows::from_json(META, HEAD, &row).expect("the head"));
    let head: HeadRow = head.unwrap_or_default();
    assert_eq!(head.namespaces, names.len() as u64, "{what}");
}

/// A document, by a plugin or by a person.
fn put(world: &World, space: &str, id: &str, plugin: Option<&str>) -> Result<u64, MemoryError> {
    let provenance = Provenance {
        plugin: plugin.map(str::to_owned),
        ..author()
    };
    let (space, quota) = (namespace(space), Quota::default());
    let document = document(id, "word");
    let put = world
        .memory
        .put(&space, document, Expect::Any, &provenance, quota);
    wait(put)
}

#[test]
fn one_plugin_has_its_share_and_no_more() {
    let bounds = || Options {
        namespaces_max: 8,
        plugin_namespaces_max: 2,
        ..options()
    };
    let world = World::with(bounds());
    let (p, q) = (Some("p"), Some("q"));
    let over = |kind: &str| {
        format!(
            "quota: plugin p would have 3 {kind} namespaces, at most 2 are allowed; a namespace \
             goes with its last document: delete what is not needed"
        )
    };
    for (kind, name) in [("run", "r"), ("agent", "p."), ("shared", "s")] {
        let space = |n: u32| format!("{kind}/{name}{n}");
        for n in 1..=2 {
            put(&world, &space(n), "a", p).expect("its share");
            put(&world, &space(n), "b", p).expect("there already");
        }
        for _ in 0..3 {
            assert_eq!(told(put(&world, &space(3), "a", p)), over(kind));
        }
        check_counts(&world, kind);
    }
    let world = world.reopen_with(bounds());
    assert_eq!(told(put(&world, "shared/s3", "a", p)), over("shared"));
    // Others have theirs; what is there, all may fill.
    put(&world, "shared/s3", "a", q).expect("another plugin's");
    put(&world, "shared/s3", "b", p).expect("there already");
    put(&world, "shared/s4", "a", None).expect("a person's");
    let full = told(put(&world, "shared/s5", "a", None));
    let begins = "quota: the memory would have 9 namespaces, at most 8 are allowed; a namespace";
    assert!(full.starts_with(begins), "{full}");
    // Whoever takes its last document, or all of it, its maker may make another.
    assert!(world.drop_namespace("shared/s1"));
    put(&world, "shared/s6", "a", p).expect("a place");
    for id in ["a", "b"] {
        assert!(world.delete("shared/s2", id));
    }
    put(&world, "shared/s7", "a", p).expect("a place");
    assert_eq!(told(put(&world, "shared/s8", "a", p)), over("shared"));
    check_counts(&world, "at the end");
}

#[test]
fn a_namespace_goes_with_its_last_document() {
    let world = World::with(Options {
        namespaces_max: 1,
        ..options()
    });
    for n in 0..40 {
        let space = format!("shared/{n}");
        match n % 4 {
            0 => {
                world.put(&space, document("a", "word"));
                assert!(world.delete(&space, "a"));
            }
            1 => {
                let ttl_ms = Some(5);
                let short = document("a", "word");
                world.put(&space, NewDocument { ttl_ms, ..short });
                world.advance(5);
                let early = told(world.try_put("shared/x", document("a", ""), Expect::Any));
                assert!(early.starts_with("quota: the memory"), "{early}");
                world.sweep();
            }
            2 => assert!(
                world.put(&space, document("a", "")) > 0 && world.drop_namespace(&space),
                "{space}"
            ),
            _ => {
                let all = vec![
                    Change::put(document("a", "word"), Expect::Absent),
                    Change::delete("a", Expect::Any),
                ];
                let written = world.write(&space, all, Quota::default());
                written.expect("it is written");
            }
        }
        assert_eq!(world.memory.usage(&namespace(&space)).expect("usage"), None);
        check_counts(&world, &space);
    }
    assert_eq!(world.memory.namespaces(None, None, 9).expect("a list"), []);
    let world = world.reopen();
    assert!(
        world
            .find(super::text_search(&["shared/0"], "word"))
            .is_empty()
    );
}

/// Whoever knows a version of a document that is gone does not take another for it.
#[test]
fn versions_grow_though_the_namespace_was_empty() {
    let mut world = World::new();
    let refused = |world: &World, expect| told(world.try_put(SPACE, document("a", ""), expect));
    let mut last = 0;
    for round in 0..4 {
        let first = world
            .try_put(SPACE, document("a", "word"), Expect::Absent)
            .expect("there is none");
        assert_eq!(first, last + 1, "round {round}");
        let stale = refused(&world, Expect::Version(last));
        assert!(stale.contains(&format!("is in version {first}")), "{stale}");
        last = world.put(SPACE, document("a", "word"));
        match round % 2 {
            0 => assert!(world.delete(SPACE, "a")),
            _ => {
                let ttl_ms = Some(1);
                let over = document("a", "word");
                last = world.put(SPACE, NewDocument { ttl_ms, ..over });
                world.advance(1);
                world.sweep();
            }
        }
        let gone = refused(&world, Expect::Version(last));
        assert!(gone.contains("does not exist"), "{gone}");
        world = world.reopen();
    }
    // What is emptied and filled by one write stays.
    world.put(SPACE, document("a", ""));
    let changes = vec![
        Change::delete("a", Expect::Any),
        Change::put(document("b", ""), Expect::Absent),
    ];
    let written = world.write(SPACE, changes, Quota::default());
    written.expect("it is written");
    assert_eq!(world.ids(SPACE), ["b"]);
    check_counts(&world, "at the end");
}

/// What is kept of names that are gone does not grow with them.
#[test]
fn names_share_a_bounded_number_of_floors() {
    let key = |name: &str| rows::floor_key(&rows::name_key(&namespace(name)));
    assert_eq!(key("shared/handbook").len(), 2);
    let places = (0..20_000).map(|n| key(&format!("run/run_{n}")));
    let places: std::collections::BTreeSet<Bytes> = places.collect();
    assert!(places.len() > 15_000, "{} places", places.len());
    // They are stored.
    let pinned = [key("shared/handbook"), key("agent/react")];
    assert_eq!(pinned.map(|key| key.to_vec()), [[51, 227], [206, 102]]);
    let world = World::new();
    for n in 0..20 {
        let space = format!("run/r{}", n % 2);
        world.put(&space, document("a", ""));
        assert!(world.delete(&space, "a"));
    }
    assert_eq!(world.rows(FLOORS), 2);
    let made = world.memory.namespaces(Some(Kind::Run), None, 1);
    assert_eq!(made.expect("a list"), []);
}
