//! From CSV and JSON to rows of cells, before any types are guessed.

use std::collections::HashMap;

use airlock_sdk::Error;
use serde_json::Value;

use crate::source::without_mark;

const COLUMNS_MAX: usize = 256;
const ROWS_MAX: usize = 100_000;

/// A value as it stands in the source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    /// No value.
    Empty,
    /// Text of a CSV, which may mean a number.
    Raw(String),
    /// Text that is text.
    Text(String),
    Bool(bool),
    Number(serde_json::Number),
}

/// Rows, which may be shorter than the list of columns.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Cell>>,
    places: HashMap<String, usize>,
}

impl Rows {
    /// The place of a column, which is added where it is new.
    pub(crate) fn column(&mut self, name: &str) -> usize {
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        let place = self.columns.len();
        self.columns.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    fn push(&mut self, row: Vec<Cell>) -> Result<(), Error> {
        if self.columns.len() > COLUMNS_MAX {
            return Err(Error::limit("columns of a table", COLUMNS_MAX.to_string()));
        }
        if self.rows.len() == ROWS_MAX {
            return Err(Error::limit("rows of a table", ROWS_MAX.to_string()));
        }
        self.rows.push(row);
        Ok(())
    }

    /// Adds the rows of another table, by the names of its columns, and `mark` in
    /// the column `marked` of each.
    pub(crate) fn append(&mut self, other: Rows, marked: usize, mark: &Cell) -> Result<(), Error> {
        let places: Vec<usize> = other.columns.iter().map(|name| self.column(name)).collect();
        for row in other.rows {
            let mut cells = vec![Cell::Empty; self.columns.len()];
            for (cell, &place) in row.into_iter().zip(&places) {
                cells[place] = cell;
            }
            cells[marked] = mark.clone();
            self.push(cells)?;
        }
        Ok(())
    }
}

pub(crate) fn csv(bytes: &[u8], delimiter: u8) -> Result<Rows, Error> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(without_mark(bytes));
    let wrong = |error: csv::Error| Error::invalid_input(format!("CSV: {error}"));
    let mut rows = Rows::default();
    for (index, name) in reader.headers().map_err(wrong)?.iter().enumerate() {
        let name = name.trim();
        if name.is_empty() {
            return Err(Error::invalid_input(format!(
                "CSV: column {} has no name in the header",
                index + 1
            )));
        }
        if rows.column(name) != index {
            return Err(Error::invalid_input(format!(
                "CSV: two columns are named `{name}`"
            )));
        }
    }
    for record in reader.records() {
        let cell = |text: &str| {
            if text.is_empty() {
                Cell::Empty
            } else {
                Cell::Raw(text.to_owned())
            }
        };
        rows.push(record.map_err(wrong)?.iter().map(cell).collect())?;
    }
    Ok(rows)
}

pub(crate) fn json(value: &Value) -> Result<Rows, Error> {
    let list = value.as_array().ok_or_else(|| {
        Error::invalid_input(
            "JSON: not an array of objects (where the array is inside, give its `pointer`)",
        )
    })?;
    let mut rows = Rows::default();
    for (index, value) in list.iter().enumerate() {
        object(&mut rows, value, index)?;
    }
    Ok(rows)
}

pub(crate) fn jsonl(text: &str) -> Result<Rows, Error> {
    let mut rows = Rows::default();
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    for (index, line) in lines {
        let value: Value = serde_json::from_str(line)
            .map_err(|error| Error::invalid_input(format!("line {}: {error}", index + 1)))?;
        object(&mut rows, &value, index)?;
    }
    Ok(rows)
}

fn object(rows: &mut Rows, value: &Value, index: usize) -> Result<(), Error> {
    let wrong = || Error::invalid_input(format!("JSON: item {} is not an object", index + 1));
    let mut cells = Vec::new();
    for (name, value) in value.as_object().ok_or_else(wrong)? {
        let place = rows.column(name);
        if cells.len() <= place {
            cells.resize(place + 1, Cell::Empty);
        }
        cells[place] = match value {
            Value::Null => Cell::Empty,
            Value::Bool(value) => Cell::Bool(*value),
            Value::Number(number) => Cell::Number(number.clone()),
            Value::String(text) => Cell::Text(text.clone()),
            // What is nested stays readable, as JSON text.
            Value::Array(_) | Value::Object(_) => Cell::Text(value.to_string()),
        };
    }
    rows.push(cells)
}
