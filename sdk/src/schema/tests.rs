//! Values against schemas.

use serde_json::json;

use super::*;

#[test]
fn values_are_held_against_schemas() {
    let tree = json!({ "$defs": { "t": { "type": "object", "required": ["n"],
        "properties": { "n": { "type": "integer" }, "next": { "$ref": "#/$defs/t" } } } },
        "$ref": "#/$defs/t" });
    let endless = json!({ "$defs": { "a": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" });
    let table = [
        (json!({ "type": ["string", "null"] }), json!(null), ""),
        (json!({ "type": "integer" }), json!(2.0), ""),
        (
            json!({ "type": "integer" }),
            json!(2.5),
            "it is a number, and not integer",
        ),
        (
            json!({ "enum": [1, "a"] }),
            json!("b"),
            "it is none of [1,\"a\"]",
        ),
        (json!({ "const": { "a": 1 } }), json!({ "a": 1.0 }), ""),
        (json!({ "minimum": 3 }), json!(2), "it has to be at least 3"),
        (
            json!({ "exclusiveMaximum": 3 }),
            json!(3),
            "it has to be less than 3",
        ),
        (
            json!({ "multipleOf": 5 }),
            json!(12),
            "it is no multiple of 5",
        ),
        (
            json!({ "maxLength": 2 }),
            json!("äöü"),
            "it has 3 characters; at most 2",
        ),
        (
            json!({ "uniqueItems": true }),
            json!([1, 2, 1]),
            "item 2 is there twice",
        ),
        (
            json!({ "prefixItems": [{ "const": 1 }], "items": false }),
            json!([1, 2]),
            "at `/1`: nothing may stand here",
        ),
        (tree.clone(), json!({ "n": 1, "next": { "n": 2 } }), ""),
        (
            tree,
            json!({ "n": 1, "next": { "n": 2, "next": {} } }),
            "at `/next/next`: `n` is missing",
        ),
        (
            json!({ "additionalProperties": false }),
            json!({ "a/b": 1 }),
            "`a/b` is unknown",
        ),
        (
            json!({ "additionalProperties": { "type": "null" } }),
            json!({ "a/b": 1 }),
            "at `/a~1b`: it is a number, and not null",
        ),
        (
            json!({ "anyOf": [{ "type": "null" }, { "properties": { "a": false } }] }),
            json!({ "a": 1 }),
            "at `/a`: nothing may stand here",
        ),
        (
            json!({ "oneOf": [true, true] }),
            json!(1),
            "it is 2 of `oneOf` at once",
        ),
        (
            json!({ "not": { "type": "string" } }),
            json!("a"),
            "it is what `not` says",
        ),
        (
            endless,
            json!(1),
            "the schema takes too many steps to check",
        ),
    ];
    for (schema, value, expect) in table {
        let read = Schema::read(&schema).unwrap_or_else(|error| panic!("{schema}: {error}"));
        let found = read.check(&value).err();
        let found = found
            .map(|violation| violation.to_string())
            .unwrap_or_default();
        assert_eq!(found, expect, "{schema} {value}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    let mut deep = json!(true);
    for _ in 0..200 {
        deep = json!({ "not": deep });
    }
    for (schema, place) in [
        (
            json!({ "items": { "pattern": "a" } }),
            "/items/pattern: it is not supported",
        ),
        (json!({ "if": true }), "/if: it is not supported"),
        (
            json!({ "$ref": "https://a.test/" }),
            "/$ref: it leads to no schema in here",
        ),
        (json!({ "$ref": "#/$defs/none" }), "/$ref: it leads"),
        (
            json!({ "required": "a" }),
            "/required: it can't have this value",
        ),
        (
            json!({ "properties": { "a": 5 } }),
            "/properties: no schema",
        ),
        (
            json!({ "allOf": {} }),
            "/allOf: a list of schemas is needed",
        ),
        (json!([]), "no schema"),
        (deep, "too deep"),
    ] {
        let refused = Schema::read(&schema).expect_err("it can't be used");
        assert!(refused.to_string().contains(place), "{refused}");
    }
}

#[test]
fn references_go_with_their_schema() {
    let named = |to: &str| {
        json!({ "properties": { "const": { "$ref": to }, "$ref": true,
        "quoted": { "const": { "$ref": "#/x" }, "enum": [{ "$ref": "#" }] } },
        "anyOf": [{ "items": { "$ref": to } }] })
    };
    assert_eq!(moved(named("#/$defs/a"), "/b/c"), named("#/b/c/$defs/a"));
    assert_eq!(moved(named("#"), "/b"), named("#/b"));
    let other = || named("https://a.test/");
    assert_eq!(moved(other(), "/b"), other());
    assert_eq!(moved(json!(true), "/b"), json!(true));
}

/// Each reference doubles the work: without a bound it would never end.
#[test]
fn a_schema_that_explodes_is_given_up() {
    let mut defs = Map::new();
    defs.insert("d0".to_owned(), json!({ "not": false }));
    for n in 1..64 {
        let before = json!({ "$ref": format!("#/$defs/d{}", n - 1) });
        defs.insert(format!("d{n}"), json!({ "allOf": [before, before] }));
    }
    let schema = json!({ "$defs": defs, "$ref": "#/$defs/d63" });
    let read = Schema::read(&schema).expect("it is a schema");
    let found = read.check(&json!(1)).expect_err("it is too much");
    assert!(found.message.contains("too many steps"), "{found}");
}
