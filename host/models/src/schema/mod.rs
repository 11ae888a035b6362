//! JSON Schema, as far as tools and answers need it, of draft 2020-12.
//!
//! Schemas come from agents and plugins, so what must stay true: checking takes a
//! bounded number of steps, whatever the schema (a few references can ask for
//! billions), and each step about as long as any other, so that what is long counts
//! for more; nothing is fetched; an assertion that is not understood makes a schema
//! unusable instead of passing everything. No crate counts steps, which is why this is
//! here.

mod check;

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::json::is_light;

/// Most memory of one compiled expression, bytes; its text; and most expressions.
const COMPILED_BYTES_MAX: usize = 256 << 10;
const PATTERN_BYTES_MAX: usize = 8 << 10;
const PATTERNS_MAX: usize = 32;
/// An expression costs a step for each byte that it looks at, and one more for each of
/// these of its memory.
const STEP_COMPILED_BYTES: usize = 4 << 10;
/// Steps that checking one answer takes at most, all its calls together.
pub const STEPS_MAX: u64 = 2_000_000;
/// Most nodes of a schema.
const NODES_MAX: usize = 20_000;
/// Longest part of a text that a message shows, bytes.
const SHOWN_BYTES_MAX: usize = 200;

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
    patterns: BTreeMap<String, Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    regex: Regex,
    /// Steps for each byte that it looks at.
    steps: usize,
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
        if !is_light(text) {
            return Err("it has too many values".to_owned());
        }
        let root = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
        let mut schema = Self {
            root: Value::Null,
            patterns: BTreeMap::new(),
        };
        let mut compiling = Compiling {
            root: &root,
            patterns: &mut schema.patterns,
            nodes: 0,
            at: String::new(),
        };
        compiling.schema(&root)?;
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
    patterns: &'a mut BTreeMap<String, Pattern>,
    nodes: usize,
    /// Where it is, for messages.
    at: String,
}

impl Compiling<'_> {
    fn schema(&mut self, schema: &Value) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(format!("it has more than {NODES_MAX} parts"));
        }
        let members = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(members) => members,
            _ => return Err(self.here("a schema is an object or a boolean")),
        };
        for (keyword, value) in members {
            if UNKNOWN.contains(&keyword.as_str()) {
                return Err(self.here(&format!("`{keyword}` is not supported")));
            }
            self.below(keyword, |this| this.keyword(keyword, value))?;
        }
        Ok(())
    }

    /// One level down, without a copy of the place for each.
    fn below(
        &mut self,
        name: &str,
        of: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let len = self.at.len();
        self.at.push('/');
        self.at.push_str(name);
        of(self)?;
        self.at.truncate(len);
        Ok(())
    }

    fn here(&self, error: &str) -> String {
        format!("{}: {error}", cut(&self.at))
    }

    fn keyword(&mut self, keyword: &str, value: &Value) -> Result<(), String> {
        let lacks = |this: &Self, what: &str| this.here(what);
        match keyword {
            "not"
            | "if"
            | "then"
            | "else"
            | "items"
            | "contains"
            | "additionalProperties"
            | "propertyNames" => self.schema(value),
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.list(value),
            "properties" | "$defs" | "definitions" | "dependentSchemas" => self.table(value),
            "patternProperties" => {
                let members = value.as_object();
                for pattern in members.ok_or_else(|| lacks(self, "an object"))?.keys() {
                    self.pattern(pattern)?;
                }
                self.table(value)
            }
            "pattern" => self.pattern(value.as_str().ok_or_else(|| lacks(self, "a text"))?),
            "$ref" => self.reference(value),
            _ => form(keyword, value).map_err(|error| self.here(&error)),
        }
    }

    fn list(&mut self, value: &Value) -> Result<(), String> {
        let items = value.as_array().filter(|items| !items.is_empty());
        let items = items.ok_or_else(|| self.here("a list of schemas"))?;
        for (index, item) in items.iter().enumerate() {
            self.below(&index.to_string(), |this| this.schema(item))?;
        }
        Ok(())
    }

    fn table(&mut self, value: &Value) -> Result<(), String> {
        let members = value.as_object();
        for (name, member) in members.ok_or_else(|| self.here("an object of schemas"))? {
            self.below(name, |this| this.schema(member))?;
        }
        Ok(())
    }

    fn pattern(&mut self, text: &str) -> Result<(), String> {
        if self.patterns.contains_key(text) {
            return Ok(());
        }
        if self.patterns.len() == PATTERNS_MAX {
            return Err(self.here(&format!("more than {PATTERNS_MAX} expressions")));
        }
        let pattern = Pattern::compile(text).ok_or_else(|| {
            self.here(&format!(
                "`{}` is no expression that is supported",
                cut(text)
            ))
        })?;
        self.patterns.insert(text.to_owned(), pattern);
        Ok(())
    }

    fn reference(&self, value: &Value) -> Result<(), String> {
        let text = value.as_str().ok_or_else(|| self.here("a text"))?;
        match target(self.root, text) {
            Some(Value::Bool(_) | Value::Object(_)) => Ok(()),
            _ => Err(self.here(&format!("`{}` leads to no schema in here", cut(text)))),
        }
    }
}

impl Pattern {
    /// In as little memory as it takes: that says what a byte may cost. `None`: it is no
    /// expression, or a large one.
    fn compile(text: &str) -> Option<Self> {
        if text.len() > PATTERN_BYTES_MAX {
            return None;
        }
        let mut bytes = STEP_COMPILED_BYTES;
        while bytes <= COMPILED_BYTES_MAX {
            match RegexBuilder::new(text).size_limit(bytes).build() {
                Ok(regex) => {
                    let steps = 1 + bytes / STEP_COMPILED_BYTES;
                    return Some(Self { regex, steps });
                }
                Err(regex::Error::CompiledTooBig(_)) => bytes *= 2,
                Err(_) => return None,
            }
        }
        None
    }
}

/// A text in a message, cut where it is long.
fn cut(text: &str) -> Cow<'_, str> {
    match text.len() <= SHOWN_BYTES_MAX {
        true => Cow::Borrowed(text),
        false => {
            let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
            Cow::Owned(format!("{}…", &text[..end]))
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
        Value::Array(names) => (1..=7).contains(&names.len()) && names.iter().all(known),
        name => known(name),
    }
}
