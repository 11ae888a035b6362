//! Reads the syntaxes in which a format writes a byte or a character, one at a
//! time, so that it does not matter which of a value's bytes a server escapes,
//! nor how.
//!
//! What must stay true: what is not an escape stands for itself; no escape is
//! longer than [`ESCAPE_BYTES_MAX`], and no more than [`DROPPED_MAX`] in a row
//! stand for nothing, so that little is held back.

use super::encodings::utf8;

/// Longest escape that is read, bytes.
const ESCAPE_BYTES_MAX: usize = 14;
/// Most escapes in a row that stand for nothing.
const DROPPED_MAX: u8 = 8;
/// Most bytes of an answer that two readers, one of what the other reads, hold
/// back: each less than one escape.
pub(super) const READERS_BYTES_MAX: usize = (ESCAPE_BYTES_MAX - 1) * (ESCAPE_BYTES_MAX + 1);

/// A byte that was read, and the part of the answer that it was read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) byte: u8,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// A way of writing bytes and characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `%2F`, `%u002F`.
    Percent,
    /// `\/`, `\u002f`, `\u{2f}`, `\x2f`, `\057`: JSON, JavaScript, Go, Python.
    Backslash,
    /// `&amp;`, `&#47;`, `&#x2F;`: HTML and XML.
    Entity,
    /// `=2F`, and `=` at a line's end: quoted-printable.
    Equals,
    /// Line ends in the middle.
    Lines,
    /// Digits of hexadecimal, with or without separators and `0x`.
    Digits,
}

/// What stands at the beginning of a text.
enum Read {
    /// The first byte, for itself.
    Literal,
    /// Not known before more is there.
    More,
    /// So many bytes stand for one byte.
    Byte(usize, u8),
    /// So many bytes stand for a character, or a unit of UTF-16.
    Code(usize, u32),
    /// So many bytes stand for nothing.
    Nothing(usize),
}

impl Syntax {
    /// Whether `byte` may begin something other than itself.
    pub(super) fn begins(self, byte: u8) -> bool {
        match self {
            Self::Percent => byte == b'%',
            Self::Backslash => byte == b'\\',
            Self::Entity => byte == b'&',
            Self::Equals => byte == b'=',
            Self::Lines => matches!(byte, b'\r' | b'\n'),
            Self::Digits => matches!(byte, b'0' | b'A'..=b'F') || SEPARATORS.contains(&byte),
        }
    }

    fn read(self, text: &[u8]) -> Read {
        match self {
            _ if !text.first().is_some_and(|byte| self.begins(*byte)) => Read::Literal,
            Self::Percent => percent(text),
            Self::Backslash => backslash(text),
            Self::Entity => entity(text),
            Self::Equals => equals(text),
            Self::Lines => Read::Nothing(1),
            Self::Digits => digits(text),
        }
    }
}

/// Exactly `count` hexadecimal digits after `skip` bytes.
fn fixed(text: &[u8], skip: usize, count: usize) -> Option<Result<u32, ()>> {
    let digits = &text[skip..text.len().min(skip + count)];
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Some(Err(()));
    }
    (digits.len() == count).then(|| number(digits, 16).ok_or(()))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

fn low_byte(code: u32) -> u8 {
    code.to_le_bytes()[0]
}

fn byte(text: &[u8], skip: usize) -> Read {
    match fixed(text, skip, 2) {
        None => Read::More,
        Some(Ok(byte)) => Read::Byte(skip + 2, low_byte(byte)),
        Some(Err(())) => Read::Literal,
    }
}

fn code(text: &[u8], skip: usize, count: usize) -> Read {
    match fixed(text, skip, count) {
        None => Read::More,
        Some(Ok(code)) => Read::Code(skip + count, code),
        Some(Err(())) => Read::Literal,
    }
}

fn percent(text: &[u8]) -> Read {
    match text.get(1) {
        Some(b'u' | b'U') => code(text, 2, 4),
        _ => byte(text, 1),
    }
}

fn backslash(text: &[u8]) -> Read {
    match text[1..] {
        [] => Read::More,
        [b'x', ..] => byte(text, 2),
        [b'u', b'{', ..] => closed(text, 3, b'}', |digits| number(digits, 16)),
        [b'u'] => Read::More,
        [b'u', ..] => code(text, 2, 4),
        [b'U', ..] => code(text, 2, 8),
        [b'n', ..] => Read::Byte(2, b'\n'),
        [b'r', ..] => Read::Byte(2, b'\r'),
        [b'0'..=b'3', ref rest @ ..] if rest.len() < 2 => Read::More,
        [b'0'..=b'3', ..] => match number(&text[1..4], 8) {
            Some(byte) => Read::Byte(4, low_byte(byte)),
            None => Read::Literal,
        },
        [byte, ..] if byte.is_ascii_punctuation() => Read::Byte(2, byte),
        _ => Read::Literal,
    }
}

/// What stands between `skip` bytes and `close`.
fn closed(text: &[u8], skip: usize, close: u8, known: impl Fn(&[u8]) -> Option<u32>) -> Read {
    let inner = text.get(skip..).unwrap_or_default();
    match inner.iter().position(|byte| !byte.is_ascii_alphanumeric()) {
        None => Read::More,
        Some(end) if inner[end] == close => match known(&inner[..end]) {
            Some(code) => Read::Code(skip + end + 1, code),
            None => Read::Literal,
        },
        Some(_) => Read::Literal,
    }
}

fn entity(text: &[u8]) -> Read {
    match text[1..] {
        [] | [b'#'] => Read::More,
        [b'#', b'x' | b'X', ..] => closed(text, 3, b';', |digits| number(digits, 16)),
        [b'#', ..] => closed(text, 2, b';', |digits| number(digits, 10)),
        _ => closed(text, 1, b';', named),
    }
}

/// Named characters of HTML in ASCII.
const NAMED: &[(&str, char)] = &[
    ("amp", '&'),
    ("AMP", '&'),
    ("lt", '<'),
    ("LT", '<'),
    ("gt", '>'),
    ("GT", '>'),
    ("quot", '"'),
    ("QUOT", '"'),
    ("apos", '\''),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("plus", '+'),
    ("comma", ','),
    ("period", '.'),
    ("sol", '/'),
    ("colon", ':'),
    ("semi", ';'),
    ("equals", '='),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("UnderBar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("lbrace", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("VerticalLine", '|'),
    ("rcub", '}'),
    ("rbrace", '}'),
    ("nbsp", ' '),
];

fn named(name: &[u8]) -> Option<u32> {
    let known = NAMED.iter().find(|(known, _)| known.as_bytes() == name);
    known.map(|(_, c)| u32::from(*c))
}

fn equals(text: &[u8]) -> Read {
    match text[1..] {
        [b'\n', ..] => Read::Nothing(2),
        [b'\r', b'\n', ..] => Read::Nothing(3),
        [b'\r'] => Read::More,
        _ => byte(text, 1),
    }
}

/// What may stand between digits; with `\\x` in front of each pair, too.
const SEPARATORS: &[u8] = b" \t\r\n:-_,;.\\x";

fn digits(text: &[u8]) -> Read {
    match text {
        [b'0'] => Read::More,
        [b'0', b'x' | b'X', ..] => Read::Nothing(2),
        [upper @ b'A'..=b'F', ..] => Read::Byte(1, upper.to_ascii_lowercase()),
        [b'0', ..] => Read::Literal,
        _ => Read::Nothing(1),
    }
}

/// Reads one syntax out of a stream of tokens.
pub(super) struct Reader {
    syntax: Syntax,
    /// The beginning of what may be an escape: its bytes, and where they are.
    text: [u8; ESCAPE_BYTES_MAX],
    places: [(u64, u64); ESCAPE_BYTES_MAX],
    held: usize,
    dropped: u8,
}

impl Reader {
    pub(super) fn new(syntax: Syntax) -> Self {
        let (text, places) = ([0; ESCAPE_BYTES_MAX], [(0, 0); ESCAPE_BYTES_MAX]);
        Self {
            syntax,
            text,
            places,
            held: 0,
            dropped: 0,
        }
    }

    /// Whether nothing is held back.
    pub(super) fn is_idle(&self) -> bool {
        self.held == 0
    }

    /// Takes note of bytes that begin nothing and were not pushed.
    pub(super) fn passed(&mut self) {
        self.dropped = 0;
    }

    #[inline]
    pub(super) fn push(&mut self, token: Token, out: &mut impl FnMut(Token)) {
        if self.held == 0 && !self.syntax.begins(token.byte) {
            self.dropped = 0;
            return out(token);
        }
        self.text[self.held] = token.byte;
        self.places[self.held] = (token.start, token.end);
        self.held += 1;
        self.settle(false, out);
    }

    /// The stream is over: what is held back stands for itself.
    pub(super) fn end(&mut self, out: &mut impl FnMut(Token)) {
        self.settle(true, out);
    }

    fn settle(&mut self, over: bool, out: &mut impl FnMut(Token)) {
        while self.held > 0 {
            let read = match self.syntax.read(&self.text[..self.held]) {
                Read::More if !over && self.held < ESCAPE_BYTES_MAX => return,
                Read::Nothing(_) if self.dropped == DROPPED_MAX => Read::Literal,
                read => read,
            };
            self.dropped = if matches!(read, Read::Nothing(_)) {
                self.dropped + 1
            } else {
                0
            };
            let count = match read {
                Read::Literal | Read::More => self.literals(out),
                Read::Byte(count, byte) => self.escape(count, &[byte], out),
                Read::Code(count, code) => self.escape(count, &utf8(code), out),
                Read::Nothing(count) => count,
            };
            self.text.copy_within(count..self.held, 0);
            self.places.copy_within(count..self.held, 0);
            self.held -= count;
        }
    }

    /// The first byte stands for itself, and so do those up to the next that may
    /// begin something. Tells how many they are.
    fn literals(&self, out: &mut impl FnMut(Token)) -> usize {
        let rest = self.text[1..self.held].iter();
        let count = 1 + rest.take_while(|byte| !self.syntax.begins(**byte)).count();
        for (byte, (start, end)) in self.text.iter().zip(self.places).take(count) {
            out(Token {
                byte: *byte,
                start,
                end,
            });
        }
        count
    }

    /// The first `count` bytes stand for `bytes`.
    fn escape(&self, count: usize, bytes: &[u8], out: &mut impl FnMut(Token)) -> usize {
        let (start, end) = (self.places[0].0, self.places[count - 1].1);
        bytes.iter().for_each(|byte| {
            out(Token {
                byte: *byte,
                start,
                end,
            })
        });
        count
    }
}
