//! Documents that were made to be too much.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ORDERS, compiled, document, problems};
use crate::limits::{OPERATIONS_MAX, SCHEMA_BYTES_MAX};
use crate::{Options, compile};

/// However long a document is read, it is not for long.
const TIME_MAX: Duration = Duration::from_secs(20);

fn post(schema: Value) -> Value {
    let content = json!({ "application/json": { "schema": schema } });
    json!({ "/o": { "post": { "operationId": "o", "requestBody": { "content": content } } } })
}

#[test]
fn what_is_too_large_is_refused_with_the_number() {
    let start = Instant::now();
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        let _ = writeln!(bomb, "a{level}: &a{level} [{before}]");
    }
    // Few values, and many bytes or many levels.
    let aliases = |count: usize| "*a, ".repeat(count);
    let long_texts = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), aliases(1_000));
    let long_keys = format!(
        "a: &a\n  ? {}\n  : 1\nb: [{}]",
        "k".repeat(4_000),
        aliases(100_000)
    );
    let mut ladder = String::from("a0: &a0 x\n");
    for step in 1..100 {
        let (open, close) = ("[".repeat(98), "]".repeat(98));
        let _ = writeln!(ladder, "a{step}: &a{step} {open}*a{}{close}", step - 1);
    }
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(5_000), close.repeat(5_000));
    let many = format!("{{\"a\":[{}1]}}", "1,".repeat(1_000_001));
    let huge = format!("{{\"a\":\"{}\"}}", "x".repeat(17 << 20));
    let flow = format!("a: {}", deep("[", "]"));
    let cases = [
        (bomb, "more than 1000000 values, what aliases repeat"),
        (long_texts, "more than 1000000 values, what aliases repeat"),
        (long_keys, "more than 1000000 values, what aliases repeat"),
        (ladder, "more than 100 lists and maps inside one another"),
        (
            format!("{{\"{}\":1}}", "x".repeat(5_000)),
            "has 5000 bytes, more than 4096",
        ),
        (
            format!("? {}\n: 1", "x".repeat(4_500)),
            "has 4500 bytes, more than 4096",
        ),
        (deep("{\"a\":", "}"), "inside one another"),
        (flow, "1:"),
        (many, "more than 1000000 values"),
        (huge, "more than 16777216"),
    ];
    for (text, says) in cases {
        let found = problems(&text, &Options::default());
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains(says) || found[0].contains("recursion"),
            "{}",
            found[0]
        );
    }
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
}

#[test]
fn ten_thousand_references_are_told_as_far_as_they_fit() {
    let start = Instant::now();
    let mut document = document(post(json!({ "$ref": "#/components/schemas/S0" })));
    let mut schemas = serde_json::Map::new();
    for number in 0..10_000 {
        let next = format!("#/components/schemas/S{}", number + 1);
        schemas.insert(
            format!("S{number}"),
            json!({ "properties": { "next": { "$ref": next } } }),
        );
    }
    schemas.insert("S10000".to_owned(), json!({ "type": "string" }));
    document["components"]["schemas"] = Value::Object(schemas);
    let compiled = compiled(&document);
    let input = &compiled.tools[0].listing.input;
    assert!(input.to_string().len() <= SCHEMA_BYTES_MAX);
    assert_eq!(input["properties"]["body"], json!({}));
    assert_eq!(
        compiled.notes,
        ["o: the schema of its input is too large, and tells less than the document"]
    );
    // A parameter that leads to another ten thousand times over is refused.
    for number in 0..10_000 {
        let next = format!("#/components/parameters/P{}", number + 1);
        document["components"]["parameters"][format!("P{number}")] = json!({ "$ref": next });
    }
    document["paths"]["/o"]["post"]["parameters"] =
        json!([{ "$ref": "#/components/parameters/P0" }]);
    let found = problems(&document.to_string(), &Options::default());
    assert!(found[0].contains("more than 32 references"), "{found:?}");
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
}

/// Names that stand before many parts, and lists of which each is compared with all.
#[test]
fn many_parts_cost_no_more_than_their_number() {
    let start = Instant::now();
    let long = "x".repeat(4_000);
    let fields = |count: usize| -> Value {
        let one = |number| (format!("k{number}"), json!(1));
        Value::Object((0..count).map(one).collect())
    };
    // Not as `json!` does it, which copies.
    let within = |name: &str, value: Value| -> Value {
        Value::Object([(name.to_owned(), value)].into_iter().collect())
    };
    let mut path = fields(50_000);
    path["get"] = json!({ "operationId": "o" });
    let found = compiled(&document(json!({ format!("/{long}"): path })));
    assert_eq!(found.tools.len(), 1);
    let mut nested = fields(50_000);
    for _ in 0..40 {
        nested = within("properties", within(&long, nested));
    }
    assert_eq!(compiled(&document(post(nested))).tools.len(), 1);
    let parameter = |number| json!({ "name": format!("p{number}"), "in": "query" });
    let many: Vec<Value> = (0..100_000).map(parameter).collect();
    let text = document(json!({ "/o": { "get": { "parameters": many } } })).to_string();
    let found = problems(&text, &Options::default());
    assert_eq!(
        found,
        ["#/paths/~1o/get: more than 100 parameters"],
        "{found:?}"
    );
    // Ten thousand schemas that would all have one name.
    let mut document = document(json!({}));
    let mut all = Vec::new();
    for number in 0..10_000 {
        document["components"][format!("c{number}")] = json!({ "A": {} });
        all.push(json!({ "$ref": format!("#/components/c{number}/A") }));
    }
    document["paths"] = post(json!({ "anyOf": all }));
    assert_eq!(compiled(&document).tools.len(), 1);
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
}

/// Files are looked for in what a form is put together of, which may be a circle.
#[test]
fn forms_that_refer_to_themselves_end() {
    let start = Instant::now();
    let form = |schema: Value| {
        let content = json!({ "multipart/form-data": { "schema": schema } });
        let mut found = document(
            json!({ "/o": { "post": { "operationId": "o", "requestBody": { "content": content } } } }),
        );
        let own = json!({ "$ref": "#/components/schemas/A" });
        found["components"]["schemas"]["A"] = json!({ "allOf": [own, own], "anyOf": [own], "properties": { "a": own }, "items": own });
        found.to_string()
    };
    let none = Options::default();
    let found = form(json!({ "$ref": "#/components/schemas/A" }));
    assert_eq!(problems(&found, &none), Vec::<String>::new());
    let own = json!({ "$ref": "#/components/schemas/A" });
    let many = (0..1_001).map(|number| (format!("p{number}"), own.clone()));
    let many: serde_json::Map<String, Value> = many.collect();
    let found = problems(&form(json!({ "properties": many })), &none);
    assert!(
        found[0].contains("more than 1000 members of a form"),
        "{found:?}"
    );
    assert!(start.elapsed() < TIME_MAX, "{:?}", start.elapsed());
}

#[test]
fn schemas_that_refer_to_themselves_end() {
    let mut document = document(post(json!({ "$ref": "#/components/schemas/A" })));
    document["components"]["schemas"] = json!({
        "A": { "$ref": "#/components/schemas/B" },
        "B": { "allOf": [{ "$ref": "#/components/schemas/A" }, { "$ref": "#/components/schemas/B" }] },
    });
    let compiled = compiled(&document);
    let input = &compiled.tools[0].listing.input;
    assert_eq!(input["$defs"]["A"], json!({ "$ref": "#/$defs/B" }));
    // Of a parameter its type is asked for, too.
    document["paths"]["/o"]["post"]["parameters"] =
        json!([{ "name": "q", "in": "query", "schema": { "$ref": "#/components/schemas/C" } }]);
    document["components"]["schemas"]["C"] =
        json!({ "allOf": [{ "$ref": "#/components/schemas/C" }] });
    assert_eq!(
        problems(&document.to_string(), &Options::default()),
        Vec::<String>::new()
    );
    document["components"]["schemas"]["C"] = json!({ "$ref": "#/components/schemas/C" });
    let found = problems(&document.to_string(), &Options::default());
    assert!(found[0].contains("a reference to itself"), "{found:?}");
}

#[test]
fn large_schemas_say_less_and_are_told() {
    let of = |schema: Value| {
        let compiled = compiled(&document(post(schema)));
        let input = compiled.tools[0].listing.input.clone();
        assert!(input.to_string().len() <= SCHEMA_BYTES_MAX);
        (input["properties"]["body"].clone(), compiled.notes.len())
    };
    let many: Vec<String> = (0..100_000)
        .map(|number| format!("value {number}"))
        .collect();
    assert_eq!(of(json!({ "enum": many })), (json!({}), 1));
    let mut deep = json!({ "type": "string" });
    for _ in 0..70 {
        deep = json!({ "items": deep });
    }
    assert_eq!(of(deep), (json!({}), 1));
    // Without its descriptions it fits.
    let mut wordy = json!({ "type": "object", "properties": {} });
    for number in 0..100 {
        wordy["properties"][format!("p{number}")] =
            json!({ "type": "string", "description": "word ".repeat(300) });
    }
    let (body, notes) = of(wordy);
    assert_eq!(
        (&body["properties"]["p7"], notes),
        (&json!({ "type": "string" }), 1)
    );
}

#[test]
fn a_plugin_has_as_many_tools_as_it_may() {
    let of = |count: usize| {
        let mut paths = json!({});
        for number in 0..count {
            paths[format!("/p{number}")] =
                json!({ "get": { "operationId": format!("op{number}") } });
        }
        document(paths).to_string()
    };
    let most = compile(&of(OPERATIONS_MAX), &Options::default()).expect("it fits");
    assert_eq!(most.tools.len(), OPERATIONS_MAX);
    let found = problems(&of(OPERATIONS_MAX + 1), &Options::default());
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("#/paths: 257 operations") && found[0].contains("--include TAG"),
        "{found:?}"
    );
    let mut large = document(json!({}));
    let enumerated: Vec<String> = (0..2_000)
        .map(|number| format!("value {number:>10}"))
        .collect();
    large["components"]["schemas"] = json!({ "E": { "enum": enumerated } });
    for number in 0..OPERATIONS_MAX {
        let parameter =
            json!({ "name": "q", "in": "query", "schema": { "$ref": "#/components/schemas/E" } });
        large["paths"][format!("/p{number}")] = json!({ "get": { "parameters": [parameter] } });
    }
    let found = problems(&large.to_string(), &Options::default());
    assert!(
        found[0].contains("more than 4194304: take fewer"),
        "{found:?}"
    );
}

#[test]
fn no_text_of_a_document_ends_a_rule_a_header_or_a_line() {
    let mut document = document(
        json!({ "/o": { "get": { "operationId": "o", "security": [{ "bearer": [] }] } } }),
    );
    document["info"]["title"] =
        json!("A\"] }\nhttp = [{ url = \"https://evil.test/**\" }]\u{1b}[31m");
    let compiled = compiled(&document);
    let want = &compiled.wants[0];
    assert_eq!(
        want.scope,
        format!(
            r#"{{ url = "https://api.example.com/v1/**", methods = ["GET"], secret = "{}-key" }}"#,
            compiled.plugin
        )
    );
    assert!(!want.reason.contains(char::is_control), "{}", want.reason);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(
        compiled.plugin.chars().all(plain) && compiled.plugin.len() <= 64,
        "{}",
        compiled.plugin
    );
}

proptest! {
    #![proptest_config(airlock_fuzz::cases(300))]

    /// Any damage of a document is read or refused.
    #[test]
    fn fuzz_a_damaged_document_is_read_or_refused(damage in airlock_fuzz::text_damage()) {
        let text = damage.to(ORDERS);
        if let Err(problems) = compile(&text, &Options::default()) {
            prop_assert!((1..=20).contains(&problems.len()));
            for problem in problems {
                prop_assert!(!problem.to_string().contains(char::is_control), "{problem}");
            }
        }
    }

    /// The same of its values.
    #[test]
    fn fuzz_damaged_values_are_read_or_refused(damage in airlock_fuzz::json_damage()) {
        let value = damage.to(&crate::read::read(ORDERS).expect("YAML"));
        if let Ok(compiled) = compile(&value.to_string(), &Options { skip: true, ..Options::default() }) {
            for tool in &compiled.tools {
                prop_assert!(tool.listing.input.to_string().len() <= SCHEMA_BYTES_MAX);
                prop_assert!(tool.plan.base.starts_with("http"));
            }
        }
    }
}
