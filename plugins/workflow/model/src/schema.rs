//! Types of inputs and outputs: the part of JSON Schema (draft 2020-12) that says
//! of what kind values are. What is not of it is refused, so that nothing is
//! written down and not held to.
//!
//! What must stay true: checking takes as many steps as the value has parts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cel::Type;
use crate::problem::{Problems, instead, shown};
use crate::time;
use crate::yaml::{Kind, Node};

const TYPES: [&str; 7] = [
    "string", "number", "integer", "boolean", "array", "object", "null",
];

const KEYS: [&str; 16] = [
    "type",
    "description",
    "title",
    "default",
    "enum",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "format",
];

/// What a value has to be.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    types: Vec<String>,
    description: Option<String>,
    default: Option<Value>,
    choices: Option<Vec<Value>>,
    properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    closed: bool,
    items: Option<Box<Schema>>,
    least: Option<f64>,
    most: Option<f64>,
    /// Characters, or items.
    least_size: Option<u64>,
    most_size: Option<u64>,
    moment: bool,
}

impl Schema {
    /// What stands for a value that is not given.
    #[must_use]
    pub fn fallback(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// What a value is for.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// An object with these members, each needed unless it has a default.
    pub(crate) fn object(members: &BTreeMap<String, Schema>) -> Self {
        let needed = members
            .iter()
            .filter(|(_, schema)| schema.default.is_none());
        Self {
            types: vec!["object".to_owned()],
            required: needed.map(|(name, _)| name.clone()).collect(),
            properties: members.clone(),
            closed: true,
            ..Self::default()
        }
    }

    /// Puts defaults in the places of members that are absent.
    pub fn fill(&self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, schema) in &self.properties {
                    if let (None, Some(default)) = (members.get(name), &schema.default) {
                        members.insert(name.clone(), default.clone());
                    }
                    if let Some(member) = members.get_mut(name) {
                        schema.fill(member);
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    if let Some(schema) = &self.items {
                        schema.fill(item);
                    }
                }
            }
            _ => {}
        }
    }

    /// Everything of a value that is not as it should be: `place: what`.
    #[must_use]
    pub fn problems(&self, value: &Value, place: &str) -> Vec<String> {
        let mut found = Vec::new();
        self.check(value, place, &mut found);
        found
    }

    fn check(&self, value: &Value, place: &str, found: &mut Vec<String>) {
        if found.len() >= 20 || (value.is_null() && self.default == Some(Value::Null)) {
            return;
        }
        if !self.types.is_empty() && !self.types.iter().any(|name| is(name, value)) {
            let message = format!(
                "{} is needed, and this is {}",
                named(&self.types),
                crate::cel::what(value)
            );
            found.push(format!("{place}: {message}"));
            return;
        }
        if let Some(choices) = &self.choices
            && !choices.contains(value)
        {
            let known: Vec<String> = choices.iter().take(20).map(ToString::to_string).collect();
            found.push(format!("{place}: it is one of {}", known.join(", ")));
        }
        match value {
            Value::Number(number) => self.number(number.as_f64().unwrap_or_default(), place, found),
            Value::String(text) => {
                self.size(text.chars().count(), "characters", place, found);
                if let (true, Err(error)) = (self.moment, time::moment(text)) {
                    found.push(format!("{place}: {error}"));
                }
            }
            Value::Array(items) => {
                self.size(items.len(), "items", place, found);
                for (index, item) in items.iter().enumerate() {
                    if let Some(schema) = &self.items {
                        schema.check(item, &format!("{place}[{index}]"), found);
                    }
                }
            }
            Value::Object(members) => self.members(members, place, found),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn number(&self, number: f64, place: &str, found: &mut Vec<String>) {
        match (self.least, self.most) {
            (Some(least), _) if number < least => {
                found.push(format!("{place}: it is {least} at least"))
            }
            (_, Some(most)) if number > most => {
                found.push(format!("{place}: it is {most} at most"))
            }
            _ => {}
        }
    }

    fn size(&self, size: usize, what: &str, place: &str, found: &mut Vec<String>) {
        let size = size as u64;
        match (self.least_size, self.most_size) {
            (Some(least), _) if size < least => {
                found.push(format!("{place}: it has {least} {what} at least"))
            }
            (_, Some(most)) if size > most => {
                found.push(format!("{place}: it has {most} {what} at most"))
            }
            _ => {}
        }
    }

    fn members(&self, members: &Map<String, Value>, place: &str, found: &mut Vec<String>) {
        for name in &self.required {
            if !members.contains_key(name) {
                found.push(format!("{place}.{name}: it is missing"));
            }
        }
        for (name, value) in members {
            match self.properties.get(name) {
                Some(schema) => schema.check(value, &format!("{place}.{}", shown(name)), found),
                None if self.closed => {
                    let known = instead(name, self.properties.keys().map(String::as_str));
                    found.push(format!(
                        "{place}.{}: there is no such member: {known}",
                        shown(name)
                    ));
                }
                None => {}
            }
        }
    }

    pub(crate) fn kind(&self) -> Type {
        let mut types: Vec<&str> = self.types.iter().map(String::as_str).collect();
        if self.default == Some(Value::Null) {
            types.push("null");
        }
        match types.as_slice() {
            ["string"] => Type::Text,
            ["integer"] => Type::Int,
            ["number"] | ["number", "integer"] | ["integer", "number"] => Type::Number,
            ["boolean"] => Type::Bool,
            ["null"] => Type::Null,
            ["array"] => Type::List(Box::new(
                self.items.as_ref().map_or(Type::Any, |items| items.kind()),
            )),
            ["object"] => {
                let members = self
                    .properties
                    .iter()
                    .map(|(name, schema)| (name.clone(), schema.kind()));
                // Only what is there for sure has a type; a map that is open may have more.
                Type::Map(members.collect(), !self.closed)
            }
            _ => Type::Any,
        }
    }

    /// As JSON Schema.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut made = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                made.insert(name.to_owned(), value);
            }
        };
        let types = match self.types.as_slice() {
            [] => None,
            [one] => Some(json!(one)),
            several => Some(json!(several)),
        };
        let text = self.types.iter().any(|name| name == "string");
        set("type", types);
        set("description", self.description.clone().map(Value::from));
        set("default", self.default.clone());
        set("enum", self.choices.clone().map(Value::from));
        if !self.properties.is_empty() {
            let members = self
                .properties
                .iter()
                .map(|(name, schema)| (name.clone(), schema.json()));
            set("properties", Some(Value::Object(members.collect())));
        }
        set(
            "required",
            (!self.required.is_empty()).then(|| json!(self.required)),
        );
        set(
            "additionalProperties",
            self.closed.then_some(Value::Bool(false)),
        );
        set("items", self.items.as_ref().map(|items| items.json()));
        set("minimum", self.least.map(Value::from));
        set("maximum", self.most.map(Value::from));
        set(
            if text { "minLength" } else { "minItems" },
            self.least_size.map(Value::from),
        );
        set(
            if text { "maxLength" } else { "maxItems" },
            self.most_size.map(Value::from),
        );
        set("format", self.moment.then(|| json!("date-time")));
        Value::Object(made)
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_null(),
    }
}

fn named(types: &[String]) -> String {
    let words = types.iter().map(|name| match name.as_str() {
        "string" => "a text",
        "number" => "a number",
        "integer" => "a whole number",
        "boolean" => "a boolean",
        "array" => "a list",
        "object" => "a map",
        _ => "null",
    });
    words.collect::<Vec<_>>().join(" or ")
}

/// Reads a schema; `text` alone is its type.
pub(crate) fn read(node: &Node, problems: &mut Problems) -> Schema {
    let mut schema = Schema::default();
    let members = match &node.kind {
        Kind::Text(..) => {
            types(node, &mut schema, problems);
            return schema;
        }
        Kind::Map(members) => members,
        _ => {
            problems.add(node.at, format!("a type is a map such as `{{ type: string }}`, or a type's name, and this is {}", node.what()));
            return schema;
        }
    };
    for (key, value) in members {
        if !member(&mut schema, &key.name, value, problems) {
            let known = instead(&key.name, KEYS);
            problems.add(
                key.at,
                format!("there is no `{}` in a type: {known}", shown(&key.name)),
            );
        }
    }
    if let Some(default) = &schema.default {
        for problem in schema.problems(default, "default") {
            problems.add(node.at, problem);
        }
    }
    schema
}

/// Whether it is one.
fn member(schema: &mut Schema, name: &str, value: &Node, problems: &mut Problems) -> bool {
    match name {
        "type" => types(value, schema, problems),
        "description" | "title" => match &value.kind {
            Kind::Text(text, _) => schema.description = Some(text.clone()),
            _ => problems.add(value.at, "a text is needed here"),
        },
        "default" => schema.default = Some(value.value()),
        "enum" => match &value.kind {
            Kind::List(items) if !items.is_empty() => {
                schema.choices = Some(items.iter().map(Node::value).collect());
            }
            _ => problems.add(value.at, "`enum` is a list of values"),
        },
        "properties" => match &value.kind {
            Kind::Map(members) => {
                for (key, value) in members {
                    schema
                        .properties
                        .insert(key.name.clone(), read(value, problems));
                }
            }
            _ => problems.add(value.at, "`properties` is a map of types"),
        },
        "required" => match value.value() {
            Value::Array(names) if names.iter().all(Value::is_string) => {
                let names = names.iter().filter_map(Value::as_str);
                schema.required = names.map(str::to_owned).collect();
            }
            _ => problems.add(
                value.at,
                "`required` is a list of names; an input is needed unless it has a `default`",
            ),
        },
        "additionalProperties" => match value.kind {
            Kind::Bool(open) => schema.closed = !open,
            _ => problems.add(value.at, "`additionalProperties` is true or false"),
        },
        "items" => schema.items = Some(Box::new(read(value, problems))),
        "minimum" => schema.least = number(value, problems),
        "maximum" => schema.most = number(value, problems),
        "minLength" | "minItems" => schema.least_size = count(value, problems),
        "maxLength" | "maxItems" => schema.most_size = count(value, problems),
        "format" => match value.value().as_str() {
            Some("date-time") => schema.moment = true,
            _ => problems.add(value.at, "the only format is `date-time`"),
        },
        _ => return false,
    }
    true
}

fn number(value: &Node, problems: &mut Problems) -> Option<f64> {
    let number = value.value().as_f64();
    if number.is_none() {
        problems.add(value.at, "a number is needed here");
    }
    number
}

fn count(value: &Node, problems: &mut Problems) -> Option<u64> {
    let count = value.value().as_u64();
    if count.is_none() {
        problems.add(value.at, "a whole number is needed here");
    }
    count
}

fn types(node: &Node, schema: &mut Schema, problems: &mut Problems) {
    let names = match &node.kind {
        Kind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    for name in names {
        match &name.kind {
            Kind::Text(text, _) if TYPES.contains(&text.as_str()) => {
                schema.types.push(text.clone())
            }
            // YAML's `null` without quotes.
            Kind::Null => schema.types.push("null".to_owned()),
            Kind::Text(text, _) => {
                let known = instead(text, TYPES);
                problems.add(
                    name.at,
                    format!("there is no type `{}`: {known}", shown(text)),
                );
            }
            _ => problems.add(
                name.at,
                format!("a type's name is needed here, and this is {}", name.what()),
            ),
        }
    }
}
