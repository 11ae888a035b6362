//! Calls that wait for their turn: in which order, and by what they are judged
//! when it comes.

use airlock_sandbox::testing::{SPIN, guest};

use super::*;

/// A tool whose calls never end by themselves, one at a time.
fn spin() -> Value {
    json!({ "call": { "tool": "spinner/run", "input": {} } })
}

async fn with_spinner(dir: &Path, disk: &Disk) -> Host {
    let host = Host::with_agent(dir, disk, &["spinner/run", "keeper/*"]).await;
    install(&host.runtime, "spinner", guest("", SPIN)).await;
    host.spinner_is("read-only", 1).await;
    host
}

impl Host {
    /// Another version of the spinner's grants.
    async fn spinner_is(&self, class: &str, queue: u32) {
        let limits = json!({ "cpu": "300s", "wall": "300s", "concurrency": 1, "queue": queue });
        let grants = json!({ "effects": { "run": class } });
        let update = serde_json::from_value(json!({ "grants": grants, "limits": limits }));
        let update: GrantsUpdate = update.expect("grants");
        let set = self.runtime.set_grants(&self.who, "spinner", update).await;
        set.expect("they hold");
    }

    /// Calls running and waiting over all plugins.
    fn load(&self) -> (u64, u64) {
        let text = self.runtime.metrics_text();
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.trim().parse().ok());
            value.unwrap_or_else(|| panic!("{text}"))
        };
        (
            figure("airlock_calls_in_flight "),
            figure("airlock_calls_waiting "),
        )
    }

    fn kinds(&self, run: &str) -> Vec<String> {
        let page = self.runtime.run_events(&self.who, run, 0, 1_000);
        let events = json!(page.expect("reads").events);
        let kinds = events.as_array().expect("a list").iter();
        let kinds = kinds.map(|event| event["event"].as_str().expect("a kind").to_owned());
        kinds.collect()
    }

    fn how_often(&self, run: &str, kind: &str) -> usize {
        let kinds = self.kinds(run);
        kinds.iter().filter(|found| *found == kind).count()
    }

    async fn cancel(&self, run: &str) -> RunDetail {
        let cancelled = self.runtime.cancel_run(&self.who, run, "").await;
        cancelled.expect("taken");
        self.ended(run).await
    }
}

/// A call waits for its turn under an approval, or because its tool only reads;
/// what that rests on changes meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_judged_is_what_is_called() {
    // Under which autonomy; to which class it changes; what becomes of the call.
    for (autonomy, before, after) in [
        ("ask", "plain", "idempotent"),
        ("ask", "destructive", "destructive"),
        ("observe", "read-only", "destructive"),
        ("supervised", "plain", "destructive"),
    ] {
        let (dir, disk) = place();
        let host = with_spinner(dir.path(), &disk).await;
        host.spinner_is(before, 1).await;
        let first = json!({ "autonomy": "autonomous" });
        let first = host.start_with(json!([spin()]), first).await;
        host.until(&first, |_| host.load().0 == 1).await;
        let asks = || json!({ "autonomy": autonomy });
        let waits = host.start_with(json!([spin()]), asks()).await;
        if autonomy == "ask" {
            let asked = question(&host, &waits).await;
            assert_eq!(decide(&host, "other", &asked.id, "approve").await, Ok(()));
        }
        host.until(&waits, |_| host.load().1 == 1).await;
        host.spinner_is(after, 2).await;
        host.cancel(&first).await;
        let made = || host.how_often(&waits, "begun");
        if autonomy == "observe" {
            let results = host.results(&waits).await.to_string();
            assert!(results.contains("only observes"), "{results}");
        } else {
            let again = question(&host, &waits).await;
            assert_eq!(again.run, waits, "{autonomy} {before} {after}");
        }
        assert_eq!(
            made(),
            0,
            "{autonomy} {before} {after}: {:?}",
            host.kinds(&waits)
        );
        assert_eq!(host.load(), (0, 0), "{autonomy} {before} {after}");
    }
}

/// A call that waits for its turn did not happen, whoever ends it: neither is
/// its run asked about, nor does it count as an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_its_turn_did_not_begin() {
    let (dir, disk) = place();
    let host = with_spinner(dir.path(), &disk).await;
    host.spinner_is("plain", 1).await;
    let first = host.start(json!([spin()])).await;
    host.until(&first, |_| host.load().0 == 1).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(host.start(json!([spin()])).await);
    }
    host.until(&first, |_| host.load().1 == 3).await;
    let ended = host.cancel(&waiting[0]).await;
    let unknown = Vec::new();
    assert_eq!(
        ended.end,
        Some(End::Cancelled { unknown }),
        "beyond the queue of callers too"
    );
    // Nor after the host died.
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    host.until(&first, |run| run.blocked.is_some()).await;
    host.until(&first, |_| host.load() == (1, 1)).await;
    for run in &waiting[1..] {
        let ended = host.cancel(run).await;
        assert_eq!(host.how_often(run, "retried"), 0, "{:?}", host.kinds(run));
        let Some(End::Cancelled { unknown }) = ended.end else {
            panic!("{ended:?}")
        };
        // One of them got its turn.
        assert_eq!(
            unknown.len(),
            host.how_often(run, "begun"),
            "{:?}",
            host.kinds(run)
        );
    }
}

/// Of a fan-out over a narrow plugin, each call is made at its first attempt.
#[tokio::test(flavor = "multi_thread")]
async fn being_refused_a_place_is_no_attempt() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &["keeper/*"]).await;
    let narrow = json!({
        "grants": { "kv": [{ "bucket": "kept", "bytes": "1MiB" }], "effects": { "add": "plain" } },
        "limits": { "concurrency": 1, "queue": 1 },
    });
    let narrow: GrantsUpdate = serde_json::from_value(narrow).expect("grants");
    let set = host.runtime.set_grants(&host.who, "keeper", narrow).await;
    set.expect("they hold");
    let all: Vec<Value> = (0..40).map(|_| add()).collect();
    let many = host.start(json!([{ "join": all }])).await;
    let one = host.start(json!([add()])).await;
    assert!(host.results(&one).await[0]["ok"]["count"].is_u64());
    let results = host.results(&many).await;
    let made = results[0].as_array().expect("a list").iter();
    assert_eq!(
        made.filter(|made| made["ok"]["count"].is_u64()).count(),
        40,
        "{results}"
    );
    let told = host
        .runtime
        .run_events(&host.who, &many, 0, 1_000)
        .expect("reads");
    let told = json!(told.events).to_string();
    assert!(!told.contains("\"attempt\":2"), "{told}");
}
