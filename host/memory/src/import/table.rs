//! Tables: rows as lines of `name: value`, some rows to a chunk.

use super::CHUNK_BYTES;
use super::chunk::{Chunks, cut};
use crate::model::Source;

/// Columns of a table.
const COLUMNS_MAX: usize = 500;
/// A column's name, bytes; the rest is cut off.
const COLUMN_BYTES_MAX: usize = 64;

/// Rows that become a chunk.
#[derive(Default)]
struct Rows {
    text: String,
    first: u64,
    last: u64,
    bytes: (u64, u64),
}

/// What stands between the columns of a `.csv` file: what its first line has most of,
/// outside of quotes, of comma, semicolon (as spreadsheets write where the comma is in
/// numbers) and tab.
pub(super) fn delimiter(text: &str) -> u8 {
    let (mut counts, mut quoted) = ([(b',', 0), (b';', 0), (b'\t', 0)], false);
    for byte in text.bytes() {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' | b'\r' if !quoted => break,
            byte if !quoted => {
                if let Some((_, count)) = counts.iter_mut().find(|(one, _)| *one == byte) {
                    *count += 1;
                }
            }
            _ => {}
        }
    }
    let best = counts.into_iter().rev().max_by_key(|(_, count)| *count);
    best.map_or(b',', |(byte, _)| byte)
}

pub(super) fn add(text: &str, delimiter: u8, chunks: &mut Chunks) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_reader(text.as_bytes());
    let wrong = |error: csv::Error| format!("it is no table: {error}");
    let names = reader.headers().map_err(wrong)?.clone();
    if names.len() > COLUMNS_MAX {
        return Err(format!(
            "{} columns, at most {COLUMNS_MAX} are read",
            names.len()
        ));
    }
    let names: Vec<&str> = { names.iter() }
        .map(|name| &name[..name.floor_char_boundary(COLUMN_BYTES_MAX)])
        .collect();
    let (mut rows, mut row, mut number) = (Rows::default(), csv::StringRecord::new(), 0);
    while reader.read_record(&mut row).map_err(wrong)? {
        number += 1;
        let start = row.position().map_or(0, csv::Position::byte);
        let line = line(&names, &row);
        if !rows.text.is_empty() && rows.text.len() + line.len() > CHUNK_BYTES {
            std::mem::take(&mut rows).end(chunks)?;
        }
        if rows.text.is_empty() {
            (rows.first, rows.bytes.0) = (number, start);
        }
        rows.text.push_str(&line);
        (rows.last, rows.bytes.1) = (number, reader.position().byte());
    }
    rows.end(chunks)
}

fn line(names: &[&str], row: &csv::StringRecord) -> String {
    let mut line = String::new();
    for (at, value) in row
        .iter()
        .enumerate()
        .filter(|(_, value)| !value.trim().is_empty())
    {
        if !line.is_empty() {
            line.push_str(" | ");
        }
        if let Some(name) = names.get(at).filter(|name| !name.is_empty()) {
            line.push_str(name);
            line.push_str(": ");
        }
        line.push_str(value.trim());
    }
    line.push('\n');
    line
}

impl Rows {
    fn end(self, chunks: &mut Chunks) -> Result<(), String> {
        let source = Source {
            rows: Some((self.first, self.last)),
            bytes: Some(self.bytes),
            ..Source::default()
        };
        // One row can be longer than a chunk.
        for (start, end) in cut(&self.text) {
            chunks.push(&self.text[start..end], source.clone())?;
        }
        Ok(())
    }
}
