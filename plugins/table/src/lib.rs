//! SQL over tables that come as CSV or JSON, inline or from granted files.
//!
//! What must stay true: a query only reads; the tables live in the call's memory;
//! amounts are exact decimals; an answer is bounded and says when it was cut.

mod column;
mod logic;
mod markdown;
mod parse;
mod query;
mod source;

use std::collections::BTreeMap;

use airlock_sdk::prelude::*;
use serde_json::{Map, Value};

use crate::source::Source;

/// What to ask, and of which tables.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// One SELECT statement. Joins are INNER and LEFT; quote a name with spaces or
    /// capitals like `"Net Amount"`.
    sql: String,
    /// The tables by name, each from one of `csv`, `json`, `jsonl`, `path` or
    /// `paths`.
    tables: BTreeMap<String, Source>,
    /// How many rows at most: 1 to 10,000, 1,000 unless given.
    max_rows: Option<usize>,
    /// Whether to give the rows as a Markdown table as well.
    #[serde(default)]
    markdown: bool,
}

/// What the query found.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// The names of the columns, in order.
    columns: Vec<String>,
    /// The rows, as objects by column.
    rows: Vec<Map<String, Value>>,
    /// How many rows there are, also those that were cut.
    row_count: usize,
    /// Whether there are more rows than these.
    cut: bool,
    /// The rows as a Markdown table, where wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    markdown: Option<String>,
}

/// Which tables to look at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Describe {
    /// The tables by name, each from one of `csv`, `json`, `jsonl`, `path` or
    /// `paths`.
    tables: BTreeMap<String, Source>,
}

/// The tables' columns.
#[derive(Serialize, JsonSchema)]
pub struct Description {
    /// By name of the table.
    tables: BTreeMap<String, Table>,
}

/// One table.
#[derive(Serialize, JsonSchema)]
pub struct Table {
    /// How many rows it has.
    row_count: usize,
    /// Its columns, in order.
    columns: Vec<Column>,
}

/// One column.
#[derive(Serialize, JsonSchema)]
pub struct Column {
    /// Its name.
    name: String,
    /// Its type in SQL.
    r#type: String,
}

/// Answers a SQL query over tables in CSV or JSON, given inline or as files:
/// joins, filters, groups, aggregates. Gives the rows and, where wanted, a
/// Markdown table.
#[tool(read_only, title = "Query tables with SQL")]
fn query(input: Query) -> Result<Answer, Error> {
    query::run(&input)
}

/// Tells the columns, their types and the number of rows of tables in CSV or
/// JSON, to know what to ask.
#[tool(read_only, title = "Describe tables")]
fn describe(input: Describe) -> Result<Description, Error> {
    let mut tables = BTreeMap::new();
    for (name, source) in &input.tables {
        let table = source::load(name, source)?;
        let columns = table.columns.iter().map(|column| Column {
            name: column.name.clone(),
            r#type: column.kind.to_string(),
        });
        tables.insert(
            name.clone(),
            Table {
                row_count: table.rows.len(),
                columns: columns.collect(),
            },
        );
    }
    Ok(Description { tables })
}

plugin! {
    tools: [query, describe],
    wants: [want!(
        files,
        r#"{ host = "/path/to/tables", guest = "/data", access = "read" }"#,
        "To read tables that are given as paths. Not needed where they are given inline.",
        optional
    )],
}

#[cfg(test)]
mod tests;
