//! `watch` over several cycles with a feed and a lock file that change, with the
//! advisories of the RustSec database, where they are beside the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use airlock::client::Request;
use airlock_tests::root;
use airlock_tests::runs::{Desk, PATIENCE};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::{add, apply, serve, server};

/// Records that a cycle's journal may have.
const EVENTS_MAX: usize = 40;

/// Packages with advisories long known, and one without.
const LOCKED: [(&str, &str); 4] = [
    ("hyper", "0.9.3"),
    ("openssl", "0.8.3"),
    ("smallvec", "0.6.2"),
    ("itoa", "1.0.0"),
];

/// One more, worse than all others.
const NEW: &str = r#"{"id":"TEST-2026-0001","package":"hyper","date":"2026-11-01","title":"worse","informational":null,"withdrawn":false,"cvss":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H","patched":[">= 1.0.0"],"unaffected":[],"url":"https://example.com"}"#;

/// What a server of the feed answers; nothing: 404.
type Feed = Arc<Mutex<Option<String>>>;

struct Watched {
    feed: Feed,
    project: PathBuf,
    report: PathBuf,
}

fn lock(project: &Path, packages: &[(&str, &str)]) {
    let package = |(name, version): &(&str, &str)| {
        format!(
            "[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"registry+https://example.com/index\"\n\n"
        )
    };
    let text: String = packages.iter().map(package).collect();
    fs::write(project.join("Cargo.lock"), format!("version = 4\n\n{text}")).expect("written");
}

fn policy(service: &str, watched: &Watched) -> String {
    let out = watched.report.parent().expect("a folder");
    format!(
        r#"[plugins.advisories.grants]
http = [{{ url = "{service}/advisories.jsonl", methods = ["GET"], allow_private = true }}]
files = [{{ host = "{}", guest = "/project", access = "read" }}]
effects = {{ check = "idempotent" }}

[plugins.files.grants]
files = [{{ host = "{}", guest = "/out", access = "read-write" }}]
effects = {{ write = "idempotent" }}

[plugins.watch.grants]
tools = [{{ tool = "advisories/check" }}, {{ tool = "files/write", approval = "never" }}]
"#,
        watched.project.display(),
        out.display()
    )
}

/// A report's cycle, and how many findings are new, still open and gone.
fn read(report: &Path) -> Option<(u64, [usize; 3], String)> {
    let text = fs::read_to_string(report).ok()?;
    let (_, rest) = text.split_once("cycle ")?;
    let cycle = rest.lines().next()?.parse().ok()?;
    let counts = rest.lines().nth(2)?;
    let numbers: Vec<usize> = counts
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    Some((cycle, numbers.try_into().ok()?, text))
}

impl Watched {
    /// Waits for a report that `is` takes.
    fn until(&self, what: &str, is: impl Fn(u64, [usize; 3]) -> bool) -> (u64, [usize; 3], String) {
        let begun = Instant::now();
        loop {
            let last = read(&self.report);
            if let Some(found) = last
                .clone()
                .filter(|(cycle, counts, _)| is(*cycle, *counts))
            {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {last:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn feed(&self, text: Option<String>) {
        *self.feed.lock().expect("no panic") = text;
    }
}

/// The runs from the first to the one that goes on now.
fn chain(desk: &Desk, first: &str) -> Vec<String> {
    let mut runs = vec![first.to_owned()];
    loop {
        let run = desk.show(&runs[runs.len() - 1]).expect("a run");
        match run["end"]["run"].as_str() {
            Some(next) => runs.push(next.to_owned()),
            None => return runs,
        }
    }
}

#[test]
fn watch_reports_what_is_new_cycle_after_cycle() {
    let file = root().join("../shared/data/rustsec-advisories.jsonl");
    let Ok(all) = fs::read_to_string(file) else {
        println!("skipped: no advisories beside the repository");
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["project", "out"] {
        fs::create_dir(dir.path().join(name)).expect("a folder");
    }
    let watched = Watched {
        feed: Arc::new(Mutex::new(Some(all.clone()))),
        project: dir.path().join("project"),
        report: dir.path().join("out/advisories.md"),
    };
    lock(&watched.project, &LOCKED);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let feed = Arc::clone(&watched.feed);
    let answer = move || async move {
        let text = feed.lock().expect("no panic").clone();
        text.map_or(
            StatusCode::NOT_FOUND.into_response(),
            IntoResponse::into_response,
        )
    };
    let router = axum::Router::new().route("/advisories.jsonl", axum::routing::get(answer));
    let service = serve(&runtime, router);
    let data = dir.path().join("data");
    let first = server(&data);
    add(&first.api(), &["advisories", "files", "watch"]);
    apply(&first.api(), &policy(&service, &watched));
    let desk = Desk::new(&first).expect("an approver");
    let input = json!({ "feed": format!("{service}/advisories.jsonl"), "lock": "/project/Cargo.lock",
        "report": "/out/advisories.md", "every_s": 1 });
    let run = desk.start("watch", &input).expect("started");

    let (_, [new, still, gone], text) = watched.until("the first", |cycle, _| cycle == 1);
    assert!(new > 3 && still == 0 && gone == 0, "{text}");
    ranked(&text);
    watched.until("nothing new", |_, counts| counts == [0, new, 0]);

    // The server dies, and something happens meanwhile.
    first.kill().expect("killed");
    watched.feed(Some(format!("{all}{NEW}\n")));
    let second = server(&data);
    let desk = Desk::over(&second, &desk.token);
    let (_, _, text) = watched.until("one more", |_, counts| counts == [1, new, 0]);
    assert!(
        text.contains("| 10.0 | critical | TEST-2026-0001"),
        "{text}"
    );

    // The feed is away: a person is asked, and nobody has to answer.
    watched.feed(None);
    let begun = Instant::now();
    while desk.approver.get("/v1/approvals").expect("a list")["approvals"] == json!([]) {
        assert!(begun.elapsed() < PATIENCE, "nobody is asked");
        std::thread::sleep(Duration::from_millis(5));
    }
    watched.feed(Some(all));
    watched.until("withdrawn", |_, [_, _, gone]| gone == 1);

    lock(&watched.project, &[("hyper", "1.9.0"), ("itoa", "1.0.0")]);
    let (last, _, text) = watched.until("mended", |_, [new, still, gone]| {
        (new, still) == (0, 0) && gone > 3
    });
    assert!(text.contains("## Gone"), "{text}");

    let runs = chain(&desk, &run);
    assert!(
        runs.len() as u64 >= last && last >= 5,
        "{} runs, cycle {last}",
        runs.len()
    );
    for run in &runs {
        let events = desk.events(run).expect("events");
        assert!(events.len() <= EVENTS_MAX, "{}: {events:#?}", events.len());
    }
    let cancel = format!("/v1/runs/{}/cancel", runs[runs.len() - 1]);
    // The last one may have gone on just now.
    let _ = desk.api.send(&Request::json("POST", cancel, &Value::Null));
}

/// The rows of each table go down by score.
fn ranked(report: &str) {
    let (_, new) = report.split_once("## New").expect("new ones");
    let rows = new
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("score"));
    let scores: Vec<f64> = rows
        .filter_map(|row| row.split('|').nth(1)?.trim().parse().ok())
        .collect();
    assert!(scores.len() > 2, "{report}");
    assert!(
        scores.is_sorted_by(|left, right| left >= right),
        "{scores:?}"
    );
    assert!(report.contains("RUSTSEC-2016-0001"), "{report}");
}
