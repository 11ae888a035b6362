//! The words to look for: a value as it may stand in an answer, once the syntax
//! around it is read (see `syntax`).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Shorter words are too common in other text to be looked for.
const WORD_BYTES_MIN: usize = 4;

type Words = Vec<Zeroizing<Vec<u8>>>;

fn words(forms: impl IntoIterator<Item = Vec<u8>>) -> Words {
    let forms = forms.into_iter().map(Zeroizing::new);
    forms.filter(|form| form.len() >= WORD_BYTES_MIN).collect()
}

/// Words that stand as they are: the value, reversed, as UTF-16, and base64 and
/// base32 of it and of its UTF-16.
pub(super) fn exact(value: &[u8]) -> Words {
    let text = String::from_utf8_lossy(value);
    let mut forms = vec![
        value.to_vec(),
        value.iter().rev().copied().collect(),
        text.chars().rev().collect::<String>().into_bytes(),
    ];
    let wide = [u16::to_le_bytes, u16::to_be_bytes]
        .map(|bytes| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>());
    for bytes in [value, &wide[0], &wide[1]] {
        forms.extend(base64_forms(bytes));
        forms.extend(base32_forms(bytes));
    }
    forms.extend(wide);
    words(forms)
}

/// Words among folded bytes: the value in UTF-8, in ISO 8859-1, and with each
/// UTF-16 unit on its own (as `\uXXXX` gives it).
pub(super) fn folded(value: &[u8]) -> Words {
    let text = String::from_utf8_lossy(value);
    let latin: Option<Vec<u8>> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).ok())
        .collect();
    let units = text
        .encode_utf16()
        .flat_map(|unit| utf8(u32::from(unit)))
        .collect();
    let fold_all = |form: Vec<u8>| {
        let mut fold = Fold::default();
        form.into_iter()
            .filter_map(|byte| fold.fold(byte))
            .collect()
    };
    words(
        [value.to_vec(), units]
            .into_iter()
            .chain(latin)
            .map(fold_all),
    )
}

/// The value's digits.
pub(super) fn hexadecimal(value: &[u8]) -> Words {
    words([value
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into_bytes()])
}

/// `code` in UTF-8; a surrogate as if it were a character.
pub(super) fn utf8(code: u32) -> Vec<u8> {
    let low = |shift: u32| 0x80 | (code >> shift & 0x3f).to_le_bytes()[0];
    match char::from_u32(code) {
        Some(c) => c.to_string().into_bytes(),
        None => vec![0xe0 | (code >> 12 & 0xf).to_le_bytes()[0], low(6), low(0)],
    }
}

/// Longest run of one quote that is taken as one.
const QUOTES_MAX: u8 = 16;

/// Makes equal what formats do not keep apart: the case of ASCII letters, `+` and
/// a space (forms), and one quote and several (CSV and SQL).
#[derive(Default)]
pub(super) struct Fold {
    last: u8,
    run: u8,
}

impl Fold {
    /// The byte to compare where it is neither of a quote.
    pub(super) fn plain(byte: u8) -> u8 {
        match byte {
            b'+' => b' ',
            _ => byte.to_ascii_lowercase(),
        }
    }

    /// Takes note of bytes that were not folded, of which `last` is the last.
    pub(super) fn passed(&mut self, last: u8) {
        (self.last, self.run) = (last, 0);
    }

    /// The byte to compare, if it counts.
    pub(super) fn fold(&mut self, byte: u8) -> Option<u8> {
        let again = byte == self.last && matches!(byte, b'"' | b'\'') && self.run < QUOTES_MAX;
        self.run = if again { self.run + 1 } else { 0 };
        self.last = byte;
        (!again).then(|| Self::plain(byte))
    }
}

/// Escapes every byte of `value` but letters, digits and `keep`, as `%XX`.
pub(crate) fn percent(value: &[u8], keep: &str) -> Vec<u8> {
    let mut form = Vec::with_capacity(value.len() * 3);
    for byte in value {
        if byte.is_ascii_alphanumeric() || keep.as_bytes().contains(byte) {
            form.push(*byte);
        } else {
            form.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    form
}

/// What RFC 3986 leaves as it is.
pub(crate) const UNRESERVED: &str = "-._~";

/// Base64 at each of the three places in a group of bytes at which the value can
/// begin, without the characters that depend on what stands beside it, and as it
/// ends where nothing follows.
fn base64_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for (offset, skip) in [(0, 0), (1, 2), (2, 3)] {
        let bytes = Zeroizing::new([&vec![0; offset], value].concat());
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&*bytes).into_bytes();
            rims(&text, skip, bytes.len() % 3 != 0, &mut forms);
        }
    }
    forms
}

/// Base32 (RFC 4648, section 6) in the same way, at five places, in both cases.
fn base32_forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for (offset, skip) in [(0, 0), (1, 2), (2, 4), (3, 5), (4, 7)] {
        let bytes = Zeroizing::new([&vec![0; offset], value].concat());
        let text = base32(&bytes);
        rims(&text, skip, bytes.len() % 5 != 0, &mut forms);
        rims(
            &text.to_ascii_lowercase(),
            skip,
            bytes.len() % 5 != 0,
            &mut forms,
        );
    }
    forms
}

/// `text` from `skip` on, whole and without a last character that what follows
/// would change.
fn rims(text: &[u8], skip: usize, ragged: bool, forms: &mut Vec<Vec<u8>>) {
    let text = &text[skip.min(text.len())..];
    forms.push(text.to_vec());
    if let Some((_, inner)) = text.split_last().filter(|_| ragged) {
        forms.push(inner.to_vec());
    }
}

fn base32(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let padded = (0..5).fold(0_u64, |bits, at| {
            bits << 8 | u64::from(*group.get(at).unwrap_or(&0))
        });
        let digit = |at: usize| DIGITS[(padded >> (35 - 5 * at) & 31) as usize];
        text.extend((0..(group.len() * 8).div_ceil(5)).map(digit));
    }
    text
}
