//! Agents in JavaScript and Python, built from `tests/agents` with their languages'
//! own tools, in the real server. The tools come from npm and PyPI into
//! `target/agents`, once. Where those can't be had, the test says so and passes,
//! unless `AIRLOCK_LANGUAGES=required`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use airlock::client::Request;
use airlock::commands::install;
use airlock_tests::root;
use airlock_tests::runs::Desk;
use serde_json::{Value, json};

use crate::{apply, server};

/// The folder of a language's tools and of what they make.
fn workshop(language: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    let target = own.ancestors().find(|path| path.ends_with("target"));
    let target = target.map_or_else(|| root().join("target"), Path::to_path_buf);
    let folder = target.join("agents").join(language);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Runs a program, which must succeed.
fn run(command: &mut Command) {
    let failed = failure(command);
    assert!(failed.is_none(), "{command:?}: {failed:?}");
}

/// Gets a language's tools; `None`: this machine can't have them.
fn get(command: &mut Command) -> Option<()> {
    let Some(why) = failure(command) else {
        return Some(());
    };
    let required = std::env::var_os("AIRLOCK_LANGUAGES").is_some_and(|is| is == "required");
    assert!(!required, "{command:?}: {why}");
    println!("skipped: {command:?}: {why}");
    None
}

/// Why a program did not succeed.
fn failure(command: &mut Command) -> Option<String> {
    match command.output() {
        Err(error) => Some(error.to_string()),
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            Some(String::from_utf8_lossy(&said).into_owned())
        }
    }
}

/// The agents' contract, laid out as the tools of other languages want it.
fn contract(folder: &Path) {
    let wit = root().join("wit");
    let files = [
        ("airlock-agent/agent.wit", "wit/agent.wit"),
        ("airlock-tool/types.wit", "wit/deps/airlock-tool/types.wit"),
        ("deps/io.wit", "wit/deps/io/io.wit"),
    ];
    for (from, to) in files {
        let to = folder.join(to);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(wit.join(from), to).expect("a copy");
    }
}

/// Copies a file of the agent's folder; whether it was another one before.
fn lay(language: &str, folder: &Path, name: &str) -> bool {
    let text = fs::read(root().join("tests/agents").join(language).join(name)).expect("a file");
    let to = folder.join(name);
    let same = fs::read(&to).is_ok_and(|old| old == text);
    fs::write(&to, text).expect("written");
    !same
}

fn javascript() -> Option<Vec<u8>> {
    let folder = workshop("javascript");
    contract(&folder);
    let other_tools = lay("javascript", &folder, "package.json");
    for name in ["agent.js", "build.mjs"] {
        lay("javascript", &folder, name);
    }
    if other_tools || !folder.join("made").is_file() {
        let _ = fs::remove_file(folder.join("made"));
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"]);
        get(npm.current_dir(&folder))?;
        fs::write(folder.join("made"), "").expect("written");
    }
    let mut node = Command::new("node");
    node.args(["build.mjs", "wit", "agent.js", "agent.wasm"]);
    run(node.current_dir(&folder));
    Some(fs::read(folder.join("agent.wasm")).expect("a component"))
}

fn python() -> Option<Vec<u8>> {
    let folder = workshop("python");
    contract(&folder);
    let other_tools = lay("python", &folder, "requirements.txt");
    lay("python", &folder, "app.py");
    let tools = folder.join("tools");
    if other_tools || !folder.join("made").is_file() {
        let _ = fs::remove_file(folder.join("made"));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--upgrade"]);
        pip.args(["--requirement", "requirements.txt", "--target"]);
        get(pip.arg(&tools).current_dir(&folder))?;
        fs::write(folder.join("made"), "").expect("written");
    }
    let mut build = Command::new("python3");
    build.arg(tools.join("bin/componentize-py"));
    build.args(["-d", "wit", "-w", "agent-world", "componentize", "app"]);
    build.args(["-o", "agent.wasm"]).env("PYTHONPATH", &tools);
    run(build.current_dir(&folder));
    Some(fs::read(folder.join("agent.wasm")).expect("a component"))
}

const POLICY: &str = r#"[plugins.keeper.grants]
kv = [{ bucket = "kept", bytes = "1MiB" }]
effects = { put = "idempotent", get = "read-only" }

[plugins.agent.grants]
tools = [{ tool = "keeper/*" }]
"#;

/// The agent's run over two deaths of the server: one while a person is asked,
/// one while it waits for a signal.
fn survives(component: Vec<u8>) {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let first = server(&data);
    let api = first.api();
    let keeper = fs::read(airlock_tests::component("keeper")).expect("a component");
    install(&api, "keeper", keeper, None).expect("installed");
    install(&api, "agent", component, None).expect("installed");
    apply(&api, POLICY);
    let desk = Desk::new(&first).expect("an approver");
    let other = desk
        .start("agent", &json!({ "key": "other" }))
        .expect("started");
    let run = desk
        .start("agent", &json!({ "key": "one" }))
        .expect("started");
    let question = desk.asked(&run, 1).expect("a question").remove(0);
    let before = question["payload"].clone();
    let other = desk.asked(&other, 1).expect("a question").remove(0);
    assert_ne!(
        before["random"], other["payload"]["random"],
        "each run has its own"
    );

    first.kill().expect("killed");
    let second = server(&data);
    let desk = Desk::over(&second, &desk.token);
    desk.decide(&question, "yes").expect("decided");
    let signal = |run: &Value| {
        let waits = run["waits_for"].as_array().into_iter().flatten();
        let kinds: Vec<&Value> = waits.map(|open| &open["request"]["kind"]).collect();
        Ok((kinds == ["signal"]).then_some(()))
    };
    desk.until(&run, signal).expect("it waits for the signal");
    second.kill().expect("killed");
    let third = server(&data);
    let desk = Desk::over(&third, &desk.token);
    let path = format!("/v1/runs/{run}/signals/go");
    desk.api
        .ok(&Request::json(
            "POST",
            path,
            &json!({ "payload": { "n": 1 } }),
        ))
        .expect("signalled");
    let end = desk.end(&run).expect("an end");
    assert_eq!(end["state"], "succeeded", "{end}");
    let output: Value =
        serde_json::from_str(end["output"].as_str().expect("output")).expect("JSON");
    check(&output, &before, &desk.events(&run).expect("events"));
    third.stop(Duration::from_secs(30)).expect("stopped");
}

/// What the run ended with is what it saw before the server died.
fn check(output: &Value, before: &Value, events: &[Value]) {
    assert_eq!(&output["before"], before, "{output}");
    assert_eq!(output["goal"], "as the input says");
    assert_eq!(output["choice"], "yes");
    assert_eq!(output["told"], json!({ "n": 1 }));
    assert_eq!(output["found"], before["random"]);
    assert_eq!(output["reached"], json!([]));
    assert_ne!(output["after"]["random"], before["random"], "{output}");
    let at = |value: &Value| value["now_ms"].as_f64().expect("a time");
    assert!(at(&output["after"]) >= at(before) + 30.0, "{output}");
    let puts = events
        .iter()
        .filter(|event| event["request"]["tool"] == "keeper/put");
    assert_eq!(puts.count(), 1);
    let random = before["random"].as_str().expect("text");
    let told = events.iter().filter(|event| {
        event["note"] == "log"
            && event["level"] == "stdout"
            && event["message"] == format!("begun with {random}")
    });
    assert_eq!(told.count(), 1, "{events:#?}");
}

#[test]
fn an_agent_in_javascript_survives_what_kills_its_server() {
    if let Some(component) = javascript() {
        survives(component);
    }
}

#[test]
fn an_agent_in_python_survives_what_kills_its_server() {
    if let Some(component) = python() {
        survives(component);
    }
}
