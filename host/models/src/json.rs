//! How much of memory a text of JSON may become, and where an object of it ends.
//!
//! What must stay true: nothing that a provider or an agent wrote is read into a tree
//! before it was found light: two bytes can become a hundred.

/// Most values of one text of JSON, where an object counts for [`OBJECT`] of them: some
/// 20 MB of memory.
const VALUES_MAX: usize = 250_000;
const OBJECT: usize = 6;

/// Whether a text of JSON has few enough values to be read into a tree.
pub(crate) fn is_light(text: &str) -> bool {
    is_light_bytes(text.as_bytes())
}

/// Also of what may be no text.
pub(crate) fn is_light_bytes(text: &[u8]) -> bool {
    let (mut values, mut quoted, mut escaped) = (0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' => values += OBJECT,
            b'[' | b',' | b':' => values += 1,
            _ => {}
        }
        if values > VALUES_MAX {
            return false;
        }
    }
    true
}

/// How far an object of JSON is that comes in pieces: each piece is looked at once.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    depth: usize,
    quoted: bool,
    escaped: bool,
    begun: bool,
    /// More came behind its end, or it is none.
    spoilt: bool,
}

impl Extent {
    pub(crate) fn push(&mut self, piece: &str) {
        piece.bytes().for_each(|byte| self.byte(byte));
    }

    /// Whether its braces and brackets are closed, and nothing follows.
    pub(crate) fn is_whole(&self) -> bool {
        self.begun && self.depth == 0 && !self.spoilt
    }

    fn byte(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' if self.depth > 0 => self.quoted = !self.quoted,
            _ if self.quoted => {}
            b'{' | b'[' if self.depth > 0 => self.depth += 1,
            b'{' if !self.begun => (self.begun, self.depth) = (true, 1),
            b'}' | b']' if self.depth > 0 => self.depth -= 1,
            byte => self.spoilt |= self.depth == 0 && !byte.is_ascii_whitespace(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_whole_however_it_is_divided() {
        let table = [
            ("{}", true),
            (r#" {"a":[{"b":"}\\"}],"c":"\"{"} "#, true),
            (r#"{"a":1"#, false),
            (r#"{"a":"}"#, false),
            ("{}{}", false),
            ("{} x", false),
            ("[]", false),
            ("\"{}\"", false),
            ("x{}", false),
            ("", false),
        ];
        for (text, whole) in table {
            for each in [1, 2, 100] {
                let mut extent = Extent::default();
                for piece in text.as_bytes().chunks(each) {
                    extent.push(std::str::from_utf8(piece).expect("ASCII"));
                }
                assert_eq!(extent.is_whole(), whole, "{text} by {each}");
            }
        }
    }

    #[test]
    fn what_becomes_much_is_not_light() {
        let times = |part: &str, times: usize| format!("[{}0]", part.repeat(times));
        let table = [
            (times("0,", 200_000), true),
            (times("0,", 260_000), false),
            (times("{},", 30_000), true),
            (times("{},", 40_000), false),
            (times("[],", 130_000), false),
            (times(r#"{"":0},"#, 40_000), false),
            (format!("[{:?}]", "[{,:\\\"".repeat(100_000)), true),
            ("{".repeat(50_000), false),
            (String::new(), true),
        ];
        for (text, light) in table {
            assert_eq!(is_light(&text), light, "{}", &text[..text.len().min(20)]);
        }
    }
}
