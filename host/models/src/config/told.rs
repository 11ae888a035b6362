//! What is wrong with a file, in words.
//!
//! What must stay true: a value is not repeated, since one that should not be there may
//! be a key; nor is a line of the file.

use super::Redaction;
use crate::redact::Redactor;

/// A longer word is no name of ours, and no short slip.
const WORD_BYTES_MAX: usize = 16;

/// The error, with its line and column in place of what stands there.
pub(super) fn told(error: &toml::de::Error, text: &str) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    let message = without_values(error.message());
    format!("TOML parse error at line {line}, column {column}: {message}")
}

/// Texts are left out, and words that are no names.
fn without_values(message: &str) -> String {
    let mut told = String::with_capacity(message.len());
    for (at, line) in message.lines().enumerate() {
        told.push_str(if at > 0 { " " } else { "" });
        match (line.find("string \""), line.rfind('"')) {
            (Some(from), Some(to)) if from + 8 <= to => {
                told.push_str(&words(&line[..from]));
                told.push_str("string \"…");
                told.push_str(&words(&line[to..]));
            }
            _ => told.push_str(&words(line)),
        }
    }
    match Redactor::new(&Redaction::default(), "") {
        Ok(redactor) => redactor.scrub(&[], &told),
        Err(_) => String::new(),
    }
}

fn words(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(at, part)| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        let is_name = part.len() <= WORD_BYTES_MAX || (part.len() <= 40 && part.chars().all(plain));
        if at % 2 == 0 || is_name { part } else { "…" }
    });
    parts.collect::<Vec<_>>().join("`")
}
