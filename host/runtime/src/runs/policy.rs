//! What a grant says about a call that failed: when it is tried again, and what
//! becomes of its run in the end.
//!
//! What must stay true: only what may be repeated, or was not made, is tried
//! again, unless the grant says otherwise of lost outcomes; attempts are counted
//! in the journal.

use std::collections::BTreeMap;

use airlock_sandbox::CallError;
use airlock_sandbox::capability::tools::{ErrorCode, OnError, Retry, Rule};

use super::event::End;
use crate::ids;

/// How calls under a rule are tried again.
pub(super) fn retry(rule: &Rule) -> Retry {
    rule.retry.unwrap_or_default()
}

/// Milliseconds before the attempt after `attempt`: doubled with each, and a
/// random part of up to half more, unless the tool says how long; never over the
/// ceiling.
pub(super) fn backoff(retry: Retry, attempt: u32, after_ms: Option<u64>) -> u64 {
    let ms =
        |span: airlock_sandbox::limits::Span| u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX);
    let doublings = attempt.saturating_sub(1).min(32);
    let doubled = ms(retry.backoff).saturating_mul(1 << doublings);
    let jitter = u128::from(ids::random::<1>()[0]) * u128::from(doubled) / 512;
    let jitter = u64::try_from(jitter).unwrap_or(u64::MAX);
    after_ms
        .unwrap_or(doubled.saturating_add(jitter))
        .min(ms(retry.backoff_max))
}

/// How the run ends since a call of it failed for good; `None`: its agent is
/// told.
pub(super) fn end(rule: &Rule, tool: &str, error: &CallError) -> Option<End> {
    end_by(&rule.on_error, &format!("`{tool}`"), error)
}

/// As [`end`], of whatever a rule's `on_error` is about.
pub(super) fn end_by(
    on_error: &BTreeMap<ErrorCode, OnError>,
    what: &str,
    error: &CallError,
) -> Option<End> {
    let code = match error {
        CallError::InvalidInput { .. } => ErrorCode::InvalidInput,
        CallError::Denied(_) => ErrorCode::Denied,
        CallError::NotFound { .. } => ErrorCode::NotFound,
        CallError::Transient { .. } => ErrorCode::Transient,
        CallError::Permanent { .. } => ErrorCode::Permanent,
        CallError::Escalate { .. } => ErrorCode::Escalate,
        CallError::Limit { .. } => ErrorCode::Limit,
        CallError::Unknown { .. } => ErrorCode::Unknown,
        _ => return None,
    };
    let why = format!("{what}: {error}");
    match on_error.get(&code)? {
        OnError::Tell => None,
        OnError::Escalate => Some(End::Escalated { reason: why }),
        OnError::Abort => Some(End::Failed {
            code: crate::calls::code_of(error).to_owned(),
            detail: why,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use airlock_sandbox::limits::Span;

    use super::*;

    #[test]
    fn waits_between_attempts_double_and_are_bounded() {
        let spans = |backoff, backoff_max| Retry {
            attempts: 9,
            backoff: Span(Duration::from_millis(backoff)),
            backoff_max: Span(Duration::from_millis(backoff_max)),
        };
        let usual = Retry::default();
        let table = [
            (usual, 1, None, 200..=300),
            (usual, 2, None, 400..=600),
            (usual, 5, None, 3_200..=4_800),
            (usual, 60, None, 30_000..=30_000),
            (usual, u32::MAX, None, 30_000..=30_000),
            (usual, 1, Some(5_000), 5_000..=5_000),
            (usual, 1, Some(u64::MAX), 30_000..=30_000),
            (spans(0, 0), 7, Some(9), 0..=0),
            (spans(10, 15), 1, None, 10..=15),
            (spans(10, 15), 2, None, 15..=15),
            (
                spans(86_400_000, 86_400_000),
                40,
                None,
                86_400_000..=86_400_000,
            ),
        ];
        for (retry, attempt, after, expect) in table {
            for _ in 0..20 {
                let got = backoff(retry, attempt, after);
                assert!(expect.contains(&got), "{attempt} {after:?}: {got}");
            }
        }
        let waits: std::collections::BTreeSet<u64> =
            (0..200).map(|_| backoff(usual, 1, None)).collect();
        assert!(waits.len() > 20, "they differ: {waits:?}");
    }
}
