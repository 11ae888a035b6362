//! Components written for no host in particular, through the whole sandbox:
//! built from `tests/guests/typed-all` and `tests/guests/typed-resource`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use expect_test::expect;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use super::{fuzz, lower, schema_check, wit};
use crate::inspect::{Kind, Manifest};
use crate::limits::{ByteSize, Limits, Span};
use crate::sandbox::Plugin;
use crate::testing::{self, TestSandbox, built};
use crate::{CallReport, Grants};
struct Installed {
    test: TestSandbox,
    manifest: Manifest,
    plugin: Arc<Plugin>,
}

async fn installed(limits: Limits) -> Installed {
    install("typed_all", limits).await
}

async fn install(name: &str, limits: Limits) -> Installed {
    install_bytes(built(name), limits).await
}

async fn install_bytes(bytes: Bytes, limits: Limits) -> Installed {
    let test = testing::sandbox();
    test.components.add(bytes.clone());
    let manifest = test.sandbox.inspect(bytes).await.expect("it installs");
    let plugin = test.sandbox.plugin(
        "everything",
        Arc::new(manifest.clone()),
        1,
        Grants::default(),
        limits,
    );
    Installed {
        test,
        manifest,
        plugin: plugin.expect("a plugin"),
    }
}

impl Installed {
    async fn call(&self, tool: &str, input: &str) -> CallReport {
        let request = testing::request(tool, input);
        self.test.sandbox.call(&self.plugin, request).await
    }

    async fn answer(&self, tool: &str, input: &str) -> String {
        match self.call(tool, input).await.result {
            Ok(output) => self.checked(tool, output),
            Err(error) => error.to_string(),
        }
    }

    /// What a tool answers is what its schema says.
    fn checked(&self, tool: &str, output: String) -> String {
        let value: Value = serde_json::from_str(&output).expect("JSON");
        let info = self.manifest.tools.iter().find(|info| info.name == tool);
        let schema = info.and_then(|info| info.output_schema.as_ref());
        let schema = schema.expect("an output schema");
        assert!(
            schema_check::accepts(schema, &value),
            "{tool}: {output} under {schema}"
        );
        output
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_installs() {
    let Installed { manifest, .. } = installed(Limits::default()).await;
    assert_eq!((manifest.kind, manifest.contract), (Kind::Typed, None));
    let tools = manifest.tools.iter();
    let shown: Vec<String> = tools
        .map(|tool| format!("{}: {}\n", tool.name, tool.description))
        .collect();
    expect![[r#"
        greet: Greets on stdout, and says how long the greeting was.
        spin: Calls `spin: func()`.
        produce: Calls `produce: func(count: u32) -> list<u8>`.
        echo_bools: Calls `samples:everything/echo@0.1.0#bools: func(value: bool) -> bool`.
        echo_unsigned: Calls `samples:everything/echo@0.1.0#unsigned: func(a: u8, b: u16, c: u32, d: u64) -> tuple<u8, u16, u32, u64>`.
        echo_signed: Calls `samples:everything/echo@0.1.0#signed: func(a: s8, b: s16, c: s32, d: s64) -> tuple<s8, s16, s32, s64>`.
        echo_floats: Calls `samples:everything/echo@0.1.0#floats: func(a: f32, b: f64) -> tuple<f32, f64>`.
        echo_chars: Calls `samples:everything/echo@0.1.0#chars: func(value: char) -> char`.
        echo_strings: Calls `samples:everything/echo@0.1.0#strings: func(value: string) -> string`.
        echo_bytes: Calls `samples:everything/echo@0.1.0#bytes: func(value: list<u8>) -> list<u8>`.
        echo_lists: Calls `samples:everything/echo@0.1.0#lists: func(value: list<list<string>>) -> list<list<string>>`.
        echo_enums: Calls `samples:everything/echo@0.1.0#enums: func(value: enum) -> enum`.
        echo_flag-sets: Calls `samples:everything/echo@0.1.0#flag-sets: func(value: flags) -> flags`.
        echo_records: Calls `samples:everything/echo@0.1.0#records: func(value: record) -> record`.
        echo_variants: Calls `samples:everything/echo@0.1.0#variants: func(value: list<variant>) -> list<variant>`.
        echo_options: Calls `samples:everything/echo@0.1.0#options: func(value: option<option<u8>>) -> option<option<u8>>`.
        echo_results: Calls `samples:everything/echo@0.1.0#results: func(value: result<u8, string>) -> tuple<result<u8, string>, result>`.
        calculator_add: Adds two numbers.
        calculator_divide: Divides, or says why not.
    "#]].assert_eq(&shown.concat());
    assert!(manifest.tools.iter().all(|tool| tool.effects.read_only));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back() {
    let installed = installed(Limits::default()).await;
    let cases = [
        ("echo_bools", r#"{"value": true}"#),
        (
            "echo_unsigned",
            r#"{"a": 255, "b": 65535, "c": 4294967295, "d": "18446744073709551615"}"#,
        ),
        (
            "echo_signed",
            r#"{"a": -128, "b": -32768, "c": -2147483648, "d": "-9223372036854775808"}"#,
        ),
        ("echo_floats", r#"{"a": "NaN", "b": "-Infinity"}"#),
        ("echo_floats", r#"{"a": 0.1, "b": -0.0}"#),
        ("echo_chars", r#"{"value": "😀"}"#),
        ("echo_strings", r#"{"value": "héllo\n\u0000"}"#),
        ("echo_bytes", r#"{"value": "AP8="}"#),
        ("echo_lists", r#"{"value": [["a"], [], ["b", "c"]]}"#),
        ("echo_enums", r#"{"value": "green"}"#),
        ("echo_flag-sets", r#"{"value": ["delete-all", "read"]}"#),
        ("echo_records", r#"{"value": {"x": 1.5, "label": "here"}}"#),
        (
            "echo_variants",
            r#"{"value": ["nothing", {"circle": {"x": 1, "y": 2, "label": ""}}, {"polygon": []}]}"#,
        ),
        ("echo_options", r#"{"value": null}"#),
        ("echo_options", r#"{"value": {"some": null}}"#),
        ("echo_options", r#"{"value": {"some": 7}}"#),
        ("echo_results", r#"{"value": {"ok": 1}}"#),
        ("echo_results", r#"{"value": {"err": "no"}}"#),
        ("calculator_add", r#"{"a": 2147483647, "b": 1}"#),
        ("calculator_divide", r#"{"a": 7, "b": 2}"#),
        ("calculator_divide", r#"{"a": 7, "b": 0}"#),
        ("calculator_divide", r#"{"a": 7, "b": 2147483648}"#),
        ("calculator_divide", r#"{"a": 7}"#),
        ("calculator_multiply", r#"{"a": 7, "b": 2}"#),
        ("produce", r#"{"count": 5}"#),
    ];
    let mut answers = String::new();
    for (tool, input) in cases {
        let answer = installed.answer(tool, input).await;
        answers.push_str(&format!("{tool} {input}\n  {answer}\n"));
    }
    expect![[r#"
        echo_bools {"value": true}
          true
        echo_unsigned {"a": 255, "b": 65535, "c": 4294967295, "d": "18446744073709551615"}
          [255,65535,4294967295,"18446744073709551615"]
        echo_signed {"a": -128, "b": -32768, "c": -2147483648, "d": "-9223372036854775808"}
          [-128,-32768,-2147483648,"-9223372036854775808"]
        echo_floats {"a": "NaN", "b": "-Infinity"}
          ["NaN","-Infinity"]
        echo_floats {"a": 0.1, "b": -0.0}
          [0.1,-0.0]
        echo_chars {"value": "😀"}
          "😀"
        echo_strings {"value": "héllo\n\u0000"}
          "héllo\n\u0000"
        echo_bytes {"value": "AP8="}
          "AP8="
        echo_lists {"value": [["a"], [], ["b", "c"]]}
          [["a"],[],["b","c"]]
        echo_enums {"value": "green"}
          "green"
        echo_flag-sets {"value": ["delete-all", "read"]}
          ["read","delete-all"]
        echo_records {"value": {"x": 1.5, "label": "here"}}
          {"x":1.5,"y":null,"label":"here"}
        echo_variants {"value": ["nothing", {"circle": {"x": 1, "y": 2, "label": ""}}, {"polygon": []}]}
          ["nothing",{"circle":{"x":1.0,"y":2.0,"label":""}},{"polygon":[]}]
        echo_options {"value": null}
          null
        echo_options {"value": {"some": null}}
          {"some":null}
        echo_options {"value": {"some": 7}}
          {"some":7}
        echo_results {"value": {"ok": 1}}
          [{"ok":1},"ok"]
        echo_results {"value": {"err": "no"}}
          [{"err":"no"},"err"]
        calculator_add {"a": 2147483647, "b": 1}
          2147483648
        calculator_divide {"a": 7, "b": 2}
          3
        calculator_divide {"a": 7, "b": 0}
          permanent: "7 can't be divided by 0"
        calculator_divide {"a": 7, "b": 2147483648}
          invalid input: at /b: expected an integer from -2147483648 to 2147483647, found `2147483648`
        calculator_divide {"a": 7}
          invalid input: the input: expected an object with `a`, `b`, found no member `b`
        calculator_multiply {"a": 7, "b": 2}
          not found: `everything` has no tool `calculator_multiply`
        produce {"count": 5}
          "BwcHBwc="
    "#]].assert_eq(&answers);
}

/// Random values of every type go through a real component and come back.
#[tokio::test(flavor = "multi_thread")]
async fn fuzz_every_type_comes_back() {
    let installed = installed(Limits::default()).await;
    let echoes = [
        ("echo_bools", "bool"),
        ("echo_chars", "char"),
        ("echo_strings", "string"),
        ("echo_bytes", "list<u8>"),
        ("echo_lists", "list<list<string>>"),
        ("echo_enums", "enum { red, green, blue }"),
        ("echo_flag-sets", "flags { read, write, delete-all }"),
        (
            "echo_records",
            "record { x: f64, y: option<f32>, label: string }",
        ),
        (
            "echo_variants",
            "list<variant { nothing, circle(record { x: f64, y: option<f32>, label: string }), \
             polygon(list<record { x: f64, y: option<f32>, label: string }>) }>",
        ),
        ("echo_options", "option<option<u8>>"),
    ];
    let mut runner = TestRunner::new(Config {
        failure_persistence: None,
        ..airlock_fuzz::cases(200)
    });
    for (tool, wit) in echoes {
        let ty = wit::ty(wit);
        let values = fuzz::values(&ty);
        for _ in 0..runner.config().cases.div_ceil(10) {
            let value = values.new_tree(&mut runner).expect("a value").current();
            let json = lower(&ty, &value);
            let input = format!(r#"{{"value": {json}}}"#);
            assert_eq!(installed.answer(tool, &input).await, json, "{tool}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_is_in_the_log() {
    let installed = installed(Limits::default()).await;
    let report = installed.call("greet", r#"{"name": "Ada"}"#).await;
    assert_eq!(report.result.as_deref(), Ok("11"));
    let log: Vec<(&str, &str)> = report
        .log
        .iter()
        .map(|record| (record.level.as_str(), record.message.as_str()))
        .collect();
    assert_eq!(log, [("stdout", "Hello, Ada!")]);
}

/// A program with a `main` is a tool named `run`.
#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_program() {
    let program = install("typed-command", Limits::default()).await;
    let tools = program.manifest.tools.iter();
    let names: Vec<&str> = tools.map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["run"]);
    let report = program.call("run", "{}").await;
    assert_eq!(report.result.as_deref(), Ok("null"));
    let log = report.log.iter();
    let log: Vec<String> = log
        .map(|record| format!("{}: {}\n", record.level, record.message))
        .collect();
    expect![[r#"
        stdout: arguments 0, variables 0, stdin Ok(0)
        stderr: no such file: true
    "#]]
    .assert_eq(&log.concat());
}

/// A component that exports `function`, without parameters, as `interface`, and
/// exits with `status` when it is called.
fn exits(interface: &str, function: &str, status: u32) -> Bytes {
    let text = format!(
        r#"(component
             (import "wasi:cli/exit@0.2.0" (instance $cli
               (export "exit" (func (param "status" (result))))))
             (core func $exit (canon lower (func $cli "exit")))
             (core module $main
               (import "cli" "exit" (func $exit (param i32)))
               (func (export "run") (result i32) (call $exit (i32.const {status})) (unreachable)))
             (core instance $main (instantiate $main
               (with "cli" (instance (export "exit" (func $exit))))))
             (func $run (result (result)) (canon lift (core func $main "run")))
             (instance $exported (export "{function}" (func $run)))
             (export "{interface}" (instance $exported)))"#
    );
    wat::parse_str(text).expect("a component").into()
}

/// For a program the exit status is all there is to say; other functions have to
/// return.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_exit() {
    let (program, library) = ("wasi:cli/run@0.2.0", "samples:work/jobs@0.1.0");
    for (interface, function, status, expect) in [
        (program, "run", 0, "null"),
        (
            program,
            "run",
            1,
            "permanent: the program exited with status 1",
        ),
        (
            library,
            "run",
            0,
            "outcome unknown: the tool exited with status 0 instead of answering: there is no result, and its work may be done",
        ),
        (
            library,
            "run",
            1,
            "permanent: the tool exited with status 1 instead of answering: it says that it failed",
        ),
    ] {
        let installed = install_bytes(exits(interface, function, status), Limits::default()).await;
        let tool = installed.manifest.tools[0].name.clone();
        let answer = installed.answer(&tool, "{}").await;
        assert_eq!(answer, expect, "{interface} with status {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    let limits = Limits {
        cpu: Span(Duration::from_millis(300)),
        // It is computed at a low priority, and others may compute as well.
        wall: Span(Duration::from_secs(300)),
        output: ByteSize(64 << 10),
        ..Limits::default()
    };
    let installed = installed(limits).await;
    let long = format!(r#"{{"value": "{}"}}"#, "x".repeat(60_000));
    let longer = format!(r#"{{"value": "{}"}}"#, "x".repeat(70_000));
    let many = format!(r#"{{"value": "{}"}}"#, "AAAA".repeat(200_000));
    let cases = [
        ("spin", "{}"),
        ("produce", r#"{"count": 40000}"#),
        ("produce", r#"{"count": 60000}"#),
        ("produce", r#"{"count": 1000000}"#),
        ("produce", r#"{"count": 4000000000}"#),
        ("echo_strings", &long),
        ("echo_strings", &longer),
        ("echo_bytes", &many),
    ];
    let mut answers = String::new();
    for (tool, input) in cases {
        let mut answer = installed.answer(tool, input).await;
        answer.truncate(60);
        let input: String = input.chars().take(30).collect();
        answers.push_str(&format!("{tool} {input} {answer}\n"));
    }
    expect![[r#"
        spin {} limit cpu reached (300ms)
        produce {"count": 40000} "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc
        produce {"count": 60000} limit output reached (64KiB)
        produce {"count": 1000000} limit host_memory reached (16MiB)
        produce {"count": 4000000000} permanent: the tool aborted, as it does in a panic (wasm tra
        echo_strings {"value": "xxxxxxxxxxxxxxxxxxx "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
        echo_strings {"value": "xxxxxxxxxxxxxxxxxxx limit output reached (64KiB)
        echo_bytes {"value": "AAAAAAAAAAAAAAAAAAA limit host_memory reached (16MiB)
    "#]].assert_eq(&answers);
    let well = installed
        .answer("calculator_add", r#"{"a": 1, "b": 2}"#)
        .await;
    assert_eq!(well, "3", "after all that");
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_are_refused() {
    let test = testing::sandbox();
    let error = test.sandbox.inspect(built("typed_resource")).await;
    let error = error.expect_err("it takes handles");
    assert_eq!(error.code(), "resource-in-signature");
    expect!["`samples:handles/counters@0.1.0#[constructor]counter` can't be a tool: the result is a resource handle; only plain values can be passed as JSON"].assert_eq(&error.to_string());
    assert_eq!(test.sandbox.stats().compiled, 0, "nothing was compiled");
}
