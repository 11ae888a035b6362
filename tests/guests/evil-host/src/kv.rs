//! Other buckets' data, and more data than a bucket may hold.

use airlock_sdk::kv::Bucket;
use wasip2::random::random::get_random_u64;

use super::*;

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Place {
    /// The bucket.
    bucket: String,
    /// The key.
    #[serde(default)]
    key: String,
    /// Bytes, or how often.
    #[serde(default)]
    amount: usize,
    /// The value.
    #[serde(default)]
    value: String,
}

/// Sets a key to `value`, or to `amount` bytes.
#[tool]
pub(crate) fn kv_set(input: Place) -> Result<Value, Error> {
    let value = if input.value.is_empty() {
        "x".repeat(input.amount)
    } else {
        input.value
    };
    let set = Bucket::open(&input.bucket).and_then(|b| b.set(&input.key, value.as_bytes()));
    Ok(outcome(set.map(|()| "set")))
}

/// Reads a key.
#[tool]
pub(crate) fn kv_get(input: Place) -> Result<Value, Error> {
    let got = Bucket::open(&input.bucket).and_then(|b| b.get(&input.key));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(outcome(got.map(|value| {
        value.map_or(Value::Null, |bytes| text(bytes).into())
    })))
}

/// Sets new keys, each to `amount` bytes, until that fails, and says after how
/// many and why.
#[tool]
pub(crate) fn kv_fill(input: Place) -> Result<Value, Error> {
    let bucket = Bucket::open(&input.bucket)?;
    let value = vec![b'x'; input.amount];
    let prefix = get_random_u64();
    let mut count = 0u64;
    loop {
        match bucket.set(&format!("{prefix:016x}{count:08}"), &value) {
            Ok(()) => count += 1,
            Err(error) => return Ok(json!({ "keys": count, "error": error.to_string() })),
        }
    }
}

/// Adds 1 to a key, `amount` times.
#[tool]
pub(crate) fn kv_increment(input: Place) -> Result<Value, Error> {
    let bucket = Bucket::open(&input.bucket)?;
    let mut sum = 0;
    for _ in 0..input.amount {
        sum = bucket.increment(&input.key, 1)?;
    }
    Ok(json!({ "sum": sum }))
}

/// Lists a bucket.
#[tool]
pub(crate) fn kv_list(input: Place) -> Result<Value, Error> {
    let listed = Bucket::open(&input.bucket).and_then(|b| b.list());
    Ok(outcome(listed.map(|keys| keys.len() as u64)))
}

/// Appends to a key by compare-and-swap, `amount` times.
#[tool]
pub(crate) fn kv_append(input: Place) -> Result<Value, Error> {
    let bucket = Bucket::open(&input.bucket)?;
    let append = |old: Option<Vec<u8>>| {
        let mut new = old.unwrap_or_default();
        new.extend_from_slice(input.value.as_bytes());
        Ok(new)
    };
    for _ in 0..input.amount {
        while let Err(error) = bucket.update(&input.key, append) {
            let Error::Transient { .. } = error else {
                return Err(error);
            };
        }
    }
    Ok(json!({}))
}

/// Reads a configuration value, and all of them.
#[tool]
pub(crate) fn settings(input: Place) -> Result<Value, Error> {
    let all = airlock_sdk::config::all();
    Ok(json!({
        "one": outcome(airlock_sdk::config::get(&input.key).map(Value::from)),
        "all": outcome(all.map(|pairs| json!(pairs))),
    }))
}
