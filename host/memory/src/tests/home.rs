//! A memory that is opened when it is first needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use airlock_journal::{MemoryStore, Store};
use tokio::sync::watch;

use super::{World, author, document, namespace, told};
use crate::limits::{HITS_MAX, PAGE_MAX, SEARCH_NAMESPACES_MAX};
use crate::places::SHARE;
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
    let [used, unused] = [Reads::from(Arc::new(memory)), Reads::default()].map(|reads| {
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

/// A call that ends leaves its work behind, which keeps its place and is told so; what
/// others ask goes on.
#[tokio::test]
async fn work_keeps_its_place_until_it_ends_and_others_go_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = MemoryStore::new();
    let home = MemoryHome::new(store, dir.path().join("memory"), super::options());
    let io = tokio::runtime::Handle::current();
    let at_work = Arc::new(AtomicUsize::new(0));
    let (end, ends) = watch::channel(false);
    let brief = Duration::from_millis(50);
    for _ in 0..3 * SHARE {
        let (at_work, mut ends) = (Arc::clone(&at_work), ends.clone());
        let blocked = home.work(&io, "slow", move |_, wanted| {
            at_work.fetch_add(1, Ordering::SeqCst);
            while wanted.is_wanted() {
                std::thread::sleep(Duration::from_millis(1));
            }
            // It can't end at once.
            let _ended = wait(ends.wait_for(|end| *end));
            at_work.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
        assert!(tokio::time::timeout(brief, blocked).await.is_err());
    }
    assert_eq!(at_work.load(Ordering::SeqCst), SHARE);
    let other = home.work(&io, "other", |home, _| home.is_used());
    let other = tokio::time::timeout(Duration::from_secs(30), other).await;
    assert!(!other.expect("it has its own places").expect("a read"));
    end.send(true).expect("they listen");
    let more = home.work(&io, "slow", |_, wanted| Ok(wanted.is_wanted()));
    assert!(more.await.expect("there is a place again"));
}
