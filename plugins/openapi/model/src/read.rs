//! From text to a tree: JSON where it begins with `{`, else YAML.
//!
//! What must stay true: a text costs no more than its size and the limits say, and
//! of two members with one name none is dropped in silence.

mod yaml;

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits::{DEPTH_MAX, FILE_BYTES_MAX, NAME_BYTES_MAX, NODES_MAX};
use crate::problem::{At, Problem, name};

/// Reads the document in a text.
pub(crate) fn read(text: &str) -> Result<Value, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > FILE_BYTES_MAX {
        let message = format!(
            "the file has {} bytes, more than {FILE_BYTES_MAX}",
            text.len()
        );
        return Err(fault(1, 1, message));
    }
    if text.trim_start().is_empty() {
        return Err(fault(1, 1, "the file is empty"));
    }
    let value = match text.trim_start().starts_with(['{', '[']) {
        true => json(text)?,
        false => yaml::read(text)?,
    };
    match value.is_object() {
        true => Ok(value),
        false => Err(Problem::new(
            "",
            "this is no OpenAPI document: it has no members; give the file itself",
        )),
    }
}

fn fault(line: usize, column: usize, message: impl Into<String>) -> Problem {
    Problem {
        at: At::Text { line, column },
        message: message.into(),
    }
}

/// Whether a name can be part of each place behind it.
fn check_name(key: &str) -> Result<(), String> {
    match key.len() > NAME_BYTES_MAX {
        true => Err(format!(
            "the name `{}` has {} bytes, more than {NAME_BYTES_MAX}",
            name(key),
            key.len()
        )),
        false => Ok(()),
    }
}

fn json(text: &str) -> Result<Value, Problem> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let nodes = Cell::new(0);
    let root = Node {
        nodes: &nodes,
        depth: 0,
    };
    let read = root
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    read.map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string().replace(&place, "");
        let what = match error.is_data() {
            true => message,
            false => format!("this is no JSON: {message}"),
        };
        fault(error.line().max(1), error.column().max(1), what)
    })
}

/// A value, counted, and of which no member is given twice.
#[derive(Clone, Copy)]
struct Node<'a> {
    nodes: &'a Cell<usize>,
    depth: usize,
}

impl Node<'_> {
    fn below(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > NODES_MAX {
            return Err(D::Error::custom(format!("more than {NODES_MAX} values")));
        }
        if self.depth > DEPTH_MAX {
            return Err(D::Error::custom(format!(
                "more than {DEPTH_MAX} lists and maps inside one another"
            )));
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.below())? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            check_name(&key).map_err(A::Error::custom)?;
            let value = members.next_value_seed(self.below())?;
            if map.contains_key(&key) {
                let key = name(&key);
                return Err(A::Error::custom(format!(
                    "`{key}` is given twice in one map: keep one"
                )));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
