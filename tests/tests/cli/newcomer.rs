//! What somebody who is new here stumbles over: each is told in words that help.

use std::net::TcpListener;

use airlock_tests::{component, root};

use crate::{Place, path};

/// Commands that fail, with the exit code, what is said and what is not.
type Cases<'a> = &'a [(&'a [&'a str], i32, &'a [&'a str], &'a str)];

fn all(place: &Place, cases: Cases<'_>) {
    for (args, code, said, unsaid) in cases {
        let ran = place.run(args);
        assert_eq!(ran.code, *code, "{args:?}: {}{}", ran.out, ran.err);
        for word in *said {
            let err = &ran.err;
            assert!(err.contains(word), "{args:?} does not say `{word}`: {err}");
        }
        let silent = unsaid.is_empty() || !ran.err.contains(unsaid);
        assert!(silent, "{args:?} says `{unsaid}`: {}", ran.err);
    }
}

/// With `files` installed, and `/inbox` granted to it for reading.
pub(crate) fn stumbles(place: &Place) {
    let outside = r#"{"path": "/elsewhere/a.txt"}"#;
    let writes = r#"{"path": "/inbox/a.txt", "content": "x"}"#;
    let rule = "files = [{ host = \"/srv\", guest = \"/srv\", acess = \"read\" }]";
    let relative = "files = [{ host = \"srv\", guest = \"/srv\", access = \"read\" }]";
    let cases: Cases<'_> = &[
        // It is granted `files`, and another rule of it is missing.
        (
            &["tool", "call", "files/read", outside],
            3,
            &[
                "no rule covers this path",
                "it is granted files, but not for this",
                "airlock grants files",
            ],
            "plugin inspect",
        ),
        (
            &["tool", "call", "files/write", writes],
            3,
            &[
                "needed: access = \"read-write\"",
                "it is granted files, but not for this",
            ],
            "plugin inspect",
        ),
        // Names.
        (
            &["tool", "call", "file/list", "{}"],
            4,
            &[
                "there is no plugin `file` (did you mean `files`?)",
                "airlock tool list",
            ],
            "",
        ),
        (
            &["plugin", "inspect", "fils"],
            4,
            &["did you mean `files`?"],
            "",
        ),
        (
            &["plugin", "remove", "fils"],
            4,
            &["did you mean `files`?"],
            "",
        ),
        (
            &["run", "fiels", "--input", "{}"],
            4,
            &["did you mean `files`?"],
            "",
        ),
        (
            &["tool", "call", "nobody/nothing", "{}"],
            4,
            &["airlock tool list"],
            "did you mean",
        ),
        (
            &["tool", "call", "files/raed", "{}"],
            4,
            &["did you mean `read`?", "airlock tool list --plugin files"],
            "",
        ),
        // Limits without their unit, and with one that they have not.
        (
            &["grant", "files", "--limit", "cpu=5"],
            5,
            &["--limit cpu: `5` has no unit; write e.g. `500ms`, `10s`, `2m`"],
            "invalid type",
        ),
        (
            &["grant", "files", "--limit", "memory=64"],
            5,
            &["--limit memory: ", "`64MiB`"],
            "invalid type",
        ),
        (
            &["grant", "files", "--limit", "rate=100"],
            5,
            &["--limit rate: ", "`100/min`"],
            "invalid type",
        ),
        (
            &["grant", "files", "--limit", "handles=5s"],
            5,
            &["--limit handles: ", "a number without a unit"],
            "u32",
        ),
        // The rule that was typed is the first, whatever is in force.
        (
            &["grant", "files", rule],
            5,
            &["files[0].acess: unknown field", "did you mean `access`?"],
            "files[1]",
        ),
        (
            &["grant", "files", relative],
            5,
            &["`files` rule 0 of those given: `host`"],
            "rule 1",
        ),
        (
            &["plugin", "list", "--server", "127.0.0.1:17600"],
            2,
            &["write http://127.0.0.1:17600"],
            "",
        ),
        (
            &["plugin", "list", "--server", "ftp://127.0.0.1"],
            2,
            &["begins with http://"],
            "http://ftp",
        ),
    ];
    all(place, cases);
    wants(place);
    again(place);
    begun(place);
}

/// What is granted for other places than the author wrote is granted.
fn wants(place: &Place) {
    let listed = place.json(&["plugin", "list"]);
    let plugins = listed["plugins"].as_array().expect("a list");
    let files = plugins.iter().find(|plugin| plugin["name"] == "files");
    let files = files.expect("it is installed");
    // To write is optional, and was not granted.
    assert_eq!(files["wants_ungranted"], 1, "{files}");
    let inspected = place.ok(&["plugin", "inspect", "files"]);
    let line = |guest: &str| {
        let mut lines = inspected.lines();
        let line = lines.find(|line| line.contains(guest) && line.contains("]   "));
        line.unwrap_or_else(|| panic!("{guest}: {inspected}"))
    };
    assert!(line("\"/data\"").ends_with("yes"), "{inspected}");
    assert!(line("\"/out\"").ends_with("no, optional"), "{inspected}");
    let proposed = inspected
        .lines()
        .find(|line| line.starts_with("airlock grant"));
    let proposed = proposed.expect("what is left to grant");
    assert!(
        proposed.contains("/out") && !proposed.contains("/data"),
        "{proposed}"
    );
}

/// Installing what is there says that nothing changed; what is new, that it is.
fn again(place: &Place) {
    let files = path(&component("airlock-plugin-files"));
    for more in [&[][..], &["--activate"]] {
        let said = place.ok(&[&["plugin", "add", "files", &files], more].concat());
        assert!(
            said.contains("is installed and active already: nothing changed"),
            "{said}"
        );
        assert!(!said.starts_with("installed"), "{said}");
    }
}

/// Who forgot which data is meant learns that other data was begun, once.
fn begun(place: &Place) {
    let data = path(&place.folder.join("forgotten"));
    let create = ["token", "create", "x", "--role", "viewer", "--data", &data];
    for told in [true, false] {
        let ran = place.run(&create);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let says = ran
            .err
            .contains(&format!("begins a new data directory, {data}"));
        assert_eq!(says, told, "{}", ran.err);
    }
}

/// Who may not is told what the whole command takes.
pub(crate) fn roles(place: &Place) {
    let token = place.ok(&["token", "create", "asked", "--role", "approver"]);
    let file = place.folder.join("asked.token");
    std::fs::write(&file, token.lines().next().expect("a token")).expect("written");
    let with = ["--token-file", &path(&file)];
    let admin = "this takes a token with the role admin [forbidden]";
    let table: [(&[&str], &str); 5] = [
        (&["grant", "files", "kv = [{ bucket = \"b\" }]"], admin),
        (&["grant", "files", "--limit", "cpu=5s"], admin),
        (&["revoke", "files"], admin),
        (&["plugin", "activate", "files", "sha256:1"], admin),
        (
            &["plugin", "list"],
            "this takes a token with the role viewer, operator or admin",
        ),
    ];
    for (args, says) in table {
        let ran = place.run(&[args, &with[..]].concat());
        assert_eq!(ran.code, 3, "{args:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(says), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_port_that_is_taken_is_told_as_that() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("listens");
    let address = taken.local_addr().expect("an address").to_string();
    let ran = place.run(&["serve", "--listen", &address]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let says = format!(
        "another program listens on {address} already; --listen names another address for this one"
    );
    let last = ran.err.lines().last().unwrap_or_default();
    assert!(last.ends_with(&says), "{}", ran.err);
}

/// The first example of the page on models can be copied and used.
#[test]
fn the_models_of_the_documentation_can_be_used() {
    let place = Place::new();
    let page = std::fs::read_to_string(root().join("docs/models.md")).expect("the page");
    let (_, rest) = page.split_once("```toml\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let file = place.folder.join("models.toml");
    std::fs::write(&file, example).expect("written");
    place.ok(&["models", "check", &path(&file)]);
}

/// The component of the page on typed components builds from what stands there.
#[test]
fn the_component_of_the_documentation_builds() {
    let place = Place::new();
    let page = std::fs::read_to_string(root().join("docs/typed-components.md")).expect("the page");
    let part = |begins: &str| {
        let (_, rest) = page.split_once(begins).expect(begins);
        rest.split_once("```").expect("its end").0
    };
    let manifest = part("```toml\n");
    let own = std::fs::read_to_string(root().join("Cargo.toml")).expect("ours");
    let version = own.lines().find(|line| line.starts_with("wit-bindgen = "));
    assert!(manifest.contains(version.expect("ours")), "{manifest}");
    let folder = place.folder.join("calculator");
    std::fs::create_dir_all(folder.join("src")).expect("folders");
    std::fs::write(folder.join("Cargo.toml"), manifest).expect("written");
    std::fs::write(folder.join("src/lib.rs"), part("```rust,ignore\n")).expect("written");
    let target = root().join("target/new-plugin");
    place.shell(
        &folder,
        &target,
        "cargo build --target wasm32-wasip2 --release",
    );
    let built = target.join("wasm32-wasip2/release/calculator.wasm");
    place.ok(&["plugin", "add", "calc", &path(&built)]);
    let call = ["tool", "call", "calc/calculator_divide"];
    let divided = place.ok(&[&call[..], &[r#"{"a": 7, "b": 2}"#]].concat());
    assert_eq!(divided.trim(), "3");
    let refused = place.run(&[&call[..], &[r#"{"a": 7, "b": 0}"#]].concat());
    assert_eq!(refused.code, 1, "{}", refused.err);
    assert!(
        refused.err.contains("7 can't be divided by 0"),
        "{}",
        refused.err
    );
}
