//! Which characters of a text people do not see, or see otherwise than they stand:
//! one list for logs, terminals, questions to people, names and documents.
//!
//! What must stay true: what one place hides from people or escapes, so does each
//! other. The lists follow `Default_Ignorable_Code_Point` and `Bidi_Control` of
//! Unicode, and what draws nothing though it is a letter.

/// Control characters, line ends and tabs among them; what turns text around; and what
/// is not shown: line separators, joiners, fillers, annotations and tags. What only
/// changes how the character before it looks is none of these, see [`is_unseen`].
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

/// [`is_hidden`], and selectors of variations: for what a person decides by. Rows of
/// these after one character say what nobody sees.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    is_hidden(c)
        || matches!(c, '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{e0080}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_told_apart() {
        let hidden = "\0\n\t\r\u{1b}\u{7f}\u{85}\u{9b}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\
            \u{200b}\u{200d}\u{200e}\u{2028}\u{202e}\u{2060}\u{2061}\u{2066}\u{206f}\u{2800}\
            \u{3164}\u{feff}\u{fff9}\u{1d173}\u{e0001}\u{e0041}";
        let selectors = "\u{180b}\u{fe00}\u{fe0f}\u{e0100}\u{e01ef}";
        let seen = "a ä é\u{301}ß中\u{5d0}\u{627}😀\u{a0}\u{3000}|`'\"<\u{fffd}";
        let table = [
            (hidden, true, true),
            (selectors, false, true),
            (seen, false, false),
        ];
        for (text, expect_hidden, expect_unseen) in table {
            for c in text.chars() {
                assert_eq!(is_hidden(c), expect_hidden, "U+{:04X}", u32::from(c));
                assert_eq!(is_unseen(c), expect_unseen, "U+{:04X}", u32::from(c));
            }
        }
    }
}
