//! Words of a server, made fit for people's terminals and logs.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::Mask;

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

/// The same of a message: in its texts alone, so that it stays one. What else a value
/// stands in is masked where the message has been read, see [`mask_json`].
pub(crate) fn masked_message<'a>(mask: Option<&Mask>, message: &'a str) -> Cow<'a, str> {
    let Some(mask) = mask else {
        return Cow::Borrowed(message);
    };
    match (mask(message.as_bytes()).is_some(), message.starts_with('{')) {
        (false, _) => Cow::Borrowed(message),
        (true, true) => Cow::Owned(in_tokens(mask, message, false)),
        (true, false) => masked(Some(mask), message),
    }
}

/// JSON with values of secrets masked; it stays JSON: a number or a word that holds one
/// becomes a text.
pub(crate) fn mask_json(mask: &Mask, json: &str) -> String {
    match mask(json.as_bytes()).is_some() {
        true => in_tokens(mask, json, true),
        false => json.to_owned(),
    }
}

/// Masks JSON's texts; with `all` its members' names, numbers and words too.
fn in_tokens(mask: &Mask, json: &str, all: bool) -> String {
    let mut made = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => end_of_text(rest),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            c if c.is_whitespace() => c.len_utf8(),
            _ => rest
                .find(|c: char| matches!(c, ',' | '}' | ']' | ':' | '"') || c.is_whitespace())
                .unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        let is_text = first == '"';
        let is_name = is_text && rest.trim_start().starts_with(':');
        let looked_at = all || (is_text && !is_name);
        let inner = token.strip_prefix('"').unwrap_or(token);
        let inner = inner.strip_suffix('"').unwrap_or(inner);
        match looked_at.then(|| masked(Some(mask), inner)) {
            Some(Cow::Owned(masked)) => made.push_str(&format!("\"{masked}\"")),
            _ => made.push_str(token),
        }
    }
    made
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
        match is_hostile(c) {
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
        .any(|c| !matches!(c, '\n' | '\t') && is_hostile(c))
}

/// Control characters, and those that reorder or hide what is around them.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
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
                r#"{"id":8080,"port":"8080"}"#,
                r#"{"id":8080,"port":"****"}"#,
                r#"{"id":"****","port":"****"}"#,
            ),
            (
                "text",
                r#"{"text": "a text\"","b":true}"#,
                r#"{"text": "a ****\"","b":true}"#,
                r#"{"****": "a ****\"","b":true}"#,
            ),
            (
                "true",
                r#"{"is":true,"c":["true"]}"#,
                r#"{"is":true,"c":["****"]}"#,
                r#"{"is":"****","c":["****"]}"#,
            ),
            (
                "abcd",
                r#"{"a":"\\abcd\\","e":1.5}"#,
                r#"{"a":"\\****\\","e":1.5}"#,
                r#"{"a":"\\****\\","e":1.5}"#,
            ),
            ("none", r#"{"a": 1}"#, r#"{"a": 1}"#, r#"{"a": 1}"#),
        ];
        for (secret, json, message, whole) in table {
            let mask = mask(secret);
            assert_eq!(masked_message(Some(&mask), json), message, "{secret}");
            assert_eq!(mask_json(&mask, json), whole, "{secret}");
            for made in [message, whole] {
                serde_json::from_str::<serde_json::Value>(made).expect("is JSON");
            }
        }
        // What is no message is told, whole.
        assert_eq!(masked_message(Some(&mask("8080")), "at 8080"), "at ****");
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
