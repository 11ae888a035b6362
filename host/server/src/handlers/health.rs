//! Health, figures, the API's description.

use schemars::JsonSchema;
use serde::Serialize;

use crate::dispatch::Call;
use crate::reply::{JSON, METRICS, Refusal, Reply};

/// That all is well.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
    /// The version of the program.
    version: &'static str,
}

fn well() -> Result<Reply, Refusal> {
    Reply::json(&Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
    })
}

pub(crate) async fn healthz(_: Call) -> Result<Reply, Refusal> {
    well()
}

pub(crate) async fn readyz(call: Call) -> Result<Reply, Refusal> {
    match call.runtime().health() {
        Ok(()) => well(),
        Err(why) => Err(Refusal::new(503, "not-ready", why.to_string()).retry_after_s(5)),
    }
}

pub(crate) async fn metrics(call: Call) -> Result<Reply, Refusal> {
    Ok(Reply::bytes(200, METRICS, call.runtime().metrics_text()))
}

pub(crate) async fn openapi(_: Call) -> Result<Reply, Refusal> {
    Ok(Reply::bytes(200, JSON, crate::openapi::text()))
}
