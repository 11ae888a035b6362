//! The list of runs against a plain model: whatever the filter and the page's
//! size, also after the views' files are gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use airlock_journal::audit::{Audit, AuditRecord};
use airlock_journal::conformance::wait;
use airlock_journal::views::{RUN_OPEN, RunEntry, RunFilter, Views};
use airlock_journal::{Batch, MemoryStore, Store};
use serde_json::json;

const RUNS: u64 = 3_000;
const AGENTS: [&str; 3] = ["reconcile", "watch", "x\0y"];
const NAMES: [&str; 2] = ["ann", "bob"];
const STATES: [&str; 3] = [RUN_OPEN, "succeeded", "failed"];

fn id(n: u64) -> String {
    format!("run_{n:028x}")
}

fn run(n: u64) -> RunEntry {
    let state = STATES[n as usize / 7 % 3];
    RunEntry {
        id: id(n),
        agent: AGENTS[n as usize % 3].to_owned(),
        by: NAMES[n as usize % 2].to_owned(),
        state: state.to_owned(),
        started_ms: 1_000 + n,
        ended_ms: (state != RUN_OPEN).then_some(2_000 + 2 * n),
    }
}

fn is_pruned(n: u64) -> bool {
    n < 300 && STATES[n as usize / 7 % 3] != RUN_OPEN
}

fn record(run: &RunEntry, action: &str, at_ms: u64) -> AuditRecord {
    let mut record = AuditRecord::now(&*run.by, action, &*run.id).outcome(&*run.state);
    record.at_ms = at_ms;
    record.detail(json!({ "agent": run.agent, "started_ms": run.started_ms }))
}

/// Starts and ends as they come, some twice, one end without a start, then what
/// is pruned.
fn write(store: &dyn Store) {
    let mut batch = Batch::new();
    for n in 0..RUNS {
        let run = run(n);
        let action = ["admin.run.start", "run.start"][n as usize % 2];
        if n % 50 != 1 {
            batch = batch.op(Audit::op(&record(&run, action, run.started_ms)));
        }
        if let Some(ended_ms) = run.ended_ms {
            for _ in 0..1 + n % 2 {
                batch = batch.op(Audit::op(&record(&run, "run.end", ended_ms)));
            }
        } else if n % 50 == 1 {
            batch = batch.op(Audit::op(&record(&run, "run.start", run.started_ms)));
        }
    }
    let pruned: Vec<String> = (0..RUNS).filter(|n| is_pruned(*n)).map(id).collect();
    for ids in pruned.chunks(40) {
        let record = AuditRecord::now("ann", "run.prune", "").detail(json!({ "runs": ids }));
        batch = batch.op(Audit::op(&record));
    }
    wait(store.commit(batch)).expect("the records");
}

fn filters() -> Vec<RunFilter> {
    let none = RunFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let two: BTreeSet<String> = ["watch", "x\0y"].map(str::to_owned).into();
    vec![
        none(),
        RunFilter {
            agent: text("watch"),
            ..none()
        },
        RunFilter {
            agent: text("x\0y"),
            ..none()
        },
        RunFilter {
            agent: text("x"),
            ..none()
        },
        RunFilter {
            by: text("bob"),
            ..none()
        },
        RunFilter {
            state: text(RUN_OPEN),
            ..none()
        },
        RunFilter {
            state: text("failed"),
            agent: text("reconcile"),
            ..none()
        },
        RunFilter {
            state: text("escalated"),
            ..none()
        },
        RunFilter {
            by: text("ann"),
            state: text("succeeded"),
            ..none()
        },
        RunFilter {
            agents: Some(two),
            ..none()
        },
        RunFilter {
            agents: Some(BTreeSet::new()),
            ..none()
        },
        RunFilter {
            before: Some(id(500)),
            ..none()
        },
        RunFilter {
            agent: text("watch"),
            before: Some(id(500)),
            ..none()
        },
    ]
}

/// The plain way.
fn expected(filter: &RunFilter) -> Vec<RunEntry> {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
    let runs = (0..RUNS).rev().filter(|n| !is_pruned(*n)).map(run);
    runs.filter(|run| {
        let before = filter.before.as_ref().is_none_or(|before| run.id < *before);
        let reached = filter.agents.as_ref();
        before
            && is(&filter.agent, &run.agent)
            && is(&filter.by, &run.by)
            && is(&filter.state, &run.state)
            && reached.is_none_or(|agents| agents.contains(&run.agent))
    })
    .collect()
}

/// All pages of a list.
fn walked(views: &Views, filter: &RunFilter, limit: usize) -> Vec<RunEntry> {
    let (mut filter, mut all) = (filter.clone(), Vec::new());
    for _ in 0..=RUNS {
        let page = views.runs(&filter, limit).expect("a page");
        assert!(page.runs.len() <= limit);
        all.extend(page.runs);
        match page.next {
            None => return all,
            next => filter.before = next,
        }
    }
    panic!("the list has no end")
}

fn check(views: &Views) {
    for filter in filters() {
        let expect = expected(&filter);
        for limit in [7, 250, 5_000] {
            let found = walked(views, &filter, limit);
            assert!(
                found == expect,
                "{filter:?}: {} of {}",
                found.len(),
                expect.len()
            );
        }
    }
    assert!(expected(&filters()[0]).len() > 2_700);
    let stats = views.agent_stats().expect("stats");
    assert_eq!(stats.len(), 3);
    for stats in stats {
        let own = (0..RUNS).map(run).filter(|run| run.agent == stats.agent);
        let (open, ended): (Vec<_>, Vec<_>) = own.partition(|run| run.ended_ms.is_none());
        assert_eq!(stats.started as usize, open.len() + ended.len());
        assert_eq!(stats.ended_count() as usize, ended.len());
        let failed = ended.iter().filter(|run| run.state == "failed").count();
        assert_eq!(stats.ended["failed"] as usize, failed);
        let took = ended
            .iter()
            .map(|run| run.ended_ms.unwrap_or_default() - run.started_ms);
        assert_eq!(stats.took_ms, took.sum::<u64>());
        let half = stats.quantile_ms(0.5).expect("some") as f64;
        assert!((2_250.0..2_750.0).contains(&half), "{half}");
    }
}

#[test]
fn pages_of_any_size_are_what_the_audit_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> = MemoryStore::new();
    write(&*store);
    let path = dir.path().join("views");
    let views = Views::open(&path, Arc::clone(&store));
    check(&views);
    drop(views);
    let views = Views::open(&path, Arc::clone(&store));
    check(&views);
    drop(views);
    std::fs::remove_dir_all(&path).expect("removed");
    let views = Views::open(&path, Arc::clone(&store));
    check(&views);
    views.rebuild().expect("rebuilt");
    check(&views);
}
