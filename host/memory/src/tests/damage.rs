//! Files of the index that are damaged, gone, old, or of another store: the answers
//! are the same.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::sample::Index;

use super::{World, document, text_search};
use crate::wait::wait;

const SPACE: &str = "shared/a";

/// The index's files, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<PathBuf> = read.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| !path.to_string_lossy().ends_with(".lock"));
    files.sort();
    files
}

/// Turns a bit over somewhere in a file.
pub(super) fn damage_one(dir: &Path, file: &Index, place: &Index) {
    let files = files(dir);
    if files.is_empty() {
        return;
    }
    let path = file.get(&files);
    let mut bytes = fs::read(path).expect("the file");
    if !bytes.is_empty() {
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << (at % 8);
        fs::write(path, bytes).expect("the write");
    }
}

/// Documents of which some are in the index, some in several of its segments, one
/// is deleted, and some are not in it.
fn filled() -> World {
    let world = World::new();
    for n in 0..6 {
        world.put(
            SPACE,
            document(&format!("d{n}"), &format!("common word{n}")),
        );
        if n % 2 == 1 {
            world.memory.flush().expect("the index");
        }
    }
    world.put(SPACE, document("d0", "common changed"));
    world.delete(SPACE, "d1");
    world.memory.flush().expect("the index");
    world.put(SPACE, document("d6", "common late"));
    world.delete(SPACE, "d2");
    world
}

fn check(world: &World, what: &str) {
    let find = |text: &str| {
        let mut found = world.find(text_search(&[SPACE], text));
        found.sort();
        found.join(" ").replace("shared/a:", "")
    };
    assert_eq!(find("common"), "d0 d3 d4 d5 d6", "{what}");
    assert_eq!(find("word0 word1 word2"), "", "{what}");
    assert_eq!(find("changed late word5"), "d0 d5 d6", "{what}");
}

#[test]
fn any_damage_of_any_file_is_noticed() {
    let count = files(&filled().dir.path().join("fulltext")).len();
    assert!(count > 5, "enough to damage: {count}");
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("empty", |path| fs::write(path, b"").expect("the write")),
        ("gone", |path| fs::remove_file(path).expect("it is removed")),
        ("half", |path| {
            let bytes = fs::read(path).expect("the file");
            fs::write(path, &bytes[..bytes.len() / 2]).expect("the write");
        }),
        ("a bit at the beginning", |path| flip(path, |_| 0)),
        ("a bit in the middle", |path| flip(path, |len| len / 2)),
        ("a bit at the end", |path| flip(path, |len| len - 1)),
    ];
    for (name, damage) in damages {
        for at in 0..count {
            let world = filled().reopen_after(|dir| {
                if let Some(file) = files(dir).get(at) {
                    damage(file);
                }
            });
            let what = format!("{name}, file {at}");
            check(&world, &what);
            world.put(SPACE, document("new", "fresh"));
            world
                .memory
                .flush()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let world = world.reopen();
            check(&world, &what);
            assert_eq!(
                world.find(text_search(&[SPACE], "fresh")).len(),
                1,
                "{what}"
            );
        }
    }
}

fn flip(path: &Path, at: fn(usize) -> usize) {
    let mut bytes = fs::read(path).expect("the file");
    if !bytes.is_empty() {
        let at = at(bytes.len());
        bytes[at] ^= 0x10;
        fs::write(path, bytes).expect("the write");
    }
}

#[test]
fn an_index_that_is_gone_or_of_another_kind_is_made_again() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("gone", |dir| {
            fs::remove_dir_all(dir).expect("it is removed")
        }),
        ("a file in its place", |dir| {
            fs::remove_dir_all(dir).expect("it is removed");
            fs::create_dir(dir).expect("the folder");
            fs::write(dir.join("meta.json"), b"{}").expect("the write");
        }),
        ("an older format", |dir| {
            let meta = dir.join("meta.json");
            let text = fs::read_to_string(&meta).expect("the file");
            let changed = text.replace("\\\"format\\\":2", "\\\"format\\\":1");
            assert_ne!(text, changed);
            fs::write(meta, changed).expect("the write");
        }),
        ("never finished", |dir| {
            let meta = dir.join("meta.json");
            let text = fs::read_to_string(&meta).expect("the file");
            let changed = text.replace("\"payload\"", "\"other\"");
            assert_ne!(text, changed);
            fs::write(meta, changed).expect("the write");
        }),
    ];
    for (name, change) in changes {
        let world = filled().reopen_after(change);
        check(&world, name);
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).expect("the folder");
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("the copy");
    }
}

/// The index of a later moment, or of a history that was given up, with an earlier
/// store; and the index of an earlier moment with a later store.
#[test]
fn an_index_of_another_moment_gives_the_same_answers() {
    let later = filled();
    let kept = tempfile::tempdir().expect("a directory");
    let aside = kept.path().join("index");
    // The store goes on without this index, as after a restore.
    let fulltext = later.dir.path().join("fulltext");
    copy(&fulltext, &aside);
    for (name, writes) in [("before", 0), ("at the same", 8), ("beyond", 30)] {
        let world = World::new();
        for n in 0..writes {
            world.put(SPACE, document(&format!("other{n}"), "common other"));
        }
        let world = world.reopen_after(|dir| copy(&aside, dir));
        let found = world.find(text_search(&[SPACE], "common word3 changed"));
        assert_eq!(found.len(), writes, "{name}: nothing of the other store");
    }
    for n in 10..20 {
        later.put(SPACE, document(&format!("x{n}"), "x"));
    }
    later.memory.flush().expect("the index");
    // With the log trimmed, the old index can't catch up.
    for trimmed in [false, true] {
        if trimmed {
            while wait(later.memory.sweep()).expect("it is swept").log > 0 {}
        }
        let disk = later.disk.clone();
        let world = World {
            disk,
            ..World::new()
        };
        let world = world.reopen_after(|dir| copy(&aside, dir));
        check(
            &world,
            if trimmed {
                "an old index"
            } else {
                "an old index, the log whole"
            },
        );
    }
}
