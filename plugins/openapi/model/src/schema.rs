//! Schemas of a document as JSON Schema 2020-12 that refers to nothing outside of
//! itself: what is referred to stands under `$defs`, however it refers to itself.
//!
//! What must stay true: no schema is larger or deeper than the host takes. One that
//! would be says less, and that is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value, json};

use crate::limits::{REFERENCES_MAX, SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX, SCHEMA_NODES_MAX};
use crate::plan::Kind;
use crate::problem::{Problem, name};
use crate::spec::{Node, Spec, kind};

/// A member of an object schema that is made.
#[derive(Clone)]
pub(crate) struct Member<'a> {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) description: String,
    pub(crate) schema: From<'a>,
}

/// Where a member's schema is from.
#[derive(Clone)]
pub(crate) enum From<'a> {
    /// One of the document's, or what to say in their place where they are too large.
    Document(Vec<Node<'a>>, Value),
    Made(Value),
}

/// How much of the document's schemas is told.
#[derive(Clone, Copy, PartialEq)]
enum Detail {
    All,
    /// No descriptions inside of them.
    Bare,
    /// Types alone.
    Kinds,
}

/// An object schema, and whether it tells less than the document.
pub(crate) fn object(
    spec: &Spec<'_>,
    members: &[Member<'_>],
    closed: bool,
) -> Result<(Value, bool), Problem> {
    for detail in [Detail::All, Detail::Bare] {
        let made = one_object(spec, members, closed, detail)?;
        if let Some(made) = made.filter(fits) {
            return Ok((made, detail != Detail::All));
        }
    }
    let made = one_object(spec, members, closed, Detail::Kinds)?;
    Ok((made.unwrap_or_else(|| json!({ "type": "object" })), true))
}

fn fits(schema: &Value) -> bool {
    depth(schema) <= SCHEMA_DEPTH_MAX && schema.to_string().len() <= SCHEMA_BYTES_MAX
}

/// Lists and maps inside one another.
pub(crate) fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or(0)
}

/// `None`: it has too many values.
fn one_object(
    spec: &Spec<'_>,
    members: &[Member<'_>],
    closed: bool,
    detail: Detail,
) -> Result<Option<Value>, Problem> {
    let mut schemas = Schemas {
        spec,
        detail,
        hidden: if closed { "readOnly" } else { "writeOnly" },
        names: BTreeMap::new(),
        taken: BTreeSet::new(),
        counts: BTreeMap::new(),
        queue: VecDeque::new(),
        nodes: 0,
    };
    let mut properties = Map::new();
    for member in members {
        let schema = match &member.schema {
            From::Made(schema) => schema.clone(),
            From::Document(_, instead) if detail == Detail::Kinds => instead.clone(),
            From::Document(nodes, _) => schemas.one_of(nodes)?,
        };
        properties.insert(
            member.name.clone(),
            described(schema, &member.description, detail),
        );
    }
    let mut made = json!({ "type": "object", "properties": properties });
    let required = members.iter().filter(|member| member.required);
    let required: Vec<&str> = required.map(|member| member.name.as_str()).collect();
    if !required.is_empty() {
        made["required"] = json!(required);
    }
    if closed {
        made["additionalProperties"] = json!(false);
    }
    let definitions = schemas.definitions()?;
    if !definitions.is_empty() {
        made["$defs"] = Value::Object(definitions);
    }
    Ok((schemas.nodes <= SCHEMA_NODES_MAX).then_some(made))
}

/// A schema with a description in the place of its own.
fn described(schema: Value, description: &str, detail: Detail) -> Value {
    let most = if detail == Detail::Kinds { 200 } else { 2_000 };
    let description: String = description.chars().take(most).collect();
    if description.is_empty() {
        return schema;
    }
    match schema {
        Value::Object(mut members) => {
            members.insert("description".to_owned(), description.into());
            Value::Object(members)
        }
        Value::Bool(true) => json!({ "description": description }),
        other => other,
    }
}

/// What a parameter or a part of a form may be; empty: anything.
pub(crate) fn kinds(spec: &Spec<'_>, node: &Node<'_>) -> Result<Vec<Kind>, Problem> {
    let mut node = node.clone();
    for _ in 0..REFERENCES_MAX {
        node = spec.resolve(node)?;
        let named = match node.value.get("type") {
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => {
                // The way of 3.0 to put something beside a reference.
                let all = node.get("allOf").map(|all| all.items("`allOf`"));
                let mut all = all.transpose()?.into_iter().flatten();
                match (all.next(), all.next()) {
                    (Some(one), None) => node = one,
                    _ => return Ok(Vec::new()),
                }
                continue;
            }
        };
        let kind = |name: &str| match name {
            "string" => Some(Kind::String),
            "integer" => Some(Kind::Integer),
            "number" => Some(Kind::Number),
            "boolean" => Some(Kind::Boolean),
            "array" => Some(Kind::Array),
            "object" => Some(Kind::Object),
            _ => None,
        };
        return Ok(named.into_iter().filter_map(kind).collect());
    }
    Ok(Vec::new())
}

/// Types as a schema.
pub(crate) fn of_kinds(kinds: &[Kind]) -> Value {
    match kinds {
        [] => json!({}),
        [one] => json!({ "type": one }),
        several => json!({ "type": several }),
    }
}

const TYPES: [&str; 7] = [
    "string", "integer", "number", "boolean", "array", "object", "null",
];

struct Schemas<'s, 'a> {
    spec: &'s Spec<'a>,
    detail: Detail,
    /// What marks properties that are not for this side.
    hidden: &'static str,
    /// The names of what is referred to, by its place.
    names: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    /// The last number behind a name that several would have.
    counts: BTreeMap<String, usize>,
    queue: VecDeque<(String, Node<'a>)>,
    nodes: usize,
}

impl<'a> Schemas<'_, 'a> {
    /// What was referred to, with all that it refers to.
    fn definitions(&mut self) -> Result<Map<String, Value>, Problem> {
        let mut definitions = Map::new();
        while let Some((name, node)) = self.queue.pop_front() {
            if self.nodes > SCHEMA_NODES_MAX {
                break;
            }
            let schema = self.convert(&node)?;
            definitions.insert(name, schema);
        }
        Ok(definitions)
    }

    /// What is as one of these says, each told once.
    fn one_of(&mut self, nodes: &[Node<'a>]) -> Result<Value, Problem> {
        let mut made: Vec<Value> = Vec::new();
        for node in nodes {
            let schema = self.convert(node)?;
            if !made.contains(&schema) {
                made.push(schema);
            }
        }
        Ok(match made.len() {
            1 => made.remove(0),
            _ => json!({ "anyOf": made }),
        })
    }

    fn convert(&mut self, node: &Node<'a>) -> Result<Value, Problem> {
        self.nodes += 1;
        if self.nodes > SCHEMA_NODES_MAX {
            return Ok(json!({}));
        }
        match node.value {
            Value::Bool(value) => Ok(Value::Bool(*value)),
            Value::Object(_) => self.map(node),
            other => Err(node.problem(format!("a schema is {}, not a map", kind(other)))),
        }
    }

    fn map(&mut self, node: &Node<'a>) -> Result<Value, Problem> {
        let mut made = Map::new();
        if let Some(target) = node.value.get("$ref") {
            let Some(target) = target.as_str() else {
                return Err(node.problem("`$ref` is no text"));
            };
            made.insert("$ref".to_owned(), self.reference(node, target)?.into());
            if self.spec.is_30 {
                return Ok(Value::Object(made));
            }
        }
        for (key, child) in node.members("a schema")? {
            if let Some(value) = self.keyword(key, &child)? {
                made.insert(key.to_owned(), value);
            }
        }
        self.free_hidden(node, &mut made);
        exclusive(&mut made, "exclusiveMinimum", "minimum");
        exclusive(&mut made, "exclusiveMaximum", "maximum");
        let is_nullable = self.spec.is_30 && node.flag("nullable") == Some(true);
        Ok(match is_nullable {
            true => nullable(made),
            false => Value::Object(made),
        })
    }

    /// OpenAPI asks for a property that is read only in answers alone, and for one
    /// that is write only in requests alone, where it is required.
    fn free_hidden(&self, node: &Node<'a>, made: &mut Map<String, Value>) {
        let Some(Value::Array(required)) = made.get_mut("required") else {
            return;
        };
        let Some(properties) = node.get("properties") else {
            return;
        };
        let is_hidden = |name: &Value| {
            let property = name.as_str().and_then(|name| properties.get(name));
            property.is_some_and(|property| {
                let says = |node: &Node<'_>| node.flag(self.hidden) == Some(true);
                says(&property) || self.spec.resolve(property).is_ok_and(|node| says(&node))
            })
        };
        required.retain(|name| !is_hidden(name));
        if required.is_empty() {
            made.remove("required");
        }
    }

    fn reference(&mut self, from: &Node<'a>, target: &str) -> Result<String, Problem> {
        let node = self.spec.follow(from, target)?;
        let at = node.at();
        if let Some(name) = self.names.get(&at) {
            return Ok(format!("#/$defs/{name}"));
        }
        let last = at.rsplit('/').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let base: String = last.chars().filter(|c| plain(*c)).take(60).collect();
        let base = if base.is_empty() {
            "Schema".to_owned()
        } else {
            base
        };
        let mut name = base.clone();
        while !self.taken.insert(name.clone()) {
            let count = self.counts.entry(base.clone()).or_insert(1);
            *count += 1;
            name = format!("{base}_{count}");
        }
        self.names.insert(at, name.clone());
        self.queue.push_back((name.clone(), node));
        Ok(format!("#/$defs/{name}"))
    }

    /// `None`: it says nothing here.
    fn keyword(&mut self, key: &str, child: &Node<'a>) -> Result<Option<Value>, Problem> {
        let value = child.value;
        Ok(match key {
            "properties" | "patternProperties" | "dependentSchemas" => {
                let mut made = Map::new();
                for (name, schema) in child.members(key)? {
                    made.insert(name.to_owned(), self.convert(&schema)?);
                }
                Some(Value::Object(made))
            }
            "items" if value.is_array() => Some(self.list(child)?),
            "items"
            | "additionalProperties"
            | "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "contentSchema" => Some(self.convert(child)?),
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => Some(self.list(child)?),
            "$dynamicRef" | "$recursiveRef" => {
                return Err(child.problem(format!("`{key}` is not read: write a plain `$ref`")));
            }
            "title" | "description" => {
                let text = value.as_str().filter(|_| self.detail == Detail::All);
                text.map(|text| text.chars().take(2_000).collect::<String>().into())
            }
            "type" => Some(types(child)?),
            "enum" if !value.is_array() => {
                return Err(child.problem("`enum` is no list"));
            }
            "enum" | "const" | "default" if weight(value, 0) > SCHEMA_BYTES_MAX => {
                self.nodes = SCHEMA_NODES_MAX + 1;
                None
            }
            "enum" | "const" if refers(value) => {
                return Err(child.problem("a value with `$ref` in it can't be told in a schema"));
            }
            "enum" | "const" => Some(value.clone()),
            "default" => Some(value.clone()).filter(|value| !refers(value)),
            "required" => value.is_array().then(|| value.clone()),
            "format" | "pattern" | "contentEncoding" | "contentMediaType" => {
                let text = value.as_str().filter(|text| text.len() <= 4_096);
                text.map(Value::from)
            }
            "minLength" | "maxLength" | "minimum" | "maximum" | "multipleOf" | "minItems"
            | "maxItems" | "minProperties" | "maxProperties" | "minContains" | "maxContains" => {
                value.is_number().then(|| value.clone())
            }
            "exclusiveMinimum" | "exclusiveMaximum" => Some(value.clone()),
            "uniqueItems" | "readOnly" | "writeOnly" | "deprecated" => {
                value.is_boolean().then(|| value.clone())
            }
            _ => None,
        })
    }

    fn list(&mut self, node: &Node<'a>) -> Result<Value, Problem> {
        let items = node.items("a list of schemas")?;
        let made = items.map(|item| self.convert(&item));
        made.collect::<Result<Vec<_>, _>>().map(Value::Array)
    }
}

fn types(node: &Node<'_>) -> Result<Value, Problem> {
    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
    let fits = match node.value {
        Value::Array(several) => !several.is_empty() && several.iter().all(known),
        one => known(one),
    };
    match fits {
        true => Ok(node.value.clone()),
        false => {
            let shown = name(&node.value.to_string());
            Err(node.problem(format!(
                "`{shown}` is no type: write one of {}",
                TYPES.join(", ")
            )))
        }
    }
}

/// Booleans of 3.0 as the bounds that they are about.
fn exclusive(made: &mut Map<String, Value>, key: &str, bound: &str) {
    match made.get(key) {
        Some(Value::Bool(true)) => {
            made.remove(key);
            if let Some(value) = made.remove(bound) {
                made.insert(key.to_owned(), value);
            }
        }
        Some(Value::Number(_)) | None => {}
        Some(_) => {
            made.remove(key);
        }
    }
}

/// `nullable: true` of 3.0.
fn nullable(mut made: Map<String, Value>) -> Value {
    let null = Value::from("null");
    if let Some(Value::Array(values)) = made.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    match made.get_mut("type") {
        Some(Value::String(one)) => {
            let one = one.clone();
            made.insert("type".to_owned(), json!([one, "null"]));
        }
        Some(Value::Array(several)) if !several.contains(&null) => several.push(null),
        Some(_) => {}
        None => return json!({ "anyOf": [made, { "type": "null" }] }),
    }
    Value::Object(made)
}

/// How long a value is as text, at least; counted no further than it matters.
fn weight(value: &Value, before: usize) -> usize {
    let sum = before + 1;
    if sum > SCHEMA_BYTES_MAX {
        return sum;
    }
    match value {
        Value::String(text) => sum + text.len(),
        Value::Array(items) => items.iter().fold(sum, |sum, item| match sum {
            sum if sum > SCHEMA_BYTES_MAX => sum,
            sum => weight(item, sum),
        }),
        Value::Object(members) => members.iter().fold(sum, |sum, (name, item)| match sum {
            sum if sum > SCHEMA_BYTES_MAX => sum,
            sum => weight(item, sum + name.len()),
        }),
        _ => sum,
    }
}

/// Whether a value has a member that the host would take for a reference.
fn refers(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(refers),
        Value::Object(members) => {
            members.contains_key("$ref")
                || members.contains_key("$dynamicRef")
                || members.values().any(refers)
        }
        _ => false,
    }
}
