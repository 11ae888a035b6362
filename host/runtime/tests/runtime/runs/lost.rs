//! Calls that end before their tool has said how, and what is remembered of them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use airlock_runtime::{Block, End, ForkRun};
use airlock_sandbox::testing::{SPIN, guest};

use super::*;

/// Takes entries and answers none: the keys under which they came.
pub(super) struct Ledger {
    pub(super) url: String,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let keys: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&keys);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let (mut head, mut part) = (Vec::new(), [0; 4096]);
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut part) {
                        Ok(0) | Err(_) => break,
                        Ok(read) => head.extend_from_slice(&part[..read]),
                    }
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let key = head
                    .lines()
                    .find_map(|line| line.strip_prefix("idempotency-key:"));
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(key.map(|key| key.trim().to_owned()));
                let _ = stream.flush();
                // It stays open, and says nothing.
                open.push(stream);
            }
        });
        Self {
            url: format!("http://{address}/entry"),
            keys,
        }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }
}

impl Host {
    /// With `payer/pay` of a class, which the ledger never answers, tried again after
    /// so long.
    async fn pays(&self, ledger: &Ledger, class: &str, wait: &str) {
        self.may_pay(ledger, class, "500ms").await;
        let retry = json!({ "attempts": 2, "backoff": wait, "backoff_max": wait });
        let tools = json!([{ "tool": "payer/*", "retry": retry }]);
        self.grant("prober", json!({ "tools": tools })).await;
    }

    async fn may_pay(&self, ledger: &Ledger, class: &str, wall: &str) {
        let http = json!([{
            "url": ledger.url.replace("entry", "*"), "methods": ["POST"], "allow_private": true,
        }]);
        let update = json!({
            "grants": { "http": http, "effects": { "pay": class } },
            "limits": { "wall": wall },
        });
        let update = serde_json::from_value(update).expect("grants");
        let set = self.runtime.set_grants(&self.who, "payer", update).await;
        set.expect("they hold");
    }

    async fn paying(&self, ledger: &Ledger) -> String {
        let input = json!({ "url": ledger.url });
        let pay = json!({ "call": { "tool": "payer/pay", "input": input } });
        let autonomous = json!({ "autonomy": "autonomous" });
        self.start_with(json!([pay]), autonomous).await
    }
}

fn is_unknown(run: &RunDetail) -> bool {
    matches!(run.blocked, Some(Block::UnknownOutcome { id: 0, .. }))
}

/// By the class of a call that its `wall` ends after its entry is made: how often it is
/// made, always under one key, and whether a person is asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_limit_ends_may_have_happened() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    install(&host.runtime, "payer", built("payer")).await;
    let mut seen = BTreeSet::new();
    for (class, made, asks) in [
        ("plain", 1, true),
        ("destructive", 1, true),
        ("idempotent", 2, true),
        // It may not even send it.
        ("read-only", 0, false),
    ] {
        let ledger = Ledger::new();
        host.pays(&ledger, class, "1ms").await;
        let run = host.paying(&ledger).await;
        let over = |run: &RunDetail| run.end.is_some() || run.blocked.is_some();
        let run = host.until(&run, over).await;
        assert_eq!(is_unknown(&run), asks, "{class}: {run:?}");
        let keys = ledger.keys();
        assert_eq!(keys.len(), made, "{class}: {keys:?}");
        assert!(keys.iter().all(|key| *key == keys[0]), "{class}: {keys:?}");
        let is_new = keys.first().is_none_or(|key| seen.insert(key.clone()));
        assert!(is_new, "{class}: another call's key, {keys:?}");
        assert_eq!(run.end.is_some(), !asks, "{class}: {run:?}");
    }
}

/// What a grant says of lost outcomes holds where the host was lost, as where the call was.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_on_lost_outcomes_holds_over_a_restart() {
    for (on_unknown, made, asks) in [("ask", 1, true), ("fail", 1, false), ("retry", 2, false)] {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &[]).await;
        install(&host.runtime, "payer", built("payer")).await;
        let ledger = Ledger::new();
        host.may_pay(&ledger, "plain", "300s").await;
        let retry = json!({ "attempts": 2, "backoff": "1ms", "backoff_max": "1ms" });
        let rule = json!({ "tool": "payer/*", "retry": retry, "on_unknown": on_unknown });
        host.grant("prober", json!({ "tools": [rule] })).await;
        let run = host.paying(&ledger).await;
        while ledger.keys().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        host.store.inject(Fault::Write { n: 0 });
        drop(host);
        let host = Host::again(dir.path(), &disk).await;
        let goes =
            |run: &RunDetail| run.end.is_some() || run.blocked.is_some() || ledger.keys().len() > 1;
        let run = host.until(&run, goes).await;
        assert_eq!(ledger.keys().len(), made, "{on_unknown}: {run:?}");
        assert_eq!(is_unknown(&run), asks, "{on_unknown}: {run:?}");
        assert_eq!(run.end.is_some(), on_unknown == "fail", "{run:?}");
    }
}

/// It has nothing that could have an effect.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_limit_ends_and_has_done_nothing_did_not_happen() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["spinner/run"]).await;
    install(&host.runtime, "spinner", guest("", SPIN)).await;
    let limits = json!({ "grants": {}, "limits": { "cpu": "50ms" } });
    let update = serde_json::from_value(limits).expect("limits");
    let set = host.runtime.set_grants(&host.who, "spinner", update).await;
    set.expect("they hold");
    let spin = json!({ "call": { "tool": "spinner/run", "input": {} } });
    let run = host.start(json!([spin])).await;
    let said = host.results(&run).await.to_string();
    assert!(said.contains("limit: cpu (50ms)"), "{said}");
    let run = host.run(&run);
    assert_eq!(run.unknown, Vec::<u64>::new());
    assert!(run.used.cpu_us >= 50_000, "what the tool computed counts");
}

/// What comes between two attempts of an idempotent call, the first of which may have
/// happened: nobody is told that it did not.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_may_have_happened_is_not_forgotten() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    for what in ["rule", "http", "plugin", "fork", "cancel"] {
        install(&host.runtime, "payer", built("payer")).await;
        let ledger = Ledger::new();
        host.pays(&ledger, "idempotent", "2s").await;
        let run = host.paying(&ledger).await;
        let waits = |run: &RunDetail| run.waits_for.first().is_some_and(|open| open.attempt == 2);
        host.until(&run, waits).await;
        match what {
            "rule" => host.grant("prober", json!({})).await,
            "http" => {
                let effects = json!({ "effects": { "pay": "idempotent" } });
                host.grant("payer", effects).await;
            }
            "plugin" => {
                let removed = host.runtime.remove_plugin(&host.who, "payer", false, "");
                removed.await.expect("it goes");
            }
            "fork" => {
                let request = ForkRun {
                    at: 1,
                    input: None,
                    agent: None,
                };
                let forked = host.runtime.fork_run(&host.who, &run, request).await;
                let forked = host.run(&forked.expect("it is made").id);
                assert!(is_unknown(&forked), "{forked:?}");
            }
            _ => {}
        }
        if matches!(what, "fork" | "cancel") {
            let cancelled = host.runtime.cancel_run(&host.who, &run, "").await;
            cancelled.expect("taken");
            let unknown = vec![0];
            let end = host.ended(&run).await.end;
            assert_eq!(end, Some(End::Cancelled { unknown }), "{what}");
        } else {
            let blocked = host.until(&run, |run| run.blocked.is_some()).await;
            assert!(is_unknown(&blocked), "{what}: {blocked:?}");
            let why = json!(blocked.blocked)["detail"].to_string();
            assert!(why.contains("an attempt before may have happened"), "{why}");
        }
        assert_eq!(ledger.keys().len(), 1, "{what}");
    }
}

/// A call that is to be made again in ten minutes.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_holds_no_host_that_stopped() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    install(&host.runtime, "payer", built("payer")).await;
    let ledger = Ledger::new();
    host.pays(&ledger, "idempotent", "10m").await;
    let run = host.paying(&ledger).await;
    let waits = |run: &RunDetail| run.waits_for.first().is_some_and(|open| open.attempt == 2);
    host.until(&run, waits).await;
    assert_eq!(host.runtime.shutdown(Duration::from_secs(1)).await, 0);
    let runtime = Arc::downgrade(&host.runtime);
    drop(host);
    let gone = async {
        while runtime.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(30), gone).await;
    assert!(gone.is_ok(), "held {} times", runtime.strong_count());
}

/// What becomes of it is what its rule says, also where it is not made again at all:
/// its class is another one since.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_made_again_ends_as_its_rule_says() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    install(&host.runtime, "payer", built("payer")).await;
    let ledger = Ledger::new();
    host.pays(&ledger, "idempotent", "2s").await;
    let retry = json!({ "attempts": 2, "backoff": "2s", "backoff_max": "2s" });
    let rule = json!({ "tool": "payer/*", "retry": retry, "on_unknown": "fail" });
    host.grant("prober", json!({ "tools": [rule] })).await;
    let run = host.paying(&ledger).await;
    let waits = |run: &RunDetail| run.waits_for.first().is_some_and(|open| open.attempt == 2);
    host.until(&run, waits).await;
    let effects = json!({ "effects": { "pay": "plain" } });
    host.grant("payer", effects).await;
    let run = host.ended(&run).await;
    assert_eq!((run.unknown, ledger.keys().len()), (vec![0], 1));
}
