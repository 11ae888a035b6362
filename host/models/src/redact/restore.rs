//! Placeholders back to what they stand for, also in pieces.
//!
//! What must stay true: however an answer is divided, what comes out is the same;
//! no more is held back than could still become a placeholder.

use std::collections::BTreeMap;
use std::ops::Bound;

/// Most bytes that one text gets back: a word of an answer can stand for a text of any
/// length, and it can say the word any number of times.
const RESTORED_BYTES_MAX: usize = 1 << 20;

/// Reads an answer, in pieces or whole.
#[derive(Clone)]
pub(crate) struct Restorer {
    values: BTreeMap<String, String>,
    longest: usize,
}

/// A text that is put back piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    held: String,
    /// Bytes that it got back.
    restored: usize,
}

/// How a value stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Text,
    /// Inside a string of JSON.
    Json,
}

impl Restorer {
    pub(super) fn new(values: BTreeMap<String, String>) -> Self {
        let longest = values.keys().map(String::len).max().unwrap_or_default();
        let flat = Self { values, longest };
        // A value that was found around a placeholder has it inside.
        let whole = |value: &String| flat.whole(value, Form::Text);
        let values = flat.values.iter();
        let values = values.map(|(key, value)| (key.clone(), whole(value)));
        Self {
            values: values.collect(),
            longest,
        }
    }

    /// A whole text.
    pub(crate) fn whole(&self, text: &str, form: Form) -> String {
        let mut pieces = Pieces::default();
        let mut out = self.piece(&mut pieces, text, form);
        out.push_str(&pieces.held);
        out
    }

    /// What can be told after another piece.
    pub(crate) fn piece(&self, pieces: &mut Pieces, text: &str, form: Form) -> String {
        pieces.held.push_str(text);
        let text = std::mem::take(&mut pieces.held);
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find('[').filter(|_| self.longest > 0) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let begins = self.begins(rest);
            if let Some((placeholder, value)) =
                begins.filter(|(_, value)| pieces.restored + value.len() <= RESTORED_BYTES_MAX)
            {
                pieces.restored += value.len();
                push(&mut out, value, form);
                rest = &rest[placeholder.len()..];
            } else if self.may_become(rest) {
                rest.clone_into(&mut pieces.held);
                return out;
            } else {
                out.push('[');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        out
    }

    /// The placeholder that the text begins with.
    fn begins(&self, text: &str) -> Option<(&String, &String)> {
        let end = text.bytes().take(self.longest).position(|b| b == b']')?;
        self.values.get_key_value(&text[..=end])
    }

    /// Whether the text is the beginning of a placeholder.
    fn may_become(&self, text: &str) -> bool {
        let from = (Bound::Included(text), Bound::Unbounded);
        let next = self.values.range::<str, _>(from).next();
        text.len() < self.longest && next.is_some_and(|(key, _)| key.starts_with(text))
    }
}

impl Pieces {
    /// What was held back, once nothing more comes.
    pub(crate) fn end(self) -> String {
        self.held
    }
}

fn push(out: &mut String, value: &str, form: Form) {
    match form {
        Form::Text => out.push_str(value),
        Form::Json => {
            // A string always has a form in JSON.
            let quoted = serde_json::to_string(value).unwrap_or_default();
            out.push_str(
                quoted
                    .strip_prefix('"')
                    .and_then(|text| text.strip_suffix('"'))
                    .unwrap_or_default(),
            );
        }
    }
}
