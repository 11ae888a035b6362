//! What is found, in which order, and what is not.

use super::{World, document, namespace, options, text_search, told};
use crate::limits::{CANDIDATES_MAX, HITS_MAX};
use crate::{NewDocument, Options, Search};

const SPACE: &str = "shared/handbook";

/// Documents that differ in how well they fit.
fn library() -> World {
    let world = World::new();
    let labelled = |id: &str, text: &str, team: &str| NewDocument {
        labels: [("team".to_owned(), team.to_owned())].into(),
        ..document(id, text)
    };
    world.put(
        SPACE,
        labelled("fire", "In case of fire leave the house", "safety"),
    );
    world.put(
        SPACE,
        labelled("drill", "The fire drill: fire alarms, fire doors", "safety"),
    );
    world.advance(100);
    world.put(
        SPACE,
        labelled("tea", "Tea and coffee are in the house kitchen", "office"),
    );
    world.put(
        "agent/other",
        labelled("secret", "The fire code of another", "safety"),
    );
    world.put("run/r", document("note", "coffee house fire"));
    world
}

/// Asks before and after the index on disk has taken what was written.
fn both(world: &World, check: impl Fn(&World)) {
    check(world);
    world.memory.flush().expect("the index");
    check(world);
}

/// A file of macOS, or of a PDF, has other characters than who looks for its words.
#[test]
fn words_are_found_in_each_of_their_forms() {
    let world = World::new();
    world.put(
        SPACE,
        document("mac", "Das Zu\u{308}rcher Cafe\u{301} am See"),
    );
    world.put(SPACE, document("pdf", "the oﬃce ﬁle of Straße 5"));
    world.put(SPACE, document("other", "Cafeteria"));
    let cases: [(&str, &[&str]); 7] = [
        ("café", &["shared/handbook:mac"]),
        ("CAFÉ", &["shared/handbook:mac"]),
        ("cafe\u{301}", &["shared/handbook:mac"]),
        ("\"zürcher café am\"", &["shared/handbook:mac"]),
        ("\"office file\"", &["shared/handbook:pdf"]),
        ("STRASSE", &["shared/handbook:pdf"]),
        ("cafe", &[]),
    ];
    both(&world, |world| {
        for (text, expected) in cases {
            assert_eq!(world.find(text_search(&[SPACE], text)), expected, "{text}");
        }
        let hit = &world.search(text_search(&[SPACE], "café"))[0];
        assert_eq!(hit.snippet, "Das Zu\u{308}rcher Cafe\u{301} am See");
    });
}

#[test]
fn words_phrases_and_filters() {
    let world = library();
    let find = |world: &World, text: &str| {
        let found = world.find(text_search(&[SPACE], text)).into_iter();
        found
            .map(|found| found.rsplit(':').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let cases: [(&str, &[&str]); 15] = [
        ("fire", &["drill", "fire"]),
        ("FIRE!", &["drill", "fire"]),
        ("fire leave", &["fire", "drill"]),
        ("coffee fire house", &["tea", "fire", "drill"]),
        ("\"the house\"", &["fire", "tea"]),
        ("\"house the\"", &[]),
        ("\"fire\" coffee", &["drill", "fire"]),
        ("\"fire doors\" \"fire drill\"", &["drill"]),
        ("\"fire doors\" \"leave the\"", &[]),
        ("nothing", &[]),
        ("secret another", &[]),
        ("", &[]),
        ("\"\" *()!", &[]),
        ("text:fire^2 AND NOT (house", &["tea", "fire", "drill"]),
        ("\0\u{202e}\u{1b}]0;", &[]),
    ];
    both(&world, |world| {
        for (text, expected) in &cases {
            assert_eq!(&find(world, text), expected, "{text:?}");
        }
    });
    let hits = world.search(text_search(&[SPACE, "agent/other"], "fire"));
    assert_eq!(hits.len(), 3);
    let scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
}

#[test]
fn filters_by_label_and_time() {
    let world = library();
    let base = || text_search(&[SPACE, "agent/other", "run/r"], "fire house coffee");
    let labels = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let cases = [
        (base(), "drill fire note secret tea"),
        (
            Search {
                labels: labels("team", "safety"),
                ..base()
            },
            "drill fire secret",
        ),
        (
            Search {
                labels: labels("team", "safet"),
                ..base()
            },
            "",
        ),
        (
            Search {
                labels: labels("tea", "msafety"),
                ..base()
            },
            "",
        ),
        (
            Search {
                from_ms: Some(1_000_100),
                ..base()
            },
            "note secret tea",
        ),
        (
            Search {
                to_ms: Some(1_000_100),
                ..base()
            },
            "drill fire",
        ),
        (
            Search {
                from_ms: Some(1_000_000),
                to_ms: Some(1_000_000),
                ..base()
            },
            "",
        ),
        (
            Search {
                from_ms: Some(1_000_101),
                ..base()
            },
            "",
        ),
        (
            Search {
                from_ms: Some(u64::MAX),
                ..base()
            },
            "",
        ),
        (
            Search {
                to_ms: Some(1_000_100),
                labels: labels("team", "office"),
                ..base()
            },
            "",
        ),
        (
            Search {
                limit: 2,
                ..text_search(&[SPACE], "fire")
            },
            "drill fire",
        ),
        (
            Search {
                limit: 1,
                ..text_search(&[SPACE], "fire")
            },
            "drill",
        ),
    ];
    both(&world, |world| {
        for (search, expected) in &cases {
            let found = world.search(search.clone());
            let mut ids: Vec<String> = found.into_iter().map(|hit| hit.entry.id).collect();
            ids.sort();
            assert_eq!(ids.join(" "), *expected, "{search:?}");
        }
    });
}

#[test]
fn a_search_that_is_none_is_refused() {
    let world = library();
    let base = || text_search(&[SPACE], "fire");
    let cases = [
        (
            Search { limit: 0, ..base() },
            "invalid-input: limit: it is 0; 1 to 100",
        ),
        (
            Search {
                limit: HITS_MAX + 1,
                ..base()
            },
            "invalid-input: limit: it is 101; 1 to 100 hits",
        ),
        (
            Search {
                namespaces: vec![],
                ..base()
            },
            "invalid-input: namespaces: there is none",
        ),
        (
            Search {
                namespaces: vec![namespace(SPACE); 17],
                ..base()
            },
            "too-large: namespaces: 17",
        ),
        (
            Search {
                text: None,
                ..base()
            },
            "invalid-input: search: there is neither",
        ),
        (
            Search {
                text: Some("x".repeat(4097)),
                ..base()
            },
            "too-large: query: 4097 bytes",
        ),
        (
            Search {
                vector: Some(vec![0.0]),
                ..base()
            },
            "invalid-input: vector: it is empty or",
        ),
    ];
    for (search, expected) in cases {
        let error = told(world.memory.search(&search));
        assert!(error.starts_with(expected), "{error}");
    }
    let twice = Search {
        namespaces: vec![namespace(SPACE); 2],
        ..base()
    };
    assert_eq!(world.find(twice).len(), 2, "each document once");
    assert_eq!(world.find(text_search(&["run/none"], "fire")).len(), 0);
}

#[test]
fn scores_are_the_same_before_and_after_the_index_has_it_and_alone() {
    let world = library();
    let scores = |world: &World, text: &str| {
        let hits = world.search(text_search(&[SPACE], text)).into_iter();
        hits.map(|hit| (hit.entry.id, hit.score))
            .collect::<Vec<_>>()
    };
    for text in [
        "fire",
        "fire house",
        "\"fire drill\"",
        "\"fire\" doors house tea",
    ] {
        let world = library();
        let before = scores(&world, text);
        world.memory.flush().expect("the index");
        let after = scores(&world, text);
        let pairs = before.iter().zip(&after);
        let alike = pairs
            .clone()
            .all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-5);
        assert!(
            alike && before.len() == after.len(),
            "{text}: {before:?} {after:?}"
        );
    }
    // What others write tells nothing through the scores.
    let before = scores(&world, "fire house");
    for n in 0..50 {
        world.put("agent/other", document(&n.to_string(), "fire fire fire"));
    }
    assert_eq!(scores(&world, "fire house"), before);
    world.memory.flush().expect("the index");
    let after = scores(&world, "fire house");
    let alike = before
        .iter()
        .zip(&after)
        .all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-5);
    assert!(alike, "{before:?} {after:?}");
}

#[test]
fn vectors_and_both() {
    let world = World::new();
    let with = |id: &str, text: &str, vector: [f32; 2]| NewDocument {
        vector: Some(vector.to_vec()),
        ..document(id, text)
    };
    world.put(SPACE, with("east", "sunrise", [1.0, 0.0]));
    world.put(SPACE, with("north", "polar star", [0.0, 2.0]));
    world.put(SPACE, with("northeast", "sunrise in june", [1.0, 1.0]));
    world.put(SPACE, document("words", "sunrise sunrise"));
    world.put("run/r", with("west", "sunset", [-1.0, 0.0]));
    world.put("run/none", document("x", "no vector here"));
    let spaces = [SPACE, "run/r", "run/none"];
    let base = |vector: Option<[f32; 2]>, text: Option<&str>| Search {
        namespaces: spaces.iter().map(|space| namespace(space)).collect(),
        text: text.map(str::to_owned),
        vector: vector.map(|vector| vector.to_vec()),
        limit: 10,
        ..Search::default()
    };
    let ids = |world: &World, search: Search| {
        let hits = world.search(search).into_iter();
        hits.map(|hit| hit.entry.id).collect::<Vec<_>>()
    };
    both(&world, |world| {
        let near = ids(world, base(Some([3.0, 0.3]), None));
        assert_eq!(near, ["east", "northeast", "north", "west"]);
        let fused = ids(world, base(Some([0.0, 1.0]), Some("june sunrise")));
        assert_eq!(fused[0], "northeast", "good in both: {fused:?}");
        assert_eq!(fused.len(), 5);
        let refused = told(world.memory.search(&Search {
            vector: Some(vec![1.0; 3]),
            ..base(None, None)
        }));
        assert!(
            refused.starts_with("dimension: a vector of 3 numbers, but namespace"),
            "{refused}"
        );
    });
    let hit = &world.search(base(Some([1.0, 0.0]), None))[0];
    assert!((hit.score - 1.0).abs() < 1e-6, "{}", hit.score);
    world.put(SPACE, document("east", "no vector any more"));
    world.delete(SPACE, "north");
    assert_eq!(
        ids(&world, base(Some([3.0, 0.3]), None)),
        ["northeast", "west"]
    );
    world.drop_namespace("run/r");
    assert_eq!(ids(&world, base(Some([3.0, 0.3]), None)), ["northeast"]);
}

#[test]
fn vectors_that_do_not_fit_in_memory_are_found_the_same() {
    let answers = [256_u64 << 20, 1000, 0].map(|vector_cache_bytes| {
        let world = World::with(Options {
            vector_cache_bytes,
            ..options()
        });
        for n in 0..200_u32 {
            let angle = f64::from(n * n % 360);
            let vector = vec![angle.sin() as f32, angle.cos() as f32, 0.1];
            let space = ["run/a", "run/b"][n as usize % 2];
            world.put(
                space,
                NewDocument {
                    vector: Some(vector),
                    ..document(&n.to_string(), "")
                },
            );
        }
        let search = Search {
            namespaces: vec![namespace("run/a"), namespace("run/b")],
            vector: Some(vec![0.3, 0.9, -0.2]),
            limit: 20,
            ..Search::default()
        };
        let hits = world.search(search).into_iter();
        hits.map(|hit| (hit.entry.id, hit.score))
            .collect::<Vec<_>>()
    });
    assert_eq!(answers[0].len(), 20);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn what_is_over_takes_no_places_of_what_is_not() {
    let world = World::new();
    for n in 0..500 {
        let new = document(&format!("over-{n}"), "word word word");
        world.put(
            SPACE,
            NewDocument {
                ttl_ms: Some(10),
                vector: Some(vec![1.0, 0.0]),
                ..new
            },
        );
    }
    for n in 0..5 {
        let new = document(
            &format!("kept-{n}"),
            "word and much else that makes it worse",
        );
        world.put(
            SPACE,
            NewDocument {
                vector: Some(vec![0.0, 1.0]),
                ..new
            },
        );
    }
    world.memory.flush().expect("the index");
    world.advance(10);
    let search = |text: Option<&str>, vector: Option<[f32; 2]>| Search {
        text: text.map(str::to_owned),
        vector: vector.map(|vector| vector.to_vec()),
        limit: 5,
        ..text_search(&[SPACE], "")
    };
    for search in [
        search(Some("word"), None),
        search(None, Some([1.0, 0.0])),
        search(Some("word"), Some([1.0, 0.0])),
    ] {
        let found = world.find(search.clone());
        assert_eq!(found.len(), 5, "{search:?}");
        assert!(found.iter().all(|id| id.contains("kept")), "{found:?}");
    }
    const { assert!(CANDIDATES_MAX > 500) };
}

#[test]
fn hostile_texts_are_found_by_their_words() {
    let world = World::new();
    let long = "w".repeat(200 << 10);
    let texts = [
        ("control", "a\0b\u{1b}[31mred\u{7f}\r\nend".to_owned()),
        ("rtl", "\u{202e}gpj.exe مرحبا".to_owned()),
        ("long", long.clone()),
        ("cjk", "東京都に住む".to_owned()),
        ("colon", "ff:fire 1:2".to_owned()),
        ("nothing", "\0\0\0".to_owned()),
        ("empty", String::new()),
    ];
    for (id, text) in texts {
        world.put(SPACE, document(id, &text));
    }
    let cases = [
        ("31mred", "control"),
        ("end", "control"),
        ("مرحبا", "rtl"),
        ("exe", "rtl"),
        ("東京", "cjk"),
        ("\"京都\"", "cjk"),
        ("\"都京\"", ""),
        ("fire", "colon"),
        ("ff", "colon"),
        (&long[..4096], "long"),
        (&long[..64], "long"),
        (&long[..63], ""),
    ];
    both(&world, |world| {
        for (text, id) in cases {
            let found = world.search(text_search(&[SPACE], text)).into_iter();
            let ids: Vec<String> = found.map(|hit| hit.entry.id).collect();
            assert_eq!(ids.join(" "), id, "{:?}", &text[..text.len().min(20)]);
        }
    });
}
