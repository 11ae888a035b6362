//! A request that may be sent once more: the peer closed a kept connection as it
//! came, which is told from a request that was lost only by asking again.
//!
//! What must stay true: only what changes nothing and carries nothing is sent
//! again, only where its connection had served another, and only once.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::BytesMut;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty};

use super::body::RequestBody;

/// What is needed to send a request again.
pub(super) struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: RequestBody,
}

impl Spare {
    /// Of a request that changes nothing and carries nothing.
    pub(super) fn of(request: &Request<RequestBody>) -> Option<Self> {
        let method = request.method();
        if (method != Method::GET && method != Method::HEAD) || !is_empty(request) {
            return None;
        }
        let first = request.body();
        let empty = Empty::new().map_err(|never| match never {});
        let body = RequestBody {
            inner: empty.boxed_unsync(),
            permit: Arc::clone(&first.permit),
            limit: first.limit,
            sent: 0,
            placeholders: first.placeholders.clone(),
            tail: BytesMut::new(),
            failure: Arc::clone(&first.failure),
            over: Arc::clone(&first.over),
        };
        Some(Self {
            method: method.clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            body,
        })
    }

    pub(super) fn request(self) -> Request<RequestBody> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

/// Whether no body goes out: hyper sends none of unknown length with a GET or a
/// HEAD that states no length.
fn is_empty(request: &Request<RequestBody>) -> bool {
    match request.body().size_hint().exact() {
        Some(bytes) => bytes == 0,
        None => !request.headers().contains_key(CONTENT_LENGTH),
    }
}

/// Whether the connection ended before the head of an answer was there.
pub(super) fn unanswered(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    let io = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let gone = |kind| {
        matches!(
            kind,
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        )
    };
    error.is_incomplete_message() || io.is_some_and(|io| gone(io.kind()))
}
