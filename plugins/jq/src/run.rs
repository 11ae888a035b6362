//! Compiles a filter and collects what it gives.

use airlock_sdk::Error;
use jaq_core::load::{Arena, File, Loader, lex, parse};
use jaq_core::native::{self, Fun, bome, v};
use jaq_core::{Compiler, Ctx, DataT, Filter, Vars, data, load, unwrap_valr};
use jaq_json::{Val, read};
use serde_json::Value;

use crate::{Outputs, Query};

const OUTPUTS_DEFAULT: usize = 1_000;
const OUTPUTS_MAX: usize = 10_000;
const FILTER_BYTES_MAX: usize = 64 * 1024;
/// The compiler goes down into what is nested.
const NESTING_MAX: usize = 200;

/// What would read the environment or end the process.
const REPLACED: [&str; 2] = ["env", "halt"];

/// Formats of jq that the library leaves to its caller.
const FORMATS: &str = include_str!("defs.jq");

type Data = data::JustLut<Val>;

pub(crate) fn run(query: &Query) -> Result<Outputs, Error> {
    let limit = query.limit.unwrap_or(OUTPUTS_DEFAULT);
    if !(1..=OUTPUTS_MAX).contains(&limit) {
        return Err(Error::invalid_input(format!(
            "limit: must be from 1 to {OUTPUTS_MAX}"
        )));
    }
    let filter = compile(query)?;
    let variables = query
        .variables
        .values()
        .map(to_val)
        .collect::<Result<Vec<_>, _>>()?;
    let mut found = Outputs {
        outputs: Vec::new(),
        cut: false,
    };
    for input in inputs(query)? {
        let context = Ctx::<Data>::new(&filter.lut, Vars::new(variables.iter().cloned()));
        for output in filter.id.run((context, input)).map(unwrap_valr) {
            let output =
                output.map_err(|error| Error::invalid_input(format!("filter: {error}")))?;
            if found.outputs.len() == limit {
                found.cut = true;
                return Ok(found);
            }
            found.outputs.push(to_json(&output)?);
        }
    }
    Ok(found)
}

fn inputs(query: &Query) -> Result<Vec<Val>, Error> {
    let Some(text) = &query.text else {
        return Ok(vec![to_val(&query.input)?]);
    };
    if !query.input.is_null() {
        return Err(Error::invalid_input("give `input` or `text`, not both"));
    }
    let values = serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .enumerate();
    let wrong = |index, error| Error::invalid_input(format!("text: value {}: {error}", index + 1));
    values
        .map(|(index, value)| to_val(&value.map_err(|error| wrong(index, error))?))
        .collect()
}

fn to_val(value: &Value) -> Result<Val, Error> {
    read::parse_single(value.to_string().as_bytes())
        .map_err(|error| Error::permanent(format!("handing over the input: {error}")))
}

/// jq knows numbers that JSON does not: they become null, as jq itself prints
/// them, and infinities the largest numbers.
fn to_json(value: &Val) -> Result<Value, Error> {
    match value {
        Val::Num(number) => {
            let text = number.to_string();
            if let Ok(number) = serde_json::from_str(&text) {
                return Ok(number);
            }
            Ok(match text.as_str() {
                "Infinity" => f64::MAX.into(),
                "-Infinity" => f64::MIN.into(),
                _ => Value::Null,
            })
        }
        Val::Arr(items) => items.iter().map(to_json).collect(),
        Val::Obj(entries) => {
            let pairs = entries
                .iter()
                .map(|(key, value)| Ok((key_text(key)?, to_json(value)?)));
            pairs
                .collect::<Result<serde_json::Map<_, _>, Error>>()
                .map(Value::Object)
        }
        other => serde_json::from_str(&other.to_string())
            .map_err(|_| Error::invalid_input(format!("filter: `{other}` has no JSON form"))),
    }
}

fn key_text(key: &Val) -> Result<String, Error> {
    match to_json(key)? {
        Value::String(text) => Ok(text),
        other => Err(Error::invalid_input(format!(
            "filter: `{other}` cannot be the key of a JSON object"
        ))),
    }
}

fn compile(query: &Query) -> Result<Filter<Data>, Error> {
    check_size(&query.filter)?;
    let formats = load::parse(FORMATS, |parser| parser.defs()).unwrap_or_default();
    let definitions = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .chain(formats);
    let functions = jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs());
    let functions = functions
        .filter(|(name, ..)| !REPLACED.contains(name))
        .chain(refused());
    let arena = Arena::default();
    let file = File {
        code: query.filter.as_str(),
        path: (),
    };
    let modules = Loader::new(definitions)
        .load(&arena, file)
        .map_err(|errors| {
            wrong(
                errors
                    .into_iter()
                    .flat_map(|(file, error)| load_messages(file.code, error)),
            )
        })?;
    let variables: Vec<String> = query
        .variables
        .keys()
        .map(|name| format!("${name}"))
        .collect();
    Compiler::default()
        .with_funs(functions)
        .with_global_vars(variables.iter().map(String::as_str))
        .compile(modules)
        .map_err(|errors| {
            let all = errors.into_iter().flat_map(|(_, errors)| errors);
            wrong(all.map(|(name, kind)| format!("undefined {}: {name}", kind.as_str())))
        })
}

/// What stands in place of [`REPLACED`].
fn refused<D: DataT>() -> [Fun<D>; 2]
where
    for<'a> D::V<'a>: From<String>,
{
    const WHY: &str = "`env` and `halt` are not available here";
    [
        native::run(("env", v(0), |_| bome(Err(jaq_core::Error::str(WHY))))),
        native::run(("halt", v(1), |_| bome(Err(jaq_core::Error::str(WHY))))),
    ]
}

fn check_size(filter: &str) -> Result<(), Error> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(Error::invalid_input(format!(
            "filter: must be at most {FILTER_BYTES_MAX} bytes"
        )));
    }
    let mut depth = 0_usize;
    for byte in filter.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return Err(Error::invalid_input(format!(
                "filter: nested deeper than {NESTING_MAX}"
            )));
        }
    }
    Ok(())
}

fn wrong(messages: impl Iterator<Item = String>) -> Error {
    let messages: Vec<String> = messages.take(5).collect();
    Error::invalid_input(format!("filter: {}", messages.join("; ")))
}

fn load_messages(code: &str, error: load::Error<&str>) -> Vec<String> {
    match error {
        load::Error::Io(errors) => errors
            .into_iter()
            .map(|(path, error)| format!("{path}: {error}"))
            .collect(),
        load::Error::Lex(errors) => errors
            .into_iter()
            .map(|error| lex_message(code, error))
            .collect(),
        load::Error::Parse(errors) => errors
            .into_iter()
            .map(|error| parse_message(code, error))
            .collect(),
    }
}

fn lex_message(code: &str, (expected, found): lex::Error<&str>) -> String {
    format!("{} expected {}", place(code, found), expected.as_str())
}

fn parse_message(code: &str, (expected, found): parse::Error<&str>) -> String {
    format!("{} expected {}", place(code, found), expected.as_str())
}

/// Where in the filter something is; `found` is a part of `code`.
fn place(code: &str, found: &str) -> String {
    let start = load::span(code, found).start;
    let before = &code[..code.floor_char_boundary(start)];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    let shown: String = found.chars().take(20).collect();
    let shown = if shown.is_empty() {
        "the end".to_owned()
    } else {
        format!("`{shown}`")
    };
    format!("line {line}, column {column}, at {shown}:")
}
