//! Which error a request is that failed.
//!
//! What must stay true: a request that changes something, and that may have
//! arrived, is `unknown` whatever became of its answer. Any other error says that
//! nothing happened.

// Whoever sends natively is a test's stand-in.
#![cfg_attr(
    not(any(test, target_family = "wasm")),
    allow(dead_code, reason = "for components")
)]

use super::Request;
use crate::Error;

/// How far a request came that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No grant covers it.
    Denied,
    /// It never left, and may later.
    Unsent,
    /// It never left, and never will.
    Impossible,
    /// It is longer than the grant allows.
    TooLong(Option<u64>),
    /// It left, and the connection ended before the answer did.
    Unanswered,
    /// It was answered, with what can't be taken.
    Unreadable,
    /// It was answered, with more than the grant allows.
    AnswerTooLong(Option<u64>),
}

impl Failure {
    /// The error of a request that failed so. `words` say how.
    pub(crate) fn error(self, request: &Request, words: &str) -> Error {
        let message = format!("{}: {words}", request.operation());
        let bytes = |size: Option<u64>| {
            size.map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes} bytes"))
        };
        match self {
            Self::Unanswered | Self::Unreadable | Self::AnswerTooLong(_)
                if !request.method.is_safe() =>
            {
                Error::unknown(message)
            }
            Self::Denied => {
                Error::last_denial_or("http", &request.operation(), "no grant covers this request")
            }
            Self::Unsent | Self::Unanswered => Error::transient(message, None),
            Self::Impossible | Self::Unreadable => Error::permanent(message),
            Self::TooLong(size) => Error::limit("request_bytes", bytes(size)),
            Self::AnswerTooLong(size) => Error::limit("response_bytes", bytes(size)),
        }
    }

    /// The same of a request whose answer had begun.
    pub(crate) fn once_answered(self, request: &Request) -> Self {
        match request.method.is_safe() {
            true => self,
            false => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, request};

    #[test]
    fn what_may_have_happened_is_unknown_and_nothing_else_is() {
        let methods = [
            (Method::Get, true),
            (Method::Head, true),
            (Method::Options, true),
            (Method::Post, false),
            (Method::Put, false),
            (Method::Patch, false),
            (Method::Delete, false),
        ];
        // Of one that asks for no change, and of one that does.
        let cases = [
            (Failure::Denied, "denied", "denied"),
            (Failure::Unsent, "transient", "transient"),
            (Failure::Impossible, "permanent", "permanent"),
            (Failure::TooLong(Some(7)), "limit", "limit"),
            (Failure::Unanswered, "transient", "unknown"),
            (Failure::Unreadable, "permanent", "unknown"),
            (Failure::AnswerTooLong(None), "limit", "unknown"),
        ];
        for (method, is_safe) in methods {
            let request = request(method, "http://a.test/x");
            for (failure, safe, other) in cases {
                let error = failure.error(&request, "some words");
                let expected = if is_safe { safe } else { other };
                assert_eq!(error.code(), expected, "{method:?} {failure:?}");
                // Once an answer began, it happened.
                let late = failure.once_answered(&request).error(&request, "");
                let expected = if is_safe { safe } else { "unknown" };
                assert_eq!(late.code(), expected, "{method:?} {failure:?}");
            }
        }
        let error = Failure::Unreadable.error(&request(Method::Post, "http://a.test/x"), "why");
        assert_eq!(error, Error::unknown("POST http://a.test/x: why"));
    }
}
