//! Cutting a text into chunks that can be read by themselves.

use airlock_text::is_hidden;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CHUNK_BYTES, CHUNKS_BYTES_MAX, OVERLAP_BYTES};
use crate::limits::{CHANGES_MAX, HEADING_BYTES_MAX, HEADINGS_MAX, TEXT_BYTES_MAX};
use crate::model::Source;

/// A text and where it came from; the address is the caller's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// The text.
    pub text: String,
    /// Where in the file it is; the file itself is not named.
    pub source: Source,
}

/// The chunks of one file, within their bounds.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    all: Vec<Chunk>,
    bytes: usize,
}

/// A part of a text under its headings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// Where it begins, bytes.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// The outermost first.
    pub(super) headings: Vec<String>,
}

/// The headings above what comes next.
#[derive(Debug, Default)]
pub(super) struct Outline(Vec<(usize, String)>);

impl Chunks {
    /// Adds a chunk unless it is blank.
    pub(super) fn push(&mut self, text: &str, source: Source) -> Result<(), String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        self.bytes += text.len();
        if self.bytes > CHUNKS_BYTES_MAX || self.all.len() >= CHANGES_MAX / 2 {
            return Err(format!(
                "it makes more than {CHUNKS_BYTES_MAX} bytes or {} chunks: divide it",
                CHANGES_MAX / 2
            ));
        }
        debug_assert!(text.len() <= TEXT_BYTES_MAX);
        let text = text.to_owned();
        self.all.push(Chunk { text, source });
        Ok(())
    }

    pub(super) fn done(self) -> Vec<Chunk> {
        self.all
    }
}

impl Outline {
    /// A heading of a level from 1 on takes the place of those that are not above it.
    pub(super) fn enter(&mut self, level: usize, title: &str) {
        self.0.retain(|(above, _)| *above < level);
        self.0.push((level, clean(title)));
    }

    /// The innermost, when there are too many.
    pub(super) fn path(&self) -> Vec<String> {
        let skip = self.0.len().saturating_sub(HEADINGS_MAX);
        self.0
            .iter()
            .skip(skip)
            .map(|(_, title)| title.clone())
            .collect()
    }
}

/// A heading as it may be kept: one line, nothing hidden, not too long.
fn clean(title: &str) -> String {
    let shown = title
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c });
    let shown: String = shown.filter(|c| !is_hidden(*c)).collect();
    let shown = shown.trim();
    shown[..shown.floor_char_boundary(HEADING_BYTES_MAX)].to_owned()
}

/// Adds a text that has no parts.
pub(super) fn add_plain(text: &str, chunks: &mut Chunks) -> Result<(), String> {
    let whole = Section {
        end: text.len(),
        ..Section::default()
    };
    add_sections(text, &[whole], chunks)
}

/// Adds the sections of a text, each by itself, with bytes and lines of the text.
pub(super) fn add_sections(
    text: &str,
    sections: &[Section],
    chunks: &mut Chunks,
) -> Result<(), String> {
    let mut lines = Lines::new(text);
    for section in sections {
        for (start, end) in cut(&text[section.start..section.end]) {
            let (start, end) = (section.start + start, section.start + end);
            let source = Source {
                bytes: Some((start as u64, end as u64)),
                lines: Some((lines.of(start), lines.of(end.saturating_sub(1).max(start)))),
                headings: section.headings.clone(),
                ..Source::default()
            };
            chunks.push(&text[start..end], source)?;
        }
    }
    Ok(())
}

/// Where the chunks of a text are: none blank at its ends, each at most
/// [`CHUNK_BYTES`] and a quarter.
pub(super) fn cut(text: &str) -> Vec<(usize, usize)> {
    let (mut cuts, mut start) = (Vec::new(), 0);
    loop {
        let rest = &text[start..];
        let end = match rest.len() <= CHUNK_BYTES + CHUNK_BYTES / 4 {
            true => text.len(),
            false => start + good_end(rest),
        };
        let part = &text[start..end];
        let blank = part.len() - part.trim_start().len();
        if blank < part.len() {
            cuts.push((start + blank, start + part.trim_end().len()));
        }
        if end == text.len() {
            return cuts;
        }
        start = overlap(text, start, end);
    }
}

/// The best place to end a chunk of a longer text: behind a paragraph, a line, a
/// sentence, a word, or a character.
fn good_end(text: &str) -> usize {
    let most = text.floor_char_boundary(CHUNK_BYTES);
    let least = text.floor_char_boundary(CHUNK_BYTES / 2);
    let window = &text[least..most];
    let behind = |mark: &str| window.rfind(mark).map(|at| least + at + mark.len());
    let marks = ["\n\n", "\n", ". ", "。", "! ", "? ", " "];
    marks.into_iter().find_map(behind).unwrap_or(most)
}

/// Where the next chunk begins: behind a paragraph just there, else at a line or a
/// word shortly before the end of this one.
fn overlap(text: &str, start: usize, end: usize) -> usize {
    let from = text.floor_char_boundary(end - OVERLAP_BYTES.min(end - start));
    let shared = &text[from..end];
    let again = match shared.trim_end_matches(' ') {
        paragraph if paragraph.ends_with("\n\n") => None,
        line if line.ends_with('\n') => line.trim_end().rfind('\n').map(|at| at + 1),
        words => words.find(char::is_whitespace),
    };
    again.map_or(end, |at| (from + at).max(start + 1)).min(end)
}

/// Lines of places that are asked for nearly in order.
#[derive(Debug)]
struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: u64,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let (at, line) = (0, 1);
        Self { text, at, line }
    }

    /// The line of a byte, from 1.
    fn of(&mut self, place: usize) -> u64 {
        let count = |from: usize, to: usize| {
            let bytes = &self.text.as_bytes()[from..to];
            bytes.iter().filter(|byte| **byte == b'\n').count() as u64
        };
        match place >= self.at {
            true => self.line += count(self.at, place),
            false => self.line -= count(place, self.at),
        }
        self.at = place;
        self.line
    }
}
