//! Rows as a Markdown table (GitHub's), for `report` or a person.

use serde_json::{Map, Value};

pub(crate) fn table(columns: &[String], rows: &[Map<String, Value>]) -> String {
    let numeric = |column: &String| {
        let mut values = rows
            .iter()
            .filter_map(|row| row.get(column))
            .filter(|value| !value.is_null())
            .peekable();
        values.peek().is_some() && values.all(Value::is_number)
    };
    let mut text = String::new();
    line(&mut text, columns.iter().map(|name| escape(name)));
    line(
        &mut text,
        columns
            .iter()
            .map(|name| if numeric(name) { "---:" } else { "---" }.to_owned()),
    );
    for row in rows {
        line(
            &mut text,
            columns
                .iter()
                .map(|name| row.get(name).map_or_else(String::new, cell)),
        );
    }
    text
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    text.push('|');
    for cell in cells {
        text.push(' ');
        text.push_str(&cell);
        text.push_str(" |");
    }
    text.push('\n');
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => escape(text),
        other => other.to_string(),
    }
}

/// Text that cannot leave its cell, start markup, or bring in HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '&' | '~' | '!' | '#' => {
                escaped.push('\\');
                escaped.push(character);
            }
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
