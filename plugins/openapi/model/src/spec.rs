//! A document that was read, and its parts with their places. References are
//! followed within the document alone, and only so far.

use std::rc::Rc;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::limits::REFERENCES_MAX;
use crate::problem::{Problem, name, shown};

/// A document of OpenAPI 3.
pub(crate) struct Spec<'a> {
    pub(crate) root: Node<'a>,
    /// It is 3.0, the schemas of which are not those of JSON Schema.
    pub(crate) is_30: bool,
}

/// A part of the document, and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    at: Rc<Place<'a>>,
}

/// A place in the document. It shares what stands before it, so that many parts
/// with long names before them cost no more than their number.
#[derive(Debug)]
enum Place<'a> {
    /// A JSON pointer.
    Start(String),
    Member(Rc<Place<'a>>, &'a str),
    Item(Rc<Place<'a>>, usize),
}

impl Place<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Start(pointer) => pointer.clone(),
            Self::Member(before, name) => format!("{}/{}", before.pointer(), token(name)),
            Self::Item(before, index) => format!("{}/{index}", before.pointer()),
        }
    }
}

/// Escapes a member's name for a JSON pointer.
fn token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl<'a> Node<'a> {
    fn starting(value: &'a Value, pointer: String) -> Self {
        let at = Rc::new(Place::Start(pointer));
        Self { value, at }
    }

    /// Its place as a JSON pointer.
    pub(crate) fn at(&self) -> String {
        self.at.pointer()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Self> {
        let (name, value) = self.value.as_object()?.get_key_value(name)?;
        let at = Rc::new(Place::Member(Rc::clone(&self.at), name));
        Some(Self { value, at })
    }

    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.value.get(name)?.as_str()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.value.get(name)?.as_bool()
    }

    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(&self.at(), message)
    }

    /// The value as a map, or a problem that says what it is.
    pub(crate) fn map(&self, what: &str) -> Result<&'a Map<String, Value>, Problem> {
        let map = self.value.as_object();
        map.ok_or_else(|| self.problem(format!("{what} is {}, not a map", kind(self.value))))
    }

    pub(crate) fn members(
        &self,
        what: &str,
    ) -> Result<impl Iterator<Item = (&'a str, Self)> + use<'a>, Problem> {
        let before = Rc::clone(&self.at);
        let node = move |(name, value): (&'a String, &'a Value)| {
            let at = Rc::new(Place::Member(Rc::clone(&before), name));
            (name.as_str(), Self { value, at })
        };
        Ok(self.map(what)?.iter().map(node))
    }

    pub(crate) fn items(
        &self,
        what: &str,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, Problem> {
        let items = self.value.as_array();
        let items = items
            .ok_or_else(|| self.problem(format!("{what} is {}, not a list", kind(self.value))))?;
        let before = Rc::clone(&self.at);
        let node = move |(index, value): (usize, &'a Value)| Self {
            value,
            at: Rc::new(Place::Item(Rc::clone(&before), index)),
        };
        Ok(items.iter().enumerate().map(node))
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

impl<'a> Spec<'a> {
    /// Takes a document that is one of OpenAPI 3.0 or 3.1.
    pub(crate) fn new(value: &'a Value) -> Result<Self, Problem> {
        let root = Node::starting(value, String::new());
        if value.get("swagger").is_some() {
            return Err(Problem::new(
                "/swagger",
                "this is Swagger 2.0: turn it into OpenAPI 3 first, e.g. with `npx swagger2openapi`",
            ));
        }
        let Some(version) = value.get("openapi") else {
            return Err(root.problem(
                "this is no OpenAPI document: it has no `openapi`, e.g. `openapi: 3.1.0`",
            ));
        };
        let Some(version) = version.as_str() else {
            return Err(Problem::new(
                "/openapi",
                format!(
                    "the version is {}: write it in quotes, e.g. \"3.1.0\"",
                    kind(version)
                ),
            ));
        };
        let is = |line: &str| version == line || version.starts_with(&format!("{line}."));
        if !is("3.0") && !is("3.1") {
            let version = name(version);
            return Err(Problem::new(
                "/openapi",
                format!("OpenAPI {version} is not read: only 3.0 and 3.1 are"),
            ));
        }
        Ok(Self {
            root,
            is_30: is("3.0"),
        })
    }

    /// What a reference leads to, however many there are in a row.
    pub(crate) fn resolve(&self, node: Node<'a>) -> Result<Node<'a>, Problem> {
        let mut found = node.clone();
        for _ in 0..=REFERENCES_MAX {
            let Some(target) = found.value.get("$ref") else {
                return Ok(found);
            };
            let Some(target) = target.as_str() else {
                return Err(found.problem("`$ref` is no text"));
            };
            found = self.follow(&found, target)?;
        }
        Err(node.problem(format!(
            "more than {REFERENCES_MAX} references one after the other, or a reference to itself"
        )))
    }

    /// What one reference leads to.
    pub(crate) fn follow(&self, from: &Node<'_>, target: &str) -> Result<Node<'a>, Problem> {
        let Some(fragment) = target.strip_prefix('#') else {
            return Err(from.problem(format!(
                "`$ref` leads outside of the file, to `{}`: bundle the files into one first, \
                 e.g. with `npx @redocly/cli bundle`",
                shown(target, 200)
            )));
        };
        let pointer = percent_decode_str(fragment).decode_utf8_lossy();
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(from.problem(format!(
                "`$ref` is `{}`, an anchor: write the place, e.g. `#/components/schemas/Order`",
                shown(target, 200)
            )));
        }
        let value = self.root.value.pointer(&pointer).ok_or_else(|| {
            from.problem(format!(
                "`$ref` leads to `{}`, and there is nothing",
                shown(target, 200)
            ))
        })?;
        Ok(Node::starting(value, pointer.into_owned()))
    }
}
