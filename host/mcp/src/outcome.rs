//! What becomes of a reply, a refusal or a failure in the protocol.
//!
//! What must stay true: a tool's failure is a result that a model can read, with
//! the code that programs branch on; an error of the protocol is only what names
//! nothing, or is no request.

use std::borrow::Cow;

use airlock_runtime::{Failure, Problem};
use rmcp::ErrorData;
#[expect(deprecated, reason = "earlier versions of the protocol have it")]
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ContentBlock, CustomRequest, ErrorCode,
    InitializeRequestParams, MetaObject, PaginatedRequestParams, SetLevelRequestParams,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// In a result's `_meta`: what names the call in the audit.
pub(crate) const CALL_ID: &str = "airlock/call-id";
/// In a result's `_meta`: what the call used.
const USAGE: &str = "airlock/usage";
/// In a result's `_meta`: operations that no grant allowed.
const DENIALS: &str = "airlock/denials";
/// In a failed result's `_meta`: the code, and whether to try again.
const ERROR: &str = "airlock/error";
/// In a result's `_meta`: it was kept for its idempotency key.
const REPLAYED: &str = "airlock/replayed";

/// A record of a call's log.
#[derive(Debug, Deserialize)]
pub(crate) struct Logged {
    pub(crate) level: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) fields: Vec<(String, String)>,
}

/// A call's success as the runtime writes it.
#[derive(Deserialize)]
struct Success<'a> {
    #[serde(borrow)]
    call_id: Cow<'a, str>,
    #[serde(borrow)]
    output: &'a RawValue,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    denials: Option<Value>,
}

/// What is read of a reply's log.
#[derive(Deserialize)]
struct WithLog {
    #[serde(default)]
    log: Vec<Logged>,
}

/// What the tool wrote, of a reply or a problem.
pub(crate) fn log_of(body: &[u8]) -> Vec<Logged> {
    serde_json::from_slice::<WithLog>(body).map_or_else(|_| Vec::new(), |with| with.log)
}

/// A call's reply as a result.
pub(crate) fn replied(status: u16, body: &[u8], replayed: bool) -> CallToolResult {
    let mut result = match status {
        200..400 => match serde_json::from_slice::<Success<'_>>(body) {
            Ok(success) => succeeded(&success),
            Err(_) => failed(internal()),
        },
        _ => failed(serde_json::from_slice(body).unwrap_or_else(|_| internal())),
    };
    if replayed {
        meta(&mut result).insert(REPLAYED.to_owned(), Value::Bool(true));
    }
    result
}

fn internal() -> Problem {
    Problem::new(
        500,
        "unknown",
        "the reply can't be read: it may have happened",
    )
}

/// A text is the tool's own text; anything else is JSON as the tool wrote it. An
/// object is structured content too, where it is JSON that others can read.
fn succeeded(success: &Success<'_>) -> CallToolResult {
    let output = success.output.get();
    let (text, structured) = match output.as_bytes().first() {
        Some(b'"') => {
            let text = serde_json::from_str::<String>(output);
            (text.unwrap_or_else(|_| output.to_owned()), None)
        }
        Some(b'{') => (
            output.to_owned(),
            serde_json::from_str::<Value>(output).ok(),
        ),
        _ => (output.to_owned(), None),
    };
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = structured;
    let members = meta(&mut result);
    members.insert(CALL_ID.to_owned(), json!(success.call_id));
    members.insert(USAGE.to_owned(), success.usage.clone());
    if let Some(denials) = &success.denials {
        members.insert(DENIALS.to_owned(), denials.clone());
    }
    result
}

/// A failure as a result.
pub(crate) fn refused(failure: &dyn Failure) -> CallToolResult {
    airlock_runtime::problem::log_failure(failure);
    failed(Problem::of(failure))
}

/// A problem as a result: text for whoever reads it, the rest in `_meta`, since
/// structured content has to be what the tool's output schema says.
pub(crate) fn failed(mut problem: Problem) -> CallToolResult {
    let retry = may_retry(&problem);
    let denials = problem.members.remove("denials");
    let usage = problem.members.remove("usage");
    let call_id = problem.members.remove("call_id");
    problem.members.remove("log");
    let mut result = CallToolResult::error(vec![ContentBlock::text(text(
        &problem,
        retry,
        denials.as_ref(),
    ))]);
    let mut error = json!({
        "code": problem.code, "status": problem.status, "detail": problem.detail, "retry": retry,
    });
    if let Some(seconds) = problem.retry_after_s {
        error["retry_after_s"] = json!(seconds);
    }
    for (name, value) in std::mem::take(&mut problem.members) {
        error[name] = value;
    }
    let members = meta(&mut result);
    members.insert(ERROR.to_owned(), error);
    let rest = [(DENIALS, denials), (USAGE, usage), (CALL_ID, call_id)];
    for (name, value) in rest {
        if let Some(value) = value {
            members.insert(name.to_owned(), value);
        }
    }
    result
}

/// Whether the same request may work later, without any doubt of what happened.
fn may_retry(problem: &Problem) -> bool {
    matches!(problem.status, 429 | 503) && problem.code != "cancelled"
}

fn text(problem: &Problem, retry: bool, denials: Option<&Value>) -> String {
    let mut text = match problem.detail.starts_with(&*problem.code) {
        true => problem.detail.clone(),
        false => format!("{}: {}", problem.code, problem.detail),
    };
    for denial in denials.and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| denial[name].as_str().unwrap_or_default().to_owned();
        let (capability, operation, rule) = (of("capability"), of("operation"), of("rule"));
        let line = format!("denied: {capability}: {operation}: {rule}");
        if !text.contains(&line) {
            text.push('\n');
            text.push_str(&line);
        }
    }
    let advice = match (retry, &*problem.code) {
        (true, _) => match problem.retry_after_s {
            Some(seconds) => format!("\nTry again after {seconds} s."),
            None => "\nTry again later.".to_owned(),
        },
        (false, "unknown" | "outcome_unknown") => {
            "\nIt may have happened: find out before it is done again.".to_owned()
        }
        (false, "escalate") => "\nA person has to look at it.".to_owned(),
        (false, _) => String::new(),
    };
    text + &advice
}

/// The result's `_meta`, made where there is none.
pub(crate) fn meta(result: &mut CallToolResult) -> &mut MetaObject {
    result.meta.get_or_insert_default()
}

/// The error of a tool that there is not, or not for this token.
pub(crate) fn no_such_tool(name: &str) -> ErrorData {
    let name: String = name.chars().take(128).collect();
    ErrorData::invalid_params(format!("unknown tool: {name}"), None)
}

/// The error of a request whose token was revoked or has expired meanwhile.
pub(crate) fn not_valid_any_more() -> ErrorData {
    ErrorData::invalid_request("the token is not valid", None)
}

/// Why a request is none, in a version with `sessions` or without: some methods are
/// gone with them.
pub(crate) fn no_request(request: &CustomRequest, sessions: bool) -> ErrorData {
    fn read<T: DeserializeOwned>(params: Value) -> Option<serde_json::Error> {
        serde_json::from_value::<T>(params).err()
    }
    let params = request.params.clone().unwrap_or_else(|| json!({}));
    #[expect(deprecated, reason = "earlier versions of the protocol have it")]
    let wrong = match request.method.as_str() {
        "tools/call" => read::<CallToolRequestParams>(params),
        "tools/list" => read::<PaginatedRequestParams>(params),
        "logging/setLevel" if sessions => read::<SetLevelRequestParams>(params),
        "initialize" if sessions => read::<InitializeRequestParams>(params),
        "ping" if sessions => None,
        method => {
            let (code, method) = (ErrorCode::METHOD_NOT_FOUND, method.to_owned());
            return ErrorData::new(code, method, None);
        }
    };
    let why = wrong.map_or_else(|| "not as they should be".to_owned(), |why| why.to_string());
    ErrorData::invalid_params(format!("`params`: {why}"), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(result: &CallToolResult) -> String {
        let value = serde_json::to_value(result).expect("JSON");
        value["content"][0]["text"]
            .as_str()
            .expect("text")
            .to_owned()
    }

    #[test]
    fn outputs_are_told_as_the_tool_wrote_them() {
        let table = [
            (r#"{"a":  1}"#, r#"{"a":  1}"#, Some(json!({ "a": 1 }))),
            (r#""a\nb""#, "a\nb", None),
            ("[1, 2]", "[1, 2]", None),
            ("null", "null", None),
            // More than a number of another reader's holds.
            (r#"{"a":1e400}"#, r#"{"a":1e400}"#, None),
        ];
        for (output, text, structured) in table {
            let body = format!(r#"{{"call_id":"c1","output":{output},"usage":{{"cpu_us":1}}}}"#);
            let result = replied(200, body.as_bytes(), false);
            assert_eq!(text_of(&result), text, "{output}");
            assert_eq!(result.structured_content, structured, "{output}");
            assert_ne!(result.is_error, Some(true), "{output}");
            let meta = serde_json::to_value(&result.meta).expect("JSON");
            assert_eq!(meta[CALL_ID], "c1");
            assert_eq!(meta[USAGE]["cpu_us"], 1);
        }
    }

    #[test]
    fn failures_say_what_programs_and_people_need() {
        let problem = |status, code, detail: &str| Problem::new(status, code, detail);
        let mut busy = problem(429, "rate-limited", "too fast");
        busy.retry_after_s = Some(2);
        let denial = json!([{ "capability": "files", "operation": "read /x", "rule": "none" }]);
        let table = [
            (busy, true, "rate-limited: too fast\nTry again after 2 s."),
            (
                problem(403, "denied", "denied: files: read /x: none")
                    .with("denials", denial.clone()),
                false,
                "denied: files: read /x: none",
            ),
            (
                problem(502, "permanent", "permanent: gone").with("denials", denial),
                false,
                "permanent: gone\ndenied: files: read /x: none",
            ),
            (
                problem(500, "unknown", "outcome unknown: gone"),
                false,
                "unknown: outcome unknown: gone\nIt may have happened: find out before it is done again.",
            ),
            (problem(503, "cancelled", "cancelled"), false, "cancelled"),
            (
                problem(409, "escalate", "escalate: look"),
                false,
                "escalate: look\nA person has to look at it.",
            ),
        ];
        for (problem, retry, text) in table {
            let code = problem.code.to_string();
            let result = failed(problem);
            assert_eq!(text_of(&result), text);
            assert_eq!(result.is_error, Some(true), "{code}");
            assert_eq!(result.structured_content, None, "{code}");
            let meta = serde_json::to_value(&result.meta).expect("JSON");
            assert_eq!(meta[ERROR]["code"], code);
            assert_eq!(meta[ERROR]["retry"], retry, "{code}");
            let with_denials = ["denied", "permanent"].contains(&&*code);
            assert_eq!(meta[DENIALS].is_array(), with_denials, "{code}");
        }
    }
}
