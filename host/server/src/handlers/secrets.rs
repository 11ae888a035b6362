//! Secrets: in, never out.

use airlock_runtime::{Secret, SecretView};
use schemars::JsonSchema;
use serde::Serialize;

use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

/// Names of secrets.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SecretList {
    secrets: Vec<SecretView>,
}

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    let secrets = call.runtime().secrets()?;
    Reply::json(&SecretList { secrets })
}

pub(crate) async fn set(call: Call) -> Result<Reply, Refusal> {
    let value = Secret::new(call.body.to_vec());
    let set = call
        .runtime()
        .set_secret(&call.who, call.param("name"), &value)
        .await?;
    Reply::json(&set)
}

pub(crate) async fn remove(call: Call) -> Result<Reply, Refusal> {
    call.runtime()
        .remove_secret(&call.who, call.param("name"))
        .await?;
    Ok(Reply::nothing())
}
