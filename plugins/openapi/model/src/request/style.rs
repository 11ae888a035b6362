//! How values are written: the styles of OpenAPI, which are those of RFC 6570 and
//! some more.

use percent_encoding::AsciiSet;
use serde_json::Value;

use super::{PLAIN, encode};
use crate::plan::{Parameter, Style};

/// A value as texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One(String),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

impl Shape {
    /// All texts of it, names of members too.
    pub(super) fn texts(&self) -> Vec<&str> {
        match self {
            Self::One(text) => vec![text],
            Self::List(items) => items.iter().map(String::as_str).collect(),
            Self::Map(members) => members
                .iter()
                .flat_map(|(name, value)| [name.as_str(), value.as_str()])
                .collect(),
        }
    }
}

const NESTED: &str = "a list or an object inside of it can't be written in this style";

/// A value as texts, where it is not nested. What is null inside of it is not sent,
/// like a member of the input that is null.
pub(super) fn shape(value: &Value) -> Result<Shape, String> {
    Ok(match value {
        Value::Array(items) => {
            let items = items.iter().filter(|item| !item.is_null());
            Shape::List(items.map(scalar).collect::<Result<Vec<_>, _>>()?)
        }
        Value::Object(members) => {
            let pair = |(name, value): (&String, &Value)| Ok((name.clone(), scalar(value)?));
            let members = members.iter().filter(|(_, value)| !value.is_null());
            Shape::Map(members.map(pair).collect::<Result<_, String>>()?)
        }
        one => Shape::One(scalar(one)?),
    })
}

/// The same where each member of an object has a name of its own: one that is a list
/// has it once for each item.
pub(super) fn exploded(value: &Value) -> Result<Shape, String> {
    let Value::Object(members) = value else {
        return shape(value);
    };
    let mut pairs = Vec::new();
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let texts = match shape(value)? {
            Shape::One(text) => vec![text],
            Shape::List(texts) => texts,
            Shape::Map(_) => return Err(NESTED.to_owned()),
        };
        pairs.extend(texts.into_iter().map(|text| (name.clone(), text)));
    }
    Ok(Shape::Map(pairs))
}

/// A value as texts, where members of members have names such as `[a][b]`.
pub(super) fn deep(value: &Value) -> Result<Shape, String> {
    let mut members = Vec::new();
    match value {
        Value::Object(_) | Value::Array(_) => nested(value, "", &mut members),
        one => return Ok(Shape::One(scalar(one)?)),
    }
    Ok(Shape::Map(members))
}

fn nested(value: &Value, name: &str, members: &mut Vec<(String, String)>) {
    let below = |key: &str| format!("{name}[{key}]");
    match value {
        Value::Object(all) => {
            for (key, value) in all {
                nested(value, &below(key), members);
            }
        }
        Value::Array(items) => {
            let items = items.iter().filter(|item| !item.is_null());
            for (index, value) in items.enumerate() {
                nested(value, &below(&index.to_string()), members);
            }
        }
        Value::Null => {}
        one => members.push((name.to_owned(), scalar(one).unwrap_or_default())),
    }
}

pub(super) fn scalar(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(value) => Ok(value.to_string()),
        Value::String(value) => Ok(value.clone()),
        Value::Array(_) | Value::Object(_) => Err(NESTED.to_owned()),
    }
}

/// In a path.
pub(super) fn path(parameter: &Parameter, shape: &Shape) -> String {
    let plain = |text: &String| encode(text, PLAIN);
    let name = encode(&parameter.name, PLAIN);
    let (before, between) = match (parameter.style, parameter.explode) {
        (Style::Label, true) => (".", "."),
        (Style::Label, false) => (".", ","),
        (Style::Matrix, true) => (";", ";"),
        (Style::Matrix, false) => (";", ","),
        _ => ("", ","),
    };
    let is_matrix = parameter.style == Style::Matrix;
    // With a name before all, or before each.
    let once = match is_matrix && (!parameter.explode || matches!(shape, Shape::One(_))) {
        true => format!("{name}="),
        false => String::new(),
    };
    let written = match shape {
        Shape::One(text) => plain(text),
        Shape::List(items) if is_matrix && parameter.explode => {
            let items = items.iter().map(|item| format!("{name}={}", plain(item)));
            items.collect::<Vec<_>>().join(between)
        }
        Shape::List(items) => items.iter().map(plain).collect::<Vec<_>>().join(between),
        Shape::Map(members) => {
            let joint = if parameter.explode { "=" } else { "," };
            let members = members
                .iter()
                .map(|(name, value)| format!("{}{joint}{}", plain(name), plain(value)));
            members.collect::<Vec<_>>().join(between)
        }
    };
    match written.is_empty() {
        true => written,
        false => format!("{before}{once}{written}"),
    }
}

/// In a header: as it is, nothing is encoded there.
pub(super) fn header(parameter: &Parameter, shape: &Shape) -> String {
    match shape {
        Shape::One(text) => text.clone(),
        Shape::List(items) => items.join(","),
        Shape::Map(members) => {
            let joint = if parameter.explode { "=" } else { "," };
            let members = members
                .iter()
                .map(|(name, value)| format!("{name}{joint}{value}"));
            members.collect::<Vec<_>>().join(",")
        }
    }
}

/// In a query: names and values, encoded.
pub(super) fn query(
    parameter: &Parameter,
    shape: &Shape,
    set: &'static AsciiSet,
) -> Vec<(String, String)> {
    pairs(
        &parameter.name,
        parameter.style,
        parameter.explode,
        shape,
        set,
    )
}

/// Names and values of a query or a form, encoded.
pub(super) fn pairs(
    name: &str,
    style: Style,
    explode: bool,
    shape: &Shape,
    set: &'static AsciiSet,
) -> Vec<(String, String)> {
    let value = |text: &str| encode(text, set);
    let name_of = |text: &str| encode(text, PLAIN);
    let between = match style {
        Style::Space => "%20",
        Style::Pipe => "%7C",
        _ => ",",
    };
    match shape {
        Shape::One(text) => vec![(name_of(name), value(text))],
        Shape::List(items) if explode => {
            let items = items.iter();
            items.map(|item| (name_of(name), value(item))).collect()
        }
        Shape::List(items) if items.is_empty() => Vec::new(),
        Shape::List(items) => {
            let items: Vec<String> = items.iter().map(|item| value(item)).collect();
            vec![(name_of(name), items.join(between))]
        }
        Shape::Map(members) if style == Style::Deep => {
            let members = members.iter();
            members
                .map(|(key, text)| (name_of(&format!("{name}{key}")), value(text)))
                .collect()
        }
        Shape::Map(members) if explode => {
            let members = members.iter();
            members
                .map(|(key, text)| (name_of(key), value(text)))
                .collect()
        }
        Shape::Map(members) if members.is_empty() => Vec::new(),
        Shape::Map(members) => {
            let members = members.iter();
            let flat: Vec<String> = members
                .flat_map(|(key, text)| [value(key), value(text)])
                .collect();
            vec![(name_of(name), flat.join(between))]
        }
    }
}
