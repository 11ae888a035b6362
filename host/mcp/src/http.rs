//! Streamable HTTP: one request at a time, whose token was checked by whoever
//! calls this.
//!
//! What must stay true: a request reaches a session only with the token that
//! began it; requests of the version without sessions keep nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{Failure, Principal, Runtime};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use rmcp::model::ProtocolVersion;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::direct;
use crate::handler::{Caller, Handler, Shared};
use crate::sessions::{ID_IN_USE, Sessions};

/// What refusals are recorded with.
pub(crate) const SUBJECT: &str = "POST /mcp";
/// Which session a request belongs to.
const SESSION: &str = "mcp-session-id";
/// The method that begins a session, as messages have it.
const INITIALIZE: &[u8] = b"\"initialize\"";
/// Which version it speaks.
pub(crate) const VERSION: &str = "mcp-protocol-version";

/// Bounds. All are on by default.
#[derive(Debug, Clone)]
pub struct McpConfig {
    /// Sessions at once.
    pub sessions_max: usize,
    /// Sessions at once of one token.
    pub sessions_of_token_max: usize,
    /// A session in which nothing happens for so long ends.
    pub session_idle: Duration,
    /// A stream sends a line at least this often.
    pub keep_alive: Duration,
    /// Largest message; whoever calls this bounds it too.
    pub message_bytes_max: usize,
}

impl Default for McpConfig {
    fn default() -> Self {
        Self {
            sessions_max: 1_000,
            sessions_of_token_max: 100,
            session_idle: Duration::from_secs(1_800),
            keep_alive: Duration::from_secs(15),
            message_bytes_max: 4 << 20,
        }
    }
}

/// Why a request is not handled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionRefused {
    /// There is none with that id, or it is another token's.
    #[error("there is no such session: begin another one")]
    NotFound,
    /// As many as there may be.
    #[error("there are as many sessions as there may be; the version 2026-07-28 needs none")]
    InAll,
    /// The token has as many as it may.
    #[error("the token has {0} sessions already; end some")]
    OfToken(usize),
}

impl Failure for SessionRefused {
    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "session-not-found",
            Self::InAll => "overloaded",
            Self::OfToken(_) => "too-many-sessions",
        }
    }
    fn status(&self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::InAll => 503,
            Self::OfToken(_) => 429,
        }
    }
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NotFound => None,
            Self::InAll | Self::OfToken(_) => Some(Duration::from_secs(10)),
        }
    }
}

/// The protocol over HTTP; its sessions end with it.
pub struct Mcp {
    service: StreamableHttpService<Handler, Sessions>,
    sessions: Arc<Sessions>,
    shared: Arc<Shared>,
    runtime: Arc<Runtime>,
    _end: DropGuard,
}

impl Mcp {
    /// Over `runtime`. Must be made on a tokio runtime.
    #[must_use]
    pub fn new(runtime: &Arc<Runtime>, config: &McpConfig) -> Self {
        let shared = Shared::new(Arc::clone(runtime));
        let sessions = Sessions::new(runtime, config);
        let end = CancellationToken::new();
        // `Host` and `Origin` are checked before a request comes here.
        let http = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .disable_allowed_origins()
            // The sessions see to it, by their version.
            .with_sse_retry(None)
            .with_sse_keep_alive(Some(config.keep_alive))
            .with_json_response(true)
            .with_max_request_body_bytes(config.message_bytes_max)
            .with_cancellation_token(end.clone());
        let of_service = Arc::clone(&shared);
        let service = StreamableHttpService::new(
            move || Ok(Handler::new(Arc::clone(&of_service), None)),
            Arc::clone(&sessions),
            http,
        );
        Self {
            service,
            sessions,
            shared,
            runtime: Arc::clone(runtime),
            _end: end.drop_guard(),
        }
    }

    /// Handles one request of `who`.
    ///
    /// # Errors
    /// [`SessionRefused`]: it did not reach the protocol.
    pub async fn handle(
        &self,
        who: Arc<Principal>,
        mut request: Request<Bytes>,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, SessionRefused> {
        let headers = request.headers();
        let may_begin = match session(headers) {
            Some(id) if !self.sessions.is_of(id, &who) => {
                if self.sessions.is_there(id) {
                    self.runtime.note_refusal(&who.name, "forbidden", SUBJECT);
                }
                return Err(SessionRefused::NotFound);
            }
            Some(_) => false,
            None => request.method() == Method::POST && may_begin(headers, request.body()),
        };
        if session(request.headers()).is_none() && request.method() == Method::POST {
            let (headers, body) = (request.headers(), request.body());
            if let Some(answer) = direct::answered(&self.shared, &who, headers, body).await {
                return Ok(whole(answer));
            }
        }
        // The token has done its work, and is kept by no session.
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(Caller(Arc::clone(&who)));
        let handled = self.service.handle(request.map(Full::new));
        match may_begin {
            true => self.sessions.beginning(&who, handled).await,
            false => Ok(handled.await),
        }
    }
}

/// An answer that comes at once.
fn whole(answer: Bytes) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::new(answer).boxed());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// The session that a request names; one that is no text names none there is.
fn session(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(SESSION)?;
    Some(value.to_str().unwrap_or_default())
}

/// Whether a response of 500 is the refusal of a request that has the id of one that
/// is under way.
#[must_use]
pub fn is_id_in_use(text: &str) -> bool {
    text.contains(ID_IN_USE)
}

/// Whether a request may begin a session: one of a version with sessions, or an
/// `initialize`, whatever version its header names.
fn may_begin(headers: &HeaderMap, body: &[u8]) -> bool {
    let version = headers.get(VERSION).and_then(|value| value.to_str().ok());
    let sessionless =
        version.is_some_and(|version| version >= ProtocolVersion::V_2026_07_28.as_str());
    !sessionless
        || body
            .windows(INITIALIZE.len())
            .any(|part| part == INITIALIZE)
}
