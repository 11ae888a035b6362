//! What is found in a text, as it stands and as the escapes in it read, and how it is
//! replaced.

use std::ops::Range;

use super::escapes::Reading;
use crate::secret::Secret;

/// A shorter secret is not searched for: it would be found everywhere.
const SECRET_BYTES_MIN: usize = 4;
/// Escapes inside escapes that are read: JSON in a text of JSON in a text of JSON.
const READINGS_MAX: usize = 3;

/// Found in a text: where, and which kind; `None` for a secret.
#[derive(Clone)]
pub(super) struct Found<'a> {
    pub(super) range: Range<usize>,
    pub(super) kind: Option<&'a str>,
    /// How many times escapes were read before it was found.
    depth: usize,
}

impl<'a> Found<'a> {
    pub(super) fn new(range: Range<usize>, kind: Option<&'a str>) -> Self {
        Self {
            range,
            kind,
            depth: 0,
        }
    }

    /// With another one that overlaps it: a secret if one of them is, and read as often
    /// as the one that was read more.
    fn join(&mut self, next: &Self) {
        self.range.end = self.range.end.max(next.range.end);
        if next.kind.is_none() {
            self.kind = None;
        }
        self.depth = self.depth.max(next.depth);
    }

    /// What stands there, as it read where it was found.
    fn value(&self, text: &str) -> String {
        let mut value = text[self.range.clone()].to_owned();
        for _ in 0..self.depth {
            value = Reading::of(&value).map_or(value, |reading| reading.text);
        }
        value
    }
}

pub(super) fn of_secrets<'a>(secrets: &[Secret], text: &str) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for secret in secrets.iter().map(Secret::reveal) {
        if secret.len() >= SECRET_BYTES_MIN {
            let all = text.match_indices(secret);
            found.extend(all.map(|(at, _)| Found::new(at..at + secret.len(), None)));
        }
    }
    found
}

/// What is found in a text and in what its escapes read as, each with its place in the
/// text: escapes hide nothing, whether the text is JSON, JSON in JSON, or neither.
pub(super) fn read_through<'a>(
    text: &str,
    find: impl Fn(&str) -> Vec<Found<'a>>,
) -> Vec<Found<'a>> {
    let mut readings: Vec<Reading> = Vec::new();
    while readings.len() < READINGS_MAX {
        let last = readings.last().map_or(text, |reading| &reading.text);
        match Reading::of(last) {
            Some(reading) => readings.push(reading),
            None => break,
        }
    }
    let mut all = find(text);
    if let Some(first) = readings.first() {
        for found in &mut all {
            found.range = first.widened(&found.range);
        }
    }
    for (at, reading) in readings.iter().enumerate() {
        for mut found in find(&reading.text) {
            found.depth = at + 1;
            if let Some(next) = readings.get(at + 1) {
                found.range = next.widened(&found.range);
            }
            for reading in readings[..=at].iter().rev() {
                found.range = reading.in_source(&found.range);
            }
            all.push(found);
        }
    }
    all
}

/// The text with each stretch of found places replaced. Places that overlap are one.
pub(super) fn replaced(
    text: &str,
    mut found: Vec<Found<'_>>,
    mut placeholder: impl FnMut(Option<&str>, &str) -> String,
) -> String {
    if found.is_empty() {
        return text.to_owned();
    }
    found.sort_by(|a, b| (a.range.start, b.range.end).cmp(&(b.range.start, a.range.end)));
    let mut stretches: Vec<Found<'_>> = Vec::new();
    for next in found {
        match stretches.last_mut() {
            Some(last) if next.range.start < last.range.end => last.join(&next),
            _ => stretches.push(next),
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for stretch in stretches {
        out.push_str(&text[from..stretch.range.start]);
        out.push_str(&placeholder(stretch.kind, &stretch.value(text)));
        from = stretch.range.end;
    }
    out.push_str(&text[from..]);
    out
}
