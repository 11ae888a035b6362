//! The inbox when there is much in it.

use std::collections::{BTreeMap, BTreeSet};

use airlock_journal::Op;
use airlock_runtime::ApprovalsPage;

use super::replays::fork;
use super::*;

const LISTED_MAX: usize = 1_000;
const QUESTIONS_MAX: usize = 64;

fn row(space: &'static str, key: String, value: &Value) -> Op {
    Op::Put {
        space,
        key: key.into(),
        value: value.to_string().into(),
    }
}

/// Questions of one run, as its writes leave them in the store.
async fn ask(host: &Host, run: &str, agent: &str, at_ms: u64, questions: usize) {
    let mut rows = vec![row("runs-open", run.to_owned(), &json!({}))];
    for n in 0..questions {
        let id = format!("{run}.{n}");
        let view = json!({
            "id": id, "run": run, "agent": agent, "text": "may I?", "choices": ["yes"],
            "role": "approver", "approvers": 1, "at_ms": at_ms,
        });
        rows.push(row("approvals", id, &view));
    }
    host.runtime.commit(rows).await.expect("kept");
}

fn page(host: &Host, query: &ApprovalsQuery) -> ApprovalsPage {
    let page = host.runtime.approvals(&host.who, query).expect("reads");
    let times: Vec<u64> = page.approvals.iter().map(|asked| asked.at_ms).collect();
    assert!(times.is_sorted(), "oldest first");
    page
}

/// How many of each run are listed.
fn by_run(page: &ApprovalsPage) -> BTreeMap<&str, usize> {
    let mut runs = BTreeMap::new();
    for asked in &page.approvals {
        *runs.entry(&*asked.run).or_default() += 1;
    }
    runs
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_ask_much_hide_no_other_one() {
    let (dir, disk) = place();
    let host = Host::open(dir.path(), &disk).await;
    // As a version before may have left it.
    ask(&host, "run_a", "loud", 1, 3_000).await;
    ask(&host, "run_b", "quiet", 2, 1).await;
    let all = page(&host, &ApprovalsQuery::default());
    assert_eq!(
        by_run(&all),
        BTreeMap::from([("run_a", QUESTIONS_MAX), ("run_b", 1)])
    );
    assert_eq!(all.next_after, None);

    for n in 0..40 {
        ask(&host, &format!("run_c{n:04}"), "loud", 3 + n, QUESTIONS_MAX).await;
    }
    ask(&host, "run_d", "quiet", 90, 1).await;
    let all = page(&host, &ApprovalsQuery::default());
    let runs = by_run(&all);
    assert_eq!((runs.len(), all.next_after.as_ref()), (43, None));
    assert_eq!((runs["run_b"], runs["run_d"]), (1, 1));
    let shares: BTreeSet<usize> = runs.into_values().filter(|asked| *asked > 1).collect();
    let (least, most) = (shares.first(), shares.last());
    assert!(
        most.zip(least)
            .is_some_and(|(most, least)| most - least <= 1),
        "{shares:?}"
    );
    assert!((800..=LISTED_MAX).contains(&all.approvals.len()));
    let quiet = ApprovalsQuery {
        agent: Some("quiet".to_owned()),
        after: None,
    };
    let quiet = page(&host, &quiet);
    assert_eq!(by_run(&quiet), BTreeMap::from([("run_b", 1), ("run_d", 1)]));

    // More runs than a page has places.
    for n in 0..LISTED_MAX as u64 {
        ask(&host, &format!("run_e{n:04}"), "many", 100 + n, 2).await;
    }
    let (mut seen, mut query, mut pages) = (BTreeSet::new(), ApprovalsQuery::default(), 0);
    loop {
        let page = page(&host, &query);
        seen.extend(page.approvals.iter().map(|asked| asked.run.clone()));
        pages += 1;
        match page.next_after {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (1_043, 2));
}

/// An agent is told when it asks more than people are shown; calls wait for their
/// turn to be asked about.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_asks_so_much_at_a_time() {
    const MORE: usize = 5;
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let own = json!({ "ask": { "text": "may I?", "choices": ["yes", "no"] } });
    let asks = vec![own; QUESTIONS_MAX + MORE];
    let id = host.start(json!([{ "join": asks }])).await;
    let all = (QUESTIONS_MAX + MORE) as u64;
    host.until(&id, |run| run.used.steps == all).await;
    let open = host.open_questions();
    assert_eq!(open.len(), QUESTIONS_MAX);
    for asked in open {
        assert_eq!(decide(&host, "other", &asked.id, "yes").await, Ok(()));
    }
    let results = host.results(&id).await;
    let told = results[0].as_array().expect("a list").iter();
    let refused = told.filter(|told| told["error"] == "limit: questions (64)");
    assert_eq!(refused.count(), MORE, "{results}");

    // One that nobody waits for any more is not asked.
    let late = json!({ "select": [
        { "sleep": { "ms": 1 } }, { "ask": { "text": "now?", "choices": ["yes", "no"] } },
    ] });
    let often = json!([{ "repeat": { "times": QUESTIONS_MAX + MORE, "steps": [late] } },
        { "signal": { "name": "go" } }]);
    let id = host.start(often).await;
    let at_the_end = |run: &RunDetail| {
        let mut open = run.waits_for.iter();
        open.any(|open| open.request.to_string().contains("\"go\""))
    };
    host.until(&id, at_the_end).await;
    assert_eq!(host.open_questions().len(), 0);
    assert!(!host.records_of(&id).contains("limit"));

    let calls = vec![add(); QUESTIONS_MAX + MORE];
    let asks = json!({ "autonomy": "ask", "budget": { "repeats": 1_000 } });
    let id = host.start_with(json!([{ "join": calls }]), asks).await;
    let mut denied = 0;
    host.until(&id, |_| host.open_questions().len() == QUESTIONS_MAX)
        .await;
    while host.run(&id).end.is_none() {
        let open = host.open_questions();
        assert!(open.len() <= QUESTIONS_MAX, "{}", open.len());
        for asked in open {
            denied += usize::from(decide(&host, "other", &asked.id, "deny").await.is_ok());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(denied, QUESTIONS_MAX + MORE);
    assert_eq!(host.added().await, 0);
}

/// A fork asks its own questions, also those that the other run has no answer to.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_a_fork_took_over_is_listed() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let own = json!({ "ask": { "text": "may I?", "choices": ["yes", "no"] } });
    let run = host.start(json!([own])).await;
    host.until(&run, |_| host.open_questions().len() == 1).await;
    let forked = fork(&host, &run, json!({ "at": 1 })).await.expect("forked");
    let open = host.open_questions();
    let of_runs: BTreeSet<&str> = open.iter().map(|asked| &*asked.run).collect();
    assert_eq!(of_runs, BTreeSet::from([&*run, &*forked]));
    let decided = decide(&host, "other", &format!("{forked}.0"), "yes").await;
    assert_eq!(decided, Ok(()));
    assert_eq!(host.results(&forked).await[0]["ok"]["choice"], "yes");
    let open = host.open_questions();
    assert_eq!(open.len(), 1, "the other run's is still open: {open:?}");
    assert_eq!(open[0].run, run);
}

impl Host {
    pub(super) fn records_of(&self, id: &str) -> String {
        let page = self.runtime.run_events(&self.who, id, 0, 1_000);
        json!(page.expect("reads").events).to_string()
    }
}
