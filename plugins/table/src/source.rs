//! Where a table comes from: inline text, inline JSON, or files under a grant.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use airlock_sdk::prelude::*;
use serde_json::Value;

use crate::column::{Kind, Table, typed};
use crate::parse::{self, Cell, Rows};

const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
const FILES_MAX: usize = 1_000;
/// Tells from which file of several a row is.
const FILE_COLUMN: &str = "_file";

/// A table: exactly one of `csv`, `json`, `jsonl`, `path` and `paths`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// CSV text with a header line.
    csv: Option<String>,
    /// A JSON array of objects.
    json: Option<Value>,
    /// JSON objects, one a line.
    jsonl: Option<String>,
    /// A `.csv`, `.tsv`, `.json` or `.jsonl` file, as a path in the sandbox, or a
    /// folder, whose such files become one table with a column `_file`.
    path: Option<String>,
    /// Such files, which become one table with a column `_file`; at most 1,000.
    paths: Option<Vec<String>>,
    /// Where the array is in the JSON, e.g. `/data/items` (RFC 6901).
    pointer: Option<String>,
    /// The character between the values of a CSV, `,` unless given.
    delimiter: Option<char>,
    /// Types of columns that should not be guessed.
    #[serde(default)]
    types: BTreeMap<String, Kind>,
}

pub(crate) fn load(name: &str, source: &Source) -> Result<Table, Error> {
    let rows = rows(source).map_err(|error| error.context(format!("table {name}")))?;
    typed(&rows, &source.types).map_err(|error| error.context(format!("table {name}")))
}

fn rows(source: &Source) -> Result<Rows, Error> {
    let delimiter = delimiter(source.delimiter)?;
    let given = (
        &source.csv,
        &source.json,
        &source.jsonl,
        &source.path,
        &source.paths,
    );
    match given {
        (Some(text), None, None, None, None) => {
            parse::csv(text.as_bytes(), delimiter.unwrap_or(b','))
        }
        (None, Some(value), None, None, None) => parse::json(pointed(value, source)?),
        (None, None, Some(text), None, None) => parse::jsonl(text),
        (None, None, None, Some(path), None) => from_path(path, source, delimiter),
        (None, None, None, None, Some(paths)) => from_files(paths, source, delimiter),
        _ => Err(Error::invalid_input(
            "give exactly one of `csv`, `json`, `jsonl`, `path` and `paths`",
        )),
    }
}

fn delimiter(given: Option<char>) -> Result<Option<u8>, Error> {
    let Some(character) = given else {
        return Ok(None);
    };
    u8::try_from(character)
        .ok()
        .filter(|byte| byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r'))
        .map(Some)
        .ok_or_else(|| Error::invalid_input("delimiter: must be one ASCII character"))
}

fn pointed<'a>(value: &'a Value, source: &Source) -> Result<&'a Value, Error> {
    let Some(pointer) = &source.pointer else {
        return Ok(value);
    };
    value
        .pointer(pointer)
        .ok_or_else(|| Error::invalid_input(format!("pointer: nothing at `{pointer}`")))
}

fn from_path(path: &str, source: &Source, delimiter: Option<u8>) -> Result<Rows, Error> {
    let failed = |error: std::io::Error| Error::from(error).context(path);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return from_file(path, source, delimiter);
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Ok(name) = entry.file_name().into_string()
            && Format::of(&name).is_some()
        {
            paths.push(format!("{}/{name}", path.trim_end_matches('/')));
        }
        if paths.len() > FILES_MAX {
            break;
        }
    }
    paths.sort();
    from_files(&paths, source, delimiter)
}

/// One table of several files, which may have other columns each.
fn from_files(paths: &[String], source: &Source, delimiter: Option<u8>) -> Result<Rows, Error> {
    if paths.len() > FILES_MAX {
        return Err(Error::limit("files of a table", FILES_MAX.to_string()));
    }
    let mut all = Rows::default();
    let file_column = all.column(FILE_COLUMN);
    for path in paths {
        let rows = from_file(path, source, delimiter)?;
        let name = path.rsplit('/').next().unwrap_or(path);
        all.append(rows, file_column, &Cell::Text(name.to_owned()))?;
    }
    Ok(all)
}

enum Format {
    Csv(u8),
    Json,
    JsonLines,
}

impl Format {
    fn of(path: &str) -> Option<Self> {
        let (_, ending) = path.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv(b',')),
            "tsv" => Some(Self::Csv(b'\t')),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            _ => None,
        }
    }
}

fn from_file(path: &str, source: &Source, delimiter: Option<u8>) -> Result<Rows, Error> {
    let unknown =
        || Error::invalid_input(format!("{path}: not a .csv, .tsv, .json or .jsonl file"));
    let format = Format::of(path).ok_or_else(unknown)?;
    let failed = |error: std::io::Error| Error::from(error).context(path);
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::limit(
            "size of a table's file",
            format!("{FILE_BYTES_MAX} bytes"),
        ));
    }
    let rows = match format {
        Format::Csv(default) => parse::csv(&bytes, delimiter.unwrap_or(default)),
        Format::Json => serde_json::from_slice(without_mark(&bytes))
            .map_err(Error::from)
            .and_then(|value: Value| parse::json(pointed(&value, source)?)),
        Format::JsonLines => std::str::from_utf8(without_mark(&bytes))
            .map_err(Error::from)
            .and_then(parse::jsonl),
    };
    rows.map_err(|error| error.context(path))
}

/// The bytes without the byte order mark some programs write.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}
