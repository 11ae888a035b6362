//! The part of a text that shows best why it was found.

use std::collections::{HashSet, VecDeque};

use crate::limits::{SNIPPET_BYTES_MAX, SNIPPET_SCAN_BYTES_MAX};
use crate::text::query::TextQuery;
use crate::text::words::Words;

/// Bytes before the first word that was searched for.
const LEAD_BYTES: usize = 60;

/// Up to [`SNIPPET_BYTES_MAX`] bytes of the text, where most different words of the
/// query are close together; the text's beginning when none is near it. Control
/// characters are spaces.
pub(crate) fn snippet(text: &str, query: &TextQuery) -> String {
    let scanned = &text[..boundary(text, SNIPPET_SCAN_BYTES_MAX)];
    let start = best_start(scanned, query).saturating_sub(LEAD_BYTES);
    let start = match start {
        0 => 0,
        // Not in the middle of a word, if one ends soon.
        start => {
            let from = boundary(text, start);
            let space = text[from..]
                .find(char::is_whitespace)
                .filter(|at| *at < LEAD_BYTES);
            from + space.map_or(0, |at| at + 1)
        }
    };
    let start = boundary(text, start);
    let end = boundary(text, start + SNIPPET_BYTES_MAX);
    let shown = text[start..end].chars();
    shown
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Where the best part begins.
fn best_start(text: &str, query: &TextQuery) -> usize {
    let wanted: HashSet<&str> = query.all_words().collect();
    let (mut words, mut word) = (Words::new(text), String::new());
    let mut near: VecDeque<(usize, &str)> = VecDeque::new();
    let (mut best, mut most) = (0, 0);
    while let Some((at, end)) = words.next_into(&mut word) {
        let Some(found) = wanted.get(word.as_str()) else {
            continue;
        };
        near.push_back((at, found));
        let room = SNIPPET_BYTES_MAX - LEAD_BYTES;
        while near
            .front()
            .is_some_and(|(first, _)| end - first > room && *first < at)
        {
            near.pop_front();
        }
        let different = near
            .iter()
            .map(|(_, word)| word)
            .collect::<HashSet<_>>()
            .len();
        if different > most {
            (best, most) = (near.front().map_or(0, |(at, _)| *at), different);
            if most == wanted.len() {
                break;
            }
        }
    }
    best
}

/// The last boundary of a character at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}
