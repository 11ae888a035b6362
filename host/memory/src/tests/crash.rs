//! The process dies, or a disk fails, at each write of the store and of the index:
//! what is found afterwards is what was acknowledged, or that and the write that was
//! under way.

use std::sync::Arc;

use airlock_journal::memory::Fault;
use airlock_journal::{MemoryStore, Store};

use super::faulty::{FaultyHome, Left};
use super::model::{Model, Step};
use super::{TestClock, World, document, options, text_search};
use crate::rows::{DOCS, GONE, VECTORS};
use crate::wait::wait;
use crate::{Clock, Memory};

/// All kinds of writes, with the index taking some and not others.
fn script() -> Vec<Step> {
    let put = |space, id, words: &[&'static str], vector, ttl_ms| Step::Put {
        space,
        id,
        words: words.to_vec(),
        vector,
        ttl_ms,
    };
    vec![
        put("run/a", "a", &["alpha", "beta"], true, None),
        put("run/a", "b", &["beta"], false, Some(5)),
        put("shared/b", "a", &["alpha"], true, None),
        Step::Flush,
        put("run/a", "a", &["gamma"], false, None),
        Step::Delete("shared/b", "a"),
        put("shared/b", "b", &["delta", "alpha"], true, Some(50)),
        Step::Advance(6),
        Step::Sweep,
        Step::Flush,
        Step::Pair("run/a", "z#1", "a", Some(0)),
        put("agent/a", "a", &["alpha", "zeta"], true, None),
        Step::Drop("run/a"),
        put("run/a", "b", &["epsilon"], true, None),
        Step::Sweep,
        Step::Sweep,
        Step::Flush,
        put("agent/a", "a/b", &["beta"], false, None),
        Step::Delete("agent/a", "a"),
    ]
}

fn begin() -> Model {
    Model::at(1_000_000)
}

#[test]
fn wherever_the_store_fails_the_memory_is_whole() {
    let (mut writes, mut failures) = (0, 0);
    loop {
        let mut failed = false;
        for fault in [Fault::Write { n: writes }, Fault::Sync { n: writes }] {
            let mut world = World::new();
            world.store.inject(fault);
            let mut model = begin();
            for (at, step) in script().iter().enumerate() {
                let next = model.after(step);
                let what = format!("{fault:?}, step {at} {step:?}");
                if step.run(&world) {
                    model = next;
                } else {
                    failed = true;
                    failures += 1;
                    world = world.reopen();
                    let happened = matches!(fault, Fault::Sync { .. });
                    model = if happened { next } else { model };
                    assert!(model.fits(&world), "{what}");
                    model.check(&world, &what);
                    // And on from there, with the step again if it did not happen.
                    if !happened {
                        assert!(step.run(&world), "{what}");
                        model = model.after(step);
                    }
                }
                model.check(&world, &what);
            }
            world = world.reopen();
            model.check(&world, &format!("{fault:?}, at the end"));
        }
        if !failed {
            break;
        }
        writes += 1;
    }
    assert!(writes > 10 && failures == 2 * writes, "{writes} {failures}");
}

/// A memory over a faulty folder; the rest of the world is as it was.
fn open_faulty(world: &World, left: &Left) -> Result<Memory, crate::MemoryError> {
    let store: Arc<dyn Store> = MemoryStore::on(&world.disk);
    let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&world.clock);
    let home = FaultyHome::new(world.dir.path().join("fulltext"), left);
    Memory::open_with(store, Box::new(home), clock, options())
}

#[test]
fn wherever_the_index_fails_the_answers_are_the_same() {
    let mut changes = 0;
    loop {
        let left = Left::default();
        left.set(i64::MAX);
        let mut world = World::new();
        world = world.reopen_through(|world| open_faulty(world, &left));
        left.set(changes);
        let mut model = begin();
        for (at, step) in script().iter().enumerate() {
            let what = format!("{changes} changes, step {at} {step:?}");
            let next = model.after(step);
            let done = match step {
                // A failure here takes nothing from the answers.
                Step::Flush => world.memory.flush().is_ok() || left.is_spent(),
                step => step.run(&world),
            };
            assert!(done, "{what}");
            model = next;
            model.check(&world, &what);
        }
        let failed = left.is_spent();
        // Either it recovers by itself, or the process dies with what is on disk.
        if changes % 2 == 0 {
            left.set(i64::MAX);
            world.memory.flush().expect("the disk works again");
            model.check(&world, &format!("{changes} changes, recovered"));
        }
        let world = world.reopen();
        model.check(&world, &format!("{changes} changes, opened again"));
        world.memory.flush().expect("the index");
        model.check(&world, &format!("{changes} changes, flushed"));
        if !failed {
            break;
        }
        changes += 1;
    }
    assert!(changes > 20, "{changes} places to fail");
}

#[test]
fn wherever_a_rebuild_dies_the_next_one_does_it() {
    let mut changes = 0;
    loop {
        let world = World::new();
        for n in 0..10 {
            world.put("run/a", document(&format!("{n}"), "alpha beta"));
        }
        world.memory.flush().expect("the index");
        let left = Left::default();
        left.set(changes);
        let world = world.reopen_after(|dir| std::fs::remove_dir_all(dir).expect("it is removed"));
        let World {
            disk,
            dir,
            clock,
            store,
            memory,
        } = world;
        drop(memory);
        std::fs::remove_dir_all(dir.path().join("fulltext")).expect("it is removed");
        let home = FaultyHome::new(dir.path().join("fulltext"), &left);
        let clock_too: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let store_too: Arc<dyn Store> = Arc::<MemoryStore>::clone(&store);
        let opened = Memory::open_with(store_too, Box::new(home), clock_too, options());
        let failed = opened.is_err();
        assert_eq!(failed, left.is_spent());
        drop(opened);
        let store: Arc<dyn Store> = MemoryStore::on(&disk);
        let memory = Memory::open(store, dir.path(), clock, options()).expect("the memory");
        let found = memory
            .search(&text_search(&["run/a"], "beta"))
            .expect("an answer");
        assert_eq!(found.len(), 10, "{changes}");
        if !failed {
            break;
        }
        changes += 1;
    }
    assert!(changes > 5, "{changes} places to fail");
}

#[test]
fn a_namespace_that_is_deleted_is_never_found_again_whatever_dies() {
    for writes in 0..12 {
        let world = World::new();
        for n in 0..150 {
            let new = crate::NewDocument {
                vector: Some(vec![1.0, n as f32]),
                ttl_ms: (n % 3 == 0).then_some(100_000),
                ..document(&format!("{n}"), "alpha")
            };
            world.put("run/a", new);
        }
        world.put("agent/a", document("kept", "alpha"));
        world.memory.flush().expect("the index");
        assert!(world.drop_namespace("run/a"));
        world.store.inject(Fault::Write { n: writes });
        // Steps until the fault strikes or all is done.
        let mut steps = 0;
        while wait(world.memory.sweep()).is_ok_and(|swept| swept.more) {
            steps += 1;
            let _ = world.memory.flush();
        }
        let world = world.reopen();
        let look = |world: &World| {
            assert_eq!(
                world.find(text_search(&["run/a"], "alpha")),
                Vec::<String>::new()
            );
            let all = world.find(text_search(&["run/a", "agent/a"], "alpha"));
            assert_eq!(all, ["agent/a:kept"], "{writes}");
            assert_eq!(world.ids("run/a"), Vec::<String>::new());
        };
        look(&world);
        world.sweep();
        assert_eq!(
            (world.rows(DOCS), world.rows(VECTORS), world.rows(GONE)),
            (1, 0, 0)
        );
        world.memory.flush().expect("the index");
        world.put("run/a", document("5", "beta"));
        look_again(&world.reopen());
        assert!(writes > 4 || steps <= 5, "{steps}");
    }
}

/// A namespace of the same name has nothing of the one before.
fn look_again(world: &World) {
    assert_eq!(
        world.find(text_search(&["run/a"], "alpha")),
        Vec::<String>::new()
    );
    assert_eq!(world.find(text_search(&["run/a"], "beta")), ["run/a:5"]);
}
