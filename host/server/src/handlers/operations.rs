//! Work that outlasts its request.

use airlock_runtime::Operation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

/// Operations, newest first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OperationList {
    operations: Vec<Operation>,
}

/// Whether to wait.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitQuery {
    /// Reply when it has ended.
    #[serde(default)]
    wait: bool,
}

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    let operations = call.runtime().operations(&call.who);
    Reply::json(&OperationList { operations })
}

pub(crate) async fn show(call: Call) -> Result<Reply, Refusal> {
    let query: WaitQuery = call.query()?;
    let (runtime, id) = (call.runtime(), call.param("id"));
    let operation = match query.wait {
        true => runtime.wait_operation(&call.who, id).await?,
        false => runtime.operation(&call.who, id)?,
    };
    Reply::json(&operation)
}
