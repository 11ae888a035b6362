//! Random agents, with and without a host that dies: trees of calls, waits, joins,
//! selects, signals, questions, state and children, some of which go on as another
//! run, come to the same end, have each effect once, and leave journals that say
//! the same and replay.
//!
//! `AIRLOCK_FUZZ_SCALE` times the cases are tried; see `cargo xtask fuzz`.

use std::collections::{BTreeMap, BTreeSet};

use airlock_runtime::{ReplayRun, ReplayVerdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::crashing::{CHILDS, Place, add_as, records};
use super::*;

/// Far beyond what a test waits for.
const NEVER_MS: u64 = 3_600_000;

/// Keys of its state that a run may have.
const KEYS_MAX: usize = 64;

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
    Record(u8),
    /// Sets a key of its own and reads it.
    State(u8),
    Tools,
    Sequence(Vec<Tree>),
    Join(Vec<Tree>),
    Select(Box<Tree>, bool),
    Child(Vec<Tree>),
    /// A child that is let go of.
    LeftChild(Vec<Tree>),
    CancelledChild,
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
        1 => any::<u8>().prop_map(Tree::Record),
        1 => any::<u8>().prop_map(Tree::State),
        1 => Just(Tree::Tools),
        1 => Just(Tree::CancelledChild),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            2 => many.clone().prop_map(Tree::Sequence),
            2 => many.clone().prop_map(Tree::Join),
            2 => (inner, any::<bool>()).prop_map(|(one, first)| Tree::Select(Box::new(one), first)),
            2 => many.clone().prop_map(Tree::Child),
            1 => many.prop_map(Tree::LeftChild),
        ]
    })
}

/// What a run does, and what another does that goes on in its place.
#[derive(Debug, Clone)]
struct Agent {
    trees: Vec<Tree>,
    then: Option<Vec<Tree>>,
}

fn agent() -> impl Strategy<Value = Agent> {
    let trees = || prop::collection::vec(tree(), 1..5);
    (trees(), prop::option::of(trees())).prop_map(|(trees, then)| Agent { trees, then })
}

/// A tree as the agent's steps, and the signals that it waits for.
#[derive(Default)]
struct Program {
    signals: Vec<String>,
    adds: usize,
    keys: usize,
    /// Runs above the one that is written.
    depth: usize,
}

impl Program {
    fn of(agent: &Agent) -> (Value, Vec<String>) {
        let mut program = Self::default();
        let mut steps = program.steps(&agent.trees);
        if let Some(then) = &agent.then {
            // What was set before is there after.
            let read = |key: usize| json!({ "get": { "key": format!("k{key}") } });
            let mut next: Vec<Value> = (0..program.keys).map(read).collect();
            next.extend(program.steps(then));
            steps.push(json!({ "continue-as-new": { "steps": next } }));
        }
        (json!(steps), program.signals)
    }

    fn step(&mut self, tree: &Tree) -> Value {
        match tree {
            Tree::Add => {
                self.adds += 1;
                add_as(&format!("a{}", self.adds))
            }
            Tree::Put(value) => put(&value.to_string()),
            Tree::Get => json!({ "call": { "tool": "keeper/get", "input": { "key": "none" } } }),
            Tree::Denied => json!({ "call": { "tool": "nobody/there", "input": {} } }),
            Tree::Sleep(ms) => json!({ "sleep": { "ms": ms } }),
            Tree::StdSleep(ms) => json!({ "std-sleep": { "ms": ms } }),
            Tree::Cancelled => json!({ "cancel-sleep": { "ms": NEVER_MS } }),
            Tree::Signal => {
                let whose = if self.depth > 0 { CHILDS } else { 's' };
                let name = format!("{whose}{}", self.signals.len());
                self.signals.push(name.clone());
                json!({ "signal": { "name": name } })
            }
            Tree::Ask => json!({ "ask": { "text": "go on?", "choices": ["yes", "no"] } }),
            Tree::Tell => json!({ "tell": { "text": "x" } }),
            Tree::Look => json!({ "look": {} }),
            Tree::Record(value) => json!({ "record": { "value": value } }),
            Tree::State(value) => self.state(*value),
            Tree::Tools => json!({ "tools": {} }),
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
            Tree::Child(all) => json!({ "start": { "steps": self.below(all) } }),
            Tree::LeftChild(all) => json!({ "start-and-leave": { "steps": self.below(all) } }),
            Tree::CancelledChild => {
                let never = json!({ "signal": { "name": "never" } });
                json!({ "start-and-cancel": { "steps": [never] } })
            }
        }
    }

    fn steps(&mut self, all: &[Tree]) -> Vec<Value> {
        all.iter().map(|tree| self.step(tree)).collect()
    }

    /// What a child does: its state is its own.
    fn below(&mut self, all: &[Tree]) -> Vec<Value> {
        let keys = std::mem::take(&mut self.keys);
        self.depth += 1;
        let steps = self.steps(all);
        self.depth -= 1;
        self.keys = keys;
        steps
    }

    fn state(&mut self, value: u8) -> Value {
        if self.keys == KEYS_MAX {
            return json!({ "look": {} });
        }
        let key = format!("k{}", self.keys);
        self.keys += 1;
        let both = json!([{ "set": { "key": key, "value": value } }, { "get": { "key": key } }]);
        json!({ "repeat": { "times": 1, "steps": both } })
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

/// The requests of a run of which there is a record of this kind.
fn with(events: &[Value], kind: &str) -> BTreeSet<Option<u64>> {
    let of_kind = events.iter().filter(|event| event["event"] == kind);
    of_kind.map(|event| event["id"].as_u64()).collect()
}

/// What the answers of a journal were, by their request.
fn answers(events: &[Value]) -> BTreeMap<Option<u64>, Value> {
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
    answers
}

/// What the journal says was asked for and answered, kept, set and told, as often
/// as it was, without numbers, times and the order among what goes on side by side.
fn said(events: &[Value]) -> BTreeMap<String, usize> {
    let (mut answers, left) = (answers(events), with(events, "detached"));
    let mut all = BTreeMap::new();
    let mut number = 0;
    for event in events {
        let kind = event["event"].as_str().expect("a kind");
        if ["requested", "recorded"].contains(&kind) {
            assert_eq!(event["id"], number, "numbers are used once: {events:?}");
            number += 1;
        }
        let mut said = match kind {
            // Whether the other side of a choice was begun before the first one
            // ended is chance, and so is whether a timer that nobody waits for has
            // fired.
            "requested" if event["request"]["kind"] == "timer" => continue,
            "requested" => {
                let id = event["id"].as_u64();
                // So is whether a child that was let go of ended before its parent.
                if event["request"]["kind"] == "start" && left.contains(&id) {
                    answers.remove(&id);
                }
                json!({ "request": event["request"], "answer": answers.get(&id) })
            }
            "recorded" | "state-set" | "tools-told" => event.clone(),
            _ => continue,
        };
        for differs in ["id", "seq", "at_ms"] {
            said.as_object_mut().expect("an object").remove(differs);
        }
        said["request"]["due_ms"] = Value::Null;
        *all.entry(said.to_string()).or_default() += 1;
    }
    all
}

/// What became of a run: how it ended, and what its journal says.
fn told(run: &RunDetail, events: &[Value]) -> String {
    let end = match &run.end {
        Some(End::Succeeded { output }) => {
            let output: Value = serde_json::from_str(output).expect("JSON");
            plain(&output).to_string()
        }
        Some(End::Continued { .. }) => "continued".to_owned(),
        end => panic!("{end:?}: {events:?}"),
    };
    format!("{end} {:?}", said(events))
}

/// Runs an agent to its end; the host dies at write `fault` after its start. Gives
/// what became of it and of all that belong to it, as often as it did.
async fn run(
    place: &mut Place,
    agent: &Agent,
    asks: bool,
    fault: Option<u64>,
) -> BTreeMap<String, usize> {
    let (steps, signals) = Program::of(agent);
    let autonomy = if asks { "ask" } else { "supervised" };
    let members = json!({ "autonomy": autonomy });
    let root = place.run(steps, members, &signals, fault).await;
    let host = place.host();
    let family = host.family(&root);
    let journals: BTreeMap<&str, Vec<Value>> = family
        .iter()
        .map(|run| (&*run.run.id, records(host, &run.run.id)))
        .collect();
    let mut came = BTreeMap::new();
    for run in &family {
        let (id, events) = (&*run.run.id, &journals[&*run.run.id]);
        let replay = host
            .runtime
            .replay_run(&host.who, id, ReplayRun::default())
            .await;
        let replay = replay.expect("it replays");
        let parent = &events[0]["parent"];
        let above = parent["run"].as_str().map(|above| &journals[above]);
        let cancelled = above.map(|above| with(above, "cancel-asked"));
        if cancelled.is_some_and(|all| all.contains(&parent["request"].as_u64())) {
            // How far it got, if it was begun at all, is chance.
            assert_eq!(run.run.status, RunStatus::Cancelled, "{run:?}");
            assert_eq!(replay.verdict, ReplayVerdict::SameSoFar, "{replay:?}");
            continue;
        }
        assert_eq!(replay.verdict, ReplayVerdict::Same, "{replay:?}");
        *came.entry(told(run, events)).or_default() += 1;
    }
    came
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
    let faults = prop::collection::vec(0..40_u64, 1..3);
    let cases = (agent(), any::<bool>(), faults);
    let config = Config {
        // A case takes a while: what is found is told as it is, nearly.
        max_shrink_iters: 30,
        failure_persistence: None,
        ..airlock_fuzz::cases(CASES)
    };
    let ran = TestRunner::new(config).run(&cases, |(agent, asks, faults)| {
        let mut place = place.borrow_mut();
        let quiet = runtime.block_on(run(&mut place, &agent, asks, None));
        for fault in faults {
            let died = runtime.block_on(run(&mut place, &agent, asks, Some(fault)));
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
