//! As much of JSON Schema as the schemas of WIT types use; an unknown keyword
//! fails the test, so that none goes unchecked.

use serde_json::Value;

/// Whether `value` is valid under `schema`.
pub fn accepts(schema: &Value, value: &Value) -> bool {
    let schema = match schema {
        Value::Bool(all) => return *all,
        Value::Object(schema) => schema,
        other => panic!("{other} is no schema"),
    };
    schema
        .iter()
        .all(|(keyword, argument)| match keyword.as_str() {
            "type" => has_type(argument.as_str().expect("a type"), value),
            "enum" => argument.as_array().expect("an array").contains(value),
            "anyOf" => count(argument, value) >= 1,
            "oneOf" => count(argument, value) == 1,
            "minimum" => compare(value, argument, |value, bound| value >= bound),
            "maximum" => compare(value, argument, |value, bound| value <= bound),
            "minLength" => chars(value).is_none_or(|n| n >= number(argument)),
            "maxLength" => chars(value).is_none_or(|n| n <= number(argument)),
            "minItems" => items(value).is_none_or(|n| n.len() >= number(argument)),
            "maxItems" => items(value).is_none_or(|n| n.len() <= number(argument)),
            "pattern" => is_decimal(argument.as_str().expect("a pattern"), value),
            "contentEncoding" => true,
            "description" | "$schema" => argument.is_string(),
            "items" => items(value).is_none_or(|all| {
                let prefix = schema.get("prefixItems").and_then(Value::as_array);
                let rest = all.iter().skip(prefix.map_or(0, Vec::len));
                rest.into_iter().all(|item| accepts(argument, item))
            }),
            "prefixItems" => items(value).is_none_or(|all| {
                let schemas = argument.as_array().expect("an array");
                schemas.iter().zip(all).all(|(s, item)| accepts(s, item))
            }),
            "uniqueItems" => items(value)
                .is_none_or(|all| (0..all.len()).all(|index| !all[..index].contains(&all[index]))),
            "properties" | "required" | "additionalProperties" => members(schema, keyword, value),
            other => panic!("the schemas have a keyword that is not checked: {other}"),
        })
}

fn members(schema: &serde_json::Map<String, Value>, keyword: &str, value: &Value) -> bool {
    let Value::Object(members) = value else {
        return true;
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let argument = &schema[keyword];
    match keyword {
        "properties" => members.iter().all(|(name, value)| {
            let schema = properties.and_then(|all| all.get(name));
            schema.is_none_or(|schema| accepts(schema, value))
        }),
        "required" => {
            let names = argument.as_array().expect("an array");
            names
                .iter()
                .all(|name| members.contains_key(name.as_str().expect("a name")))
        }
        _ => members
            .iter()
            .filter(|(name, _)| properties.is_none_or(|all| !all.contains_key(*name)))
            .all(|(_, value)| accepts(argument, value)),
    }
}

fn has_type(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        // A number without a fraction is an integer, however it is written.
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("unknown type {other}"),
    }
}

fn count(schemas: &Value, value: &Value) -> usize {
    let schemas = schemas.as_array().expect("an array").iter();
    schemas.filter(|schema| accepts(schema, value)).count()
}

fn compare(value: &Value, bound: &Value, holds: impl Fn(f64, f64) -> bool) -> bool {
    let bound = bound.as_f64().expect("a number");
    value.as_f64().is_none_or(|value| holds(value, bound))
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a number")).expect("a small number")
}

fn chars(value: &Value) -> Option<usize> {
    value.as_str().map(|text| text.chars().count())
}

fn items(value: &Value) -> Option<&Vec<Value>> {
    value.as_array()
}

/// The two patterns there are: a decimal of at most 19 or 20 digits.
fn is_decimal(pattern: &str, value: &Value) -> bool {
    let Some(text) = value.as_str() else {
        return true;
    };
    let (signed, len) = match pattern {
        "^(0|-?[1-9][0-9]{0,18})$" => (true, 19),
        "^(0|[1-9][0-9]{0,19})$" => (false, 20),
        other => panic!("unknown pattern {other}"),
    };
    let digits = text.strip_prefix('-').filter(|_| signed).unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain && digits.len() <= len && (text == "0" || !digits.starts_with('0'))
}
