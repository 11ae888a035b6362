//! Keeps what it is told in kv: for tests of what survives a crash.

use airlock_sdk::kv::Bucket;
use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Put {
    /// The key.
    key: String,
    /// The value.
    value: String,
}

#[derive(Deserialize, JsonSchema)]
struct Get {
    /// The key.
    key: String,
}

/// Sets a key and counts how often that was done.
#[tool(idempotent)]
fn put(input: Put) -> Result<Value, Error> {
    let bucket = Bucket::open("kept")?;
    bucket.set(&input.key, input.value.as_bytes())?;
    let count = bucket.increment("count", 1)?;
    Ok(json!({ "count": count }))
}

/// Reads a key.
#[tool(read_only)]
fn get(input: Get) -> Result<Value, Error> {
    let value = Bucket::open("kept")?.get(&input.key)?;
    Ok(json!({ "value": value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) }))
}

#[derive(Deserialize, JsonSchema)]
struct Add {
    /// Counts what has this name apart, under `added.NAME`.
    #[serde(default)]
    name: Option<String>,
}

/// Counts one up.
#[tool]
fn add(input: Add) -> Result<Value, Error> {
    let key = match input.name {
        Some(name) => format!("added.{name}"),
        None => "added".to_owned(),
    };
    Ok(json!({ "count": Bucket::open("kept")?.increment(&key, 1)? }))
}

#[derive(Deserialize, JsonSchema)]
struct Fail {
    /// `transient`, `unknown` or else.
    code: String,
}

/// Fails, and counts how often.
#[tool]
fn fail(input: Fail) -> Result<Value, Error> {
    Bucket::open("kept")?.increment("failed", 1)?;
    Err(match input.code.as_str() {
        "transient" => Error::Transient {
            message: "not now".to_owned(),
            retry_after: None,
        },
        "unknown" => Error::Unknown("who knows".to_owned()),
        _ => Error::Permanent("never".to_owned()),
    })
}

#[derive(Deserialize, JsonSchema)]
struct Documents {
    /// What the memory is asked.
    request: Value,
}

/// Asks the memory.
#[tool]
fn documents(input: Documents) -> Result<Value, Error> {
    airlock_sdk::memory::ask(&input.request)
}

plugin! { tools: [put, get, add, fail, documents], wants: [] }
