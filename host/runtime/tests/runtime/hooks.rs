//! Webhooks: what is believed, and that a delivery has its effect once.

mod signing;
mod waiting;

use std::time::Duration;

use airlock_journal::memory::Fault;
use airlock_runtime::{
    Delivered, Failure, HaltRequest, HookHead, HookRequest, Principal, Role, RotateHook, RunsQuery,
    now_ms,
};
use airlock_sandbox::testing::built;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::host::{Host, install, place};
use signing::{base64, hmac};

const KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
/// `whsec_` and [`KEY`] in base64.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// The headers of a delivery, as its sender makes them.
struct Sent {
    id: String,
    timestamp: String,
    signature: String,
    body: Bytes,
}

fn sent_at(id: &str, at_s: u64, key: &[u8], body: &str) -> Sent {
    let signed = format!("{id}.{at_s}.{body}");
    Sent {
        id: id.to_owned(),
        timestamp: at_s.to_string(),
        signature: format!("v1,{}", base64(&hmac(key, signed.as_bytes()))),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn sent(id: &str, body: &str) -> Sent {
    sent_at(id, now_ms() / 1_000, KEY, body)
}

impl Sent {
    fn head(&self) -> HookHead<'_> {
        HookHead {
            id: Some(&self.id),
            timestamp: Some(&self.timestamp),
            signature: Some(&self.signature),
            ..HookHead::default()
        }
    }

    async fn to(&self, host: &Host, name: &str) -> Result<Delivered, String> {
        deliver(host, name, self.head(), &self.body).await
    }
}

async fn deliver(
    host: &Host,
    name: &str,
    head: HookHead<'_>,
    body: &Bytes,
) -> Result<Delivered, String> {
    let delivered = host.runtime.deliver_hook(name, head, body).await;
    delivered.map_err(|error| format!("{} {}", error.code(), error.detail()))
}

async fn add(host: &Host, members: Value) -> Result<Option<String>, String> {
    let mut request = json!({
        "name": "paid", "secret": SECRET,
        "start": { "agent": "prober", "input": { "steps": [] } },
    });
    for (name, value) in members.as_object().expect("an object") {
        request[name] = value.clone();
    }
    let request: HookRequest = serde_json::from_value(request).map_err(|e| e.to_string())?;
    let made = host.runtime.add_hook(&host.who, request).await;
    made.map(|made| made.secret)
        .map_err(|error| format!("{} {error}", error.code()))
}

async fn runs(host: &Host) -> usize {
    let page = host.runtime.runs(&host.who, RunsQuery::default()).await;
    page.expect("runs").runs.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_starts_a_run_with_its_body_once() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    assert_eq!(
        add(&host, json!({})).await,
        Ok(None),
        "its secret was given"
    );
    let body = r#"{"invoice": 7, "note": "ä"}"#;
    let first = sent("msg_1", body).to(&host, "paid").await.expect("taken");
    let input = &host.run(&first.run).input;
    assert_eq!(input["payload"], json!({ "invoice": 7, "note": "ä" }));
    assert_eq!(input["steps"], json!([]));
    // Sent again, later and with a new signature, and by a host that starts again.
    let again = sent_at("msg_1", now_ms() / 1_000 + 1, KEY, body);
    let again = again.to(&host, "paid").await.expect("taken");
    assert_eq!((&again.run, again.replayed), (&first.run, true));
    host.ended(&first.run).await;
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    let again = sent("msg_1", body).to(&host, "paid").await.expect("taken");
    assert_eq!((&again.run, again.replayed), (&first.run, true));
    assert_eq!(runs(&host).await, 1);
    let begun = host.audited("admin.run.start").await;
    assert!(
        begun[0].contains(r#""hook":"paid","delivery":"msg_1""#),
        "{begun:?}"
    );
    sent("msg_2", body).to(&host, "paid").await.expect("taken");
    assert_eq!(runs(&host).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_takes_nothing_once_its_token_is_revoked() {
    let (dir, disk) = place();
    let mut host = Host::with_agent(dir.path(), &disk, &[]).await;
    let ours = host.with_token(Role::Admin).await;
    let local = std::mem::replace(&mut host.who, ours.clone());
    add(&host, json!({})).await.expect("made");
    host.who = local;
    add(&host, json!({ "name": "kept" })).await.expect("made");
    sent("msg_1", "{}").to(&host, "paid").await.expect("taken");
    let id = ours.token_id.clone().expect("of a token");
    let revoked = host.runtime.revoke_token(&host.who, &id, false, "").await;
    let revoked = revoked.expect("revoked");
    assert_eq!(
        (revoked.hooks, revoked.schedules.len()),
        (vec!["paid".to_owned()], 0)
    );
    drop(host);
    let host = Host::again(dir.path(), &disk).await;
    for id in ["msg_1", "msg_2"] {
        let refused = sent(id, "{}").to(&host, "paid").await.expect_err("refused");
        assert!(refused.starts_with("hook-revoked"), "{refused}");
    }
    sent("msg_3", "{}").to(&host, "kept").await.expect("taken");
    assert_eq!(runs(&host).await, 2);
    let hooks = host.runtime.hooks(&host.who).expect("reads");
    let revoked: Vec<bool> = hooks.iter().map(|hook| hook.revoked).collect();
    assert_eq!(revoked, [false, true], "{hooks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_deliveries_do_nothing_and_learn_nothing() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    add(&host, json!({})).await.expect("made");
    sent("seen", "{}").to(&host, "paid").await.expect("taken");
    let now_s = now_ms() / 1_000;
    let good = sent("m", "{}");
    let head = good.head();
    let with = |change: fn(&mut HookHead<'_>)| {
        let mut head = head;
        change(&mut head);
        head
    };
    let other_key = sent_at("m", now_s, b"another key of the same length..", "{}");
    let (old, future) = (
        sent_at("m", now_s - 400, KEY, "{}"),
        sent_at("m", now_s + 400, KEY, "{}"),
    );
    let dotted = sent("m.1", "{}");
    let long = "x".repeat(256);
    let many = format!("{0} {0} {0} {0} {0} {0} {0} {0} {0}", good.signature);
    let table: Vec<(&str, HookHead<'_>, &str)> = vec![
        ("another key", other_key.head(), "hook-refused"),
        (
            "too old",
            old.head(),
            "hook-timestamp the delivery's `webhook-timestamp` is 40",
        ),
        ("in the future", future.head(), "ahead of this host's clock"),
        (
            "no headers",
            HookHead::default(),
            "hook-header there is no signature",
        ),
        (
            "no id",
            with(|head| head.id = None),
            "`webhook-id` is missing",
        ),
        (
            "another id",
            with(|head| head.id = Some("n")),
            "hook-refused",
        ),
        ("an id with a dot", dotted.head(), "without spaces and dots"),
        (
            "a long id",
            HookHead {
                id: Some(&long),
                ..head
            },
            "hook-header",
        ),
        (
            "no time",
            with(|head| head.timestamp = None),
            "`webhook-timestamp` is missing",
        ),
        (
            "no number",
            with(|head| head.timestamp = Some("+1")),
            "not seconds since 1970",
        ),
        (
            "a huge time",
            with(|head| head.timestamp = Some("99999999999999999999")),
            "not seconds",
        ),
        (
            "an empty time",
            with(|head| head.timestamp = Some("")),
            "not seconds",
        ),
        (
            "no base64",
            with(|head| head.signature = Some("v1,?")),
            "hook-header",
        ),
        (
            "a short code",
            with(|head| head.signature = Some("v1,YWJj")),
            "32 bytes",
        ),
        (
            "no version",
            with(|head| head.signature = Some("v9,YWJj")),
            "begins with `v1,`",
        ),
        (
            "an empty one",
            with(|head| head.signature = Some("")),
            "begins with `v1,`",
        ),
        (
            "too many",
            HookHead {
                signature: Some(&many),
                ..head
            },
            "more than 8",
        ),
        (
            "two schemes",
            with(|head| head.github_signature = Some("sha256=00")),
            "give one",
        ),
    ];
    for (what, head, expect) in table {
        for name in ["paid", "nobody", "", "../paid"] {
            let refused = deliver(&host, name, head, &good.body).await;
            let refused = refused.expect_err(what);
            assert!(refused.contains(expect), "{what} for `{name}`: {refused}");
        }
    }
    // A name that does not exist answers like a wrong signature.
    let nobody = good.to(&host, "nobody").await.expect_err("nobody");
    let wrong = other_key.to(&host, "paid").await.expect_err("wrong");
    assert_eq!(nobody, wrong);
    let tampered = deliver(&host, "paid", head, &Bytes::from_static(b"{} ")).await;
    assert!(tampered.expect_err("tampered").contains("hook-refused"));
    let reused = sent("seen", "{ }").to(&host, "paid").await;
    assert!(reused.expect_err("reused").contains("hook-delivery-reused"));
    let text = sent("t", "no JSON").to(&host, "paid").await;
    assert!(text.expect_err("no JSON").contains("hook-body"));
    assert_eq!(runs(&host).await, 1, "the one that was taken");
    // They are put on record in the background.
    let noted = async {
        while host.audited("auth.refused").await.len() < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let noted = tokio::time::timeout(Duration::from_secs(60), noted).await;
    noted.expect("refusals are on record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_of_github_is_known_by_its_id_and_its_body() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let made = json!({ "scheme": "github", "secret": "It's a Secret to Everybody" });
    add(&host, made).await.expect("made");
    // Of GitHub's documentation.
    let known = hmac(b"It's a Secret to Everybody", b"Hello, World!");
    let hex = |mac: [u8; 32]| mac.map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(
        hex(known),
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
    let send = async |id: &'static str, body: &'static str, name: &str| {
        let mac = hmac(b"It's a Secret to Everybody", body.as_bytes());
        let signature = format!("sha256={}", hex(mac));
        let head = HookHead {
            github_id: Some(id),
            github_signature: Some(&signature),
            ..HookHead::default()
        };
        deliver(&host, name, head, &Bytes::from_static(body.as_bytes())).await
    };
    let first = send("a", r#"{"n":1}"#, "paid").await.expect("taken");
    for id in ["a", "b"] {
        let again = send(id, r#"{"n":1}"#, "paid").await.expect("known");
        assert_eq!(
            (again.run, again.replayed),
            (first.run.clone(), true),
            "{id}"
        );
    }
    let reused = send("a", r#"{"n":2}"#, "paid").await.expect_err("another");
    assert!(reused.contains("hook-delivery-reused"), "{reused}");
    send("c", r#"{"n":2}"#, "paid").await.expect("taken");
    assert_eq!(runs(&host).await, 2);
    // The other scheme is another hook's, whatever the key.
    let standard = sent_at("m", now_ms() / 1_000, b"It's a Secret to Everybody", "{}");
    let other = standard
        .to(&host, "paid")
        .await
        .expect_err("another scheme");
    assert!(other.contains("hook-refused"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_goes_to_the_run_that_is_named() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let wait = json!([{ "signal": { "name": "paid" } }]);
    let (fixed, named) = (host.start(wait.clone()).await, host.start(wait).await);
    let signal = json!({ "run": fixed, "name": "paid" });
    let made = json!({ "name": "fixed", "start": null, "signal": signal });
    add(&host, made).await.expect("made");
    let signal = json!({ "run_at": "/data/run", "agent": "prober", "name": "paid" });
    let made = json!({ "start": null, "signal": signal });
    add(&host, made).await.expect("made");

    let body = json!({ "data": { "run": named } }).to_string();
    for (id, body, name, run) in [("1", "[1]", "fixed", &fixed), ("1", &*body, "paid", &named)] {
        for replayed in [false, true] {
            let taken = sent(id, body).to(&host, name).await.expect("taken");
            assert_eq!((&taken.run, taken.replayed), (run, replayed));
        }
        let payload: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(host.results(run).await, json!([{ "ok": payload }]));
    }
    for (body, expect) in [
        (body.as_str(), "run-ended"),
        (
            r#"{"data":{}}"#,
            "hook-body the body has no run's id at `/data/run`",
        ),
        (r#"{"data":{"run":"run_none"}}"#, "run-not-found"),
    ] {
        // What failed may be sent again.
        for _ in 0..2 {
            let refused = sent("2", body).to(&host, "paid").await.expect_err(expect);
            assert!(refused.contains(expect), "{body}: {refused}");
        }
    }
}

/// The signer names the run, and reaches those of one agent alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_signals_no_run_of_another_agent() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    install(&host.runtime, "other", built("agent_prober")).await;
    let wait = json!([{ "signal": { "name": "paid" } }]);
    let (own, others) = (
        host.start(wait.clone()).await,
        host.start_with(wait, json!({ "agent": "other" })).await,
    );
    let signal = json!({ "run_at": "/run", "agent": "prober", "name": "paid" });
    add(&host, json!({ "start": null, "signal": signal }))
        .await
        .expect("made");
    host.until(&others, |run| run.waits_for.len() == 1).await;
    let before = host.run(&others).events;
    let deliver = async |run: &str| {
        let body = json!({ "run": run }).to_string();
        sent(run, &body).to(&host, "paid").await
    };
    let refused = deliver(&others).await.expect_err("not its agent's");
    assert!(refused.contains("run-not-found"), "{refused}");
    assert_eq!(host.run(&others).events, before, "nothing was written");
    deliver(&own).await.expect("taken");
    host.results(&own).await;
}

/// Wherever a write fails, a delivery that is sent until it is taken has one run.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_has_one_run_whatever_crashes() {
    for n in 0..6 {
        let (dir, disk) = place();
        let host = Host::with_agent(dir.path(), &disk, &[]).await;
        add(&host, json!({})).await.expect("made");
        host.runtime.take_up_runs().await.expect("looked after");
        let fault = match n % 2 {
            0 => Fault::Write { n: n / 2 },
            _ => Fault::Sync { n: n / 2 },
        };
        host.store.inject(fault);
        let first = sent("m", "{}").to(&host, "paid").await;
        assert_eq!(first.is_err(), n < 2, "{n}: {first:?}");
        drop(host);
        let host = Host::again(dir.path(), &disk).await;
        let again = sent("m", "{}").to(&host, "paid").await.expect("taken");
        assert_eq!(again.replayed, n > 0, "{n}");
        host.ended(&again.run).await;
        assert_eq!(runs(&host).await, 1, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_forgotten_when_its_time_is_over() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    add(&host, json!({})).await.expect("made");
    sent("m", "{}").to(&host, "paid").await.expect("taken");
    let runtime = &host.runtime;
    let day = 24 * 3_600_000;
    let pruned = runtime.prune_deliveries(now_ms() + day - 60_000).await;
    assert_eq!(pruned.expect("prunes"), 0);
    let pruned = runtime.prune_deliveries(now_ms() + day + 60_000).await;
    assert_eq!(pruned.expect("prunes"), 1);
    let again = sent("m", "{}").to(&host, "paid").await.expect("taken");
    assert!(!again.replayed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_rotated() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let shown = add(&host, json!({ "name": "made", "secret": null })).await;
    let shown = shown.expect("made").expect("shown");
    assert!(shown.starts_with("whsec_") && shown.len() == 50, "{shown}");
    add(&host, json!({})).await.expect("made");
    let listed = format!("{:?}", host.runtime.hooks(&host.who).expect("reads"));
    let audited = host.audited("admin.hook.add").await;
    for text in [listed, audited.concat()] {
        assert!(text.contains("paid"), "{text}");
        assert!(!text.contains("whsec_"), "{text}");
    }
    let rotate = async |keep_s: u64| {
        let request = json!({ "keep_s": keep_s });
        let request: RotateHook = serde_json::from_value(request).expect("a request");
        let rotated = host.runtime.rotate_hook(&host.who, "paid", request).await;
        rotated.map(|made| made.secret.expect("shown"))
    };
    rotate(3_600).await.expect("rotated");
    sent("1", "{}")
        .to(&host, "paid")
        .await
        .expect("it still holds");
    rotate(0).await.expect("rotated");
    let refused = sent("2", "{}").to(&host, "paid").await;
    assert!(refused.expect_err("over").contains("hook-refused"));
    assert!(rotate(700_000).await.is_err());
    host.runtime
        .remove_hook(&host.who, "paid")
        .await
        .expect("removed");
    let gone = host.runtime.remove_hook(&host.who, "paid").await;
    assert_eq!(gone.expect_err("gone").code(), "hook-not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_or_comes_too_fast_is_refused() {
    let (dir, disk) = place();
    let host = Host::with_agent(dir.path(), &disk, &[]).await;
    let signal = |members: Value| json!({ "start": null, "signal": members });
    let start = |input: Value| json!({ "start": { "agent": "prober", "input": input } });
    for (members, expect) in [
        (json!({ "name": "Paid" }), "bad-name"),
        (
            json!({ "secret": "short" }),
            "hook-invalid secret: `whsec_`",
        ),
        (
            json!({ "secret": "whsec_YWJj" }),
            "hook-invalid secret: `whsec_`",
        ),
        (
            json!({ "scheme": "github", "secret": "short" }),
            "16 to 256",
        ),
        (json!({ "scheme": "md5" }), "unknown variant `md5`"),
        (json!({ "rate_per_min": 0 }), "1 to 6000"),
        (json!({ "start": null }), "give either"),
        (start(json!({ "payload": 1 })), "its input's `payload`"),
        (json!({ "start": { "agent": "keeper" } }), "not-an-agent"),
        (
            signal(json!({ "name": "n" })),
            "give either `run` or `run_at`",
        ),
        (
            signal(json!({ "name": "n", "run_at": "data", "agent": "prober" })),
            "a JSON pointer",
        ),
        (
            signal(json!({ "name": "n", "run_at": "/r" })),
            "`run_at` needs `agent`",
        ),
        (
            signal(json!({ "name": "n", "run_at": "/r", "agent": "keeper" })),
            "not-an-agent",
        ),
        (
            signal(json!({ "name": "n", "run": "r", "agent": "prober" })),
            "`agent` belongs to `run_at`",
        ),
        (
            signal(json!({ "name": "n", "run": "r", "run_at": "/r" })),
            "give either",
        ),
        (signal(json!({ "name": "n", "run": "r" })), "run-not-found"),
        (
            signal(json!({ "name": "n", "run_at": "/r", "payload": 1 })),
            "its payload is",
        ),
    ] {
        let error = add(&host, members.clone()).await.expect_err(expect);
        assert!(error.contains(expect), "{members}: {error}");
    }
    add(&host, json!({ "rate_per_min": 2 }))
        .await
        .expect("made");
    assert!(
        add(&host, json!({}))
            .await
            .expect_err("twice")
            .contains("hook-exists")
    );
    for id in ["1", "2"] {
        sent(id, "{}").to(&host, "paid").await.expect("taken");
    }
    let fast = sent("3", "{}")
        .to(&host, "paid")
        .await
        .expect_err("too fast");
    assert!(fast.contains("rate-limited"), "{fast}");

    add(&host, json!({ "name": "other" })).await.expect("made");
    let halt = HaltRequest {
        halted: true,
        why: String::new(),
        ..HaltRequest::default()
    };
    host.runtime.halt(&host.who, halt).await.expect("halted");
    let halted = sent("4", "{}")
        .to(&host, "other")
        .await
        .expect_err("halted");
    assert!(halted.contains("not-ready"), "{halted}");
    assert_eq!(runs(&host).await, 2);
    let scoped = Principal {
        name: "bob".to_owned(),
        token_id: None,
        roles: [Role::Operator].into(),
        plugins: Some(["keeper".to_owned()].into()),
    };
    assert!(host.runtime.hooks(&scoped).expect("reads").is_empty());
}
