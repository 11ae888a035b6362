//! What a plugin writes, for whoever asks: the caller, and who reads the host's log.
//! What becomes of everything else where that log can't be written.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use airlock::harness::Server;
use airlock_tests::{airlock, component};

use crate::{Place, path};

const FLOOD: [&str; 4] = ["tool", "call", "prober/flood_log", r#"{"amount": 100}"#];

/// The caller gets what the tool wrote, once, with the reply or the failure.
pub(crate) fn asked_log(place: &Place) {
    let prober = path(&component("evil-prober"));
    place.ok(&["plugin", "add", "prober", &prober]);
    let quiet = place.run(&FLOOD);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, ""), "{}", quiet.out);
    let shown = place.run(&[&FLOOD[..], &["--log"]].concat());
    assert_eq!((shown.code, &shown.out), (0, &quiet.out), "{}", shown.err);
    let of = |level: &str| {
        let lines = shown.err.lines();
        lines.filter(|line| line.starts_with(level)).count()
    };
    assert!(
        of("stdout: ") > 0
            && of("stderr: ") > 0
            && of("info: ") > 0
            && shown.err.lines().count() >= 5,
        "{}",
        shown.err
    );
    let reply = place.json(&[&FLOOD[..], &["--log"]].concat());
    let log = reply["log"].as_array().expect("a log");
    assert_eq!(log.len(), shown.err.lines().count());
    assert!(log[0]["at_us"].is_u64() && log[0]["level"].is_string());
    assert!(place.json(&FLOOD)["log"].is_null(), "nobody asked");

    // What it wrote before a limit ended it.
    let endless = [
        "tool",
        "call",
        "prober/flood_log",
        r#"{"amount": 1000000000000}"#,
    ];
    let failed = place.run(&[&endless[..], &["--log"]].concat());
    assert_eq!(failed.code, 6, "{}", failed.out);
    assert!(failed.err.starts_with("stdout: "), "{}", failed.err);
    assert!(failed.err.contains("limit log reached"), "{}", failed.err);
    assert!(failed.err.contains("[limit]"), "{}", failed.err);
    let problem = place.run(&[&endless[..], &["--log", "--json"]].concat());
    let problem: serde_json::Value = serde_json::from_str(&problem.out).expect("one problem");
    assert_eq!(problem["log"][0]["level"], "stdout", "{}", problem["code"]);
    place.ok(&["plugin", "remove", "prober"]);
}

/// Whoever opens the data directory sees what a plugin writes, if they ask, and
/// sees it once.
pub(crate) fn host_log(place: &Place) {
    let prober = path(&component("evil-prober"));
    place.ok(&["plugin", "add", "prober", &prober]);
    let written = place.json(&[&FLOOD[..], &["--log"]].concat());
    let written = written["log"].as_array().expect("a log").len();
    for (filter, lines) in [
        ("info", 0),
        ("info,airlock::guest=debug", written),
        ("debug", written),
    ] {
        let mut command = place.command(&FLOOD);
        let output = command.env("AIRLOCK_LOG", filter).output();
        let output = output.expect("it ends");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{err}");
        let found = err
            .lines()
            .filter(|line| line.contains("plugin=\"prober\""));
        assert_eq!(found.count(), lines, "{filter}: {err}");
    }
    place.ok(&["plugin", "remove", "prober"]);
}

const PUT: [&str; 4] = [
    "tool",
    "call",
    "keeper/put",
    r#"{"key": "a", "value": "b"}"#,
];

/// Damages the compiled code on disk, of which the host warns and which it mends.
fn damage(place: &Place) {
    let files = std::fs::read_dir(place.data.join("cache")).expect("a folder");
    let mut damaged = 0;
    for file in files {
        let file = file.expect("an entry").path();
        let mut bytes = std::fs::read(&file).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&file, bytes).expect("a file");
        damaged += 1;
    }
    assert!(damaged > 0, "nothing is compiled");
}

/// Standard error is on a full disk, or whoever read it has ended.
#[test]
fn a_log_that_can_not_be_written_costs_nothing_else() {
    let place = Place::new();
    let keeper = path(&component("keeper"));
    place.ok(&["plugin", "add", "keeper", &keeper]);
    let grants = "kv = [{ bucket = \"kept\", scope = \"plugin\" }]";
    place.ok(&["grant", "keeper", grants]);
    place.ok(&PUT);
    let full = || Stdio::from(File::create("/dev/full").expect("the device"));
    let closed = || Stdio::from(std::io::pipe().expect("a pipe").1);
    let table: [(&str, &dyn Fn() -> Stdio); 3] = [
        ("read", &Stdio::piped),
        ("full", &full),
        ("closed", &closed),
    ];
    for (name, stderr) in table {
        for json in [false, true] {
            damage(&place);
            let args = [&PUT[..], if json { &["--json"] } else { &[] }].concat();
            let mut command = place.command(&args);
            let command = command.env("AIRLOCK_LOG", "warn").stderr(stderr());
            let output = command.stdout(Stdio::piped()).output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{name}, {json}: {said}");
            assert!(name != "read" || said.contains("WARN"), "{json}: {said}");
        }
    }

    let server = Server::start_logging(&airlock(), &place.data, "debug", Path::new("/dev/full"));
    let server = server.expect("it starts");
    damage(&place);
    place.ok(&PUT);
    place.ok(&["backup", "whole.db"]);
    let stopped = server.stop(Duration::from_secs(60)).expect("it stops");
    assert!(stopped.success(), "{stopped}");
}
