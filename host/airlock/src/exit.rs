//! How a command ends: the exit code that scripts use, and the text people read.

use std::fmt;

use serde_json::{Value, json};

use crate::client::Reply;
use crate::flags::in_flags;
use crate::output::one_line;

/// The exit code of a verification that found something.
pub const FOUND: u8 = 9;

/// The exit code of what can't be used as it is.
pub const INVALID: u8 = 5;

/// The exit code where a person must look, or answer.
pub const PERSON: u8 = 10;

/// The exit code of what may go well later.
pub const LATER: u8 = 7;

/// A failure the API described.
#[derive(Debug, Clone)]
pub struct Failure {
    /// HTTP status.
    pub status: u16,
    /// The stable code of the problem.
    pub code: String,
    /// The problem as the server sent it (RFC 9457).
    pub problem: Value,
    /// What to do next; empty where that is not known.
    pub hint: String,
}

impl std::error::Error for Failure {}

impl Failure {
    /// Reads the problem details of a response that is not a success.
    pub fn from_reply(reply: &Reply) -> Self {
        let parsed = serde_json::from_slice(&reply.body).ok();
        let parsed = parsed.filter(|parsed: &Value| parsed["code"].is_string());
        let problem = parsed.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&reply.body);
            problem("no-code", &format!("status {}: {text}", reply.status))
        });
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        Self {
            status: reply.status,
            code,
            problem,
            hint: String::new(),
        }
    }

    /// The exit code; `airlock --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match (self.code.as_str(), self.status) {
            ("unknown" | "outcome_unknown" | "outcome-unknown", _) => 8,
            ("escalate", _) => PERSON,
            ("transient" | "unreachable", _) => LATER,
            // The host's own failure, which waiting does not mend.
            ("store-failed", _) => 1,
            ("limit", _) | (_, 429 | 503 | 413) => 6,
            // Of no Airlock: a proxy's, which cannot reach the server.
            ("no-code", 502 | 504) => LATER,
            ("denied", _) | (_, 401 | 403) => 3,
            (_, 404 | 410) => 4,
            (_, 400 | 405..=428) => 5,
            _ => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = |name: &str| self.problem[name].as_str().filter(|text| !text.is_empty());
        match (field("detail"), field("title")) {
            // A tool may have chosen the words: further lines of it are indented
            // deeper than ours.
            (Some(detail), _) => {
                let detail = in_flags(&self.code, detail);
                f.write_str(&detail.replace('\n', "\n    "))?;
            }
            (None, Some(title)) => f.write_str(&one_line(title))?,
            (None, None) => write!(f, "the server answered with status {}", self.status)?,
        }
        write!(f, " [{}]", self.code)?;
        if let Some(denials) = self.problem["denials"].as_array() {
            // The first line has told the one that ended the call.
            for denial in denials
                .iter()
                .filter(|denial| **denial != self.problem["denial"])
            {
                let part = |name: &str| one_line(denial[name].as_str().unwrap_or_default());
                write!(
                    f,
                    "\n  denied: {} {}: {}",
                    part("capability"),
                    part("operation"),
                    part("rule")
                )?;
            }
        }
        if !self.hint.is_empty() {
            write!(f, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}

/// The exit code of a run's end: that of a call which ends so, `failed` unless its
/// code says more.
pub fn code_of_end(end: &Value) -> u8 {
    match (end["state"].as_str(), end["code"].as_str()) {
        (Some("succeeded" | "continued"), _) => 0,
        (Some("escalated"), _) => PERSON,
        (Some("failed"), Some(code)) => match code {
            "denied" => 3,
            "not-found" => 4,
            "invalid-input" => 5,
            "limit" => 6,
            "transient" => LATER,
            "unknown" => 8,
            "escalate" => PERSON,
            _ => 1,
        },
        _ => 1,
    }
}

/// A verification that found something; exit code 9.
#[derive(Debug, Clone)]
pub struct Found(pub String);

impl std::error::Error for Found {}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was typed can't be used; exit code 2.
#[derive(Debug, Clone)]
pub struct Misuse(pub String);

impl std::error::Error for Misuse {}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error as a problem, for programs: as the API described it, or one of this
/// process: `usage`, `verification-failed`, `failed`.
pub fn problem_of(error: &anyhow::Error) -> Value {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.problem.clone();
    }
    let code = match code_of(error) {
        2 => "usage",
        FOUND => "verification-failed",
        _ => "failed",
    };
    problem(code, &format!("{error:#}"))
}

/// A problem that no server described, so that it has no status.
pub fn problem(code: &str, detail: &str) -> Value {
    json!({ "type": format!("urn:airlock:problem:{code}"), "code": code, "detail": detail })
}

/// The exit code of an error.
pub fn code_of(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.exit_code();
    }
    if error.is::<Found>() {
        return FOUND;
    }
    if error.is::<Misuse>() {
        return 2;
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_tool_forge_no_line() {
        let forged = "no\n  denied: files x: y\nairlock: it was done";
        let denial = json!({ "capability": "files", "operation": forged, "rule": forged });
        let problem = json!({ "code": "permanent", "detail": forged, "denials": [denial] });
        let failure = Failure {
            status: 502,
            code: "permanent".to_owned(),
            problem,
            hint: "our hint".to_owned(),
        };
        let shown = failure.to_string();
        let ours: Vec<&str> = shown
            .lines()
            .filter(|line| !line.starts_with("    "))
            .collect();
        assert_eq!(ours.len(), 3, "{shown}");
        assert!(ours[0] == "no" && ours[2] == "  our hint", "{shown}");
        assert!(ours[1].starts_with("  denied: files no\\n"), "{shown}");
    }

    #[test]
    fn scripts_see_what_to_do_next() {
        let table = [
            (502, "permanent", 1),
            (503, "transient", 7),
            (502, "limit", 6),
            (504, "limit", 6),
            (413, "limit", 6),
            (413, "body-too-large", 6),
            (503, "overloaded", 6),
            (503, "store-failed", 1),
            (503, "cancelled", 6),
            (502, "no-code", 7),
            (504, "no-code", 7),
            (500, "unknown", 8),
            (409, "escalate", 10),
            (403, "denied", 3),
            (401, "unauthenticated", 3),
            (404, "not-found", 4),
            (422, "invalid-input", 5),
            (500, "internal", 1),
        ];
        for (status, code, expect) in table {
            let body = match code {
                "no-code" => b"<html>".to_vec(),
                code => json!({ "code": code }).to_string().into_bytes(),
            };
            let failure = Failure::from_reply(&Reply {
                status,
                body,
                retry_after_s: None,
            });
            assert_eq!(failure.code, code);
            assert_eq!(failure.exit_code(), expect, "{status} {code}");
        }
    }

    #[test]
    fn a_run_ends_a_command_as_a_call_would() {
        let failed = |code: &str| json!({ "state": "failed", "code": code, "detail": "no" });
        let table = [
            (json!({ "state": "succeeded", "output": "{}" }), 0),
            (json!({ "state": "escalated", "reason": "odd" }), 10),
            (json!({ "state": "cancelled", "unknown": [] }), 1),
            (failed("permanent"), 1),
            (failed("open-handles"), 1),
            (failed("denied"), 3),
            (failed("not-found"), 4),
            (failed("invalid-input"), 5),
            (failed("limit"), 6),
            (failed("transient"), 7),
            (failed("unknown"), 8),
            (failed("escalate"), 10),
            (json!({ "state": "of-tomorrow" }), 1),
        ];
        for (end, expect) in table {
            assert_eq!(code_of_end(&end), expect, "{end}");
        }
    }
}
