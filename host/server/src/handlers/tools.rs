//! Listing and calling tools.

use std::time::Duration;

use airlock_runtime::{ToolCall, ToolView};
use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dispatch::{Call, IDEMPOTENCY_KEY};
use crate::handlers::events;
use crate::reply::{Refusal, Reply};

/// Milliseconds that a call may take, waiting included.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("airlock-timeout-ms");

/// Tools.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ToolList {
    tools: Vec<ToolView>,
}

/// What a tool replied; made by the runtime, here for the document.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes a reply that is made elsewhere")]
pub(crate) struct CallReply {
    /// Names the call in the audit.
    call_id: String,
    /// The tool's output.
    output: Value,
    /// What the call used: `wall_us`, `cpu_us`, `peak_memory_bytes`,
    /// `capabilities` (each with `capability`, `rule`, `allowed`, `denied`,
    /// `bytes_in`, `bytes_out`).
    usage: Value,
    /// Operations that no grant allowed: `capability`, `operation`, `rule`.
    denials: Option<Vec<Value>>,
    /// With `log=true`: what the tool wrote, in its order, within the plugin's
    /// `log` limit: `at_us` since the call began, `level` (`stdout`, `stderr`,
    /// `trace` to `error`), `message`, `fields`.
    log: Option<Vec<Value>>,
}

/// What the reply is to have.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallQuery {
    /// Whether what the tool wrote to stdout, stderr and its log comes with the
    /// reply, or with the problem; false unless given.
    #[serde(default)]
    log: bool,
}

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    let tools = call.runtime().tools(&call.who);
    Reply::json(&ToolList { tools })
}

pub(crate) async fn call(call: Call) -> Result<Reply, Refusal> {
    let timeout = match call.header(&TIMEOUT)? {
        None => None,
        Some(text) => Some(milliseconds(text)?),
    };
    let query: CallQuery = call.query()?;
    let tool_call = ToolCall {
        log: query.log,
        plugin: call.param("plugin").to_owned(),
        tool: call.param("tool").to_owned(),
        idempotency_key: call.header(&IDEMPOTENCY_KEY)?.map(str::to_owned),
        timeout,
        input: call.body.clone(),
        stage: None,
    };
    if events::wanted(&call) {
        return events::answer(call, tool_call).await;
    }
    let reply = call.runtime().call(&call.who, tool_call).await?;
    Ok(reply.into())
}

fn milliseconds(text: &str) -> Result<Duration, Refusal> {
    match text.parse::<u64>() {
        Ok(ms @ 1..=86_400_000) => Ok(Duration::from_millis(ms)),
        _ => Err(Refusal::new(
            400,
            "bad-header",
            format!("`{TIMEOUT}` is 1 to 86400000"),
        )),
    }
}
