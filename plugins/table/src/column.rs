//! Guesses the type of each column: the narrowest that holds every value of it.
//! Amounts become exact decimals, and what only looks like a number (`007`)
//! stays text.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use airlock_sdk::prelude::*;
use gluesql_core::prelude::{DataType, Value};
use rust_decimal::Decimal;

use crate::parse::{Cell, Rows};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A number of up to 28 digits, whole or not, exact.
    Decimal,
    /// A number of double precision.
    Float,
    /// Text.
    Text,
}

impl Kind {
    /// From the narrowest to the widest; text holds everything. There is no type
    /// for whole numbers: the engine's does not compare with `1.5`.
    const GUESSES: [Self; 3] = [Self::Boolean, Self::Decimal, Self::Float];

    pub(crate) fn sql(self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Decimal => DataType::Decimal,
            Self::Float => DataType::Float,
            Self::Text => DataType::Text,
        }
    }

    /// The cell as a value of this type. `strict`: only where that loses nothing.
    fn read(self, cell: &Cell, strict: bool) -> Option<Value> {
        match (self, cell) {
            (_, Cell::Empty) => Some(Value::Null),
            (Self::Boolean, Cell::Bool(value)) => Some(Value::Bool(*value)),
            (Self::Boolean, Cell::Raw(text)) => match text.trim().to_ascii_lowercase().as_str() {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                _ => None,
            },
            (Self::Text, Cell::Bool(value)) => Some(Value::Str(value.to_string())),
            (Self::Text, Cell::Number(number)) => Some(Value::Str(number.to_string())),
            (Self::Text, Cell::Raw(text) | Cell::Text(text)) => Some(Value::Str(text.clone())),
            (_, Cell::Number(number)) => self.number(&number.to_string()),
            (_, Cell::Raw(text)) if !strict || looks_like_a_number(text.trim()) => {
                self.number(text.trim())
            }
            (_, Cell::Text(text)) if !strict => self.number(text.trim()),
            _ => None,
        }
    }

    fn number(self, text: &str) -> Option<Value> {
        match self {
            Self::Decimal => Decimal::from_str(text).ok().map(Value::Decimal),
            Self::Float => text
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(Value::F64),
            Self::Boolean | Self::Text => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::Decimal => "decimal",
            Self::Float => "float",
            Self::Text => "text",
        })
    }
}

/// Digits as one writes an amount: no zero in front, no plus sign.
fn looks_like_a_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let starts = match digits {
        [b'0', second, ..] => !second.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    };
    starts
        && digits
            .iter()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'))
}

pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// A table with types.
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Value>>,
}

pub(crate) fn typed(rows: &Rows, given: &BTreeMap<String, Kind>) -> Result<Table, Error> {
    if rows.columns.is_empty() {
        return Err(Error::invalid_input("no columns"));
    }
    if let Some(unknown) = given.keys().find(|name| !rows.columns.contains(name)) {
        return Err(Error::invalid_input(format!(
            "types: there is no column `{unknown}`"
        )));
    }
    let mut table = Table {
        columns: Vec::new(),
        rows: vec![Vec::new(); rows.rows.len()],
    };
    for (place, name) in rows.columns.iter().enumerate() {
        let cells = || {
            rows.rows
                .iter()
                .map(|row| row.get(place).unwrap_or(&Cell::Empty))
        };
        let kind = given.get(name).copied().unwrap_or_else(|| guess(cells));
        let strict = !given.contains_key(name);
        for (index, cell) in cells().enumerate() {
            let wrong = || {
                Error::invalid_input(format!(
                    "types: `{name}` is not {kind} in row {}: {cell:?}",
                    index + 1
                ))
            };
            table.rows[index].push(kind.read(cell, strict).ok_or_else(wrong)?);
        }
        table.columns.push(Column {
            name: name.clone(),
            kind,
        });
    }
    Ok(table)
}

fn guess<'a, I: Iterator<Item = &'a Cell>>(cells: impl Fn() -> I) -> Kind {
    if cells().all(|cell| *cell == Cell::Empty) {
        return Kind::Text;
    }
    let fits = |kind: &Kind| cells().all(|cell| kind.read(cell, true).is_some());
    Kind::GUESSES.into_iter().find(fits).unwrap_or(Kind::Text)
}
