//! The one thread that writes: what it takes together, what it says when it can not,
//! and what it leaves when it ends.

use std::thread;
use std::time::Duration;

use airlock_journal::memory::Fault;
use airlock_journal::{Batch, MemoryStore, Op, Store};
use bytes::Bytes;

use super::{World, author, document, namespace, options, told};
use crate::limits::TEXT_BYTES_MAX;
use crate::rows::{DOCS, HEAD, META, label_hashes};
use crate::wait::wait;
use crate::writer::{BATCH_BYTES_MAX, BATCH_MAX};
use crate::{Change, Expect, MemoryHome, NewDocument, Options, Quota};

const SPACE: &str = "shared/handbook";

/// So many writes, each of so many documents, queued while the disk hangs; how many
/// times the store was changed.
fn commits_of(writes: usize, documents: usize, text: usize) -> u64 {
    let world = World::new();
    world.put(SPACE, document("first", ""));
    let before = world.store.commits();
    world.store.hold_after(0);
    let queued: Vec<_> = (0..writes)
        .map(|write| {
            let each = (0..documents).map(|n| document(&format!("{write}.{n}"), &" ".repeat(text)));
            let each = each.map(|new| Change::put(new, Expect::Any));
            let (changes, quota) = (each.collect(), Quota::default());
            world
                .memory
                .write(&namespace(SPACE), changes, &author(), quota)
        })
        .collect();
    world.store.release();
    for write in queued {
        wait(write).expect("it is written");
    }
    assert_eq!(world.rows(DOCS), writes * documents + 1);
    world.store.commits() - before
}

#[test]
fn what_waits_is_written_together_up_to_a_bound() {
    // What was queued before the disk hung is a batch of its own, of any size.
    let commits = commits_of(2 * BATCH_MAX + 1, 1, 1);
    assert!((3..=4).contains(&commits), "{commits}");
    let documents = (BATCH_BYTES_MAX as usize / 2 / TEXT_BYTES_MAX) + 1;
    let commits = commits_of(6, documents, TEXT_BYTES_MAX);
    assert!((3..=4).contains(&commits), "{commits}");
}

/// Each kind of request.
fn refused(world: &World) -> [String; 3] {
    let space = namespace(SPACE);
    [
        told(world.try_put(SPACE, document("a", ""), Expect::Any)),
        told(wait(world.memory.delete_namespace(&space))),
        told(wait(world.memory.sweep())),
    ]
}

fn spoil(store: &MemoryStore) {
    let put = Op::Put {
        space: META,
        key: Bytes::from_static(HEAD),
        value: Bytes::from_static(b"{"),
    };
    wait(store.commit(Batch { ops: vec![put] })).expect("it is spoiled");
}

#[test]
fn each_request_is_told_why_it_can_not_be() {
    let world = World::new();
    world.put(SPACE, document("first", ""));
    spoil(&world.store);
    for error in refused(&world) {
        assert!(error.starts_with("corrupt: "), "{error}");
        assert!(error.contains(META), "{error}");
    }
    let world = World::new();
    world.store.inject(Fault::Write { n: 0 });
    for _ in 0..2 {
        let put = world.try_put(SPACE, document("a", ""), Expect::Any);
        let error = put.expect_err("it is not written");
        assert_eq!(error.code(), "store");
        let cause = std::error::Error::source(&error).expect("a cause");
        assert!(cause.to_string().contains("injected failure"), "{cause}");
    }
}

/// Somebody else wrote meanwhile.
#[test]
fn a_batch_that_the_store_refuses_may_be_given_again() {
    let world = World::new();
    world.put(SPACE, document("first", ""));
    world.store.hold_after(0);
    let (space, quota) = (namespace(SPACE), Quota::default());
    let put = world
        .memory
        .put(&space, document("a", ""), Expect::Any, &author(), quota);
    // The writer took it, and waits for the store.
    thread::sleep(Duration::from_millis(300));
    spoil(&MemoryStore::on(&world.disk));
    world.store.release();
    let error = told(wait(put));
    assert!(
        error.starts_with("busy: ") && error.contains("the store refused the batch"),
        "{error}"
    );
}

#[test]
fn what_was_queued_is_written_when_the_memory_is_closed() {
    let World {
        store,
        memory,
        dir: _dir,
        ..
    } = World::new();
    let (space, quota) = (namespace(SPACE), Quota::default());
    let queued: Vec<_> = (0..500)
        .map(|n| {
            let new = document(&format!("{n}"), "text");
            memory.put(&space, new, Expect::Any, &author(), quota)
        })
        .collect();
    drop(memory);
    let keys = store.keys(DOCS, b"", None, usize::MAX).expect("the keys");
    assert_eq!(keys.len(), 500);
    for put in queued {
        wait(put).expect("it is written");
    }
}

#[test]
fn what_is_over_goes_when_it_is_time() {
    let brief = || NewDocument {
        ttl_ms: Some(1),
        ..document("brief", "over soon")
    };
    let world = |sweep_every| {
        World::with(Options {
            background: true,
            sweep_every,
            ..options()
        })
    };
    let never = world(Duration::from_hours(1));
    never.put("agent/brief", brief());
    never.advance(10);
    for n in 0..5 {
        never.put(SPACE, document(&format!("{n}"), "text"));
    }
    assert_eq!(never.rows(DOCS), 6);
    // Nobody writes.
    let soon = world(Duration::from_millis(50));
    soon.put("agent/brief", brief());
    soon.advance(10);
    for _ in 0..300 {
        if soon.rows(DOCS) == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("it is there for ever");
}

#[test]
fn the_receipts_of_a_run_are_forgotten_and_no_others() {
    let world = World::new();
    let (space, quota) = (namespace(SPACE), Quota::default());
    let runs = ["run_1", "run_10", "run_", "run_2"];
    for run in runs {
        for request in [0, 1, u64::MAX] {
            let changes = vec![Change::put(document(run, "text"), Expect::Any)];
            let write = world
                .memory
                .write_once((run, request), &space, changes, &author(), quota);
            wait(write).expect("it is written");
        }
    }
    wait(world.memory.forget_receipts("run_1")).expect("they are forgotten");
    for run in runs {
        for request in [0, 1, u64::MAX] {
            let known = world.memory.written_once(run, request).expect("a read");
            assert_eq!(known.is_none(), run == "run_1", "{run} {request}");
        }
    }
}

/// Whoever takes a right away waits for what was allowed by it.
#[test]
fn what_is_allowed_is_queued_before_it_is_taken_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let home = MemoryHome::new(MemoryStore::new(), dir.path(), options());
    let allowed = home.writing();
    thread::scope(|scope| {
        let waits = scope.spawn(|| home.allowed_before_is_queued());
        thread::sleep(Duration::from_millis(300));
        assert!(!waits.is_finished());
        drop(allowed);
        waits.join().expect("it has waited");
    });
}

/// They are stored: another hash would find no label that was written before.
#[test]
fn hashes_of_labels_stay_what_they_are() {
    let labels = [("team", "billing"), ("a", ""), ("", "a")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(
        label_hashes(&labels.into()),
        [
            0x0832_6707_b4eb_37da,
            0x089b_e207_b544_f1e4,
            0x361f_d849_c983_4ddf
        ]
    );
}
