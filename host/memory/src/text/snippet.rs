//! The part of a text that shows best why it was found.

use std::collections::VecDeque;

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

/// Where the best part begins. One pass, whatever the text.
fn best_start(text: &str, query: &TextQuery) -> usize {
    let mut wanted: Vec<&str> = query.all_words().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let (mut words, mut word) = (Words::new(text), String::new());
    // Words near each other, how often each is among them, and how many are.
    let mut near: VecDeque<(usize, usize)> = VecDeque::new();
    let (mut counts, mut different) = (vec![0_usize; wanted.len()], 0);
    let (mut best, mut most) = (0, 0);
    while let Some((at, end)) = words.next_into(&mut word) {
        // There are few: a look at each is faster than a hash.
        let Some(which) = wanted.iter().position(|wanted| *wanted == word) else {
            continue;
        };
        near.push_back((at, which));
        counts[which] += 1;
        different += usize::from(counts[which] == 1);
        while let Some((first, which)) = near.front().copied() {
            if first == at || end - first <= SNIPPET_BYTES_MAX - LEAD_BYTES {
                break;
            }
            near.pop_front();
            counts[which] -= 1;
            different -= usize::from(counts[which] == 0);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_is_where_the_words_are() {
        let filler = "lorem ipsum ".repeat(100);
        let far = format!("{filler}alpha {filler}beta and alpha {filler}");
        let late = format!("{}alpha", "x ".repeat(SNIPPET_SCAN_BYTES_MAX));
        let cases = [
            ("short alpha", "alpha", "short alpha"),
            (far.as_str(), "alpha beta", "beta and alpha"),
            (far.as_str(), "\"and alpha\" beta", "beta and alpha"),
            (far.as_str(), "nothing", "lorem ipsum lorem"),
            (far.as_str(), "", "lorem ipsum lorem"),
            ("a\0b\u{1b}[1m\nc", "c", "a b [1m c"),
            ("", "x", ""),
            (late.as_str(), "alpha", "x x x"),
        ];
        for (text, query, part) in cases {
            let query = TextQuery::parse(query).expect("a query");
            let shown = snippet(text, &query);
            assert!(shown.contains(part), "{query:?}: {shown:?}");
            assert!(shown.len() <= SNIPPET_BYTES_MAX && !shown.contains(char::is_control));
        }
    }

    #[test]
    fn a_snippet_cuts_no_character() {
        let query = TextQuery::parse("x").expect("a query");
        for before in 0..200 {
            let text = format!(
                "{}{}x{}",
                "a".repeat(before),
                "ä東".repeat(200),
                "é".repeat(900)
            );
            assert!(snippet(&text, &query).len() <= SNIPPET_BYTES_MAX);
        }
    }
}
