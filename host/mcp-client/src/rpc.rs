//! JSON-RPC as a client of the protocol needs it: requests as they are written,
//! and what comes in, told apart.
//!
//! What must stay true: what is not exactly a message is an error, and ends the
//! connection; numbers in results stay as the server wrote them.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::Fault;
use crate::link::Progress;
use crate::text;

/// What a server asks or calls a method by that there is none of.
const METHOD_NOT_FOUND: i64 = -32601;
/// Longest id of a request of a server's, bytes.
const ID_BYTES_MAX: usize = 256;
/// Longest text of a report on progress, bytes.
const PROGRESS_BYTES_MAX: usize = 1 << 10;

/// A message that came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// To a request of ours.
    Answer(u64, Result<Box<RawValue>, Fault>),
    /// A request of the server's, with its id as it wrote it.
    Asked { id: Box<RawValue>, ping: bool },
    /// How far a request of ours is, by its token.
    Progress(u64, Progress),
    /// Its tools changed.
    ToolsChanged,
    /// Anything else that wants no answer.
    Other,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Refusal<'a> {
    code: i64,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reported {
    progress_token: Value,
    progress: f64,
    total: Option<f64>,
    message: Option<String>,
}

/// Reads one message.
///
/// # Errors
/// What it is instead.
pub(crate) fn read(message: &str) -> Result<Incoming, String> {
    // A list would be read as the members of a message, in order.
    if !message.starts_with('{') {
        return Err(format!(
            "it wrote what is no message: {}",
            text::line(message)
        ));
    }
    let read: Message<'_> = serde_json::from_str(message)
        .map_err(|error| format!("it wrote what is no message ({error})"))?;
    if read.jsonrpc.as_deref() != Some("2.0") {
        return Err("it wrote a message that does not say `\"jsonrpc\": \"2.0\"`".to_owned());
    }
    match (read.method, read.id, read.result, read.error) {
        // It is written back.
        (Some(_), Some(id), None, None) if id.get().len() > ID_BYTES_MAX => {
            Err("it asks under an id that is too long".to_owned())
        }
        (Some(method), Some(id), None, None) => Ok(Incoming::Asked {
            id: id.to_owned(),
            ping: method == "ping",
        }),
        (Some(method), None, None, None) => Ok(notification(&method, read.params)),
        (None, Some(id), Some(result), None) => {
            Ok(Incoming::Answer(number(id)?, Ok(result.to_owned())))
        }
        (None, Some(id), None, Some(error)) => {
            Ok(Incoming::Answer(number(id)?, Err(refused(error)?)))
        }
        (None, None, None, Some(error)) => {
            Err(format!("it answered no request: {}", refused(error)?))
        }
        _ => Err("it wrote a message that is neither request nor answer".to_owned()),
    }
}

fn number(id: &RawValue) -> Result<u64, String> {
    let number = id.get().parse();
    number.map_err(|_| {
        format!(
            "it answered the request {}, which nobody made",
            text::line(id.get())
        )
    })
}

fn refused(error: &RawValue) -> Result<Fault, String> {
    let read: Refusal<'_> = serde_json::from_str(error.get())
        .map_err(|error| format!("it wrote an error that is none ({error})"))?;
    Ok(Fault::Refused {
        code: read.code,
        message: text::line(&read.message),
    })
}

fn notification(method: &str, params: Option<&RawValue>) -> Incoming {
    match method {
        "notifications/tools/list_changed" => Incoming::ToolsChanged,
        "notifications/progress" => params.and_then(progress).unwrap_or(Incoming::Other),
        _ => Incoming::Other,
    }
}

fn progress(params: &RawValue) -> Option<Incoming> {
    let read: Reported = serde_json::from_str(params.get()).ok()?;
    let token = read.progress_token.as_u64()?;
    let message = read.message.unwrap_or_default();
    let progress = Progress {
        done: read.progress,
        total: read.total,
        message: text::bounded(&message, PROGRESS_BYTES_MAX),
    };
    Some(Incoming::Progress(token, progress))
}

/// A request as it is written.
pub(crate) fn request(id: u64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// A call of a tool, with the arguments as they were given.
pub(crate) fn call(id: u64, tool: &str, arguments: &str, meta: &Value) -> String {
    let (tool, id) = (Value::from(tool), Value::from(id));
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":{tool},"arguments":{arguments},"_meta":{meta}}}}}"#
    )
}

/// A notification.
pub(crate) fn notify(method: &str, params: Option<&Value>) -> String {
    match params {
        Some(params) => json!({ "jsonrpc": "2.0", "method": method, "params": params }),
        None => json!({ "jsonrpc": "2.0", "method": method }),
    }
    .to_string()
}

/// Takes a request back.
pub(crate) fn cancel(id: u64) -> String {
    let params = json!({ "requestId": id, "reason": "nobody waits for it any more" });
    notify("notifications/cancelled", Some(&params))
}

/// The answer to what a server asks its client: it answers to a ping, and gives
/// nothing else away.
pub(crate) fn reply(id: &RawValue, ping: bool) -> String {
    let id = id.get();
    match ping {
        true => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#),
        false => format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{METHOD_NOT_FOUND},"message":"this client offers nothing"}}}}"#
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str) -> String {
        match read(message) {
            Ok(Incoming::Answer(id, Ok(result))) => format!("answer {id} {result}"),
            Ok(Incoming::Answer(id, Err(fault))) => format!("answer {id}: {fault}"),
            Ok(Incoming::Asked { id, ping }) => format!("asked {id} {ping}"),
            Ok(Incoming::Progress(id, progress)) => format!("progress {id} {}", progress.message),
            Ok(Incoming::ToolsChanged) => "changed".to_owned(),
            Ok(Incoming::Other) => "other".to_owned(),
            Err(error) => error,
        }
    }

    #[test]
    fn messages_are_told_apart() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{}1{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let long_id = format!(
            r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#,
            "x".repeat(300)
        );
        let table = [
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"a":1e400}}"#,
                r#"answer 1 {"a":1e400}"#,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"a\nb"}}"#,
                "answer 1: the server refused it (-1): a\\u{a}b",
            ),
            (
                r#"{"jsonrpc":"2.0","id":"1","result":{}}"#,
                "which nobody made",
            ),
            (
                r#"{"jsonrpc":"2.0","id":-1,"result":{}}"#,
                "which nobody made",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1.0,"result":{}}"#,
                "which nobody made",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1}}"#,
                "neither request nor answer",
            ),
            (r#"{"jsonrpc":"2.0","id":1}"#, "neither request nor answer"),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"id":2}"#,
                "no message",
            ),
            (r#"{"id":1,"result":{}}"#, "does not say"),
            (
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"m"}}"#,
                "answered no request",
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#,
                "an error that is none",
            ),
            (
                r#"{"jsonrpc":"2.0","id":"x","method":"sampling/createMessage","params":{}}"#,
                "asked \"x\" false",
            ),
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#,
                "asked 7 true",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#,
                "changed",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1,"message":"x"}}"#,
                "progress 3 x",
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"3"}}"#,
                "other",
            ),
            (r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#, "no message"),
            ("Server is listening", "no message"),
            (deep.as_str(), "answer 1"),
            (long_id.as_str(), "an id that is too long"),
        ];
        for (message, expect) in table {
            let found = check(message);
            assert!(found.contains(expect), "{}: {found}", text::line(message));
        }
    }

    #[test]
    fn arguments_are_written_as_they_were_given() {
        let written = call(
            7,
            "a\"b",
            r#"{"n":12345678901234567890123}"#,
            &json!({ "progressToken": 7 }),
        );
        assert!(written.contains("12345678901234567890123"), "{written}");
        let read: Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(read["params"]["name"], "a\"b");
        assert!(!written.contains('\n'));
    }
}
