//! Plugins that ask services on the network.

use serde_json::{Value, json};

use crate::stage::{Stage, bad, contracts, good};
use crate::{len, show};

#[test]
fn fetch() {
    let stage = Stage::new("fetch");
    let url = format!("{}/v1/contracts", stage.service);
    let with_key = |more: Value| {
        let mut input = json!({ "url": url, "secret_headers": { "x-api-key": "contracts-key" } });
        let input_object = input.as_object_mut().expect("an object");
        input_object.extend(more.as_object().expect("an object").clone());
        input
    };
    stage.denied("get", &json!({ "url": url }), "http");
    let without_secret = stage
        .least_grants()
        .replace(", secret = \"contracts-key\"", "");
    stage.apply(&without_secret);
    stage.denied("get", &with_key(json!({})), "secrets");

    let count = len(&contracts());
    let cases = [
        good("get", with_key(json!({})), move |out| {
            count > 0 && out["status"] == 200 && out["json"] == contracts()
        }),
        good(
            "get",
            with_key(json!({ "format": "text", "max_bytes": 100, "query": { "year": "2026" } })),
            |out| {
                let text = out["content"].as_str().unwrap_or_default();
                out["cut"] == true && text.len() == 100 && text.starts_with('[')
            },
        ),
        bad(
            "get",
            json!({ "url": "ftp://a.test/" }),
            "invalid-input",
            "`ftp:`",
        ),
        bad("get", json!({ "url": url }), "permanent", "401"),
    ];
    show(&stage, &cases);
    let elsewhere = format!("{}/v1/others", stage.service);
    stage.denied("get", &json!({ "url": elsewhere }), "http");
}

#[test]
fn submit() {
    let stage = Stage::new("submit");
    let url = format!("{}/v1/articles", stage.service);
    let of = |url: &str| json!({ "url": url, "json": { "title": "One" } });
    stage.denied("send", &of(&url), "http");
    let cases = [
        good("send", of(&url), |out| {
            out["status"] == 201 && out["json"]["title"] == "One"
        })
        .under("k-1"),
        good("send", of(&url), |out| out["status"] == 201),
        bad("send", json!({ "url": url }), "invalid-input", "json"),
        bad("send", of("ftp://a.test/"), "invalid-input", "ftp"),
    ];
    show(&stage, &cases);
    let mut put = of(&url);
    put["method"] = json!("PUT");
    stage.denied("send", &put, "http");
    let elsewhere = format!("{}/v1/refunds", stage.service);
    stage.denied("send", &of(&elsewhere), "http");
}

#[test]
fn payments() {
    let stage = Stage::new("payments");
    stage.denied("order", &json!({ "id": "O-1" }), "config");
    let all = stage.least_grants();
    let looking: Vec<&str> = all.lines().filter(|line| !line.contains("POST")).collect();
    stage.apply(&looking.join("\n"));
    for order in ["O-1", "O-2"] {
        stage.ledger.order(order, "ada", 500, 3);
    }
    let of = |order: &str, amount: u64| json!({ "order": order, "amount": amount, "currency": "EUR", "reason": "T-1" });
    stage.check(&[bad("refund", of("O-1", 5), "denied", "POST").under("k-0")]);
    let cases = [
        good("order", json!({ "id": "O-1" }), |out| {
            out["paid"] == 500 && out["refunded"] == 0
        }),
        bad("order", json!({ "id": "O-9" }), "not-found", "404"),
        bad(
            "order",
            json!({ "id": "../refunds" }),
            "invalid-input",
            "letters",
        ),
        good("refund", of("O-1", 500), |out| out["amount"] == 500).under("k-1"),
        good("refund", of("O-1", 500), |out| out["amount"] == 500).under("k-1"),
        good("order", json!({ "id": "O-1" }), |out| {
            out["refunded"] == 500
        }),
        bad("refund", of("O-1", 1), "permanent", "more than was paid").under("k-2"),
        bad("refund", of("O-2", 1), "invalid-input", "Idempotency-Key"),
        bad("refund", of("O-2", 0), "invalid-input", "amount").under("k-3"),
    ];
    show(&stage, &cases);
    assert_eq!(
        (
            stage.ledger.refunds("O-1").len(),
            stage.ledger.refunds("O-2").len()
        ),
        (1, 0)
    );
}

#[test]
fn advisories() {
    let stage = Stage::new("advisories");
    let feed = format!("{}/advisories.jsonl", stage.service);
    let of = |feed: &str, lock: &str| json!({ "feed": feed, "lock": lock });
    stage.denied("check", &of(&feed, "/project/Cargo.lock"), "files");
    let all = stage.least_grants();
    let reading: Vec<&str> = all.lines().filter(|line| !line.contains("url")).collect();
    stage.apply(&reading.join("\n"));
    stage.denied("check", &of(&feed, "/project/Cargo.lock"), "http");
    let mut unmaintained = of(&feed, "/project/Cargo.lock");
    unmaintained["informational"] = json!(true);
    let ids = |out: &Value| -> Vec<String> {
        let findings = out["findings"].as_array().into_iter().flatten();
        findings
            .map(|finding| finding["id"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let cases = [
        good("check", of(&feed, "/project/Cargo.lock"), move |out| {
            let worst = &out["findings"][0];
            ids(out) == ["T-2", "T-1"] && worst["score"] == 9.8 && worst["severity"] == "critical"
        }),
        good("check", unmaintained, |out| {
            len(&out["findings"]) == 3 && out["advisories"] == 4 && out["packages"] == 2
        }),
        bad(
            "check",
            of(&feed, "/project/none.lock"),
            "not-found",
            "none.lock",
        ),
        bad(
            "check",
            of(&feed, "/project/notes.txt"),
            "invalid-input",
            "notes.txt",
        ),
    ];
    show(&stage, &cases);
}
