//! Usage, statistics, recent calls.

use airlock_runtime::CallsQuery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

/// Whose usage.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageQuery {
    /// Of this plugin; absent: of all.
    #[serde(default)]
    plugin: Option<String>,
}

/// What a rebuild read.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Rebuilt {
    /// Audit records.
    records: u64,
}

pub(crate) async fn calls(call: Call) -> Result<Reply, Refusal> {
    let query: CallsQuery = call.query()?;
    Reply::json(&call.runtime().calls(&call.who, query).await?)
}

pub(crate) async fn usage(call: Call) -> Result<Reply, Refusal> {
    let query: UsageQuery = call.query()?;
    let usage = call.runtime().usage(&call.who, query.plugin).await?;
    Reply::json(&json!({ "usage": usage }))
}

pub(crate) async fn stats(call: Call) -> Result<Reply, Refusal> {
    let stats = call.runtime().call_stats(&call.who).await?;
    Reply::json(&json!({ "stats": stats }))
}

pub(crate) async fn rebuild(call: Call) -> Result<Reply, Refusal> {
    let records = call.runtime().rebuild_views().await?;
    Reply::json(&Rebuilt { records })
}
