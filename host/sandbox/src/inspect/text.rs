//! Text that a component's author wrote, made fit for people's terminals, logs
//! and consoles: no control characters, no bidirectional overrides, bounded.

use std::borrow::Cow;
use std::fmt::Write as _;

use airlock_text::is_hidden;

/// Longest line of foreign text in an error, bytes.
const LINE_BYTES_MAX: usize = 300;

/// Escapes what a terminal or a page would act on; newlines and tabs stay.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_where(text, |c| !matches!(c, '\n' | '\t') && is_hidden(c))
}

/// One bounded line of foreign text for an error message.
pub fn line(text: &str) -> String {
    let escaped = escape_where(text, is_hidden);
    truncate(&escaped, LINE_BYTES_MAX)
}

/// The first `bytes_max` bytes, at a character, with `…` where some are missing.
pub fn truncate(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max);
    format!("{}…", &text[..end])
}

fn escape_where(text: &str, escape: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if escape(c) {
            let _ = write!(escaped, "\\u{{{:x}}}", c as u32);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}
