//! Documents on the command line: files become documents that say where they are
//! from, and are found with that.

use std::fs;
use std::time::Duration;

use airlock::harness::Server;
use airlock_fake_models::{FakeModels, Reply, Script, What};
use airlock_tests::airlock;
use serde_json::Value;

use crate::{Place, path};

/// A folder with a file of each kind, and some that are refused.
fn folder(place: &Place) -> String {
    let dir = place.folder.join("handbook");
    fs::create_dir_all(dir.join("travel")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).expect("a file");
    write(
        "travel/rates.md",
        "# Travel\n\nAsk first.\n\n## Rates\n\nThe daily allowance is 70 francs.\n",
    );
    write("notes.txt", "first line\nthe canteen closes at two\n");
    write(
        "page.html",
        "<html><body><h1>Leave</h1><script>var hidden = 1</script><p>Holidays are five weeks.</p></body></html>",
    );
    write("prices.csv", "item,price\nledger,12\nstapler,7\n");
    write("picture.png", "no text");
    fs::write(dir.join("guide.pdf"), pdf()).expect("a file");
    path(&dir)
}

/// One page that says `quarterly compass`.
fn pdf() -> Vec<u8> {
    let text = "BT /F 12 Tf 20 200 Td (quarterly compass) Tj ET";
    let objects = [
        "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Resources<</Font<</F 4 0 R>>>>\
         /Contents 5 0 R>>"
            .to_owned(),
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>".to_owned(),
        format!("<</Length {}>>\nstream\n{text}\nendstream", text.len()),
    ];
    let (mut file, mut places) = (b"%PDF-1.7\n".to_vec(), Vec::new());
    for (at, object) in objects.iter().enumerate() {
        places.push(file.len());
        file.extend(format!("{} 0 obj\n{object}\nendobj\n", at + 1).bytes());
    }
    let (table, size) = (file.len(), objects.len() + 1);
    file.extend(format!("xref\n0 {size}\n0000000000 65535 f \n").bytes());
    for place in places {
        file.extend(format!("{place:010} 00000 n \n").bytes());
    }
    let end = format!("trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{table}\n%%EOF\n");
    file.extend(end.bytes());
    file
}

const SPACE: &str = "shared/handbook";

fn found(place: &Place, words: &str) -> String {
    place.ok(&["memory", "search", words, "--namespace", SPACE])
}

/// All of it: over a data directory that no server owns, and against a server.
fn tour(place: &Place) {
    let dir = folder(place);
    let import = [
        "memory",
        "import",
        &dir,
        "--namespace",
        SPACE,
        "--prefix",
        "hb/",
    ];
    let said = place.ok(&import);
    for (file, what) in [
        (
            "travel/rates.md",
            "imported: 2 chunks, 2 written, 0 removed",
        ),
        ("notes.txt", "imported: 1 chunks"),
        ("page.html", "imported: 1 chunks"),
        ("prices.csv", "imported: 1 chunks"),
        ("guide.pdf", "imported: 1 chunks"),
        ("picture.png", "refused: .png files are not read"),
    ] {
        let line = said.lines().find(|line| line.starts_with(file));
        assert!(
            line.is_some_and(|line| line.contains(what)),
            "{file}: {said}"
        );
    }
    for (words, source) in [
        (
            "daily allowance",
            "hb/travel/rates.md, lines 5–7, Travel › Rates",
        ),
        ("canteen", "hb/notes.txt, lines 1–2"),
        ("holidays", "hb/page.html, line"),
        ("stapler", "hb/prices.csv, rows 1–2"),
        ("compass", "hb/guide.pdf, page 1"),
    ] {
        let said = found(place, words);
        assert!(said.contains(source), "{words}: {said}");
    }
    assert!(found(place, "hidden").contains("nothing was found"));
    let said = place.ok(&import);
    assert!(said.contains("5 files are as they were"), "{said}");
    fs::remove_file(std::path::Path::new(&dir).join("notes.txt")).expect("removed");
    let said = place.ok(&[&import[..], &["--prune"]].concat());
    assert!(said.contains("gone: 1 chunks removed"), "{said}");
    assert!(found(place, "canteen").contains("nothing was found"));
    documents(place);
    let said = place.ok(&["memory", "list"]);
    assert!(said.contains(SPACE), "{said}");
    let said = place.ok(&["memory", "delete", SPACE, "--all", "--why", "over"]);
    assert!(said.contains("documents"), "{said}");
    assert!(found(place, "allowance").contains("nothing was found"));
    let gone = place.run(&["memory", "list", SPACE, "--json"]);
    let problem: Value = serde_json::from_str(&gone.out).expect("JSON");
    assert_eq!(
        (gone.code, &problem["code"]),
        (4, &"namespace-not-found".into())
    );
}

/// Single documents: written in a version, shown, removed.
fn documents(place: &Place) {
    let put = [
        "memory",
        "put",
        SPACE,
        "rate",
        "--text",
        "70 francs",
        "--label",
        "kind=fact",
    ];
    assert!(place.ok(&put).contains("is in version"));
    let again = place.run(&[&put[..], &["--expect", "0", "--json"]].concat());
    let problem: Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!(
        (again.code, &problem["code"]),
        (5, &"document-changed".into()),
        "{}",
        again.out
    );
    let said = place.ok(&["memory", "get", SPACE, "rate"]);
    assert!(
        said.contains("70 francs") && said.contains("kind=fact"),
        "{said}"
    );
    let labelled = [
        "memory",
        "search",
        "francs",
        "-n",
        SPACE,
        "--label",
        "kind=fact",
        "--json",
    ];
    let hits: Value = serde_json::from_str(&place.ok(&labelled)).expect("JSON");
    assert_eq!(hits["hits"].as_array().map(Vec::len), Some(1), "{hits}");
    place.ok(&["memory", "delete", SPACE, "rate"]);
    assert_eq!(place.run(&["memory", "get", SPACE, "rate"]).code, 4);
    for (args, code) in [
        (&["memory", "put", "agent/echo", "a", "--text", "x"][..], 5),
        (&["memory", "put", "handbook", "a", "--text", "x"], 2),
        (
            &[
                "memory", "put", SPACE, "a", "--text", "x", "--label", "kind",
            ],
            2,
        ),
        (&["memory", "import", "/nonexistent", "-n", SPACE], 2),
        (&["memory", "list", "--limit", "0"], 2),
        (&["memory", "list", SPACE, "--limit", "0"], 2),
        (&["memory", "put", SPACE, "..", "--text", "x"], 5),
        (
            &["memory", "search", "x", "-n", SPACE, "--embed", "near"],
            4,
        ),
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
    }
    let audit = place.ok(&["audit", "list", "--json"]);
    for action in [
        "admin.memory.import",
        "admin.memory.put",
        "admin.memory.delete",
    ] {
        assert!(audit.contains(action), "{action} is not on record");
    }
}

#[test]
fn files_are_imported_and_found_with_their_source() {
    let place = Place::new();
    tour(&place);
}

#[test]
fn files_are_imported_to_a_server_and_found_with_their_source() {
    let place = Place::new();
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    tour(&place);
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
    // What the server kept is there for whoever comes next.
    place.ok(&["memory", "put", SPACE, "a", "--text", "again"]);
    assert!(found(&place, "again").contains(SPACE));
}

/// A backup has the documents, and the index is of what was restored.
#[test]
fn a_restored_host_finds_what_its_backup_had() {
    let place = Place::new();
    let put = |id: &str, text: &str| {
        place.ok(&["memory", "put", SPACE, id, "--text", text]);
    };
    put("a", "before the backup");
    put("b", "before the backup too");
    let file = path(&place.folder.join("backup.db"));
    place.ok(&["backup", &file]);
    put("c", "after the backup");
    place.ok(&["memory", "delete", SPACE, "b"]);
    let ids = |words: &str| {
        let answer = place.ok(&["memory", "search", words, "-n", SPACE, "--json"]);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let hits = answer["hits"].as_array().expect("hits").clone();
        let mut ids: Vec<String> = hits
            .iter()
            .filter_map(|hit| hit["id"].as_str().map(str::to_owned))
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("backup"), ["a", "c"]);
    place.ok(&["restore", &file, "--force"]);
    assert_eq!(ids("backup"), ["a", "b"]);
    assert_eq!(ids("after"), Vec::<String>::new());
}

/// What a nightly import can't take is seen by whoever looks at its exit code.
#[test]
fn an_import_that_leaves_files_out_says_so_at_its_end() {
    let place = Place::new();
    let dir = place.folder.join("nightly");
    fs::create_dir_all(&dir).expect("a folder");
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).expect("a file");
    let import = |more: &[&str]| {
        let args = ["memory", "import", &path(&dir), "-n", SPACE];
        place.run(&[&args[..], more].concat())
    };
    // What is no text to import by its name is no failure; what has none says so.
    write("picture.png", b"x");
    write("empty.txt", b"");
    write("good.txt", b"the canteen closes at two");
    let ran = import(&[]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for said in ["no text is in it", "0 files are as they were"] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    write("good.txt", b"the canteen\xff");
    let ran = import(&["--prune"]);
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.err);
    for said in [
        "it is not UTF-8",
        "1 chunks of before are there still",
        "1 files were not imported",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    assert!(found(&place, "canteen").contains("good.txt"));
    let ran = import(&["--json"]);
    let told: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &told["files"][1]["kept"]), (5, &1.into()));
    for prefix in ["o", "../", "one/../"] {
        let ran = import(&["--prefix", prefix, "--prune"]);
        assert_eq!(ran.code, 2, "{prefix}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("--prefix: "), "{}", ran.err);
    }
}

/// A value comes back as it was typed; a document is found by when it was written, and
/// goes in the version that was meant.
#[test]
fn documents_are_what_was_typed() {
    let place = Place::new();
    let value = r#"{"n":12345678901234567890123,"x":1.10}"#;
    place.ok(&[
        "memory", "put", SPACE, "a", "--value", value, "--text", "rate",
    ]);
    for args in [
        &["memory", "get", SPACE, "a"][..],
        &["memory", "get", SPACE, "a", "--json"],
    ] {
        let said = place.ok(args);
        assert!(said.contains(value), "{args:?}: {said}");
    }
    let table = [
        (&["--from", "2020-01-31"][..], 0, "rate"),
        (&["--to", "2020-01-31T09:30:00Z"], 0, "nothing was found"),
        (&["--from", "2999-01-01 00:00:00"], 0, "nothing was found"),
        (
            &["--from", "yesterday"],
            2,
            "--from yesterday: write a date",
        ),
        (&["--limit", "101"], 5, "it is 101; 1 to 100"),
    ];
    for (args, code, said) in table {
        let ran = place.run(&[&["memory", "search", "rate", "-n", SPACE], args].concat());
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        assert!((ran.out + &ran.err).contains(said), "{args:?}");
    }
    let table = [
        (&["memory", "put", SPACE, "", "--text", "x"][..], 2),
        (&["memory", "put", SPACE, "a", "--value", "{"], 2),
        (&["memory", "put", SPACE, "a", "--value", "1e999"], 5),
        (&["memory", "delete", SPACE, ""], 2),
        (&["memory", "delete", SPACE, "a", "--expect", "2"], 5),
        (&["memory", "delete", SPACE, "--all", "--expect", "1"], 2),
        (&["memory", "delete", SPACE, "a", "--expect", "1"], 0),
    ];
    for (args, code) in table {
        let ran = place.run(args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
    }
}

/// Models that are put there while the server runs make vectors, which stay with their
/// texts until they are taken away.
#[test]
fn vectors_stay_until_they_are_taken_away() {
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let reply = Reply {
        dimensions: 3,
        ..Reply::default()
    };
    let models = FakeModels::start(Script::of([What::Answer(reply)]));
    let models = runtime.block_on(models).expect("a server");
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    let config = format!(
        "currency = 'USD'\n\
         providers.own = {{ kind = 'openai-compatible', base_url = '{}' }}\n\
         models.small = {{ provider = 'own', id = 'small', context_tokens = 4000, embeddings = true, prices = {{ input = '1', output = '0' }} }}\n\
         roles.near = {{ models = ['small'], retries = 0 }}\n",
        models.base_url()
    );
    fs::write(place.data.join("models.toml"), config).expect("written");
    assert!(place.ok(&["models", "reload"]).contains("near"));
    let dir = place.folder.join("texts");
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("a.md"), "# One\n\nfirst\n\n# Two\n\nsecond\n").expect("a file");
    let import = |more: &[&str]| {
        let args = ["memory", "import", &path(&dir), "-n", SPACE];
        place.run(&[&args[..], more].concat())
    };
    let table = [
        (&["--embed", "bogus"][..], 5, "there is no role `bogus`"),
        (&["--embed", "near", "--no-embed"], 2, "cannot be used with"),
        (
            &["--embed", "near"],
            0,
            "2 written, 0 removed, 2 with a vector",
        ),
        (&[], 0, "1 files are as they were"),
        (
            &["--label", "a=b"],
            0,
            "2 written, 0 removed, 2 with a vector",
        ),
        (
            &["--no-embed", "--label", "a=b"],
            0,
            "0 with a vector (2 fewer)",
        ),
    ];
    for (args, code, said) in table {
        let ran = import(args);
        assert_eq!(ran.code, code, "{args:?}: {}{}", ran.out, ran.err);
        let told = ran.out + &ran.err;
        assert!(told.contains(said), "{args:?}: {told}");
    }
    // The one answer there was is used up.
    let ran = import(&["--embed", "near", "--label", "a=b"]);
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("2 chunks of before are there still"),
        "{}",
        ran.out
    );
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}
