//! Questions about calls that need not be approved any more.

use super::lost::Ledger;
use super::parked::narrow_host;
use super::*;

impl Host {
    /// A call of `payer/pay` that the ledger never answers, under a rule that says so.
    async fn rule_of_pay(&self, approval: &str) {
        let tools = json!([{ "tool": "payer/*", "approval": approval }]);
        self.grant("prober", json!({ "tools": tools })).await;
    }

    /// Its run waits for somebody to approve it, and has left memory.
    async fn asks_to_pay(&self, ledger: &Ledger) -> (String, String) {
        self.prepare(&[]).await;
        install(&self.runtime, "payer", built("payer")).await;
        let url = ledger.url.replace("entry", "*");
        let http = json!([{ "url": url, "methods": ["POST"], "allow_private": true }]);
        let update = json!({ "grants": { "http": http }, "limits": { "wall": "300s" } });
        let update = serde_json::from_value(update).expect("grants");
        let set = self.runtime.set_grants(&self.who, "payer", update).await;
        set.expect("they hold");
        self.rule_of_pay("always").await;
        let input = json!({ "url": ledger.url });
        let pay = json!({ "call": { "tool": "payer/pay", "input": input } });
        let run = self.start(json!([pay])).await;
        let question = question(self, &run).await.id;
        self.until_out_of_memory().await;
        (run, question)
    }
}

/// The rule is loosened, and something loads the run: the call is made, nobody can deny
/// it while it is, and its run does not leave memory as one that waits for a person,
/// which would cut it off.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_need_not_be_approved_any_more_is_made_and_nobody_is_asked() {
    for restarts in [false, true] {
        let (dir, disk) = place();
        let mut host = narrow_host(dir.path(), &disk).await;
        let ledger = Ledger::new();
        let (run, question) = host.asks_to_pay(&ledger).await;
        host.rule_of_pay("never").await;
        if restarts {
            drop(host);
            host = narrow_host(dir.path(), &disk).await;
        }
        // It may leave again before its call is looked at.
        while ledger.keys().is_empty() && host.run(&run).blocked.is_none() {
            let told = host.signal(&run, "other", json!(1)).await;
            told.expect("kept");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(host.open_questions().len(), 0, "{restarts}");
        let denied = decide(&host, "somebody", &question, "deny").await;
        assert_eq!(denied, Err("approval-not-found"), "{restarts}");
        // Long after it would have left.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let seen = host.run(&run);
        assert!(seen.blocked.is_none() && seen.end.is_none(), "{seen:?}");
        assert_eq!(host.in_memory(), 1, "{restarts}");
        let cancelled = host.runtime.cancel_run(&host.who, &run, "").await;
        cancelled.expect("taken");
        let unknown = vec![0];
        let end = host.ended(&run).await.end;
        assert_eq!(end, Some(End::Cancelled { unknown }), "{restarts}");
        assert_eq!(ledger.keys().len(), 1, "{restarts}");
    }
}

/// It is asked about anew where the rule has changed and asks still.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_asked_about_otherwise_waits_for_that() {
    let (dir, disk) = place();
    let host = narrow_host(dir.path(), &disk).await;
    let ledger = Ledger::new();
    let (run, question) = host.asks_to_pay(&ledger).await;
    let tools = json!([{ "tool": "payer/*", "approval": "always", "approvers": 2 }]);
    host.grant("prober", json!({ "tools": tools })).await;
    let asks = || {
        let open = host.open_questions();
        open.len() == 1 && open[0].id == question && open[0].approvers == 2
    };
    while !asks() {
        let told = host.signal(&run, "other", json!(1)).await;
        told.expect("kept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    host.until_out_of_memory().await;
    let denied = decide(&host, "somebody", &question, "deny").await;
    assert_eq!(denied, Ok(()));
    let results = host.results(&run).await.to_string();
    assert!(results.contains("a person said no"), "{results}");
    assert_eq!((host.open_questions().len(), ledger.keys().len()), (0, 0));
}
