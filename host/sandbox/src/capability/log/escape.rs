//! Text from a guest, made safe to show in a log: one line, no control
//! characters, no invisible reordering.

/// `text`, escaped.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape_into(&mut out, text, usize::MAX);
    out
}

/// Appends `text` to `out`, escaped, as far as `out` stays within `bytes_max`.
/// Gives the bytes of `text` that were used.
pub(super) fn escape_into(out: &mut String, text: &str, bytes_max: usize) -> usize {
    for (at, char) in text.char_indices() {
        let before = out.len();
        push(out, char);
        if out.len() > bytes_max {
            out.truncate(before);
            return at;
        }
    }
    text.len()
}

fn push(out: &mut String, char: char) {
    match char {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if char.is_control() || is_deceptive(char) => out.extend(char.escape_unicode()),
        _ => out.push(char),
    }
}

/// Characters that end lines, reorder or hide text without being controls.
fn is_deceptive(char: char) -> bool {
    matches!(char,
        '\u{2028}' | '\u{2029}' // line and paragraph separators
        | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' // zero width, marks
        | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' // bidirectional
        | '\u{061c}'
        | '\u{e0000}'..='\u{e007f}' // tags
    )
}
