//! JSON Schema, as far as tools and answers need it, of draft 2020-12.
//!
//! Schemas come from agents and plugins, so what must stay true: checking takes a
//! bounded number of steps, whatever the schema (a few references can ask for
//! billions); expressions take linear time; nothing is fetched; an assertion that is
//! not understood makes a schema unusable instead of passing everything. No crate
//! counts steps, which is why this is here.

mod check;

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Most memory of one compiled expression, bytes, and most expressions.
const COMPILED_BYTES_MAX: usize = 256 << 10;
const PATTERNS_MAX: usize = 32;
/// Steps that checking one answer takes at most, all its calls together.
pub const STEPS_MAX: u64 = 2_000_000;
/// Most nodes of a schema.
const NODES_MAX: usize = 20_000;

/// Assertions that are not understood here.
const UNKNOWN: [&str; 10] = [
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$anchor",
    "additionalItems",
    "dependencies",
    "contentSchema",
];

/// A schema that can be checked against.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Value,
    patterns: BTreeMap<String, Regex>,
}

/// Where a value is not as its schema says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the value.
    pub at: String,
    /// What is wrong there.
    pub message: String,
}

impl Schema {
    /// Reads a schema.
    ///
    /// # Errors
    /// Why it can't be used, with the place.
    pub fn compile(text: &str) -> Result<Self, String> {
        let root = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
        let mut schema = Self {
            root: Value::Null,
            patterns: BTreeMap::new(),
        };
        let mut compiling = Compiling {
            root: &root,
            patterns: &mut schema.patterns,
            nodes: 0,
        };
        compiling.schema(&root, "")?;
        schema.root = root;
        Ok(schema)
    }

    /// Whether a value is as the schema says. What it takes is taken from `steps`.
    ///
    /// # Errors
    /// The first place where it is not.
    pub fn check(&self, value: &Value, steps: &mut u64) -> Result<(), Violation> {
        check::check(self, value, steps)
    }
}

struct Compiling<'a> {
    root: &'a Value,
    patterns: &'a mut BTreeMap<String, Regex>,
    nodes: usize,
}

impl Compiling<'_> {
    fn schema(&mut self, schema: &Value, at: &str) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("it has more than {NODES_MAX} parts"));
        }
        let members = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(members) => members,
            _ => return Err(format!("{at}: a schema is an object or a boolean")),
        };
        for (keyword, value) in members {
            if UNKNOWN.contains(&keyword.as_str()) {
                return Err(format!("{at}: `{keyword}` is not supported"));
            }
            let place = format!("{at}/{keyword}");
            self.keyword(keyword, value, &place)
                .map_err(|error| match error.starts_with('/') {
                    true => error,
                    false => format!("{place}: {error}"),
                })?;
        }
        Ok(())
    }

    fn keyword(&mut self, keyword: &str, value: &Value, at: &str) -> Result<(), String> {
        match keyword {
            "not"
            | "if"
            | "then"
            | "else"
            | "items"
            | "contains"
            | "additionalProperties"
            | "propertyNames" => self.schema(value, at),
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.list(value, at),
            "properties" | "$defs" | "definitions" | "dependentSchemas" => self.table(value, at),
            "patternProperties" => {
                let members = value.as_object().ok_or("an object")?;
                for pattern in members.keys() {
                    self.pattern(pattern)?;
                }
                self.table(value, at)
            }
            "pattern" => self.pattern(value.as_str().ok_or("a text")?),
            "$ref" => self.reference(value),
            _ => form(keyword, value),
        }
    }

    fn list(&mut self, value: &Value, at: &str) -> Result<(), String> {
        let items = value.as_array().filter(|items| !items.is_empty());
        for (index, item) in items.ok_or("a list of schemas")?.iter().enumerate() {
            self.schema(item, &format!("{at}/{index}"))?;
        }
        Ok(())
    }

    fn table(&mut self, value: &Value, at: &str) -> Result<(), String> {
        for (name, member) in value.as_object().ok_or("an object of schemas")? {
            self.schema(member, &format!("{at}/{name}"))?;
        }
        Ok(())
    }

    fn pattern(&mut self, text: &str) -> Result<(), String> {
        if self.patterns.contains_key(text) {
            return Ok(());
        }
        if self.patterns.len() == PATTERNS_MAX {
            return Err(format!("more than {PATTERNS_MAX} expressions"));
        }
        let regex = RegexBuilder::new(text)
            .size_limit(COMPILED_BYTES_MAX)
            .build();
        let regex = regex.map_err(|_| format!("`{text}` is no expression that is supported"))?;
        self.patterns.insert(text.to_owned(), regex);
        Ok(())
    }

    fn reference(&self, value: &Value) -> Result<(), String> {
        let text = value.as_str().ok_or("a text")?;
        let target = target(self.root, text);
        match target {
            Some(Value::Bool(_) | Value::Object(_)) => Ok(()),
            _ => Err(format!("`{text}` leads to no schema in here")),
        }
    }
}

/// Where a reference leads within its schema: `#` or `#/…`.
fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    root.pointer(reference.strip_prefix('#')?)
}

/// Whether a keyword's value can be its value.
fn form(keyword: &str, value: &Value) -> Result<(), String> {
    let count = |value: &Value| value.as_u64().is_some();
    let texts = |value: &Value| {
        let items = value.as_array();
        items.is_some_and(|items| items.iter().all(Value::is_string))
    };
    let (fits, expected) = match keyword {
        "type" => (is_type(value), "one of the types, or a list of them"),
        "enum" => (value.is_array(), "a list"),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
            (value.is_number(), "a number")
        }
        "multipleOf" => (
            value.as_f64().is_some_and(|number| number > 0.0),
            "a number above 0",
        ),
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minContains" | "maxContains"
        | "minProperties" | "maxProperties" => (count(value), "a whole number"),
        "uniqueItems" => (value.is_boolean(), "a boolean"),
        "required" => (texts(value), "a list of texts"),
        "dependentRequired" => {
            let members = value.as_object();
            let fits = members.is_some_and(|members| members.values().all(texts));
            (fits, "an object of lists of texts")
        }
        _ => (true, ""),
    };
    match fits {
        true => Ok(()),
        false => Err(expected.to_owned()),
    }
}

fn is_type(value: &Value) -> bool {
    let known = |value: &Value| {
        let all = [
            "null", "boolean", "object", "array", "number", "integer", "string",
        ];
        value.as_str().is_some_and(|name| all.contains(&name))
    };
    match value {
        Value::Array(names) => !names.is_empty() && names.iter().all(known),
        name => known(name),
    }
}
