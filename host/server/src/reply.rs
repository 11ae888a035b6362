//! Replies and refusals, and how they become HTTP.

use airlock_runtime::problem::{PROBLEM_MEDIA_TYPE, log_failure};
use airlock_runtime::{Failure, Problem, StoredReply};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const BACKUP: &str = "application/vnd.sqlite3";
pub(crate) const EVENTS: &str = "text/event-stream";
pub(crate) const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Headers of a reply, those of [`crate::front`] included.
const HEADERS_EXPECTED: usize = 8;
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What a handler replies.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) media: &'static str,
    pub(crate) body: ReplyBody,
    pub(crate) location: Option<String>,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) replayed: bool,
    /// It holds a secret: never kept for an idempotency key.
    pub(crate) secret: bool,
}

/// Its body.
pub(crate) enum ReplyBody {
    Bytes(Bytes),
    Stream(Body),
    /// With a head of its own, of which only what every reply gets is changed.
    Whole(Box<Response>),
}

/// Why there is no reply.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Box<Problem>);

impl<F: Failure> From<F> for Refusal {
    fn from(failure: F) -> Self {
        log_failure(&failure);
        Self(Box::new(Problem::of(&failure)))
    }
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(status, code, detail)))
    }

    /// What happened, in words.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn retry_after_s(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// As a reply, so that it can be kept.
    pub(crate) fn into_reply(self) -> Reply {
        Reply {
            media: PROBLEM_MEDIA_TYPE,
            retry_after_s: self.0.retry_after_s,
            ..Reply::bytes(self.0.status, JSON, self.0.to_json())
        }
    }
}

impl Reply {
    /// JSON with status 200.
    pub(crate) fn json(value: &impl Serialize) -> Result<Self, Refusal> {
        Self::json_as(200, value)
    }

    /// JSON with another status.
    pub(crate) fn json_as(status: u16, value: &impl Serialize) -> Result<Self, Refusal> {
        match serde_json::to_vec(value) {
            Ok(bytes) => Ok(Self::bytes(status, JSON, bytes)),
            Err(error) => {
                tracing::error!(%error, "a reply is no JSON");
                Err(Refusal::new(
                    500,
                    "internal",
                    "the host failed; its log says why",
                ))
            }
        }
    }

    pub(crate) fn bytes(status: u16, media: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            media,
            body: ReplyBody::Bytes(body.into()),
            location: None,
            retry_after_s: None,
            replayed: false,
            secret: false,
        }
    }

    /// 204.
    pub(crate) fn nothing() -> Self {
        Self::bytes(204, JSON, Bytes::new())
    }

    /// For an idempotency key; `None` when it can't be kept.
    pub(crate) fn stored(&self) -> Option<StoredReply> {
        match &self.body {
            ReplyBody::Bytes(body) if !self.secret => Some(StoredReply {
                status: self.status,
                body: body.clone(),
                replayed: false,
                retry_after_s: self.retry_after_s,
            }),
            _ => None,
        }
    }

    /// As HTTP.
    pub(crate) fn into_response(self) -> Response {
        let body = match self.body {
            ReplyBody::Bytes(bytes) => Body::from(bytes),
            ReplyBody::Stream(body) => body,
            ReplyBody::Whole(response) => return *response,
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        // With what every reply gets: the map does not grow twice.
        headers.reserve(HEADERS_EXPECTED);
        if self.status != 204 {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        if let Some(location) = self
            .location
            .and_then(|text| HeaderValue::try_from(text).ok())
        {
            headers.insert(LOCATION, location);
        }
        response
    }
}

impl From<StoredReply> for Reply {
    fn from(stored: StoredReply) -> Self {
        let media = if stored.status >= 400 {
            PROBLEM_MEDIA_TYPE
        } else {
            JSON
        };
        Self {
            replayed: stored.replayed,
            retry_after_s: stored.retry_after_s,
            ..Self::bytes(stored.status, media, stored.body)
        }
    }
}

/// 405 with the methods there are.
pub(crate) fn method_not_allowed(allow: &str) -> Response {
    let refusal = Refusal::new(
        405,
        "method-not-allowed",
        format!("this path takes {allow}"),
    );
    let mut response = refusal.into_reply().into_response();
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}
