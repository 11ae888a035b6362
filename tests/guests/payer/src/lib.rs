//! Tells an external ledger each time that it does something: for tests of what is
//! repeated after a crash.

use airlock_sdk::http;
use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Entry {
    /// The ledger's address, with what is told.
    url: String,
}

/// Tells the ledger under the call's idempotency key.
fn tell(entry: &Entry, context: &Context) -> Result<Value, Error> {
    let key = context.idempotency_key.as_deref().unwrap_or("none");
    let request = http::post(&entry.url).header("idempotency-key", key);
    let reply = request.send()?.error_for_status()?;
    Ok(json!({ "told": reply.text()? }))
}

/// Tells it what may be told again under the same key.
#[tool(idempotent, open_world)]
fn book(input: Entry, context: &Context) -> Result<Value, Error> {
    tell(&input, context)
}

/// Tells it what may not.
#[tool(open_world)]
fn pay(input: Entry, context: &Context) -> Result<Value, Error> {
    tell(&input, context)
}

plugin! { tools: [book, pay], wants: [] }
