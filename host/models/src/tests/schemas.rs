//! JSON Schema.

use serde_json::{Value, json};

use crate::schema::{STEPS_MAX, Schema};

fn check(schema: &Value, value: &Value) -> Result<(), String> {
    let compiled = Schema::compile(&schema.to_string()).expect("a schema");
    compiled
        .check(value, &mut { STEPS_MAX })
        .map_err(|violation| format!("{}: {}", violation.at, violation.message))
}

#[test]
fn values_against_schemas() {
    let tree = json!({ "$defs": { "node": { "type": "object", "properties": { "next": { "$ref": "#/$defs/node" } }, "additionalProperties": false } }, "$ref": "#/$defs/node" });
    let condition = json!({ "if": { "properties": { "a": { "const": 1 } } }, "then": { "required": ["b"] }, "else": { "required": ["c"] } });
    let cases = [
        (json!({}), json!(1), None),
        (json!(true), json!(1), None),
        (json!(false), json!(1), Some(": nothing may stand here")),
        (json!({ "type": "integer" }), json!(1.0), None),
        (
            json!({ "type": "integer" }),
            json!(1.5),
            Some(": it is a number, and not integer"),
        ),
        (json!({ "type": ["string", "null"] }), json!(null), None),
        (
            json!({ "type": ["string", "null"] }),
            json!(1),
            Some(": it is a number, and not string or null"),
        ),
        (json!({ "enum": [1, "a"] }), json!(1.0), None),
        (
            json!({ "enum": [1, "a"] }),
            json!("b"),
            Some(": it is none of [1,\"a\"]"),
        ),
        (
            json!({ "const": { "a": 1, "b": 2 } }),
            json!({ "b": 2, "a": 1 }),
            None,
        ),
        (json!({ "const": null }), json!(0), Some(": it is not null")),
        (
            json!({ "minimum": 1, "exclusiveMaximum": 3 }),
            json!(3),
            Some(": it has to be less than 3"),
        ),
        (json!({ "minimum": 1 }), json!("text"), None),
        (
            json!({ "minimum": 9_007_199_254_740_993_u64 }),
            json!(9_007_199_254_740_992_u64),
            Some(": it has to be at least 9007199254740993"),
        ),
        (json!({ "minimum": 0 }), json!(-0.0), None),
        (
            json!({ "maximum": 2.5 }),
            json!(3),
            Some(": it has to be at most 2.5"),
        ),
        (json!({ "multipleOf": 0.1 }), json!(0.3), None),
        (
            json!({ "multipleOf": 3 }),
            json!(10),
            Some(": it is no multiple of 3"),
        ),
        (
            json!({ "minLength": 2 }),
            json!("é"),
            Some(": it has 1 characters; at least 2"),
        ),
        (json!({ "maxLength": 1 }), json!("é"), None),
        (
            json!({ "pattern": "^a+$" }),
            json!("aab"),
            Some(": it does not match `^a+$`"),
        ),
        (
            json!({ "items": { "type": "string" } }),
            json!(["a", 1]),
            Some("/1: it is a number, and not string"),
        ),
        (
            json!({ "prefixItems": [true, { "type": "string" }], "items": false }),
            json!([1, "a"]),
            None,
        ),
        (
            json!({ "prefixItems": [true], "items": false }),
            json!([1, 2]),
            Some("/1: nothing may stand here"),
        ),
        (
            json!({ "uniqueItems": true }),
            json!([1, [2], [2.0]]),
            Some(": item 2 is there twice"),
        ),
        (
            json!({ "contains": { "const": 1 }, "maxContains": 1 }),
            json!([1, 1]),
            Some(": 2 items are as"),
        ),
        (
            json!({ "contains": { "const": 1 } }),
            json!([]),
            Some(": 0 items are as"),
        ),
        (
            json!({ "minItems": 1 }),
            json!([]),
            Some(": it has 0 items; at least 1"),
        ),
        (
            json!({ "properties": { "a/b~": { "type": "string" } } }),
            json!({ "a/b~": 1 }),
            Some("/a~1b~0: it is"),
        ),
        (
            json!({ "required": ["a"] }),
            json!({}),
            Some(": `a` is missing"),
        ),
        (
            json!({ "properties": { "a": true }, "additionalProperties": false }),
            json!({ "b": 1 }),
            Some(": `b` is unknown"),
        ),
        (
            json!({ "patternProperties": { "^x": { "type": "null" } }, "additionalProperties": { "type": "string" } }),
            json!({ "x1": null, "y": 1 }),
            Some("/y: it is a number"),
        ),
        (
            json!({ "propertyNames": { "maxLength": 1 } }),
            json!({ "ab": 1 }),
            Some(": it has 2 characters"),
        ),
        (
            json!({ "maxProperties": 1 }),
            json!({ "a": 1, "b": 2 }),
            Some(": it has 2 members; at most 1"),
        ),
        (
            json!({ "dependentRequired": { "a": ["b"] } }),
            json!({ "a": 1 }),
            Some(": `b` is missing"),
        ),
        (
            json!({ "dependentSchemas": { "a": { "required": ["b"] } } }),
            json!({ "a": 1 }),
            Some(": `b` is missing"),
        ),
        (
            json!({ "allOf": [{ "minimum": 1 }, { "maximum": 2 }] }),
            json!(3),
            Some(": it has to be at most 2"),
        ),
        (
            json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
            json!(3),
            Some(": it is none of 2 that it may be"),
        ),
        (
            json!({ "anyOf": [{ "type": "string" }, { "properties": { "a": { "type": "string" } } }] }),
            json!({ "a": 1 }),
            Some("/a: it is a number"),
        ),
        (
            json!({ "oneOf": [{ "minimum": 1 }, { "minimum": 2 }] }),
            json!(2),
            Some(": it is 2 of `oneOf`"),
        ),
        (
            json!({ "oneOf": [{ "minimum": 1 }, { "minimum": 2 }] }),
            json!(1),
            None,
        ),
        (
            json!({ "not": { "type": "null" } }),
            json!(null),
            Some(": it is what `not` says"),
        ),
        (
            condition.clone(),
            json!({ "a": 1 }),
            Some(": `b` is missing"),
        ),
        (condition, json!({ "a": 2, "c": 1 }), None),
        (tree.clone(), json!({ "next": { "next": {} } }), None),
        (
            tree,
            json!({ "next": { "last": 1 } }),
            Some("/next: `last` is unknown"),
        ),
        (
            json!({ "format": "email", "title": "t", "x-own": 1 }),
            json!("no email"),
            None,
        ),
    ];
    for (schema, value, expected) in cases {
        let found = check(&schema, &value);
        match (found, expected) {
            (Ok(()), None) => {}
            (Err(found), Some(expected)) if found.starts_with(expected) => {}
            (found, expected) => panic!("{schema} of {value}: {found:?}, not {expected:?}"),
        }
    }
}

#[test]
fn schemas_that_cannot_be_used_are_refused() {
    let cases = [
        (r#"{"type": "text"}"#, "/type: one of the types"),
        (
            r#"{"properties": {"a": 1}}"#,
            "/properties/a: a schema is an object",
        ),
        (
            r##"{"$ref": "https://a.test/s.json"}"##,
            "leads to no schema in here",
        ),
        (
            r##"{"$ref": "#/$defs/none"}"##,
            "leads to no schema in here",
        ),
        (r#"{"items": [{}]}"#, "/items: a schema is an object"),
        (
            r#"{"unevaluatedProperties": false}"#,
            "`unevaluatedProperties` is not supported",
        ),
        (r#"{"allOf": []}"#, "/allOf: a list of schemas"),
        (
            r#"{"pattern": "(?=a)"}"#,
            "/pattern: `(?=a)` is no expression",
        ),
        (
            r#"{"pattern": "(a{1000}){1000}"}"#,
            "is no expression that is supported",
        ),
        (r#"{"minimum": "1"}"#, "/minimum: a number"),
        (r#"{"multipleOf": 0}"#, "/multipleOf: a number above 0"),
        (r#"{"required": [1]}"#, "/required: a list of texts"),
        (r#"{"#, "no JSON"),
        ("3", ": a schema is an object or a boolean"),
    ];
    for (text, expected) in cases {
        let error = Schema::compile(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn checking_takes_a_bounded_number_of_steps() {
    // Each level asks for the one below twice: 2^60 in all.
    let mut doubling = json!({ "$defs": { "d0": { "type": "string" } }, "$ref": "#/$defs/d60" });
    for level in 1..=60 {
        let below = json!({ "$ref": format!("#/$defs/d{}", level - 1) });
        doubling["$defs"][format!("d{level}")] = json!({ "anyOf": [below, below] });
    }
    let endless = json!({ "$ref": "#" });
    let not_endless = json!({ "not": { "$ref": "#" } });
    let many = json!({ "uniqueItems": true });
    let items: Vec<u32> = (0..100_000).collect();
    let cases = [
        (doubling, json!(1)),
        (endless, json!(1)),
        (not_endless, json!(1)),
        (many, json!(items)),
    ];
    for (schema, value) in cases {
        assert_eq!(
            check(&schema, &value),
            Err(": the schema takes too many steps to check".to_owned())
        );
    }
}

#[test]
fn the_checks_of_one_answer_share_their_steps() {
    let schema = Schema::compile(r#"{"items": {"type": "integer"}}"#).expect("a schema");
    let value = json!(vec![1; 1_000]);
    let mut steps = 2_500;
    for expected in [true, true, false, false] {
        assert_eq!(schema.check(&value, &mut steps).is_ok(), expected);
    }
}
