//! Says why a patch does not fit: the first hunk that cannot be applied, and the
//! first of its lines that is not in the text where the hunk says.

use airlock_sdk::Error;
use diffy::{Hunk, Line, Patch};

const SHOWN_CHARS: usize = 120;

pub(crate) fn explain(text: &str, patch: &Patch<'_, str>) -> Error {
    let lines: Vec<&str> = text.lines().collect();
    let hunks = patch.hunks();
    for (index, hunk) in hunks.iter().enumerate() {
        let old = old_lines(hunk);
        let fits = old.is_empty() || lines.windows(old.len()).any(|window| window == old);
        if !fits {
            let place = format!(
                "hunk {} of {} (at line {})",
                index + 1,
                hunks.len(),
                hunk.old_range().start()
            );
            return Error::invalid_input(format!(
                "patch: {place} does not fit: {}",
                difference(&lines, hunk, &old)
            ));
        }
    }
    if text.contains("\r\n") != patch_in_crlf(hunks) {
        return Error::invalid_input(
            "patch: its line ends are not those of the text (LF in one, CRLF in the other)",
        );
    }
    // Each hunk has its place, but not one after the other.
    Error::invalid_input("patch: its hunks overlap or are out of order for this text")
}

/// Whether any line that the text must have ends in CRLF.
fn patch_in_crlf(hunks: &[Hunk<'_, str>]) -> bool {
    hunks.iter().flat_map(Hunk::lines).any(|line| match line {
        Line::Context(line) | Line::Delete(line) => line.ends_with("\r\n"),
        Line::Insert(_) => false,
    })
}

/// What the text must have for the hunk to fit.
fn old_lines<'a>(hunk: &Hunk<'a, str>) -> Vec<&'a str> {
    let old = hunk.lines().iter().filter_map(|line| match line {
        Line::Context(line) | Line::Delete(line) => {
            Some(line.trim_end_matches('\n').trim_end_matches('\r'))
        }
        Line::Insert(_) => None,
    });
    old.collect()
}

fn difference(lines: &[&str], hunk: &Hunk<'_, str>, old: &[&str]) -> String {
    let start = hunk.old_range().start().saturating_sub(1);
    for (offset, expected) in old.iter().enumerate() {
        let number = start + offset + 1;
        match lines.get(start + offset) {
            Some(found) if found == expected => {}
            Some(found) => {
                return format!(
                    "line {number} is `{}`, expected `{}`",
                    short(found),
                    short(expected)
                );
            }
            None => {
                return format!(
                    "line {number} is past the end, expected `{}`",
                    short(expected)
                );
            }
        }
    }
    "the lines are there, but end differently".to_owned()
}

fn short(line: &str) -> String {
    line.chars().take(SHOWN_CHARS).collect()
}
