//! What a provider's refusal means.
//!
//! What must stay true: nothing that a provider says is told where it is about the
//! host's key; the rest is told by whoever has searched it whole, and by [`bounded`].

use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::ErrorBody;
use crate::error::{Failed, Fate, ModelError, Why};
use crate::json::is_light_bytes;

/// Longest text that is told, bytes.
const TOLD_BYTES_MAX: usize = 480;
/// Longest text of a provider that says anything, bytes.
const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// The longest wait that a provider can ask for, milliseconds.
const RETRY_AFTER_MS_MAX: u64 = 24 * 3_600_000;

/// Words of providers for a budget of theirs that is used up.
const QUOTA: [&str; 4] = [
    "insufficient_quota",
    "billing_error",
    "billing_hard_limit_reached",
    "billing_not_active",
];
/// One provider has no word for that, but a sentence.
const QUOTA_SENTENCE: &str = "credit balance is too low";
/// Words of providers for a model that they do not have, or not any more.
const MISSING: [&str; 3] = ["model_not_found", "model_decommissioned", "invalid_model"];
/// Words of providers for a filter that declined the request.
const FILTER: [&str; 4] = [
    "content_filter",
    "invalid_prompt",
    "content_policy_violation",
    "ResponsibleAIPolicyViolation",
];

/// Words of providers for a conversation that is longer than the model's context.
const TOO_LONG: [&str; 2] = ["context_length_exceeded", "exceed_context_size_error"];
/// Those without a word have a sentence, in lower case here: Anthropic, vLLM and
/// Mistral, llama.cpp, OpenAI, Ollama, LM Studio, Gemini.
const TOO_LONG_SENTENCES: [&str; 9] = [
    "prompt is too long",
    "exceed context limit",
    "maximum context length",
    "exceeds the available context",
    "exceeds the context window",
    "exceeds the context length",
    "greater than the context length",
    "input token count",
    "too large for model with",
];

/// An answer that is no success.
pub(crate) fn of_response(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Failed {
    let error = error_body(body);
    let is = |words: &[&str]| {
        error
            .kinds
            .iter()
            .any(|kind| words.contains(&kind.as_str()))
    };
    let said = said(status, &error.message);
    let permanent = |why, message: String| answered(why, ModelError::Permanent { message });
    let later = |why| {
        let retry_after_ms = retry_after_ms(headers, now);
        let message = said.clone();
        answered(
            why,
            ModelError::Transient {
                message,
                retry_after_ms,
            },
        )
    };
    match status.as_u16() {
        300..=399 => permanent(
            Why::Rejected,
            format!("the provider sent a redirect ({status}); none is followed"),
        ),
        401 | 403 if is(&FILTER) => refused(said),
        400 if error.message.contains(QUOTA_SENTENCE) => permanent(Why::Quota, said),
        401 => permanent(
            Why::Key,
            format!("the provider refused the host's key ({status})"),
        ),
        403 => permanent(
            Why::Key,
            format!("the provider lets the host's key not do that, or not from here ({status})"),
        ),
        402 => permanent(Why::Quota, said),
        404 | 405 | 410 | 501 => permanent(Why::Missing, said),
        408 => Failed::unknown(Why::Timeout, said),
        429 if is(&QUOTA) => permanent(Why::Quota, said),
        429 => later(Why::RateLimit),
        409 | 425 | 500 | 502 | 503 | 529 => later(Why::Server),
        // A gateway lost patience; what stands behind it may have gone on.
        504 | 522 | 524 => Failed::unknown(Why::Timeout, said),
        400..=499 if is(&FILTER) => refused(said),
        400 if is(&MISSING) => permanent(Why::Missing, said),
        400 | 413 | 422 if is_too_long(&error) => too_long(said),
        400..=499 => answered(Why::Rejected, ModelError::invalid(said)),
        500..=599 => later(Why::Server),
        _ => Failed::garbled(format!("the provider answered with {status}")),
    }
}

/// An error that came within an answer.
pub(crate) fn of_error(error: &ErrorBody) -> Failed {
    let is = |words: &[&str]| {
        error
            .kinds
            .iter()
            .any(|kind| words.contains(&kind.as_str()))
    };
    let message = format!("the provider failed: {}", error.message.trim());
    let transient = |why| {
        let message = message.clone();
        answered(
            why,
            ModelError::Transient {
                message,
                retry_after_ms: None,
            },
        )
    };
    if is(&QUOTA) || error.message.contains(QUOTA_SENTENCE) {
        return answered(Why::Quota, ModelError::Permanent { message });
    }
    if is(&FILTER) {
        return refused(message);
    }
    if is(&[
        "authentication_error",
        "permission_error",
        "invalid_api_key",
    ]) {
        let message = "the provider refused the host's key".to_owned();
        return answered(Why::Key, ModelError::Permanent { message });
    }
    if is_too_long(error) {
        return too_long(message);
    }
    if is(&["invalid_request_error", "request_too_large"]) {
        return answered(Why::Rejected, ModelError::invalid(message));
    }
    if is(&["not_found_error"]) {
        return answered(Why::Missing, ModelError::Permanent { message });
    }
    if is(&["rate_limit_error", "rate_limit_exceeded"]) {
        return transient(Why::RateLimit);
    }
    transient(Why::Server)
}

fn answered(why: Why, error: ModelError) -> Failed {
    Failed {
        why,
        fate: Fate::Answered,
        error,
    }
}

fn is_too_long(error: &ErrorBody) -> bool {
    let message = error.message.to_lowercase();
    let says = |sentence: &&str| message.contains(*sentence);
    let word = |kind: &String| TOO_LONG.contains(&kind.as_str());
    error.kinds.iter().any(word) || TOO_LONG_SENTENCES.iter().any(says)
}

/// The agent can make it shorter.
fn too_long(said: String) -> Failed {
    let limit = "context_tokens".to_owned();
    answered(Why::Rejected, ModelError::Limit { limit, value: said })
}

fn refused(message: String) -> Failed {
    answered(Why::Refusal, ModelError::Denied { message })
}

fn said(status: StatusCode, message: &str) -> String {
    let name = status.canonical_reason().map(|name| format!(" {name}"));
    let (number, name) = (status.as_u16(), name.unwrap_or_default());
    match message.trim() {
        "" => format!("the provider answered {number}{name}"),
        text => format!("the provider answered {number}{name}: {text}"),
    }
}

/// One line of printable characters, cut where it is long: what must not be told has
/// to be looked for before, half of it would not be found.
pub(crate) fn bounded(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if airlock_text::is_hidden(c) { ' ' } else { c })
        .collect();
    let line = line.trim();
    match line.len() <= TOLD_BYTES_MAX {
        true => line.to_owned(),
        false => format!("{}…", &line[..line.floor_char_boundary(TOLD_BYTES_MAX)]),
    }
}

/// Reads the shapes that are about: `{"error": {…}}`, `{"error": "…"}`,
/// `{"message": …}`, `{"detail": …}`. Anything else, such as a page of a proxy,
/// says nothing.
pub(crate) fn error_body(body: &[u8]) -> ErrorBody {
    let value = is_light_bytes(body).then(|| serde_json::from_slice::<Value>(body));
    let value = value.and_then(Result::ok).unwrap_or_default();
    // One server wraps it into a list.
    let value = value.get(0).unwrap_or(&value);
    of_value(value)
}

pub(crate) fn of_value(value: &Value) -> ErrorBody {
    let error = value.get("error").unwrap_or(value);
    let kinds = ["code", "type", "status"];
    let kinds = kinds.iter().filter_map(|name| error.get(name)?.as_str());
    let inner = error.pointer("/innererror/code").and_then(Value::as_str);
    let message = ["message", "detail"];
    let message = message.iter().find_map(|name| error.get(name)?.as_str());
    let message = message.or(error.as_str());
    let message = message.filter(|text| text.len() <= MESSAGE_BYTES_MAX);
    ErrorBody {
        kinds: kinds.chain(inner).map(str::to_owned).collect(),
        message: message.unwrap_or_default().to_owned(),
    }
}

/// What `retry-after-ms` or `Retry-After` says: seconds, or a date.
pub(crate) fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let milliseconds = text("retry-after-ms").and_then(|text| number(text, 1.0));
    let asked = milliseconds.or_else(|| {
        let text = text("retry-after")?;
        number(text, 1_000.0).or_else(|| {
            let date = httpdate::parse_http_date(text).ok()?;
            let wait = date.duration_since(now).unwrap_or_default();
            Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
        })
    })?;
    Some(asked.min(RETRY_AFTER_MS_MAX))
}

fn number(text: &str, milliseconds: f64) -> Option<u64> {
    let number: f64 = text.parse().ok()?;
    // What is too large becomes the largest.
    (number >= 0.0).then_some((number * milliseconds).ceil() as u64)
}
