//! A light check of the JSON Schemas that a tool states: they are kept and shown
//! to callers and models, and never evaluated here, so what matters is that they
//! are schemas of an object, small, and refer to nothing outside themselves.

use serde_json::{Map, Value};

use crate::typed::json;

/// Longest schema, bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// Deepest nesting of a schema.
const SCHEMA_DEPTH_MAX: usize = 64;

/// Reads the schema of an input: an object schema.
///
/// # Errors
/// What is wrong with it.
pub fn input(text: &str) -> Result<Value, String> {
    let schema = read(text)?;
    let Value::Object(members) = &schema else {
        return Err("is not a JSON object".to_owned());
    };
    if members.get("type") != Some(&Value::from("object")) {
        return Err("does not say `\"type\": \"object\"`".to_owned());
    }
    Ok(schema)
}

/// Reads the schema of an output.
///
/// # Errors
/// What is wrong with it.
pub fn output(text: &str) -> Result<Value, String> {
    let schema = read(text)?;
    if !(schema.is_object() || schema.is_boolean()) {
        return Err("is neither a JSON object nor a boolean".to_owned());
    }
    Ok(schema)
}

fn read(text: &str) -> Result<Value, String> {
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(format!(
            "has {} bytes, more than {SCHEMA_BYTES_MAX}",
            text.len()
        ));
    }
    if json::depth(text) > SCHEMA_DEPTH_MAX {
        return Err(format!("is nested deeper than {SCHEMA_DEPTH_MAX}"));
    }
    let schema: Value =
        serde_json::from_str(text).map_err(|error| format!("is not valid JSON: {error}"))?;
    check(&schema)?;
    Ok(schema)
}

/// Walks every value: keywords that have a shape of their own have that shape.
fn check(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            keywords(members)?;
            members.values().try_for_each(check)
        }
        Value::Array(items) => items.iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// Only where the value can't be anything but the keyword: a property may have
/// any of these names.
fn keywords(members: &Map<String, Value>) -> Result<(), String> {
    for keyword in ["$ref", "$dynamicRef"] {
        match members.get(keyword) {
            Some(Value::String(target)) if !target.starts_with('#') => {
                return Err(format!(
                    "refers outside itself: `{keyword}` is `{}`",
                    super::text::line(target)
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
