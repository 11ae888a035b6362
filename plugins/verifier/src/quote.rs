//! Whether a quote is in the outcome.

use serde_json::Value;

/// Characters of the shortest quote that says anything, unless it is a whole value.
const CHARS_MIN: usize = 4;

/// An outcome, as it may be quoted: as it was shown, and each text in it as it is.
pub(crate) struct Material {
    shown: String,
    pieces: Vec<String>,
}

impl Material {
    pub(crate) fn of(outcome: &Value) -> Self {
        let mut pieces = Vec::new();
        collect(outcome, &mut pieces);
        let shown = shown(outcome);
        pieces.push(plain(&shown));
        Self { shown, pieces }
    }

    /// As a model is shown it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether it was quoted word for word; blanks may differ.
    pub(crate) fn has(&self, quote: &str) -> bool {
        let quote = plain(quote);
        let quote = quote.as_str();
        match quote.chars().count() {
            0 => false,
            count if count < CHARS_MIN => self.pieces.iter().any(|piece| piece == quote),
            _ => self.pieces.iter().any(|piece| piece.contains(quote)),
        }
    }
}

fn shown(outcome: &Value) -> String {
    match outcome {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

/// Texts, numbers and the like, each by itself.
fn collect(value: &Value, pieces: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, pieces)),
        Value::Object(members) => {
            members.values().for_each(|member| collect(member, pieces));
        }
        leaf => pieces.push(plain(&shown(leaf))),
    }
}

/// With one blank wherever there are some.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}
