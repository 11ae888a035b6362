//! A plain model of the memory, and the property that both say the same, whatever
//! happens.

use std::collections::{BTreeMap, BTreeSet};

use airlock_fuzz::cases;
use airlock_journal::memory::Fault;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::damage::damage_one;
use super::{World, document, namespace, text_search};
use crate::wait::wait;
use crate::{Change, Expect, NewDocument, Search};

pub(super) const SPACES: [&str; 3] = ["run/a", "agent/a", "shared/b"];
pub(super) const WORDS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
const IDS: [&str; 5] = ["a", "a/b", "b", "ä", "z#1"];

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Put {
        space: &'static str,
        id: &'static str,
        words: Vec<&'static str>,
        vector: bool,
        ttl_ms: Option<u64>,
    },
    Delete(&'static str, &'static str),
    /// Two changes at once, the second of which may be refused.
    Pair(&'static str, &'static str, &'static str, Option<u64>),
    Drop(&'static str),
    Advance(u64),
    Flush,
    Sweep,
    Reopen,
    /// A file of the index is damaged while the memory is closed.
    Damage(Index, Index),
    /// The store fails with the next commit.
    Fault(bool),
}

#[derive(Debug, Clone, PartialEq)]
struct Doc {
    words: BTreeSet<&'static str>,
    vector: bool,
    expires_ms: Option<u64>,
}

/// What there should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    now_ms: u64,
    docs: BTreeMap<&'static str, BTreeMap<&'static str, Doc>>,
}

impl Model {
    /// Empty, at a moment.
    pub(super) fn at(now_ms: u64) -> Self {
        let docs = BTreeMap::new();
        Self { now_ms, docs }
    }

    /// What a step leaves, were it to happen.
    pub(super) fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        let now_ms = self.now_ms;
        match step {
            Step::Put {
                space,
                id,
                words,
                vector,
                ttl_ms,
            } => {
                let doc = Doc {
                    words: words.iter().copied().collect(),
                    vector: *vector,
                    expires_ms: ttl_ms.map(|ttl| now_ms + ttl),
                };
                next.docs.entry(space).or_default().insert(id, doc);
            }
            Step::Delete(space, id) => {
                next.docs.entry(space).or_default().remove(id);
            }
            Step::Pair(space, put, checked, version) => {
                let docs = next.docs.entry(space).or_default();
                let found = docs.get(checked).map(|_| ());
                if version.is_none() == found.is_none() {
                    let doc = Doc {
                        words: ["alpha"].into(),
                        vector: false,
                        expires_ms: None,
                    };
                    docs.remove(checked);
                    docs.insert(put, doc);
                }
            }
            Step::Drop(space) => {
                next.docs.remove(space);
            }
            Step::Advance(ms) => next.now_ms += ms,
            _ => {}
        }
        let now_ms = next.now_ms;
        let alive = |doc: &Doc| doc.expires_ms.is_none_or(|end| now_ms < end);
        next.docs
            .values_mut()
            .for_each(|docs| docs.retain(|_, doc| alive(doc)));
        next
    }

    fn matching(&self, holds: impl Fn(&Doc) -> bool) -> BTreeSet<String> {
        let all = self.docs.iter().flat_map(|(space, docs)| {
            let found = docs.iter().filter(|(_, doc)| holds(doc));
            found.map(move |(id, _)| format!("{space}:{id}"))
        });
        all.collect()
    }

    /// Compares everything that can be asked.
    pub(super) fn check(&self, world: &World, what: &str) {
        super::namespaces::check_counts(world, what);
        for space in SPACES {
            let expected: Vec<&str> = self
                .docs
                .get(space)
                .into_iter()
                .flat_map(|docs| docs.keys().copied())
                .collect();
            assert_eq!(world.ids(space), expected, "{what}: {space}");
        }
        let found = |search: Search| world.find(search).into_iter().collect::<BTreeSet<_>>();
        for word in WORDS {
            let expected = self.matching(|doc| doc.words.contains(word));
            let search = text_search(&SPACES, word);
            let count = world.find(search.clone()).len();
            assert_eq!(found(search), expected, "{what}: {word}");
            assert_eq!(count, expected.len(), "{what}: {word} twice");
        }
        let near = Search {
            text: None,
            vector: Some(vec![1.0, 1.0]),
            ..text_search(&SPACES, "")
        };
        assert_eq!(
            found(near),
            self.matching(|doc| doc.vector),
            "{what}: vectors"
        );
    }
}

impl Step {
    /// Does it; `false`: the store failed, and whether it happened is not known.
    pub(super) fn run(&self, world: &World) -> bool {
        let outcome = match self {
            Self::Put {
                space,
                id,
                words,
                vector,
                ttl_ms,
            } => {
                let length = id.len() as f32;
                let new = NewDocument {
                    vector: vector.then(|| vec![length, 1.0]),
                    ttl_ms: *ttl_ms,
                    ..document(id, &words.join(" "))
                };
                world.try_put(space, new, Expect::Any).map(drop)
            }
            Self::Delete(space, id) => {
                let delete =
                    world
                        .memory
                        .delete(&namespace(space), id, Expect::Any, &super::author());
                wait(delete).map(drop)
            }
            Self::Pair(space, put, checked, version) => {
                let there = version.is_some();
                let second = match world.memory.get(&namespace(space), checked) {
                    Ok(Some(doc)) if there => Expect::Version(doc.entry.version),
                    _ if there => Expect::Version(99),
                    _ => Expect::Absent,
                };
                let changes = vec![
                    Change::delete(*checked, second),
                    Change::put(document(put, "alpha"), Expect::Any),
                ];
                match world.write(space, changes, crate::Quota::default()) {
                    Err(crate::MemoryError::Conflict { .. }) => Ok(()),
                    outcome => outcome,
                }
            }
            Self::Drop(space) => wait(world.memory.delete_namespace(&namespace(space))).map(drop),
            Self::Advance(ms) => {
                world.advance(*ms);
                Ok(())
            }
            Self::Flush => world.memory.flush(),
            Self::Sweep => wait(world.memory.sweep()).map(drop),
            Self::Fault(written) => {
                let fault = match written {
                    true => Fault::Sync { n: 0 },
                    false => Fault::Write { n: 0 },
                };
                world.store.inject(fault);
                Ok(())
            }
            Self::Reopen | Self::Damage(..) => Ok(()),
        };
        match outcome {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.code(), "store", "{self:?}: {error}");
                false
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let space = || select(SPACES.to_vec());
    let id = || select(IDS.to_vec());
    let put = (
        space(),
        id(),
        vec(select(WORDS.to_vec()), 0..4),
        any::<bool>(),
        proptest::option::of(1..20_u64),
    );
    prop_oneof![
        12 => put.prop_map(|(space, id, words, vector, ttl_ms)| Step::Put {
            space, id, words, vector, ttl_ms
        }),
        4 => (space(), id()).prop_map(|(space, id)| Step::Delete(space, id)),
        2 => (space(), id(), id(), proptest::option::of(0..3_u64))
            .prop_map(|(space, put, checked, version)| Step::Pair(space, put, checked, version)),
        1 => space().prop_map(Step::Drop),
        2 => (1..12_u64).prop_map(Step::Advance),
        3 => Just(Step::Flush),
        2 => Just(Step::Sweep),
        2 => Just(Step::Reopen),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(file, at)| Step::Damage(file, at)),
        1 => any::<bool>().prop_map(Step::Fault),
    ]
}

/// Does all steps, reopening where the store failed, and compares after each.
fn play(steps: &[Step]) {
    let mut world = World::new();
    let mut model = Model::at(1_000_000);
    for (at, step) in steps.iter().enumerate() {
        let what = format!("step {at}, {step:?}");
        let next = model.after(step);
        if step.run(&world) {
            model = next;
        } else {
            world = world.reopen();
            // One of both, and then in every answer.
            model = if next.fits(&world) { next } else { model };
        }
        match step {
            Step::Reopen => world = world.reopen(),
            Step::Damage(file, place) => {
                world = world.reopen_after(|dir| damage_one(dir, file, place));
            }
            _ => {}
        }
        model.check(&world, &what);
    }
    let world = world.reopen();
    world.sweep();
    model.check(&world, "at the end");
}

impl Model {
    /// Whether the store holds these documents.
    pub(super) fn fits(&self, world: &World) -> bool {
        SPACES.iter().all(|space| {
            let nothing = BTreeMap::new();
            let docs = self.docs.get(space).unwrap_or(&nothing);
            let there = docs.keys().copied().eq(world.ids(space));
            there
                && docs.iter().all(|(id, doc)| {
                    let read = world.memory.get(&namespace(space), id).expect("a read");
                    let read = read.expect("it is listed");
                    let words: BTreeSet<&str> = read.text.split_whitespace().collect();
                    words == doc.words
                        && read.entry.dimension.is_some() == doc.vector
                        && read.entry.expires_ms == doc.expires_ms
                })
        })
    }
}

proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn fuzz_the_memory_is_what_a_plain_model_says(steps in vec(step(), 1..40)) {
        play(&steps);
    }
}
