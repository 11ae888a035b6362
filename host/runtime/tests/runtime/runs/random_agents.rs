//! Random agents, with and without a host that dies: trees of calls, waits,
//! joins, selects, signals and questions come to the same end, have the effects
//! that the semantics promise, and leave a journal that replays.
//!
//! `AIRLOCK_FUZZ_SCALE` times the cases are tried; see `cargo xtask fuzz`.

use std::collections::BTreeMap;

use airlock_runtime::{ReplayRun, ReplayVerdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::crashing::Place;
use super::*;

/// Far beyond what a test waits for.
const NEVER_MS: u64 = 3_600_000;

/// What an agent does. Of a choice, only the first ever ends, so that the outcome
/// is one.
#[derive(Debug, Clone)]
enum Tree {
    Add,
    Put(u8),
    Get,
    Denied,
    Sleep(u64),
    StdSleep(u64),
    Cancelled,
    Signal,
    Ask,
    Tell,
    Look,
    Sequence(Vec<Tree>),
    Join(Vec<Tree>),
    Select(Box<Tree>, bool),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        3 => Just(Tree::Add),
        2 => any::<u8>().prop_map(Tree::Put),
        1 => Just(Tree::Get),
        1 => Just(Tree::Denied),
        2 => (0..20_u64).prop_map(Tree::Sleep),
        1 => (0..10_u64).prop_map(Tree::StdSleep),
        1 => Just(Tree::Cancelled),
        2 => Just(Tree::Signal),
        1 => Just(Tree::Ask),
        1 => Just(Tree::Tell),
        1 => Just(Tree::Look),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            many.clone().prop_map(Tree::Sequence),
            many.prop_map(Tree::Join),
            (inner, any::<bool>()).prop_map(|(one, first)| Tree::Select(Box::new(one), first)),
        ]
    })
}

/// A tree as the agent's steps, and the signals that it waits for.
#[derive(Default)]
struct Program {
    signals: Vec<String>,
    adds: u64,
}

impl Program {
    fn step(&mut self, tree: &Tree) -> Value {
        match tree {
            Tree::Add => {
                self.adds += 1;
                add()
            }
            Tree::Put(value) => put(&value.to_string()),
            Tree::Get => json!({ "call": { "tool": "keeper/get", "input": { "key": "none" } } }),
            Tree::Denied => json!({ "call": { "tool": "nobody/there", "input": {} } }),
            Tree::Sleep(ms) => json!({ "sleep": { "ms": ms } }),
            Tree::StdSleep(ms) => json!({ "std-sleep": { "ms": ms } }),
            Tree::Cancelled => json!({ "cancel-sleep": { "ms": NEVER_MS } }),
            Tree::Signal => {
                let name = format!("s{}", self.signals.len());
                self.signals.push(name.clone());
                json!({ "signal": { "name": name } })
            }
            Tree::Ask => json!({ "ask": { "text": "go on?", "choices": ["yes", "no"] } }),
            Tree::Tell => json!({ "tell": { "text": "x" } }),
            Tree::Look => json!({ "look": {} }),
            Tree::Sequence(all) => {
                json!({ "repeat": { "times": 1, "steps": self.steps(all) } })
            }
            Tree::Join(all) => json!({ "join": self.steps(all) }),
            Tree::Select(one, first) => {
                let never = json!({ "sleep": { "ms": NEVER_MS } });
                let mut both = vec![self.step(one), never];
                if !first {
                    both.swap(0, 1);
                }
                json!({ "select": both })
            }
        }
    }

    fn steps(&mut self, all: &[Tree]) -> Vec<Value> {
        all.iter().map(|tree| self.step(tree)).collect()
    }
}

/// A result without what differs from one run to the next: clocks, and the count
/// of whoever came first.
fn plain(value: &Value) -> Value {
    match value {
        Value::Array(all) => all.iter().map(plain).collect(),
        Value::Object(members) => {
            let kept = members.iter();
            let kept =
                kept.filter(|(name, _)| !["count", "now_ms", "order"].contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), plain(value)))
                .collect()
        }
        value => value.clone(),
    }
}

/// What the journal says was asked for and answered, as often as it was, without
/// numbers, times and the order among what goes on side by side.
fn asked(host: &Host, id: &str) -> BTreeMap<String, usize> {
    let page = host.runtime.run_events(&host.who, id, 0, 1_000);
    let events = json!(page.expect("reads").events);
    let events = events.as_array().expect("a list");
    let mut answers = BTreeMap::new();
    for event in events.iter().filter(|event| event["event"] == "answered") {
        let told = event["answer"]["ok"].as_str().map(|text| {
            let value: Value = serde_json::from_str(text).expect("JSON");
            plain(&value)
        });
        let told = told.unwrap_or_else(|| event["answer"].clone());
        let twice = answers.insert(event["id"].as_u64(), told);
        assert_eq!(twice, None, "an answer is given once: {events:?}");
    }
    let mut all = BTreeMap::new();
    let requests = events.iter().filter(|event| event["event"] == "requested");
    for (number, event) in (0..).zip(requests) {
        assert_eq!(event["id"], number, "numbers are used once: {events:?}");
        let mut request = event["request"].clone();
        // Whether the other side of a choice was begun before the first one ended
        // is chance, and so is whether a timer that nobody waits for has fired.
        if request["kind"] == "timer" {
            continue;
        }
        request["due_ms"] = Value::Null;
        let answer = answers.get(&event["id"].as_u64());
        *all.entry(format!("{request} {answer:?}")).or_default() += 1;
    }
    all
}

/// What a run came to.
#[derive(Debug, PartialEq)]
struct Came {
    result: Value,
    asked: BTreeMap<String, usize>,
    adds: u64,
}

/// Runs a program to its end; the host dies at write `fault` after its start.
async fn run(place: &mut Place, tree: &[Tree], asks: bool, fault: Option<u64>) -> Came {
    let mut program = Program::default();
    let steps = program.steps(tree);
    let autonomy = if asks { "ask" } else { "supervised" };
    let members = json!({ "autonomy": autonomy });
    let run = place
        .run(json!(steps), members, &program.signals, fault)
        .await;
    let host = place.host();
    let replay = host
        .runtime
        .replay_run(&host.who, &run.id, ReplayRun::default())
        .await;
    let replay = replay.expect("it replays");
    assert_eq!(replay.verdict, ReplayVerdict::Same, "{replay:?}");
    assert_eq!(run.adds, program.adds, "each effect is had once");
    Came {
        result: plain(&host.results(&run.id).await),
        asked: asked(host, &run.id),
        adds: run.adds,
    }
}

/// Cases of a test run.
const CASES: u32 = 12;

#[test]
fn fuzz_random_agents_end_the_same_whatever_dies() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let place = std::cell::RefCell::new(runtime.block_on(Place::new()));
    let trees = prop::collection::vec(tree(), 1..6);
    let cases = (trees, any::<bool>(), prop::collection::vec(0..30_u64, 1..3));
    let config = Config {
        // A case takes a while: what is found is told as it is, nearly.
        max_shrink_iters: 30,
        failure_persistence: None,
        ..airlock_fuzz::cases(CASES)
    };
    let ran = TestRunner::new(config).run(&cases, |(trees, asks, faults)| {
        let mut place = place.borrow_mut();
        let quiet = runtime.block_on(run(&mut place, &trees, asks, None));
        for fault in faults {
            let died = runtime.block_on(run(&mut place, &trees, asks, Some(fault)));
            prop_assert_eq!(&died, &quiet, "the host died at write {}", fault);
        }
        Ok(())
    });
    if let Err(TestError::Fail(why, case)) = ran {
        panic!("{why}: {case:#?}");
    }
    let deaths = place.borrow().deaths;
    assert!(deaths >= 3, "only {deaths} hosts died");
}
