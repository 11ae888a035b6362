//! The members of one map of a file.

use std::time::Duration;

use super::Reader;
use crate::keys::Key;
use crate::problem::{Place, instead, shown};
use crate::template::{Template, template};
use crate::time;
use crate::yaml::{self, Kind, Node};

pub(super) struct Fields<'n> {
    pub(super) at: Place,
    members: &'n [(yaml::Key, Node)],
}

impl<'n> Fields<'n> {
    /// Notes what is unknown and what is missing.
    pub(super) fn of(node: &'n Node, what: &str, keys: &[Key], reader: &mut Reader<'_>) -> Self {
        let members = match &node.kind {
            Kind::Map(members) => members.as_slice(),
            _ => {
                let keys: Vec<String> = keys
                    .iter()
                    .take(4)
                    .map(|key| format!("`{}`", key.name))
                    .collect();
                let message = format!(
                    "{what} is a map with {}, …, and this is {}",
                    keys.join(", "),
                    node.what()
                );
                reader.problems.add(node.at, message);
                return Self {
                    at: node.at,
                    members: &[],
                };
            }
        };
        for (key, _) in members {
            if !keys.iter().any(|known| known.name == key.name) {
                let known = instead(&key.name, keys.iter().map(|key| key.name));
                let message = format!("there is no `{}` in {what}: {known}", shown(&key.name));
                reader.problems.add(key.at, message);
            }
        }
        for key in keys.iter().filter(|key| key.needed) {
            if !members.iter().any(|(found, _)| found.name == key.name) {
                reader
                    .problems
                    .add(node.at, format!("`{}` is missing in {what}", key.name));
            }
        }
        Self {
            at: node.at,
            members,
        }
    }

    pub(super) fn take(&self, name: &str) -> Option<&'n Node> {
        let found = self.members.iter().find(|(key, _)| key.name == name);
        found.map(|(_, node)| node)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.take(name).is_some()
    }

    /// Where a key's value stands.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.take(name).map(|node| node.at)
    }

    pub(super) fn text(&self, name: &str, reader: &mut Reader<'_>) -> Option<String> {
        let node = self.take(name)?;
        match &node.kind {
            Kind::Text(text, _) => Some(text.clone()),
            Kind::Number(number) if name != "id" => Some(number.to_string()),
            _ => {
                reader.problems.add(
                    node.at,
                    format!("`{name}` is a text, and this is {}", node.what()),
                );
                None
            }
        }
    }

    /// A text with expressions.
    pub(super) fn text_template(&self, name: &str, reader: &mut Reader<'_>) -> Option<Template> {
        let node = self.take(name)?;
        if !matches!(node.kind, Kind::Text(..) | Kind::Number(_)) {
            reader.problems.add(
                node.at,
                format!("`{name}` is a text, and this is {}", node.what()),
            );
            return None;
        }
        Some(template(reader.source, node, &mut reader.problems))
    }

    pub(super) fn template(&self, name: &str, reader: &mut Reader<'_>) -> Option<Template> {
        let node = self.take(name)?;
        Some(template(reader.source, node, &mut reader.problems))
    }

    /// A map, or one expression.
    pub(super) fn input(&self, reader: &mut Reader<'_>) -> Template {
        let Some(node) = self.take("with") else {
            return Template::Value(serde_json::json!({}));
        };
        let read = template(reader.source, node, &mut reader.problems);
        match (&node.kind, &read) {
            (Kind::Map(_), _) | (_, Template::Expression(_)) => {}
            _ => reader.problems.add(
                node.at,
                format!("`with` is a map, and this is {}", node.what()),
            ),
        }
        read
    }

    pub(super) fn count(&self, name: &str, most: u64, reader: &mut Reader<'_>) -> Option<u64> {
        let node = self.take(name)?;
        let count = node
            .value()
            .as_u64()
            .filter(|count| (1..=most).contains(count));
        if count.is_none() {
            let range = match most {
                1 => "1".to_owned(),
                u64::MAX => "a whole number from 1".to_owned(),
                most => format!("a whole number from 1 to {most}"),
            };
            reader.problems.add(node.at, format!("`{name}` is {range}"));
        }
        count
    }

    pub(super) fn duration(&self, name: &str, reader: &mut Reader<'_>) -> Option<Duration> {
        let node = self.take(name)?;
        let read = match &node.kind {
            Kind::Text(text, _) => time::duration(text),
            _ => Err(format!(
                "`{name}` is a duration, e.g. `90s`, and this is {}",
                node.what()
            )),
        };
        match read {
            Ok(read) if read.is_zero() && name != "for" && name != "backoff" => {
                reader
                    .problems
                    .add(node.at, format!("`{name}` is more than nothing"));
                None
            }
            Ok(read) => Some(read),
            Err(message) => {
                reader.problems.add(node.at, message);
                None
            }
        }
    }

    pub(super) fn word(
        &self,
        name: &str,
        words: &[&'static str],
        reader: &mut Reader<'_>,
    ) -> Option<&'static str> {
        word_of(self.take(name)?, words, reader)
    }

    pub(super) fn list(&self, name: &str, reader: &mut Reader<'_>) -> &'n [Node] {
        match self.take(name) {
            None => &[],
            Some(Node {
                kind: Kind::List(items),
                ..
            }) => items,
            Some(node) => {
                reader.problems.add(
                    node.at,
                    format!("`{name}` is a list, and this is {}", node.what()),
                );
                &[]
            }
        }
    }

    pub(super) fn map(&self, name: &str, reader: &mut Reader<'_>) -> &'n [(yaml::Key, Node)] {
        match self.take(name) {
            None => &[],
            Some(Node {
                kind: Kind::Map(members),
                ..
            }) => members,
            Some(node) => {
                reader.problems.add(
                    node.at,
                    format!("`{name}` is a map, and this is {}", node.what()),
                );
                &[]
            }
        }
    }

    /// A name, or a list of names.
    pub(super) fn names(&self, name: &str, reader: &mut Reader<'_>) -> Vec<(String, Place)> {
        let nodes = match self.take(name) {
            None => return Vec::new(),
            Some(Node {
                kind: Kind::List(items),
                ..
            }) => items.as_slice(),
            Some(node) => std::slice::from_ref(node),
        };
        let mut names = Vec::new();
        for node in nodes {
            match &node.kind {
                Kind::Text(name, _) => names.push((name.clone(), node.at)),
                _ => reader.problems.add(
                    node.at,
                    format!("a step's id is needed here, and this is {}", node.what()),
                ),
            }
        }
        names
    }
}

/// One of these words.
pub(super) fn word_of(
    node: &Node,
    words: &[&'static str],
    reader: &mut Reader<'_>,
) -> Option<&'static str> {
    let text = match &node.kind {
        Kind::Text(text, _) => text.clone(),
        _ => String::new(),
    };
    let found = words.iter().find(|word| **word == text).copied();
    if found.is_none() {
        let given = match text.is_empty() {
            true => node.what().to_owned(),
            false => format!("`{}`", shown(&text)),
        };
        let known = instead(&text, words.iter().copied());
        reader
            .problems
            .add(node.at, format!("{given} can't stand here: {known}"));
    }
    found
}
