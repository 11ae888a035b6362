//! Where what is redacted begins and ends: tokens, escapes, overlaps, placeholders that
//! stand there already.

use super::redaction::{key, redactor};
use super::{called, question, tool};
use crate::config::{Builtin, Redaction};
use crate::error::ModelError;
use crate::names::Names;
use crate::redact::{Form, Pieces, Redactor, Search, Veil};
use crate::request::{Message, OutputSchema};
use crate::secret::Secret;

/// What is left of a text, and what its placeholders stand for.
fn veiled(redactor: &Redactor, text: &str) -> (String, String) {
    let key = key();
    let mut veil = Veil::new(redactor, &key, &[]);
    let veiled = veil.text(text);
    let restored = veil.restorer().whole(&veiled, Form::Text);
    (veiled, restored)
}

#[test]
fn web_tokens_begin_with_a_word_and_have_two_long_parts() {
    let keys = redactor(&[Builtin::Key], "");
    // The text before, what is taken, the text behind.
    let table = [
        ("", "eyJaaaaaaaa.eyJbbbbbbbb", ""),
        ("a ", "eyJaaaaaaaa.eyJbbbbbbbb", " b"),
        ("-", "eyJaaaaaaaa.eyJbbbbbbbb", ""),
        ("a ", "eyJaaaaaaaa.eyJbbbbbbbb.sig-1_", " b"),
        ("x", "", "eyJaaaaaaaa.eyJbbbbbbbb"),
        ("", "", "eyJaaaaaaa.eyJbbbbbbbb"),
        ("", "", "eyJaaaaaaaa.eyJbbbbbbb"),
        ("", "", "eyJaaaaaaaa.eyJ"),
        ("a b ", "", "eyJaaaaaaa.eyJbbbbbbbb.c"),
    ];
    for (before, taken, behind) in table {
        let text = format!("{before}{taken}{behind}");
        let (found, restored) = veiled(&keys, &text);
        assert_eq!(restored, text);
        let inner = found
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(behind));
        let inner = inner.unwrap_or_else(|| panic!("{text}: {found}"));
        assert_eq!(
            inner.starts_with("[key-"),
            !taken.is_empty(),
            "{text}: {found}"
        );
        assert_eq!(inner.ends_with(']'), !taken.is_empty(), "{text}: {found}");
    }
}

/// In a text that is no JSON.
#[test]
fn each_escape_is_read() {
    let table = [
        ("ab\u{8}cd\u{c}ef\rgh", r"ab\bcd\fef\rgh"),
        ("ab\ncd\tef\"gh\\/", r#"ab\ncd\tef\"gh\\\/"#),
        ("pass-word", r"\u0070ass\u002dword"),
        ("😀pass-word", r"\ud83d\ude00pass-word"),
        // A half of a character before it.
        ("pass-word", r"\ud800\u0041\udc00\udc00 pass-word"),
        ("Apass-word", r"\ud800\u0041pass-word"),
    ];
    for (secret, text) in table {
        let plain = redactor(&[], "");
        let key = key();
        let secrets = [Secret::new(secret)];
        let left = Veil::new(&plain, &key, &secrets).text(&format!("x {text} y"));
        assert!(left.ends_with("[secret] y"), "{text}: {left}");
    }
}

/// What is found in a reading, and what stands beside it, come back as they are read.
#[test]
fn what_overlaps_has_the_value_of_all() {
    let all = redactor(
        &[Builtin::Email],
        "dom  \\bb\\.ch\npair  b\\.ch \\w+\nspan  from .* to\nlead  by b\\.ch\n",
    );
    let table = [
        (r"see a\u0040b.test end", "see [email-", "see a@b.test end"),
        // The end of one is the beginning of the other, both read.
        (r"see a\u0040b.ch yes.", "see [email-", "see a@b.ch yes."),
        (
            r"see from a\u0040b.test to end",
            "see [span-",
            "see from a@b.test to end",
        ),
        (
            r"see a\u0040b.ch\u0020yes.",
            "see [email-",
            "see a@b.ch yes.",
        ),
        (r"see by b.ch\u0040x.ch.", "see [lead-", "see by b.ch@x.ch."),
        // One as it stands, the other as it is read.
        (r"see b.ch\u0040x.ch end", "see [", "see b.ch@x.ch end"),
    ];
    for (text, begins, expect) in table {
        let (found, restored) = veiled(&all, text);
        assert!(found.starts_with(begins), "{text}: {found}");
        assert!(!found.contains("ch"), "{text}: {found}");
        assert_eq!(restored, expect, "{text}: {found}");
    }
}

/// A placeholder is replaced with all that is around it, or not at all.
#[test]
fn placeholders_are_not_parted() {
    let file = "tag  [a-p]{10,16}\nline  mail: \\[.*end\ncut  from .*\\[email-[a-p]{3}\nrest  [a-p]{3}\\] to\n";
    let all = redactor(&[Builtin::Email], file);
    let key = key();
    let mut veil = Veil::new(&all, &key, &[]);
    let (one, two) = (veil.text("a@b.test"), veil.text("c@d.test"));
    assert!(one.starts_with("[email-") && two.starts_with("[email-"));
    for text in [
        one.clone(),
        format!("{one} {two}"),
        format!("from {one}"),
        format!("from {one}{two}"),
        format!("{one} to"),
        format!("{one}{two} to"),
    ] {
        assert_eq!(veil.text(&text), text);
    }
    let whole = veil.text(&format!("mail: {one}, {two} end"));
    assert!(whole.starts_with("[line-"), "{whole}");
    // What looks like one and is none is a text.
    let other = veil.text("[email-aaaabbbbccccdddd]");
    assert!(other.starts_with("[email-[tag-"), "{other}");
}

/// Beside a placeholder, or with all of one inside.
#[test]
fn what_touches_a_placeholder_is_found() {
    let all = redactor(&[Builtin::Email], "near  \\d*\\[email-[a-p]{16}\\]\\d*\n");
    let key = key();
    let secrets = [Secret::new("hunters")];
    let mut veil = Veil::new(&all, &key, &secrets);
    let one = veil.text("a@b.test");
    let table = [
        (format!("hunters{one}"), "[secret][near-"),
        (format!("{one}hunters"), "[near-"),
        (format!("7{one}"), "[near-"),
        (format!("{one}7"), "[near-"),
        (format!("7{one}7"), "[near-"),
        (one.clone(), "[near-"),
    ];
    for (text, begins) in table {
        let found = veil.text(&text);
        assert!(found.starts_with(begins), "{text}: {found}");
        assert!(!found.contains("hunters"), "{text}: {found}");
        assert!(!found.contains(&one), "{text}: {found}");
    }
}

/// Three readings are made, whatever a text would still have.
#[test]
fn escapes_within_escapes_are_read_three_times() {
    let secrets = [Secret::new("pass\tword")];
    let (plain, key) = (redactor(&[], ""), key());
    let mut text = "pass\tword".to_owned();
    for times in 0..6 {
        let left = Veil::new(&plain, &key, &secrets).text(&format!("x {text} y"));
        assert_eq!(left == "x [secret] y", times <= 3, "{times} times: {left}");
        text = match times {
            0 => r"pass\tword".to_owned(),
            _ => text.replace('\\', r"\\"),
        };
    }
}

/// Found across names and values of JSON: a text goes without it, what has to stay JSON
/// does not go.
#[test]
fn what_spans_parts_of_json_does_not_leave() {
    let own = redactor(&[], "pin  \"pin\":\\s*\\d{4}\n");
    let key = key();
    let spanning = r#"{"pin": 1234}"#;
    let mut veil = Veil::new(&own, &key, &[]);
    let left = veil.text(spanning);
    assert!(
        left.starts_with("{[pin-") && !left.contains("1234"),
        "{left}"
    );
    let mut asked = question("hi");
    asked.messages.push(Message::Assistant {
        text: String::new(),
        calls: vec![called("1", "echo", spanning)],
    });
    let mut offers = question("hi");
    offers.tools = vec![tool("echo")];
    offers.tools[0].input_schema = format!(r#"{{"const": {spanning}}}"#);
    let mut wants = question("hi");
    wants.output = Some(OutputSchema {
        name: "out".to_owned(),
        schema: format!(r#"{{"const": {spanning}}}"#),
        strict: false,
    });
    for (request, what) in [
        (asked, "a call's arguments"),
        (offers, "a tool's schema"),
        (wants, "the output's schema"),
    ] {
        let error = veil.request(&request).expect_err("it is not sent");
        let message = format!("{what} holds what must not leave the host");
        assert_eq!(error, ModelError::Denied { message });
    }
}

/// No more is held back than could become a placeholder.
#[test]
fn what_is_no_placeholder_is_told_at_once() {
    let all = redactor(&[Builtin::Email], "long  x+\n");
    let key = key();
    let mut veil = Veil::new(&all, &key, &[]);
    let placeholder = veil.text(&"x".repeat(1 << 20));
    let restorer = veil.restorer();
    let mut pieces = Pieces::default();
    for told in ["[", "[l", "[long-"] {
        assert_eq!(restorer.piece(&mut Pieces::default(), told, Form::Text), "");
    }
    for told in ["a [zz", "[long_", "[lonf"] {
        assert_eq!(restorer.piece(&mut pieces, told, Form::Text), told);
    }
    let back = restorer.piece(&mut pieces, &placeholder, Form::Text);
    assert_eq!(back.len(), 1 << 20);
    // As much as can come back did.
    let again = restorer.piece(&mut pieces, &placeholder, Form::Text);
    assert_eq!(again, placeholder);
    assert_eq!(pieces.end(), "");
}

/// A tool that is called as a short secret reads keeps its name: it is the agent's own.
#[test]
fn the_names_of_tools_stay_what_they_are() {
    let mut request = question("hi");
    request.tools = vec![tool("echo")];
    let names = Names::of(&request);
    let search = Search::new(&[Secret::new("echo")], None);
    assert_eq!(search.name(&names, "echo"), "echo");
    assert_eq!(search.name(&names, "echo_2"), "[secret]_2");
}

#[test]
fn a_key_of_a_conversation_is_not_shown() {
    assert_eq!(format!("{:?}", key()), "ConversationKey(…)");
}

#[test]
fn names_of_patterns_are_lower_case_words() {
    for (name, good) in [
        ("a", true),
        ("a_1", true),
        ("a1_b", true),
        ("1a", false),
        ("_a", false),
        ("a-b", false),
        ("aB", false),
        ("a.b", false),
    ] {
        let config = Redaction::default();
        let read = Redactor::new(&config, &format!("{name} x+y\n"));
        assert_eq!(read.is_ok(), good, "{name}");
    }
    let long = "a".repeat(100);
    assert!(Redactor::new(&Redaction::default(), &format!("{long} x\n")).is_err());
}
