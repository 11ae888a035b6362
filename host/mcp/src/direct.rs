//! A call of a tool in the version without sessions, straight to the runtime: for one
//! message each, a service with its tasks takes as long as the call.
//!
//! What must stay true: only a message that is whole, plain and right goes this way;
//! any other, wrong ones too, is the protocol's own, and one that could go both ways
//! gets the same answer on each. A tool's arguments are given to it as they were
//! written, as over `/v1`, where a member that stands twice is refused; the protocol's
//! own service reads and writes them first, so that `1.50` is `1.5` there, and of such
//! members the last one is left.

use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{Principal, ToolCall};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use rmcp::model::{CallToolResult, ClientCapabilities, ProtocolVersion};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::call::TIMEOUT_MS_MAX;
use crate::handler::Shared;
use crate::http::VERSION;
use crate::names::{Named, resolve};
use crate::outcome;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// What headers are called that stand for arguments.
const PARAMETERS: &str = "mcp-param-";
const CALL: &str = "tools/call";
/// Most digits of an id: each such number is one in every language.
const ID_DIGITS_MAX: usize = 15;

/// Members that are not here, or twice, are for the protocol to judge.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    method: &'a str,
    #[serde(borrow)]
    params: Params<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params<'a> {
    name: &'a str,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta<'a> {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: &'a str,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    _capabilities: ClientCapabilities,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientInfo")]
    _info: Option<&'a RawValue>,
    #[serde(default, rename = "airlock/timeout-ms")]
    timeout_ms: Option<u64>,
}

#[derive(Serialize)]
struct Answer<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    result: CallToolResult,
}

/// Answers a call of a tool; `None`: it is not for here.
pub(crate) async fn answered(
    shared: &Shared,
    who: &Arc<Principal>,
    headers: &HeaderMap,
    body: &[u8],
) -> Option<Bytes> {
    let message = plain(headers, body)?;
    let Params {
        name, arguments, ..
    } = message.params;
    let runtime = &shared.runtime;
    let Some(Named::Tool { plugin, tool }) = resolve(runtime, who, name) else {
        return None;
    };
    let result = match shared.place(who) {
        Err(full) => outcome::failed(*full),
        Ok(_place) => {
            let input = arguments.map_or("{}", RawValue::get);
            let call = ToolCall {
                plugin,
                tool,
                input: Bytes::copy_from_slice(input.as_bytes()),
                timeout: message.params.meta.timeout_ms.map(Duration::from_millis),
                idempotency_key: None,
                log: false,
                stage: None,
            };
            match runtime.call(who, call).await {
                Ok(reply) => outcome::replied(reply.status, &reply.body, reply.replayed),
                Err(refused) => outcome::refused(&refused),
            }
        }
    };
    let answer = Answer {
        jsonrpc: "2.0",
        id: message.id,
        result,
    };
    // A result is JSON.
    serde_json::to_vec(&answer).ok().map(Bytes::from)
}

/// The message, where nothing about it is for the protocol to judge.
fn plain<'a>(headers: &HeaderMap, body: &'a [u8]) -> Option<Message<'a>> {
    let one = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| value.to_str().ok());
        value.filter(|_| values.next().is_none())
    };
    let version = ProtocolVersion::V_2026_07_28;
    let version = version.as_str();
    let is_plain = one(&HeaderName::from_static(VERSION)) == Some(version)
        && one(&METHOD) == Some(CALL)
        && one(&CONTENT_TYPE) == Some("application/json")
        && headers.get_all(ACCEPT).iter().count() == 1
        && headers.get(ACCEPT).is_some_and(accepts_both)
        && !headers
            .keys()
            .any(|name| name.as_str().starts_with(PARAMETERS));
    if !is_plain {
        return None;
    }
    let message: Message<'_> = serde_json::from_slice(body).ok()?;
    let params = &message.params;
    let is_object = |json: &RawValue| json.get().starts_with('{');
    let right = message.jsonrpc == "2.0"
        && message.method == CALL
        && params.meta.version == version
        && params
            .meta
            .timeout_ms
            .is_none_or(|ms| (1..=TIMEOUT_MS_MAX).contains(&ms))
        && params.arguments.is_none_or(is_object)
        && one(&NAME) == Some(params.name)
        && is_id(message.id.get());
    right.then_some(message)
}

/// Both media types, without weights.
fn accepts_both(accept: &HeaderValue) -> bool {
    let Ok(accept) = accept.to_str() else {
        return false;
    };
    let accepts = |kind: &str| accept.split(',').any(|part| part.trim() == kind);
    accepts("application/json") && accepts("text/event-stream")
}

/// A number or a text that is written in one way only.
fn is_id(id: &str) -> bool {
    let number = id == "0" || (!id.starts_with('0') && id.bytes().all(|b| b.is_ascii_digit()));
    let plain = |b: u8| b.is_ascii_graphic() && b != b'\\' && b != b'"';
    let text = id.strip_prefix('"').and_then(|id| id.strip_suffix('"'));
    (number && id.len() <= ID_DIGITS_MAX) || text.is_some_and(|text| text.bytes().all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn headers() -> HeaderMap {
        let all = [
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", "echo__run"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        let all = all.map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        all.into_iter().collect()
    }

    fn body(id: &str, params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#)
    }

    fn right(id: &str) -> String {
        let params = format!(r#"{{"name":"echo__run","arguments":{{"a":1.0}},"_meta":{META}}}"#);
        body(id, &params)
    }

    #[test]
    fn what_is_plain_is_answered_here() {
        for id in ["0", "1", "123456789012345", r#""a-1""#] {
            let text = right(id);
            let message = plain(&headers(), text.as_bytes()).expect("is plain");
            let arguments = message.params.arguments.expect("arguments");
            assert_eq!((message.id.get(), arguments.get()), (id, r#"{"a":1.0}"#));
        }
    }

    #[test]
    fn what_is_not_is_for_the_protocol() {
        let ids = [
            "-1",
            "01",
            "1.5",
            "1e3",
            "null",
            "[]",
            "1234567890123456",
            r#""\u0061""#,
        ];
        for id in ids {
            assert!(plain(&headers(), right(id).as_bytes()).is_none(), "{id}");
        }
        let with = |params: &str| body("1", params);
        let wrong = [
            String::new(),
            "[]".to_owned(),
            format!("[{}]", right("1")),
            right("1").replace("2.0", "1.0"),
            right("1").replace("tools/call", "tools/list"),
            right("1").replace(r#""id":1"#, r#""id":1,"id":2"#),
            right("1").replace(r#""id":1"#, r#""id":1,"more":2"#),
            right("1").replace("2026-07-28", "2025-11-25"),
            right("1").replace("echo__run", "other"),
            right("1").replace("echo__run", r"echo_\u005frun"),
            right("1").replace(r#"{"a":1.0}"#, "[]"),
            right("1").replace(r#"Capabilities":{}"#, r#"Capabilities":[]"#),
            right("1").replace(
                r#"Capabilities":{}"#,
                r#"Capabilities":{},"progressToken":1"#,
            ),
            right("1").replace(
                r#"Capabilities":{}"#,
                r#"Capabilities":{},"airlock/timeout-ms":0"#,
            ),
            with(r#"{"name":"echo__run"}"#),
            with(&format!(
                r#"{{"name":"echo__run","requestState":"x","_meta":{META}}}"#
            )),
        ];
        for body in wrong {
            assert!(plain(&headers(), body.as_bytes()).is_none(), "{body}");
        }
        let others = [
            ("mcp-protocol-version", "2025-11-25"),
            ("mcp-method", "tools/list"),
            ("mcp-name", "other"),
            ("content-type", "text/plain"),
            ("accept", "application/json"),
            ("accept", "application/json;q=0, text/event-stream"),
            ("mcp-param-a", "1"),
        ];
        for (name, value) in others {
            let mut headers = headers();
            headers.insert(name, HeaderValue::from_static(value));
            assert!(plain(&headers, right("1").as_bytes()).is_none(), "{name}");
        }
        for name in [
            "mcp-protocol-version",
            "mcp-method",
            "mcp-name",
            "content-type",
            "accept",
        ] {
            let mut without = headers();
            let value = without.remove(name).expect("is there");
            assert!(plain(&without, right("1").as_bytes()).is_none(), "{name}");
            let mut twice = headers();
            twice.append(name, value);
            assert!(plain(&twice, right("1").as_bytes()).is_none(), "{name}");
        }
    }
}
