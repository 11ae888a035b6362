//! The administrator's own patterns: a file with one on each line, a name, spaces
//! and a regular expression. Empty lines and those that begin with `#` say nothing.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use super::Builtin;

const NAME_BYTES_MAX: usize = 32;
const PATTERNS_MAX: usize = 256;
/// Most memory of one compiled pattern, bytes.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// A pattern of the administrator's.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) name: String,
    pub(super) regex: Regex,
}

/// Why a file of patterns can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct PatternError {
    /// The line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

pub(super) fn read(text: &str) -> Result<Vec<Own>, PatternError> {
    let mut patterns = Vec::new();
    let mut names: BTreeSet<&str> = Builtin::ALL.iter().map(|known| known.name()).collect();
    names.insert(super::SECRET);
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let error = |column: usize, message: String| PatternError {
            line: index + 1,
            column,
            message,
        };
        let name_end = line.find(char::is_whitespace).unwrap_or(line.len());
        let (name, rest) = line.split_at(name_end);
        check_name(name).map_err(|message| error(1, message))?;
        if !names.insert(name) {
            return Err(error(1, format!("the name `{name}` is taken")));
        }
        if patterns.len() == PATTERNS_MAX {
            return Err(error(1, format!("at most {PATTERNS_MAX} patterns")));
        }
        let regex = rest.trim();
        let begins = line.len() - rest.trim_start().len();
        let before = line[..begins].chars().count();
        if regex.is_empty() {
            return Err(error(
                before + 1,
                "a regular expression is missing".to_owned(),
            ));
        }
        let regex = compile(regex).map_err(|(column, message)| error(before + column, message))?;
        let name = name.to_owned();
        patterns.push(Own { name, regex });
    }
    Ok(patterns)
}

fn check_name(name: &str) -> Result<(), String> {
    let usable = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= NAME_BYTES_MAX
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match usable {
        true => Ok(()),
        false => Err(format!(
            "a name is a lower-case letter and up to {} more letters, digits and `_`",
            NAME_BYTES_MAX - 1
        )),
    }
}

/// With the column of the fault in the expression, from 1.
fn compile(text: &str) -> Result<Regex, (usize, String)> {
    if let Err(error) = regex_syntax::Parser::new().parse(text) {
        return Err(match &error {
            regex_syntax::Error::Parse(error) => {
                (error.span().start.column, error.kind().to_string())
            }
            regex_syntax::Error::Translate(error) => {
                (error.span().start.column, error.kind().to_string())
            }
            other => (1, other.to_string()),
        });
    }
    let regex = RegexBuilder::new(text)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| (1, error.to_string()))?;
    match regex.is_match("") {
        true => Err((1, "it matches where nothing is".to_owned())),
        false => Ok(regex),
    }
}
