//! What is wrong with a file, and where.
//!
//! What must stay true: all problems are told at once, in the order of the file,
//! and never more than [`limits::PROBLEMS_MAX`](crate::limits::PROBLEMS_MAX).

use std::fmt;

use crate::limits::PROBLEMS_MAX;

/// A place in a file, both counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong with a workflow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is.
    pub at: Place,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `line:column: message`; put the file's name before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Problems as they are found.
#[derive(Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    pub(crate) fn add(&mut self, at: Place, message: impl Into<String>) {
        // Some above the most are kept, so that the first of the file are told.
        if self.found.len() < PROBLEMS_MAX * 10 {
            let message = message.into();
            self.found.push(Problem { at, message });
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// In the order of the file, each once.
    pub(crate) fn into_sorted(mut self) -> Vec<Problem> {
        self.found.sort();
        self.found.dedup();
        self.found.truncate(PROBLEMS_MAX);
        self.found
    }
}

/// The known name that is closest to a misspelt one.
pub(crate) fn closest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = name.chars().count().div_ceil(3);
    let most = if name.len() < 2 { 0 } else { most };
    known
        .into_iter()
        .take(200)
        .map(|other| (distance(name, other), other))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// How many letters differ: Levenshtein's distance, of the first 64.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.chars().take(64).enumerate() {
        let mut before = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let changed = before + usize::from(a != *b);
            before = row[column + 1];
            row[column + 1] = changed.min(before + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// `: did you mean …?`, where a known name is close, else what is known.
pub(crate) fn instead<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match closest(name, known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => {
            let more = if known.len() > 20 { ", …" } else { "" };
            let shown: Vec<String> = known
                .iter()
                .take(20)
                .map(|name| format!("`{name}`"))
                .collect();
            format!("there are {}{more}", shown.join(", "))
        }
    }
}

/// A name for a message: not longer than a line.
pub(crate) fn shown(text: &str) -> String {
    match text.chars().nth(60) {
        None => text.to_owned(),
        Some(_) => text.chars().take(60).chain(['…']).collect(),
    }
}
