//! Printing: JSON as it came, or text in columns.

use anyhow::Result;
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
    /// None at present; the signature leaves room for a broken pipe.
    pub fn show(self, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<()> {
        match self {
            Self::Json => print(&serde_json::to_string_pretty(value)?),
            Self::Text => print(text(value).trim_end()),
        }
        Ok(())
    }
}

/// Writes one text and a newline; a reader that went away ends it quietly.
pub fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Rows in columns as wide as their widest cell.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
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
}
