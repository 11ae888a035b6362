use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use airlock_fuzz::{cases, text_damage};
use proptest::prelude::*;

use super::chunk::{Chunk, cut};
use super::*;
use crate::limits::HEADING_BYTES_MAX;
use crate::tests::{World, author, namespace, text_search};

const SPACE: &str = "shared/docs";

pub(super) fn chunks_in(path: &str, text: &str) -> Vec<Chunk> {
    chunks_of(path, text.as_bytes(), None).expect("it is read")
}

#[test]
fn a_text_is_cut_where_it_reads_well() {
    let paragraph = |n: usize| format!("{n} {}.\n\n", "word ".repeat(120).trim_end());
    let text: String = (0..10).map(paragraph).collect();
    let cuts = cut(&text);
    assert!(cuts.len() >= 4, "{cuts:?}");
    for (from, to) in &cuts {
        assert!(text[*from..*to].ends_with("word."), "{from} {to}");
        assert!(
            text[*from..*to].starts_with(|c: char| c.is_ascii_digit()),
            "{from} {to}"
        );
    }
    let lines = cut(&"a line of a log\n".repeat(1000)).len();
    assert!((8..=20).contains(&lines), "{lines}");
    assert_eq!(cut(""), []);
    assert_eq!(cut(" \n\t "), []);
    assert_eq!(cut("  short  "), [(2, 7)]);
}

/// Every byte that is not blank is in a chunk, in order; chunks are bounded.
fn covers(text: &str) {
    let mut end = 0;
    for (from, to) in cut(text) {
        assert!(from < to && to - from <= CHUNK_BYTES * 5 / 4, "{from} {to}");
        assert!(text[end.min(from)..from].trim().is_empty(), "{end} {from}");
        assert!(to > end, "{to} {end}");
        assert!(from + OVERLAP_BYTES + 4 >= end, "{from} {end}");
        end = to;
    }
    assert!(text[end..].trim().is_empty());
}

#[test]
fn nothing_is_lost_between_chunks() {
    let texts = [
        "x".repeat(100_000),
        "ä東🦀".repeat(5_000),
        "a b ".repeat(10_000),
        "\n\n\n\n x".repeat(5_000),
        format!("{}{}", " ".repeat(50_000), "end"),
        "one. Two! Three? ".repeat(2_000),
        "\u{2003}\u{3000}ä".repeat(4_000),
    ];
    texts.iter().for_each(|text| covers(text));
}

#[test]
fn markdown_is_cut_at_its_headings() {
    let text = "intro\n\n# One\n## Two\ntext two\n```\n# no heading\n```\nmore\n\n\
                Under\n-----\nunder text\n### Three ###\nthree\n# Four\nfour\n#not one\n";
    let found: Vec<(Vec<String>, String)> = { chunks_in("a.md", text).into_iter() }
        .map(|chunk| (chunk.source.headings, chunk.text))
        .collect();
    let expected = [
        ("", "intro"),
        (
            "One/Two",
            "# One\n## Two\ntext two\n```\n# no heading\n```\nmore",
        ),
        ("One/Under", "Under\n-----\nunder text"),
        ("One/Under/Three", "### Three ###\nthree"),
        ("Four", "# Four\nfour\n#not one"),
    ];
    let found: Vec<(String, String)> = found
        .into_iter()
        .map(|(path, text)| (path.join("/"), text))
        .collect();
    let expected = expected.map(|(path, text)| (path.to_owned(), text.to_owned()));
    assert_eq!(found, expected);
    for chunk in chunks_in("a.md", text) {
        let (from, to) = chunk.source.bytes.expect("bytes");
        assert_eq!(&text[from as usize..to as usize], chunk.text);
        let (first, last) = chunk.source.lines.expect("lines");
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            chunk.text.starts_with(lines[first as usize - 1]),
            "{chunk:?}"
        );
        assert!(chunk.text.ends_with(lines[last as usize - 1]), "{chunk:?}");
    }
    let deep: String = (1..=6)
        .map(|level| format!("{} h{level}\n", "#".repeat(level)))
        .collect();
    let only = chunks_in("a.md", &deep);
    assert_eq!((only.len(), only[0].source.headings.len()), (1, 6));
    let long = format!("# {}\u{202e}\0\n\ntext", "ä".repeat(300)).replace('\0', "\u{7}");
    let heading = &chunks_in("a.md", &long)[0].source.headings[0];
    assert_eq!(heading.len(), HEADING_BYTES_MAX);
}

#[test]
fn tables_keep_their_header_with_each_row() {
    let text = "name,\"long, name\",\nAnna,\"line\nbreak\",x\n,,\nBob,y\nShort\n";
    let found = chunks_in("a.csv", text);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].text,
        "name: Anna | long, name: line\nbreak | x\n\nname: Bob | long, name: y\nname: Short"
    );
    assert_eq!(found[0].source.rows, Some((1, 4)));
    let rows: String = (0..500).map(|n| format!("{n},value {n}\n")).collect();
    let found = chunks_in("b.csv", &format!("id,text\n{rows}"));
    assert!(found.len() > 3);
    let mut next = 1;
    for chunk in &found {
        let (first, last) = chunk.source.rows.expect("rows");
        assert_eq!(
            (first, chunk.text.lines().count() as u64),
            (next, last - first + 1)
        );
        assert!(
            chunk.text.starts_with(&format!("id: {} | text", first - 1)),
            "{}",
            chunk.text
        );
        next = last + 1;
    }
    assert_eq!(next, 501);
    assert_eq!(chunks_in("a.tsv", "a\tb\n1\t2\n")[0].text, "a: 1 | b: 2");
    let wide = "c,".repeat(600);
    let error = chunks_of("a.csv", wide.as_bytes(), None)
        .expect_err("too wide")
        .reason;
    assert!(error.contains("601 columns"), "{error}");
    // A row that says its long columns again and again is bounded too.
    let header = format!("{}x\n", format!("{},", "n".repeat(64)).repeat(400));
    let grows = format!(
        "{header}{}",
        format!("{}\n", "1,".repeat(400)).repeat(2_000)
    );
    let error = chunks_of("a.csv", grows.as_bytes(), None)
        .expect_err("too much")
        .reason;
    assert!(error.contains("divide it"), "{error}");
}

/// As spreadsheets write them where the comma stands in numbers.
#[test]
fn tables_have_the_delimiter_of_their_first_line() {
    let table = [
        (
            "Name;Betrag\nMüller, Co;1.234,50\n",
            "Name: Müller, Co | Betrag: 1.234,50",
        ),
        (
            "Name;Betrag, CHF;Tag\na;1,5;b\n",
            "Name: a | Betrag, CHF: 1,5 | Tag: b",
        ),
        ("\"a;b;c\",d\n1,2\n", "a;b;c: 1 | d: 2"),
        ("a\tb\r\n1,5\t2\r\n", "a: 1,5 | b: 2"),
        ("a,b;c\n1,2;3\n", "a: 1 | b;c: 2;3"),
        ("only\none;two\n", "only: one;two"),
        ("\"two\nlines\";b\n1;2\n", "two\nlines: 1 | b: 2"),
    ];
    for (text, expect) in table {
        assert_eq!(chunks_in("a.csv", text)[0].text, expect, "{text}");
    }
}

#[test]
fn files_that_are_none_of_it_are_refused_with_a_reason() {
    let cases: [(&str, &[u8], &str); 7] = [
        ("a.exe", b"MZ", ".exe files are not read"),
        ("a.md.gz", b"x", ".gz files are not read"),
        ("a.txt", b"ab\0c", "it is not text: byte 2 is 0"),
        (
            "a.md",
            b"ok \xff",
            "it is not UTF-8 (byte 3): convert it first",
        ),
        ("a.txt", b"\xff\xfeh\0i\0", "it is not text: byte 3 is 0"),
        ("a.pdf", b"%PDF", "no reader is configured"),
        ("README", b"\0", "it is not text"),
    ];
    for (path, bytes, expected) in cases {
        let error = chunks_of(path, bytes, None).expect_err("it is refused");
        assert!(error.reason.contains(expected), "{path}: {error:?}");
        assert_eq!(
            error.passed_over,
            path.ends_with("e") || path.ends_with("gz")
        );
    }
    assert_eq!(
        chunks_of("README", b"\xef\xbb\xbfhello", None).expect("text")[0].text,
        "hello"
    );
    assert_eq!(chunks_of("A.MD", b"", None).expect("text"), []);
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn fuzz_any_text_is_cut_within_its_bounds(
        damage in text_damage(),
        repeat in 1..60_usize,
        kind in proptest::sample::select(vec!["md", "html", "csv", "tsv", "txt"]),
    ) {
        let seed = "# One\n\ntext, \"quoted\n\" <h1>x</h1><script>\n| a | b |\n```\n==\nä東\n---\n";
        let text = damage.to(seed).repeat(repeat);
        covers(&text);
        if let Ok(chunks) = chunks_of(&format!("a.{kind}"), text.as_bytes(), None) {
            for Chunk { text: chunk, source } in chunks {
                prop_assert!(!chunk.is_empty() && chunk.len() <= CHUNK_BYTES * 5 / 4);
                prop_assert!(source.check().is_ok(), "{source:?}");
                if let (Some((from, to)), "md" | "txt") = (source.bytes, kind) {
                    prop_assert_eq!(&text[from as usize..to as usize], chunk);
                }
            }
        }
    }
}

/// A mark before the text is no part of it, and of the places.
#[test]
fn places_count_the_mark_before_a_text() {
    let table = [
        ("a.txt", "one two", "one two"),
        ("a.md", "# One\n\ntext", "text"),
        ("a.csv", "a,b\n1,2\n", "1,2"),
    ];
    for (name, text, part) in table {
        let marked = format!("\u{feff}{text}");
        let chunks = chunks_of(name, marked.as_bytes(), None);
        let chunks = chunks.unwrap_or_else(|_| panic!("{name} is refused"));
        let (from, to) = chunks[0].source.bytes.expect("a place");
        let found = &marked[from as usize..to as usize];
        assert!(
            found.contains(part) && !found.contains('\u{feff}'),
            "{name}: {found:?}"
        );
    }
}

/// Vectors by the length of the text.
struct Lengths;

impl Embed for Lengths {
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, String> {
        assert!(texts.len() <= EMBED_MAX);
        Ok(texts
            .iter()
            .map(|text| vec![text.len() as f32, 1.0])
            .collect())
    }
}

fn run(world: &World, dir: &Path, vectors: Vectors<'_>, prune: bool) -> Vec<(String, Outcome)> {
    let report = import(
        &world.memory,
        dir,
        &Import {
            namespace: &namespace(SPACE),
            prefix: "books/",
            labels: BTreeMap::from([("from".to_owned(), "test".to_owned())]),
            provenance: &author(),
            quota: Quota::default(),
            vectors,
        },
        None,
        prune,
    );
    let report = report.expect("it is imported").into_iter();
    report.map(|file| (file.path, file.outcome)).collect()
}

#[test]
fn a_folder_is_imported_and_again_only_what_changed() {
    let (world, dir) = (World::new(), tempfile::tempdir().expect("a directory"));
    let write = |path: &str, text: &str| fs::write(dir.path().join(path), text).expect("a file");
    fs::create_dir(dir.path().join("sub")).expect("a folder");
    let section = |n: usize| format!("# Section {n}\n\nalpha{n} {}\n\n", "text ".repeat(50));
    write("a.md", &(0..5).map(section).collect::<String>());
    write("sub/b.txt", "beta");
    write("a#1.md", "hash");
    let imported = |chunks, written, removed| Outcome::Imported {
        chunks,
        written,
        removed,
        vectors: 0,
        vectors_removed: 0,
    };
    let first = run(&world, dir.path(), Vectors::Keep, false);
    let names: Vec<&str> = first.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(names, ["a#1.md", "a.md", "sub/b.txt"]);
    assert_eq!(first[1].1, imported(5, 5, 0));
    let hit = &world.search(text_search(&[SPACE], "alpha3"))[0];
    assert_eq!(hit.entry.id, "books/a.md#00004");
    let source = hit.entry.source.clone().expect("a source");
    assert_eq!(
        (source.uri.as_str(), source.headings),
        ("books/a.md", vec!["Section 3".to_owned()])
    );
    assert_eq!(source.lines, Some((13, 15)));
    assert_eq!(hit.entry.labels["from"], "test");
    let commits = world.store.commits();
    let again = run(&world, dir.path(), Vectors::Keep, false);
    assert!(
        again
            .iter()
            .all(|(_, outcome)| matches!(outcome, Outcome::Unchanged { .. }))
    );
    assert_eq!(world.store.commits(), commits, "nothing was written");
    // One section less: those behind it move, those before it stay.
    write("a.md", &[0, 1, 3].map(section).concat());
    let changed = run(&world, dir.path(), Vectors::Keep, false);
    assert_eq!(changed[1].1, imported(3, 1, 2));
    assert_eq!(
        world.find(text_search(&[SPACE], "alpha2 alpha4")),
        Vec::<String>::new()
    );
    let vectors = run(&world, dir.path(), Vectors::Make(&Lengths), false);
    let Outcome::Imported {
        written, vectors, ..
    } = vectors[1].1
    else {
        panic!("{vectors:?}");
    };
    assert_eq!((written, vectors), (3, 3));
    assert_eq!(
        world
            .memory
            .usage(&namespace(SPACE))
            .expect("usage")
            .expect("some")
            .vectors,
        5
    );
    // A file that is gone stays unless it is to go; what others wrote stays too.
    world.put(SPACE, crate::tests::document("books/own#1", "mine"));
    fs::remove_file(dir.path().join("sub/b.txt")).expect("it is removed");
    write("a#1.md", "\0 no text any more");
    assert_eq!(
        run(&world, dir.path(), Vectors::Make(&Lengths), false).len(),
        2
    );
    assert_eq!(world.find(text_search(&[SPACE], "beta")).len(), 1);
    let pruned = run(&world, dir.path(), Vectors::Make(&Lengths), true);
    assert_eq!(
        pruned[2],
        ("sub/b.txt".to_owned(), Outcome::Gone { removed: 1 })
    );
    assert!(matches!(pruned[0].1, Outcome::Refused { kept: 1, .. }));
    let left = [
        "books/a#1.md#00001",
        "books/a.md#00001",
        "books/a.md#00002",
        "books/a.md#00003",
        "books/own#1",
    ];
    assert_eq!(world.ids(SPACE), left);
}

#[test]
fn what_is_no_file_to_read_is_refused() {
    let (world, dir) = (World::new(), tempfile::tempdir().expect("a directory"));
    let path = |name: &str| dir.path().join(name);
    let outside = tempfile::tempdir().expect("a directory");
    fs::write(outside.path().join("secret.txt"), "secret").expect("a file");
    std::os::unix::fs::symlink(outside.path(), path("folder")).expect("a link");
    std::os::unix::fs::symlink(outside.path().join("secret.txt"), path("link.txt"))
        .expect("a link");
    std::os::unix::fs::symlink("/dev/zero", path("zero.txt")).expect("a link");
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe.txt"), 0o600.into()).expect("a pipe");
    fs::File::create(path("huge.txt"))
        .and_then(|file| file.set_len(FILE_BYTES_MAX + 1))
        .expect("a file");
    fs::write(path(".hidden.md"), "hidden").expect("a file");
    fs::write(path("bad\nname.md"), "text").expect("a file");
    fs::write(path("ok.md"), "fine").expect("a file");
    use std::os::unix::ffi::OsStrExt;
    fs::write(
        path("").join(std::ffi::OsStr::from_bytes(b"\xff.md")),
        "text",
    )
    .expect("a file");
    let deep = "d/".repeat(DEPTH_MAX + 1);
    fs::create_dir_all(path(&deep)).expect("folders");
    let report = run(&world, dir.path(), Vectors::Keep, false);
    let reasons: Vec<(String, String)> = { report.into_iter() }
        .map(|(path, outcome)| match outcome {
            Outcome::Refused { why, kept: 0 } => {
                let mark = if why.passed_over { "" } else { "!" };
                (path, format!("{mark}{}", why.reason))
            }
            outcome => (path, format!("{outcome:?}")),
        })
        .collect();
    let expected = [
        (".hidden.md", "its name begins with a dot"),
        ("bad\nname.md", "id: U+000A at byte 9 is not allowed"),
        (
            deep.trim_end_matches('/'),
            "!it is more than 32 folders deep",
        ),
        ("folder", "it is a symbolic link, which is not followed"),
        ("huge.txt", "!it is over 16777216 bytes: divide it"),
        ("link.txt", "it is a symbolic link, which is not followed"),
        (
            "ok.md",
            "Imported { chunks: 1, written: 1, removed: 0, vectors: 0, vectors_removed: 0 }",
        ),
        ("pipe.txt", "it is no regular file"),
        ("zero.txt", "it is a symbolic link, which is not followed"),
        ("\u{fffd}.md", "its name is not UTF-8"),
    ];
    for ((path, reason), (name, said)) in reasons.iter().zip(expected) {
        assert_eq!(
            (path.as_str(), reason.rsplit("invalid: ").next()),
            (name, Some(said))
        );
    }
    assert_eq!(reasons.len(), expected.len());
    assert_eq!(world.ids(SPACE), ["books/ok.md#00001"]);
    let nowhere = walk::walk(&path("nowhere")).expect_err("there is none");
    assert_eq!(nowhere.code(), "invalid-input");
}

#[test]
fn a_file_that_does_not_fit_changes_nothing() {
    let (world, dir) = (World::new(), tempfile::tempdir().expect("a directory"));
    fs::write(dir.path().join("a.txt"), "word ".repeat(2_000)).expect("a file");
    fs::write(dir.path().join("b.txt"), "small").expect("a file");
    let quota = Quota {
        documents_max: 2,
        bytes_max: 1 << 20,
    };
    let report = import(
        &world.memory,
        dir.path(),
        &Import {
            namespace: &namespace(SPACE),
            prefix: "",
            labels: BTreeMap::new(),
            provenance: &author(),
            quota,
            vectors: Vectors::Keep,
        },
        None,
        false,
    );
    let report = report.expect("it is imported");
    let Outcome::Refused { why, kept: 0 } = &report[0].outcome else {
        panic!("{report:?}");
    };
    assert!(why.reason.contains("its quota is 2"), "{why:?}");
    assert!(!why.passed_over);
    assert_eq!(world.ids(SPACE), ["b.txt#00001"]);
}

/// An import that makes no vectors takes none away of texts that are there still.
#[test]
fn vectors_stay_with_their_texts() {
    let (world, dir) = (World::new(), tempfile::tempdir().expect("a directory"));
    let write = |text: String| fs::write(dir.path().join("a.md"), text).expect("a file");
    let section = |n: usize| format!("# Section {n}\n\n{}\n\n", "text ".repeat(50 + n));
    let one = |vectors: Vectors<'_>| run(&world, dir.path(), vectors, false).remove(0).1;
    let vector = |at: usize| {
        let id = format!("books/{}", chunk_id("a.md", at));
        world.memory.vector(&namespace(SPACE), &id).expect("a look")
    };
    write((0..3).map(section).collect());
    let told = |outcome: Outcome| match outcome {
        Outcome::Imported {
            written,
            vectors,
            vectors_removed,
            ..
        } => (written, vectors, vectors_removed),
        Outcome::Unchanged { vectors, .. } => (0, vectors, 0),
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(told(one(Vectors::Make(&Lengths))), (3, 3, 0));
    let third = vector(2);
    assert!(third.is_some());
    let commits = world.store.commits();
    assert_eq!(told(one(Vectors::Keep)), (0, 3, 0));
    assert_eq!(world.store.commits(), commits, "nothing was written");
    // The second goes, and the third takes its place with its vector.
    write([0, 2].map(section).concat());
    assert_eq!(told(one(Vectors::Keep)), (1, 2, 1));
    let same =
        |one: &[f32], other: &[f32]| one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(same(
        &vector(1).expect("a vector"),
        &third.expect("a vector")
    ));
    // Another text has none until it is made.
    write([0, 7].map(section).concat());
    assert_eq!(told(one(Vectors::Keep)), (1, 1, 1));
    assert_eq!(told(one(Vectors::Make(&Lengths))), (1, 2, 0));
    assert_eq!(told(one(Vectors::Remove)), (2, 0, 2));
    assert_eq!(told(one(Vectors::Remove)), (0, 0, 0));
    let used = world.memory.usage(&namespace(SPACE)).expect("usage");
    assert_eq!(used.expect("some").vectors, 0);
}

#[test]
fn a_prefix_ends_where_a_folder_ends() {
    let (world, dir) = (World::new(), tempfile::tempdir().expect("a directory"));
    fs::write(dir.path().join("a.md"), "text").expect("a file");
    let by = author();
    let with = |prefix: &str, prune: bool| {
        let space = namespace(SPACE);
        let target = Import {
            namespace: &space,
            prefix,
            labels: BTreeMap::new(),
            provenance: &by,
            quota: Quota::default(),
            vectors: Vectors::Keep,
        };
        import(&world.memory, dir.path(), &target, None, prune)
    };
    with("one/", false).expect("it is imported");
    for prefix in ["o", "one", "../", "a/../", "./", "a/./b/", ".", ".."] {
        let error = with(prefix, true).expect_err(prefix);
        assert!(error.to_string().contains("prefix: "), "{error}");
        assert_eq!(error.code(), "invalid-input", "{prefix}");
    }
    with("https://wiki.example/", true).expect("it is imported");
    with("o/", true).expect("it is imported");
    let left = [
        "https://wiki.example/a.md#00001",
        "o/a.md#00001",
        "one/a.md#00001",
    ];
    assert_eq!(world.ids(SPACE), left);
}
