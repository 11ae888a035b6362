//! Policies as a whole.

use airlock_runtime::{ApplyPolicy, Policy, PolicyDiff};
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Serialize;

use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

/// What a policy would change.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Diff {
    /// Nothing would change.
    empty: bool,
    /// For people.
    text: String,
    /// For programs.
    diff: PolicyDiff,
}

/// The body as a policy: TOML where it says so, else JSON.
fn policy(call: &Call) -> Result<Policy, Refusal> {
    let media = call.header(&CONTENT_TYPE)?.unwrap_or_default();
    if !media.to_ascii_lowercase().starts_with("application/toml") {
        return call.json();
    }
    let text = std::str::from_utf8(&call.body)
        .map_err(|_| Refusal::new(400, "invalid-policy", "the policy is not UTF-8"))?;
    Ok(Policy::parse(text)?)
}

pub(crate) async fn diff(call: Call) -> Result<Reply, Refusal> {
    let diff = call
        .runtime()
        .policy_diff(&call.who, &policy(&call)?)
        .await?;
    Reply::json(&Diff {
        empty: diff.is_empty(),
        text: diff.to_string(),
        diff,
    })
}

pub(crate) async fn apply(call: Call) -> Result<Reply, Refusal> {
    let how: ApplyPolicy = call.query()?;
    let applied = call
        .runtime()
        .policy_apply(&call.who, &policy(&call)?, &how)
        .await?;
    Reply::json(&applied)
}
