//! What a policy changes, rule by rule, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use airlock_sandbox::{Grants, Limits};
use serde_json::Value;

use crate::grants::{Descriptions, GrantsVersion};
use crate::plugins::{EffectsView, VersionChanges, WantView};
use crate::policy::{Change, ChangeKind, PluginDiff, PolicyDiff, PolicyPlugin};

/// What an administrator set for a plugin, before or after.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) grants: &'a Grants,
    pub(crate) limits: &'a Limits,
    pub(crate) descriptions: &'a Descriptions,
}

impl<'a> From<&'a GrantsVersion> for Side<'a> {
    fn from(version: &'a GrantsVersion) -> Self {
        Self {
            grants: &version.grants,
            limits: &version.limits,
            descriptions: &version.descriptions,
        }
    }
}

impl<'a> From<&'a PolicyPlugin> for Side<'a> {
    fn from(plugin: &'a PolicyPlugin) -> Self {
        Self {
            grants: &plugin.grants,
            limits: &plugin.limits,
            descriptions: &plugin.descriptions,
        }
    }
}

/// Changed lines from one side to the other.
pub(crate) fn changes(before: Side<'_>, after: Side<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    let (old, new) = (object(before.grants), object(after.grants));
    for name in union(&old, &new) {
        let path = format!("grants.{name}");
        match (old.get(&name), new.get(&name)) {
            (Some(Value::Object(_)), _) | (_, Some(Value::Object(_))) => {
                let members =
                    |all: &BTreeMap<String, Value>| all.get(&name).map(map).unwrap_or_default();
                values(&path, &members(&old), &members(&new), &mut changes);
            }
            (old, new) => rules(&path, &items(old), &items(new), &mut changes),
        }
    }
    let (old, new) = (object(before.limits), object(after.limits));
    values("limits", &old, &new, &mut changes);
    let (old, new) = (object(before.descriptions), object(after.descriptions));
    values("descriptions", &old, &new, &mut changes);
    changes
}

fn object(value: &impl serde::Serialize) -> BTreeMap<String, Value> {
    map(&serde_json::to_value(value).unwrap_or_default())
}

fn map(value: &Value) -> BTreeMap<String, Value> {
    let members = value.as_object().into_iter().flatten();
    members
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn items(rules: Option<&Value>) -> Vec<Value> {
    rules.and_then(Value::as_array).cloned().unwrap_or_default()
}

fn union(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Vec<String> {
    let mut names: Vec<String> = a.keys().chain(b.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Rules have no names: those of one side only are removed or added. Those of both
/// may stand in another order, which decides where several cover an operation.
fn rules(path: &str, old: &[Value], new: &[Value], changes: &mut Vec<Change>) {
    let change = |kind, rule: &Value| {
        let text = Some(rule.to_string());
        let (from, to) = match kind {
            ChangeKind::Added => (None, text),
            _ => (text, None),
        };
        Change {
            kind,
            path: path.to_owned(),
            from,
            to,
        }
    };
    for rule in old.iter().filter(|rule| !new.contains(rule)) {
        changes.push(change(ChangeKind::Removed, rule));
    }
    for rule in new.iter().filter(|rule| !old.contains(rule)) {
        changes.push(change(ChangeKind::Added, rule));
    }
    let of_both = |these: &[Value], others: &[Value]| -> Vec<Value> {
        let both = these.iter().filter(|rule| others.contains(rule));
        both.cloned().collect()
    };
    let (before, after) = (of_both(old, new), of_both(new, old));
    if before != after {
        changes.push(Change {
            kind: ChangeKind::Changed,
            path: path.to_owned(),
            from: Some(Value::from(before).to_string()),
            to: Some(Value::from(after).to_string()),
        });
    }
}

fn values(
    path: &str,
    old: &BTreeMap<String, Value>,
    new: &BTreeMap<String, Value>,
    changes: &mut Vec<Change>,
) {
    // One line each, whatever a description holds.
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), |text| text.replace('\n', "\\n"))
    };
    for name in union(old, new) {
        let (from, to) = (old.get(&name).map(text), new.get(&name).map(text));
        let kind = match (&from, &to) {
            (from, to) if from == to => continue,
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let path = format!("{path}.{name}");
        changes.push(Change {
            kind,
            path,
            from,
            to,
        });
    }
}

impl PolicyDiff {
    /// Whether applying the policy would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plugins.iter().all(PluginDiff::is_empty)
    }
}

impl PluginDiff {
    /// Whether nothing of this plugin would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.digest_now == self.digest_after && !self.missing
    }
}

impl fmt::Display for PolicyDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for plugin in self.plugins.iter().filter(|plugin| !plugin.is_empty()) {
            write!(f, "{plugin}")?;
        }
        let same = self
            .plugins
            .iter()
            .filter(|plugin| plugin.is_empty())
            .count();
        if same > 0 {
            writeln!(f, "{same} unchanged")?;
        }
        if !self.unnamed.is_empty() {
            writeln!(
                f,
                "not in the policy, left as they are: {}",
                self.unnamed.join(", ")
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for PluginDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.plugin)?;
        let digest = |digest: &Option<String>| digest.clone().unwrap_or_else(|| "none".to_owned());
        if self.missing {
            writeln!(
                f,
                "  ! component {} is not installed",
                digest(&self.digest_after)
            )?;
        } else if self.digest_now != self.digest_after {
            let (now, after) = (digest(&self.digest_now), digest(&self.digest_after));
            let back = match self.downgrade {
                true => ", which was installed before it",
                false => "",
            };
            writeln!(f, "  ~ component {now} -> {after}{back}")?;
        }
        write!(f, "{}", self.version_changes)?;
        for change in &self.changes {
            let (from, to) = (change.from.as_deref(), change.to.as_deref());
            match change.kind {
                ChangeKind::Added => writeln!(f, "  + {} {}", change.path, to.unwrap_or_default())?,
                ChangeKind::Removed => {
                    writeln!(f, "  - {} {}", change.path, from.unwrap_or_default())?
                }
                ChangeKind::Changed => {
                    let (from, to) = (from.unwrap_or_default(), to.unwrap_or_default());
                    writeln!(f, "  ~ {} {from} -> {to}", change.path)?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for VersionChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for WantView {
            capability,
            scope,
            reason,
            ..
        } in &self.new_wants
        {
            let (scope, reason) = (one_line(scope), one_line(reason));
            writeln!(f, "  ? newly asks for {capability} {scope}: {reason}")?;
        }
        for capability in &self.new_capabilities {
            writeln!(f, "  ? newly imports {capability}")?;
        }
        for tool in &self.new_tools {
            writeln!(f, "  ? new tool {tool}")?;
        }
        for tool in &self.removed_tools {
            writeln!(f, "  ? lacks tool {tool}")?;
        }
        for change in &self.changed_effects {
            let (from, to) = (effects(&change.from), effects(&change.to));
            writeln!(
                f,
                "  ? {} claims other effects: {from} -> {to}",
                change.tool
            )?;
        }
        for change in &self.changed_tools {
            let tool = match change.tool.as_str() {
                "" => "the agent",
                tool => tool,
            };
            if let Some(description) = &change.description {
                let description = one_line(description);
                writeln!(f, "  ? {tool} says of itself now: {description}")?;
            }
            for (what, schema) in [("input", &change.input), ("output", &change.output)] {
                if let Some(schema) = schema {
                    writeln!(f, "  ? {tool} has another {what}: {schema}")?;
                }
            }
        }
        Ok(())
    }
}

/// A component's text, without what could make a line that looks like ours.
fn one_line(text: &str) -> String {
    let escaped = |c: char| match airlock_text::is_hidden(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

fn effects(view: &EffectsView) -> String {
    let all = [
        (view.read_only, "read-only"),
        (view.idempotent, "idempotent"),
        (view.destructive, "destructive"),
        (view.open_world, "open-world"),
    ];
    let named: Vec<&str> = all
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| *name)
        .collect();
    match named.is_empty() {
        true => "plain".to_owned(),
        false => named.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::EffectsChange;
    use expect_test::expect;

    fn side(text: &str) -> PolicyPlugin {
        let policy = crate::policy::Policy::parse(text).expect("a policy");
        policy.plugins["p"].clone()
    }

    #[test]
    fn a_diff_names_rules_classes_and_limits() {
        let before = side(
            "[plugins.p]\n[plugins.p.grants]\nenv = [{ name = \"A\", value = \"1\" }, { name = \"B\", value = \"2\" }]\neffects = { list = \"read-only\", put = \"plain\" }\n[plugins.p.limits]\nrate = \"5/s\"\n[plugins.p.descriptions]\nput = \"Puts.\"\n",
        );
        let after = side(
            "[plugins.p]\n[plugins.p.grants]\nenv = [{ name = \"B\", value = \"2\" }, { name = \"C\", value = \"3\" }]\neffects = { list = \"plain\" }\n[plugins.p.limits]\ncpu = \"2s\"\n[plugins.p.descriptions]\nlist = \"Lists.\"\n",
        );
        let diff = PluginDiff {
            plugin: "p".to_owned(),
            digest_now: Some("sha256:1".to_owned()),
            digest_after: Some("sha256:2".to_owned()),
            missing: false,
            downgrade: true,
            grants_version_now: 0,
            version_changes: VersionChanges::default(),
            changes: changes((&before).into(), (&after).into()),
        };
        expect![[r#"
            p
              ~ component sha256:1 -> sha256:2, which was installed before it
              ~ grants.effects.list read-only -> plain
              - grants.effects.put plain
              - grants.env {"name":"A","value":"1"}
              + grants.env {"name":"C","value":"3"}
              ~ limits.cpu 500ms -> 2s
              ~ limits.rate 5/s -> 60000/min
              + descriptions.list Lists.
              - descriptions.put Puts.
        "#]]
        .assert_eq(&diff.to_string());
        let same = changes((&after).into(), (&after).into());
        assert_eq!(same, []);
        let mut whole = PolicyDiff {
            plugins: vec![diff],
            unnamed: Vec::new(),
        };
        assert!(!whole.is_empty());
        let shown = whole.plugins[0].to_string();
        assert_eq!(whole.to_string(), shown);
        let unchanged = &mut whole.plugins[0];
        unchanged.digest_after = unchanged.digest_now.clone();
        unchanged.changes.clear();
        assert!(whole.is_empty());
        whole.unnamed.extend(["a".to_owned(), "b".to_owned()]);
        expect![[r#"
            1 unchanged
            not in the policy, left as they are: a, b
        "#]]
        .assert_eq(&whole.to_string());
    }

    #[test]
    fn another_component_shows_what_it_asks_for_and_claims() {
        let claims = |read_only: bool, idempotent: bool| EffectsView {
            read_only,
            idempotent,
            destructive: false,
            open_world: read_only,
        };
        let changes = VersionChanges {
            new_wants: vec![WantView {
                capability: "kv".to_owned(),
                scope: "{ bucket = \"b\" }".to_owned(),
                reason: "to remember".to_owned(),
                optional: false,
                granted: false,
            }],
            new_capabilities: vec!["http".to_owned()],
            new_tools: vec!["put".to_owned()],
            removed_tools: vec!["get".to_owned()],
            changed_effects: vec![EffectsChange {
                tool: "list".to_owned(),
                from: claims(true, true),
                to: claims(false, false),
                refused: false,
                vouched: false,
            }],
            changed_tools: vec![crate::plugins::ToolChange {
                tool: "list".to_owned(),
                description: Some("Lists.\n  ? new tool forged".to_owned()),
                input: Some(crate::plugins::SchemaChange {
                    required: vec!["path".to_owned()],
                    ..Default::default()
                }),
                output: None,
            }],
        };
        expect![[r#"
            p
              ? newly asks for kv { bucket = "b" }: to remember
              ? newly imports http
              ? new tool put
              ? lacks tool get
              ? list claims other effects: read-only idempotent open-world -> plain
              ? list says of itself now: Lists.\n  ? new tool forged
              ? list has another input: needs path
        "#]]
        .assert_eq(&format!("p\n{changes}"));
    }

    /// Of rules that cover the same, the first decides.
    #[test]
    fn another_order_is_a_change() {
        let rules = |names: &[&str]| {
            let rule = |name: &&str| format!("{{ tool = \"{name}\" }}");
            let rules: Vec<String> = names.iter().map(rule).collect();
            side(&format!(
                "[plugins.p.grants]\ntools = [{}]",
                rules.join(", ")
            ))
        };
        let lines = |before: &[&str], after: &[&str]| -> Vec<String> {
            let found = changes((&rules(before)).into(), (&rules(after)).into());
            let line = |change: &Change| format!("{:?} {}", change.kind, change.path);
            found.iter().map(line).collect()
        };
        let (one, all) = ("a/one", "a/*");
        assert_eq!(lines(&[one, all], &[all, one]), ["Changed grants.tools"]);
        assert_eq!(
            lines(&[one, all], &[one, "b/x", all]),
            ["Added grants.tools"]
        );
        assert_eq!(
            lines(&[one, "b/x", all], &[one, all]),
            ["Removed grants.tools"]
        );
        assert_eq!(lines(&[one, all], &[one, all]), [""; 0]);
    }
}
