//! A memory that is opened when it is first needed.

use std::sync::Arc;

use airlock_journal::{MemoryStore, Store};

use super::{World, author, document, namespace, told};
use crate::limits::{HITS_MAX, PAGE_MAX, SEARCH_NAMESPACES_MAX};
use crate::wait::wait;
use crate::{Change, Expect, MemoryHome, Quota, Reads, Search};

const SPACE: &str = "shared/handbook";

fn search() -> Search {
    super::text_search(&[SPACE], "word")
}

/// A look at nothing makes nothing.
#[test]
fn reads_do_not_open_what_was_never_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let (store, dir): (Arc<dyn Store>, _) = (MemoryStore::new(), dir.path().join("memory"));
    let home = MemoryHome::new(Arc::clone(&store), &dir, super::options());
    let space = namespace(SPACE);
    let reads = home.reads().expect("reads");
    assert_eq!(reads.get(&space, "a").expect("a read"), None);
    assert_eq!(reads.usage(&space).expect("usage"), None);
    let page = reads.list(&space, "", None, 1).expect("a page");
    assert_eq!(page, crate::Page::default());
    assert_eq!(reads.search(&search()).expect("an answer"), []);
    assert_eq!(home.written_once("run_1", 1).expect("a read"), None);
    assert!(home.opened().is_none() && !dir.exists());
    let memory = home.open().expect("the memory");
    let changes = vec![Change::put(document("a", "word"), Expect::Any)];
    let once = ("run_1", 1);
    let written = memory.write_once(once, &space, changes, &author(), Quota::default());
    let written = wait(written).expect("it is written");
    drop(memory);
    let found = home.reads().expect("reads").search(&search());
    assert_eq!(found.expect("an answer").len(), 1);
    // One that is used is opened for a read; what was written once is known before.
    home.close();
    assert!(told(home.reads()).starts_with("busy: "));
    let again = MemoryHome::new(store, &dir, super::options());
    let known = again.written_once("run_1", 1).expect("a read");
    assert_eq!(known, Some(written));
    assert_eq!(again.written_once("run_1", 2).expect("a read"), None);
    assert!(again.opened().is_none());
    let found = again.reads().expect("reads").get(&space, "a");
    assert!(found.expect("a read").is_some() && again.opened().is_some());
}

/// Nobody learns from an error whether there are documents.
#[test]
fn what_is_refused_is_refused_of_nothing_too() {
    let World {
        memory, dir: _dir, ..
    } = World::new();
    let space = namespace(SPACE);
    let searches = [
        Search::default(),
        Search {
            limit: 0,
            ..search()
        },
        Search {
            limit: HITS_MAX + 1,
            ..search()
        },
        Search {
            namespaces: vec![space.clone(); SEARCH_NAMESPACES_MAX + 1],
            ..search()
        },
        Search {
            namespaces: vec![],
            ..search()
        },
        Search {
            text: None,
            ..search()
        },
        Search {
            vector: Some(vec![0.0]),
            ..search()
        },
        Search {
            labels: [(String::new(), String::new())].into(),
            ..search()
        },
    ];
    let [used, unused] = [Reads::from(Arc::new(memory)), Reads(None)].map(|reads| {
        let mut all = Vec::new();
        for id in ["", "a\nb", "\u{2066}a", &"i".repeat(513)] {
            all.push(told(reads.get(&space, id)));
        }
        for limit in [0, PAGE_MAX + 1] {
            all.push(told(reads.list(&space, "", None, limit)));
            all.push(told(reads.walk(&space, "", (None, limit), |_| true)));
        }
        all.extend(searches.iter().map(|search| told(reads.search(search))));
        all
    });
    assert_eq!(used, unused);
    assert_eq!(used.len(), 16);
}
