//! The host around the guest: environment, randomness, log, handles, kv.

use std::collections::BTreeMap;
use std::fs;

use airlock_sdk::kv::Bucket;
use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};
use airlock_sdk::{log, progress};

use crate::outcome;

#[derive(Deserialize, JsonSchema)]
pub struct Amount {
    /// How much, in the tool's own unit.
    amount: u64,
}

#[derive(Deserialize, JsonSchema)]
pub struct Nothing {}

#[derive(Deserialize, JsonSchema)]
pub struct Entry {
    /// The bucket.
    bucket: String,
    /// The key.
    key: String,
    /// Bytes to write.
    #[serde(default)]
    bytes: u64,
}

/// Tells the whole environment.
#[tool]
pub fn environment(_input: Nothing) -> Result<Value, Error> {
    let vars: BTreeMap<String, String> = std::env::vars().collect();
    let folder = std::env::current_dir()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    Ok(json!({ "vars": vars, "folder": folder }))
}

/// Tells the arguments.
#[tool]
pub fn arguments(_input: Nothing) -> Result<Value, Error> {
    Ok(json!({ "arguments": std::env::args().collect::<Vec<_>>() }))
}

/// Asks for `amount` bytes of randomness at once.
#[tool]
pub fn random(input: Amount) -> Result<Value, Error> {
    let mut bytes = vec![0u8; usize::try_from(input.amount).unwrap_or(usize::MAX)];
    outcome(getrandom::fill(&mut bytes).map(|()| bytes.len()))
}

/// Writes `amount` bytes to standard output, standard error and the log, with
/// control characters and forged lines.
#[tool]
pub fn flood_log(input: Amount) -> Result<Value, Error> {
    let line = "\u{1b}[2J\u{1b}[31mERROR forged\r\nlevel=error msg=forged\u{0}\u{8}";
    let mut written = 0u64;
    while written < input.amount {
        println!("{line}");
        eprintln!("{line}");
        log::info(line, &[]);
        written += 3 * line.len() as u64;
    }
    Ok(json!({ "written": written }))
}

/// Reports progress `amount` times.
#[tool]
pub fn flood_progress(input: Amount) -> Result<Value, Error> {
    for number in 0..input.amount {
        progress(number as f64, None, "still at it");
    }
    Ok(json!({ "reported": input.amount }))
}

/// Opens `amount` files and keeps them open.
#[tool]
pub fn handles(input: Amount) -> Result<Value, Error> {
    let mut held = Vec::new();
    for number in 0..input.amount {
        match fs::File::open("/ro/readable.txt") {
            Ok(file) => held.push(file),
            Err(error) => {
                return Ok(json!({ "ok": false, "opened": number, "error": error.to_string() }));
            }
        }
    }
    Ok(json!({ "ok": true, "opened": held.len() }))
}

/// Reads a key of a bucket.
#[tool]
pub fn kv_get(input: Entry) -> Result<Value, Error> {
    let read = Bucket::open(&input.bucket).and_then(|bucket| bucket.get(&input.key));
    outcome(read.map(|value| json!(value.map(|bytes| bytes.len()))))
}

/// Writes a key of a bucket.
#[tool]
pub fn kv_put(input: Entry) -> Result<Value, Error> {
    let value = vec![b'x'; usize::try_from(input.bytes).unwrap_or(usize::MAX)];
    outcome(
        Bucket::open(&input.bucket)
            .and_then(|bucket| bucket.set(&input.key, &value))
            .map(|()| true),
    )
}
