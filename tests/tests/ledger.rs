//! Kills the server at random moments under fifty runs at a time whose effects are
//! entries in a ledger elsewhere, and holds each entry against what was promised:
//! an idempotent one is told under one key, however often; one that may not be
//! repeated is told once, or its run waited for a person. Every other run has
//! children that tell of their own, one of which it lets go of.
//!
//! `AIRLOCK_KILL_ROUNDS` sets how often it is killed, `AIRLOCK_KILL_SEED` when.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use airlock::client::{Api, Request};
use airlock::commands::install;
use airlock::harness::Server;
use airlock_tests::{airlock, component};
use serde_json::{Value, json};

/// Runs under way at each kill.
const RUNS: usize = 50;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(300);

fn number(name: &str, usual: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Numbers that look random, the same for one seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A service elsewhere: what it was told, by its name, with the key of each time.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Ledger {
    /// Listens; gives its address.
    fn open(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let own = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream));
            }
        });
        format!("http://{address}")
    }

    /// Requests of one connection. What it is told counts before it answers, as it
    /// is with any service.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        loop {
            let (path, key) = read(&mut reader)?;
            let count = {
                let mut entries = self.0.lock().expect("no panic");
                let keys = entries.entry(path).or_default();
                keys.push(key);
                keys.len()
            };
            std::thread::sleep(Duration::from_millis(count as u64 * 7 % 20));
            let text = count.to_string();
            let reply = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}",
                text.len()
            );
            stream.write_all(reply.as_bytes()).ok()?;
        }
    }
}

/// Path and idempotency key of the next request; `None`: the connection is over.
fn read(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut key = String::new();
    loop {
        let mut header = String::new();
        reader
            .read_line(&mut header)
            .ok()
            .filter(|read| *read > 0)?;
        let header = header.trim_end();
        if header.is_empty() {
            return Some((path, key));
        }
        let (name, value) = header.split_once(':')?;
        if name.eq_ignore_ascii_case("idempotency-key") {
            key = value.trim().to_owned();
        }
    }
}

fn set_up(data: &Path, ledger: &str) -> Server {
    let server = Server::start(&airlock(), data, &[]).expect("the server starts");
    let api = server.api();
    for (name, package) in [("payer", "payer"), ("prober", "agent-prober")] {
        let bytes = std::fs::read(component(package)).expect("a component");
        install(&api, name, bytes, None).expect("installed");
    }
    let http =
        json!([{ "url": format!("{ledger}/*"), "methods": ["POST"], "allow_private": true }]);
    let effects = json!({ "book": "idempotent", "pay": "plain" });
    let limits = json!({ "wall": "60s", "concurrency": 64 });
    let grants = json!({ "grants": { "http": http, "effects": effects }, "limits": limits });
    let tools = json!([{ "tool": "payer/*" }]);
    let tools = json!({ "grants": { "tools": tools, "agents": [{ "agent": "prober" }] } });
    for (plugin, grants) in [("payer", grants), ("prober", tools)] {
        let path = format!("/v1/plugins/{plugin}/grants");
        api.ok(&Request::json("PUT", &path, &grants))
            .expect("granted");
    }
    server
}

/// The steps of run number `run`; each entry has a name of its own.
fn steps(ledger: &str, run: usize) -> Value {
    let tells = |tool: &str, entry: &str| {
        let input = json!({ "url": format!("{ledger}/{tool}-{run}-{entry}") });
        json!({ "call": { "tool": format!("payer/{tool}"), "input": input } })
    };
    let mut steps = vec![
        tells("book", "a"),
        tells("pay", "b"),
        json!({ "sleep": { "ms": 40 } }),
        json!({ "join": [tells("pay", "c"), tells("book", "d"), { "sleep": { "ms": 60 } }, tells("pay", "e")] }),
        json!({ "select": [{ "sleep": { "ms": 20 } }, { "sleep": { "ms": 3_600_000 } }] }),
        tells("pay", "f"),
        json!({ "std-sleep": { "ms": 30 } }),
        tells("book", "g"),
        tells("pay", "h"),
    ];
    if has_children(run) {
        let child = |steps: Value| json!({ "start": { "steps": steps } });
        let below =
            child(json!([tells("pay", "k"), { "sleep": { "ms": 20 } }, tells("book", "l")]));
        let held = child(json!([tells("pay", "i"), below, tells("book", "j")]));
        let left = json!([{ "sleep": { "ms": 30 } }, tells("pay", "m"), tells("book", "n")]);
        steps.insert(2, json!({ "join": [held, tells("pay", "o")] }));
        steps.push(json!({ "start-and-leave": { "steps": left } }));
    }
    json!(steps)
}

const BOOKED: [&str; 3] = ["a", "d", "g"];
const PAID: [&str; 5] = ["b", "c", "e", "f", "h"];

/// Those of a run with children, besides.
const BOOKED_BELOW: [&str; 3] = ["j", "l", "n"];
const PAID_BELOW: [&str; 4] = ["i", "k", "m", "o"];

/// Runs that belong to one with children: itself, and these.
const CHILDREN: usize = 3;

fn has_children(run: usize) -> bool {
    run.is_multiple_of(2)
}

/// What a run and its children tell: what may be told again, and what may not.
fn entries(run: usize) -> [Vec<&'static str>; 2] {
    let below = |own: &[&'static str], below: &[&'static str]| match has_children(run) {
        true => [own, below].concat(),
        false => own.to_vec(),
    };
    [below(&BOOKED, &BOOKED_BELOW), below(&PAID, &PAID_BELOW)]
}

struct Run {
    id: String,
    number: usize,
}

fn start(api: &Api, ledger: &str, number: usize) -> Run {
    let input = json!({ "steps": steps(ledger, number) });
    let body = json!({ "agent": "prober", "goal": "test", "input": input });
    let run: Value = api
        .value(&Request::json("POST", "/v1/runs", &body))
        .expect("started");
    let id = run["id"].as_str().expect("an id").to_owned();
    Run { id, number }
}

fn show(api: &Api, id: &str) -> Value {
    api.get(&format!("/v1/runs/{id}")).expect("a run")
}

/// A run and the runs below it, as they stand now.
fn family(api: &Api, id: &str) -> Vec<Value> {
    let seen = show(api, id);
    let children = seen["children"].as_array().into_iter().flatten();
    let below = children.flat_map(|child| family(api, child.as_str().expect("an id")));
    let below: Vec<Value> = below.collect();
    [vec![seen], below].concat()
}

/// Whether the run and its children have ended. One that waits for a person is
/// told what a person would say who can't look: don't make the call again.
fn over(api: &Api, run: &Run, asked: &mut BTreeSet<(String, u64)>) -> bool {
    let mut all_ended = true;
    for seen in family(api, &run.id) {
        let id = seen["id"].as_str().expect("an id");
        if let Some(end) = seen.get("end") {
            assert_eq!(end["state"], "succeeded", "{seen}");
            continue;
        }
        all_ended = false;
        if let Some(request) = seen["blocked"]["id"].as_u64() {
            let body = json!({ "request": request, "outcome": "fail" });
            let path = format!("/v1/runs/{id}/resume");
            if api.ok(&Request::json("POST", &path, &body)).is_ok() {
                asked.insert((id.to_owned(), request));
            }
        }
    }
    all_ended
}

/// What the journals of the run and its children say of each entry: whether it is
/// known to be told.
fn told(api: &Api, run: &Run) -> BTreeMap<String, bool> {
    let family = family(api, &run.id);
    let children = if has_children(run.number) {
        CHILDREN
    } else {
        0
    };
    assert_eq!(family.len(), 1 + children, "{}", run.id);
    let mut told = BTreeMap::new();
    for one in family {
        told_by(api, one["id"].as_str().expect("an id"), &mut told);
    }
    told
}

fn told_by(api: &Api, id: &str, told: &mut BTreeMap<String, bool>) {
    let page = api.get(&format!("/v1/runs/{id}/events?limit=1000"));
    let events = page.expect("events")["events"].clone();
    let events = events.as_array().expect("a list").clone();
    let mut names = BTreeMap::new();
    for event in &events {
        let id = event["id"].as_u64();
        let calls = event["request"]["kind"] == "call";
        if let Some(input) = event["request"]["input"].as_str().filter(|_| calls) {
            let input: Value = serde_json::from_str(input).expect("JSON");
            let url = input["url"].as_str().expect("a URL");
            let entry = url.rsplit('-').next().expect("a name").to_owned();
            let twice = names.insert(id, entry);
            assert_eq!(twice, None, "a number is used once");
        }
        if let (Some(entry), "answered") = (names.get(&id), event["event"].as_str().unwrap_or("")) {
            let known = event["answer"].get("ok").is_some();
            // What may be told again is, until it is known.
            let booked = [BOOKED, BOOKED_BELOW].concat();
            assert!(known || !booked.contains(&entry.as_str()), "{event}");
            let twice = told.insert(entry.clone(), known);
            assert_eq!(twice, None, "an answer is given once");
        }
    }
}

/// Holds what the ledger was told for a run against what its journal says.
fn check(entries: &BTreeMap<String, Vec<String>>, run: &Run, told: &BTreeMap<String, bool>) {
    let [booked, paid] = self::entries(run.number);
    assert_eq!(told.len(), booked.len() + paid.len(), "{told:?}");
    let of = |tool: &str, entry: &str| {
        let keys = entries.get(&format!("/{tool}-{}-{entry}", run.number));
        keys.cloned().unwrap_or_default()
    };
    for entry in booked {
        let keys: BTreeSet<String> = of("book", entry).into_iter().collect();
        assert_eq!(keys.len(), 1, "{entry} of {} is told under one key", run.id);
    }
    for entry in paid {
        let times = of("pay", entry).len();
        match told[entry] {
            true => assert_eq!(times, 1, "{entry} of {}", run.id),
            false => assert!(times <= 1, "{entry} of {} was told {times} times", run.id),
        }
    }
}

#[test]
fn a_ledger_elsewhere_is_told_what_was_promised_whatever_dies() {
    let (rounds, seed) = (
        number("AIRLOCK_KILL_ROUNDS", 4),
        number("AIRLOCK_KILL_SEED", 1),
    );
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let ledger = Ledger::default();
    let address = ledger.open();
    let mut server = set_up(&data, &address);
    let (mut open, mut done, mut asked) = (Vec::<Run>::new(), Vec::new(), BTreeSet::new());
    let mut settle = |api: &Api, open: &mut Vec<Run>| {
        let (ended, rest) = open.drain(..).partition(|run| over(api, run, &mut asked));
        *open = rest;
        done.extend::<Vec<Run>>(ended);
        done.len()
    };
    let mut begun = 0;
    for _ in 0..rounds {
        let api = server.api();
        while open.len() < RUNS {
            open.push(start(&api, &address, begun));
            begun += 1;
        }
        std::thread::sleep(Duration::from_millis(chance.below(700)));
        server.kill().expect("killed");
        server = Server::start(&airlock(), &data, &[]).expect("it starts again");
        settle(&server.api(), &mut open);
    }
    let (api, since) = (server.api(), Instant::now());
    while settle(&api, &mut open) < begun {
        assert!(since.elapsed() < PATIENCE, "{}", show(&api, &open[0].id));
        std::thread::sleep(Duration::from_millis(50));
    }
    let entries = ledger.0.lock().expect("no panic").clone();
    let mut unknown = 0;
    for run in &done {
        let told = told(&api, run);
        check(&entries, run, &told);
        unknown += told.values().filter(|told| !**told).count();
    }
    let keys: BTreeSet<&String> = entries.values().flatten().collect();
    assert_eq!(keys.len(), entries.len(), "no two entries share a key");
    assert_eq!(
        unknown,
        asked.len(),
        "a person was asked about each that is not known"
    );
    let again = entries.values().filter(|keys| keys.len() > 1).count();
    let (runs, told) = (done.len(), entries.len());
    println!(
        "{rounds} kills, {runs} runs, {told} entries: {again} told again under their key, {unknown} not known"
    );
}
