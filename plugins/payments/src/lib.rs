//! Looks up orders and refunds them over the HTTP API of a payments service.
//! Where that is, and with which key, is the administrator's to say.
//!
//! What must stay true: a refund is asked for under the idempotency key of its
//! call, equal for all its attempts, and never without one.

use airlock_sdk::prelude::*;
use airlock_sdk::{config, http, secrets};

/// The configuration value that holds the API's address.
const API: &str = "api";

/// The secret that is sent as the bearer token.
const KEY: &str = "payments-key";

const ID_BYTES_MAX: usize = 64;
const REASON_BYTES_MAX: usize = 1_024;
const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// Which order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// The order's id: letters, digits, `-` and `_`, at most 64.
    id: String,
}

/// An order.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub struct Order {
    /// Its id.
    id: String,
    /// Whose it is.
    customer: String,
    /// ISO 4217.
    currency: String,
    /// What was paid, in the currency's minor units.
    paid: u64,
    /// What was refunded already, in minor units.
    refunded: u64,
    /// When it was paid, seconds since 1970.
    paid_at: u64,
}

/// What to refund.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    /// The order's id: letters, digits, `-` and `_`, at most 64.
    order: String,
    /// How much, in the currency's minor units, at least 1.
    amount: u64,
    /// ISO 4217; the order's own.
    currency: String,
    /// For the books, at most 1 KiB.
    reason: String,
}

/// A refund that was made.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub struct Refunded {
    /// The refund's id.
    id: String,
    /// The order's.
    order: String,
    /// How much, in minor units.
    amount: u64,
    /// ISO 4217.
    currency: String,
}

/// Looks up an order: whose it is, what was paid and what was refunded already.
#[tool(read_only, open_world, title = "Look up an order")]
fn order(input: Lookup) -> Result<Order, Error> {
    let id = plain("id", &input.id)?;
    let url = format!("{}/orders/{id}", api()?);
    let reply = authorized(http::get(url))?.send()?;
    let found: Order = reply.error_for_status()?.json()?;
    if found.id != input.id || found.refunded > found.paid {
        return Err(Error::permanent(format!(
            "the service's answer about `{id}` does not hold together"
        )));
    }
    Ok(found)
}

/// Refunds an order, in part or whole. The service gets the call's idempotency
/// key, so that however often the call is attempted, it is one refund.
#[tool(idempotent, open_world, title = "Refund an order")]
fn refund(input: Refund, context: &Context) -> Result<Refunded, Error> {
    plain("order", &input.order)?;
    if input.amount == 0 {
        return Err(Error::invalid_input("amount: must be at least 1"));
    }
    if input.reason.len() > REASON_BYTES_MAX {
        return Err(Error::invalid_input("reason: must be at most 1 KiB"));
    }
    let Some(key) = &context.idempotency_key else {
        return Err(Error::invalid_input(
            "a refund is made under an Idempotency-Key alone, or it could be made twice",
        ));
    };
    let request = http::post(format!("{}/refunds", api()?)).json(&input)?;
    let reply = authorized(request.header("idempotency-key", key))?.send()?;
    let refunded: Refunded = match reply.status {
        409 | 422 => {
            let why = String::from_utf8_lossy(&reply.body);
            let why: String = why.chars().take(500).collect();
            return Err(Error::permanent(format!("the service refuses: {why}")));
        }
        // It said yes, in words that can't be read.
        _ => reply
            .error_for_status()?
            .json()
            .map_err(|error: Error| Error::unknown(error.to_string()))?,
    };
    if refunded.order != input.order || refunded.amount != input.amount {
        return Err(Error::unknown(format!(
            "the service says it refunded {} of `{}`, which is not what was asked",
            refunded.amount, refunded.order
        )));
    }
    Ok(refunded)
}

fn api() -> Result<String, Error> {
    // Without any rule of `config` there is an error, without this one no value.
    let api = config::get(API).ok().flatten().ok_or_else(|| {
        let needed = "config = [{ key = \"api\", value = \"https://…\" }]";
        Error::denied("config", "get api", needed)
    })?;
    Ok(api.trim_end_matches('/').to_owned())
}

fn authorized(request: http::Request) -> Result<http::Request, Error> {
    let key = secrets::placeholder(KEY)?;
    Ok(request
        .header("authorization", format!("Bearer {key}"))
        .header("accept", "application/json")
        .max_bytes(RESPONSE_BYTES_MAX))
}

/// An id comes from a customer's message: it is one name, or no id.
fn plain<'a>(field: &str, id: &'a str) -> Result<&'a str, Error> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fits = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain);
    fits.then_some(id).ok_or_else(|| {
        Error::invalid_input(format!("{field}: letters, digits, `-` and `_`, at most 64"))
    })
}

plugin! {
    tools: [order, refund],
    wants: [
        want!(config, r#"{ key = "api", value = "https://example.com/v1" }"#, "To know where the payments service is."),
        want!(http, r#"{ url = "https://example.com/v1/orders/*", methods = ["GET"], secret = "payments-key" }"#, "To look up orders."),
        want!(http, r#"{ url = "https://example.com/v1/refunds", methods = ["POST"], secret = "payments-key" }"#, "To refund them. Without it, orders can be looked up alone.", optional),
    ],
}

#[cfg(test)]
mod tests;
