//! Language models: what is configured, what was used.

use airlock_runtime::{ModelUsageQuery, TryModel};

use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    Reply::json(&call.runtime().models()?)
}

pub(crate) async fn reload(call: Call) -> Result<Reply, Refusal> {
    Reply::json(&call.runtime().reload_models(&call.who).await?)
}

pub(crate) async fn attempt(call: Call) -> Result<Reply, Refusal> {
    let asked: TryModel = call.json()?;
    Reply::json(&call.runtime().try_model(&call.who, asked).await?)
}

pub(crate) async fn usage(call: Call) -> Result<Reply, Refusal> {
    let query: ModelUsageQuery = call.query()?;
    Reply::json(&call.runtime().model_usage(&query)?)
}
