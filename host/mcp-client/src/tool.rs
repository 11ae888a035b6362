//! What a server says of its tools, judged: it wrote that, and nobody vouches for
//! it.
//!
//! What must stay true: a list that is taken is bounded, its names can be shown and
//! none is there twice, its schemas are of objects and refer to nothing outside;
//! the hash of a tool changes with everything that a caller or a model reads of it.

use std::collections::{BTreeMap, BTreeSet};

use airlock_models::Schema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{TOOLS_MAX, text};

/// Longest name, title and description, bytes.
const NAME_BYTES_MAX: usize = 128;
const TITLE_BYTES_MAX: usize = 128;
const DESCRIPTION_BYTES_MAX: usize = 8 << 10;
/// Largest schema, bytes, and its deepest nesting.
const SCHEMA_BYTES_MAX: usize = 64 << 10;
const SCHEMA_DEPTH_MAX: usize = 64;
/// Longest name of a tool within Airlock, bytes.
const OWN_NAME_BYTES_MAX: usize = 64;

/// What to do about one tool that can't be taken.
const WITHOUT_IT: &str = "to leave it out, name those that are wanted in `tools` (--tool)";

/// A tool as its server describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tool {
    /// The server's name for it.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For those who choose between tools.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// JSON Schema of its arguments.
    pub input_schema: Value,
    /// JSON Schema of its structured result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What it claims.
    #[serde(default)]
    pub annotations: Annotations,
}

/// What a tool claims to do. Absent is no claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Annotations {
    /// It changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// It may delete or overwrite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// Twice is the same as once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// It reaches other systems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// As it is listed; members that are not named here are nobody's business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    title: Option<String>,
    description: Option<String>,
    input_schema: Value,
    output_schema: Option<Value>,
    annotations: Option<ListedAnnotations>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedAnnotations {
    title: Option<String>,
    #[serde(flatten)]
    claims: Annotations,
}

impl Tool {
    /// Its name within Airlock: as it is where that is one, else lower case, with
    /// `_` for what may not stand in a name.
    #[must_use]
    pub fn own_name(&self) -> String {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        let lower = |c: char| c.to_ascii_lowercase();
        let mut own: String = self
            .name
            .chars()
            .map(|c| if allowed(lower(c)) { lower(c) } else { '_' })
            .collect();
        if !own.starts_with(|c: char| c.is_ascii_lowercase()) {
            own.insert_str(0, "t_");
        }
        own.truncate(OWN_NAME_BYTES_MAX);
        own
    }

    /// The hash of all that is read of it, hexadecimal.
    #[must_use]
    pub fn hash(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        let hash = Sha256::digest(canonical(&value).to_string());
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// With the members of each object in order.
pub(crate) fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            let sorted = sorted.into_iter();
            Value::Object(
                sorted
                    .map(|(name, value)| (name.clone(), canonical(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}

/// Judges a whole list: in the order of names, of those that are `wanted`.
///
/// # Errors
/// The first tool that can't be taken, and why.
pub(crate) fn judge(
    listed: Vec<Value>,
    wanted: Option<&BTreeSet<String>>,
) -> Result<Vec<Tool>, String> {
    if listed.len() > TOOLS_MAX {
        return Err(format!("it lists more than {TOOLS_MAX} tools"));
    }
    let is_wanted = |value: &Value| {
        let name = value["name"].as_str();
        wanted.is_none_or(|wanted| name.is_none_or(|name| wanted.contains(name)))
    };
    let mut tools = Vec::new();
    for (index, value) in listed
        .into_iter()
        .enumerate()
        .filter(|(_, value)| is_wanted(value))
    {
        let shown = text::line(value["name"].as_str().unwrap_or("without a name"));
        let tool = one(value)
            .map_err(|error| format!("tool {index} (`{shown}`): {error}; {WITHOUT_IT}"))?;
        tools.push(tool);
    }
    tools.sort_by(|a, b| a.name.cmp(&b.name));
    check_names(&tools).map_err(|error| format!("{error}; {WITHOUT_IT}"))?;
    if tools.is_empty() {
        check_all(&tools, wanted)?;
        return Err("it lists no tools".to_owned());
    }
    Ok(tools)
}

/// Whether all that are `wanted` are there, which is asked when they are pinned: later
/// one that is gone keeps no other from being called.
///
/// # Errors
/// The first that is not.
pub(crate) fn check_all(tools: &[Tool], wanted: Option<&BTreeSet<String>>) -> Result<(), String> {
    let missing = |name: &&String| !tools.iter().any(|tool| tool.name == **name);
    match wanted.into_iter().flatten().find(missing) {
        Some(missing) => Err(format!("it lists no tool `{}`", text::line(missing))),
        None => Ok(()),
    }
}

/// Whether tools that were read back from where they were pinned are what
/// [`judge`] gives.
///
/// # Errors
/// The first that is not.
pub(crate) fn recheck(tools: &[Tool]) -> Result<(), String> {
    if tools.is_empty() || tools.len() > TOOLS_MAX {
        return Err(format!(
            "it has {} tools, 1 to {TOOLS_MAX} are taken",
            tools.len()
        ));
    }
    for tool in tools {
        check(tool).map_err(|error| format!("tool `{}`: {error}", text::line(&tool.name)))?;
    }
    check_names(tools)
}

fn check_names(tools: &[Tool]) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for tool in tools {
        if let Some(other) = seen.insert(tool.own_name(), &tool.name) {
            return Err(format!(
                "two tools would be named `{}` here (`{other}` and `{}`)",
                tool.own_name(),
                tool.name
            ));
        }
    }
    Ok(())
}

fn one(value: Value) -> Result<Tool, String> {
    let listed: Listed = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let annotations = listed.annotations.unwrap_or_default();
    let tool = Tool {
        name: listed.name,
        title: listed.title.or(annotations.title),
        description: listed.description.unwrap_or_default(),
        input_schema: listed.input_schema,
        output_schema: listed.output_schema,
        annotations: annotations.claims,
    };
    check(&tool)?;
    Ok(tool)
}

fn check(tool: &Tool) -> Result<(), String> {
    let shown = text::is_plain(&tool.name) && !tool.name.contains(char::is_control);
    if !shown || !(1..=NAME_BYTES_MAX).contains(&tool.name.len()) {
        return Err(format!(
            "a name has 1 to {NAME_BYTES_MAX} bytes, of characters that are seen"
        ));
    }
    let title = tool.title.as_deref().unwrap_or_default();
    let texts = [
        ("title", title, TITLE_BYTES_MAX),
        ("description", &tool.description, DESCRIPTION_BYTES_MAX),
    ];
    for (what, text, bytes_max) in texts {
        if text.len() > bytes_max {
            return Err(format!("its {what} has more than {bytes_max} bytes"));
        }
        if !text::is_plain(text) {
            return Err(format!(
                "its {what} holds characters that are not seen or reorder others: {}",
                text::line(text)
            ));
        }
    }
    schema(&tool.input_schema).map_err(|error| format!("its input schema {error}"))?;
    if let Some(output) = &tool.output_schema {
        schema(output).map_err(|error| format!("its output schema {error}"))?;
        // What can't be checked would let everything through.
        Schema::compile(&output.to_string()).map_err(|error| {
            format!("its output schema can't be checked: {}", text::line(&error))
        })?;
    }
    Ok(())
}

/// A schema of an object, small, that refers to nothing outside itself.
fn schema(schema: &Value) -> Result<(), String> {
    let members: &Map<String, Value> = schema.as_object().ok_or("is no JSON object")?;
    if members.get("type") != Some(&Value::from("object")) {
        return Err("does not say `\"type\": \"object\"`".to_owned());
    }
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        return Err(format!("has more than {SCHEMA_BYTES_MAX} bytes"));
    }
    walk(schema, SCHEMA_DEPTH_MAX)
}

fn walk(value: &Value, depth: usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("is nested deeper than {SCHEMA_DEPTH_MAX}"));
    };
    match value {
        Value::Object(members) => {
            for keyword in ["$ref", "$dynamicRef"] {
                let target = members.get(keyword).and_then(Value::as_str);
                if let Some(target) = target.filter(|target| !target.starts_with('#')) {
                    return Err(format!(
                        "refers outside itself, to `{}`",
                        text::line(target)
                    ));
                }
            }
            if let Some(name) = members.keys().find(|name| !text::is_plain(name)) {
                return Err(format!("names what can't be seen: `{}`", text::line(name)));
            }
            members.values().try_for_each(|value| walk(value, depth))
        }
        Value::Array(items) => items.iter().try_for_each(|value| walk(value, depth)),
        Value::String(text) if !text::is_plain(text) => {
            Err(format!("holds what can't be seen: `{}`", text::line(text)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str) -> Value {
        json!({ "name": name, "inputSchema": { "type": "object" } })
    }

    fn with(member: &str, value: Value) -> Value {
        let mut tool = tool("a");
        tool[member] = value;
        tool
    }

    #[test]
    fn a_list_is_taken_whole_or_not_at_all() {
        let mut deep = json!({});
        for _ in 0..100 {
            deep = json!({ "properties": deep });
        }
        deep["type"] = json!("object");
        let many: Vec<Value> = (0..300).map(|n| tool(&format!("t{n}"))).collect();
        let table = [
            (vec![tool("b"), tool("a.B/c")], Ok("a_b_c,b")),
            (
                vec![tool("Get Issue"), tool("größe"), tool("查询"), tool(" x")],
                Ok("t__x,get_issue,gr__e,t___"),
            ),
            (
                vec![tool("get issue"), tool("get_issue")],
                Err(
                    "would be named `get_issue` here (`get issue` and `get_issue`); to leave it out",
                ),
            ),
            (
                vec![tool("größe"), tool("grüße")],
                Err("two tools would be named `gr__e`"),
            ),
            (vec![tool("a\tb")], Err("`a\\u{9}b`): a name has")),
            (vec![tool("a\u{200d}b")], Err("characters that are seen")),
            (
                vec![tool(&"é".repeat(65))],
                Err("a name has 1 to 128 bytes"),
            ),
            (
                vec![
                    tool("b"),
                    with("description", json!("\u{1f469}\u{200d}\u{1f4bb}")),
                ],
                Err("in `tools` (--tool)"),
            ),
            (vec![with("description", json!("two\nlines"))], Ok("a")),
            (vec![with("_meta", json!({ "x": 1 }))], Ok("a")),
            (vec![], Err("no tools")),
            (many, Err("more than 256 tools")),
            (vec![tool("")], Err("characters that are seen")),
            (vec![tool("a\nb")], Err("`a\\u{a}b`): a name has")),
            (vec![tool("a\u{202e}")], Err("characters that are seen")),
            (vec![tool("а")], Ok("t__")),
            (
                vec![tool(&"a".repeat(129))],
                Err("characters that are seen"),
            ),
            (
                vec![tool("a"), tool("a")],
                Err("two tools would be named `a`"),
            ),
            (
                vec![tool("getIt"), tool("getit")],
                Err("two tools would be named `getit`"),
            ),
            (vec![json!({ "name": 1 })], Err("without a name")),
            (vec![json!({ "name": "a" })], Err("inputSchema")),
            (vec![json!("a")], Err("invalid type")),
            (
                vec![with("inputSchema", json!({ "type": "string" }))],
                Err("does not say"),
            ),
            (vec![with("inputSchema", json!([]))], Err("no JSON object")),
            (vec![with("inputSchema", deep)], Err("deeper than 64")),
            (
                vec![with(
                    "inputSchema",
                    json!({ "type": "object", "x": "y".repeat(70_000) }),
                )],
                Err("more than 65536 bytes"),
            ),
            (
                vec![with(
                    "inputSchema",
                    json!({ "type": "object", "$ref": "https://a.test/s" }),
                )],
                Err("refers outside"),
            ),
            (
                vec![with(
                    "inputSchema",
                    json!({ "type": "object", "description": "a\u{200b}b" }),
                )],
                Err("can't be seen"),
            ),
            (
                vec![with("outputSchema", json!({ "type": "array" }))],
                Err("its output schema does not say"),
            ),
            (
                vec![with(
                    "outputSchema",
                    json!({ "type": "object", "unevaluatedProperties": false }),
                )],
                Err("can't be checked: : `unevaluatedProperties`"),
            ),
            (
                vec![with("description", json!("x\u{202e}y"))],
                Err("reorder others: x\\u{202e}y"),
            ),
            (
                vec![with("description", json!("x".repeat(9_000)))],
                Err("more than 8192 bytes"),
            ),
            (
                vec![with("title", json!("\u{1b}[2J"))],
                Err("its title holds"),
            ),
        ];
        for (listed, expect) in table {
            let shown = text::line(&json!(listed).to_string());
            let found = judge(listed, None).map(|tools| {
                let names: Vec<String> = tools.iter().map(Tool::own_name).collect();
                names.join(",")
            });
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{shown}"),
                (Err(found), Err(expect)) => assert!(found.contains(expect), "{shown}: {found}"),
                (found, _) => panic!("{shown}: {found:?}"),
            }
        }
    }

    #[test]
    fn only_what_is_wanted_is_looked_at() {
        let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let listed = || vec![tool("b"), tool("a\nb"), tool("a")];
        let tools = judge(listed(), Some(&wanted(&["a"]))).expect("is taken");
        assert_eq!(tools.len(), 1);
        // One that is gone keeps no other back, but nothing is pinned without it.
        let both = wanted(&["a", "c"]);
        let tools = judge(listed(), Some(&both)).expect("is taken");
        assert_eq!(tools.len(), 1);
        let missing = check_all(&tools, Some(&both)).expect_err("is not there");
        assert_eq!(missing, "it lists no tool `c`");
        assert_eq!(check_all(&tools, Some(&wanted(&["a"]))), Ok(()));
        let none = |names| judge(listed(), Some(&wanted(names))).expect_err("has none");
        assert_eq!(none(&["c"]), "it lists no tool `c`");
        assert_eq!(none(&[]), "it lists no tools");
    }

    #[test]
    fn the_hash_changes_with_what_is_read_and_with_nothing_else() {
        let hash = |value: Value| one(value).expect("a tool").hash();
        let base = hash(tool("a"));
        let same = [
            json!({ "inputSchema": { "type": "object" }, "name": "a" }),
            with("_meta", json!(1)),
            with("description", json!("")),
        ];
        let other = [
            tool("b"),
            with("description", json!("x")),
            with("title", json!("x")),
            with("inputSchema", json!({ "type": "object", "properties": {} })),
            with("outputSchema", json!({ "type": "object" })),
            with("annotations", json!({ "readOnlyHint": true })),
        ];
        for value in same {
            assert_eq!(hash(value.clone()), base, "{value}");
        }
        for value in other {
            assert_ne!(hash(value.clone()), base, "{value}");
        }
    }
}
