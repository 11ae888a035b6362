//! Asks the host's smaller interfaces (log, clocks, random, environment, sockets,
//! kv, config) for what they must not give, one tool per way, through the raw
//! imports where a standard library would be polite.

mod kv;
mod logs;
mod probes;
mod time;

use std::fmt::Display;

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};

use kv::*;
use logs::*;
use probes::*;
use time::*;

/// How much of it.
#[derive(Deserialize, JsonSchema)]
struct Amount {
    /// In the tool's own unit.
    #[serde(default)]
    amount: u64,
}

impl Amount {
    fn count(&self) -> usize {
        usize::try_from(self.amount).unwrap_or(usize::MAX)
    }
}

/// What became of an attempt, as data: that it failed is no error of the tool.
fn outcome<T: Into<Value>, E: Display>(result: Result<T, E>) -> Value {
    match result {
        Ok(data) => json!({ "ok": data.into() }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

plugin! {
    tools: [
        log_lines, log_control, log_long, log_records, progress_flood,
        sleep_for, sleep_until, pollables, poll_list, streams, clocks,
        random_bytes, insecure_bytes, random_many,
        environment, stdin, terminals, sockets, exit,
        kv_set, kv_get, kv_fill, kv_increment, kv_list, kv_append, settings,
    ],
    wants: []
}
