//! The Model Context Protocol: the dispatcher's checks before it, problems where a
//! request does not reach it.
//!
//! What must stay true: no message is looked at before its token is; a stream
//! holds its request's place, and ends when the server stops.

use std::convert::Infallible;
use std::sync::Arc;

use airlock_runtime::{Problem, member_twice};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::dispatch::Call;
use crate::reply::{EVENTS, JSON, Refusal, Reply, ReplyBody};

/// How the body begins of a response to what is no message.
const NO_MESSAGE: &[u8] = b"fail to deserialize";
/// Codes of JSON-RPC: what is no JSON, and what is no request.
const PARSE_ERROR: i32 = -32_700;
const INVALID_REQUEST: i32 = -32_600;

type Handled = http::Response<BoxBody<Bytes, Infallible>>;

pub(crate) async fn post(call: Call) -> Result<Reply, Refusal> {
    if let Some(name) = std::str::from_utf8(&call.body).ok().and_then(member_twice) {
        return Err(twice(&call.body, &name));
    }
    handle(call, Method::POST).await
}

pub(crate) async fn get(call: Call) -> Result<Reply, Refusal> {
    handle(call, Method::GET).await
}

pub(crate) async fn delete(call: Call) -> Result<Reply, Refusal> {
    handle(call, Method::DELETE).await
}

async fn handle(call: Call, method: Method) -> Result<Reply, Refusal> {
    let mut request = Request::new(call.body.clone());
    *request.method_mut() = method.clone();
    *request.headers_mut() = call.headers.clone();
    let response = call
        .app
        .mcp()
        .handle(Arc::clone(&call.who), request)
        .await?;
    let media = response.headers().get(CONTENT_TYPE);
    let is = |wanted: &str| media.is_some_and(|media| media.as_bytes() == wanted.as_bytes());
    if is(EVENTS) {
        return Ok(whole(events(response, call, &method)));
    }
    if response.status().as_u16() < 400 || is(JSON) {
        return Ok(whole(response.map(Body::new)));
    }
    Err(refusal(response, &call.body).await)
}

fn whole(response: Response) -> Reply {
    Reply {
        body: ReplyBody::Whole(Box::new(response)),
        ..Reply::bytes(200, JSON, Bytes::new())
    }
}

/// A stream: what the server says of its own accord ends when it stops, and an
/// answer comes to its end.
fn events(response: Handled, call: Call, method: &Method) -> Response {
    let runtime = Arc::clone(call.runtime());
    let ends = *method == Method::GET;
    let stopping = async move {
        match ends {
            true => runtime.stopping().await,
            false => std::future::pending().await,
        }
    };
    let (parts, body) = response.into_parts();
    let parts_of = stream::unfold((body, call), |(mut body, call)| async move {
        let frame = body.frame().await?;
        let data = frame.map(|frame| frame.into_data().unwrap_or_default());
        Some((data, (body, call)))
    });
    let body = Body::from_stream(parts_of.take_until(Box::pin(stopping)));
    http::Response::from_parts(parts, body)
}

/// What did not reach the protocol, as a problem; what is no message, also as an
/// error of JSON-RPC.
async fn refusal(response: Handled, message: &[u8]) -> Refusal {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await;
    let text = body.map_or_else(|never| match never {}, |body| body.to_bytes());
    if text.starts_with(NO_MESSAGE) {
        return no_message(message);
    }
    let code = match status {
        404 => "session-not-found",
        405 => "method-not-allowed",
        406 => "not-acceptable",
        413 => "body-too-large",
        415 => "unsupported-media-type",
        500.. => "internal",
        _ => "bad-message",
    };
    let text = String::from_utf8_lossy(&text);
    if code == "internal" && airlock_mcp::is_id_in_use(&text) {
        let detail = "a request with this id was not answered yet, or too many were left: each has its own, and another session begins anew";
        return Refusal::new(400, "id-in-use", detail);
    }
    if code == "internal" {
        tracing::error!(error = &*text, "a message was not handled");
        return Refusal::new(500, code, "the host failed; its log says why");
    }
    let detail = text.split_once(": ").map_or(&*text, |(_, detail)| detail);
    Refusal::new(status, code, detail)
}

fn no_message(message: &[u8]) -> Refusal {
    let is_json = serde_json::from_slice::<IgnoredAny>(message).is_ok();
    let (code, number, detail) = match is_json {
        false => ("invalid-json", PARSE_ERROR, "the body is not JSON"),
        true => (
            "invalid-message",
            INVALID_REQUEST,
            "the body is not one message of JSON-RPC 2.0; several at once are not taken",
        ),
    };
    as_error(code, number, detail)
}

/// Which of them a reader takes is not said, so none of them counts.
fn twice(message: &[u8], name: &str) -> Refusal {
    if serde_json::from_slice::<IgnoredAny>(message).is_err() {
        return no_message(message);
    }
    let detail = format!("the message has the member {name:?} twice in one object");
    as_error("member-twice", INVALID_REQUEST, &detail)
}

fn as_error(code: &'static str, number: i32, detail: &str) -> Refusal {
    let error = json!({ "code": number, "message": detail });
    let problem = Problem::new(400, code, detail)
        .with("jsonrpc", "2.0")
        .with("id", Value::Null)
        .with("error", error);
    Refusal(Box::new(problem))
}
