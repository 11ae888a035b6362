use airlock_sdk::Error;
use airlock_sdk::testing::call;
use serde_json::json;

use super::PLUGIN;

const OLD: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";
const NEW: &str = "one\nTWO\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\neleven\n";

fn make(old: &str, new: &str) -> String {
    let made = call(&PLUGIN, "make", json!({ "old": old, "new": new })).unwrap();
    made["patch"].as_str().unwrap().to_owned()
}

fn apply(text: &str, patch: &str, reverse: bool) -> Result<String, Error> {
    let applied = call(
        &PLUGIN,
        "apply",
        json!({ "text": text, "patch": patch, "reverse": reverse }),
    )?;
    Ok(applied["text"].as_str().unwrap().to_owned())
}

#[test]
fn a_patch_is_a_unified_diff() {
    let made = call(&PLUGIN, "make", json!({ "old": OLD, "new": NEW, "old_name": "a/n.txt", "new_name": "b/n.txt", "context": 1 })).unwrap();
    assert_eq!(
        made["patch"],
        "--- a/n.txt\n+++ b/n.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n@@ -10 +10,2 @@\n ten\n+eleven\n"
    );
    assert_eq!(
        (&made["added"], &made["removed"], &made["changed"]),
        (&json!(2), &json!(1), &json!(true))
    );
    let same = call(&PLUGIN, "make", json!({ "old": OLD, "new": OLD })).unwrap();
    assert_eq!(
        (&same["patch"], &same["changed"]),
        (&json!(""), &json!(false))
    );
}

#[test]
fn what_is_made_applies_and_reverses() {
    let texts = [
        "",
        "a",
        "a\n",
        OLD,
        NEW,
        "\r\nwin\r\nlines\r\n",
        "no end\nof line",
        "é\u{1F600}\u{0}\n",
        "--- x\n+++ y\n@@ -1 +1 @@\n",
    ];
    for old in texts {
        for new in texts.iter().filter(|new| **new != old) {
            let patch = make(old, new);
            assert_eq!(
                apply(old, &patch, false).as_deref(),
                Ok(*new),
                "{old:?} -> {new:?}:\n{patch}"
            );
            assert_eq!(
                apply(new, &patch, true).as_deref(),
                Ok(old),
                "{new:?} -> {old:?}:\n{patch}"
            );
        }
    }
}

#[test]
fn a_patch_fits_also_where_lines_moved() {
    let moved = format!("zero\nhalf\n{OLD}");
    assert_eq!(
        apply(&moved, &make(OLD, NEW), false).unwrap(),
        format!("zero\nhalf\n{NEW}")
    );
}

#[test]
fn what_does_not_fit_names_its_hunk() {
    let patch = make(OLD, NEW);
    let cases = [
        (
            OLD.replace("ten", "10"),
            patch.as_str(),
            "hunk 2 of 2 (at line 8) does not fit: line 10 is `10`, expected `ten`",
        ),
        (
            OLD.replace("two", "zwei"),
            patch.as_str(),
            "hunk 1 of 2 (at line 1) does not fit: line 2 is `zwei`, expected `two`",
        ),
        (
            "one\n".to_owned(),
            patch.as_str(),
            "line 2 is past the end, expected `two`",
        ),
        (
            OLD.replace('\n', "\r\n"),
            patch.as_str(),
            "its line ends are not those of the text",
        ),
        (OLD.to_owned(), "not a patch", "patch: "),
        (OLD.to_owned(), "", "patch: "),
        (
            OLD.to_owned(),
            "--- a\n+++ b\n@@ -1,9999999999999999999999 +1 @@\n",
            "patch: ",
        ),
        (
            OLD.to_owned(),
            "--- a\n+++ b\n@@ -1,2 +1,1 @@\n one\n",
            "patch: ",
        ),
    ];
    for (text, patch, part) in cases {
        match apply(&text, patch, false) {
            Err(Error::InvalidInput(message)) => {
                assert!(message.contains(part), "{patch:?}: {message}")
            }
            other => panic!("{patch:?}: {other:?}"),
        }
    }
}

#[test]
fn names_cannot_write_a_part_of_the_patch() {
    for name in ["a\n@@ -1 +1 @@", "", "a\u{7}"] {
        let refused = call(
            &PLUGIN,
            "make",
            json!({ "old": "a", "new": "b", "new_name": name }),
        );
        assert_eq!(
            refused.map_err(|error| error.code()),
            Err("invalid-input"),
            "{name:?}"
        );
    }
    let wide = call(
        &PLUGIN,
        "make",
        json!({ "old": "a", "new": "b", "context": 101 }),
    );
    assert_eq!(wide.map_err(|error| error.code()), Err("invalid-input"));
}

/// Without lines around a change, its place alone says which of equal lines it is.
#[test]
fn what_is_taken_out_is_the_line_that_is_meant() {
    // The text without the line, with it, and the patch that puts it in.
    let table = [
        ("a\nb\n", "a\nb\na\n", "@@ -2,0 +3 @@\n+a\n"),
        ("\n\r\n", "\n\r\n\n", "@@ -2,0 +3 @@\n+\n"),
        ("a\nb\n", "a\na\nb\n", "@@ -1,0 +2 @@\n+a\n"),
        ("b\na\n", "a\nb\na\n", "@@ -0,0 +1 @@\n+a\n"),
        (
            "a\nb\nc\n",
            "a\nb\na\nc\nb\n",
            "@@ -2,0 +3 @@\n+a\n@@ -3,0 +5 @@\n+b\n",
        ),
    ];
    for (without, with, hunks) in table {
        let patch = format!("--- old\n+++ new\n{hunks}");
        assert_eq!(
            apply(without, &patch, false),
            Ok(with.to_owned()),
            "{patch}"
        );
        assert_eq!(apply(with, &patch, true), Ok(without.to_owned()), "{patch}");
    }
    let takes_out = "--- old\n+++ new\n@@ -3 +2,0 @@ fn a\n-a\n";
    assert_eq!(
        apply("a\nb\na\n", takes_out, false),
        Ok("a\nb\n".to_owned())
    );
}

#[test]
fn two_changes_merge_or_conflict() {
    let ours = OLD.replace("one", "ONE");
    let theirs = OLD.replace("ten", "TEN");
    let merged = call(
        &PLUGIN,
        "merge",
        json!({ "base": OLD, "ours": ours, "theirs": theirs }),
    )
    .unwrap();
    assert_eq!(
        (&merged["conflicts"], &merged["text"]),
        (&json!(false), &json!(ours.replace("ten", "TEN")))
    );
    let conflict = call(
        &PLUGIN,
        "merge",
        json!({ "base": OLD, "ours": ours, "theirs": OLD.replace("one", "eins") }),
    )
    .unwrap();
    assert_eq!(conflict["conflicts"], true);
    let text = conflict["text"].as_str().unwrap();
    assert!(
        text.contains("<<<<<<<") && text.contains("ONE") && text.contains("eins"),
        "{text}"
    );
}

proptest::proptest! {
    #![proptest_config(airlock_fuzz::cases(256))]

    #[test]
    fn fuzz_make_and_apply(
        old in "([ab+@ -]{0,3}(\r?\n)?){0,12}",
        new in "([ab+@ -]{0,3}(\r?\n)?){0,12}",
        context in 0_usize..5,
    ) {
        let made = call(&PLUGIN, "make", json!({ "old": old, "new": new, "context": context })).unwrap();
        let patch = made["patch"].as_str().unwrap();
        proptest::prop_assert_eq!(made["changed"] == json!(true), old != new);
        if old != new {
            proptest::prop_assert_eq!(apply(&old, patch, false), Ok(new.clone()), "{}", patch);
            proptest::prop_assert_eq!(apply(&new, patch, true), Ok(old), "{}", patch);
        }
    }

    #[test]
    fn fuzz_patches_never_panic(text in "([ab]\n){0,6}", patch in "(--- a\n\\+\\+\\+ b\n)?(@@ -[0-9]{1,2}(,[0-9])? \\+[0-9]{1,2}(,[0-9])? @@\n([ +-][ab]?\n){0,5}){0,3}|.{0,60}") {
        let code = apply(&text, &patch, false).map_err(|error| error.code());
        proptest::prop_assert!(matches!(code, Ok(_) | Err("invalid-input")), "{:?}", code);
    }
}
