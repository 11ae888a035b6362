//! Runs on the command line: a command that follows one ends as it does, and what
//! stands still says why and what lets it go on.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use airlock::client::Request;
use airlock::harness::Server;
use airlock_tests::{airlock, component, root};
use serde_json::Value;

use crate::{Place, Ran, path};

/// A step that calls a tool which was granted.
const ADD: &str = r#"{"call":{"tool":"keeper/add","input":{}}}"#;
const ASK: &str = r#"{"ask":{"text":"send?","choices":["yes","no"]}}"#;

/// An agent and its tools.
fn installed(place: &Place) {
    for (name, package, grants) in [
        ("keeper", "keeper", "kv = [{ bucket = \"kept\" }]"),
        (
            "prober",
            "agent-prober",
            "tools = [{ tool = \"keeper/add\" }]",
        ),
    ] {
        place.ok(&["plugin", "add", name, &path(&component(package))]);
        place.ok(&["grant", name, grants]);
    }
}

/// Runs the steps and follows them.
fn followed(place: &Place, steps: &str, more: &[&str]) -> Ran {
    let input = format!("{{\"steps\":[{steps}]}}");
    let run = ["run", "prober", "--input", &input, "--follow"];
    place.run(&[&run[..], more].concat())
}

/// The run that was followed.
fn id(ran: &Ran) -> String {
    ran.out.lines().next().unwrap_or_default().to_owned()
}

/// The command in the line that begins so, as somebody would paste it.
fn pasted(place: &Place, text: &str, begins: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(begins));
    let line = line.unwrap_or_else(|| panic!("no line begins with {begins:?}: {text}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[0], "airlock", "{line}");
    place.ok(&words[1..])
}

#[test]
fn a_command_that_follows_a_run_ends_as_it_does() {
    let place = Place::new();
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    installed(&place);
    let table = [
        (ADD, &[][..], 0, "succeeded"),
        (r#"{"fail":{"text":"no"}}"#, &[], 1, "failed: "),
        (r#"{"panic":{}}"#, &[], 1, "failed: "),
        (r#"{"spin":{}}"#, &[], 6, "failed: limit cpu reached"),
        (r#"{"escalate":{"text":"odd"}}"#, &[], 10, "escalated: odd"),
        (ASK, &[], 10, "airlock approvals show run_"),
        (
            r#"{"repeat":{"times":3,"steps":[{"tell":{"text":"t"}}]}},{"continue-as-new":{"steps":[{"fail":{"text":"no"}}]}}"#,
            &[],
            1,
            "failed: ",
        ),
    ];
    for (steps, more, code, text) in table {
        let ran = followed(&place, steps, more);
        assert_eq!(ran.code, code, "{steps}: {}{}", ran.out, ran.err);
        assert!(ran.out.contains(text), "{steps}: {}", ran.out);
        // For programs: each line is a record, up to the end.
        let ran = followed(&place, steps, &[more, &["--json"]].concat());
        assert_eq!(ran.code, code, "{steps}: {}", ran.err);
        let parsed = ran.out.lines().map(serde_json::from_str::<Value>);
        let records: Vec<Value> = parsed.collect::<Result<_, _>>().expect("JSON lines");
        let last = records.last().expect("a record");
        assert_eq!(
            last["event"] == "ended",
            text.contains(": ") || code == 0,
            "{last}"
        );
    }
    let asked = followed(&place, ASK, &[]);
    let run = id(&asked);
    place.ok(&["runs", "cancel", &run]);
    let ended = place.run(&["runs", "events", &run, "--follow"]);
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("cancelled"), "{}", ended.out);
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}

/// Nothing in a run's own journal says that one which it started waits for a person.
#[test]
fn a_run_whose_child_waits_for_a_person_is_left() {
    let place = Place::new();
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    installed(&place);
    place.ok(&["grant", "prober", "agents = [{ agent = \"prober\" }]"]);
    let steps = format!(r#"{{"start":{{"steps":[{{"start":{{"steps":[{ASK}]}}}}]}}}}"#);
    let ran = followed(&place, &steps, &[]);
    assert_eq!(ran.code, 10, "{}{}", ran.out, ran.err);
    let begins = "a run that it started waits for a person: ";
    let shown = pasted(&place, &ran.out, begins);
    assert!(
        shown.contains("send?") && !shown.contains(&id(&ran)),
        "{shown}"
    );
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}

/// A run that is blocked is left, whatever it writes after that, and says the
/// command that lets it go on.
#[test]
fn a_run_that_is_blocked_is_left_and_goes_on_as_it_says() {
    let place = Place::new();
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    installed(&place);
    let steps = format!("{ADD},{ADD},{ADD}");
    let table = [
        (["--budget-steps", "2"], "it used up its budget: 2 steps"),
        (["--budget-wall-ms", "0"], "since its start"),
        (["--budget-cpu-us", "1"], "of CPU time"),
        (["--budget-events", "4"], "as many as its budget allows"),
    ];
    for (budget, why) in table {
        let ran = followed(&place, &steps, &budget);
        assert_eq!(ran.code, 10, "{budget:?}: {}{}", ran.out, ran.err);
        let (run, mut text) = (id(&ran), ran.out);
        assert!(text.contains(why), "{budget:?}: {text}");
        // What it is given may not be enough for all of it.
        loop {
            pasted(&place, &text, "to give it more: ");
            let shown = loop {
                let shown = place.json(&["runs", "show", &run]);
                if shown["status"] != "running" && shown["status"] != "waiting" {
                    break shown;
                }
            };
            text = place.ok(&["runs", "show", &run]);
            if shown["status"] != "blocked" {
                break;
            }
        }
        let ended = place.run(&["runs", "events", &run, "--follow"]);
        assert_eq!(ended.code, 0, "{budget:?}: {}{}", ended.out, ended.err);
    }
    let again = r#"{"repeat":{"times":3,"steps":[{"call":{"tool":"keeper/none","input":{}}}]}}"#;
    let ran = followed(&place, again, &["--budget-repeats", "1"]);
    assert_eq!(ran.code, 10, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("it called keeper/none "), "{}", ran.out);
    pasted(&place, &ran.out, "to let it go on: ");
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}

/// What the kill switch holds is told, by whom, why, and how it is lifted.
#[test]
fn a_run_that_stands_still_says_that_it_was_halted() {
    let place = Place::new();
    let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    installed(&place);
    let bare = place.run(&["halt"]);
    assert_eq!(bare.code, 2, "{}", bare.out);
    assert!(bare.err.contains("--all"), "{}", bare.err);
    let status = || place.ok(&["halt", "--status"]);
    assert_eq!(status(), "nothing is halted\n");
    let both = place.run(&["halt", "--all", "--agent", "prober"]);
    assert_eq!(both.code, 2, "{}", both.out);

    place.ok(&["halt", "--agent", "prober", "--why", "odd calls"]);
    let said = "agent prober stands still: halted by admin ";
    assert!(status().contains(said), "{}", status());
    let input = format!("{{\"steps\":[{ADD}]}}");
    let mut run = place.command(&["run", "prober", "--input", &input, "--follow"]);
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = run.spawn().expect("it starts");
    let mut told = BufReader::new(run.stderr.take().expect("stderr")).lines();
    let line = told.next().expect("a line").expect("text");
    assert!(
        line.contains(said) && line.contains("(odd calls)"),
        "{line}"
    );
    assert!(
        line.contains("`airlock halt --agent prober --lift`"),
        "{line}"
    );
    let runs = place.json(&["runs", "list"]);
    let id = runs["runs"][0]["id"].as_str().expect("an id").to_owned();
    let shown = place.ok(&["runs", "show", &id]);
    assert!(shown.contains(said), "{shown}");
    place.ok(&["halt", "--agent", "prober", "--lift"]);
    let ended = run.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0));

    let all = place.ok(&["halt", "--all", "--why", "drill"]);
    assert!(all.starts_with("everything stands still: "), "{all}");
    place.ok(&["halt", "--lift"]);
    assert_eq!(status(), "nothing is halted\n");
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}

/// A run that is started where no server runs says who makes it go on.
#[test]
fn a_run_without_a_server_says_that_it_needs_one() {
    let place = Place::new();
    installed(&place);
    let input = format!("{{\"steps\":[{ASK}]}}");
    let ran = place.run(&["run", "prober", "--input", &input]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("start `airlock serve`"), "{}", ran.err);
    let runs = place.json(&["runs", "list"]);
    let id = runs["runs"][0]["id"].as_str().expect("an id").to_owned();
    let ran = place.run(&["runs", "events", &id, "--follow"]);
    assert_eq!(ran.code, 7, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("start `airlock serve`"), "{}", ran.err);
}

/// What a person says of a run is kept where no server runs, and the run goes on with
/// the next one: however the last one ended, and whether the run was in its
/// memory then.
#[test]
fn a_decision_without_a_server_is_kept_for_the_next() {
    let place = Place::new();
    installed(&place);
    for (warm_seconds, is_killed) in [(0, false), (600, false), (600, true)] {
        let settings = format!("agent_warm_seconds = {warm_seconds}\n");
        std::fs::write(place.data.join("airlock.toml"), settings).expect("it is written");
        let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
        let input = format!("{{\"steps\":[{ASK},{ADD}]}}");
        let run = place.json(&["run", "prober", "--input", &input])["id"].clone();
        let run = run.as_str().expect("an id");
        let question = loop {
            let asked = place.json(&["approvals", "list"]);
            if let Some(id) = asked["approvals"][0]["id"].as_str() {
                break id.to_owned();
            }
        };
        while warm_seconds == 0 && has_runs_in_memory(&server) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(has_runs_in_memory(&server), warm_seconds > 0);
        ended(server, is_killed);

        let ran = place.run(&["approvals", "decide", &question, "yes"]);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains("next `airlock serve`"), "{}", ran.err);
        let shown = place.json(&["runs", "show", run]);
        assert!(shown["used"]["calls"].is_null(), "{shown}");
        assert!(shown["end"].is_null(), "{shown}");
        let server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
        let followed = place.run(&["runs", "events", run, "--follow"]);
        assert_eq!(followed.code, 0, "{}{}", followed.out, followed.err);
        let shown = place.json(&["runs", "show", run]);
        assert_eq!(shown["used"]["calls"], 1, "{shown}");
        ended(server, false);
    }
}

fn has_runs_in_memory(server: &Server) -> bool {
    let metrics = Request::new("GET", "/metrics");
    let reply = server.api().ok(&metrics).expect("metrics");
    let text = String::from_utf8_lossy(&reply.body);
    !text.lines().any(|line| line == "airlock_runs_in_memory 0")
}

fn ended(server: Server, is_killed: bool) {
    if is_killed {
        server.kill().expect("it is killed");
        return;
    }
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success());
}

/// What is wrong is told with the flags that were typed.
#[test]
fn errors_name_what_was_typed() {
    let place = Place::new();
    installed(&place);
    let schedule = ["schedules", "add", "s", "@daily", "--agent", "prober"];
    place.ok(&schedule);
    let input = format!("{{\"steps\":[{ASK}]}}");
    let made = place.json(&["run", "prober", "--input", &input]);
    let run = made["id"].as_str().expect("an id");
    let hook = ["hooks", "add", "h", "--agent", "prober"];
    let tokens = place.json(&["token", "create", "a", "--role", "admin"]);
    let token = tokens["view"]["id"].as_str().expect("an id");
    let others = place.json(&["token", "list"]);
    let others = others["tokens"].as_array().expect("tokens").iter();
    for other in others.filter_map(|other| other["id"].as_str().filter(|id| *id != token)) {
        place.ok(&["token", "revoke", other]);
    }
    let table: [(&[&str], &[&str], &str); 7] = [
        (&schedule, &[], "`--replace`"),
        (
            &schedule,
            &["--replace", "--catch-up-max", "5"],
            "--catch-up all",
        ),
        (&hook, &["--rate", "0"], "--rate: 1 to 6000"),
        (
            &[
                "hooks",
                "add",
                "g",
                "--signal-at",
                "x",
                "--signal-of",
                "prober",
                "--signal-name",
                "n",
            ],
            &[],
            "--signal-at is",
        ),
        (
            &["runs", "prune", "--older-than", "1s"],
            &[],
            "--older-than: at least",
        ),
        (&["token", "revoke", token], &[], "`--last`"),
        (&["signal", run, ""], &[], "the signal's name is empty"),
    ];
    for (args, more, word) in table {
        let ran = place.run(&[args, more].concat());
        assert_ne!(ran.code, 0, "{args:?}: {}", ran.out);
        assert!(ran.err.contains(word), "{args:?}: {}", ran.err);
        // Programs read what the API said.
        assert!(
            !ran.err.contains("_max") && !ran.err.contains("PUT"),
            "{}",
            ran.err
        );
    }
}

/// A rule that another one covers is warned of, and what holds says whether it
/// asks.
#[test]
fn a_rule_that_never_holds_is_warned_of() {
    let place = Place::new();
    installed(&place);
    let explain = ["explain", "prober", "tools", "call", "keeper/add"];
    let add = r#"tools = [{ tool = "keeper/add", approval = "always" }]"#;
    let all = r#"tools = [{ tool = "keeper/*" }]"#;
    let both = r#"tools = [{ tool = "keeper/add", approval = "always" }, { tool = "keeper/*" }]"#;
    let table: [(&[&str], bool, &str); 3] = [
        (
            &["grant", "prober", all, "--replace"],
            false,
            "where the run's autonomy",
        ),
        (&["grant", "prober", add], true, "where the run's autonomy"),
        (
            &["grant", "prober", both, "--replace"],
            false,
            "approval = \"always\"",
        ),
    ];
    for (args, warned, asks) in table {
        let ran = place.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        let warning = "tools rule 1 (keeper/add) never holds: rule 0 (keeper/*)";
        assert_eq!(ran.err.contains(warning), warned, "{args:?}: {}", ran.err);
        let told = place.ok(&explain);
        assert!(told.contains(asks), "{args:?}: {told}");
    }
    let nothing = place.run(&["grant", "prober", ""]);
    assert_eq!(nothing.code, 2, "{}", nothing.out);
    let history = place.ok(&["grants", "prober", "--history"]);
    assert!(history.contains("+1 tools"), "{history}");
}

/// What the documentation shows is built in a project of its own.
#[test]
fn the_agent_of_the_documentation_builds() {
    let place = Place::new();
    place.ok(&["new", "reporter"]);
    let folder = place.folder.join("reporter");
    let docs = std::fs::read_to_string(root().join("docs/agents.md")).expect("documentation");
    let example = docs.split("## Write one\n\n```rust,ignore\n").nth(1);
    let example = example.and_then(|rest| rest.split("```").next());
    let example = example.expect("the example");
    std::fs::write(folder.join("src/lib.rs"), example).expect("a file");
    let target = root().join("target/new-plugin");
    place.shell(
        &folder,
        &target,
        "cargo build --target wasm32-wasip2 --release",
    );
    let component = target.join("wasm32-wasip2/release/reporter.wasm");
    place.ok(&["plugin", "add", "reporter", &path(&component)]);
    let listed = place.ok(&["plugin", "list"]);
    assert!(listed.contains("an agent: airlock run"), "{listed}");
}
