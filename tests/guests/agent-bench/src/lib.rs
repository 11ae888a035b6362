//! An agent that does steps that do nothing, one after the other, and may wait
//! then: for benchmarks of runs.
#![cfg(target_family = "wasm")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use airlock_sdk::agent::{self, Chat, Outcome};
use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Input {
    /// Recorded values: steps without a sandbox, each durable before the next.
    records: u64,
    /// Calls of `echo/echo`, one after the other.
    calls: u64,
    /// Requests to the models of `fast`, one after the other, each a conversation.
    chats: u64,
    /// What they are asked.
    question: String,
    /// Then it waits until this moment, milliseconds since 1970.
    until_ms: Option<u64>,
    /// Then it waits for this signal.
    signal: Option<String>,
}

async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
    for step in 0..input.records {
        agent::record(&step).await?;
    }
    for step in 0..input.calls {
        agent::call::<Value>("echo/echo", &json!({ "step": step })).await?;
    }
    for _ in 0..input.chats {
        let mut chat = Chat::new("fast");
        chat.user(&input.question);
        chat.ask().await?;
    }
    if let Some(until_ms) = input.until_ms {
        agent::sleep(Duration::from_millis(until_ms.saturating_sub(now_ms()))).await?;
    }
    if let Some(signal) = &input.signal {
        agent::signal::<Value>(signal).await?;
    }
    Outcome::done(&json!({ "steps": input.records + input.calls + input.chats }))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

airlock_sdk::agent! {
    description: "Does steps that do nothing.",
    input: Input,
    run: run,
}
