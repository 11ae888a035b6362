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
