//! The SDK as an author sees it: a plugin with every form of tool, called as the
//! host calls it.

use std::time::Duration;

use airlock_sdk::prelude::*;
use airlock_sdk::testing::{Host, call, check, context, with_kv, with_secret};
use airlock_sdk::{__private, Denial, Plugin, Want, config, kv, log, progress, secrets, task};
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Order {
    /// What is ordered.
    items: Vec<Item>,
    note: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct Item {
    name: String,
    count: u8,
}

#[derive(Serialize, JsonSchema)]
struct Receipt {
    lines: Vec<String>,
}

/// Orders things.
///
/// A second paragraph.
#[tool(idempotent, open_world, title = "Order", name = "place-order")]
fn order(input: Order, context: &Context) -> Result<Receipt, Error> {
    log::info(
        "ordering",
        &[("items", &input.items.len()), ("attempt", &context.attempt)],
    );
    let lines: Vec<String> = input
        .items
        .iter()
        .map(|item| format!("{} x {}", item.count, item.name))
        .collect();
    progress(1.0, Some(2.0), "half");
    Ok(Receipt {
        lines: lines.into_iter().chain(input.note).collect(),
    })
}

/// Waits for one thing after another.
#[tool(read_only)]
async fn wait() -> Result<u32, Error> {
    let start = std::time::Instant::now();
    let both = [
        task::sleep(Duration::from_millis(40)),
        task::sleep(Duration::from_millis(40)),
    ];
    for one in both {
        one.await;
    }
    assert!(start.elapsed() >= Duration::from_millis(80));
    Ok(7)
}

/// Tells who calls.
#[tool(read_only)]
fn whoami(context: &Context) -> Result<String, Error> {
    Ok(context.principal.clone())
}

/// Fails on a file, with the error of the standard library.
#[tool]
fn missing_file() -> Result<String, std::io::Error> {
    std::fs::read_to_string("/no/such/file")
}

mod inner {
    use super::*;

    /// Gives a JSON value of any kind.
    #[tool(read_only)]
    pub(crate) fn anything() -> Result<serde_json::Value, Error> {
        Ok(json!([1]))
    }
}

plugin! {
    tools: [order, wait, whoami, missing_file, inner::anything],
    wants: [
        want!(http, r#"{ url = "https://shop.test/*", methods = ["POST"] }"#, "To order."),
        want!(kv, r#"{ bucket = "seen", bytes = "1MiB" }"#, "To remember.", optional),
    ],
}

#[test]
fn a_tool_describes_itself() {
    let [order, wait, whoami, ..] = PLUGIN.tools() else {
        panic!("the order of the list")
    };
    assert_eq!(
        (order.name(), order.title()),
        ("place-order", Some("Order"))
    );
    assert_eq!(order.description(), "Orders things.\n\nA second paragraph.");
    let effects = order.effects();
    assert_eq!(
        (
            effects.read_only,
            effects.idempotent,
            effects.destructive,
            effects.open_world
        ),
        (false, true, false, true)
    );
    assert!(wait.effects().read_only && wait.effects().idempotent);
    let schema: serde_json::Value = serde_json::from_str(&order.input_schema()).unwrap();
    assert_eq!(
        schema["properties"]["items"]["description"],
        "What is ordered."
    );
    assert_eq!(
        (&schema["type"], &schema["additionalProperties"]),
        (&json!("object"), &json!(false))
    );
    assert!(order.output_schema().unwrap().contains("lines"));
    assert!(whoami.input_schema().contains("\"object\""));
    assert_eq!(PLUGIN.tools()[4].output_schema(), None);
    let optional: Vec<bool> = PLUGIN.wants().iter().map(|want| want.optional).collect();
    assert_eq!(optional, [false, true]);
}

#[test]
fn tools_are_called_with_json() {
    let host = Host::new();
    let receipt = host.run(|| {
        call(
            &PLUGIN,
            "place-order",
            json!({ "items": [{ "name": "tea", "count": 2 }], "note": "now" }),
        )
    });
    assert_eq!(receipt.unwrap(), json!({ "lines": ["2 x tea", "now"] }));
    assert_eq!(
        host.logs()[0].fields,
        [
            ("items".to_owned(), "1".to_owned()),
            ("attempt".to_owned(), "1".to_owned())
        ]
    );
    assert_eq!(
        (host.progress()[0].done, host.progress()[0].total),
        (1.0, Some(2.0))
    );
    assert_eq!(call(&PLUGIN, "wait", json!({})), Ok(json!(7)));
    assert_eq!(
        call(&PLUGIN, "whoami", json!({})),
        Ok(json!(context().principal))
    );
    assert_eq!(call(&PLUGIN, "anything", json!({})), Ok(json!([1])));
}

#[test]
fn input_that_does_not_fit_names_its_field() {
    let cases = [
        (
            r#"{"items":[{"name":"tea","count":2},{"name":"tea","count":300}]}"#,
            "input.items[1].count: invalid value: integer `300`",
        ),
        (
            r#"{"items":[{"name":5,"count":2}]}"#,
            "input.items[0].name: invalid type",
        ),
        (r#"{"items":5}"#, "input.items: invalid type"),
        (r#"{"note":null}"#, "input: missing field `items`"),
        (
            r#"{"items":[],"extra":1}"#,
            "input.extra: unknown field `extra`",
        ),
        (r#"[]"#, "input: "),
        (r#"{"items":[]} x"#, "input: trailing characters"),
        ("{", "input: EOF"),
        ("", "input: EOF"),
        ("\u{0}", "input: expected value"),
    ];
    for (input, expected) in cases {
        match PLUGIN.call("place-order", input, &context()) {
            Err(Error::InvalidInput(message)) => {
                assert!(message.starts_with(expected), "{input}: {message}")
            }
            other => panic!("{input}: {other:?}"),
        }
    }
    assert!(matches!(
        call(&PLUGIN, "nothing", json!({})),
        Err(Error::NotFound(_))
    ));
    assert!(call(&PLUGIN, "whoami", json!({ "x": 1 })).is_err());
}

#[test]
fn errors_of_the_standard_library_become_what_they_stand_for() {
    assert!(matches!(
        call(&PLUGIN, "missing_file", json!({})),
        Err(Error::NotFound(_))
    ));
    use std::io::ErrorKind as Kind;
    let cases = [
        (Kind::NotFound, "not-found"),
        (Kind::PermissionDenied, "denied"),
        (Kind::ReadOnlyFilesystem, "denied"),
        (Kind::TimedOut, "transient"),
        (Kind::StorageFull, "limit"),
        (Kind::InvalidData, "invalid-input"),
        (Kind::IsADirectory, "invalid-input"),
        (Kind::Other, "permanent"),
    ];
    for (kind, code) in cases {
        assert_eq!(
            Error::from(std::io::Error::from(kind)).code(),
            code,
            "{kind:?}"
        );
    }
    let json = serde_json::from_str::<u8>("x").unwrap_err();
    assert_eq!(Error::from(json).code(), "invalid-input");
}

#[test]
fn a_refused_file_is_the_denial_that_the_host_recorded() {
    let denied = Host::new().run(|| {
        let denial = secrets::placeholder("key").unwrap_err();
        (
            denial,
            Error::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied)),
        )
    });
    assert_eq!(denied.0, denied.1);
    assert!(
        matches!(denied.0, Error::Denied(Denial { capability, .. }) if capability == "secrets")
    );
}

#[test]
fn buckets_keep_values_in_tests() {
    with_kv("b", || {
        let bucket = kv::Bucket::open("b").unwrap();
        assert_eq!(bucket.get("a"), Ok(None));
        bucket.set_json("a", &json!({ "n": 1 })).unwrap();
        assert_eq!(bucket.get_json("a"), Ok(Some(json!({ "n": 1 }))));
        assert_eq!(
            bucket.get_json::<u8>("a").map_err(|error| error.code()),
            Err("permanent")
        );
        assert_eq!(
            (bucket.increment("n", 5), bucket.increment("n", -7)),
            (Ok(5), Ok(-2))
        );
        assert_eq!(
            bucket.increment("a", 1).map_err(|error| error.code()),
            Err("permanent")
        );
        assert_eq!(bucket.compare_and_swap("c", None, b"1"), Ok(true));
        assert_eq!(bucket.compare_and_swap("c", None, b"2"), Ok(false));
        assert_eq!(bucket.compare_and_swap("c", Some(b"1"), b"2"), Ok(true));
        let mut others = 2;
        bucket
            .update("c", |current| {
                if others > 0 {
                    others -= 1;
                    bucket.set("c", &[others]).unwrap();
                }
                Ok([current.unwrap(), b"!".to_vec()].concat())
            })
            .unwrap();
        assert_eq!(bucket.get("c"), Ok(Some(vec![0, b'!'])));
        for key in ["x1", "x2", "x3", "x4"] {
            bucket.set(key, b"").unwrap();
        }
        assert_eq!(
            bucket.list().unwrap(),
            ["a", "c", "n", "x1", "x2", "x3", "x4"]
        );
        bucket.delete("c").unwrap();
        assert_eq!(bucket.exists("c"), Ok(false));
        assert_eq!(
            kv::Bucket::open("other").err().map(|error| error.code()),
            Some("denied")
        );
    });
}

#[test]
fn nothing_is_granted_by_default() {
    Host::new().run(|| {
        assert!(matches!(secrets::placeholder("key"), Err(Error::Denied(_))));
        assert!(kv::Bucket::open("b").is_err());
        assert_eq!(config::get("k"), Ok(None));
    });
    with_secret("key", || assert!(secrets::placeholder("key").is_ok()));
    let host = Host::new().config("k", "v");
    assert_eq!(
        host.run(config::all),
        Ok(vec![("k".to_owned(), "v".to_owned())])
    );
}

#[test]
fn the_check_finds_what_the_host_would_refuse() {
    /// Takes a number.
    #[tool(read_only)]
    fn number(input: u8) -> Result<u8, Error> {
        Ok(input)
    }
    static NOT_AN_OBJECT: Plugin = __private::plugin(
        const {
            &[<put_the_tool_attribute_on_number_or_list_it_as_its_module_and_number as __private::ToolDefinition>::TOOL]
        },
        &[],
    );
    let want = |scope| Want {
        capability: "http",
        scope,
        reason: "To look.",
        optional: false,
    };
    assert!(check(&NOT_AN_OBJECT).unwrap_err().contains("not an object"));
    for (scope, problem) in [
        ("{ url = ", "not TOML"),
        ("1\nother = 2", "more than one value"),
        ("", "not TOML"),
    ] {
        let wants: &'static [Want] = Vec::leak(vec![want(scope)]);
        let plugin = __private::plugin(PLUGIN.tools(), wants);
        assert!(check(&plugin).unwrap_err().contains(problem), "{scope}");
    }
    assert_eq!(check(&PLUGIN), Ok(()));
}
