//! `refund` against a payments service that keeps its own books, while the server
//! is killed at random moments. `AIRLOCK_KILL_ROUNDS` sets how often.

use std::time::{Duration, Instant, SystemTime};

use airlock::client::Request;
use airlock_tests::ledger::Ledger;
use airlock_tests::runs::{Desk, PATIENCE};
use serde_json::{Value, json};

use crate::{add, apply, serve, server};

/// Runs that are started before each kill.
const RUNS: usize = 9;

/// The longest wait before a kill.
const KILL_WITHIN_MS: u32 = 500;

const KEY: &str = "key-of-the-payments-service";

/// One run and what its order's books must say in the end.
struct Asked {
    run: String,
    order: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Within,
    Above,
    Outside,
}

fn rounds() -> usize {
    let set = std::env::var("AIRLOCK_KILL_ROUNDS").ok();
    let set: Option<usize> = set.and_then(|text| text.parse().ok());
    // The second kill loses an answer.
    set.unwrap_or(5).max(2)
}

fn policy(service: &str) -> String {
    format!(
        r#"[plugins.payments.grants]
config = [{{ key = "api", value = "{service}/v1" }}]
http = [
  {{ url = "{service}/v1/orders/*", methods = ["GET"], secret = "payments-key", allow_private = true }},
  {{ url = "{service}/v1/refunds", methods = ["POST"], secret = "payments-key", allow_private = true }},
]
effects = {{ order = "read-only", refund = "idempotent" }}

[plugins.refund.grants]
tools = [{{ tool = "payments/order" }}, {{ tool = "payments/refund" }}]
"#
    )
}

fn start(desk: &Desk, ledger: &Ledger, number: usize) -> Asked {
    let (kind, amount) = match number % 3 {
        0 => (Kind::Within, 900),
        1 => (Kind::Above, 1_100),
        _ => (Kind::Outside, 5_100),
    };
    let order = format!("O-{number}");
    ledger.order(&order, "ada", 9_000, 1);
    let input = json!({
        "request": { "id": format!("T-{number}"), "customer": "ada", "order": order,
            "amount": amount, "text": "It is broken." },
        "policy": { "days": 30, "ask_above": 1_000, "never_above": 5_000 },
    });
    let run = desk.start("refund", &input).expect("started");
    Asked { run, order, kind }
}

/// Approves whatever waits; somebody may have been faster, a crash too.
fn approve(desk: &Desk) {
    let list = desk.approver.get("/v1/approvals").expect("a list");
    for question in list["approvals"].as_array().expect("a list") {
        let _ = desk.decide(question, "refund");
    }
}

/// Waits for a random time; what it was, for the record.
fn wait() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let wait = now.expect("a time").subsec_micros() % KILL_WITHIN_MS;
    let wait = Duration::from_millis(wait.into());
    std::thread::sleep(wait);
    wait
}

/// Waits until a refund is booked whose answer is held back.
fn lose_an_answer(desk: &Desk, ledger: &Ledger) {
    ledger.hold(true);
    let (before, begun) = (ledger.booked(), Instant::now());
    while ledger.booked() == before {
        approve(desk);
        assert!(begun.elapsed() < PATIENCE, "nothing is refunded");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_request_is_refunded_exactly_once_whatever_dies() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ledger = Ledger::new(Duration::from_millis(15));
    let service = serve(&runtime, ledger.router(KEY));
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut server_now = server(&data);
    let api = server_now.api();
    add(&api, &["payments", "refund"]);
    let secret = "/v1/secrets/payments-key";
    let secret = Request::bytes("PUT", secret, "application/octet-stream", KEY.into());
    api.ok(&secret).expect("kept");
    apply(&api, &policy(&service));
    let mut desk = Desk::new(&server_now).expect("an approver");

    let mut asked: Vec<Asked> = Vec::new();
    for round in 0..rounds() {
        asked.extend((0..RUNS).map(|number| start(&desk, &ledger, round * RUNS + number)));
        if round % 2 == 0 {
            let waited = wait();
            approve(&desk);
            println!("killed {waited:?} and {:?} after the start", wait());
        } else {
            // At the worst moment: it has happened, and nobody was told.
            lose_an_answer(&desk, &ledger);
        }
        server_now.kill().expect("killed");
        ledger.hold(false);
        server_now = server(&data);
        desk = Desk::over(&server_now, &desk.token);
    }
    let mut counted = [0; 3];
    for asked in &asked {
        settle(&desk, &ledger, asked);
        counted[asked.kind as usize] += 1;
    }
    assert!(
        counted.iter().all(|&count| count >= rounds()),
        "{counted:?}"
    );
    println!(
        "{} refunds, asked for {} times",
        ledger.booked(),
        ledger.asked()
    );
    assert_eq!(ledger.booked(), counted[0] + counted[1]);
    assert!(ledger.asked() > ledger.booked(), "no answer was lost");
    let report = Request::json("POST", "/v1/audit/verify", &json!({}));
    let report: Value = desk.api.value(&report).expect("verify");
    assert_eq!(report["ok"], true, "{report}");
}

/// Sees the run to its end, which must be the one that the books know.
fn settle(desk: &Desk, ledger: &Ledger, asked: &Asked) {
    if asked.kind == Kind::Above {
        let questions = desk.until(&asked.run, |run| {
            approve(desk);
            Ok(run.get("end").map(drop))
        });
        questions.expect("decided and ended");
    }
    let end = desk.end(&asked.run).expect("an end");
    let refunds = ledger.refunds(&asked.order);
    if asked.kind == Kind::Outside {
        assert_eq!(end["state"], "escalated", "{end}");
        assert!(refunds.is_empty(), "{refunds:?}");
        return;
    }
    assert_eq!(end["state"], "succeeded", "{:?}: {end}", asked.kind);
    let output: Value =
        serde_json::from_str(end["output"].as_str().expect("output")).expect("JSON");
    assert_eq!(refunds.len(), 1, "{}: {refunds:?}", asked.order);
    assert_eq!(output["refund"], refunds[0]["id"], "{output}");
    assert_eq!(output["amount"], refunds[0]["amount"], "{output}");
}
