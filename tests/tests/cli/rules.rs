//! Rules of grants on the command line: those that would be dead, those that are
//! wrong, many changes at once, what a tool's class makes of them.

use std::process::Stdio;

use airlock_tests::component;

use crate::{Place, path};

/// Changes that are made at once.
const AT_ONCE: usize = 12;

/// A second rule for the same is refused with its place, wherever it comes from.
pub(crate) fn duplicates(place: &Place) {
    let keeper = path(&component("keeper"));
    place.ok(&["plugin", "add", "keeper", &keeper]);
    place.ok(&["grant", "keeper", "kv = [{ bucket = \"kept\" }]"]);
    let before = place.json(&["grants", "keeper"]);
    let wider = "kv = [{ bucket = \"kept\", bytes = \"10MiB\" }]";
    let refused = place.run(&["grant", "keeper", wider]);
    assert_eq!(refused.code, 5, "{}", refused.out);
    for word in [
        "`kv` rule 1",
        "bucket = \"kept\"",
        "rule 0",
        "[invalid-grants]",
    ] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    let policy = place.folder.join("twice.toml");
    let rules = "[{ name = \"TZ\", value = \"UTC\" }, { name = \"TZ\", value = \"CET\" }]";
    let text = format!("[plugins.keeper.grants]\nenv = {rules}\n");
    std::fs::write(&policy, text).expect("a file");
    let refused = place.run(&["apply", &path(&policy)]);
    assert_eq!(refused.code, 5, "{}", refused.out);
    for word in ["`keeper`", "`env` rule 1", "name = \"TZ\""] {
        assert!(refused.err.contains(word), "{word}: {}", refused.err);
    }
    assert_eq!(place.json(&["grants", "keeper"]), before);
    place.ok(&["grant", "keeper", wider, "--replace"]);
    place.ok(&["grant", "keeper", wider]);
    let now = place.json(&["grants", "keeper"]);
    assert_eq!(now["grants"]["kv"].as_array().map(Vec::len), Some(1));
    place.ok(&["plugin", "remove", "keeper"]);
}

/// Grants that are added at once are all there in the end, beside what is revoked
/// meanwhile.
pub(crate) fn at_once(place: &Place) {
    let keeper = path(&component("keeper"));
    place.ok(&["plugin", "add", "keeper", &keeper]);
    let count = |capability: &str| {
        let now = place.json(&["grants", "keeper"]);
        now["grants"][capability].as_array().map_or(0, Vec::len)
    };
    let kv = (0..AT_ONCE).map(|number| format!("kv = [{{ bucket = \"b{number}\" }}]"));
    all_succeed(place, &kv.collect::<Vec<_>>(), &[]);
    assert_eq!(count("kv"), AT_ONCE);
    let env =
        (0..AT_ONCE).map(|number| format!("env = [{{ name = \"N{number}\", value = \"\" }}]"));
    let revoke = ["revoke", "keeper", "kv", "0"];
    all_succeed(place, &env.collect::<Vec<_>>(), &revoke);
    assert_eq!((count("kv"), count("env")), (AT_ONCE - 1, AT_ONCE));
    place.ok(&["plugin", "remove", "keeper"]);
}

/// Grants all the rules at once, and does what else is to be done.
fn all_succeed(place: &Place, rules: &[String], other: &[&str]) {
    let grants = rules.iter().map(|rule| vec!["grant", "keeper", rule]);
    let others = (!other.is_empty()).then(|| other.to_vec());
    let started: Vec<_> = grants
        .chain(others)
        .map(|args| {
            let mut command = place.command(&args);
            let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
            (args, child.expect("it starts"))
        })
        .collect();
    for (args, child) in started {
        let output = child.wait_with_output().expect("it ends");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
    }
}

/// What a read-only class denies is told, of one tool and of all.
pub(crate) fn classes(place: &Place) {
    let set = |effects: &str| {
        let text = format!("effects = {{ {effects} }}");
        place.ok(&["grant", "files", &text]);
    };
    let writes = ["explain", "files", "files", "write", "/inbox/a.txt"];
    let folder = path(&place.folder.join("inbox"));
    let rule =
        format!("files = [{{ host = \"{folder}\", guest = \"/inbox\", access = \"read-write\" }}]");
    place.ok(&["grant", "files", &rule, "--replace"]);
    set("list = \"read-only\", read = \"read-only\"");
    let some = place.ok(&writes);
    assert!(
        some.starts_with("allowed") && some.contains("but denied to list, read:"),
        "{some}"
    );
    for (tool, code) in [("list", 3), ("write", 0)] {
        let ran = place.run(&[&writes[..], &["--tool", tool]].concat());
        assert_eq!(ran.code, code, "{tool}: {}{}", ran.out, ran.err);
        assert_eq!(ran.out.contains("read-only"), code == 3, "{}", ran.out);
    }
    let reads = ["explain", "files", "files", "read", "/inbox/a.txt"];
    let read = place.ok(&reads);
    assert!(!read.contains("read-only"), "{read}");
    set("search = \"read-only\", write = \"read-only\"");
    let none = place.run(&writes);
    assert_eq!(none.code, 3, "{}", none.out);
    assert!(none.out.contains("read-only"), "{}", none.out);
}

/// A rule that can't be read is named, with its key.
pub(crate) fn wrong_rules(place: &Place) {
    let cases = [
        (
            "kv = [{ bucket = \"b\", byts = \"1MiB\" }]",
            "kv[0]",
            "`byts`",
        ),
        ("kv = [{ bucket = \"b\", bytes = 5 }]", "kv[0].bytes", ""),
        ("env = [{ name = \"TZ\" }]", "env[0]", "`value`"),
    ];
    for (text, rule, key) in cases {
        let ran = place.run(&["grant", "files", text]);
        assert_eq!(ran.code, 5, "{text}: {}{}", ran.out, ran.err);
        assert!(
            ran.err.contains(rule) && ran.err.contains(key),
            "{text}: {}",
            ran.err
        );
    }
}

/// Every version that is shown can be gone back to, but the one in force.
pub(crate) fn earlier_versions(place: &Place) {
    let keeper = path(&component("keeper"));
    place.ok(&["plugin", "add", "fresh", &keeper]);
    let refused = place.run(&["rollback", "fresh"]);
    assert_eq!(refused.code, 5, "{}", refused.out);
    assert!(
        refused.err.contains("version 0") && refused.err.contains("is in force"),
        "{}",
        refused.err
    );
    place.ok(&["grant", "fresh", "kv = [{ bucket = \"kept\" }]"]);
    place.ok(&["rollback", "fresh", "0"]);
    let now = place.json(&["grants", "fresh"]);
    assert_eq!(
        (&now["version"], &now["restored"], &now["grants"]),
        (&2.into(), &0.into(), &serde_json::json!({}))
    );
    assert_eq!(place.run(&["rollback", "fresh", "9"]).code, 4);
    place.ok(&["plugin", "remove", "fresh"]);
}
