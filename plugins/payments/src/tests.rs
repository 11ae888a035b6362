use airlock_sdk::Error;
use airlock_sdk::http::{Method, Request, Response};
use airlock_sdk::testing::{Host, context, placeholder_of};
use serde_json::{Value, json};

use super::PLUGIN;

fn service(request: &Request) -> Result<Response, Error> {
    let header = |name: &str| {
        let mut headers = request.headers.iter();
        headers
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.clone())
    };
    assert_eq!(
        header("authorization"),
        Some(format!("Bearer {}", placeholder_of("payments-key")))
    );
    let order = json!({ "id": "O-1", "customer": "ada", "currency": "EUR", "paid": 500, "refunded": 0, "paid_at": 1 });
    let of = |value: &Value| Response::new(200).with_body(value.to_string());
    Ok(match (request.method, &*request.url) {
        (Method::Get, "https://pay.test/v1/orders/O-1") => of(&order),
        (Method::Get, "https://pay.test/v1/orders/O-2") => of(&order),
        (Method::Get, _) => Response::new(404),
        (Method::Post, "https://pay.test/v1/refunds") => {
            assert_eq!(header("idempotency-key").as_deref(), Some("key-7"));
            let asked: Value = serde_json::from_slice(&request.body).expect("JSON");
            let refund = |amount: u64| {
                of(
                    &json!({ "id": "R-1", "order": asked["order"], "amount": amount, "currency": "EUR" }),
                )
            };
            match asked["amount"].as_u64() {
                Some(501..) => Response::new(422).with_body("more than was paid"),
                Some(7) => refund(8),
                Some(9) => Response::new(503),
                Some(11) => Response::new(200).with_body("thanks"),
                amount => refund(amount.unwrap_or_default()),
            }
        }
        _ => panic!("{request:?}"),
    })
}

fn call(tool: &str, input: Value, key: Option<&str>) -> Result<Value, Error> {
    let mut context = context();
    context.idempotency_key = key.map(str::to_owned);
    let host = Host::new()
        .config("api", "https://pay.test/v1/")
        .secret("payments-key")
        .http(service);
    let output = host.run(|| PLUGIN.call(tool, &input.to_string(), &context))?;
    Ok(serde_json::from_str(&output).expect("JSON"))
}

fn refund(order: &str, amount: u64) -> Value {
    json!({ "order": order, "amount": amount, "currency": "EUR", "reason": "broken" })
}

#[test]
fn an_order_is_looked_up() {
    assert_eq!(
        call("order", json!({ "id": "O-1" }), None).unwrap()["paid"],
        500
    );
    for (id, code) in [
        ("O-2", "permanent"),
        ("O-3", "not-found"),
        ("../refunds", "invalid-input"),
        ("O-1?x", "invalid-input"),
        ("", "invalid-input"),
    ] {
        let error = call("order", json!({ "id": id }), None).unwrap_err();
        assert_eq!(error.code(), code, "{id:?}: {error}");
    }
}

#[test]
fn a_refund_carries_the_key_of_its_call() {
    let made = call("refund", refund("O-1", 500), Some("key-7")).unwrap();
    assert_eq!((&made["id"], &made["amount"]), (&json!("R-1"), &json!(500)));
    for (input, key, code) in [
        (refund("O-1", 500), None, "invalid-input"),
        (refund("O-1", 0), Some("key-7"), "invalid-input"),
        (refund("O/1", 1), Some("key-7"), "invalid-input"),
        (refund("O-1", 501), Some("key-7"), "permanent"),
        (refund("O-1", 7), Some("key-7"), "unknown"),
        (refund("O-1", 9), Some("key-7"), "transient"),
        (refund("O-1", 11), Some("key-7"), "unknown"),
    ] {
        let error = call("refund", input.clone(), key).unwrap_err();
        assert_eq!(error.code(), code, "{input}: {error}");
    }
}

#[test]
fn without_an_address_or_a_key_nothing_is_sent() {
    let input = json!({ "id": "O-1" }).to_string();
    let no_address = Host::new().secret("payments-key").http(service);
    let error = no_address
        .run(|| PLUGIN.call("order", &input, &context()))
        .unwrap_err();
    assert_eq!(error.code(), "denied", "{error}");
    let no_key = Host::new()
        .config("api", "https://pay.test/v1")
        .http(service);
    let error = no_key
        .run(|| PLUGIN.call("order", &input, &context()))
        .unwrap_err();
    assert_eq!(error.code(), "denied", "{error}");
}
