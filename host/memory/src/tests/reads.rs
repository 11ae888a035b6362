//! Lists and pages.

use super::{World, document, namespace, told};
use crate::limits::PAGE_MAX;
use crate::{Kind, NewDocument};

const SPACE: &str = "shared/handbook";

#[test]
fn a_list_comes_in_pages() {
    let world = World::new();
    let ids = ["a", "a/1", "a/2", "a0", "b", "ä", "ö/1", "z", "\u{10ffff}"];
    for id in ids {
        world.put(SPACE, document(id, ""));
    }
    for other in ["shared/handbook2", "shared/handboo", "run/handbook"] {
        world.put(other, document("elsewhere", ""));
    }
    let mut sorted = ids;
    sorted.sort_unstable();
    let list = |prefix: &str, limit: usize| {
        let (mut all, mut after, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let page = world
                .memory
                .list(&namespace(SPACE), prefix, after.as_deref(), limit);
            let page = page.expect("a page");
            assert!(page.entries.len() <= limit);
            all.extend(page.entries.into_iter().map(|entry| entry.id));
            pages += 1;
            after = page.next;
            if after.is_none() {
                return (all, pages);
            }
        }
    };
    for limit in [1, 2, 3, 8, 9, 10, 1000] {
        assert_eq!(list("", limit).0, sorted, "{limit}");
    }
    assert_eq!(list("", 9).1, 2, "nobody knows before that nothing follows");
    assert_eq!(list("", 10).1, 1);
    let cases: [(&str, &[&str]); 7] = [
        ("a", &["a", "a/1", "a/2", "a0"]),
        ("a/", &["a/1", "a/2"]),
        ("ö", &["ö/1"]),
        ("z", &["z"]),
        ("zz", &[]),
        ("\u{10ffff}", &["\u{10ffff}"]),
        ("x", &[]),
    ];
    for (prefix, expected) in cases {
        assert_eq!(list(prefix, 2).0, expected, "{prefix}");
    }
    let page = world
        .memory
        .list(&namespace(SPACE), "b", Some("zzz"), 10)
        .expect("a page");
    assert_eq!(page.entries, []);
    let page = world
        .memory
        .list(&namespace("run/none"), "", None, 10)
        .expect("a page");
    assert_eq!(page, crate::Page::default());
}

/// As a search does: a page of nothing would be told as the last.
#[test]
fn pages_have_bounds() {
    let world = World::new();
    for filled in [false, true] {
        if filled {
            world.put(SPACE, document("a", ""));
        }
        let list = |limit| world.memory.list(&namespace(SPACE), "", None, limit);
        let all = |limit| world.memory.namespaces(None, None, limit);
        let refused = |limit: usize, unit: &str| {
            format!("invalid-input: limit: it is {limit}; 1 to 1000 {unit}")
        };
        for limit in [0, PAGE_MAX + 1] {
            assert_eq!(told(list(limit)), refused(limit, "documents"));
            assert_eq!(told(all(limit)), refused(limit, "namespaces"));
        }
        for limit in [1, PAGE_MAX] {
            assert_eq!(
                list(limit).expect("a page").entries.len(),
                usize::from(filled)
            );
            assert_eq!(all(limit).expect("a page").len(), usize::from(filled));
        }
    }
}

/// Whoever has enough says so, and goes on where that was.
#[test]
fn a_walk_ends_where_it_is_told_to() {
    let world = World::new();
    let ids: Vec<String> = (0..40).map(|n| format!("{n:02}")).collect();
    for id in &ids {
        world.put(SPACE, document(id, ""));
    }
    for most in [1, 15, 16, 17, 39, 40, 41] {
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let mut part = Vec::new();
            let from = (after.as_deref(), PAGE_MAX);
            let next = world.memory.walk(&namespace(SPACE), "", from, |entry| {
                let takes = part.len() < most;
                part.extend(takes.then_some(entry.id));
                takes
            });
            assert!(part.len() <= most && !part.is_empty(), "{most}");
            all.append(&mut part);
            after = next.expect("a part");
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, ids, "{most}");
    }
    let none = world
        .memory
        .walk(&namespace(SPACE), "", (Some("05"), 10), |_| false);
    assert_eq!(none.expect("a part").as_deref(), Some("05"));
}

#[test]
fn pages_pass_over_what_has_expired() {
    let world = World::new();
    for n in 0..100 {
        let ttl_ms = (n % 10 != 0).then_some(5);
        world.put(
            SPACE,
            NewDocument {
                ttl_ms,
                ..document(&format!("{n:02}"), "")
            },
        );
    }
    world.advance(5);
    let page = world
        .memory
        .list(&namespace(SPACE), "", None, 4)
        .expect("a page");
    let ids: Vec<&str> = page.entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["00", "10", "20", "30"]);
    let rest = world
        .memory
        .list(&namespace(SPACE), "", page.next.as_deref(), 100);
    assert_eq!(rest.expect("a page").entries.len(), 6);
}

#[test]
fn namespaces_are_listed_by_kind() {
    let world = World::new();
    let spaces = ["run/r1", "run/r2", "agent/a", "shared/x", "shared/y"];
    for space in spaces {
        world.put(space, document("d", "text"));
    }
    let list = |kind, after: Option<&str>, limit| {
        let after = after.map(namespace);
        let found = world
            .memory
            .namespaces(kind, after.as_ref(), limit)
            .expect("a list");
        found
            .into_iter()
            .map(|(space, _)| space.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 100), spaces);
    assert_eq!(list(Some(Kind::Run), None, 100), ["run/r1", "run/r2"]);
    assert_eq!(list(Some(Kind::Agent), None, 100), ["agent/a"]);
    assert_eq!(
        list(Some(Kind::Shared), Some("shared/x"), 100),
        ["shared/y"]
    );
    assert_eq!(list(None, Some("run/r2"), 2), ["agent/a", "shared/x"]);
    assert_eq!(
        list(Some(Kind::Run), Some("shared/x"), 9),
        Vec::<String>::new()
    );
    let all = world.memory.namespaces(None, None, 1).expect("a list");
    assert_eq!(all[0].1.documents, 1);
}
