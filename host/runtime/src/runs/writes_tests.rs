//! What is kept for the next write, without a store.

use airlock_journal::Op;
use airlock_sandbox::agent::{Note, Request};
use bytes::Bytes;

use super::*;
use crate::runs::tests::begins;

fn began() -> Record {
    Record {
        at_ms: 1,
        event: Event::Started(begins()),
    }
}

fn state() -> RunState {
    RunState::of(&[began()])
}

/// A record that about so many bytes are in.
fn noted(bytes: u64) -> Record {
    let message = "x".repeat(usize::try_from(bytes).expect("small") - 100);
    let level = "info".to_owned();
    Record {
        at_ms: 1,
        event: Event::Noted(Note::Log { level, message }),
    }
}

fn asked() -> Record {
    Record {
        at_ms: 1,
        event: Event::Requested {
            id: 0,
            request: Request::Timer { due_ms: 1 },
            begun: None,
        },
    }
}

fn op() -> Op {
    Op::Delete {
        space: "s",
        key: Bytes::new(),
    }
}

fn unwritten(records: Vec<Record>) -> Unwritten {
    let mut unwritten = Unwritten::new("run_x", &state());
    for record in records {
        unwritten.push(record);
    }
    unwritten
}

/// A run of which the store has the beginning.
fn session() -> Arc<Session> {
    let (id, nobody) = ("run_x".to_owned(), std::sync::Weak::new());
    Session::of(id.clone(), id, nobody, &[began()])
}

#[test]
fn all_is_durable_where_nothing_is_left_and_nobody_writes() {
    assert!(unwritten(vec![]).is_empty());
    assert!(!unwritten(vec![asked()]).is_empty());
    let with = |change: fn(&mut Unwritten)| {
        let mut unwritten = unwritten(vec![]);
        change(&mut unwritten);
        (unwritten.is_begun(), unwritten.is_empty())
    };
    assert_eq!(
        with(|unwritten| unwritten.beside.push(op())),
        (false, false)
    );
    assert_eq!(with(|unwritten| unwritten.audit.push(op())), (false, false));
    assert_eq!(with(|unwritten| unwritten.writing = true), (true, false));
}

/// Whoever waits waits for what was there when it came, in one write or in several.
#[test]
fn what_is_pushed_later_is_not_waited_for() {
    let run = session();
    let mut inner = run.lock();
    let covers = |inner: &Inner, all: Mark| inner.unwritten.kept.covers(all);
    assert!(covers(&inner, inner.unwritten.all()), "there is nothing");

    for _ in 0..5 {
        inner.unwritten.push(noted(WRITE_BYTES / 2 + 1_000));
    }
    let noted_all = inner.unwritten.all();
    let mut kept = Vec::new();
    while !covers(&inner, noted_all) {
        let write = inner.write("run_x").expect("one more");
        assert!(!covers(&inner, noted_all), "it is under way");
        inner.unwritten.kept = write.mark;
        kept.push(write.records.len());
        // Another one each time.
        inner.unwritten.push(noted(1_000));
    }
    assert_eq!(kept, [2, 2, 3], "the last takes what came meanwhile");

    // What stands beside the records counts as well.
    for of_beside in [true, false] {
        while let Some(write) = inner.write("run_x") {
            inner.unwritten.kept = write.mark;
        }
        match of_beside {
            true => inner.unwritten.beside.push(op()),
            false => inner.unwritten.audit.push(op()),
        }
        let all = inner.unwritten.all();
        assert!(!covers(&inner, all), "it is not begun");
        let write = inner.write("run_x").expect("a write");
        assert_eq!(inner.unwritten.all(), all);
        assert!(!covers(&inner, all), "it is under way");
        inner.unwritten.kept = write.mark;
        assert!(covers(&inner, all));
    }
}

/// The store says that nothing goes on where that is so when the row is pushed, and not
/// while something is pushed or written.
#[test]
fn a_run_that_has_something_to_write_stays_in_memory() {
    let run = session();
    let mut inner = run.lock();
    assert_eq!(inner.park("run_x"), None, "it is at work");
    let by = "ann".to_owned();
    inner.push(Event::Paused { by });
    assert_eq!(inner.park("run_x"), None, "it is not written");
    inner.unwritten.writing = true;
    let write = inner.write("run_x").expect("a write");
    assert_eq!(inner.park("run_x"), None, "it is under way");
    inner.unwritten.kept = write.mark;
    assert!(inner.write("run_x").is_none());
    assert!(!inner.unwritten.is_parked());
    assert!(inner.park("run_x").is_some_and(|parked| !parked.halted));
    assert!(inner.unwritten.is_parked() && inner.unwritten.beside.len() == 1);
}

/// Whoever has a session of it decides nothing where nothing would be kept.
#[test]
fn nothing_is_decided_of_a_run_that_takes_nothing() {
    for (dead, retired) in [(false, false), (true, false), (false, true)] {
        let run = session();
        {
            let mut inner = run.lock();
            (inner.dead, inner.retired) = (dead, retired);
            inner.unwritten.writing = true;
        }
        let by = "ann".to_owned();
        let decided = run.decide([Event::Paused { by }], vec![], vec![], |_| Ok(()));
        let is_refused = matches!(decided, Err(RunError::NotKept));
        assert_eq!(is_refused, dead || retired, "{decided:?}");
        assert_eq!(run.lock().state.paused, !is_refused);
    }
}

#[test]
fn much_is_a_quarter_of_a_mebibyte() {
    let weight = weight::of(&noted(1_000).event);
    let bytes = |target: u64| 1_000 + target - weight;
    for (target, much) in [
        (10_000, false),
        (BYTES_MUCH - 1, false),
        (BYTES_MUCH, true),
        (2 * BYTES_MUCH, true),
    ] {
        let unwritten = unwritten(vec![noted(bytes(target))]);
        assert_eq!(unwritten.is_much(), much, "{target}");
    }
}

/// One write takes about a mebibyte of what an agent tells; what is to be written
/// together with something else is written whole.
#[test]
fn one_write_takes_so_much_and_leaves_the_rest() {
    let many = || vec![noted(WRITE_BYTES / 2 + 1_000); 5];
    let left = |mut unwritten: Unwritten| {
        let mut taken = vec![unwritten.take_records().len()];
        while !unwritten.records.is_empty() {
            taken.push(unwritten.take_records().len());
        }
        assert_eq!(unwritten.bytes, 0);
        taken
    };
    assert_eq!(left(unwritten(many())), [2, 2, 1]);
    assert_eq!(left(unwritten(vec![noted(1_000); 9])), [9]);
    let mut beside = unwritten(many());
    beside.beside.push(op());
    assert_eq!(left(beside), [5]);
    let mut audited = unwritten(many());
    audited.audit.push(op());
    assert_eq!(left(audited), [5]);
    // What a request leads to is written with it: it begins no write of a part.
    let mut mixed = many();
    mixed.insert(1, asked());
    assert_eq!(left(unwritten(mixed)), [1, 5]);
    let mut first = many();
    first.insert(0, asked());
    assert_eq!(left(unwritten(first)), [6]);
}
