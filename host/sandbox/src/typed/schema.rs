//! JSON Schema (2020-12) of WIT types, in the form that [`super::lift`] reads and
//! [`super::lower`] writes.

use serde_json::{Map, Value, json};

use super::scalar::NOT_NUMBERS;
use super::ty::{Int, Named, SAFE_INTEGER, Ty};

/// Schema of the object that has a function's parameters as members.
pub fn params(params: &Named<Ty>) -> Value {
    let mut schema = fields(params);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema
}

/// Schema of one type.
pub fn of(ty: &Ty) -> Value {
    match ty {
        Ty::Bool => json!({ "type": "boolean" }),
        Ty::Int(int) if int.is_wide() => wide_integer(*int),
        Ty::Int(int) => integer(int.min(), int.max()),
        Ty::F32 => float(json!({
            "type": "number", "minimum": f64::from(f32::MIN), "maximum": f64::from(f32::MAX),
        })),
        Ty::F64 => float(json!({ "type": "number" })),
        Ty::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
        Ty::String => json!({ "type": "string" }),
        Ty::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Ty::FixedBytes(len) => {
            let chars = len.div_ceil(3) * 4;
            json!({
                "type": "string", "contentEncoding": "base64",
                "minLength": chars, "maxLength": chars,
            })
        }
        Ty::List(element) => json!({ "type": "array", "items": of(element) }),
        Ty::FixedList(element, len) => json!({
            "type": "array", "items": of(element), "minItems": len, "maxItems": len,
        }),
        Ty::Map(key, value) => map(key, value),
        Ty::Record(record) => fields(record),
        Ty::Tuple(types) => tuple(&types.iter().collect::<Vec<_>>()),
        Ty::Variant(cases) | Ty::Result(cases) => variant(cases),
        Ty::Enum(cases) => json!({ "type": "string", "enum": names(cases) }),
        Ty::Option(inner) => option(inner),
        Ty::Flags(flags) => json!({
            "type": "array",
            "items": { "type": "string", "enum": names(flags) },
            "uniqueItems": true,
        }),
    }
}

fn integer(min: i128, max: i128) -> Value {
    json!({ "type": "integer", "minimum": min as i64, "maximum": max as i64 })
}

/// Numbers that every JSON reader keeps exactly, or decimal strings.
fn wide_integer(int: Int) -> Value {
    let pattern = if int.signed {
        "^(0|-?[1-9][0-9]{0,18})$"
    } else {
        "^(0|[1-9][0-9]{0,19})$"
    };
    json!({
        "anyOf": [
            integer(int.min().max(-SAFE_INTEGER), SAFE_INTEGER),
            { "type": "string", "pattern": pattern },
        ],
        "description": format!(
            "An integer from {} to {}; beyond ±{SAFE_INTEGER} as a decimal string.",
            int.min(), int.max()
        ),
    })
}

fn float(number: Value) -> Value {
    json!({ "anyOf": [number, { "type": "string", "enum": NOT_NUMBERS }] })
}

fn map(key: &Ty, value: &Ty) -> Value {
    if *key == Ty::String {
        return json!({ "type": "object", "additionalProperties": of(value) });
    }
    json!({ "type": "array", "items": tuple(&[key, value]), "uniqueItems": true })
}

fn tuple(types: &[&Ty]) -> Value {
    let items: Vec<Value> = types.iter().map(|ty| of(ty)).collect();
    json!({
        "type": "array", "prefixItems": items, "items": false,
        "minItems": types.len(), "maxItems": types.len(),
    })
}

fn fields(fields: &Named<Ty>) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|(name, ty)| (name.to_owned(), of(ty)))
        .collect();
    let required: Vec<&str> = fields
        .iter()
        .filter(|(_, ty)| !ty.is_nullable())
        .map(|(name, _)| name)
        .collect();
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": false,
    })
}

fn member(name: &str, schema: Value) -> Value {
    let mut properties = Map::new();
    properties.insert(name.to_owned(), schema);
    json!({
        "type": "object", "properties": properties, "required": [name],
        "additionalProperties": false,
    })
}

fn variant(cases: &Named<Option<Ty>>) -> Value {
    let bare = cases.iter().filter(|(_, payload)| payload.is_none());
    let bare: Vec<&str> = bare.map(|(name, _)| name).collect();
    let mut forms = Vec::new();
    if !bare.is_empty() {
        forms.push(json!({ "type": "string", "enum": bare }));
    }
    let full = cases
        .iter()
        .filter_map(|(name, payload)| Some((name, payload.as_ref()?)));
    forms.extend(full.map(|(name, payload)| member(name, of(payload))));
    json!({ "oneOf": forms })
}

fn option(inner: &Ty) -> Value {
    let some = if inner.is_nullable() {
        member("some", of(inner))
    } else {
        of(inner)
    };
    json!({ "anyOf": [some, { "type": "null" }] })
}

fn names(names: &Named<()>) -> Vec<&str> {
    names.iter().map(|(name, ())| name).collect()
}
