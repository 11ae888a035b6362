//! Words of a server, made fit for people's terminals and logs.

use std::borrow::Cow;
use std::fmt::Write as _;

use airlock_text::is_hidden;

use crate::Mask;

/// Digits of an id that is a number.
const ID_DIGITS_MAX: usize = 20;
/// Longest line of a server's words in an error, bytes.
const LINE_BYTES_MAX: usize = 300;

/// What a server wrote, without the values of its secrets. Cut text is masked before it
/// is cut: half of a value would not be found.
pub(crate) fn masked<'a>(mask: Option<&Mask>, text: &'a str) -> Cow<'a, str> {
    match mask.and_then(|mask| mask(text.as_bytes())) {
        Some(masked) => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
        None => Cow::Borrowed(text),
    }
}

/// The same of a message, which stays one: the names of its own members are as they
/// are, and so are numbers as short as an id; a number or a word further in that holds a
/// value becomes a text.
pub(crate) fn masked_message<'a>(mask: Option<&Mask>, message: &'a str) -> Cow<'a, str> {
    let Some(masked) = mask.and_then(|mask| mask(message.as_bytes())) else {
        return Cow::Borrowed(message);
    };
    match message.starts_with('{') && masked.len() == message.len() {
        true => Cow::Owned(in_tokens(message, &masked)),
        false => Cow::Owned(String::from_utf8_lossy(&masked).into_owned()),
    }
}

/// JSON with what differs in the copy, part by part, in one pass: a server may write
/// millions of parts.
fn in_tokens(json: &str, masked: &[u8]) -> String {
    let mut made = String::with_capacity(json.len());
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(first) = json[at..].chars().next() {
        let rest = &json[at..];
        let end = match first {
            '"' => end_of_text(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            c if c.is_whitespace() => c.len_utf8(),
            _ => rest
                .find(|c: char| matches!(c, ',' | '}' | ']' | ':' | '"') || c.is_whitespace())
                .unwrap_or(rest.len()),
        };
        let (token, other) = (&rest[..end], &masked[at..at + end]);
        at += end;
        let own = depth == 1 && is_own(token, &json[at..]);
        match first {
            _ if token.as_bytes() == other || own => made.push_str(token),
            '"' => made.push_str(&as_text(other.strip_prefix(b"\"").unwrap_or(other))),
            '{' | '}' | '[' | ']' | ',' | ':' => made.push_str(token),
            c if c.is_whitespace() => made.push_str(token),
            _ => made.push_str(&as_text(other)),
        }
        match first {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    made
}

/// Whether a part of a message itself is the protocol's: a member's name, or an id.
fn is_own(token: &str, rest: &str) -> bool {
    match token.starts_with('"') {
        true => rest.trim_start().starts_with(':'),
        false => token.len() <= ID_DIGITS_MAX && token.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// What is left of a part, as a text of JSON.
fn as_text(masked: &[u8]) -> String {
    let inner = masked.strip_suffix(b"\"").unwrap_or(masked);
    let text = format!("\"{}\"", String::from_utf8_lossy(inner));
    match serde_json::from_str::<Cow<'_, str>>(&text) {
        Ok(_) => text,
        Err(_) => "\"***\"".to_owned(),
    }
}

/// Where a text of JSON ends that begins here.
fn end_of_text(json: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

/// One bounded line of a server's words.
pub(crate) fn line(text: &str) -> String {
    bounded(text, LINE_BYTES_MAX)
}

/// One line of at most about `bytes_max` bytes, escaped.
pub(crate) fn bounded(text: &str, bytes_max: usize) -> String {
    let mut line = String::new();
    for c in text.chars() {
        if line.len() >= bytes_max {
            line.push('…');
            break;
        }
        match is_hidden(c) {
            true => drop(write!(line, "\\u{{{:x}}}", c as u32)),
            false => line.push(c),
        }
    }
    line
}

/// Whether a text holds what a terminal or a page would act on; newlines and tabs
/// are none of that.
pub(crate) fn is_plain(text: &str) -> bool {
    !text
        .chars()
        .any(|c| !matches!(c, '\n' | '\t') && is_hidden(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a secret's value looks like is no reason for a message to be none.
    #[test]
    fn what_is_masked_stays_json() {
        let mask = |secret: &'static str| -> Mask {
            std::sync::Arc::new(move |text: &[u8]| {
                let text = std::str::from_utf8(text).ok()?;
                let stars = "*".repeat(secret.len());
                text.contains(secret)
                    .then(|| text.replace(secret, &stars).into_bytes())
            })
        };
        let table = [
            (
                "8080",
                r#"{"id":8080,"result":{"port":8080,"text":"at 8080","8080":{"id":8080}}}"#,
                r#"{"id":8080,"result":{"port":"****","text":"at ****","****":{"id":"****"}}}"#,
            ),
            (
                "result",
                r#"{"result": {"result": "a result\""},"b":true}"#,
                r#"{"result": {"******": "a ******\""},"b":true}"#,
            ),
            (
                "true",
                r#"{"is":true,"c":["true",true]}"#,
                r#"{"is":"****","c":["****","****"]}"#,
            ),
            (
                "abcd",
                r#"{"a":"\\abcd\\","e":1.5}"#,
                r#"{"a":"\\****\\","e":1.5}"#,
            ),
            // It ends in the middle of what is escaped, and goes over several parts.
            ("ab\\", r#"{"a":"xab\\"}"#, r#"{"a":"***"}"#),
            (r#"b","c"#, r#"{"r":["ab","cd"]}"#, r#"{"r":["a**","**d"]}"#),
            (
                "123456789012345678901",
                r#"{"id":123456789012345678901}"#,
                r#"{"id":"*********************"}"#,
            ),
            // The message's own number also stands behind what is in it.
            (
                "8080",
                r#"{"params":{"list":[8080]},"id":8080}"#,
                r#"{"params":{"list":["****"]},"id":8080}"#,
            ),
            ("1, 2", r#"{"a":[1, 2]}"#, r#"{"a":["*", "*"]}"#),
            ("none", r#"{"a": 1}"#, r#"{"a": 1}"#),
        ];
        for (secret, message, expect) in table {
            let found = masked_message(Some(&mask(secret)), message);
            assert_eq!(found, expect, "{secret}");
            serde_json::from_str::<serde_json::Value>(&found).expect("is JSON");
        }
        // What is no message is told, whole.
        assert_eq!(masked_message(Some(&mask("8080")), "at 8080"), "at ****");
    }

    /// However many parts a message has, it is searched once.
    #[test]
    fn a_message_is_searched_once() {
        let searched = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = std::sync::Arc::clone(&searched);
        let mask: Mask = std::sync::Arc::new(move |text: &[u8]| {
            seen.fetch_add(text.len(), std::sync::atomic::Ordering::Relaxed);
            let text = String::from_utf8_lossy(text);
            Some(text.replace("secret", "******").into_bytes())
        });
        let many = r#""","#.repeat(200_000);
        let message = format!(r#"{{"result":["secret",{many}1]}}"#);
        let found = masked_message(Some(&mask), &message);
        assert_eq!(found, message.replace("secret", "******"));
        assert_eq!(
            searched.load(std::sync::atomic::Ordering::Relaxed),
            message.len()
        );
    }

    #[test]
    fn words_are_one_bounded_line() {
        let table = [
            ("a\nb", "a\\u{a}b"),
            ("\u{202e}x\u{1b}[2J", "\\u{202e}x\\u{1b}[2J"),
            ("ä\u{e0041}", "ä\\u{e0041}"),
            ("", ""),
        ];
        for (text, expect) in table {
            assert_eq!(line(text), expect);
            assert_eq!(
                is_plain(text),
                !text.contains(['\u{202e}', '\u{e0041}']),
                "{text:?}"
            );
        }
        assert!(line(&"é".repeat(10_000)).len() < LINE_BYTES_MAX + 10);
    }
}
