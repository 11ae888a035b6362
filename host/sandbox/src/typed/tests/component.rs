//! Types read out of compiled components, and calls into them.

use std::collections::BTreeMap;

use expect_test::expect;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

use super::super::TypedTools;
use crate::inspect::docs::Docs;
use crate::inspect::{InstallError, Kind, Manifest};
use crate::limits::ByteSize;

const MAX: ByteSize = ByteSize(1 << 20);

fn engine() -> Engine {
    let mut config = Config::new();
    config.wasm_component_model_map(true);
    config.wasm_component_model_fixed_length_lists(true);
    Engine::new(&config).expect("an engine")
}

fn tools(wat: &str) -> Result<(Component, TypedTools), InstallError> {
    let engine = engine();
    let bytes = wat::parse_str(wat).expect("WebAssembly text");
    let component = Component::new(&engine, bytes).expect("a component");
    let tools = TypedTools::new(&engine, &component)?;
    Ok((component, tools))
}

async fn call(component: &Component, tools: &TypedTools, tool: &str, input: &str) -> String {
    let tool = tools.find(tool).expect(tool);
    let params = match tool.read_input(input, MAX) {
        Ok(params) => params,
        Err(error) => return error.to_string(),
    };
    let mut store = Store::new(component.engine(), ());
    let linker = Linker::new(component.engine());
    let instance = linker.instantiate_async(&mut store, component).await;
    let instance = instance.expect("an instance");
    match tool.run(&mut store, &instance, &params).await {
        Ok(result) => match tool.write_output(result.as_ref(), ByteSize(40)) {
            Ok(output) => output,
            Err(error) => error.to_string(),
        },
        Err(error) => format!("trap: {}", error.root_cause()),
    }
}

/// A component whose functions have the bodies given, with memory to put
/// strings and lists into.
const CALCULATOR: &str = r#"(component
  (core module $m
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      global.get $next
      (global.set $next (i32.and (i32.add (global.get $next) (i32.add (local.get 3) (i32.const 7))) (i32.const -8))))
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "divide") (param i32 i32) (result i32)
      (if (i32.eqz (local.get 1)) (then
        (i32.store8 (i32.const 16) (i32.const 1))
        (i32.store (i32.const 20) (i32.const 64))
        (i32.store (i32.const 24) (i32.const 16))
        (return (i32.const 16))))
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (i32.div_u (local.get 0) (local.get 1)))
      (i32.const 16))
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 32) (local.get 0))
      (i32.store (i32.const 36) (local.get 1))
      (i32.const 32))
    (func (export "nothing"))
    (func (export "fail") (result i32) (i32.const 1))
    (func (export "crash") unreachable)
    (func (export "cleanup") (param i32) (i32.store (i32.const 16) (i32.const 0)))
    (data (i32.const 64) "division by zero"))
  (core instance $i (instantiate $m))
  (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
  (func (export "divide") (param "a" u32) (param "b" u32) (result (result u32 (error string)))
    (canon lift (core func $i "divide") (memory (core memory $i "memory")) (post-return (core func $i "cleanup"))))
  (func (export "echo") (param "text" string) (result string)
    (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "echo-bytes") (param "data" (list u8)) (result (list u8))
    (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "echo-map") (param "map" (map u32 string)) (result (map u32 string))
    (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "echo-pair") (param "pair" (list u32 2)) (result (list u32 2))
    (canon lift (core func $i "echo") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "nothing") (canon lift (core func $i "nothing")))
  (func (export "fail") (result (result)) (canon lift (core func $i "fail")))
  (func (export "crash") (canon lift (core func $i "crash")))
)"#;

#[tokio::test]
async fn calls() {
    let (component, tools) = tools(CALCULATOR).expect("tools");
    let cases = [
        ("add", r#"{"a": 2, "b": 3}"#),
        ("add", r#"{"a": 4294967295, "b": 2}"#),
        ("add", r#"{"a": 2}"#),
        ("add", r#"{"a": 2, "b": "3"}"#),
        ("add", r#"{"a": 2, "b": 3, "c": 4}"#),
        ("add", "[2, 3]"),
        ("divide", r#"{"a": 7, "b": 2}"#),
        ("divide", r#"{"a": 7, "b": 0}"#),
        ("echo", r#"{"text": "héllo \u0000"}"#),
        (
            "echo",
            r#"{"text": "forty characters of text and then a bit more"}"#,
        ),
        ("echo-bytes", r#"{"data": "AAECAw=="}"#),
        ("echo-map", r#"{"map": [[1, "a"], [2, "b"]]}"#),
        ("echo-pair", r#"{"pair": [1, 2]}"#),
        ("echo-pair", r#"{"pair": [1, 2, 3]}"#),
        ("nothing", "{}"),
        ("nothing", "null"),
        ("fail", "{}"),
        ("crash", "{}"),
    ];
    let mut answers = String::new();
    for (tool, input) in cases {
        let answer = call(&component, &tools, tool, input).await;
        answers.push_str(&format!("{tool} {input}\n  {answer}\n"));
    }
    expect![[r#"
        add {"a": 2, "b": 3}
          5
        add {"a": 4294967295, "b": 2}
          1
        add {"a": 2}
          invalid input: the input: expected an object with `a`, `b`, found no member `b`
        add {"a": 2, "b": "3"}
          invalid input: at /b: expected an integer from 0 to 4294967295, found `"3"`
        add {"a": 2, "b": 3, "c": 4}
          invalid input: the input: expected an object with `a`, `b`, found an unknown member `"c"`
        add [2, 3]
          invalid input: the input: expected an object with `a`, `b`, found an array
        divide {"a": 7, "b": 2}
          3
        divide {"a": 7, "b": 0}
          permanent: "division by zero"
        echo {"text": "héllo \u0000"}
          "héllo \u0000"
        echo {"text": "forty characters of text and then a bit more"}
          limit output reached (40B)
        echo-bytes {"data": "AAECAw=="}
          "AAECAw=="
        echo-map {"map": [[1, "a"], [2, "b"]]}
          [[1,"a"],[2,"b"]]
        echo-pair {"pair": [1, 2]}
          [1,2]
        echo-pair {"pair": [1, 2, 3]}
          invalid input: at /pair: expected an array of 2, found more than 2
        nothing {}
          null
        nothing null
          invalid input: the input: expected an object without members, found `null`
        fail {}
          permanent: null
        crash {}
          trap: wasm trap: wasm `unreachable` instruction executed
    "#]]
    .assert_eq(&answers);
}

/// Every type there is, in WIT's own words, as the derived description and the
/// schema show it.
const ALL_TYPES: &str = r#"(component
  (core module $m (memory (export "memory") 1)
    (func (export "f") (param i32) unreachable)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $i (instantiate $m))
  (type $color' (enum "red" "green"))
  (export $color "color" (type $color'))
  (type $rights' (flags "read" "write"))
  (export $rights "rights" (type $rights'))
  (type $point' (record (field "x" f64) (field "y" (option f32))))
  (export $point "point" (type $point'))
  (type $shape' (variant (case "dot") (case "at" $point)))
  (export $shape "shape" (type $shape'))
  (func (export "all")
    (param "a" bool) (param "b" u8) (param "c" s8) (param "d" u16) (param "e" s16) (param "f" u32)
    (param "g" s32) (param "h" u64) (param "i" s64) (param "j" f32) (param "k" f64) (param "l" char)
    (param "m" string) (param "n" (list u8)) (param "o" (list string)) (param "p" (list u8 4))
    (param "q" (list u16 4)) (param "r" (map string u8)) (param "s" $point) (param "t" (tuple u8 string))
    (param "u" $shape) (param "v" $color) (param "w" (option (option u8))) (param "x" (result u8 (error string)))
    (param "y" $rights) (param "z" (result (error char)))
    (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
)"#;

#[test]
fn all_types_are_read() {
    let (_, tools) = tools(ALL_TYPES).expect("tools");
    let infos = tools.infos(&Docs::default(), &[]).expect("infos");
    expect!["Calls `all: func(a: bool, b: u8, c: s8, d: u16, e: s16, f: u32, g: s32, h: u64, i: s64, j: f32, k: f64, l: char, m: string, n: list<u8>, o: list<string>, p: list<u8, 4>, q: list<u16, 4>, r: map<string, u8>, s: record, t: tuple<u8, string>, u: variant, v: enum, w: option<option<u8>>, x: result<u8, string>, y: flags, z: result<_, char>)`."].assert_eq(&infos[0].description);
    let properties = infos[0].input_schema["properties"]
        .as_object()
        .expect("properties");
    assert_eq!(properties.len(), 26);
    let required = infos[0].input_schema["required"]
        .as_array()
        .expect("required");
    assert_eq!(required.len(), 25, "only the option may be left out");
}

#[test]
fn described() {
    let (_, tools) = tools(CALCULATOR).expect("tools");
    let package = br#"{"worlds": {"calc": {"func_exports": {"add": {"docs": "Adds\u0007 two numbers."}, "echo": "Says it again."}}}}"#;
    let mut section = vec![1];
    section.extend_from_slice(package);
    let docs = Docs::read(&[section]);
    let infos = tools
        .infos(&docs, &["http".to_owned(), "log".to_owned()])
        .expect("infos");
    let mut manifest = Manifest {
        digest: String::new(),
        kind: Kind::Typed,
        contract: None,
        tools: infos,
        agent: None,
        wants: Vec::new(),
        imports: Vec::new(),
        capabilities: Vec::new(),
        component_bytes: 0,
        compiled_bytes: 0,
    };
    let written = BTreeMap::from([("divide".to_owned(), "Divides, rounding down.".to_owned())]);
    manifest.describe(&written).expect("a tool");
    let unknown = BTreeMap::from([("multiply".to_owned(), String::new())]);
    let error = manifest.describe(&unknown).expect_err("no tool");
    assert_eq!(error.to_string(), "no tool is named `multiply`");
    let shown: Vec<String> = manifest
        .tools
        .iter()
        .map(|tool| format!("{}: {} {:?}\n", tool.name, tool.description, tool.effects))
        .collect();
    expect![[r#"
        add: Adds\u{7} two numbers. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
        divide: Divides, rounding down. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
        echo: Says it again. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
        echo-bytes: Calls `echo-bytes: func(data: list<u8>) -> list<u8>`. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
        echo-map: Calls `echo-map: func(map: map<u32, string>) -> map<u32, string>`. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
        echo-pair: Calls `echo-pair: func(pair: list<u32, 2>) -> list<u32, 2>`. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
        nothing: Calls `nothing: func()`. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
        fail: Calls `fail: func() -> result`. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
        crash: Calls `crash: func()`. Effects { read_only: false, idempotent: false, destructive: true, open_world: true }
    "#]].assert_eq(&shown.concat());
}

/// Types that are used twice at each level: a small component, a huge signature.
#[test]
fn a_signature_that_doubles() {
    let levels: Vec<String> = (1..14)
        .map(|level| format!("(type $t{level} (tuple $t{0} $t{0}))", level - 1))
        .collect();
    let nested: Vec<String> = (1..60)
        .map(|level| format!("(type $t{level} (list $t{}))", level - 1))
        .collect();
    let component = |types: &[String]| {
        format!(
            r#"(component (core module $m (memory (export "memory") 1) (func (export "f") (result i32) unreachable))
              (core instance $i (instantiate $m)) (type $t0 (tuple char char)) {}
              (func (export "f") (result $t{}) (canon lift (core func $i "f") (memory (core memory $i "memory")))))"#,
            types.concat(),
            types.len()
        )
    };
    let refusal = |types: &[String]| match tools(&component(types)) {
        Ok(_) => "read".to_owned(),
        Err(error) => format!("{}: {error}", error.code()),
    };
    expect!["signature-too-large: `f` can't be a tool: its signature has more than 4096 types"]
        .assert_eq(&refusal(&levels));
    expect![
        "signature-too-large: `f` can't be a tool: its signature has more than 48 levels of types"
    ]
    .assert_eq(&refusal(&nested));
    assert_eq!(refusal(&levels[..8]), "read");
    assert_eq!(refusal(&nested[..40]), "read");
}
