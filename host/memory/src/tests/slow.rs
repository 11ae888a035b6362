//! Searches that take long, and who is in their way: nobody.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tantivy::HasLen;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr,
};

use super::{World, document, options, text_search, told};
use crate::limits::{QUERY_WORDS_MAX, TEXT_BYTES_MAX};
use crate::text::disk::{Folder, Home};
use crate::wanted::Bound;
use crate::{Memory, Wanted};

/// The thread that reads slowly.
const SLOW: &str = "slow";

/// Where that thread is.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum At {
    #[default]
    Elsewhere,
    Reading,
    LetThrough,
}

#[derive(Debug, Clone, Default)]
struct Gate(Arc<(Mutex<At>, Condvar)>);

impl Gate {
    fn set(&self, at: At) {
        *self.0.0.lock().expect("a lock") = at;
        self.0.1.notify_all();
    }

    fn wait_until(&self, wanted: At) {
        let at = self.0.0.lock().expect("a lock");
        let waited = self.0.1.wait_while(at, |at| *at != wanted);
        drop(waited.expect("a lock"));
    }

    /// Waits, in the thread that is slow.
    fn pass(&self) {
        if thread::current().name() != Some(SLOW)
            || *self.0.0.lock().expect("a lock") == At::LetThrough
        {
            return;
        }
        self.set(At::Reading);
        self.wait_until(At::LetThrough);
    }
}

/// A folder that one thread reads slowly.
#[derive(Debug)]
struct SlowHome(Folder, Gate);

impl Home for SlowHome {
    fn open(&self) -> io::Result<Box<dyn Directory>> {
        let (inner, gate) = (self.0.open()?, self.1.clone());
        Ok(Box::new(SlowDirectory { inner, gate }))
    }

    fn clear(&self) -> io::Result<()> {
        self.0.clear()
    }
}

#[derive(Debug, Clone)]
struct SlowDirectory {
    inner: Box<dyn Directory>,
    gate: Gate,
}

#[derive(Debug)]
struct SlowFile(Arc<dyn FileHandle>, Gate);

impl HasLen for SlowFile {
    fn len(&self) -> usize {
        self.0.len()
    }
}

impl FileHandle for SlowFile {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        self.1.pass();
        self.0.read_bytes(range)
    }
}

impl Directory for SlowDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let file = self.inner.get_file_handle(path)?;
        Ok(Arc::new(SlowFile(file, self.gate.clone())))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        self.inner.delete(path)
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        self.inner.exists(path)
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        self.inner.open_write(path)
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        self.inner.atomic_read(path)
    }

    fn atomic_write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        self.inner.atomic_write(path, data)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.inner.sync_directory()
    }

    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        self.inner.acquire_lock(lock)
    }

    fn watch(&self, callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        self.inner.watch(callback)
    }
}

/// A memory whose index one thread reads slowly.
fn slowly_read(gate: &Gate) -> World {
    World::new().reopen_through(|world| {
        let home = Folder::unlocked(world.dir.path().join("slow"));
        let store = Arc::clone(&world.store) as Arc<dyn airlock_journal::Store>;
        let clock = Arc::<super::TestClock>::clone(&world.clock);
        Memory::open_with(
            store,
            Box::new(SlowHome(home, gate.clone())),
            clock,
            options(),
        )
    })
}

/// Writes, other searches and the index go on while one search takes long, which then
/// finds what was there when it began; or nothing, where nobody waits for it any more.
#[test]
fn nobody_waits_for_a_slow_search() {
    for gives_up in [false, true] {
        let gate = Gate::default();
        let world = slowly_read(&gate);
        world.put("agent/a", document("one", "a word"));
        world.put("agent/a", document("gone", "a word"));
        world.memory.flush().expect("the index");
        // In the changes when the search begins, and in the index when it ends.
        world.put("agent/a", document("two", "a word"));
        let (wanted, search) = (Wanted::default(), text_search(&["agent/a"], "\"a word\""));
        let waiting = wanted.waiting();
        thread::scope(|scope| {
            let slow = thread::Builder::new().name(SLOW.to_owned());
            let slow = slow.spawn_scoped(scope, || world.memory.search_while(&search, &wanted));
            let slow = slow.expect("a thread");
            gate.wait_until(At::Reading);
            let (ready, done) = channel();
            let (world, search) = (&world, &search);
            scope.spawn(move || {
                world.put("agent/b", document("b", "other words"));
                world.delete("agent/a", "gone");
                world.memory.flush().expect("the index");
                world.put("agent/a", document("three", "a word"));
                assert_eq!(
                    world.find(text_search(&["agent/b"], "words")),
                    ["agent/b:b"]
                );
                ready.send(world.find(search.clone()).len())
            });
            let found = done.recv_timeout(Duration::from_secs(30));
            let still = !slow.is_finished();
            if gives_up {
                drop(waiting);
            }
            gate.set(At::LetThrough);
            assert_eq!(found, Ok(3), "they wait for it");
            assert!(still);
            let answer = slow.join().expect("it ends");
            match gives_up {
                true => assert!(told(answer).contains("nobody waits")),
                // What was deleted since is not shown.
                false => {
                    let mut ids = answer.expect("an answer");
                    ids.sort_by(|a, b| a.entry.id.cmp(&b.entry.id));
                    let ids: Vec<_> = ids.iter().map(|hit| hit.entry.id.as_str()).collect();
                    assert_eq!(ids, ["one", "two"]);
                }
            }
        });
    }
}

/// Of a phrase each place of its words is looked at once, in index and changes.
#[test]
fn a_phrase_that_repeats_a_word_is_as_fast_as_one_that_does_not() {
    let world = World::new();
    for id in 0..4 {
        world.put(
            "agent/a",
            document(&id.to_string(), &"a ".repeat(TEXT_BYTES_MAX / 2)),
        );
    }
    let time = |words: usize| {
        let search = text_search(&["agent/a"], &format!("\"{}\"", "a ".repeat(words)));
        let once = || {
            let begun = Instant::now();
            assert_eq!(world.find(search.clone()).len(), 4);
            begun.elapsed()
        };
        (0..3).map(|_| once()).min().unwrap_or_default()
    };
    for place in ["changes", "index"] {
        let (two, many) = (time(2), time(QUERY_WORDS_MAX));
        assert!(many < 5 * two, "{place}: {two:?} for 2, {many:?} for many");
        world.memory.flush().expect("the index");
    }
}

#[test]
fn a_search_ends_when_it_took_too_long() {
    let wanted = Wanted::default();
    assert!(Bound::of(&wanted).check().is_ok());
    let over = Bound::until(&wanted, Duration::ZERO);
    let text = "too-long: the search took longer than 10000 ms and was ended; \
                search fewer namespaces, or for fewer and rarer words";
    assert_eq!(told(over.check()), text);
    drop(wanted.waiting());
    assert!(told(over.check()).starts_with("busy: "));
}
