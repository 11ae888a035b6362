//! Webhooks: deliveries, and their administration.

use airlock_runtime::{HookHead, HookRequest, HookView, RotateHook};
use http::HeaderName;
use schemars::JsonSchema;
use serde::Serialize;

use crate::dispatch::Call;
use crate::reply::{Refusal, Reply};

/// Webhooks, by name.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HookList {
    hooks: Vec<HookView>,
}

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const GITHUB_ID: HeaderName = HeaderName::from_static("x-github-delivery");
const GITHUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");

/// The headers of a delivery, as the document lists them.
pub(crate) const HEADERS: [(&str, &str); 5] = [
    (
        "webhook-id",
        "The delivery's own; the same one is done once.",
    ),
    ("webhook-timestamp", "Seconds since 1970, at most 300 off."),
    (
        "webhook-signature",
        "`v1,` and the base64 of HMAC-SHA-256 over `id.timestamp.body`; several, separated by spaces.",
    ),
    ("x-github-delivery", "In place of `webhook-id`, for GitHub."),
    (
        "x-hub-signature-256",
        "`sha256=` and the hexadecimal HMAC-SHA-256 over the body, for GitHub.",
    ),
];

pub(crate) async fn deliver(call: Call) -> Result<Reply, Refusal> {
    let head = HookHead {
        id: call.header(&ID)?,
        timestamp: call.header(&TIMESTAMP)?,
        signature: call.header(&SIGNATURE)?,
        github_id: call.header(&GITHUB_ID)?,
        github_signature: call.header(&GITHUB_SIGNATURE)?,
    };
    let runtime = call.runtime();
    let delivered = runtime.deliver_hook(call.param("name"), head, &call.body);
    let delivered = delivered.await?;
    let mut reply = Reply::json_as(202, &delivered)?;
    reply.replayed = delivered.replayed;
    Ok(reply)
}

pub(crate) async fn list(call: Call) -> Result<Reply, Refusal> {
    let hooks = call.runtime().hooks(&call.who)?;
    Reply::json(&HookList { hooks })
}

pub(crate) async fn add(call: Call) -> Result<Reply, Refusal> {
    let request: HookRequest = call.json()?;
    let made = call.runtime().add_hook(&call.who, request).await?;
    let mut reply = Reply::json_as(201, &made)?;
    reply.secret = made.secret.is_some();
    Ok(reply)
}

pub(crate) async fn rotate(call: Call) -> Result<Reply, Refusal> {
    let request: RotateHook = call.json()?;
    let (runtime, name) = (call.runtime(), call.param("name"));
    let made = runtime.rotate_hook(&call.who, name, request).await?;
    let mut reply = Reply::json(&made)?;
    reply.secret = made.secret.is_some();
    Ok(reply)
}

pub(crate) async fn remove(call: Call) -> Result<Reply, Refusal> {
    let name = call.param("name");
    call.runtime().remove_hook(&call.who, name).await?;
    Ok(Reply::nothing())
}
