//! The `search` tool.

use std::collections::VecDeque;
use std::fs;

use airlock_sdk::prelude::*;
use regex::{Regex, RegexBuilder};

use crate::at;
use crate::walk::{self, Glob, Kind};

const MATCHES_DEFAULT: usize = 100;
const MATCHES_MAX: usize = 1_000;
const CONTEXT_MAX: usize = 10;
const LINE_CHARS_MAX: usize = 400;
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
const REGEX_BYTES_MAX: usize = 2 * 1024 * 1024;
/// A NUL among the first bytes makes a file binary.
const BINARY_PROBE_BYTES: usize = 8 * 1024;

/// What to search for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The folder or file to search, as a path in the sandbox.
    path: String,
    /// A regular expression (Rust's syntax: no look-around, no back-references).
    pattern: String,
    /// Only paths below the folder that match, e.g. `**/*.csv`.
    glob: Option<String>,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    ignore_case: bool,
    /// How many lines around each match to give as well: 0 to 10.
    #[serde(default)]
    context: usize,
    /// How many matches at most: 1 to 1,000, 100 unless given.
    limit: Option<usize>,
}

/// What was found.
#[derive(Default, Serialize, JsonSchema)]
pub struct Found {
    /// The lines that match, in the order of paths and lines.
    matches: Vec<Match>,
    /// How many files were searched.
    files_searched: usize,
    /// How many were not: binary, or larger than 8 MiB.
    files_skipped: usize,
    /// Whether there may be more matches than these.
    cut: bool,
}

/// One line that matches.
#[derive(Serialize, JsonSchema)]
pub struct Match {
    /// The file.
    path: String,
    /// The line's number, from 1.
    line: usize,
    /// The first match's place in the line, in characters, from 1.
    column: usize,
    /// The line, at most 400 characters of it.
    text: String,
    /// The lines before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<String>,
    /// The lines after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
}

struct Query<'a> {
    regex: Regex,
    input: &'a Search,
    limit: usize,
}

pub(crate) fn run(input: &Search) -> Result<Found, Error> {
    let query = query(input)?;
    let glob = Glob::new(input.glob.as_deref())?;
    let mut found = Found::default();
    let root = fs::metadata(&input.path).map_err(at(&input.path))?;
    if root.is_file() {
        query.file(&input.path, root.len(), &mut found)?;
        return Ok(found);
    }
    let complete = walk::walk(&input.path, true, &mut |entry| {
        if entry.kind == Kind::File && glob.takes(&input.path, &entry.path) {
            query.file(&entry.path, entry.bytes, &mut found)?;
        }
        Ok(!found.cut)
    })?;
    found.cut |= !complete;
    Ok(found)
}

fn query(input: &Search) -> Result<Query<'_>, Error> {
    let limit = input.limit.unwrap_or(MATCHES_DEFAULT);
    if !(1..=MATCHES_MAX).contains(&limit) {
        return Err(Error::invalid_input(format!(
            "limit: must be from 1 to {MATCHES_MAX}"
        )));
    }
    if input.context > CONTEXT_MAX {
        return Err(Error::invalid_input(format!(
            "context: must be at most {CONTEXT_MAX}"
        )));
    }
    let regex = RegexBuilder::new(&input.pattern)
        .case_insensitive(input.ignore_case)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| Error::invalid_input(format!("pattern: {error}")))?;
    Ok(Query {
        regex,
        input,
        limit,
    })
}

impl Query<'_> {
    fn file(&self, path: &str, bytes: u64, found: &mut Found) -> Result<(), Error> {
        if bytes > FILE_BYTES_MAX {
            found.files_skipped += 1;
            return Ok(());
        }
        let content = fs::read(path).map_err(at(path))?;
        if content
            .iter()
            .take(BINARY_PROBE_BYTES)
            .any(|&byte| byte == 0)
        {
            found.files_skipped += 1;
            return Ok(());
        }
        found.files_searched += 1;
        self.text(path, &String::from_utf8_lossy(&content), found);
        Ok(())
    }

    fn text(&self, path: &str, text: &str, found: &mut Found) {
        let around = self.input.context;
        let mut before: VecDeque<&str> = VecDeque::with_capacity(around + 1);
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            if let Some(place) = self.regex.find(line) {
                if found.matches.len() == self.limit {
                    found.cut = true;
                    return;
                }
                found.matches.push(Match {
                    path: path.to_owned(),
                    line: index + 1,
                    column: line[..place.start()].chars().count() + 1,
                    text: shorten(line),
                    before: before.iter().map(|line| shorten(line)).collect(),
                    after: lines
                        .clone()
                        .take(around)
                        .map(|(_, line)| shorten(line))
                        .collect(),
                });
            }
            before.push_back(line);
            if before.len() > around {
                before.pop_front();
            }
        }
    }
}

fn shorten(line: &str) -> String {
    line.chars().take(LINE_CHARS_MAX).collect()
}
