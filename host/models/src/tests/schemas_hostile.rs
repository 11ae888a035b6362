//! Schemas, and values for them, that would take long to check.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::schema::{STEPS_MAX, Schema};

/// Long enough for any machine's debug build: without bounds these took minutes.
const PATIENCE: Duration = Duration::from_secs(8);

fn zeros(count: usize) -> Value {
    json!(vec![0; count])
}

fn ways(way: &Value) -> Value {
    json!({ "anyOf": vec![way.clone(); 6_000] })
}

/// Two million steps are a bound in time: what is long counts for more steps.
#[test]
fn a_step_is_as_long_as_any_other() {
    let long = "x".repeat(32_000);
    let name = "n".repeat(500_000);
    let reference = json!({ "$ref": format!("#/$defs/{long}") });
    let pattern = "^(?-u:[ab]*a[ab]{2500}c)";
    let many_names: Value = (0..2_000)
        .map(|at| (format!("{at}{}", "ab".repeat(200)), json!(1)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let table = [
        (
            "references",
            json!({ "$defs": { &long: { "type": "integer" } }, "items": reference }),
            zeros(100_000),
        ),
        (
            "an expression",
            json!({ "pattern": pattern }),
            json!("ab".repeat(450_000)),
        ),
        (
            "expressions for names",
            json!({ "patternProperties": { pattern: true } }),
            many_names,
        ),
        (
            "places",
            json!({ "properties": { &name: ways(&json!({ "type": "string" })) } }),
            json!({ &name: 1 }),
        ),
        (
            "a list that nothing is said of",
            ways(&json!({ "type": "array", "maxItems": 1 })),
            zeros(100_000),
        ),
        ("no value", ways(&json!({ "enum": [] })), zeros(100_000)),
        (
            "one item",
            ways(&json!({ "uniqueItems": true, "maxProperties": 1, "not": true })),
            json!([zeros(100_000)]),
        ),
        (
            "a long value in words",
            ways(&json!({ "const": 1 })),
            zeros(100_000),
        ),
        (
            "names that depend",
            ways(&json!({ "dependentRequired": { &long: ["x"] }, "maxProperties": 0 })),
            json!({ "a": 1 }),
        ),
    ];
    for (what, schema, value) in table {
        let began = Instant::now();
        let schema = Schema::compile(&schema.to_string()).expect(what);
        let checked = schema.check(&value, &mut { STEPS_MAX });
        let took = began.elapsed();
        assert!(took < PATIENCE, "{what}: {took:?}");
        if let Err(violation) = checked {
            assert!(violation.message.len() < 1_000, "{what}");
        }
    }
}

/// The place is not copied for each part, and each message shows a part of a text.
#[test]
fn what_is_long_is_read_once() {
    let name = "n".repeat(500_000);
    let parts = json!({ "allOf": vec![true; 19_000] });
    let schema = json!({ "properties": { &name: parts } });
    let began = Instant::now();
    let compiled = Schema::compile(&schema.to_string());
    assert!(compiled.is_ok());
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let long_enum = json!({ "enum": [name, "y".repeat(100_000)] }).to_string();
    let schema = Schema::compile(&long_enum).expect("a schema");
    let violation = schema.check(&json!(1), &mut { STEPS_MAX });
    assert!(violation.expect_err("it is none").message.len() < 300);
    for wrong in [
        json!({ "properties": { &name: { "type": "text" } } }),
        json!({ "pattern": "a".repeat(100_000) }),
        json!({ "pattern": format!("({name}") }),
        json!({ "$ref": format!("#/{name}") }),
        json!({ "type": vec!["null"; 100_000] }),
        json!({ "enum": vec![0; 300_000] }),
    ] {
        let error = Schema::compile(&wrong.to_string()).expect_err("it can't be used");
        assert!(error.len() < 1_000, "{}", error.len());
    }
}
