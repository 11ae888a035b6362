//! Failures as callers see them: RFC 9457 problem details with a stable `code`.
//!
//! What must stay true: each concern has one error enum, which knows its code,
//! its status and the text a caller may read; what is only for the log stays in
//! the error's own `Display` and `source`.

use std::borrow::Cow;
use std::time::Duration;

use airlock_journal::StoreError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The media type of a problem.
pub const PROBLEM_MEDIA_TYPE: &str = "application/problem+json";

/// A failure that can be told to a caller.
pub trait Failure: std::error::Error {
    /// Stable, kebab-case; what programs branch on.
    fn code(&self) -> &'static str;

    /// The HTTP status.
    fn status(&self) -> u16;

    /// What the caller may read: no paths, no causes. The default is the error's
    /// own text, for errors that hold nothing but the caller's own data.
    fn detail(&self) -> String {
        self.to_string()
    }

    /// When trying again makes sense.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// Further members of the problem.
    fn members(&self) -> Map<String, Value> {
        Map::new()
    }
}

/// An RFC 9457 problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:airlock:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, kebab-case; what programs branch on.
    pub code: Cow<'static, str>,
    /// What happened this time.
    pub detail: String,
    /// Seconds after which trying again makes sense; also in `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
    /// Further members, by code.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

impl Problem {
    /// A problem of `code`.
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:airlock:problem:{code}"),
            title: title(code),
            status,
            code: Cow::Borrowed(code),
            detail: detail.into(),
            retry_after_s: None,
            members: Map::new(),
        }
    }

    /// A failure as its caller sees it.
    pub fn of(failure: &dyn Failure) -> Self {
        if let Some(place) = damaged(failure) {
            return Self::damaged(place);
        }
        let mut problem = Self::new(failure.status(), failure.code(), failure.detail());
        if let Some(why) = cause(failure, |_| true).and_then(of_the_disk) {
            problem.detail.push_str(&format!(": {why}"));
        }
        problem.retry_after_s = failure
            .retry_after()
            .map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        problem.members = failure.members();
        problem
    }

    /// What is stored is not what was written: trying again helps nobody.
    fn damaged(place: &str) -> Self {
        let detail = format!(
            "what is stored is damaged: {place}; nothing was changed. `airlock audit verify` and the server's log tell more, and `airlock restore FILE` brings back a backup"
        );
        Self::new(500, "data-damaged", detail)
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The JSON text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Where the store is damaged, if that is why this failed.
fn damaged(failure: &dyn Failure) -> Option<&str> {
    let found = cause(failure, |error| matches!(error, StoreError::Corrupt { .. }))?;
    match found {
        StoreError::Corrupt { place } => Some(place),
        _ => None,
    }
}

/// What a caller may read of a store that failed, and what helps: no place of the host.
fn of_the_disk(error: &StoreError) -> Option<String> {
    let known = [
        ("disk is full", "the disk is full"),
        ("No space left", "the disk is full"),
        ("uota exceeded", "the disk's quota is used up"),
        ("disk I/O error", "the disk failed"),
        ("Input/output error", "the disk failed"),
        ("readonly", "the disk can't be written"),
        ("Read-only", "the disk can't be written"),
    ];
    let why = |cause: &str| {
        let known = known.iter().find(|(text, _)| cause.contains(text));
        known.map_or("the server's log says why", |(_, why)| why)
    };
    match error {
        StoreError::Poisoned { cause } => Some(format!(
            "the store failed and keeps nothing any more ({}); look at the disk, and restart the server",
            why(cause)
        )),
        StoreError::Io { step, source } => Some(format!(
            "the store failed ({}); look at the disk",
            why(&format!("{step}: {source}"))
        )),
        _ => None,
    }
}

/// What is wrong with the store, where that is why this failed and is such.
fn cause(failure: &dyn Failure, is_such: impl Fn(&StoreError) -> bool) -> Option<&StoreError> {
    if failure.code() != "store-failed" {
        return None;
    }
    let mut cause = failure.source();
    while let Some(error) = cause {
        match error.downcast_ref::<StoreError>() {
            Some(found) if is_such(found) => return Some(found),
            _ => cause = error.source(),
        }
    }
    None
}

/// Why a body is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadJson {
    /// From 1.
    pub line: usize,
    /// From 1; 0 when it is about the whole line.
    pub column: usize,
    /// It is no JSON at all, rather than JSON of another shape.
    pub syntax: bool,
    /// What is wrong, and in which member, with the nearest right name for a wrong
    /// one.
    pub message: String,
}

/// Reads a JSON object from outside.
///
/// # Errors
/// Where and why it is not what it should be.
pub fn from_json<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, BadJson> {
    use airlock_sandbox::objects::Object;
    let mut json = serde_json::Deserializer::from_slice(text);
    let object: Object<T> = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        bad_json(&error.into_inner(), &path)
    })?;
    json.end().map_err(|error| bad_json(&error, "."))?;
    Ok(object.0)
}

fn bad_json(error: &serde_json::Error, path: &str) -> BadJson {
    // serde adds the place, which callers get apart.
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = crate::nearest::with_hint(message.strip_suffix(&place).unwrap_or(&message));
    let syntax = error.is_syntax() || error.is_eof();
    BadJson {
        line: error.line(),
        column: error.column(),
        syntax,
        message: match path {
            "." => message,
            _ if syntax => message,
            path => format!("{path}: {message}"),
        },
    }
}

/// Writes a failure of the host with all its causes into the log, which callers
/// don't see.
pub fn log_failure(failure: &dyn Failure) {
    if failure.status() < 500 {
        return;
    }
    let mut text = failure.to_string();
    let mut cause = failure.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    tracing::error!(code = failure.code(), error = text, "a request failed");
}

fn title(code: &str) -> String {
    let words = code.replace(['-', '_'], " ");
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().collect::<String>() + letters.as_str(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_body_is_said_with_its_member() {
        use crate::grants::GrantsUpdate;
        let table = [
            (
                r#"{"grants":{"kv":[{"bucket":"a"},{"bucket":"b","byts":"1KiB"}]}}"#,
                "grants.kv[1].byts: unknown field `byts`",
            ),
            (
                r#"{"grants":{"kv":[{"bucket":"a","bytes":10}]}}"#,
                "grants.kv[0].bytes: ",
            ),
            (
                r#"{"limits":{"cpu":5}}"#,
                "limits.cpu: `5` has no unit; write e.g. `500ms`",
            ),
            (
                r#"{"limits":{"wall":"soon"}}"#,
                "limits.wall: `soon` is not a duration",
            ),
            (r#"{"grant":{}}"#, "grant: unknown field `grant`"),
            ("[]", "invalid type: sequence, expected an object"),
            ("{} {}", "trailing characters"),
            ("{", "EOF while parsing"),
        ];
        for (text, expect) in table {
            let bad = from_json::<GrantsUpdate>(text.as_bytes()).expect_err(text);
            assert!(bad.message.starts_with(expect), "{text}: {}", bad.message);
        }
    }

    #[test]
    fn damage_says_where_and_is_no_overload() {
        let damage = |place: &str| StoreError::Corrupt {
            place: place.to_owned(),
        };
        let fenced = StoreError::Fenced {
            lease: "l".to_owned(),
        };
        let table: [(&dyn Failure, u16, &str); 3] = [
            (
                &crate::runs::RunError::Store(damage("record 4 of run_1")),
                500,
                "data-damaged",
            ),
            (
                &crate::grants::GrantError::Store(damage("grants")),
                500,
                "data-damaged",
            ),
            (&crate::runs::RunError::Store(fenced), 503, "store-failed"),
        ];
        for (failure, status, code) in table {
            let problem = Problem::of(failure);
            assert_eq!((problem.status, &*problem.code), (status, code));
        }
        let problem = Problem::of(table[0].0);
        assert!(problem.detail.contains("record 4 of run_1"), "{problem:?}");
        let problem = Problem::of(table[2].0);
        assert!(!problem.detail.contains("restart"), "{problem:?}");
    }

    #[test]
    fn whatever_was_to_be_stored_a_failed_store_says_why_and_what_helps() {
        use airlock_sandbox::capability::secrets::VaultError;
        let poisoned = |cause: &str| StoreError::Poisoned {
            cause: cause.to_owned(),
        };
        let full = || poisoned("/secret/place: COMMIT: database or disk is full");
        let failures: [Box<dyn Failure>; 6] = [
            Box::new(crate::grants::GrantError::Store(full())),
            Box::new(crate::calls::CallRefused::Store(full())),
            Box::new(crate::calls::CallRefused::from(
                crate::plugins::PluginError::from(full()),
            )),
            Box::new(crate::runs::RunError::Store(full())),
            Box::new(crate::secrets::SecretError::from(VaultError::Store(full()))),
            Box::new(crate::memory::MemoryFailure::from(full())),
        ];
        for failure in failures {
            let problem = Problem::of(&*failure);
            let detail = &problem.detail;
            assert_eq!((problem.status, &*problem.code), (503, "store-failed"));
            assert!(
                detail.ends_with(
                    ": the store failed and keeps nothing any more (the disk is full); look at the disk, and restart the server"
                ),
                "{detail}"
            );
            assert!(!detail.contains("/secret"), "{detail}");
        }
        let io = |text: &str| StoreError::Io {
            step: "reading /secret/place".to_owned(),
            source: text.into(),
        };
        let table = [
            (
                poisoned("fsync: Input/output error (os error 5)"),
                "(the disk failed)",
            ),
            (
                poisoned("attempt to write a readonly database"),
                "(the disk can't be written)",
            ),
            (poisoned("/secret/place"), "(the server's log says why)"),
            (
                io("No space left on device"),
                "(the disk is full); look at the disk",
            ),
            (
                io("/secret/place"),
                "(the server's log says why); look at the disk",
            ),
        ];
        for (error, expect) in table {
            let detail = Problem::of(&crate::grants::GrantError::Store(error)).detail;
            assert!(
                detail.contains(expect) && !detail.contains("/secret"),
                "{detail}"
            );
        }
    }

    #[test]
    fn a_problem_has_the_members_of_the_standard_and_the_code() {
        let mut problem = Problem::new(429, "rate-limited", "too fast").with("limit", "1/s");
        problem.retry_after_s = Some(2);
        let text = String::from_utf8(problem.to_json()).expect("utf-8");
        expect_test::expect![[r#"{"type":"urn:airlock:problem:rate-limited","title":"Rate limited","status":429,"code":"rate-limited","detail":"too fast","retry_after_s":2,"limit":"1/s"}"#]]
            .assert_eq(&text);
        let back: Problem = serde_json::from_str(&text).expect("a problem");
        assert_eq!(back, problem);
    }
}
