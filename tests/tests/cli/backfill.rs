//! Back-filling on the command line: each interval once, and who is waited for.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use airlock::harness::Server;
use airlock_tests::{airlock, component};

use crate::{Place, path};

const DAYS: [&str; 6] = [
    "--from",
    "2026-05-01",
    "--to",
    "2026-05-03",
    "--every",
    "1d",
];

fn command(file: &str) -> Vec<&str> {
    [&["workflow", "backfill", file][..], &DAYS].concat()
}

#[test]
fn a_back_fill_that_is_given_again_starts_nothing_again() {
    let place = Place::new();
    let _server = Server::start(&airlock(), &place.data, &[]).expect("the server starts");
    let workflow = path(&component("airlock-plugin-workflow"));
    place.ok(&["plugin", "add", "workflow", &workflow]);
    let write = |file: &str, step: &str| {
        let text = format!("steps:\n  - {{ id: a, {step} }}\n");
        std::fs::write(place.folder.join(file), text).expect("a file");
    };
    write("waits.yaml", "wait: 1s");
    let first = place.ok(&command("waits.yaml"));
    assert_eq!(first.lines().count(), 2, "{first}");
    assert_eq!(place.ok(&command("waits.yaml")), first);
    let runs = || {
        place.json(&["runs", "list"])["runs"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(runs(), Some(2));
    write("other.yaml", "wait: 2s");
    assert_ne!(place.ok(&command("other.yaml")), first);
    assert_eq!(runs(), Some(4));

    // Until somebody says, nothing more is started.
    write("asks.yaml", "approval: { text: 'go on?' }");
    let mut child = place
        .command(&command("asks.yaml"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    let mut told = BufReader::new(child.stderr.take().expect("stderr"));
    told.read_line(&mut said).expect("a line");
    child.kill().expect("it ends");
    child.wait().expect("it has ended");
    assert!(
        said.contains("waits for a person: airlock runs show run_"),
        "{said}"
    );
    assert_eq!(runs(), Some(5));
}
