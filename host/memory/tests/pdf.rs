//! PDF files through the real child process.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use airlock_journal::MemoryStore;
use airlock_memory::import::{Import, Outcome, PdfReader, Vectors, import};
use airlock_memory::{Memory, Namespace, Options, Provenance, Quota, Search, SystemClock};

fn reader() -> PdfReader {
    PdfReader {
        program: support::example("pdf_reader"),
        args: Vec::new(),
    }
}

/// A file of these objects, the first of which is the catalogue.
fn pdf(objects: &[Vec<u8>]) -> Vec<u8> {
    let (mut file, mut places) = (b"%PDF-1.7\n".to_vec(), Vec::new());
    for (at, object) in objects.iter().enumerate() {
        places.push(file.len());
        file.extend(format!("{} 0 obj\n", at + 1).bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let table = file.len();
    file.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for place in places {
        file.extend(format!("{place:010} 00000 n \n").bytes());
    }
    let size = objects.len() + 1;
    let end = format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n");
    file.extend(end.bytes());
    file
}

fn stream(dict: &str, data: &[u8]) -> Vec<u8> {
    let mut object = format!("<<{dict}/Length {}>>\nstream\n", data.len()).into_bytes();
    object.extend(data);
    object.extend(b"\nendstream");
    object
}

/// Two pages with usual letters, a table of their own, and a form.
fn two_pages() -> Vec<u8> {
    let page = |contents: usize| {
        let text = format!(
            "<</Type/Page/Parent 2 0 R/Contents {contents} 0 R/Resources<</Font<</F1 7 0 R/F2 8 0 R>>\
             /XObject<</X 10 0 R>>>>/MediaBox[0 0 300 300]>>"
        );
        text.into_bytes()
    };
    let table = b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap\n\
        1 begincodespacerange <0000> <FFFF> endcodespacerange\n\
        1 beginbfrange <0001> <0003> <03B1> endbfrange\nendcmap end end";
    pdf(&[
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[3 0 R 4 0 R]/Count 2>>".to_vec(),
        page(5),
        page(6),
        stream("", b"BT /F1 12 Tf 10 200 Td (Invoice) Tj 0 -14 Td [(To) -300 (tal:) 20 ( 5 \\200)] TJ ET"),
        stream("", b"BT /F2 12 Tf 10 200 Td <000100020003> Tj ET /X Do"),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding<</Differences[65/A 84/T/germandbls]>>>>"
            .to_vec(),
        b"<</Type/Font/Subtype/Type0/BaseFont/X/Encoding/Identity-H/ToUnicode 9 0 R>>".to_vec(),
        stream("", table),
        stream(
            "/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</Font<</F1 7 0 R>>>>",
            b"BT /F1 9 Tf 1 1 Td (in a form) Tj ET /X Do",
        ),
    ])
}

fn outcomes(files: &[(&str, Vec<u8>)]) -> (Vec<Outcome>, Memory, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let folder: PathBuf = dir.path().join("files");
    std::fs::create_dir(&folder).expect("the folder");
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).expect("the file");
    }
    let clock = Arc::new(SystemClock);
    let memory = Memory::open(MemoryStore::new(), dir.path(), clock, Options::default());
    let memory = memory.expect("the memory");
    let report = import(
        &memory,
        &folder,
        &Import {
            namespace: &Namespace::parse("shared/pdf").expect("a namespace"),
            prefix: "",
            labels: BTreeMap::new(),
            provenance: &Provenance {
                by: "test".to_owned(),
                ..Provenance::default()
            },
            quota: Quota::default(),
            vectors: Vectors::Keep,
        },
        Some(&reader()),
        false,
    );
    let report = report.expect("it is imported").into_iter();
    (report.map(|file| file.outcome).collect(), memory, dir)
}

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused { why, .. } => &why.reason,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn text_is_found_with_its_page() {
    let (outcomes, memory, _dir) = outcomes(&[("a.pdf", two_pages())]);
    let expected = Outcome::Imported {
        chunks: 2,
        written: 2,
        removed: 0,
        vectors: 0,
        vectors_removed: 0,
    };
    assert_eq!(outcomes, [expected]);
    let namespace = Namespace::parse("shared/pdf").expect("a namespace");
    let read = |id: &str| {
        let document = memory
            .get(&namespace, id)
            .expect("a read")
            .expect("it is there");
        (document.text, document.entry.source.expect("a source").page)
    };
    assert_eq!(
        read("a.pdf#00001"),
        ("Invoice\nTo tal: 5 €".to_owned(), Some(1))
    );
    let (text, page) = read("a.pdf#00002");
    assert_eq!(
        (text.split_whitespace().collect::<Vec<_>>().join(" "), page),
        ("αβγ in a form".to_owned(), Some(2))
    );
    let hits = memory.search(&Search {
        namespaces: vec![namespace.clone()],
        text: Some("\"in a form\"".to_owned()),
        limit: 5,
        ..Search::default()
    });
    assert_eq!(
        hits.expect("an answer")[0]
            .entry
            .source
            .clone()
            .expect("a source")
            .page,
        Some(2)
    );
}

/// Blocks of a Deflate stream that says the same 64 KiB of zeros again and again,
/// each in 13 bits or so: what unpacks to `mib`.
fn bomb(mib: usize) -> Vec<u8> {
    // Fixed codes: a literal 0, then matches of 258 bytes at distance 1, each
    // `11000101` (length code 285) and `00000` (distance code 0).
    let (mut bits, mut out) = (Vec::new(), vec![0x78, 0x9c]);
    bits.extend([1, 1, 0]);
    bits.extend([0, 0, 1, 1, 0, 0, 0, 0]);
    for _ in 0..mib * (1 << 20) / 258 {
        bits.extend([1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]);
    }
    bits.extend([0; 7]);
    for byte in bits.chunks(8) {
        let set = byte.iter().enumerate().map(|(at, bit)| bit << at);
        out.push(set.sum::<u8>());
    }
    // No checksum: readers of PDF files do without.
    out.extend([0; 4]);
    out
}

#[test]
fn hostile_files_end_within_the_limits() {
    let page = b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/MediaBox[0 0 9 9]>>".to_vec();
    let one = |contents: Vec<u8>| {
        pdf(&[
            b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>".to_vec(),
            page.clone(),
            contents,
        ])
    };
    let circle = pdf(&[
        b"<</Type/Catalog/Pages 2 0 R>>".to_vec(),
        b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 2>>".to_vec(),
    ]);
    let twice = "/Filter[/FlateDecode/FlateDecode]";
    let files = [
        ("a.pdf", b"no pdf at all".to_vec()),
        ("b.pdf", Vec::new()),
        ("c.pdf", two_pages()[..300].to_vec()),
        ("d.pdf", one(stream("", b"BT (no font) Tj ET"))),
        ("e.pdf", one(stream("/Filter/FlateDecode", &bomb(1_500)))),
        ("f.pdf", circle),
        ("g.pdf", one(stream(twice, &bomb(100)))),
        ("h.pdf", one(stream("", &b"[".repeat(1 << 20)))),
        ("i.pdf", one(stream("", &b"<<".repeat(1 << 20)))),
    ];
    let begun = Instant::now();
    let (outcomes, memory, _dir) = outcomes(&files);
    assert!(
        begun.elapsed() < Duration::from_secs(100),
        "{:?}",
        begun.elapsed()
    );
    for ((name, _), outcome) in files.iter().zip(&outcomes) {
        assert!(!reason(outcome).is_empty(), "{name}");
    }
    assert!(
        reason(&outcomes[0]).contains("it is no PDF file, or damaged"),
        "{outcomes:?}"
    );
    assert!(
        reason(&outcomes[3]).contains("no text that can be read"),
        "{outcomes:?}"
    );
    assert!(reason(&outcomes[4]).contains("more than"), "{outcomes:?}");
    let namespace = Namespace::parse("shared/pdf").expect("a namespace");
    assert_eq!(memory.usage(&namespace).expect("usage"), None);
}
