//! What leaves the host as a placeholder, and how it comes back.

use super::{called, question, tool, user, whole_conversation};
use crate::config::{Builtin, Redaction};
use crate::error::ModelError;
use crate::redact::{ConversationKey, Form, Pieces, Redactor, Veil};
use crate::request::{Message, OutputSchema};
use crate::secret::Secret;

pub(super) fn redactor(patterns: &[Builtin], file: &str) -> Redactor {
    let config = Redaction {
        patterns: patterns.to_vec(),
        patterns_file: None,
        reversible: true,
    };
    Redactor::new(&config, file).expect("patterns that can be used")
}

pub(super) fn key() -> ConversationKey {
    ConversationKey::new([7; 32])
}

/// The text with each placeholder's letters left out.
fn kinds(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('-') {
        out.push_str(&rest[..at]);
        let letters = &rest[at + 1..];
        let tag = letters.get(..17).filter(|tag| {
            tag.ends_with(']') && tag[..16].bytes().all(|b| (b'a'..=b'p').contains(&b))
        });
        rest = match tag {
            Some(_) => &letters[16..],
            None => {
                out.push('-');
                letters
            }
        };
    }
    out + rest
}

fn check(redactor: &Redactor, secrets: &[Secret], text: &str, expected: &str) {
    let key = key();
    let mut veil = Veil::new(redactor, &key, secrets);
    let veiled = veil.text(text);
    assert_eq!(kinds(&veiled), expected, "{text}");
    if !expected.contains("[secret]") {
        assert_eq!(veil.restorer().whole(&veiled, Form::Text), text);
    }
}

#[test]
fn known_patterns_are_found() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----";
    let cases = [
        ("mail a.b+c@example.co.uk now", "mail [email] now"),
        ("<müller@exämple.de>", "<[email]>"),
        (
            "not @home, not a@b, not a@@b.c",
            "not @home, not a@b, not a@@b.c",
        ),
        (
            "not @home.test, not a@-b.test",
            "not @home.test, not a@-b.test",
        ),
        ("card 4111111111111111.", "card [card]."),
        ("card 4111 1111 1111 1111 12/29", "card [card] 12/29"),
        (
            "5500-0000-0000-0004 and 340000000000009",
            "[card] and [card]",
        ),
        ("3056 930902 5904", "[card]"),
        ("no card 4111111111111112", "no card 4111111111111112"),
        ("no card 94111111111111111", "no card 94111111111111111"),
        (
            "order 41111111111111110000000",
            "order 41111111111111110000000",
        ),
        ("12 4111111111111111 35", "12 [card] 35"),
        // As long as can be, and longer.
        ("6304000000001234566", "[card]"),
        ("41110000111122223335", "41110000111122223335"),
        ("call +49 (0)30 1234567 now", "call [phone] now"),
        ("call 0049 30 1234567", "call [phone]"),
        ("(555) 123-4567 or 555-123-4567", "[phone] or [phone]"),
        ("030 1234567, 020 7946 0958", "[phone], [phone]"),
        (
            "on 2024-03-01 at 10:30, 1.5, 192.168.0.1",
            "on 2024-03-01 at 10:30, 1.5, 192.168.0.1",
        ),
        ("sk-proj-abcdefghijklmnop1234", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE!", "[key]!"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[key]"),
        ("risk-free desk-top", "risk-free desk-top"),
        ("postgres://user:pass@db.test/x", "[key]/x"),
        (jwt, "[key]"),
        (pem, "[key]"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[key]"),
    ];
    let redactor = redactor(&Builtin::ALL, "");
    for (text, expected) in cases {
        check(&redactor, &[], text, expected);
    }
    let none = Redaction {
        patterns: vec![],
        ..Redaction::default()
    };
    let none = Redactor::new(&none, "").expect("no pattern");
    check(
        &none,
        &[],
        "a@b.test sk-proj-abcdefghijklmnop1234",
        "a@b.test sk-proj-abcdefghijklmnop1234",
    );
}

#[test]
fn escapes_in_json_hide_nothing() {
    let redactor = redactor(&Builtin::ALL, "");
    let key = key();
    let cases = [
        (r#"{"to": "a\u0040b.test"}"#, r#"{"to":"[email]"}"#),
        (r#"["4111 1111\u00201111 1111"]"#, r#"["[card]"]"#),
        (
            r#"{"a\u0040b.test": {"n": 4111111111111111}}"#,
            r#"{"[email]":{"n":"[card]"}}"#,
        ),
        (r#"{"plain":  1.10}"#, r#"{"plain":  1.10}"#),
        (r#"{"not json a@b.test"#, r#"{"not json [email]"#),
    ];
    for (text, expected) in cases {
        let mut veil = Veil::new(&redactor, &key, &[]);
        assert_eq!(kinds(&veil.text(text)), expected, "{text}");
    }
}

#[test]
fn secrets_are_found_and_never_come_back() {
    let redactor = redactor(&[Builtin::Email], "");
    let secrets = [
        Secret::new("hunter2-and-more"),
        Secret::new("a@b.test"),
        Secret::new("abc"),
    ];
    let cases = [
        ("use hunter2-and-more!", "use [secret]!"),
        // A secret that is also an address, and one that is too short to look for.
        ("a@b.test abc", "[secret] abc"),
        ("xa@b.test.org", "[secret]"),
    ];
    for (text, expected) in cases {
        check(&redactor, &secrets, text, expected);
    }
}

#[test]
fn what_overlaps_is_replaced_whole() {
    let file = "ticket  T-[0-9]+ [a-z]+@[a-z]+\nword  b\\.test suffix\n";
    let redactor = redactor(&[Builtin::Email], file);
    check(
        &redactor,
        &[],
        "see T-12 me@b.test suffix end",
        "see [ticket] end",
    );
    check(&redactor, &[], "b.test suffix", "[word]");
}

#[test]
fn a_value_has_one_placeholder_in_one_conversation() {
    let redactor = redactor(&Builtin::ALL, "");
    let (first, second) = (key(), ConversationKey::new([8; 32]));
    let text = |key, text: &str| Veil::new(&redactor, key, &[]).text(text);
    assert_eq!(text(&first, "a@b.test"), text(&first, "a@b.test"));
    assert_ne!(text(&first, "a@b.test"), text(&second, "a@b.test"));
    assert_ne!(text(&first, "a@b.test"), text(&first, "c@b.test"));
    // What was redacted is not redacted again.
    let once = text(&first, "a@b.test, 4111111111111111, +49 30 1234567");
    assert_eq!(text(&first, &once), once);
    assert!(!format!("{first:?}").contains('7'));
}

/// A value that touches a placeholder is no part of it.
#[test]
fn what_stands_beside_a_placeholder_is_redacted() {
    let redactor = redactor(&[Builtin::Email], "");
    let key = key();
    let mut veil = Veil::new(&redactor, &key, &[]);
    let [first, second] = ["a@b.test", "c@d.test"].map(|address| veil.text(address));
    for (text, expected) in [
        (format!("c@d.test{first}"), format!("{second}{first}")),
        (format!("{first}c@d.test"), format!("{first}{second}")),
        (
            format!("{first}c@d.test{first}"),
            format!("{first}{second}{first}"),
        ),
    ] {
        assert_eq!(veil.text(&text), expected, "{text}");
    }
}

#[test]
fn all_of_a_request_is_redacted() {
    let redactor = redactor(&[Builtin::Email], "");
    let (key, secrets) = (key(), [Secret::new("hunter2-and-more")]);
    let mut request = whole_conversation();
    let mail = "me@b.test hunter2-and-more";
    request.messages[0] = Message::System {
        text: mail.to_owned(),
    };
    request.messages.push(user(mail));
    request.messages.push(Message::Assistant {
        text: mail.to_owned(),
        calls: vec![called(
            "c3",
            "files/read",
            &format!(r#"{{"path":"{mail}"}}"#),
        )],
    });
    request.messages.push(Message::Tool {
        call: "c3".to_owned(),
        text: format!(r#"["{mail}"]"#),
        failed: false,
    });
    request.tools[0].description = mail.to_owned();
    request.tools[0].input_schema = format!(r#"{{"title":"{mail}"}}"#);
    request.stop = vec![mail.to_owned()];
    request.output = Some(OutputSchema {
        name: "x".to_owned(),
        schema: format!(r#"{{"const":"{mail}"}}"#),
        strict: false,
    });
    let veiled = Veil::new(&redactor, &key, &secrets)
        .request(&request)
        .expect("it may leave");
    let text = serde_json::to_string(&veiled).expect("it is written");
    assert!(
        !text.contains("me@b.test") && !text.contains("hunter2"),
        "{text}"
    );
    assert_eq!(text.matches("[secret]").count(), 9);
    veiled.check().expect("it can still be asked");
}

#[test]
fn a_name_that_must_not_leave_is_refused() {
    let redactor = redactor(&[Builtin::Email], "");
    let key = key();
    let mut request = question("hi");
    request.tools = vec![tool("mail/a@b.test")];
    let error = Veil::new(&redactor, &key, &[])
        .request(&request)
        .expect_err("it must not leave");
    assert!(matches!(error, ModelError::Denied { .. }), "{error}");
    assert!(!error.to_string().contains("a@b.test"));
}

#[test]
fn an_answer_is_put_back_however_it_is_divided() {
    let redactor = redactor(&Builtin::ALL, "quote  say \"[a-z]+\"\n");
    let key = key();
    let mut veil = Veil::new(&redactor, &key, &[]);
    let (mail, quote) = (veil.text("a@b.test"), veil.text("say \"hi\""));
    let half = &mail[..mail.len() - 3];
    let cases = [
        (
            format!("to {mail}, {mail}!"),
            "to a@b.test, a@b.test!".to_owned(),
        ),
        (format!("[[{mail}] [x"), "[[a@b.test] [x".to_owned()),
        (format!("{half} and {mail}"), format!("{half} and a@b.test")),
        (format!("{half}{mail}"), format!("{half}a@b.test")),
        (format!("ends with {half}"), format!("ends with {half}")),
        (
            "[email-aaaaaaaaaaaaaaaa] é[".to_owned(),
            "[email-aaaaaaaaaaaaaaaa] é[".to_owned(),
        ),
        (String::new(), String::new()),
    ];
    let restorer = veil.restorer();
    for (text, expected) in cases {
        assert_eq!(restorer.whole(&text, Form::Text), expected);
        for each in [1, 2, 5, 30] {
            let chars: Vec<char> = text.chars().collect();
            let mut pieces = Pieces::default();
            let mut out = String::new();
            for piece in chars.chunks(each) {
                let piece: String = piece.iter().collect();
                out += &restorer.piece(&mut pieces, &piece, Form::Text);
            }
            out += &pieces.end();
            assert_eq!(out, expected, "{text} by {each}");
        }
    }
    let json = format!(r#"{{"text":"{quote}"}}"#);
    assert_eq!(
        restorer.whole(&json, Form::Json),
        r#"{"text":"say \"hi\""}"#
    );
}

#[test]
fn nothing_comes_back_where_that_is_not_allowed() {
    let config = Redaction {
        patterns: vec![Builtin::Email],
        ..Redaction::default()
    };
    let redactor = Redactor::new(&config, "").expect("patterns");
    let key = key();
    let mut veil = Veil::new(&redactor, &key, &[]);
    let veiled = veil.text("a@b.test");
    assert_eq!(veil.restorer().whole(&veiled, Form::Text), veiled);
    let scrubbed = redactor.scrub(
        &[Secret::new("hunter2")],
        "a@b.test hunter2 sk-proj-abcdefghijklmnop1234",
    );
    assert_eq!(
        scrubbed, "[email] [secret] [key]",
        "keys are found in what is logged, always"
    );
}

#[test]
fn a_file_of_patterns_is_read_or_refused_with_its_place() {
    let good = "# ours\n\nticket  TICKET-[0-9]+\nplate\t[A-Z]{1,3}-[0-9]+\n";
    check(
        &redactor(&[], good),
        &[],
        "TICKET-12 and B-99",
        "[ticket] and [plate]",
    );
    let cases = [
        ("ticket [0-9+\n", "line 1, column 8: "),
        ("# a\nticket  a(b\n", "line 2, column 10: "),
        ("ü a\n", "line 1, column 1: a name is"),
        ("Ticket a\n", "line 1, column 1: a name is"),
        (
            "ticket\n",
            "line 1, column 7: a regular expression is missing",
        ),
        (
            "ticket a*\n",
            "line 1, column 8: it matches where nothing is",
        ),
        ("ticket (?=a)\n", "line 1, column 8: "),
        ("a x\nb y\na z\n", "line 3, column 1: the name `a` is taken"),
        ("email x\n", "line 1, column 1: the name `email` is taken"),
        ("secret x\n", "line 1, column 1: the name `secret` is taken"),
        ("ticket ((a{100}){100}){100}\n", "line 1, column 8: "),
    ];
    for (text, expected) in cases {
        let error = Redactor::new(&Redaction::default(), text)
            .expect_err(expected)
            .to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
}
