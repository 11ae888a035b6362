//! A call's report as the caller gets it.

use airlock_sandbox::{CallError, CallReport, Denial, Grants, LogRecord, Usage};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::idempotency::StoredReply;
use crate::problem::Problem;

#[derive(Serialize)]
struct Success<'a> {
    call_id: &'a str,
    output: &'a RawValue,
    usage: &'a Usage,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    denials: &'a [Denial],
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<&'a [LogRecord]>,
}

/// The code of a call's end: `ok`, or one of the error taxonomy.
pub(crate) fn outcome(result: &Result<String, CallError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(error) => code_of(error),
    }
}

pub(crate) fn code_of(error: &CallError) -> &'static str {
    match error {
        CallError::InvalidInput { .. } => "invalid-input",
        CallError::Denied(_) => "denied",
        CallError::NotFound { .. } => "not-found",
        CallError::Transient { .. } => "transient",
        CallError::Permanent { .. } => "permanent",
        CallError::Escalate { .. } => "escalate",
        CallError::Limit { .. } => "limit",
        CallError::ComponentMissing { .. } => "component-missing",
        CallError::ComponentAltered { .. } => "component-altered",
        CallError::Cancelled => "cancelled",
        CallError::Unknown { .. } => "unknown",
    }
}

/// The HTTP status of a call's error:
///
/// | code | status |
/// |---|---|
/// | `invalid-input` | 422: the caller's fault |
/// | `denied` | 403: a grant is missing |
/// | `not-found` | 404 |
/// | `transient` | 503, with `Retry-After` |
/// | `permanent` | 502: it will not work |
/// | `escalate` | 409: a person must look |
/// | `limit` | 413 for `input`, 504 for `cpu` and `wall`, else 502 |
/// | `cancelled` | 503 |
/// | `unknown` | 500: it may have happened |
/// | `component-missing`, `component-altered` | 500: it did not begin |
#[must_use]
pub fn status_of(error: &CallError) -> u16 {
    match error {
        CallError::InvalidInput { .. } => 422,
        CallError::Denied(_) => 403,
        CallError::NotFound { .. } => 404,
        CallError::Transient { .. } | CallError::Cancelled => 503,
        CallError::Escalate { .. } => 409,
        CallError::Limit { limit, .. } => match limit.as_str() {
            "input" => 413,
            "cpu" | "wall" => 504,
            _ => 502,
        },
        CallError::Permanent { .. } => 502,
        CallError::Unknown { .. }
        | CallError::ComponentMissing { .. }
        | CallError::ComponentAltered { .. } => 500,
    }
}

/// What a reply is made of beside the report.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) call_id: &'a str,
    /// Whether the reply has what the call logged.
    pub(crate) with_log: bool,
    /// What the plugin is granted now, if it is still there.
    pub(crate) grants: Option<&'a Grants>,
}

/// The reply to a call. An output that is no JSON is the plugin's fault and makes the
/// call fail.
pub(crate) fn reply(of: Of<'_>, report: &mut CallReport) -> StoredReply {
    let Of {
        call_id, with_log, ..
    } = of;
    let output = match &report.result {
        Ok(output) => serde_json::from_str::<&RawValue>(output),
        Err(error) => return failure(of, error, report),
    };
    let success = output.and_then(|output| {
        let body = Success {
            call_id,
            output,
            usage: &report.usage,
            denials: &report.denials,
            log: with_log.then_some(&report.log),
        };
        let mut bytes = Vec::with_capacity(output.get().len() + 512);
        serde_json::to_writer(&mut bytes, &body).map(|()| bytes)
    });
    match success {
        Ok(body) => StoredReply {
            status: 200,
            body: body.into(),
            replayed: false,
            retry_after_s: None,
        },
        Err(_) => {
            report.result = Err(not_json());
            reply(of, report)
        }
    }
}

/// Whether a tool's output is what the contract says.
pub(crate) fn is_json(output: &str) -> bool {
    serde_json::from_str::<&RawValue>(output).is_ok()
}

pub(crate) fn not_json() -> CallError {
    CallError::Permanent {
        message: "the tool's output is not JSON".to_owned(),
    }
}

fn failure(of: Of<'_>, error: &CallError, report: &CallReport) -> StoredReply {
    let mut problem = Problem::new(status_of(error), code_of(error), error.to_string())
        .with("call_id", of.call_id)
        .with("usage", json!(report.usage));
    if !report.denials.is_empty() {
        problem = problem.with("denials", json!(report.denials));
    }
    if of.with_log {
        problem = problem.with("log", json!(report.log));
    }
    problem = match error {
        CallError::Denied(denial) => {
            let has_rules = |grants: &Grants| grants.count(&denial.capability) > 0;
            problem
                .with("denial", json!(denial))
                .with("granted", of.grants.is_some_and(has_rules))
        }
        CallError::Limit { limit, value } => problem
            .with("limit", limit.as_str())
            .with("value", value.as_str()),
        CallError::Transient { retry_after_ms, .. } => {
            problem.retry_after_s = Some(retry_after_ms.unwrap_or(1_000).div_ceil(1_000).max(1));
            problem
        }
        _ => problem,
    };
    StoredReply {
        status: problem.status,
        body: Bytes::from(problem.to_json()),
        replayed: false,
        retry_after_s: problem.retry_after_s,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(result: Result<&str, CallError>, expect: Expect) {
        let mut report = CallReport {
            result: result.map(str::to_owned),
            lost: false,
            usage: Usage::default(),
            denials: Vec::new(),
            log: Vec::new(),
        };
        let granted = r#"{ "http": [{ "url": "https://a.test/" }] }"#;
        let granted: Grants = serde_json::from_str(granted).expect("grants");
        let of = Of {
            call_id: "c1",
            with_log: false,
            grants: Some(&granted),
        };
        let reply = reply(of, &mut report);
        let body = String::from_utf8(reply.body.to_vec()).expect("utf-8");
        let usage = [
            r#""usage":{"wall_us":0,"cpu_us":0,"peak_memory_bytes":0,"capabilities":[]}"#,
            r#""usage":{"capabilities":[],"cpu_us":0,"peak_memory_bytes":0,"wall_us":0}"#,
        ];
        assert!(usage.iter().any(|usage| body.contains(usage)), "{body}");
        let body = usage
            .iter()
            .fold(body, |body, usage| body.replace(usage, "USAGE"));
        expect.assert_eq(&format!(
            "{} {:?} {body}",
            reply.status, reply.retry_after_s
        ));
    }

    fn text() -> String {
        "text".to_owned()
    }

    #[test]
    fn every_end_of_a_call_has_its_reply() {
        check(
            Ok("{\"a\":  1e400}"),
            expect![[r#"200 None {"call_id":"c1","output":{"a":  1e400},USAGE}"#]],
        );
        check(
            Ok("{"),
            expect![[
                r#"502 None {"type":"urn:airlock:problem:permanent","title":"Permanent","status":502,"code":"permanent","detail":"permanent: the tool's output is not JSON","call_id":"c1",USAGE}"#
            ]],
        );
        check(
            Err(CallError::InvalidInput { message: text() }),
            expect![[
                r#"422 None {"type":"urn:airlock:problem:invalid-input","title":"Invalid input","status":422,"code":"invalid-input","detail":"invalid input: text","call_id":"c1",USAGE}"#
            ]],
        );
        let denial = Denial {
            capability: "files".into(),
            operation: "read /x".into(),
            rule: "r".into(),
        };
        check(
            Err(CallError::Denied(denial)),
            expect![[
                r#"403 None {"type":"urn:airlock:problem:denied","title":"Denied","status":403,"code":"denied","detail":"denied: files: read /x: r","call_id":"c1",USAGE,"denial":{"capability":"files","operation":"read /x","rule":"r"},"granted":false}"#
            ]],
        );
        let denial = Denial {
            capability: "http".into(),
            operation: "PUT https://a.test/".into(),
            rule: "r".into(),
        };
        check(
            Err(CallError::Denied(denial)),
            expect![[
                r#"403 None {"type":"urn:airlock:problem:denied","title":"Denied","status":403,"code":"denied","detail":"denied: http: PUT https://a.test/: r","call_id":"c1",USAGE,"denial":{"capability":"http","operation":"PUT https://a.test/","rule":"r"},"granted":true}"#
            ]],
        );
        check(
            Err(CallError::NotFound { message: text() }),
            expect![[
                r#"404 None {"type":"urn:airlock:problem:not-found","title":"Not found","status":404,"code":"not-found","detail":"not found: text","call_id":"c1",USAGE}"#
            ]],
        );
        check(
            Err(CallError::Transient {
                message: text(),
                retry_after_ms: Some(1_500),
            }),
            expect![[
                r#"503 Some(2) {"type":"urn:airlock:problem:transient","title":"Transient","status":503,"code":"transient","detail":"transient: text","retry_after_s":2,"call_id":"c1",USAGE}"#
            ]],
        );
        check(
            Err(CallError::Permanent { message: text() }),
            expect![[
                r#"502 None {"type":"urn:airlock:problem:permanent","title":"Permanent","status":502,"code":"permanent","detail":"permanent: text","call_id":"c1",USAGE}"#
            ]],
        );
        check(
            Err(CallError::Escalate { message: text() }),
            expect![[
                r#"409 None {"type":"urn:airlock:problem:escalate","title":"Escalate","status":409,"code":"escalate","detail":"escalate: text","call_id":"c1",USAGE}"#
            ]],
        );
        check(
            Err(CallError::Limit {
                limit: "cpu".into(),
                value: "1s".into(),
            }),
            expect![[
                r#"504 None {"type":"urn:airlock:problem:limit","title":"Limit","status":504,"code":"limit","detail":"limit cpu reached (1s)","call_id":"c1",USAGE,"limit":"cpu","value":"1s"}"#
            ]],
        );
        check(
            Err(CallError::Cancelled),
            expect![[
                r#"503 None {"type":"urn:airlock:problem:cancelled","title":"Cancelled","status":503,"code":"cancelled","detail":"cancelled","call_id":"c1",USAGE}"#
            ]],
        );
        check(
            Err(CallError::Unknown { message: text() }),
            expect![[
                r#"500 None {"type":"urn:airlock:problem:unknown","title":"Unknown","status":500,"code":"unknown","detail":"outcome unknown: text","call_id":"c1",USAGE}"#
            ]],
        );
    }
}
