//! What agents, and whoever writes what their tools read, can send to models: texts
//! that take long, and those that hide what must not leave.

use std::time::{Duration, Instant};

use super::redaction::key;
use super::{called, question, user};
use crate::config::{Builtin, Redaction};
use crate::redact::{Form, Redactor, Veil};
use crate::request::{Message, Request};
use crate::secret::Secret;

/// Long enough for any machine's debug build, and far too short for what grows with the
/// square of the length.
const PATIENCE: Duration = Duration::from_secs(5);

fn redactor(reversible: bool) -> Redactor {
    let config = Redaction {
        patterns: Builtin::ALL.to_vec(),
        patterns_file: None,
        reversible,
    };
    Redactor::new(&config, "").expect("patterns that can be used")
}

/// With an expression for addresses, or web tokens as a part of that for keys, or each
/// `[` compared with all that follows it, these took minutes.
#[test]
fn what_repeats_for_long_takes_time_by_its_length_alone() {
    let redactor = redactor(true);
    let key = key();
    let placeholder = Veil::new(&redactor, &key, &[]).text("a@b.ch");
    let with_values = format!("{placeholder} c@d.ch ");
    for base in [
        "4 ",
        "4",
        "+4",
        "a",
        "aaaa@",
        "a.",
        "sk-",
        "[",
        "[x",
        "[[email-aaaaaaaaaaaaaaaa",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY----------END ",
        "a://b:",
        "a://b:c-AKIA0123456789ABCDEF",
        "eyJaaaaaaaa-AKIA0123456789ABCDEF-",
        "eyJaaaaaaaa.",
        "-eyJ",
        ".eyJ",
        "eyJ-eyJaaaaaaaa.eyJ",
        "xox0-",
        r"\u0040",
        r"\\\\",
        r"\u005c",
        r"\\u005cu0040",
        r#"{"a@b.ch":"#,
        r#"{"a":"\"#,
        &with_values,
    ] {
        let text = base.repeat((1 << 20) / base.len());
        let secrets = [Secret::new("hunter2-and-more")];
        let mut veil = Veil::new(&redactor, &key, &secrets);
        let began = Instant::now();
        veil.text("key sk-abcdefghijklmnopqrstuvwx, mail a@b.ch");
        assert!(!veil.text(&text).is_empty(), "{base}");
        let restored = veil.restorer().whole(&text, Form::Text);
        let took = began.elapsed();
        assert!(took < PATIENCE, "{base}: {took:?}");
        assert!(restored.len() <= text.len() + (1 << 20), "{base}");
    }
}

/// Nor does it by how much was found before it.
#[test]
fn many_values_take_time_by_their_number_alone() {
    let redactor = redactor(true);
    let (key, secrets) = (key(), [Secret::new("hunter2-and-more")]);
    let all: Vec<String> = (0..40_000).map(|at| format!("a{at}@b.ch [")).collect();
    let json = serde_json::to_string(&all).expect("it is written");
    for text in [json, all.concat()] {
        let mut veil = Veil::new(&redactor, &key, &secrets);
        let began = Instant::now();
        let veiled = veil.text(&text);
        assert_eq!(veiled.matches("[email-").count(), all.len());
        assert_eq!(veil.text(&veiled), veiled);
        assert_eq!(veil.restorer().whole(&veiled, Form::Text), text);
        let took = began.elapsed();
        assert!(took < 2 * PATIENCE, "{took:?}");
    }
}

/// An answer can say a word any number of times that stands for a long text.
#[test]
fn what_comes_back_is_bounded() {
    let redactor = redactor(true);
    let key = key();
    let mut veil = Veil::new(&redactor, &key, &[]);
    let long = format!("sk-{}", "a".repeat(400_000));
    let word = veil.text(&long);
    let nested = veil.text(&format!(
        "-----BEGIN PRIVATE KEY-----{}",
        word.repeat(1_000)
    ));
    let restorer = veil.restorer();
    assert_eq!(restorer.whole(&word, Form::Text), long);
    for text in [word.repeat(10_000), nested.repeat(1_000)] {
        let back = restorer.whole(&text, Form::Text);
        assert!(back.len() <= text.len() + (1 << 20), "{}", back.len());
    }
}

/// What has a member twice, is deeper than a reader goes, is several values of JSON, or
/// has JSON in its texts hides nothing either.
#[test]
fn nothing_hides_in_json_that_is_written_otherwise() {
    let redactor = redactor(false);
    let (key, secrets) = (key(), [Secret::new("zq7-secret-of-the-host")]);
    let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(200), "]".repeat(200));
    let hidden = r"\u007aq7-secret-of-the-host";
    let mail = r"private.person\u0040example.org";
    let texts = [
        r#"{"text":"HIDE","text":"x"}"#.to_owned(),
        r#"{"a":"HIDE","a":1} "#.to_owned(),
        deep(r#""HIDE""#),
        "{\"a\":1}\n{\"a\":\"HIDE\"}".to_owned(),
        "says: {\"a\":\"HIDE\"}".to_owned(),
    ];
    let nested = |text: &str| serde_json::json!({ "text": text }).to_string();
    let all = texts.iter().flat_map(|text| {
        let once = nested(text);
        let twice = nested(&once);
        [text.clone(), once, twice]
    });
    for text in all {
        for what in [hidden, mail] {
            // In its place and depth, as the texts around it are written.
            let depth = text.matches('\\').count() / text.matches('"').count().max(1);
            let mut written = what.to_owned();
            for _ in 0..depth.min(2) {
                written = written.replace('\\', r"\\");
            }
            let text = text.replace("HIDE", &written);
            let mut veil = Veil::new(&redactor, &key, &secrets);
            let veiled = veil.text(&text);
            for part in ["q7-secret", "private.person", "example.org"] {
                assert!(!veiled.contains(part), "{text}: {veiled}");
            }
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&text).is_ok(),
                serde_json::from_str::<serde_json::Value>(&veiled).is_ok(),
                "{text}: {veiled}"
            );
        }
    }
}

fn called_with(id: &str, arguments: &str) -> Request {
    let mut request = question("hi");
    request.messages.push(Message::Assistant {
        text: String::new(),
        calls: vec![called(id, "echo", arguments)],
    });
    request.messages.push(Message::Tool {
        call: id.to_owned(),
        text: "done".to_owned(),
        failed: false,
    });
    request.messages.push(user("and?"));
    request
}

/// What is restored into a call's arguments goes out again with the next request.
#[test]
fn a_member_that_is_there_twice_takes_no_value_out() {
    let redactor = redactor(true);
    let key = key();
    for arguments in [
        r#"{"text":"private.person@example.org","text":"x"}"#,
        r#"{"text":"x","text":"private.person\u0040example.org","text":"y"}"#,
        r#"{"n":4111111111111111,"n":1}"#,
        r#"{"a":{"private.person@example.org":1,"private.person@example.org":2}}"#,
    ] {
        let request = called_with("c1", arguments);
        let mut veil = Veil::new(&redactor, &key, &[]);
        let veiled = veil.request(&request).expect("it may leave");
        let text = serde_json::to_string(&veiled).expect("it is written");
        assert!(!text.contains("person"), "{text}");
        assert!(!text.contains("4111111111111111"), "{text}");
        veiled.check().expect("it can still be asked");
    }
}

/// An id that a server made up, and a pattern finds something in, ends no run.
#[test]
fn an_id_that_must_not_leave_is_another_one_there() {
    let redactor = redactor(true);
    let (key, secrets) = (key(), [Secret::new("hunter2-and-more")]);
    for id in [
        "call_x@tools.example",
        "4111111111111111",
        "hunter2-and-more",
        "call-555-123-4567",
    ] {
        let request = called_with(id, "{}");
        let mut veil = Veil::new(&redactor, &key, &secrets);
        let veiled = veil.request(&request).expect("it may leave");
        veiled.check().expect("call and result are still one");
        let text = serde_json::to_string(&veiled).expect("it is written");
        assert!(!text.contains(id), "{text}");
        let again = Veil::new(&redactor, &key, &secrets).request(&request);
        assert_eq!(again.expect("it may leave"), veiled, "the same each time");
        let names = crate::names::Names::of(&veiled).without_ids_of(&request);
        assert_ne!(names.id(id), id, "it stands for its call alone");
    }
    let request = called_with("call_1", "{}");
    let veiled = Veil::new(&redactor, &key, &secrets).request(&request);
    assert_eq!(veiled.expect("it may leave"), request);
}

/// Whether a name is refused says at once whether it is in the vault: not of words that
/// can be tried out.
#[test]
fn a_name_is_no_way_to_try_out_short_secrets() {
    let (redactor, key) = (redactor(true), key());
    let secrets = [Secret::new("abcdef"), Secret::new("hunter2-and-more")];
    for (name, leaves) in [
        ("x/abcdef", true),
        ("x/hunter2-and-more", false),
        ("x/a@b.test", false),
    ] {
        let mut request = question("hi");
        request.tools = vec![super::tool(name)];
        let veiled = Veil::new(&redactor, &key, &secrets).request(&request);
        assert_eq!(veiled.is_ok(), leaves, "{name}");
    }
}
