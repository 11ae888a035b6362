//! What is wrong with a document, where, and what to do.
//!
//! What must stay true: all problems are told at once, in the order of the document,
//! and never more than [`PROBLEMS_MAX`](crate::limits::PROBLEMS_MAX).

use std::fmt;

/// Where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// In the text, both counted from 1.
    Text {
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// In the document, as a JSON pointer.
    Pointer(String),
    /// In what was asked for, not in the document.
    Options,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub at: At,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(pointer: &str, message: impl Into<String>) -> Self {
        Self {
            at: At::Pointer(pointer.to_owned()),
            message: message.into(),
        }
    }

    pub(crate) fn option(message: impl Into<String>) -> Self {
        Self {
            at: At::Options,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    /// `line:column: message` or `#/pointer: message`; put the file's name before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Text { line, column } => write!(f, "{line}:{column}: {}", self.message),
            At::Pointer(pointer) => write!(f, "#{}: {}", shown(pointer, 300), self.message),
            At::Options => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Problem {}

/// A foreign text for a message: one line, not too long.
pub(crate) fn shown(text: &str, chars_max: usize) -> String {
    let mut shown = String::new();
    for c in text.chars().take(chars_max) {
        match c.is_control() {
            true => shown.extend(c.escape_debug()),
            false => shown.push(c),
        }
    }
    if text.chars().nth(chars_max).is_some() {
        shown.push('…');
    }
    shown
}

/// A name for a message.
pub(crate) fn name(text: &str) -> String {
    shown(text, 80)
}
