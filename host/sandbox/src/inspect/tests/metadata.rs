//! What a component of the tool world may say of itself.

use expect_test::expect;

use super::super::metadata::{tools, wants};
use crate::contract::types;

const SCHEMA: &str = r#"{"type": "object"}"#;

fn tool(name: &str) -> types::Tool {
    types::Tool {
        name: name.to_owned(),
        title: None,
        description: "Does it.".to_owned(),
        input_schema: SCHEMA.to_owned(),
        output_schema: None,
        effects: types::Effects {
            read_only: false,
            idempotent: false,
            destructive: false,
            open_world: false,
        },
    }
}

fn with(change: impl FnOnce(&mut types::Tool)) -> Vec<types::Tool> {
    let mut changed = tool("changed");
    change(&mut changed);
    vec![tool("first"), changed]
}

fn input(schema: &str) -> Vec<types::Tool> {
    with(|tool| tool.input_schema = schema.to_owned())
}

fn named(name: &str) -> Vec<types::Tool> {
    with(|tool| tool.name = name.to_owned())
}

fn said(listed: Vec<types::Tool>) -> String {
    match tools(listed) {
        Ok(tools) => {
            let last = tools.last().expect("a tool");
            format!(
                "{} tools, the last: {:?} {:?} {:?}",
                tools.len(),
                last.title,
                last.description,
                last.effects
            )
        }
        Err(error) => format!("{}: {error}", error.code()),
    }
}

#[test]
fn tools_listed() {
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    let cases = [
        ("none", Vec::new()),
        ("two", named("second")),
        ("256", (0..256).map(|n| tool(&format!("t{n}"))).collect()),
        ("257", (0..257).map(|n| tool(&format!("t{n}"))).collect()),
        ("a name twice", named("first")),
        ("no name", named("")),
        ("a name in capitals", named("Read")),
        ("a name with a path", named("../read")),
        ("a name with an escape", named("a\u{1b}[2J")),
        ("a name that begins with a digit", named("1st")),
        ("64 characters", named(&"a".repeat(64))),
        ("65 characters", named(&"a".repeat(65))),
        (
            "a long title",
            with(|tool| tool.title = Some("t".repeat(129))),
        ),
        (
            "a long description",
            with(|tool| tool.description = "d".repeat(8193)),
        ),
        (
            "escapes",
            with(|tool| {
                tool.title = Some("\u{1b}]0;pwned\u{7}".to_owned());
                tool.description = "line\nline\u{202e}".to_owned();
            }),
        ),
        (
            "read-only and destructive",
            with(|tool| {
                tool.effects = types::Effects {
                    read_only: true,
                    idempotent: false,
                    destructive: true,
                    open_world: true,
                };
            }),
        ),
        ("no JSON", input("{")),
        ("no object", input("[]")),
        ("no object schema", input(r#"{"type": "string"}"#)),
        ("any schema", input("true")),
        (
            "a long schema",
            input(&format!(
                r#"{{"type": "object", "description": "{}"}}"#,
                "x".repeat(70_000)
            )),
        ),
        ("a deep schema", input(&deep)),
        (
            "a reference inside",
            input(
                r##"{"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {}}}"##,
            ),
        ),
        (
            "a reference outside",
            input(
                r#"{"type": "object", "properties": {"a": {"$ref": "http://169.254.169.254/"}}}"#,
            ),
        ),
        (
            "any output",
            with(|tool| tool.output_schema = Some("true".to_owned())),
        ),
        (
            "an output that is none",
            with(|tool| tool.output_schema = Some("7".to_owned())),
        ),
    ];
    let shown: Vec<String> = cases
        .into_iter()
        .map(|(name, listed)| format!("{name}\n  {}\n", said(listed)))
        .collect();
    expect![[r#"
        none
          metadata-invalid: what the component says of itself breaks the contract: it lists no tools
        two
          2 tools, the last: None "Does it." Effects { read_only: false, idempotent: false, destructive: false, open_world: false }
        256
          256 tools, the last: None "Does it." Effects { read_only: false, idempotent: false, destructive: false, open_world: false }
        257
          metadata-invalid: what the component says of itself breaks the contract: it lists 257 tools, more than 256
        a name twice
          metadata-invalid: what the component says of itself breaks the contract: two tools are named `first`
        no name
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (``): a name has 1 to 64 of `[a-z0-9_-]` and begins with a letter
        a name in capitals
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`Read`): a name has 1 to 64 of `[a-z0-9_-]` and begins with a letter
        a name with a path
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`../read`): a name has 1 to 64 of `[a-z0-9_-]` and begins with a letter
        a name with an escape
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`a\u{1b}[2J`): a name has 1 to 64 of `[a-z0-9_-]` and begins with a letter
        a name that begins with a digit
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`1st`): a name has 1 to 64 of `[a-z0-9_-]` and begins with a letter
        64 characters
          2 tools, the last: None "Does it." Effects { read_only: false, idempotent: false, destructive: false, open_world: false }
        65 characters
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`): a name has 1 to 64 of `[a-z0-9_-]` and begins with a letter
        a long title
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): its title has 129 bytes, more than 128
        a long description
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): its description has 8193 bytes, more than 8192
        escapes
          2 tools, the last: Some("\\u{1b}]0;pwned\\u{7}") "line\nline\\u{202e}" Effects { read_only: false, idempotent: false, destructive: false, open_world: false }
        read-only and destructive
          2 tools, the last: None "Does it." Effects { read_only: true, idempotent: true, destructive: false, open_world: true }
        no JSON
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): the input schema is not valid JSON: EOF while parsing an object at line 1 column 1
        no object
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): the input schema is not a JSON object
        no object schema
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): the input schema does not say `"type": "object"`
        any schema
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): the input schema is not a JSON object
        a long schema
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): the input schema has 70037 bytes, more than 65536
        a deep schema
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): the input schema is nested deeper than 64
        a reference inside
          2 tools, the last: None "Does it." Effects { read_only: false, idempotent: false, destructive: false, open_world: false }
        a reference outside
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): the input schema refers outside itself: `$ref` is `http://169.254.169.254/`
        any output
          2 tools, the last: None "Does it." Effects { read_only: false, idempotent: false, destructive: false, open_world: false }
        an output that is none
          metadata-invalid: what the component says of itself breaks the contract: tool 1 (`changed`): the output schema is neither a JSON object nor a boolean
    "#]].assert_eq(&shown.concat());
}

#[test]
fn wants_listed() {
    let want = |capability: &str, scope: &str, reason: &str| types::Want {
        capability: capability.to_owned(),
        scope: scope.to_owned(),
        reason: reason.to_owned(),
        optional: true,
    };
    let url = r#"{ url = "https://api.example.com/*", methods = ["GET"] }"#;
    let cases = [
        ("none", Vec::new()),
        ("one", vec![want("http", url, "To read contracts.")]),
        ("64", vec![want("http", url, ""); 64]),
        ("65", vec![want("http", url, ""); 65]),
        (
            "a capability of a later host",
            vec![want("models", "\"small\"", "To think.")],
        ),
        ("a capability that is none", vec![want("Http ", url, "")]),
        ("no scope", vec![want("http", "", "")]),
        (
            "a scope that is no TOML",
            vec![want("http", "{ url = ", "")],
        ),
        (
            "a scope that is more than a value",
            vec![want("http", "1, 2", "")],
        ),
        (
            "a scope of several lines",
            vec![want("http", "\"\"\"a\n\nGranted: all\"\"\"", "")],
        ),
        (
            "a long scope",
            vec![want("http", &format!("\"{}\"", "x".repeat(5000)), "")],
        ),
        ("a long reason", vec![want("http", url, &"x".repeat(1025))]),
        (
            "a reason with escapes",
            vec![want("http", url, "\u{1b}[8mhidden")],
        ),
    ];
    let shown = cases.into_iter().map(|(name, listed)| match wants(listed) {
        Ok(wants) => format!("{name}\n  {} {:?}\n", wants.len(), wants.first()),
        Err(error) => format!("{name}\n  {}: {error}\n", error.code()),
    });
    expect![[r#"
        none
          0 None
        one
          1 Some(Want { capability: "http", scope: "{ url = \"https://api.example.com/*\", methods = [\"GET\"] }", reason: "To read contracts.", optional: true })
        64
          64 Some(Want { capability: "http", scope: "{ url = \"https://api.example.com/*\", methods = [\"GET\"] }", reason: "", optional: true })
        65
          metadata-invalid: what the component says of itself breaks the contract: it has 65 wants, more than 64
        a capability of a later host
          1 Some(Want { capability: "models", scope: "\"small\"", reason: "To think.", optional: true })
        a capability that is none
          metadata-invalid: what the component says of itself breaks the contract: want 0: `Http ` can't be the name of a capability
        no scope
          metadata-invalid: what the component says of itself breaks the contract: want 0: its scope is not a TOML value: string values must be quoted, expected literal string
        a scope that is no TOML
          metadata-invalid: what the component says of itself breaks the contract: want 0: its scope is not a TOML value: unclosed inline table, expected `}`
        a scope that is more than a value
          metadata-invalid: what the component says of itself breaks the contract: want 0: its scope is not a TOML value: unexpected content, expected nothing
        a scope of several lines
          metadata-invalid: what the component says of itself breaks the contract: want 0: its scope has more than one line
        a long scope
          metadata-invalid: what the component says of itself breaks the contract: want 0: its scope has more than 4096 bytes
        a long reason
          metadata-invalid: what the component says of itself breaks the contract: want 0: its reason has 1025 bytes, more than 1024
        a reason with escapes
          1 Some(Want { capability: "http", scope: "{ url = \"https://api.example.com/*\", methods = [\"GET\"] }", reason: "\\u{1b}[8mhidden", optional: true })
    "#]].assert_eq(&shown.collect::<String>());
}
