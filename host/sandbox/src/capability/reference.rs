//! `docs/capabilities.md`, made from the registry and the schema of grants; the
//! test fails while the page says something else. `UPDATE_EXPECT=1` rewrites it.

use std::fmt::Write as _;

use serde_json::Value;

use super::{LISTED, Listed, schema};
use crate::limits::Limits;
use crate::testing::grants;

/// What the schema cannot say of a room.
struct Notes {
    name: &'static str,
    /// Grants that parse and hold together; empty for a room without rules.
    example: &'static str,
    /// Operations as `airlock explain` takes them, and what each needs.
    operations: &'static [(&'static str, &'static str)],
    /// Bounds, and what a guest gets when it is refused.
    notes: &'static str,
}

const NOTES: &[Notes] = &[
    Notes {
        name: "files",
        example: r#"files = [
    { host = "/srv/invoices", guest = "/invoices", access = "read" },
    { host = "/srv/reports", guest = "/reports", access = "read-write", bytes = "100MiB", files = 500 },
]"#,
        operations: &[
            ("read PATH", "any rule whose `guest` covers the path"),
            ("list PATH", "the same"),
            ("stat PATH", "the same"),
            ("write PATH", "`access = \"read-write\"`"),
            ("create PATH", "the same"),
            ("delete PATH", "the same"),
            ("rename PATH", "the same, at both ends, within one rule"),
            ("link PATH", "never granted"),
        ],
        notes: "The longest `guest` that covers a path alone decides. Paths are the guest's. No \
                path, link or rename leads out of a granted directory; devices, pipes and sockets \
                are not opened. Airlock's own data and keys are never granted, nor what holds them or \
                lies in them. Refused: `not-permitted`; a write beyond a quota: `quota`. A path under \
                no rule is refused and on record too.",
    },
    Notes {
        name: "http",
        example: r#"http = [
    { url = "https://api.example.com/v1/contracts/*", methods = ["GET"], secret = "contracts-key" },
    { url = "https://*.files.example.com:8443/**", methods = ["GET", "PUT"], request_bytes = "10MiB", rate = "100/min" },
    { url = "http://10.0.0.7/status", allow_private = true },
]"#,
        operations: &[
            ("METHOD URL", "a rule whose `url` and `methods` cover it"),
            (
                "METHOD URL secret=NAME",
                "such a rule that has `secret = \"NAME\"`",
            ),
        ],
        notes: "A `url` is `scheme://host[:port][/path]`. The host is exact, or `*.example.com`, \
                which covers one label. Without a port the scheme's own is meant, without a path \
                `/` alone. `*` covers one segment of the path that is not empty, `**` at the end \
                everything from there on; the query is not matched. Names are resolved once, every \
                address is checked, and the checked address is dialled. Redirects go back to the \
                guest. A tool called as read-only can send GET and HEAD alone. Refused: \
                `HTTP-request-denied`.",
    },
    Notes {
        name: "secrets",
        example: r#"http = [{ url = "https://api.example.com/**", secret = "contracts-key" }]"#,
        operations: &[(
            "placeholder NAME",
            "an `http` rule with `secret = \"NAME\"`",
        )],
        notes: "Has no rules of its own. The guest sees a placeholder; the host puts the value \
                into the headers or the query of a request that the rule covers, and takes it out \
                of the response. Refused: `denied`, with the missing rule.",
    },
    Notes {
        name: "kv",
        example: r#"kv = [
    { bucket = "seen", bytes = "1MiB" },
    { bucket = "rates", scope = "plugin", access = "read", keys = 100 },
]"#,
        operations: &[
            (
                "open BUCKET",
                "a rule with the bucket's name; the first one holds",
            ),
            ("get BUCKET KEY", "the same"),
            ("exists BUCKET KEY", "the same"),
            ("list BUCKET", "the same"),
            ("set BUCKET KEY", "`access = \"read-write\"`"),
            ("delete BUCKET KEY", "the same"),
            ("increment BUCKET KEY", "the same"),
            ("swap BUCKET KEY", "the same"),
        ],
        notes: "A key has 1 to 1024 bytes, a value at most 1 MiB, a batch at most 1000 keys, a page \
                of a listing at most 256. A change is durable when it returns; a batch happens \
                whole or not at all. What it writes, replaces and removes counts against \
                `host_memory` until then. Numbers for `increment` are decimal text. A quota counts keys \
                and values, for each owner by itself; a bucket over a lowered quota can still \
                shrink. Refused, a quota included: `access-denied`; a name that no rule can have: \
                `no-such-store`; the rest: `other` with the reason.",
    },
    Notes {
        name: "env",
        example: r#"env = [{ name = "TZ", value = "Europe/Zurich" }]"#,
        operations: &[("read NAME", "a rule with the name")],
        notes: "The interface asks for all variables at once: a guest sees those of the rules, \
                none without a rule. Arguments are always empty, there is no working directory, \
                and the host's own environment is never read. Of two rules with one name the first \
                holds.",
    },
    Notes {
        name: "config",
        example: r#"config = [{ key = "currency", value = "CHF" }]"#,
        operations: &[("get KEY", "a rule with the key"), ("get-all", "any rule")],
        notes: "A key without a rule has no value, and the attempt is on record. Without any rule: \
                `upstream`, with the missing rule. Of two rules with one key the first holds.",
    },
    Notes {
        name: "clocks",
        example: "",
        operations: &[("read", "nothing"), ("sleep", "nothing")],
        notes: "The monotonic clock begins with the call and has steps of 1 µs. A sleep ends with \
                the call's deadline at the latest.",
    },
    Notes {
        name: "random",
        example: "",
        operations: &[("read", "nothing")],
        notes: "Bytes come from the operating system, for the insecure interfaces too. A request \
                beyond the `random` limit ends the call with `limit`.",
    },
    Notes {
        name: "log",
        example: "",
        operations: &[("write", "nothing"), ("progress", "nothing")],
        notes: "stdout, stderr and structured records share the `log` limit; what exceeds it is \
                dropped and counted, and the call goes on. Control characters, line ends inside a \
                record and characters that reorder text are escaped; a line over 8 KiB becomes \
                several records; a record costs 32 bytes beside its text. At most 100 progress \
                reports a second reach watchers, a later one replacing an earlier one. \
                Who calls the tool sees what was written if they ask for it \
                (`airlock tool call --log`), an administrator in \
                [Airlock's log](administration.md#the-log), at `debug` under `airlock::guest`.",
    },
    Notes {
        name: "tools",
        example: r#"tools = [
    { tool = "files/read" },
    { tool = "files/write", approval = "always", due = "24h" },
    { tool = "pay/*", approvers = 2, due = "8h", on_due = "escalate", escalate_to = "admin" },
    { tool = "table/*", retry = { attempts = 3, backoff = "1s" } },
]"#,
        operations: &[(
            "call PLUGIN/TOOL",
            "a rule that names the tool, or its plugin with `*`",
        )],
        notes: "For agents. The call is made in the name and scope of whoever started the run, with \
                the grants and the effect class of the tool's own plugin. Refused: `denied`. \
                `retry` has `attempts` (5), `backoff` (`200ms`) and `backoff_max` (`30s`); its \
                attempts are counted over restarts. `on_error` says for an error's code, once no \
                attempt is left, `tell` (the agent; the default), `escalate` or `abort` (the \
                run). See [what an agent does without asking](agents.md#what-it-does-without-asking).",
    },
    Notes {
        name: "agents",
        example: r#"agents = [{ agent = "checker" }]"#,
        operations: &[("start AGENT", "a rule that names the agent")],
        notes: "For agents. The child runs in the name and scope of whoever started its parent, with \
                the same autonomy, its own plugin's grants and a share of its parent's budget. \
                Refused: `denied`.",
    },
    Notes {
        name: "models",
        example: r#"models = [
    { role = "fast", run_tokens = 2000000, run_cost = "1.50", day_cost = "20" },
    { role = "vision", images = true, output_tokens = 4000, on_error = { permanent = "escalate" } },
]"#,
        operations: &[
            ("ask ROLE", "a rule that names the role"),
            ("ask ROLE images", "such a rule with `images = true`"),
        ],
        notes: "For agents. A role is one of the host's configuration, which says which models stand \
                for it ([models](models.md)). Costs are texts in the currency of that configuration. \
                What a request may use at most is set aside before it is sent and must fit in the \
                run's budget, the rule's `run_…`, and what the agent has left of the day, UTC; else \
                the answer is `limit`. `retry` has `attempts` (5), `backoff` (`200ms`) and \
                `backoff_max` (`30s`). Refused: `denied`.",
    },
    Notes {
        name: "memory",
        example: r#"memory = [
    { namespace = "run", access = "write" },
    { namespace = "agent", access = "write", documents = 5000, bytes = "50MiB", ttl = "90d" },
    { namespace = "shared/handbook" },
    { namespace = "shared/team-*", access = "write" },
]"#,
        operations: &[
            (
                "get NAMESPACE ID",
                "a rule that covers the namespace: `run`, `agent` or `shared/NAME`",
            ),
            ("list NAMESPACE", "the same"),
            ("search NAMESPACE", "the same, for each namespace it names"),
            ("put NAMESPACE ID", "such a rule with `access = \"write\"`"),
            ("delete NAMESPACE ID", "the same"),
        ],
        notes: "For agents and for tools ([memory](memory.md)); `run` is an agent's alone. Of the rules \
                that cover a namespace, the first that allows the operation holds, with its \
                quotas and `ttl`; where it ends in `*`, they are those of each namespace by \
                itself. What is under `agent` is the plugin's own, each caller's by \
                itself unless `scope = \"plugin\"`; it is erased with the plugin. What is under \
                `shared/` is for all that were granted it, whoever they work for. \
                What a tool asks counts four times against `host_memory` while it is read. \
                Refused, a quota included: `denied`.",
    },
];

const INTRODUCTION: &str = "# Capabilities

<!-- Made by the test `capability::reference` from the code; edit that. -->

Nothing is granted by default. An administrator writes, for one plugin, a list of
rules for each capability and the effect class of its tools:

```toml
[plugins.invoices.grants]
files = [{ host = \"/srv/invoices\", guest = \"/invoices\", access = \"read\" }]
effects = { list = \"read-only\", submit = \"plain\" }
```

Unknown keys are errors. Sizes are written `64MiB` (also B, KiB, GiB, kB, MB, GB),
times `500ms`, `10s`, `2m`, rates `10/s`, `100/min`, `1000/h`.

A capability that a component imports and nobody granted links, and refuses. Each
refusal is in the call's `denials` with the rule that was missing, and in the
audit; the guest can ask for the last one with `last-denial` of `airlock:tool/host`.
A rule that is removed or changed stops what runs under it: the next use of an open
file, bucket or response is refused.

`effects` sets the class of each tool: `plain` (may not be repeated), `idempotent`,
`destructive` or `read-only`. What a tool claims is believed only where it asks for
more care: one without a class is `destructive` where it claims that, else `plain`. A tool called as `read-only` reads
whatever else is granted and changes nothing.

`airlock explain PLUGIN CAPABILITY OPERATION` says whether the grants allow an
operation and by which rule; the operations are listed with each capability. With
`--tool` it is about one tool; without, tools whose class denies it are named.

Two rules of a capability must be for different things: another `guest` path, `bucket`,
`name` or `key`, or for `http` another `url`, `methods`, `secret`, `allow_private` or
`allow_own`. A second rule for the same is refused.

Of `tools` and `http` rules, the first that covers an operation decides, so the narrower one
stands first. One that a rule before it covers never holds; `airlock grant`, which adds at
the end, and `airlock apply` warn of it. An `http` rule whose `url` names a private address
covers nothing without `allow_private`; they warn of that too.
";

const INERT: &str = "
## Always there, reaching nothing

Standard libraries import these, so they link for every component and no grant
changes them:

| interface | what it does |
|---|---|
| `wasi:io` | streams and pollables of the other capabilities; at most 10000 pollables in one `poll` |
| `wasi:cli/stdin` | is empty |
| `wasi:cli/exit` | ends the call without a result: `unknown` with status 0 (its work may be done; `permanent` when called as read-only), else `permanent`. Only a program's `main` (`wasi:cli/run`) may: 0 is success |
| `wasi:cli/terminal-*` | there is no terminal |
| `wasi:sockets` | creating a socket and looking up a name are refused, and on record; sockets cannot be granted |

A component that imports anything else is refused when it is installed, by the name
of the interface.
";

fn page() -> String {
    let schema = schema();
    let mut page = INTRODUCTION.to_owned();
    for room in LISTED {
        let notes = NOTES.iter().find(|notes| notes.name == room.name);
        write_room(&mut page, &schema, room, notes.expect(room.name));
    }
    page.push_str(INERT);
    write_limits(&mut page);
    page
}

fn write_room(page: &mut String, schema: &Value, room: &Listed, notes: &Notes) {
    let _ = write!(page, "\n## `{}`\n\n{}\n\n", room.name, room.summary);
    let interfaces = room.interfaces.iter().map(|(name, versions)| {
        let versions: Vec<String> = versions.iter().map(|v| version(v)).collect();
        format!("`{name}` ({})", versions.join(", "))
    });
    match interfaces.collect::<Vec<_>>() {
        none if none.is_empty() => page.push_str("Serves no interface.\n\n"),
        some => {
            let _ = writeln!(page, "Serves {}.\n", some.join(", "));
        }
    }
    match rule_of(schema, room.name) {
        Some(rule) => write_rule(page, schema, rule),
        None => page.push_str("It takes no rules.\n"),
    }
    if !notes.example.is_empty() {
        let _ = writeln!(page, "\n```toml\n{}\n```", notes.example);
    }
    page.push_str("\n| operation | needs |\n|---|---|\n");
    for (operation, needs) in notes.operations {
        let _ = writeln!(page, "| `{operation}` | {needs} |");
    }
    let _ = writeln!(page, "\n{}", notes.notes);
}

fn version(accepted: &str) -> String {
    match accepted.contains('-') || accepted.matches('.').count() == 2 {
        true => accepted.to_owned(),
        false => format!("{accepted}.x"),
    }
}

fn rule_of<'s>(schema: &'s Value, room: &str) -> Option<&'s Value> {
    let items = &schema["properties"][room]["items"];
    let rule = resolve(schema, items);
    rule.get("properties").map(|_| rule)
}

fn resolve<'s>(schema: &'s Value, part: &'s Value) -> &'s Value {
    let named = part
        .get("$ref")
        .or_else(|| part.get("anyOf")?.get(0)?.get("$ref"));
    match named.and_then(Value::as_str) {
        Some(path) => schema.pointer(&path[1..]).expect(path),
        None => part,
    }
}

fn write_rule(page: &mut String, schema: &Value, rule: &Value) {
    page.push_str("| key | value | default | what it is |\n|---|---|---|---|\n");
    let required = rule["required"].as_array().cloned().unwrap_or_default();
    for (key, property) in rule["properties"].as_object().expect("properties") {
        let default = match property.get("default") {
            _ if required.contains(&Value::from(key.as_str())) => "required".to_owned(),
            Some(Value::Null) | None => said_default(property),
            Some(value) => format!("`{value}`"),
        };
        let what = property["description"].as_str().expect(key);
        let what = what
            .replace('\n', " ")
            .replace(", see [`UrlPattern`]", ", see below");
        let kind = kind(schema, property);
        let _ = writeln!(page, "| `{key}` | {kind} | {default} | {what} |");
    }
}

/// The default of a key that the schema has none for: what its description says.
fn said_default(property: &Value) -> String {
    if property["type"] == "boolean" {
        return "`false`".to_owned();
    }
    let what = property["description"].as_str().unwrap_or_default();
    let said = what.split_once("Default ").map(|(_, rest)| rest);
    let word = said.and_then(|rest| rest.split([';', '.', ' ']).next());
    word.map_or_else(|| "none".to_owned(), |word| format!("`{word}`"))
}

fn kind(schema: &Value, property: &Value) -> String {
    let named = property.to_string();
    for (name, kind) in [("ByteSize", "size"), ("Span", "time"), ("Rate", "rate")] {
        if named.contains(&format!("$defs/{name}")) {
            return kind.to_owned();
        }
    }
    let target = resolve(schema, property);
    if let Some(choices) = target.get("oneOf").and_then(Value::as_array) {
        let words = choices.iter().filter_map(|choice| choice["const"].as_str());
        return words
            .map(|word| format!("`\"{word}\"`"))
            .collect::<Vec<_>>()
            .join(" or ");
    }
    let types = [&target["type"], &target["type"][0]];
    match types.iter().find_map(|kind| kind.as_str()) {
        Some("integer") => "number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("array") => "list".to_owned(),
        Some("object") => "table".to_owned(),
        _ => "text".to_owned(),
    }
}

fn write_limits(page: &mut String) {
    page.push_str(
        "\n## Limits\n\nFor each plugin, under `[plugins.NAME.limits]`; all are on by default. \
         What a limit ends is one call, with `limit` and the limit's name; \
         what exceeds `log` is dropped instead.\n\n\
         | limit | default | lowest | highest | what it bounds |\n|---|---|---|---|---|\n",
    );
    let schema = schemars::schema_for!(Limits).to_value();
    let defaults = serde_json::to_value(Limits::default()).expect("JSON");
    for range in Limits::ranges() {
        let property = &schema["properties"][range.name];
        let what = property["description"].as_str().expect(range.name);
        let (default, what) = (&defaults[range.name], what.replace('\n', " "));
        let default = default
            .as_str()
            .map_or_else(|| default.to_string(), str::to_owned);
        let (name, min, max) = (range.name, &range.min, &range.max);
        let _ = writeln!(page, "| `{name}` | {default} | {min} | {max} | {what} |");
    }
}

#[test]
fn the_page_says_what_the_code_does() {
    expect_test::expect_file!["../../../../docs/capabilities.md"].assert_eq(&page());
}

#[test]
fn the_examples_and_operations_are_real() {
    assert_eq!(NOTES.len(), LISTED.len());
    for notes in NOTES {
        let grants = grants(notes.example);
        assert!(!notes.operations.is_empty(), "{}", notes.name);
        for (operation, _) in notes.operations {
            let words: Vec<&str> = operation.split(' ').collect();
            let example = words.iter().map(|word| match *word {
                "PATH" => "/invoices/a.csv",
                "METHOD" => "GET",
                "URL" => "https://api.example.com/v1/contracts/7",
                "secret=NAME" => "secret=contracts-key",
                "NAMESPACE" => "shared/handbook",
                other => other,
            });
            let example: Vec<&str> = example.collect();
            let explained = grants.explain(notes.name, &example);
            assert!(
                explained.is_ok(),
                "{} {example:?}: {explained:?}",
                notes.name
            );
        }
    }
}
