//! What one version of a plugin is beyond another, for the administrator who
//! decides between them: what it asks for, and what its callers and the models
//! that choose between tools would see.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::GrantsVersion;
use crate::engine::{Manifest, ToolInfo, Want};
use crate::plugins::views::view;
use crate::plugins::{
    EffectsChange, EffectsView, SchemaChange, ToolChange, VersionChanges, claims,
};

/// What `after` is beyond `before`. `granted`: the grants that both stand under,
/// where they stay as they are.
pub(crate) fn version_changes(
    before: &Manifest,
    after: &Manifest,
    granted: Option<&GrantsVersion>,
) -> VersionChanges {
    let (old, new) = (claims(before), claims(after));
    let changed = |(tool, to): (&String, &EffectsView)| {
        let from = old.get(tool).filter(|from| *from != to)?;
        let granted = granted.filter(|granted| granted.grants.effects.contains_key(tool));
        let vouched = granted.is_some_and(|granted| granted.claims.get(tool) == Some(to));
        Some(EffectsChange {
            tool: tool.clone(),
            from: *from,
            to: *to,
            refused: granted.is_some() && !vouched,
            vouched,
        })
    };
    let same = |a: &Want, b: &Want| a.capability == b.capability && a.scope == b.scope;
    let new_want = |want: &&Want| !before.wants.iter().any(|old| same(old, want));
    VersionChanges {
        new_wants: after
            .wants
            .iter()
            .filter(new_want)
            .map(|want| view(want, false))
            .collect(),
        new_capabilities: beyond(&before.capabilities, &after.capabilities),
        new_tools: keys_beyond(&old, &new),
        removed_tools: keys_beyond(&new, &old),
        changed_effects: new.iter().filter_map(changed).collect(),
        changed_tools: changed_tools(before, after),
    }
}

fn changed_tools(before: &Manifest, after: &Manifest) -> Vec<ToolChange> {
    let old: BTreeMap<&str, &ToolInfo> = before
        .tools
        .iter()
        .map(|tool| (tool.name.as_str(), tool))
        .collect();
    let mut changes: Vec<ToolChange> = after
        .tools
        .iter()
        .filter_map(|tool| tool_change(old.get(tool.name.as_str())?, tool))
        .collect();
    if let (Some(old), Some(new)) = (&before.agent, &after.agent) {
        let change = ToolChange {
            tool: String::new(),
            description: other(&old.description, &new.description),
            input: schema_change(&old.input_schema, &new.input_schema),
            output: None,
        };
        changes.extend(change.says_something().then_some(change));
    }
    changes
}

fn tool_change(old: &ToolInfo, new: &ToolInfo) -> Option<ToolChange> {
    let nothing = Value::Null;
    let output = |tool: &ToolInfo| tool.output_schema.clone().unwrap_or_default();
    let (before, after) = (output(old), output(new));
    let change = ToolChange {
        tool: new.name.clone(),
        description: other(&old.description, &new.description),
        input: schema_change(&old.input_schema, &new.input_schema),
        // A schema that is told for the first time takes nothing from anybody.
        output: match before == nothing {
            true => None,
            false => schema_change(&before, &after),
        },
    };
    change.says_something().then_some(change)
}

fn other(old: &str, new: &str) -> Option<String> {
    (old != new).then(|| new.to_owned())
}

/// How an object's schema differs, member by member.
fn schema_change(old: &Value, new: &Value) -> Option<SchemaChange> {
    if old == new {
        return None;
    }
    let (before, after) = (members(old), members(new));
    let differs = |name: &&String| before.get(*name).is_some_and(|old| old != &after[*name]);
    let needed = |schema: &Value, name: &str| {
        let required = schema["required"].as_array().into_iter().flatten();
        required.into_iter().any(|required| required == name)
    };
    let newly = |name: &&String| needed(new, name) && !needed(old, name);
    Some(SchemaChange {
        required: after.keys().filter(newly).cloned().collect(),
        added: keys_beyond(&before, &after),
        removed: keys_beyond(&after, &before),
        changed: after.keys().filter(differs).cloned().collect(),
    })
}

fn members(schema: &Value) -> BTreeMap<String, Value> {
    let members = schema["properties"].as_object().into_iter().flatten();
    members
        .map(|(name, member)| (name.clone(), member.clone()))
        .collect()
}

fn beyond(before: &[String], after: &[String]) -> Vec<String> {
    after
        .iter()
        .filter(|name| !before.contains(name))
        .cloned()
        .collect()
}

fn keys_beyond<T>(before: &BTreeMap<String, T>, after: &BTreeMap<String, T>) -> Vec<String> {
    after
        .keys()
        .filter(|name| !before.contains_key(*name))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_that_changed_says_where() {
        let base =
            json!({ "properties": { "a": { "type": "string" }, "b": {} }, "required": ["a"] });
        let table = [
            (base.clone(), None),
            (
                json!({ "properties": { "a": { "type": "string" }, "b": {}, "c": {} }, "required": ["a", "c"] }),
                Some("needs c; takes c"),
            ),
            (
                json!({ "properties": { "a": { "type": "integer" } }, "required": [] }),
                Some("no longer takes b; other a"),
            ),
            (
                json!({ "properties": { "a": { "type": "string" }, "b": {} }, "required": ["a", "b"] }),
                Some("needs b"),
            ),
            (
                json!({ "properties": { "a": { "type": "string" }, "b": {} }, "required": ["a"], "additionalProperties": false }),
                Some("changed"),
            ),
        ];
        for (new, expect) in table {
            let said = schema_change(&base, &new).map(|change| change.to_string());
            assert_eq!(said.as_deref(), expect, "{new}");
        }
    }
}
