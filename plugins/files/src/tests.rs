use std::fs;

use airlock_sdk::Error;
use airlock_sdk::testing::call;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::PLUGIN;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn invoices() -> TempDir {
    folder(&[
        ("2026-01.csv", b"id,total\n1,10.50\n2,20.00\n"),
        ("2026-02.csv", b"id,total\n3,30.00\n"),
        ("notes.txt", "Zürich\nfoo\nTotal 5\nbar\n".as_bytes()),
        ("old/2025-12.csv", b"id,total\n0,1.00\n"),
        ("logo.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR total"),
    ])
}

fn names(folder: &TempDir, reply: &Value) -> Vec<String> {
    let root = folder.path().to_str().unwrap();
    let entries = reply["entries"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| {
            entry["path"]
                .as_str()
                .unwrap()
                .strip_prefix(root)
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn a_folder_is_listed_in_order_and_filtered() {
    let folder = invoices();
    let root = path(&folder, "");
    let cases: [(Value, &[&str], bool); 5] = [
        (
            json!({}),
            &[
                "/2026-01.csv",
                "/2026-02.csv",
                "/logo.png",
                "/notes.txt",
                "/old",
            ],
            false,
        ),
        (
            json!({ "glob": "*.csv" }),
            &["/2026-01.csv", "/2026-02.csv"],
            false,
        ),
        (
            json!({ "glob": "**/*.csv", "recursive": true }),
            &["/2026-01.csv", "/2026-02.csv", "/old/2025-12.csv"],
            false,
        ),
        (
            json!({ "limit": 2 }),
            &["/2026-01.csv", "/2026-02.csv"],
            true,
        ),
        (
            json!({ "limit": 5 }),
            &[
                "/2026-01.csv",
                "/2026-02.csv",
                "/logo.png",
                "/notes.txt",
                "/old",
            ],
            false,
        ),
    ];
    for (mut input, expected, cut) in cases {
        input["path"] = json!(root);
        let reply = call(&PLUGIN, "list", input.clone()).unwrap();
        assert_eq!(
            (names(&folder, &reply), reply["cut"].as_bool()),
            (
                expected.iter().map(ToString::to_string).collect(),
                Some(cut)
            ),
            "{input}"
        );
    }
    let reply = call(&PLUGIN, "list", json!({ "path": root })).unwrap();
    assert_eq!(
        (&reply["entries"][0]["bytes"], &reply["entries"][4]["kind"]),
        (&json!(25), &json!("folder"))
    );
}

#[cfg(unix)]
#[test]
fn links_are_shown_and_not_followed() {
    let folder = invoices();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
    let input = json!({ "path": path(&folder, ""), "recursive": true, "glob": "{loop,loop/**}" });
    let reply = call(&PLUGIN, "list", input).unwrap();
    assert_eq!(names(&folder, &reply), ["/loop"]);
    assert_eq!(reply["entries"][0]["kind"], "other");
}

#[test]
fn a_file_is_read_in_parts_that_join_to_the_whole() {
    let text = "aé\u{1F600}z".repeat(100);
    let folder = folder(&[("a.txt", text.as_bytes())]);
    for limit in [4_u64, 5, 7, 64, 800, 900] {
        let (mut offset, mut joined) = (0, String::new());
        loop {
            let input = json!({ "path": path(&folder, "a.txt"), "offset": offset, "limit": limit });
            let reply = call(&PLUGIN, "read", input).unwrap();
            joined.push_str(reply["content"].as_str().unwrap());
            assert_eq!(reply["size"], text.len());
            offset = reply["next_offset"].as_u64().unwrap();
            if reply["end"] == true {
                break;
            }
        }
        assert_eq!(joined, text, "limit {limit}");
    }
}

#[test]
fn reading_bounds() {
    let folder = folder(&[
        ("bin", &[0xff, 0xfe, 0]),
        ("empty", b""),
        ("half", "é".as_bytes().get(..1).unwrap()),
    ]);
    let read = |mut input: Value, name: &str| {
        input["path"] = json!(path(&folder, name));
        call(&PLUGIN, "read", input)
    };
    assert_eq!(
        read(json!({ "encoding": "base64" }), "bin").unwrap()["content"],
        "//4A"
    );
    let empty = read(json!({}), "empty").unwrap();
    assert_eq!(
        (&empty["content"], &empty["end"]),
        (&json!(""), &json!(true))
    );
    let past = read(json!({ "offset": 99 }), "bin").unwrap();
    assert_eq!((&past["content"], &past["end"]), (&json!(""), &json!(true)));
    assert_eq!(past["size"], 3, "the file's, not the offset");
    let codes: [(Value, &str, &str); 8] = [
        (json!({}), "bin", "invalid-input"),
        (json!({}), "half", "invalid-input"),
        (json!({}), "missing", "not-found"),
        (json!({}), "", "invalid-input"),
        (json!({ "limit": 0 }), "bin", "invalid-input"),
        (json!({ "limit": 786_433 }), "bin", "invalid-input"),
        (json!({ "offset": -1 }), "bin", "invalid-input"),
        (json!({ "unknown": 1 }), "bin", "invalid-input"),
    ];
    for (input, name, code) in codes {
        assert_eq!(
            read(input.clone(), name).map_err(|error| error.code()),
            Err(code),
            "{name}: {input}"
        );
    }
}

#[test]
fn files_are_created_replaced_and_appended_to() {
    let folder = folder(&[]);
    let write = |mode: &str, content: &str| {
        let input = json!({ "path": path(&folder, "sub/a.txt"), "content": content, "mode": mode, "folders": true });
        call(&PLUGIN, "write", input)
    };
    let content = || fs::read_to_string(folder.path().join("sub/a.txt")).unwrap();
    assert_eq!(write("create", "one").unwrap()["bytes"], 3);
    assert!(
        matches!(write("create", "two"), Err(Error::InvalidInput(text)) if text.contains("exists already"))
    );
    assert_eq!(content(), "one");
    assert_eq!(write("append", "+two").unwrap()["size"], 7);
    assert_eq!(content(), "one+two");
    write("replace", "three").unwrap();
    assert_eq!(content(), "three");
    let left: Vec<_> = fs::read_dir(folder.path().join("sub")).unwrap().collect();
    assert_eq!(left.len(), 1, "no partial file stays behind");
}

#[test]
fn writing_refuses_what_makes_no_sense() {
    let folder = folder(&[("dir/x", b"")]);
    let cases = [
        (
            json!({ "path": path(&folder, "a"), "content": "%%%", "encoding": "base64" }),
            "invalid-input",
        ),
        (
            json!({ "path": path(&folder, "no/such/a"), "content": "" }),
            "not-found",
        ),
        (json!({ "path": "/", "content": "" }), "invalid-input"),
        (
            json!({ "path": path(&folder, ".."), "content": "" }),
            "invalid-input",
        ),
        (json!({ "path": "", "content": "" }), "invalid-input"),
        (
            json!({ "path": path(&folder, "dir"), "content": "", "mode": "replace" }),
            "invalid-input",
        ),
        (
            json!({ "path": path(&folder, "a"), "content": "", "mode": "destroy" }),
            "invalid-input",
        ),
    ];
    for (input, code) in cases {
        assert_eq!(
            call(&PLUGIN, "write", input.clone()).map_err(|error| error.code()),
            Err(code),
            "{input}"
        );
    }
    let input = json!({ "path": path(&folder, "b"), "content": "//4A", "encoding": "base64" });
    assert_eq!(call(&PLUGIN, "write", input).unwrap()["size"], 3);
}

#[test]
fn text_is_found_with_its_place() {
    let folder = invoices();
    let search = |mut input: Value| {
        input["path"] = json!(path(&folder, ""));
        call(&PLUGIN, "search", input).unwrap()
    };
    let found = search(json!({ "pattern": "total", "ignore_case": true, "context": 1 }));
    let places: Vec<(u64, u64)> = found["matches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| {
            (
                found["line"].as_u64().unwrap(),
                found["column"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(places, [(1, 4), (1, 4), (3, 1), (1, 4)]);
    assert_eq!(
        (&found["files_searched"], &found["files_skipped"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(
        (
            &found["matches"][2]["before"],
            &found["matches"][2]["after"]
        ),
        (&json!(["foo"]), &json!(["bar"]))
    );
    let cut = search(json!({ "pattern": "^\\d+,", "glob": "*.csv", "limit": 2 }));
    assert_eq!(
        (cut["matches"].as_array().unwrap().len(), &cut["cut"]),
        (2, &json!(true))
    );
    let all = search(json!({ "pattern": "^\\d+,", "glob": "*.csv", "limit": 3 }));
    assert_eq!(
        (all["matches"].as_array().unwrap().len(), &all["cut"]),
        (3, &json!(false))
    );
    assert_eq!(
        search(json!({ "pattern": "Z.rich" }))["matches"][0]["text"],
        "Zürich"
    );
}

#[test]
fn hostile_patterns_are_refused_or_harmless() {
    let folder = folder(&[("a.txt", "a".repeat(100_000).as_bytes())]);
    let search = |pattern: &str| {
        let input = json!({ "path": path(&folder, "a.txt"), "pattern": pattern });
        call(&PLUGIN, "search", input).map_err(|error| error.code())
    };
    for pattern in ["(", "a{1000}{1000}{1000}", "(?=a)", "\\1"] {
        assert_eq!(search(pattern), Err("invalid-input"), "{pattern}");
    }
    // Exponential where a regex engine backtracks.
    assert_eq!(
        search("(a+)+$").unwrap()["matches"][0]["text"]
            .as_str()
            .unwrap()
            .len(),
        400
    );
    assert_eq!(search("(a*)*b").unwrap()["matches"], json!([]));
}
