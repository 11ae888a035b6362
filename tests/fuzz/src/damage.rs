//! Damage to valid input, as proptest can make and shrink it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};

/// Some edits of bytes.
#[derive(Debug, Clone)]
pub struct ByteDamage(Vec<Edit<u8>>);

/// Some edits of a text, by characters.
#[derive(Debug, Clone)]
pub struct TextDamage(Vec<Edit<char>>);

/// Some edits of a JSON value, each of one of its nodes.
#[derive(Debug, Clone)]
pub struct JsonDamage(Vec<(Index, NodeEdit)>);

#[derive(Debug, Clone)]
enum Edit<T> {
    Set(Index, T),
    Insert(Index, Vec<T>),
    Remove(Index, usize),
    /// Copies some to another place.
    Copy(Index, usize, Index),
    Cut(Index),
}

#[derive(Debug, Clone)]
enum NodeEdit {
    Replace(Value),
    Rename(Index, String),
    Remove(Index),
    Add(String, Value),
    /// Puts the value into itself, some levels deep.
    Nest(usize),
}

/// 1 to 6 edits of bytes.
pub fn byte_damage() -> impl Strategy<Value = ByteDamage> {
    let telling = select(vec![0x00, 0x01, 0x7f, 0x80, 0xff]);
    let byte = prop_oneof![any::<u8>(), telling];
    vec(edit(byte), 1..=6).prop_map(ByteDamage)
}

/// 1 to 6 edits of a text.
pub fn text_damage() -> impl Strategy<Value = TextDamage> {
    let telling = select(
        "\"'{}[]=,.:-+*/\\#%@\n\t\0 0aé\u{202e}"
            .chars()
            .collect::<Vec<_>>(),
    );
    let one = prop_oneof![3 => telling, 1 => any::<char>()];
    vec(edit(one), 1..=6).prop_map(TextDamage)
}

/// 1 to 4 edits of a JSON value.
pub fn json_damage() -> impl Strategy<Value = JsonDamage> {
    vec((any::<Index>(), node_edit()), 1..=4).prop_map(JsonDamage)
}

fn edit<T: Clone + std::fmt::Debug + 'static>(
    one: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = Edit<T>> {
    let at = any::<Index>;
    prop_oneof![
        6 => (at(), one.clone()).prop_map(|(at, one)| Edit::Set(at, one)),
        2 => (at(), vec(one, 1..8)).prop_map(|(at, all)| Edit::Insert(at, all)),
        2 => (at(), 1..16_usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        1 => (at(), 1..64_usize, at()).prop_map(|(from, len, to)| Edit::Copy(from, len, to)),
        1 => at().prop_map(Edit::Cut),
    ]
}

fn node_edit() -> impl Strategy<Value = NodeEdit> {
    let word = || {
        select(vec![
            "",
            "name",
            "plugin",
            "grants",
            "a",
            "\0",
            "__proto__",
            "é",
        ])
    };
    let word = move || prop_oneof![word().prop_map(str::to_owned), ".{0,12}"];
    prop_oneof![
        4 => any_value().prop_map(NodeEdit::Replace),
        1 => (any::<Index>(), word()).prop_map(|(at, name)| NodeEdit::Rename(at, name)),
        1 => any::<Index>().prop_map(NodeEdit::Remove),
        1 => (word(), any_value()).prop_map(|(name, value)| NodeEdit::Add(name, value)),
        1 => (1..200_usize).prop_map(NodeEdit::Nest),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let telling = select(vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(0.5),
        json!(""),
        json!([]),
        json!({}),
        json!("x".repeat(5_000)),
    ]);
    prop_oneof![
        3 => telling,
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        2 => ".{0,20}".prop_map(Value::from),
        1 => vec(any::<u8>().prop_map(Value::from), 0..4).prop_map(Value::from),
    ]
}

impl ByteDamage {
    /// The bytes with the damage.
    #[must_use]
    pub fn to(&self, bytes: &[u8]) -> Vec<u8> {
        damaged(bytes.to_vec(), &self.0)
    }
}

impl TextDamage {
    /// The text with the damage.
    #[must_use]
    pub fn to(&self, text: &str) -> String {
        damaged(text.chars().collect(), &self.0)
            .into_iter()
            .collect()
    }
}

impl JsonDamage {
    /// The value with the damage.
    #[must_use]
    pub fn to(&self, value: &Value) -> Value {
        let mut value = value.clone();
        for (at, edit) in &self.0 {
            let mut left = at.index(count(&value));
            edit_node(&mut value, &mut left, edit);
        }
        value
    }
}

fn damaged<T: Clone>(mut all: Vec<T>, edits: &[Edit<T>]) -> Vec<T> {
    for edit in edits {
        if all.is_empty() {
            break;
        }
        let len = all.len();
        match edit {
            Edit::Set(at, one) => all[at.index(len)] = one.clone(),
            Edit::Insert(at, more) => {
                let at = at.index(len);
                drop(all.splice(at..at, more.iter().cloned()));
            }
            Edit::Remove(at, many) => {
                let at = at.index(len);
                drop(all.drain(at..len.min(at + many)));
            }
            Edit::Copy(from, many, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let copied = all[from..len.min(from + many)].to_vec();
                drop(all.splice(to..to, copied));
            }
            Edit::Cut(at) => all.truncate(at.index(len)),
        }
    }
    all
}

/// How many nodes a value has, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Edits the node that `left` steps lead to; `true` when it was found.
fn edit_node(value: &mut Value, left: &mut usize, edit: &NodeEdit) -> bool {
    if *left == 0 {
        apply(value, edit);
        return true;
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|item| edit_node(item, left, edit)),
        Value::Object(members) => members
            .values_mut()
            .any(|member| edit_node(member, left, edit)),
        _ => false,
    }
}

fn apply(value: &mut Value, edit: &NodeEdit) {
    match (edit, &mut *value) {
        (NodeEdit::Nest(depth), _) => {
            let inner = value.take();
            *value = (0..*depth).fold(inner, |inner, _| json!([inner]));
        }
        (NodeEdit::Rename(at, name), Value::Object(members)) if !members.is_empty() => {
            let key = key(members, *at);
            let moved = members.remove(&key).unwrap_or_default();
            members.insert(name.clone(), moved);
        }
        (NodeEdit::Remove(at), Value::Object(members)) if !members.is_empty() => {
            members.remove(&key(members, *at));
        }
        (NodeEdit::Remove(at), Value::Array(items)) if !items.is_empty() => {
            items.remove(at.index(items.len()));
        }
        (NodeEdit::Add(name, more), Value::Object(members)) => {
            members.insert(name.clone(), more.clone());
        }
        (NodeEdit::Add(_, more), Value::Array(items)) => items.push(more.clone()),
        (NodeEdit::Replace(other), _) => *value = other.clone(),
        (NodeEdit::Rename(..) | NodeEdit::Remove(_) | NodeEdit::Add(..), _) => *value = Value::Null,
    }
}

fn key(members: &Map<String, Value>, at: Index) -> String {
    let keys: Vec<&String> = members.keys().collect();
    keys[at.index(keys.len())].clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest! {
        #![proptest_config(crate::cases(200))]

        #[test]
        fn damage_is_damage(bytes in byte_damage(), text in text_damage(), tree in json_damage()) {
            let (valid, value) = ([7; 300], json!({ "a": [1, { "b": "c" }], "d": null }));
            prop_assert!(bytes.to(&valid).len() < 1_000);
            prop_assert!(text.to("plain text").chars().count() < 1_000);
            prop_assert!(count(&tree.to(&value)) < 1_000);
        }
    }

    #[test]
    fn every_node_is_reached() {
        let value = json!({ "a": [1, { "b": "c" }], "d": null });
        let reached = (0..count(&value)).filter(|at| {
            let mut left = *at;
            edit_node(
                &mut value.clone(),
                &mut left,
                &NodeEdit::Replace(json!("x")),
            )
        });
        assert_eq!(reached.count(), 6);
    }
}
