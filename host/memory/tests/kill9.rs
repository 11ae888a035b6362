//! A writer killed at random moments, again and again in the same directory: every
//! acknowledged write is there, and index and store say the same.

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use airlock_journal::SqliteStore;
use airlock_memory::{Memory, Namespace, Options, Search, SystemClock};

const ROUNDS: u64 = 8;

#[test]
fn a_killed_writer_loses_nothing_and_its_index_agrees() {
    let program = support::example("kill_writer");
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    let (mut next, mut acknowledged) = (0, 0);
    for round in 0..ROUNDS {
        let mut writer = Command::new(&program)
            .args([dir.path().as_os_str(), next.to_string().as_ref()])
            .stdout(File::create(&out).expect("the output"))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the writer");
        std::thread::sleep(Duration::from_millis(150 + 97 * round));
        writer.kill().expect("the kill");
        let status = writer.wait().expect("the writer");
        assert!(
            status.code().is_none(),
            "round {round}: it ended by itself, {status}"
        );
        let said = std::fs::read_to_string(&out).expect("the output");
        // The last line may be cut off.
        let last = said
            .rsplit_once('\n')
            .and_then(|(whole, _)| whole.lines().next_back());
        let last = last.map(|line| line.parse::<u64>().expect("a number"));
        acknowledged += last.map_or(0, |last| last + 1 - next);
        let from = last.map_or(next, |last| last + 1);
        next = check(dir.path(), from, round);
    }
    assert!(
        acknowledged > 20 * ROUNDS,
        "{acknowledged} writes are too few to tell"
    );
    println!("{ROUNDS} kills, {acknowledged} acknowledged writes, 0 lost");
}

/// Looks at what is there of writes before `next`; gives how many there are by now.
fn check(dir: &Path, next: u64, round: u64) -> u64 {
    let store = SqliteStore::open(dir.join("store")).expect("the store");
    let memory = Memory::open(store, dir, Arc::new(SystemClock), Options::default());
    let memory = memory.expect("the memory");
    let namespace = Namespace::parse("agent/killed").expect("a namespace");
    let (mut stored, mut after) = (BTreeSet::new(), None);
    loop {
        let page = memory
            .list(&namespace, "", after.as_deref(), 1000)
            .expect("a list");
        stored.extend(page.entries.into_iter().map(|entry| entry.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let written = |n: u64| stored.contains(&format!("k{n:06}"));
    // The one that was under way may have happened.
    let count = if written(next) { next + 1 } else { next };
    for n in 0..count {
        let deleted = n % 3 == 0 && n + 2 < count;
        assert_eq!(written(n), !deleted, "round {round}: {n} of {count}");
    }
    let deleted = (0..count).filter(|n| n % 3 == 0 && n + 2 < count).count();
    assert_eq!(stored.len(), count as usize - deleted, "round {round}");
    let find = |text: String, vector: Option<Vec<f32>>| {
        let found = memory.search(&Search {
            namespaces: vec![namespace.clone()],
            text: vector.is_none().then_some(text),
            vector,
            limit: 100,
            ..Search::default()
        });
        found
            .expect("an answer")
            .into_iter()
            .map(|hit| hit.entry.id)
            .collect::<Vec<_>>()
    };
    for n in 0..count {
        let id = format!("k{n:06}");
        let expected: Vec<&String> = stored.get(&id).into_iter().collect();
        let found = find(format!("w{n}"), None);
        assert_eq!(
            found.iter().collect::<Vec<_>>(),
            expected,
            "round {round}: w{n}"
        );
    }
    let near = find(String::new(), Some(vec![0.0, 1.0]));
    assert_eq!(near.len(), stored.len().min(100), "round {round}");
    count
}
