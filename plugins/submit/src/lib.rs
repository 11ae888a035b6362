//! Sends JSON to an address over HTTP. Where it may go, and with which secret, is the
//! grant's.
//!
//! What must stay true: redirects are not followed, so nothing is sent to an address
//! that was not asked for; sizes are bounded; a request that may have arrived is
//! `unknown`, never `transient`.

use std::collections::BTreeMap;

use airlock_sdk::prelude::*;
use airlock_sdk::{http, secrets};
use serde_json::Value;

const RESPONSE_BYTES_MAX: usize = 256 << 10;
const TEXT_BYTES_MAX: usize = 16 << 10;
const USER_AGENT: &str = "airlock-submit/0.1";

/// How it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Method {
    /// Adds or does something.
    #[default]
    #[serde(rename = "POST")]
    Post,
    /// Puts something in its place.
    #[serde(rename = "PUT")]
    Put,
}

/// What to send.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The address, `http` or `https`.
    url: String,
    /// `POST` (the default) or `PUT`.
    #[serde(default)]
    method: Method,
    /// What is sent, any JSON.
    json: Value,
    /// Headers whose values are secrets: the header's name to the secret's name.
    /// The secret itself never gets here; the host puts it in.
    #[serde(default)]
    secret_headers: BTreeMap<String, String>,
}

/// What came back.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Sent {
    /// The status, 200 to 299.
    status: u16,
    /// The answer, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Value>,
    /// The answer, where it is another text; at most 16 KiB of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Sends JSON to an address with POST or PUT, and gives the answer. With the call's
/// idempotency key, where it has one, in the header `Idempotency-Key`.
#[tool(open_world, title = "Send JSON to an address")]
fn send(input: Send, context: &Context) -> Result<Sent, Error> {
    let method = match input.method {
        Method::Post => http::Method::Post,
        Method::Put => http::Method::Put,
    };
    let mut request = http::request(method, input.url)
        .header("user-agent", USER_AGENT)
        .header("accept", "application/json")
        .max_bytes(RESPONSE_BYTES_MAX)
        .json(&input.json)?;
    if let Some(key) = &context.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    for (name, secret) in &input.secret_headers {
        request = request.header(name, secrets::placeholder(secret)?);
    }
    let response = request.send()?;
    match response.status {
        300..=399 => Err(Error::permanent(format!(
            "it answers with a redirect ({}), which is not followed",
            response.status
        ))),
        // These say that it was not begun.
        425 | 429 | 503 => response.error_for_status().map(answer),
        408 | 500..=599 => Err(Error::unknown(format!(
            "the server answered {}: it may have been done",
            response.status
        ))),
        _ => response.error_for_status().map(answer),
    }
}

fn answer(response: http::Response) -> Sent {
    let status = response.status;
    if let Ok(json) = serde_json::from_slice(&response.body) {
        let json = Some(json);
        return Sent {
            status,
            json,
            text: None,
        };
    }
    let text = String::from_utf8_lossy(&response.body);
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let text = (!text.is_empty()).then(|| text[..end].to_owned());
    Sent {
        status,
        json: None,
        text,
    }
}

plugin! {
    tools: [send],
    wants: [
        want!(http, r#"{ url = "https://example.com/v1/articles", methods = ["POST"] }"#, "To send to the addresses that are granted, and to no other."),
        want!(http, r#"{ url = "https://example.com/v1/articles", methods = ["POST"], secret = "name-of-a-secret" }"#, "To send a key where one is asked for.", optional),
    ],
}

#[cfg(test)]
mod tests;
