//! Every plugin that ships, as the built component, in the real sandbox behind a
//! real server, with the default limits and the least grants that its README
//! names: what it is good for, what it refuses, and what it is denied without.

mod agents;
mod openapi;
mod services;
mod stage;

use std::collections::BTreeSet;
use std::fs;

use airlock_tests::root;
use serde_json::{Value, json};

use stage::{Case, Stage, advisories, bad, contracts, good, invoices};

/// All plugins that ship.
const PLUGINS: [&str; 19] = [
    "advisories",
    "echo",
    "fetch",
    "files",
    "javascript",
    "jq",
    "patch",
    "payments",
    "planner",
    "react",
    "reconcile",
    "refund",
    "report",
    "submit",
    "supervisor",
    "table",
    "verifier",
    "watch",
    "workflow",
];

/// A plugin only with a document: see `openapi.rs`.
const OF_A_DOCUMENT: &str = "openapi";

/// Good calls that each tool must show, at least.
const GOOD_MIN: usize = 2;

/// Grants what the README says and makes the calls, which must show each tool.
fn show(stage: &Stage, cases: &[Case]) {
    let tools = stage.tools();
    assert!(!tools.is_empty(), "{} has no tools", stage.plugin);
    for tool in &tools {
        let of_it = || cases.iter().filter(|case| case.tool == tool);
        let succeed = of_it().filter(|case| case.is_good()).count();
        let fail = of_it().count() - succeed;
        assert!(
            succeed >= GOOD_MIN && fail >= 1,
            "{}/{tool}: {succeed} good calls and {fail} bad ones are shown",
            stage.plugin
        );
    }
    stage.apply(&stage.least_grants());
    stage.check(cases);
}

fn len(value: &Value) -> usize {
    value.as_array().map_or(0, Vec::len)
}

#[test]
fn echo() {
    let real = json!({ "contracts": contracts() });
    let same = |value: Value| good("echo", value.clone(), move |out| *out == value);
    let cases = [
        same(json!({ "anything": [1, "two", null] })),
        same(real),
        bad("echo", json!([1]), "invalid-input", "expected a map"),
    ];
    show(&Stage::new("echo"), &cases);
}

#[test]
fn files() {
    let stage = Stage::new("files");
    let report = "/out/2026/report.md";
    let write = |path: &str, content: &str, mode: &str| json!({ "path": path, "content": content, "mode": mode, "folders": true });
    for (tool, input) in [
        ("list", json!({ "path": "/invoices" })),
        ("read", json!({ "path": "/invoices/2026-03.csv" })),
        ("search", json!({ "path": "/invoices", "pattern": "C-110" })),
        ("write", write(report, "x", "create")),
    ] {
        stage.denied(tool, &input, "files");
    }
    let all = stage.least_grants();
    let reading: Vec<&str> = all.lines().filter(|line| !line.contains("/out")).collect();
    stage.apply(&reading.join("\n"));
    stage.denied("write", &write(report, "x", "create"), "files");
    stage.denied("write", &write("/invoices/new.csv", "x", "create"), "files");

    let march = invoices("2026-03.csv");
    let part = march[10..40].to_owned();
    let lines = march.lines().filter(|line| line.contains("C-110")).count();
    let cases = [
        good("list", json!({ "path": "/invoices" }), |out| {
            len(&out["entries"]) == 6 && out["cut"] == false
        }),
        good(
            "list",
            json!({ "path": "/invoices", "glob": "*.csv", "limit": 2 }),
            |out| len(&out["entries"]) == 2 && out["cut"] == true,
        ),
        bad(
            "list",
            json!({ "path": "/invoices", "limit": 0 }),
            "invalid-input",
            "limit",
        ),
        good(
            "read",
            json!({ "path": "/invoices/2026-03.csv" }),
            move |out| out["content"] == march && out["end"] == true,
        ),
        good(
            "read",
            json!({ "path": "/invoices/2026-03.csv", "offset": 10, "limit": 30 }),
            move |out| out["content"] == part && out["next_offset"] == 40,
        ),
        bad(
            "read",
            json!({ "path": "/invoices/none.csv" }),
            "not-found",
            "/invoices/none.csv",
        ),
        good(
            "search",
            json!({ "path": "/invoices/2026-03.csv", "pattern": "C-110" }),
            move |out| lines > 0 && len(&out["matches"]) == lines,
        ),
        good(
            "search",
            json!({ "path": "/invoices", "pattern": "eastfield", "ignore_case": true, "context": 1 }),
            |out| out["files_searched"] == 6 && len(&out["matches"]) > 1,
        ),
        bad(
            "search",
            json!({ "path": "/invoices", "pattern": "(" }),
            "invalid-input",
            "pattern",
        ),
        good("write", write(report, "# One\n", "create"), |out| {
            out["size"] == 6
        }),
        good("write", write(report, "# Two\n", "append"), |out| {
            out["size"] == 12
        }),
        bad(
            "write",
            write(report, "x", "create"),
            "invalid-input",
            "exists already",
        ),
    ];
    show(&stage, &cases);
    let written = fs::read_to_string(stage.path("reports/2026/report.md"));
    assert_eq!(written.expect("the report"), "# One\n# Two\n");
    stage.denied("write", &write("/invoices/new.csv", "x", "create"), "files");
    stage.denied("read", &json!({ "path": "/etc/passwd" }), "files");
}

#[test]
fn a_write_over_the_quota_is_a_limit_and_leaves_no_trace() {
    let stage = Stage::new("files");
    let granted = stage.least_grants().replace(
        "access = \"read-write\"",
        "access = \"read-write\", bytes = \"10KiB\"",
    );
    stage.apply(&granted);
    let write = |mode: &str, path: &str, count: usize| {
        let content = "x".repeat(count);
        json!({ "path": format!("/out/{path}"), "content": content, "mode": mode })
    };
    let refused = |mode, path, count| {
        bad(
            "write",
            write(mode, path, count),
            "limit",
            "the quota of 10KiB does not leave room",
        )
    };
    stage.check(&[
        refused("create", "new", 20_000),
        refused("append", "new", 20_000),
        refused("replace", "new", 20_000),
        good("write", write("create", "kept", 6_000), |out| {
            out["size"] == 6_000
        }),
        refused("append", "kept", 4_241),
        // In several writes, the first of which fits.
        refused("append", "kept", 200_000),
        refused("replace", "kept", 4_241),
        refused("create", "small", 4_241),
        good("write", write("append", "kept", 4_240), |out| {
            out["size"] == 10_240
        }),
        refused("append", "kept", 1),
        refused("create", "one", 1),
    ]);
    let left: Vec<_> = fs::read_dir(stage.path("reports"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["kept"]);
    let kept = fs::read(stage.path("reports/kept")).expect("the file");
    assert_eq!(kept, [b'x'; 10_240]);
}

#[test]
fn javascript() {
    let in_euro = "console.log(input.length); input.filter(c => c.currency === 'EUR').length";
    let (count, expected) = (len(&contracts()).to_string(), in_currency("EUR"));
    let cases = [
        good(
            "run",
            json!({ "code": in_euro, "input": contracts() }),
            move |out| {
                expected > 0 && out["value"] == expected && out["console"][0]["text"] == *count
            },
        ),
        good(
            "run",
            json!({ "code": "(async () => [1, 2].map(n => n * 2))()" }),
            |out| out["value"] == json!([2, 4]),
        ),
        good("run", json!({ "code": "\n\nnothing.x" }), |out| {
            let message = out["error"]["message"].as_str().unwrap_or_default();
            out["ok"] == false && out["error"]["line"] == 3 && message.contains("ReferenceError")
        }),
        bad("run", json!({ "code": "for (;;) {}" }), "limit", "cpu"),
        bad(
            "run",
            json!({ "code": " ".repeat(600 << 10) }),
            "invalid-input",
            "code",
        ),
    ];
    show(&Stage::new("javascript"), &cases);
}

fn in_currency(currency: &str) -> usize {
    let contracts = contracts();
    let all = contracts.as_array().expect("a list").iter();
    all.filter(|contract| contract["currency"] == currency)
        .count()
}

#[test]
fn jq() {
    let expected = in_currency("USD");
    let mut cases = vec![
        good(
            "query",
            json!({ "filter": "group_by(.currency)[] | {(.[0].currency): length}", "input": contracts() }),
            move |out| {
                let outputs = out["outputs"].as_array().into_iter().flatten();
                outputs.filter(|output| output["USD"] == expected).count() == 1
            },
        ),
        good(
            "query",
            json!({ "filter": ".items[] | select(.total > $min) | {id, total}",
                "input": { "items": [{ "id": 1, "total": 150 }, { "id": 2, "total": 20 }] },
                "variables": { "min": 100 } }),
            |out| *out == json!({ "outputs": [{ "id": 1, "total": 150 }], "cut": false }),
        ),
        bad(
            "query",
            json!({ "filter": ".[" }),
            "invalid-input",
            "filter",
        ),
        bad(
            "query",
            json!({ "filter": "env" }),
            "invalid-input",
            "filter",
        ),
    ];
    if let Some(text) = advisories() {
        let expected: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|advisory| advisory["withdrawn"] == true)
            .map(|advisory| advisory["id"].clone())
            .collect();
        let input = json!({ "filter": "select(.withdrawn) | .id", "text": text });
        cases.push(good("query", input, move |out| {
            out["outputs"] == json!(expected)
        }));
    }
    show(&Stage::new("jq"), &cases);
}

#[test]
fn patch() {
    let old = invoices("2026-03.csv");
    let line = old.lines().nth(3).expect("a line").to_owned();
    let new = old.replace(&line, "gone");
    let diff = format!("--- a\n+++ b\n@@ -4 +4 @@\n-{line}\n+gone\n");
    let (there, back) = (new.clone(), old.clone());
    let wrong = format!("--- a\n+++ b\n@@ -4 +4 @@\n-{line} not\n+gone\n");
    let merge =
        |ours: &str, theirs: &str| json!({ "base": "1\n2\n3\n", "ours": ours, "theirs": theirs });
    let cases = [
        good("make", json!({ "old": old, "new": new }), move |out| {
            let text = out["patch"].as_str().unwrap_or_default();
            out["added"] == 1 && out["removed"] == 1 && text.contains(&format!("-{line}\n+gone"))
        }),
        good("make", json!({ "old": old, "new": old }), |out| {
            out["changed"] == false && out["patch"] == ""
        }),
        bad(
            "make",
            json!({ "old": "", "new": "", "context": 101 }),
            "invalid-input",
            "context",
        ),
        good("apply", json!({ "text": old, "patch": diff }), move |out| {
            out["text"] == there && out["hunks"] == 1
        }),
        good(
            "apply",
            json!({ "text": new, "patch": diff, "reverse": true }),
            move |out| out["text"] == back,
        ),
        bad(
            "apply",
            json!({ "text": old, "patch": wrong }),
            "invalid-input",
            "hunk 1 of 1",
        ),
        good("merge", merge("one\n2\n3\n", "1\n2\nthree\n"), |out| {
            *out == json!({ "text": "one\n2\nthree\n", "conflicts": false })
        }),
        good("merge", merge("one\n2\n3\n", "eins\n2\n3\n"), |out| {
            let text = out["text"].as_str().unwrap_or_default();
            out["conflicts"] == true && text.contains("<<<<<<<") && text.contains("eins\n")
        }),
        bad(
            "merge",
            json!({ "base": "", "ours": "" }),
            "invalid-input",
            "theirs",
        ),
    ];
    show(&Stage::new("patch"), &cases);
}

#[test]
fn report() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let foreign = "[x](javascript:alert(1)) <script>alert(2)</script>\n\n- [ ] open\n";
    let cases = [
        good("render", json!({ "markdown": readme }), |out| {
            let html = out["html"].as_str().unwrap_or_default();
            let parts = [
                "<!doctype html>",
                "<table>",
                "Content-Security-Policy",
                "cargo xtask demo",
            ];
            out["title"] == "Airlock" && parts.iter().all(|part| html.contains(part))
        }),
        good(
            "render",
            json!({ "markdown": foreign, "fragment": true, "title": "t" }),
            |out| {
                let html = out["html"].as_str().unwrap_or_default();
                out["links_removed"] == 1
                    && !html.contains("<script")
                    && !html.contains("javascript:")
            },
        ),
        bad(
            "render",
            json!({ "markdown": "a ".repeat(300 << 10) }),
            "invalid-input",
            "markdown",
        ),
    ];
    show(&Stage::new("report"), &cases);
}

#[test]
fn table() {
    let stage = Stage::new("table");
    let folder = json!({ "invoices": { "path": "/invoices" } });
    let count = json!({ "sql": "SELECT COUNT(*) AS n FROM invoices", "tables": folder });
    stage.denied("query", &count, "files");
    stage.denied("describe", &json!({ "tables": folder }), "files");
    let inline = json!({ "t": { "csv": "id,amount\na,1.50\nb,2\n" } });
    let sum = json!({ "sql": "SELECT SUM(amount) AS total FROM t", "tables": inline });
    let adds_up = |out: &Value| out["rows"] == json!([{ "total": 3.5 }]);
    // Inline tables take no grant.
    stage.check(&[good("query", sum.clone(), adds_up)]);

    let joined = json!({
        "sql": "SELECT i.invoice FROM invoices i LEFT JOIN contracts c ON i.contract_id = c.contract_id WHERE c.contract_id IS NULL OR i.currency <> c.currency",
        "tables": { "invoices": { "path": "/invoices" }, "contracts": { "json": contracts() } },
        "markdown": true,
    });
    let mut cases = vec![
        good("query", count, |out| out["rows"] == json!([{ "n": 350 }])),
        good("query", sum, adds_up),
        good("query", joined, |out| {
            let markdown = out["markdown"].as_str().unwrap_or_default();
            len(&out["rows"]) > 3 && markdown.starts_with("| invoice |")
        }),
        bad(
            "query",
            json!({ "sql": "DELETE FROM t", "tables": inline }),
            "invalid-input",
            "SELECT",
        ),
        good("describe", json!({ "tables": folder }), |out| {
            out["tables"]["invoices"]["row_count"] == 350
        }),
        good("describe", json!({ "tables": inline }), |out| {
            out["tables"]["t"]["columns"][1]["name"] == "amount"
        }),
        bad(
            "describe",
            json!({ "tables": { "t": { "path": "/invoices/none.csv" } } }),
            "not-found",
            "none.csv",
        ),
    ];
    if let Some(text) = advisories() {
        let sql = "SELECT package, COUNT(*) AS n FROM a GROUP BY package HAVING COUNT(*) > 1 ORDER BY n DESC";
        let input = json!({ "sql": sql, "tables": { "a": { "jsonl": text } } });
        cases.push(good("query", input, |out| {
            out["rows"][0]["n"].as_u64() > Some(1)
        }));
    }
    show(&stage, &cases);
}

/// A plugin that is added gets a test here.
#[test]
fn every_plugin_is_here() {
    let folders = fs::read_dir(root().join("plugins")).expect("plugins");
    let manifests = folders.filter_map(|entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name()?.to_str()?.to_owned();
        path.join("Cargo.toml").is_file().then_some(name)
    });
    let found: BTreeSet<String> = manifests.collect();
    assert_eq!(
        found,
        PLUGINS
            .iter()
            .chain([&OF_A_DOCUMENT])
            .map(|name| (*name).to_owned())
            .collect()
    );
}

/// What a plugin says it wants can be granted as it says once the places are
/// chosen, and its README's policy is one.
#[test]
fn every_want_can_be_granted_as_it_stands() {
    let mut wanted = 0;
    for plugin in PLUGINS {
        let stage = Stage::new(plugin);
        let apply_is_valid = |policy: &str| {
            let file = stage.path("wanted.toml");
            fs::write(&file, policy).expect("the policy is written");
            let shown = stage.airlock(&["apply", &file.display().to_string()]);
            assert!(
                shown.contains("not applied") || shown.contains("nothing to change"),
                "{policy}: {shown}"
            );
            shown
        };
        apply_is_valid(&stage.least_grants());
        for want in stage.wants() {
            let text = |field: &str| want[field].as_str().unwrap_or_default().to_owned();
            let (capability, scope) = (text("capability"), stage.chosen(&text("scope")));
            assert!(text("reason").len() > 10, "{plugin}: {want}");
            let policy = format!("[plugins.{plugin}.grants]\n{capability} = [{scope}]\n");
            let shown = apply_is_valid(&policy);
            assert!(
                shown.contains(&format!("+ grants.{capability}: ")),
                "{shown}"
            );
            wanted += 1;
        }
    }
    assert!(wanted >= 5, "only {wanted} wants were seen");
}

/// The command that `plugin inspect` shows does what it says, with a folder of
/// one's own in the place of the example's.
#[test]
fn what_inspect_suggests_can_be_typed() {
    for plugin in PLUGINS {
        let stage = Stage::new(plugin);
        let folder = stage.path("invoices").display().to_string();
        let other = stage.path("reports").display().to_string();
        let (before, suggested) = suggestion(&stage);
        // It asks for nothing: which tools it needs is in the file that it runs.
        if plugin == "workflow" {
            assert_eq!(suggested, None, "{before}");
            continue;
        }
        let suggested = suggested
            .unwrap_or_else(|| panic!("{plugin}: nothing is suggested: {before}"))
            .replace("/path/to/another/folder", &other)
            .replace("/path/to/folder", &folder)
            .replace("/path/to/tables", &folder);
        stage.shell(&suggested);
        let granted = stage.granted();
        // Granting it again changes nothing.
        stage.shell(&suggested);
        assert_eq!(stage.granted(), granted);
        let (after, again) = suggestion(&stage);
        let own_places = suggested.contains(&folder);
        assert!(own_places || again.is_none(), "{plugin}: {after}");
        assert!(!after.contains("(it claims"), "{plugin}: {after}");
    }
}

/// What `plugin inspect` prints, and the command in it.
fn suggestion(stage: &Stage) -> (String, Option<String>) {
    let shown = stage.airlock(&["plugin", "inspect", stage.plugin]);
    let command = shown.split_once("\nairlock grant ").map(|(_, rest)| {
        let end = rest.find("'\n\n").map_or(rest.len(), |end| end + 1);
        format!("airlock grant {}", &rest[..end])
    });
    (shown, command)
}
