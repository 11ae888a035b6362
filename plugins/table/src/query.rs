//! Runs one SELECT over the loaded tables and turns its rows into JSON.

use airlock_sdk::Error;
use gluesql_core::ast::ColumnDef;
use gluesql_core::data::Schema;
use gluesql_core::prelude::{Glue, Payload, Value, parse, translate};
use gluesql_core::store::{Planner, StoreMut};
use gluesql_memory_storage::MemoryStorage;
use serde_json::{Map, Number};
use sqlparser::ast::Statement;

use crate::column::Table;
use crate::{Answer, Query, logic, markdown, source};

const ROWS_DEFAULT: usize = 1_000;
const ROWS_MAX: usize = 10_000;
const SQL_BYTES_MAX: usize = 64 * 1024;

pub(crate) fn run(input: &Query) -> Result<Answer, Error> {
    let max_rows = input.max_rows.unwrap_or(ROWS_DEFAULT);
    if !(1..=ROWS_MAX).contains(&max_rows) {
        return Err(Error::invalid_input(format!(
            "max_rows: must be from 1 to {ROWS_MAX}"
        )));
    }
    if input.sql.len() > SQL_BYTES_MAX {
        return Err(Error::invalid_input(format!(
            "sql: must be at most {SQL_BYTES_MAX} bytes"
        )));
    }
    let mut storage = MemoryStorage::default();
    for (name, source) in &input.tables {
        insert(&mut storage, name, source::load(name, source)?)?;
    }
    let (labels, rows) = select(storage, &input.sql)?;
    let columns = distinct(labels.into_iter().map(unquoted).collect());
    let row_count = rows.len();
    let object = |row: Vec<Value>| {
        columns
            .iter()
            .cloned()
            .zip(row.into_iter().map(json))
            .collect()
    };
    let rows: Vec<Map<_, _>> = rows.into_iter().take(max_rows).map(object).collect();
    let markdown = input.markdown.then(|| markdown::table(&columns, &rows));
    Ok(Answer {
        columns,
        cut: row_count > rows.len(),
        rows,
        row_count,
        markdown,
    })
}

fn wrong(error: gluesql_core::prelude::Error) -> Error {
    Error::invalid_input(format!("sql: {error}"))
}

fn insert(storage: &mut MemoryStorage, name: &str, table: Table) -> Result<(), Error> {
    let column = |column: &crate::column::Column| ColumnDef {
        name: column.name.clone(),
        data_type: column.kind.sql(),
        nullable: true,
        default: None,
        unique: None,
        comment: None,
    };
    let schema = Schema {
        table_name: name.to_owned(),
        column_defs: Some(table.columns.iter().map(column).collect()),
        indexes: Vec::new(),
        engine: None,
        foreign_keys: Vec::new(),
        comment: None,
    };
    storage
        .insert_schema(&schema)
        .and_then(|()| storage.append_data(name, table.rows))
        .map_err(wrong)
}

fn select(storage: MemoryStorage, sql: &str) -> Result<(Vec<String>, Vec<Vec<Value>>), Error> {
    let mut statements = parse(sql).map_err(wrong)?;
    let [statement @ Statement::Query(_)] = statements.as_mut_slice() else {
        return Err(Error::invalid_input(
            "sql: give exactly one SELECT statement",
        ));
    };
    logic::repair(statement);
    let plan = translate(statement)
        .and_then(|statement| storage.plan(statement.into()))
        .map_err(wrong)?;
    match Glue::new(storage).execute_stmt(&plan).map_err(wrong)? {
        Payload::Select { labels, rows } => Ok((labels, rows)),
        _ => Err(Error::permanent("the query gave no rows")),
    }
}

/// The name that a label quotes: `"Net Amount"` without its quotes.
fn unquoted(label: String) -> String {
    let inner = label
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let name = inner.filter(|inner| !inner.is_empty() && !inner.contains('"'));
    name.map_or_else(|| label.clone(), str::to_owned)
}

/// Names that can be the keys of an object: the second `id` becomes `id_2`.
fn distinct(labels: Vec<String>) -> Vec<String> {
    let mut columns: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        let mut name = label.clone();
        let mut count = 1;
        while columns.contains(&name) {
            count += 1;
            name = format!("{label}_{count}");
        }
        columns.push(name);
    }
    columns
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => value.into(),
        Value::Str(text) => text.into(),
        Value::I8(number) => number.into(),
        Value::I16(number) => number.into(),
        Value::I32(number) => number.into(),
        Value::I64(number) => number.into(),
        Value::U8(number) => number.into(),
        Value::U16(number) => number.into(),
        Value::U32(number) => number.into(),
        Value::U64(number) => number.into(),
        Value::F32(number) => f64::from(number).into(),
        Value::F64(number) => number.into(),
        Value::Decimal(number) => exact(&number.normalize().to_string()),
        Value::I128(number) => exact(&number.to_string()),
        Value::U128(number) => exact(&number.to_string()),
        other => String::from(other).into(),
    }
}

/// A JSON number where it stays what it is, else the digits as text.
fn exact(digits: &str) -> serde_json::Value {
    if let Ok(whole) = digits.parse::<i64>() {
        return whole.into();
    }
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.into();
    }
    let number = digits
        .parse::<f64>()
        .ok()
        .filter(|number| number.to_string() == digits);
    number
        .and_then(Number::from_f64)
        .map_or_else(|| digits.into(), Into::into)
}
