//! Grants of one plugin.

use airlock_runtime::{ExplainRequest, GrantsUpdate, RollbackRequest};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::dispatch::Call;
use crate::handlers::plugins::WhyQuery;
use crate::reply::{Refusal, Reply};

/// Which part of the history.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    /// Versions before this one; absent: from the newest.
    #[serde(default)]
    before: Option<u64>,
    /// At most 100; 20 unless given.
    #[serde(default)]
    limit: Option<usize>,
}

pub(crate) async fn capabilities(_: Call) -> Result<Reply, Refusal> {
    Reply::json(&airlock_runtime::capabilities())
}

pub(crate) async fn show(call: Call) -> Result<Reply, Refusal> {
    let grants = call.runtime().grants(&call.who, call.param("plugin"))?;
    Reply::json(&grants)
}

pub(crate) async fn set(call: Call) -> Result<Reply, Refusal> {
    let update: GrantsUpdate = call.json()?;
    let grants = call
        .runtime()
        .set_grants(&call.who, call.param("plugin"), update)
        .await?;
    Reply::json(&grants)
}

pub(crate) async fn revoke(call: Call) -> Result<Reply, Refusal> {
    let query: WhyQuery = call.query()?;
    let plugin = call.param("plugin");
    let grants = call
        .runtime()
        .revoke_grants(&call.who, plugin, &query.why)
        .await?;
    Reply::json(&grants)
}

pub(crate) async fn history(call: Call) -> Result<Reply, Refusal> {
    let query: HistoryQuery = call.query()?;
    let limit = query.limit.unwrap_or(20);
    if !(1..=100).contains(&limit) {
        return Err(Refusal::new(400, "bad-query", "`limit` is 1 to 100"));
    }
    let plugin = call.param("plugin");
    let history = call
        .runtime()
        .grants_history(&call.who, plugin, query.before, limit)?;
    Reply::json(&history)
}

pub(crate) async fn rollback(call: Call) -> Result<Reply, Refusal> {
    let request: RollbackRequest = call.json()?;
    let plugin = call.param("plugin");
    let grants = call
        .runtime()
        .rollback_grants(&call.who, plugin, &request)
        .await?;
    Reply::json(&grants)
}

pub(crate) async fn explain(call: Call) -> Result<Reply, Refusal> {
    let request: ExplainRequest = call.json()?;
    let explained = call
        .runtime()
        .explain(&call.who, call.param("plugin"), &request)?;
    Reply::json(&explained)
}
