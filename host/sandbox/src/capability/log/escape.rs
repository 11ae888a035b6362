//! Text from a guest, made safe to show in a log: one line, no control
//! characters, no invisible reordering.

use airlock_text::is_hidden;

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
        _ if is_hidden(char) => out.extend(char.escape_unicode()),
        _ => out.push(char),
    }
}
