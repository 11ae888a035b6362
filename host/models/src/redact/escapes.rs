//! A text as the escapes in it read: `\u0040` is `@` to whoever reads JSON.
//!
//! What must stay true: each byte that was read has its place in the source, so that
//! what is found in a reading is replaced in the source, whole escapes of it.

use std::ops::Range;

/// A text in which escapes were read.
pub(super) struct Reading {
    pub(super) text: String,
    /// Where in the source stands what each byte was read from; at the end, the
    /// source's end.
    places: Vec<u32>,
}

impl Reading {
    /// `None`: there is no escape in it.
    pub(super) fn of(source: &str) -> Option<Self> {
        source.contains('\\').then_some(())?;
        let mut reading = Self {
            text: String::with_capacity(source.len()),
            places: Vec::with_capacity(source.len() + 1),
        };
        let mut at = 0;
        while let Some(next) = source[at..].find('\\') {
            reading.copy(&source[at..at + next], at);
            at += next;
            match escape(&source.as_bytes()[at..]) {
                Some((c, bytes)) => {
                    reading.text.push(c);
                    reading.places.resize(reading.text.len(), place(at));
                    at += bytes;
                }
                None => {
                    reading.copy("\\", at);
                    at += 1;
                }
            }
        }
        reading.copy(&source[at..], at);
        reading.places.push(place(source.len()));
        (reading.text.len() < source.len()).then_some(reading)
    }

    fn copy(&mut self, text: &str, at: usize) {
        self.text.push_str(text);
        self.places.extend((at..at + text.len()).map(place));
    }

    /// Where a part of the reading stands in the source.
    pub(super) fn in_source(&self, range: &Range<usize>) -> Range<usize> {
        self.places[range.start] as usize..self.places[range.end] as usize
    }

    /// A part of the source, with all of the escapes that it has a part of.
    pub(super) fn widened(&self, range: &Range<usize>) -> Range<usize> {
        let (from, to) = (place(range.start), place(range.end));
        let first = self.places.partition_point(|place| *place <= from);
        let last = self.places.partition_point(|place| *place < to);
        let start = first.checked_sub(1).map_or(from, |at| self.places[at]);
        let end = self.places.get(last).map_or(to, |place| *place);
        start as usize..end as usize
    }
}

/// Requests are bounded by far less.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// What an escape at the beginning stands for, and its bytes.
fn escape(text: &[u8]) -> Option<(char, usize)> {
    let c = match text.get(1)? {
        b'u' => return unicode(text),
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        plain @ (b'"' | b'\\' | b'/') => char::from(*plain),
        _ => return None,
    };
    Some((c, 2))
}

fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let unit = unit(text)?;
    if let Some(c) = char::from_u32(unit) {
        return Some((c, 6));
    }
    let low = text.get(6..).and_then(self::unit);
    match low.filter(|low| unit < 0xdc00 && (0xdc00..0xe000).contains(low)) {
        Some(low) => {
            char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).map(|c| (c, 12))
        }
        None => Some((char::REPLACEMENT_CHARACTER, 6)),
    }
}

/// The number of `\uXXXX`.
fn unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(br"\u")?.get(..4)?;
    digits.iter().try_fold(0, |number, digit| {
        Some(number * 16 + char::from(*digit).to_digit(16)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_have_their_place() {
        let table = [
            (r"a\u0040b", "a@b", "@", r"\u0040"),
            (r"\n\t\/\\\x", "\n\t/\\\\x", "/", r"\/"),
            (r"x\ud83d\ude00y", "x😀y", "😀", r"\ud83d\ude00"),
            (r"\ud83dz", "\u{fffd}z", "z", "z"),
            (r"\udc00\udc00z", "\u{fffd}\u{fffd}z", "z", "z"),
            (r"é\u00e9\u00g0\", "éé\\u00g0\\", "éé", r"é\u00e9"),
        ];
        for (source, text, part, stands) in table {
            let reading = Reading::of(source).expect("it has escapes");
            assert_eq!(reading.text, text);
            let at = text.find(part).expect("a part");
            let found = reading.in_source(&(at..at + part.len()));
            assert_eq!(&source[found], stands, "{source}");
        }
        for source in ["plain", r"C:\dir\", ""] {
            assert!(Reading::of(source).is_none(), "{source}");
        }
        let reading = Reading::of(r"x\nme").expect("it has escapes");
        assert_eq!(reading.widened(&(2..5)), 1..5, "from within an escape");
        assert_eq!(reading.widened(&(0..2)), 0..3, "into an escape");
        assert_eq!(reading.widened(&(3..5)), 3..5);
    }
}
