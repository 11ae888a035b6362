//! JSON Schema of draft 2020-12, as far as it needs no regular expressions: for an
//! agent that holds a value against a schema it was given.
//!
//! What must stay true: an assertion that is not understood makes a schema unusable
//! instead of passing everything; checking takes a bounded number of steps, whatever
//! the schema.
//!
//! ```
//! use airlock_sdk::schema::Schema;
//! use airlock_sdk::serde_json::json;
//!
//! let schema = json!({ "type": "object", "properties": { "total": { "type": "integer" } } });
//! let schema = Schema::read(&schema).unwrap();
//! assert!(schema.check(&json!({ "total": 12 })).is_ok());
//! let violation = schema.check(&json!({ "total": "twelve" })).unwrap_err();
//! assert_eq!(violation.to_string(), "at `/total`: it is a string, and not integer");
//! ```

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Number, Value};

use crate::Error;

#[cfg(test)]
mod tests;

/// Steps that checking one value takes at most.
const STEPS_MAX: u32 = 1_000_000;
/// Schemas inside one another, references counted.
const DEPTH_MAX: u32 = 100;

/// Assertions that are understood, and what says nothing of a value.
const ASSERTIONS: [&str; 27] = [
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "additionalProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "$ref",
    "$defs",
];
const NOTES: [&str; 12] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
    "definitions",
];

/// A schema that can be checked against.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema(Value);

/// Where a value is not as its schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the value.
    pub at: String,
    /// What is wrong there.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at.as_str() {
            "" => f.write_str(&self.message),
            at => write!(f, "at `{at}`: {}", self.message),
        }
    }
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] with the place that can't be used: a keyword that is
    /// not understood (`pattern`, `if`, `contains`, `unevaluated…`, dynamic
    /// references and others), a keyword's value that is none, a reference that leads
    /// out of the schema or nowhere.
    pub fn read(schema: &Value) -> Result<Self, Error> {
        usable(schema, schema, "", 0)
            .map_err(|problem| Error::InvalidInput(format!("the schema: {problem}")))?;
        Ok(Self(schema.clone()))
    }

    /// Whether a value is as the schema says. `format` asserts nothing.
    ///
    /// # Errors
    /// The first place where it is not.
    pub fn check(&self, value: &Value) -> Result<(), Violation> {
        let mut checking = Checking {
            root: &self.0,
            at: String::new(),
            steps: STEPS_MAX,
            depth: 0,
        };
        checking.value(&self.0, value)
    }
}

fn usable(root: &Value, schema: &Value, at: &str, depth: u32) -> Result<(), String> {
    let members = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(members) if depth < DEPTH_MAX => members,
        _ => return Err(format!("{at}: no schema, or too deep")),
    };
    for (keyword, value) in members {
        let at = format!("{at}/{keyword}");
        let below = |schema: &Value| usable(root, schema, &at, depth + 1);
        let wrong = |what: &str| Err(format!("{at}: {what}"));
        match keyword.as_str() {
            "properties" | "$defs" | "definitions" => match value.as_object() {
                Some(members) => members.values().try_for_each(below)?,
                None => return wrong("an object of schemas is needed"),
            },
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => match value.as_array() {
                Some(list) => list.iter().try_for_each(below)?,
                None => return wrong("a list of schemas is needed"),
            },
            "additionalProperties" | "propertyNames" | "items" | "not" => below(value)?,
            "$ref" if value.as_str().and_then(|to| target(root, to)).is_none() => {
                return wrong("it leads to no schema in here");
            }
            other if NOTES.contains(&other) => {}
            other if !ASSERTIONS.contains(&other) => return wrong("it is not supported"),
            other if !is_formed(other, value) => return wrong("it can't have this value"),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a keyword's value can be its value.
fn is_formed(keyword: &str, value: &Value) -> bool {
    let texts = |value: &Value| {
        let list = value.as_array();
        list.is_some_and(|list| list.iter().all(Value::is_string))
    };
    match keyword {
        "type" => value.is_string() || texts(value),
        "enum" => value.is_array(),
        "required" => texts(value),
        "uniqueItems" => value.is_boolean(),
        "multipleOf" => value.as_f64().is_some_and(|step| step > 0.0),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => value.is_number(),
        "const" | "$ref" => true,
        _ => value.is_u64(),
    }
}

/// Where a reference leads: `#` or `#/…`.
fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let found = root.pointer(reference.strip_prefix('#')?)?;
    (found.is_object() || found.is_boolean()).then_some(found)
}

/// A schema as it is inside of another one, at `place`, a JSON pointer: references
/// lead to where their targets are then. Values that it only quotes stay as they are.
///
/// ```
/// use airlock_sdk::schema::moved;
/// use airlock_sdk::serde_json::json;
///
/// let list = json!({ "$id": "https://a.test/", "items": { "$ref": "#" } });
/// let inside = json!({ "items": { "$ref": "#/properties/list" } });
/// assert_eq!(moved(list, "/properties/list"), inside);
/// ```
#[must_use]
pub fn moved(mut schema: Value, place: &str) -> Value {
    if let Some(members) = schema.as_object_mut() {
        members.remove("$schema");
        members.remove("$id");
    }
    move_references(&mut schema, place);
    schema
}

fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(members) => {
            for (keyword, value) in members {
                match (keyword.as_str(), value) {
                    ("$ref", Value::String(to)) => {
                        if let Some(rest) = to.strip_prefix('#') {
                            *to = format!("#{place}{rest}");
                        }
                    }
                    ("const" | "enum" | "default" | "examples", _) => {}
                    // Names, and no keywords.
                    ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                        let schemas = named.values_mut();
                        schemas.for_each(|schema| move_references(schema, place));
                    }
                    (_, value) => move_references(value, place),
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| move_references(item, place)),
        _ => {}
    }
}

struct Checking<'a> {
    root: &'a Value,
    at: String,
    steps: u32,
    depth: u32,
}

impl Checking<'_> {
    fn value(&mut self, schema: &Value, value: &Value) -> Result<(), Violation> {
        if self.steps == 0 || self.depth == DEPTH_MAX {
            return self.wrong("the schema takes too many steps to check");
        }
        self.steps -= 1;
        let members = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(members) => members,
            _ => return self.wrong("nothing may stand here"),
        };
        self.depth += 1;
        let checked = self.any(members, value).and_then(|()| match value {
            Value::Number(number) => self.number(members, number),
            Value::String(text) => {
                let count = text.chars().count();
                self.count(members, ["minLength", "maxLength"], count, "characters")
            }
            Value::Array(items) => self.array(members, items),
            Value::Object(object) => self.object(members, object),
            Value::Null | Value::Bool(_) => Ok(()),
        });
        let checked = checked.and_then(|()| self.combined(members, value));
        self.depth -= 1;
        checked
    }

    fn wrong<T>(&self, message: impl Into<String>) -> Result<T, Violation> {
        Err(Violation {
            at: self.at.clone(),
            message: message.into(),
        })
    }

    fn below(&mut self, name: &str, schema: &Value, value: &Value) -> Result<(), Violation> {
        let len = self.at.len();
        let name = name.replace('~', "~0").replace('/', "~1");
        self.at.push('/');
        self.at.push_str(&name);
        let checked = self.value(schema, value);
        self.at.truncate(len);
        checked
    }

    fn any(&mut self, schema: &Map<String, Value>, value: &Value) -> Result<(), Violation> {
        let reference = schema.get("$ref").and_then(Value::as_str);
        if let Some(target) = reference.and_then(|to| target(self.root, to)) {
            self.value(target, value)?;
        }
        if let Some(types) = schema.get("type") {
            let list = types.as_array();
            let names = list.map_or(std::slice::from_ref(types), Vec::as_slice);
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            if !names.iter().any(|name| is(name, value)) {
                let names = names.join(" or ");
                return self.wrong(format!("it is {}, and not {names}", kind(value)));
            }
        }
        if let Some(Value::Array(allowed)) = schema.get("enum")
            && !allowed.iter().any(|allowed| equal(allowed, value))
        {
            return self.wrong(format!("it is none of {}", shown(&schema["enum"])));
        }
        match schema.get("const") {
            Some(expected) if !equal(expected, value) => {
                self.wrong(format!("it is not {}", shown(expected)))
            }
            _ => Ok(()),
        }
    }

    fn number(&self, schema: &Map<String, Value>, number: &Number) -> Result<(), Violation> {
        use Ordering::{Equal, Greater, Less};
        let bounds = [
            ("minimum", "at least", [Greater, Equal]),
            ("maximum", "at most", [Less, Equal]),
            ("exclusiveMinimum", "more than", [Greater; 2]),
            ("exclusiveMaximum", "less than", [Less; 2]),
        ];
        for (keyword, words, holds) in bounds {
            let bound = schema.get(keyword).and_then(Value::as_number);
            if let Some(bound) = bound.filter(|bound| !holds.contains(&order(number, bound))) {
                return self.wrong(format!("it has to be {words} {bound}"));
            }
        }
        match schema.get("multipleOf").and_then(Value::as_f64) {
            Some(step) if number.as_f64().is_some_and(|n| (n / step).fract() != 0.0) => {
                self.wrong(format!("it is no multiple of {step}"))
            }
            _ => Ok(()),
        }
    }

    fn count(
        &self,
        schema: &Map<String, Value>,
        [least, most]: [&str; 2],
        count: usize,
        what: &str,
    ) -> Result<(), Violation> {
        let bound = |name| schema.get(name).and_then(Value::as_u64);
        let count = count as u64;
        if let Some(least) = bound(least).filter(|least| count < *least) {
            return self.wrong(format!("it has {count} {what}; at least {least}"));
        }
        match bound(most).filter(|most| count > *most) {
            Some(most) => self.wrong(format!("it has {count} {what}; at most {most}")),
            None => Ok(()),
        }
    }

    fn array(&mut self, schema: &Map<String, Value>, items: &[Value]) -> Result<(), Violation> {
        self.count(schema, ["minItems", "maxItems"], items.len(), "items")?;
        let first = schema.get("prefixItems").and_then(Value::as_array);
        for (index, item) in items.iter().enumerate() {
            let own = first.and_then(|first| first.get(index));
            if let Some(schema) = own.or_else(|| schema.get("items")) {
                self.below(&index.to_string(), schema, item)?;
            }
        }
        let twice = |index: &usize| items[..*index].iter().any(|one| equal(one, &items[*index]));
        match schema.get("uniqueItems") {
            Some(Value::Bool(true)) if items.len().pow(2) > STEPS_MAX as usize => {
                self.wrong("it has too many items to see whether one is there twice")
            }
            Some(Value::Bool(true)) => match (0..items.len()).find(twice) {
                Some(index) => self.wrong(format!("item {index} is there twice")),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn object(
        &mut self,
        schema: &Map<String, Value>,
        object: &Map<String, Value>,
    ) -> Result<(), Violation> {
        let bounds = ["minProperties", "maxProperties"];
        self.count(schema, bounds, object.len(), "members")?;
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                return self.wrong(format!("`{name}` is missing"));
            }
        }
        let named = schema.get("properties").and_then(Value::as_object);
        for (name, member) in object {
            match named.and_then(|named| named.get(name)) {
                Some(schema) => self.below(name, schema, member)?,
                None => match schema.get("additionalProperties") {
                    Some(Value::Bool(false)) => {
                        return self.wrong(format!("`{name}` is unknown"));
                    }
                    Some(rest) => self.below(name, rest, member)?,
                    None => {}
                },
            }
            if let Some(schema) = schema.get("propertyNames") {
                self.value(schema, &Value::String(name.clone()))?;
            }
        }
        Ok(())
    }

    fn combined(&mut self, schema: &Map<String, Value>, value: &Value) -> Result<(), Violation> {
        let list = |name| schema.get(name).and_then(Value::as_array);
        for schema in list("allOf").into_iter().flatten() {
            self.value(schema, value)?;
        }
        for (keyword, most) in [("anyOf", usize::MAX), ("oneOf", 1)] {
            let Some(ways) = list(keyword) else { continue };
            let fits = ways.iter().map(|way| self.value(way, value));
            let fits: Vec<_> = fits.collect();
            let count = fits.iter().filter(|fits| fits.is_ok()).count();
            if count == 0 {
                // The one that came furthest is the one that helps.
                let failed = fits.into_iter().filter_map(Result::err);
                let furthest = failed.max_by_key(|violation| violation.at.len());
                return match furthest.filter(|violation| violation.at.len() > self.at.len()) {
                    Some(violation) => Err(violation),
                    None => self.wrong(format!("it is none of {} that it may be", ways.len())),
                };
            }
            if count > most {
                return self.wrong(format!("it is {count} of `{keyword}` at once"));
            }
        }
        match schema.get("not") {
            Some(not) if self.value(not, value).is_ok() => self.wrong("it is what `not` says"),
            _ => Ok(()),
        }
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value in a message, cut where it is long.
fn shown(value: &Value) -> String {
    const BYTES_MAX: usize = 200;
    let text = value.to_string();
    match text.len() <= BYTES_MAX {
        true => text,
        false => format!("{}…", &text[..text.floor_char_boundary(BYTES_MAX)]),
    }
}

/// Whole numbers exactly, others as well as they are kept.
fn order(a: &Number, b: &Number) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return a.cmp(&b);
    }
    let [a, b] = [a, b].map(|number| number.as_f64().unwrap_or_default() + 0.0);
    a.total_cmp(&b)
}

/// As JSON Schema means it: numbers are equal by value, objects without order.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => order(a, b) == Ordering::Equal,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let same = |(name, a): (&String, &Value)| b.get(name).is_some_and(|b| equal(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}
