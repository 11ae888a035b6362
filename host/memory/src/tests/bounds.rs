//! Each bound at its limit: what has that much is taken and read again, what has one
//! more is refused by name.

use std::collections::BTreeMap;

use serde_json::json;

use super::{World, author, document, namespace, told};
use crate::limits::{
    CHANGES_MAX, DIMENSION_MAX, DOCUMENT_OVERHEAD_BYTES, HEADING_BYTES_MAX, HEADINGS_MAX,
    ID_BYTES_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX, PROVENANCE_BYTES_MAX,
    QUERY_BYTES_MAX, QUERY_PHRASES_MAX, SEARCH_NAMESPACES_MAX, TEXT_BYTES_MAX, URI_BYTES_MAX,
    VALUE_BYTES_MAX, WRITE_BYTES_MAX,
};
use crate::wait::wait;
use crate::{Change, Expect, NewDocument, Provenance, Quota, Search, Source};

const SPACE: &str = "agent/react";

fn source(change: impl FnOnce(&mut Source)) -> Option<Source> {
    let mut source = Source::default();
    change(&mut source);
    Some(source)
}

fn labels(count: usize, name: usize, value: usize) -> BTreeMap<String, String> {
    let each = (0..count).map(|n| (format!("{n:0name$}"), "v".repeat(value)));
    each.collect()
}

/// A document that has `size` of something.
type Sized = fn(usize) -> NewDocument;

/// What there is a bound on, the bound, and how it is refused.
const PARTS: [(&str, usize, Sized); 11] = [
    ("id", ID_BYTES_MAX, |size| document(&"i".repeat(size), "")),
    ("text", TEXT_BYTES_MAX, |size| {
        document("a", &"t".repeat(size))
    }),
    ("value", VALUE_BYTES_MAX, |size| NewDocument {
        value: Some(json!("v".repeat(size - 2)).into()),
        ..document("a", "")
    }),
    ("labels", LABELS_MAX, |size| NewDocument {
        labels: labels(size, 2, 0),
        ..document("a", "")
    }),
    ("label's name", LABEL_NAME_BYTES_MAX, |size| NewDocument {
        labels: labels(1, size, 1),
        ..document("a", "")
    }),
    ("label's value", LABEL_VALUE_BYTES_MAX, |size| NewDocument {
        labels: labels(1, 1, size),
        ..document("a", "")
    }),
    ("vector", DIMENSION_MAX, |size| NewDocument {
        vector: Some(vec![1.0; size]),
        ..document("a", "")
    }),
    ("source", URI_BYTES_MAX, |size| NewDocument {
        source: source(|source| source.uri = "u".repeat(size)),
        ..document("a", "")
    }),
    ("source's digest", 64, |size| NewDocument {
        source: source(|source| source.digest = "d".repeat(size)),
        ..document("a", "")
    }),
    ("headings", HEADINGS_MAX, |size| NewDocument {
        source: source(|source| source.headings = vec![String::new(); size]),
        ..document("a", "")
    }),
    ("heading", HEADING_BYTES_MAX, |size| NewDocument {
        source: source(|source| source.headings = vec!["h".repeat(size)]),
        ..document("a", "")
    }),
];

#[test]
fn a_document_has_what_it_may_have_and_no_more() {
    let world = World::new();
    for (what, max, make) in PARTS {
        for size in [max - 1, max] {
            // Vectors of a namespace are of one length.
            world.drop_namespace(SPACE);
            let new = make(size);
            world.put(SPACE, new.clone());
            let read = world.memory.get(&namespace(SPACE), &new.id);
            let read = read.expect("a read").expect("it is there");
            assert_eq!((read.text, read.value), (new.text, new.value), "{what}");
            assert_eq!(read.entry.labels, new.labels, "{what}");
            assert_eq!(read.entry.source, new.source, "{what}");
            let dimension = new.vector.map(|vector| vector.len());
            assert_eq!(read.entry.dimension, dimension, "{what}");
        }
        let error = told(world.try_put(SPACE, make(max + 1), Expect::Any));
        let expected = format!("too-large: {what}: {} ", max + 1);
        assert!(error.starts_with(&expected), "{expected}: {error}");
        assert!(error.contains(&format!("at most {max} ")), "{error}");
    }
    for (size, fits) in [
        (PROVENANCE_BYTES_MAX, true),
        (PROVENANCE_BYTES_MAX + 1, false),
    ] {
        let by = Provenance {
            request: Some("r".repeat(size)),
            ..author()
        };
        let (space, quota) = (namespace(SPACE), Quota::default());
        let put = world
            .memory
            .put(&space, document("p", ""), Expect::Any, &by, quota);
        assert_eq!(wait(put).is_ok(), fits, "{size}");
    }
}

#[test]
fn a_write_has_what_it_may_have_and_no_more() {
    let world = World::new();
    let deletes = |count: usize| {
        let each = (0..count).map(|n| Change::delete(n.to_string(), Expect::Any));
        world.write(SPACE, each.collect(), Quota::default())
    };
    deletes(CHANGES_MAX).expect("all of them");
    assert_eq!(
        told(deletes(CHANGES_MAX + 1)),
        "too-large: write: 10001 changes, at most 10000 are allowed"
    );
    // The last one fills what the others leave.
    let each = (TEXT_BYTES_MAX as u64) + DOCUMENT_OVERHEAD_BYTES + 3;
    let count = WRITE_BYTES_MAX / each;
    let rest = (WRITE_BYTES_MAX - count * each - DOCUMENT_OVERHEAD_BYTES - 3) as usize;
    let bytes = |rest: usize| {
        let mut all: Vec<_> = (0..count)
            .map(|n| document(&format!("{n:03}"), &" ".repeat(TEXT_BYTES_MAX)))
            .collect();
        all.push(document("end", &" ".repeat(rest)));
        let each = all.into_iter();
        let each = each.map(|new| Change::put(new, Expect::Any));
        world.write(SPACE, each.collect(), Quota::default())
    };
    assert_eq!(
        told(bytes(rest + 1)),
        "too-large: write: 33554433 bytes, at most 33554432 are allowed"
    );
    bytes(rest).expect("exactly");
    let usage = world.memory.usage(&namespace(SPACE)).expect("usage");
    assert_eq!(usage.expect("some").bytes, WRITE_BYTES_MAX);
}

/// A search that asks for so many of something.
type Asks = fn(usize) -> Search;

fn base() -> Search {
    super::text_search(&[SPACE], "word")
}

#[test]
fn a_search_asks_what_it_may_ask_and_no_more() {
    let world = World::new();
    world.put(SPACE, document("a", "word"));
    let cases: [(&str, usize, Asks); 4] = [
        ("namespaces", SEARCH_NAMESPACES_MAX, |count| Search {
            namespaces: vec![namespace(SPACE); count],
            ..base()
        }),
        ("labels", LABELS_MAX, |count| Search {
            labels: labels(count, 2, 0),
            ..base()
        }),
        ("text", QUERY_BYTES_MAX, |size| Search {
            text: Some("x".repeat(size)),
            ..base()
        }),
        ("text", QUERY_PHRASES_MAX, |count| Search {
            text: Some("\"a b\" ".repeat(count)),
            ..base()
        }),
    ];
    for (what, max, make) in cases {
        for size in [1, max - 1, max] {
            let found = world.memory.search(&make(size));
            assert!(found.is_ok(), "{what} {size}: {found:?}");
        }
        let error = told(world.memory.search(&make(max + 1)));
        assert!(error.starts_with("too-large: "), "{what}: {error}");
        assert!(
            error.contains(&format!("at most {max} ")),
            "{what}: {error}"
        );
    }
}

/// The moment of an end is no moment of a life, and no end is too late to be kept.
#[test]
fn a_life_has_at_least_a_millisecond_and_any_end() {
    let world = World::new();
    let now = 1_000_000;
    let living = |ttl_ms: u64| NewDocument {
        ttl_ms: Some(ttl_ms),
        vector: Some(vec![1.0]),
        ..document("a", "word")
    };
    let zero = told(world.try_put(SPACE, living(0), Expect::Any));
    assert_eq!(zero, "invalid-input: ttl: it is 0; at least 1 ms");
    let ends = [
        (1, now + 1),
        (u64::MAX - now - 1, u64::MAX - 1),
        (u64::MAX - now, u64::MAX),
        (u64::MAX, u64::MAX),
    ];
    for (ttl_ms, end) in ends {
        world.put(SPACE, living(ttl_ms));
        world.sweep();
        let entry = world.memory.get(&namespace(SPACE), "a").expect("a read");
        let entry = entry.expect("it is there").entry;
        assert_eq!(entry.expires_ms, Some(end), "{ttl_ms}");
        let found = world.find(super::text_search(&[SPACE], "word"));
        assert_eq!(found.len(), 1, "{ttl_ms}");
    }
    world.put(SPACE, living(1));
    world.advance(1);
    let read = world.memory.get(&namespace(SPACE), "a").expect("a read");
    assert_eq!(read, None);
    let vector = world.memory.vector(&namespace(SPACE), "a");
    assert_eq!(vector.expect("a read"), None);
}

/// What an id, a label or a source may be made of.
#[test]
fn names_show_what_they_are() {
    let world = World::new();
    let hidden = [
        '\u{0}',
        '\u{9}',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{9f}',
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{180e}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{206f}',
        '\u{3164}',
        '\u{feff}',
        '\u{ffa0}',
        '\u{fff9}',
        '\u{e0001}',
        '\u{e007f}',
    ];
    for c in hidden {
        let code = format!("U+{:04X} at byte 1 is not allowed", u32::from(c));
        let text = format!("a{c}b");
        let cases = [
            ("id", document(&text, "")),
            (
                "label's name",
                NewDocument {
                    labels: [(text.clone(), String::new())].into(),
                    ..document("x", "")
                },
            ),
            (
                "label's value",
                NewDocument {
                    labels: [("l".to_owned(), text.clone())].into(),
                    ..document("x", "")
                },
            ),
            (
                "source",
                NewDocument {
                    source: source(|source| source.uri.clone_from(&text)),
                    ..document("x", "")
                },
            ),
            (
                "heading",
                NewDocument {
                    source: source(|source| source.headings.push(text.clone())),
                    ..document("x", "")
                },
            ),
        ];
        for (what, new) in cases {
            let error = told(world.try_put(SPACE, new, Expect::Any));
            assert_eq!(error, format!("invalid-input: {what}: {code}"));
        }
    }
    for id in [".", ".."] {
        let error = told(world.try_put(SPACE, document(id, ""), Expect::Any));
        assert!(error.contains("can't stand in an address"), "{error}");
    }
    // Neither one's script nor its form is anybody's business: each is another id.
    let mut shown = [
        "...",
        ".a",
        "a b",
        " ",
        "a%2F",
        "a?b#c",
        "\"\\",
        "é",
        "e\u{301}",
        "שלום",
        "سلام",
        "❤\u{fe0f}",
        "日本",
        "\u{10ffff}",
        "ﬀ",
    ];
    for id in shown {
        assert_eq!(world.put(SPACE, document(id, id)), 1, "{id}");
    }
    shown.sort_unstable();
    let world = world.reopen();
    assert_eq!(world.ids(SPACE), shown);
    for id in shown {
        let read = world.memory.get(&namespace(SPACE), id).expect("a read");
        assert_eq!(read.expect("it is there").text, id);
    }
}

/// A version that was never given matches nothing.
#[test]
fn versions_begin_at_one() {
    let world = World::new();
    for version in [0, 1, u64::MAX] {
        let refused = told(world.try_put(SPACE, document("a", ""), Expect::Version(version)));
        assert!(refused.contains("does not exist"), "{version}: {refused}");
    }
    assert_eq!(world.put(SPACE, document("a", "")), 1);
    for version in [0, 2, u64::MAX] {
        let refused = told(world.try_put(SPACE, document("a", ""), Expect::Version(version)));
        assert!(refused.contains("is in version 1"), "{version}: {refused}");
    }
}
