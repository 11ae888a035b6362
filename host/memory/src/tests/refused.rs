//! Names, documents and authors that are refused, and the largest that are not.

use std::collections::BTreeMap;

use serde_json::json;

use super::{World, document, namespace, told};
use crate::limits::{ID_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX, VALUE_BYTES_MAX};
use crate::wait::wait;
use crate::{Expect, Namespace, NewDocument, Provenance, Quota, Source};

const SPACE: &str = "agent/react";

#[test]
fn names_are_what_can_be_shown() {
    let long = "n".repeat(NAME_BYTES_MAX);
    let good = [
        "run/run_x",
        "agent/a.b-c_1",
        "shared/9",
        &format!("run/{long}"),
    ];
    for text in good {
        assert_eq!(Namespace::parse(text).expect("a name").to_string(), text);
    }
    let bad = [
        "",
        "run",
        "run/",
        "other/x",
        "run/a/b",
        "run/ä",
        "run/a b",
        "run/-a",
        "run/.",
        "run/a\0",
        "Run/a",
        "/a",
        "run/\u{202e}",
        &format!("run/{long}n"),
    ];
    for text in bad {
        let error = told(Namespace::parse(text));
        assert!(
            error.starts_with("invalid-input: namespace: "),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn hostile_documents_are_refused_by_name() {
    let world = World::new();
    let labels = |count: usize| {
        let each = (0..count).map(|n| (n.to_string(), String::new()));
        each.collect::<BTreeMap<_, _>>()
    };
    let label = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    let nested = |depth: usize| {
        let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let good = || document("good", "text");
    let value = |bytes: usize| Some(json!("v".repeat(bytes - 2)).into());
    let source = |uri: &str| {
        let uri = uri.to_owned();
        Some(Source {
            uri,
            ..Source::default()
        })
    };
    let cases: [(NewDocument, &str); 17] = [
        (document("", ""), "invalid-input: id: it is empty"),
        (
            document("a\nb", ""),
            "invalid-input: id: U+000A at byte 1 is not allowed",
        ),
        (
            document("a\0", ""),
            "invalid-input: id: U+0000 at byte 1 is not allowed",
        ),
        (
            document("\u{202e}gpj", ""),
            "invalid-input: id: U+202E at byte 0 is not allowed",
        ),
        (
            document("a\u{200b}", ""),
            "invalid-input: id: U+200B at byte 1 is not allowed",
        ),
        (
            document(&"i".repeat(ID_BYTES_MAX + 1), ""),
            "too-large: id: 513 bytes",
        ),
        (
            document("a", &"t".repeat(TEXT_BYTES_MAX + 1)),
            "too-large: text: 262145 bytes",
        ),
        (
            NewDocument {
                labels: labels(LABELS_MAX + 1),
                ..good()
            },
            "too-large: labels: 33 labels",
        ),
        (
            NewDocument {
                labels: label("", "x"),
                ..good()
            },
            "invalid-input: label's name: it is",
        ),
        (
            NewDocument {
                labels: label("a\0b", "x"),
                ..good()
            },
            "invalid-input: label's name: U+",
        ),
        (
            NewDocument {
                labels: label("a", "\u{7}"),
                ..good()
            },
            "invalid-input: label's value: U+",
        ),
        (
            NewDocument {
                labels: label(&"n".repeat(65), ""),
                ..good()
            },
            "too-large: label's name",
        ),
        (
            NewDocument {
                labels: label("n", &"v".repeat(257)),
                ..good()
            },
            "too-large: label's value",
        ),
        (
            NewDocument {
                value: value(VALUE_BYTES_MAX + 1),
                ..good()
            },
            "too-large: value: 65537",
        ),
        (
            NewDocument {
                ttl_ms: Some(0),
                ..good()
            },
            "invalid-input: ttl: it is 0",
        ),
        (
            NewDocument {
                source: source(&"u".repeat(2049)),
                ..good()
            },
            "too-large: source: 2049",
        ),
        (
            NewDocument {
                source: source("a\nb"),
                ..good()
            },
            "invalid-input: source: U+000A",
        ),
    ];
    for (document, expected) in cases {
        let error = told(world.try_put(SPACE, document, Expect::Any));
        assert!(error.starts_with(expected), "{expected}: {error}");
    }
    assert_eq!(world.memory.usage(&namespace(SPACE)).expect("usage"), None);
    let most = NewDocument {
        id: "i".repeat(ID_BYTES_MAX),
        text: "t".repeat(TEXT_BYTES_MAX),
        value: value(VALUE_BYTES_MAX),
        labels: labels(LABELS_MAX),
        ..NewDocument::default()
    };
    world.put(SPACE, most);
    world.put(
        SPACE,
        NewDocument {
            value: Some(nested(120).into()),
            ..good()
        },
    );
    let read = world
        .memory
        .get(&namespace(SPACE), "good")
        .expect("a read")
        .expect("it is there");
    assert_eq!(read.value, Some(nested(120).into()));
}

#[test]
fn provenance_is_checked() {
    let world = World::new();
    let by = |by: &str| Provenance {
        by: by.to_owned(),
        ..Provenance::default()
    };
    let run = |run: &str| Provenance {
        run: Some(run.to_owned()),
        ..by("x")
    };
    let cases = [
        (by(""), "invalid-input: provenance: nobody wrote it"),
        (
            by("a\nb"),
            "invalid-input: provenance: U+000A at byte 1 is not allowed",
        ),
        (
            run(&"r".repeat(257)),
            "too-large: provenance: 257 bytes, at most 256 are allowed",
        ),
    ];
    for (provenance, expected) in cases {
        let (space, quota) = (namespace(SPACE), Quota::default());
        let put = world
            .memory
            .put(&space, document("a", ""), Expect::Any, &provenance, quota);
        assert_eq!(told(wait(put)), expected);
    }
}
