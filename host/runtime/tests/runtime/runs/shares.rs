//! Requests to models that wait for what others have set aside, and those that are
//! ended before they have an answer.

use std::time::Duration;

use airlock_fake_models::{Counted, Damage, FakeModels, Raw, Reply, What};
use airlock_runtime::{End, ModelUsageQuery};
use serde_json::{Value, json};

use super::models::{BUDGET, Cut, chat, halt, held, rich, rule, server, with_models};
use crate::host::{Host, place};

/// One request takes 1,100 to 1,300 tokens at most: one fits, two do not.
const LEFT: u64 = 2_000;

fn tight() -> Value {
    json!({ "budget": { "model_tokens": LEFT, "model_micros": BUDGET } })
}

fn at_once(number: usize) -> Value {
    let chats: Vec<Value> = (0..number).map(|_| chat(&["A"])).collect();
    json!([{ "join": chats }])
}

impl Host {
    /// What the run's journal says of attempts that were put off.
    fn put_off(&self, run: &str) -> Vec<String> {
        let page = self.runtime.run_events(&self.who, run, 0, 1_000);
        let events = json!(page.expect("reads").events);
        let events = events.as_array().expect("a list").iter();
        let retried = events.filter(|event| event["event"] == "retried");
        let why = retried.map(|event| event["why"].as_str().unwrap_or_default().to_owned());
        why.collect()
    }

    /// Starts requests of which one is under way and the others wait.
    async fn short(&self, server: &FakeModels, number: usize, members: Value) -> String {
        let run = self.start_with(at_once(number), members).await;
        server.arrived(1).await;
        self.until_put_off(&run, number - 1).await;
        run
    }

    async fn until_put_off(&self, run: &str, number: usize) {
        let waiting = async {
            while self.put_off(run).len() < number {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), waiting).await;
        assert!(waited.is_ok(), "{:?}", self.put_off(run));
    }

    fn used_today(&self) -> u64 {
        let usage = self.runtime.model_usage(&ModelUsageQuery::default());
        usage.expect("usage").all.tokens
    }
}

/// Whichever bound is small: what does not fit beside others waits for them, and is
/// answered.
#[tokio::test(flavor = "multi_thread")]
async fn requests_at_once_wait_for_what_others_set_aside() {
    let (dir, disk) = place();
    let table = [
        ("day_tokens", rule(json!({ "day_tokens": LEFT })), rich()),
        ("run_tokens", rule(json!({ "run_tokens": LEFT })), rich()),
        ("run_cost_micros", rule(json!({ "run_cost": "2" })), rich()),
        ("model_tokens", rule(json!({})), tight()),
    ];
    for (nth, (bound, grants, members)) in table.into_iter().enumerate() {
        let server = server((0..4).map(|_| held(None))).await;
        let host = Host::with(with_models(dir.path(), &server), &disk).await;
        if nth == 0 {
            host.prepare(&[]).await;
        }
        host.grant("prober", grants).await;
        let run = host.short(&server, 4, members).await;
        let why = host.put_off(&run);
        let says = format!("it waits: {bound} is set aside for requests under way");
        assert!(why.contains(&says), "{bound}: {why:?}");
        assert_eq!(server.seen().len(), 1, "{bound}");
        server.release();
        let results = host.results(&run).await;
        let four = results[0].as_array().expect("four").iter();
        let texts = four.filter(|result| result["ok"]["text"] == "one");
        assert_eq!(texts.count(), 4, "{bound}: {results}");
        assert_eq!(host.run(&run).used.model_tokens, 60, "{bound}");
    }
}

/// A small one does not overtake a large one that waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_asked_in_turn() {
    let (dir, disk) = place();
    let server = server((0..3).map(|_| held(None))).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    let bound = rule(json!({ "run_tokens": 2 * LEFT }));
    host.grant("prober", bound).await;
    let large = "b".repeat(2_000);
    let then = |name: &str, turn: &str| {
        let steps = json!([{ "signal": { "name": name } }, chat(&[turn])]);
        json!({ "repeat": { "times": 1, "steps": steps } })
    };
    let chats = json!([chat(&["A"]), then("second", &large), then("third", "C")]);
    let run = host.start_with(json!([{ "join": chats }]), rich()).await;
    server.arrived(1).await;
    for (name, waiting) in [("second", 1), ("third", 2)] {
        let payload = json!(1);
        let sent = host.runtime.signal_run(&host.who, &run, name, &payload);
        sent.await.expect("taken");
        host.until_put_off(&run, waiting).await;
    }
    assert_eq!(
        host.put_off(&run),
        [
            "it waits: run_tokens is set aside for requests under way",
            "it waits for requests that waited before",
        ]
    );
    server.release();
    let results = host.results(&run).await;
    let texts = results.to_string().matches(r#""text":"one""#).count();
    assert_eq!(texts, 3, "{results}");
    let asked = server.seen();
    let lengths: Vec<usize> = asked.iter().map(|one| one.text.len()).collect();
    assert!(lengths[1] > 2_000, "{lengths:?}");
}

/// What is set aside for a request that is let go of before it is sent is given back,
/// wherever its disk hangs meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sent_costs_nothing() {
    let (mut unsent, mut tried) = (0, 0);
    // Whether one is let go of before it is sent depends on which of two wakes first.
    while tried < 8 || (unsent == 0 && tried < 80) {
        let n = tried % 8;
        tried += 1;
        let (dir, disk) = place();
        let server = server([What::Never]).await;
        let host = Host::with(with_models(dir.path(), &server), &disk).await;
        host.prepare(&[]).await;
        host.grant("prober", rule(json!({}))).await;
        let steps = json!([
            { "sleep": { "ms": 100 } },
            { "select": [chat(&["A"]), { "sleep": { "ms": 200 } }] },
        ]);
        let run = host.start_with(steps, rich()).await;
        host.store.hold_after(n);
        tokio::time::sleep(Duration::from_millis(800)).await;
        host.store.release();
        let ended = host.ended(&run).await;
        assert!(
            matches!(ended.end, Some(End::Succeeded { .. })),
            "{n}: {ended:?}"
        );
        let used = ended.used.model_tokens;
        let sent = server.seen().len();
        // What is begun counts, also where it was cut off before it arrived.
        assert!(used > 0 || sent == 0, "{n}: {ended:?}");
        let given_back = async {
            while host.used_today() != used {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let back = tokio::time::timeout(Duration::from_secs(30), given_back).await;
        assert!(back.is_ok(), "{n}: {} of {used}", host.used_today());
        unsent += usize::from(used == 0);
    }
    assert!(unsent > 0, "each was begun");
}

/// What is spent is not waited for: a request that can't fit any more fails.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_fit_fails_when_that_is_known() {
    let (dir, disk) = place();
    let much = Counted {
        input: 990,
        output: 10,
        ..Counted::default()
    };
    let server = server((0..3).map(|_| held(Some(much)))).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let run = host.short(&server, 3, tight()).await;
    server.release();
    let results = host.results(&run).await;
    let three = results[0].as_array().expect("three").iter();
    let limits = three.filter(|result| {
        let error = result["error"].as_str().unwrap_or_default();
        error.contains("model_tokens") && error.contains("1000 left")
    });
    assert_eq!(limits.count(), 2, "{results}");
    assert_eq!(server.seen().len(), 1);
}

/// What one took beyond the budget leaves nothing, before and after another settles:
/// what waits for that is told so.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_told_when_the_budget_is_overdrawn() {
    let (dir, disk) = place();
    let counted = |input, output| {
        Some(Counted {
            input,
            output,
            ..Counted::default()
        })
    };
    let much = What::Answer(Reply {
        text: "one".to_owned(),
        usage: counted(2_990, 10),
        damage: Damage {
            delay_ms: 500,
            ..Damage::default()
        },
        ..Reply::default()
    });
    let server = server([much, held(counted(0, 0)), held(None)]).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let budget = json!({ "budget": { "model_tokens": 3_000, "model_micros": BUDGET } });
    let run = host.start_with(at_once(3), budget).await;
    server.arrived(2).await;
    // The first is answered, and the second holds its part still.
    while host.run(&run).used.model_tokens <= 3_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.release();
    let results = host.results(&run).await;
    let three = results[0].as_array().expect("three").iter();
    let limits = three.filter(|result| {
        let error = result["error"].as_str().unwrap_or_default();
        error.contains("model_tokens")
    });
    assert_eq!(limits.count(), 1, "{results}");
    assert_eq!(server.seen().len(), 2);
}

/// Another run's request holds the agent's day: one that waits for it is sent when it
/// has settled, and fails where what it used leaves too little.
#[tokio::test(flavor = "multi_thread")]
async fn runs_wait_for_each_others_part_of_the_day() {
    for cancels in [false, true] {
        let (dir, disk) = place();
        let server = server((0..2).map(|_| held(None))).await;
        let host = Host::with(with_models(dir.path(), &server), &disk).await;
        host.prepare(&[]).await;
        host.grant("prober", rule(json!({ "day_tokens": LEFT })))
            .await;
        let first = host.start_with(at_once(1), rich()).await;
        server.arrived(1).await;
        let second = host.start_with(at_once(1), rich()).await;
        while host.put_off(&second).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(server.seen().len(), 1);
        if cancels {
            let ended = host.runtime.cancel_run(&host.who, &first, "enough").await;
            ended.expect("taken");
            host.ended(&first).await;
        }
        server.release();
        host.ended(&first).await;
        let results = host.results(&second).await.to_string();
        let expect = if cancels { "limit: day_tokens" } else { "one" };
        assert!(results.contains(expect), "{results}");
    }
}

/// One that waits was not sent: it ends with its run, and begins again after a halt
/// and after a crash. By then what was cut off counts, so that the rule gives more.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_ends_halts_and_survives_as_any() {
    let bounded = |tokens: u64| rule(json!({ "run_tokens": tokens }));
    for how in ["cancel", "halt", "pause", "crash"] {
        let (dir, disk) = place();
        let server = server((0..4).map(|_| held(None))).await;
        let settings = with_models(dir.path(), &server);
        let mut host = Host::with(settings.clone(), &disk).await;
        host.prepare(&[]).await;
        host.grant("prober", bounded(LEFT)).await;
        let run = host.short(&server, 3, rich()).await;
        match how {
            "cancel" => {
                let cancelled = host.runtime.cancel_run(&host.who, &run, "enough").await;
                cancelled.expect("taken");
                let ended = host.ended(&run).await;
                assert!(
                    matches!(ended.end, Some(End::Cancelled { .. })),
                    "{ended:?}"
                );
                let used = ended.used.model_tokens;
                assert!((1_000..1_500).contains(&used), "one was sent: {ended:?}");
                assert_eq!((host.used_today(), server.seen().len()), (used, 1));
                continue;
            }
            "halt" => {
                halt(&host.runtime, &host.who, true).await;
                while !host.put_off(&run).iter().any(|why| why.contains("cut off")) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert_eq!(server.seen().len(), 1);
                host.grant("prober", bounded(20_000)).await;
                halt(&host.runtime, &host.who, false).await;
            }
            "pause" => {
                let paused = host.runtime.pause_run(&host.who, &run).await;
                paused.expect("taken");
                let again = host.runtime.resume_run(&host.who, &run, Default::default());
                again.await.expect("taken");
            }
            _ => {
                host.grant("prober", bounded(20_000)).await;
                drop(host);
                host = Host::with(settings, &disk).await;
                host.runtime.take_up_runs().await.expect("they are read");
            }
        }
        server.release();
        let results = host.results(&run).await;
        let three = results[0].as_array().expect("three").iter();
        let texts = three.filter(|result| result["ok"]["text"] == "one");
        assert_eq!(texts.count(), 3, "{how}: {results}");
        assert_eq!(host.used_today(), host.run(&run).used.model_tokens, "{how}");
    }
}

/// What nobody wants any more ends: no attempt begins, the run does not wait for it,
/// and what the attempt under way may have used counts once.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_let_go_of_ends() {
    let busy = || {
        What::Raw(Raw {
            status: 429,
            headers: [("retry-after-ms".to_owned(), "600".to_owned())].into(),
            body: r#"{"error":{"message":"slow down"}}"#.to_owned(),
        })
    };
    let table = [
        ("no answer", What::Never, 1_000..1_500),
        ("refused for now", busy(), 0..1),
    ];
    for (case, first, used) in table {
        let (dir, disk) = place();
        let server = server([first, busy(), busy(), busy()]).await;
        let host = Host::with(with_models(dir.path(), &server), &disk).await;
        host.prepare(&[]).await;
        let retry = json!({ "attempts": 5, "backoff": "600ms", "backoff_max": "600ms" });
        host.grant("prober", rule(json!({ "retry": retry }))).await;
        let steps = json!([{ "select": [chat(&["A"]), { "sleep": { "ms": 300 } }] }]);
        let began = std::time::Instant::now();
        let run = host.start_with(steps, rich()).await;
        let ended = host.ended(&run).await;
        assert!(
            matches!(ended.end, Some(End::Succeeded { .. })),
            "{case}: {ended:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(20), "{case}");
        assert!(used.contains(&ended.used.model_tokens), "{case}: {ended:?}");
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        assert_eq!(server.seen().len(), 1, "{case}: it is asked no more");
        assert_eq!(host.used_today(), host.run(&run).used.model_tokens);
        let replay = host
            .runtime
            .replay_run(&host.who, &run, Default::default())
            .await;
        let replay = serde_json::to_value(replay.expect("it replays")).expect("JSON");
        assert_eq!(replay["verdict"], "same", "{case}: {replay}");
    }
}

/// Each boundary between two writes in turn: the host dies there. What its agent let
/// go of is asked no more, its run ends, and what was sent counts.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_a_write_fails_what_was_let_go_of_is_asked_no_more() {
    let (mut died, mut asked_again) = (0_u64, 0);
    for n in 0..40 {
        let steps = json!([{ "select": [chat(&["A"]), { "sleep": { "ms": 100 } }] }]);
        let cut = Cut::at(n, (0..3).map(|_| What::Never), steps).await;
        let (server, second, run) = (&cut.server, &cut.next, &cut.run);
        let page = second.runtime.run_events(&second.who, run, 0, 1_000);
        let events = json!(page.expect("reads").events).to_string();
        let (let_go, seen) = (events.contains("detached"), server.seen().len());
        second.runtime.take_up_runs().await.expect("they are read");
        let ended = second.ended(run).await;
        assert!(
            matches!(ended.end, Some(End::Succeeded { .. })),
            "write {n}: {ended:?}"
        );
        let again = server.seen().len() - seen;
        assert!(!let_go || again == 0, "write {n}: it is asked again");
        let used = ended.used.model_tokens;
        assert_eq!(second.used_today(), used, "write {n}");
        assert!(used >= 1_000 * seen as u64, "write {n}: {used}");
        (died, asked_again) = (died + u64::from(cut.died), asked_again + again);
        if !cut.died {
            break;
        }
    }
    assert!(died >= 4, "{died} died, {asked_again} asked again");
}

/// Nobody can want the answers any more once the agent has failed.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_fails_asks_no_more() {
    let (dir, disk) = place();
    let server = server((0..3).map(|_| What::Never)).await;
    let host = Host::with(with_models(dir.path(), &server), &disk).await;
    host.prepare(&[]).await;
    host.grant("prober", rule(json!({}))).await;
    let fails =
        json!({ "repeat": { "times": 1, "steps": [{ "sleep": { "ms": 300 } }, { "panic": {} }] } });
    let steps = json!([{ "join": [chat(&["A"]), chat(&["B"]), fails] }]);
    // One is under way, one waits for it.
    let run = host.start_with(steps, tight()).await;
    let ended = host.ended(&run).await;
    assert!(matches!(ended.end, Some(End::Failed { .. })), "{ended:?}");
    assert_eq!(server.seen().len(), 1);
    assert_eq!(host.used_today(), ended.used.model_tokens);
}
