//! The conformance suite and the inspector, which come from npm into
//! `target/mcp-clients`, once, in the versions of `tests/mcp`. Where there is no
//! node or they can't be had, the tests say so and pass, unless
//! `AIRLOCK_LANGUAGES=required`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use airlock::harness::Server;
use airlock_tests::{airlock, root};
use serde_json::{Value, json};

use crate::proxy::{self, PLUGIN};
use crate::{add, grant, server};

/// The oldest node that they run on; an older one brings this one along.
const NODE_MAJOR_MIN: u32 = 22;

/// What was installed, and the node that runs it.
struct Clients {
    folder: PathBuf,
    node: PathBuf,
}

fn lacks(what: &str) -> Option<Clients> {
    let required = std::env::var_os("AIRLOCK_LANGUAGES").is_some_and(|is| is == "required");
    assert!(!required, "{what}");
    println!("skipped: {what}");
    None
}

fn output(command: &mut Command) -> Option<Output> {
    command.stdin(Stdio::null()).output().ok()
}

/// The major version of a node.
fn major(node: &Path) -> Option<u32> {
    let said = output(Command::new(node).arg("--version"))?;
    let text = String::from_utf8(said.stdout).ok()?;
    let version = text.trim().strip_prefix('v')?;
    version.split('.').next()?.parse().ok()
}

/// Installs them, where that was not done before.
fn clients() -> Option<Clients> {
    let own = std::env::current_exe().expect("a path");
    let target = own.ancestors().find(|path| path.ends_with("target"));
    let target = target.map_or_else(|| root().join("target"), Path::to_path_buf);
    let folder = target.join("mcp-clients");
    fs::create_dir_all(&folder).expect("a folder");
    // Tests are processes: one of them installs.
    let turn = fs::File::create(folder.join("turn")).expect("a file");
    turn.lock().expect("a lock");
    if major(Path::new("node")).is_none() {
        return lacks("there is no `node`");
    }
    let mut changed = false;
    for name in ["package.json", "package-lock.json"] {
        let text = fs::read(root().join("tests/mcp").join(name)).expect("a file");
        changed |= fs::read(folder.join(name)).map_or(true, |old| old != text);
        fs::write(folder.join(name), text).expect("written");
    }
    let made = folder.join("made");
    if changed || !made.is_file() {
        let _ = fs::remove_file(&made);
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        let installed = output(npm.current_dir(&folder));
        if !installed.as_ref().is_some_and(|done| done.status.success()) {
            return lacks(&format!("npm installed nothing: {installed:?}"));
        }
        fs::write(&made, "").expect("written");
    }
    let brought = ["x64", "arm64"].map(|machine| {
        let package = format!("node_modules/node-linux-{machine}/bin/node");
        folder.join(package)
    });
    let mut nodes = [PathBuf::from("node")].into_iter().chain(brought);
    let node = nodes.find(|node| major(node).is_some_and(|major| major >= NODE_MAJOR_MIN));
    match node {
        Some(node) => Some(Clients { folder, node }),
        None => lacks("there is no `node` that is new enough"),
    }
}

impl Clients {
    fn run(&self, package: &str, program: &str, arguments: &[&str]) -> Output {
        let package = self
            .folder
            .join("node_modules/@modelcontextprotocol")
            .join(package);
        let mut node = Command::new(&self.node);
        // The inspector starts programs of its own.
        let path = std::env::var("PATH").unwrap_or_default();
        let folder = self.node.parent().filter(|folder| folder.is_absolute());
        if let Some(folder) = folder {
            node.env("PATH", format!("{}:{path}", folder.display()));
        }
        node.arg(package.join(program)).args(arguments);
        output(node.current_dir(&self.folder)).expect("node runs")
    }

    fn conformance(&self, arguments: &[&str]) -> Output {
        self.run("conformance", "dist/index.js", arguments)
    }

    /// What the inspector says, as JSON.
    fn inspector(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--cli"], arguments].concat();
        let said = self.run("inspector", "clients/launcher/build/index.js", &arguments);
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {said:?}"))
    }
}

/// A server with the tools of the suite.
fn with_fixture(data: &Path) -> Server {
    let server = server(data);
    let api = server.api();
    add(&api, PLUGIN, "mcp-fixture");
    let tools = [
        "simple_text",
        "error_handling",
        "tool_with_progress",
        "tool_with_logging",
        "logging_tool",
    ];
    let mut effects: Vec<String> = tools.iter().map(|tool| format!("test_{tool}")).collect();
    effects.push("json_schema_2020_12_tool".to_owned());
    let effects: serde_json::Map<String, Value> = effects
        .into_iter()
        .map(|tool| (tool, json!("read-only")))
        .collect();
    grant(&api, PLUGIN, json!({ "effects": effects }));
    server
}

/// A check of the suite: its revision, its scenario, its name.
type Check = (String, String, String);

/// Checks that need what Airlock does not offer.
fn not_offered() -> Vec<Check> {
    let file = root().join("tests/mcp/not-offered.txt");
    let text = fs::read_to_string(file).expect("the list");
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let [revision, scenario, check] = words[..] else {
                panic!("no check: {line}");
            };
            (revision.to_owned(), scenario.to_owned(), check.to_owned())
        })
        .collect()
}

fn fits((revision, scenario, check): &Check, line: &Check) -> bool {
    *revision == line.0 && *scenario == line.1 && (line.2 == *check || line.2 == "*")
}

/// The checks of one revision that failed, and how many passed.
fn results(folder: &Path, revision: &str) -> (Vec<Check>, usize) {
    let (mut failed, mut passed) = (Vec::new(), 0);
    for entry in fs::read_dir(folder).expect("results") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        // `server-`, the scenario, and when it was.
        let scenario = name.strip_prefix("server-").and_then(|name| {
            let (scenario, _) = name.split_at_checked(name.len().checked_sub(25)?)?;
            Some(scenario.to_owned())
        });
        let scenario = scenario.unwrap_or_else(|| panic!("no scenario: {name}"));
        let text = fs::read(folder.join("checks.json")).expect("checks");
        let checks: Vec<Value> = serde_json::from_slice(&text).expect("JSON");
        for check in checks {
            match check["status"].as_str() {
                Some("SUCCESS") => passed += 1,
                Some("FAILURE") => {
                    let id = check["id"].as_str().expect("a name").to_owned();
                    failed.push((revision.to_owned(), scenario.clone(), id));
                }
                _ => {}
            }
        }
    }
    (failed, passed)
}

/// What a server needs to conform to each revision: all checks pass but those that
/// need what Airlock does not offer, which `tests/mcp/not-offered.txt` names.
#[test]
fn the_conformance_suite_passes() {
    let Some(clients) = clients() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let server = with_fixture(&dir.path().join("data"));
    let address: SocketAddr = server
        .base()
        .trim_start_matches("http://")
        .parse()
        .expect("an address");
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let proxy = tokio.block_on(proxy::start(address, server.token()));
    let url = format!("http://{proxy}/mcp");
    let not_offered = not_offered();
    let mut failed = Vec::new();
    for (revision, passed_min) in [("2025-11-25", 40), ("2026-07-28", 100)] {
        // They stay, for whoever looks into a failure.
        let folder = clients.folder.join("results").join(revision);
        let _ = fs::remove_dir_all(&folder);
        let to = folder.to_string_lossy();
        let arguments = [
            "server",
            "--url",
            &url,
            "--requirements",
            revision,
            "--output-dir",
            &to,
        ];
        let said = clients.conformance(&arguments);
        let (failures, passed) = results(&folder, revision);
        // What it looked at, so that it can't pass by looking at nothing.
        assert!(
            passed >= passed_min,
            "{revision}: {passed} passed: {said:?}"
        );
        failed.extend(failures);
    }
    let unexpected = failed
        .iter()
        .filter(|check| !not_offered.iter().any(|line| fits(check, line)));
    let unexpected: Vec<&Check> = unexpected.collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let stale = not_offered
        .iter()
        .filter(|line| !failed.iter().any(|check| fits(check, line)));
    let stale: Vec<&Check> = stale.collect();
    assert!(stale.is_empty(), "these do not fail: {stale:#?}");
}

#[test]
fn the_inspector_lists_and_calls() {
    let Some(clients) = clients() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let server = with_fixture(&data);
    let url = format!("{}/mcp", server.base());
    let header = format!("Authorization: Bearer {}", server.token());
    let over_http = [
        url.as_str(),
        "--transport",
        "http",
        "--header",
        header.as_str(),
    ];
    let (binary, data) = (airlock(), data.to_string_lossy().into_owned());
    let binary = binary.to_string_lossy().into_owned();
    let over_stdio = [binary.as_str(), "mcp", "--data", data.as_str()];
    for connect in [&over_http[..], &over_stdio[..]] {
        let listed = clients.inspector(&[connect, &["--method", "tools/list"]].concat());
        let tools = listed["tools"].as_array().expect("a list");
        let has = |name: &str| tools.iter().any(|tool| tool["name"] == name);
        assert!(has("fixture__test_simple_text"), "{listed}");
        let call = [
            "--method",
            "tools/call",
            "--tool-name",
            "fixture__test_simple_text",
        ];
        let called = clients.inspector(&[connect, &call].concat());
        let text = &called["content"][0]["text"];
        assert_eq!(
            *text, "This is a simple text response for testing.",
            "{called}"
        );
    }
}
