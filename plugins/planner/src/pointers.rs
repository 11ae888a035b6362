//! The results of tasks in the input of another.

use serde_json::Value;

/// The tasks whose results an input needs: the first part of each pointer.
pub(crate) fn needs(input: &Value) -> Vec<String> {
    match pointer(input) {
        Some(pointer) => {
            let id = pointer.trim_start_matches('/').split('/').next();
            vec![id.unwrap_or_default().to_owned()]
        }
        None => match input {
            Value::Object(members) => members.values().flat_map(needs).collect(),
            Value::Array(items) => items.iter().flat_map(needs).collect(),
            _ => Vec::new(),
        },
    }
}

/// The input with the results, an object by task, in it.
///
/// # Errors
/// The place that is not there.
pub(crate) fn filled(input: &Value, results: &Value) -> Result<Value, String> {
    if let Some(pointer) = pointer(input) {
        let found = results.pointer(pointer).cloned();
        return found.ok_or_else(|| format!("the results have no `{pointer}`"));
    }
    match input {
        Value::Object(members) => {
            let members = members.iter();
            members
                .map(|(name, value)| Ok((name.clone(), filled(value, results)?)))
                .collect()
        }
        Value::Array(items) => items.iter().map(|item| filled(item, results)).collect(),
        other => Ok(other.clone()),
    }
}

/// What `{"$result": "/ID/place"}` names.
fn pointer(value: &Value) -> Option<&str> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members.get("$result")?.as_str()
}
