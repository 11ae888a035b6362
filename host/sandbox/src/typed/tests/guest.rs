//! Components written for no host in particular, through the whole sandbox:
//! built from `tests/guests/typed-all` and `tests/guests/typed-resource`.

use bytes::Bytes;
use expect_test::expect;
use serde_json::Value;

use super::schema_check;
use crate::inspect::{Kind, Manifest};
use crate::limits::{ByteSize, Limits, Span};
use crate::sandbox::Plugin;
use crate::testing::{self, TestSandbox};
use crate::{CallReport, Grants};
use std::sync::Arc;
use std::time::Duration;

/// A guest out of the workspace's target folder.
#[expect(clippy::disallowed_methods, reason = "a test reads what was built")]
fn guest(name: &str) -> Bytes {
    let own = std::env::current_exe().expect("this program");
    let mut folders = own.ancestors().map(|dir| dir.join("wasm32-wasip2/guest"));
    let folder = folders.find(|dir| dir.is_dir());
    let file = folder.unwrap_or_default().join(format!("{name}.wasm"));
    let bytes = std::fs::read(&file);
    bytes
        .unwrap_or_else(|error| panic!("{name}.wasm: {error}; run `cargo xtask plugins`"))
        .into()
}

struct Installed {
    test: TestSandbox,
    manifest: Manifest,
    plugin: Arc<Plugin>,
}

async fn installed(limits: Limits) -> Installed {
    let test = testing::sandbox();
    let bytes = guest("typed_all");
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
    expect![[r#""#]].assert_eq(&shown.concat());
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
    expect![[r#""#]].assert_eq(&answers);
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

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    let limits = Limits {
        cpu: Span(Duration::from_millis(50)),
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
    expect![[r#""#]].assert_eq(&answers);
    let well = installed
        .answer("calculator_add", r#"{"a": 1, "b": 2}"#)
        .await;
    assert_eq!(well, "3", "after all that");
}

#[tokio::test(flavor = "multi_thread")]
async fn handles_are_refused() {
    let test = testing::sandbox();
    let error = test.sandbox.inspect(guest("typed_resource")).await;
    let error = error.expect_err("it takes handles");
    assert_eq!(error.code(), "resource-in-signature");
    expect![[r#""#]].assert_eq(&error.to_string());
    assert_eq!(test.sandbox.stats().compiled, 0, "nothing was compiled");
}
