//! Printing: JSON as it came, or text in columns.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};

use airlock_sandbox::inspect::text::escape;
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::cli::Global;

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Format {
    /// The one that the command line asks for.
    #[must_use]
    pub fn of(global: &Global) -> Self {
        if global.json { Self::Json } else { Self::Text }
    }

    /// Prints the JSON, or what `text` makes of it.
    ///
    /// # Errors
    /// As [`print()`].
    pub fn show(self, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<()> {
        match self {
            Self::Json => print(&json_text(value)?),
            Self::Text => print(escape(&text(value)).trim_end()),
        }
    }
}

/// JSON in lines. What a terminal would act on is a JSON escape, also where JSON
/// asks for none.
///
/// # Errors
/// The value is no JSON.
pub fn json_text(value: &impl Serialize) -> Result<String> {
    Ok(json_escaped(serde_json::to_string_pretty(value)?))
}

/// JSON that means the same without anything that a terminal acts on. Such
/// characters stand in its strings alone, where they may be escaped.
pub fn json_escaped(text: String) -> String {
    let hostile =
        |c: char| c != '\n' && matches!(escape(c.encode_utf8(&mut [0; 4])), Cow::Owned(_));
    if !text.contains(hostile) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !hostile(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

/// The same of JSON that comes in parts.
#[derive(Debug, Default)]
pub struct EscapedParts {
    /// The beginning of a character.
    rest: Vec<u8>,
}

impl EscapedParts {
    /// What the next part adds.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn push(&mut self, part: &[u8]) -> Result<String> {
        self.rest.extend_from_slice(part);
        let whole = match std::str::from_utf8(&self.rest) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => return Err(error).context("reading the document"),
        };
        let rest = self.rest.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.rest, rest));
        Ok(json_escaped(text.context("reading the document")?))
    }
}

/// Writes one text and a newline.
///
/// # Errors
/// As [`print_bytes`].
pub fn print(text: &str) -> Result<()> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes to standard output. A reader that went away has what it wanted.
///
/// # Errors
/// They can't be written, e.g. since the disk is full.
pub fn print_bytes(bytes: &[u8]) -> Result<()> {
    print_to_reader(bytes).map(drop)
}

/// The same; gives whether anybody still reads.
///
/// # Errors
/// As [`print_bytes`].
pub fn print_to_reader(bytes: &[u8]) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("writing to standard output"),
    }
}

/// Writes one text and a newline to standard error; there is nowhere to say that
/// it can't be written.
pub fn print_error(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// An amount of the host's currency, e.g. `0.012500`.
pub fn millionths(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Text that somebody else wrote, for a place within a line: it begins no line of
/// its own, which could be taken for one of ours.
pub fn one_line(text: &str) -> String {
    escape(text).replace('\n', "\\n").replace('\t', " ")
}

/// Rows in columns as wide as their widest cell, a line each.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let flat = |row: &Vec<String>| row.iter().map(|cell| one_line(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(flat).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(header.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

/// A field of a JSON object as text; `-` where it is absent.
pub fn cell(value: &Value, name: &str) -> String {
    match &value[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The rows of a JSON array, each made of the named fields.
pub fn rows(list: &Value, fields: &[&str]) -> Vec<Vec<String>> {
    let items = list.as_array().into_iter().flatten();
    items
        .map(|item| fields.iter().map(|name| cell(item, name)).collect())
        .collect()
}

/// Milliseconds since the epoch as UTC text, `2026-01-31 23:59:59Z`.
pub fn time(ms: u64) -> String {
    let days = ms / 86_400_000;
    let seconds = ms / 1000 % 86_400;
    let (year, month, day) = civil(days);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}Z")
}

/// Days since 1970-01-01 as a date of the Gregorian calendar (Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times() {
        let cases = [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (1_798_761_599_000, "2026-12-31 23:59:59Z"),
        ];
        for (ms, expect) in cases {
            assert_eq!(time(ms), expect);
        }
    }

    #[test]
    fn json_escapes_what_a_terminal_acts_on_and_means_the_same() {
        let value = json!({ "k\u{202e}": "\u{1b}[31m\u{9b}\u{7f}\u{2066}\u{e0041}é\n" });
        let text = json_text(&value).expect("JSON");
        assert_eq!(
            text,
            "{\n  \"k\\u202e\": \"\\u001b[31m\\u009b\\u007f\\u2066\\udb40\\udc41é\\n\"\n}"
        );
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }

    #[test]
    fn json_is_escaped_the_same_in_whatever_parts_it_comes() {
        let text = "{\"k\u{202e}\":\"\u{1b}é\u{e0041}\"}\n";
        let expect = json_escaped(text.to_owned());
        assert!(expect.contains("\\u202e"), "{expect}");
        for size in 1..=text.len() {
            let mut parts = EscapedParts::default();
            let pieces = text.as_bytes().chunks(size);
            let found: String = pieces
                .map(|piece| parts.push(piece).expect("UTF-8"))
                .collect();
            assert_eq!(found, expect, "in pieces of {size}");
        }
        assert!(EscapedParts::default().push(b"a\xff").is_err());
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = table(
            &["name", "n"],
            &[
                vec!["a".into(), "1".into()],
                vec!["longer".into(), "22".into()],
            ],
        );
        assert_eq!(text, "name    n\na       1\nlonger  22");
    }

    #[test]
    fn a_cell_makes_no_row_of_its_own() {
        let text = table(&["name"], &[vec!["a\nb\tc\u{1b}".into()]]);
        assert_eq!(text, "name\na\\nb c\\u{1b}");
    }
}
