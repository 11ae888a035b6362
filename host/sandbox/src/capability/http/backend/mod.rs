//! The effect: one permitted request, sent over HTTP/1.1 on the host's own
//! runtime. The only part of the room that touches the network.
//!
//! What must stay true: nothing is sent before its permit, its rate and, with a
//! secret, its audit record; no wait is longer than the call; what ends early
//! takes its connection with it, so that a broken-off request never looks whole.

mod again;
mod body;
mod dial;
pub mod network;
mod pool;
pub(super) mod secret;
pub(super) mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HOST, RANGE, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustls::ClientConfig;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use self::again::Spare;
use self::body::{Clocks, Failure, RequestBody, ResponseBody, headers_bytes};
use self::dial::Dial;
use self::network::LOOKUPS_EACH_MAX;
use self::pool::{Connection, Key, Lease, Place, Pool};
use self::secret::Matchers;
use self::watch::{Search, Watch, conceal, unsearchable};
use super::rate::Rates;
use super::url::{Target, URL_BYTES_MAX};
use super::{Http, Rule};
use crate::capability::Capability;
use crate::capability::secrets::{Placeholders, Secret};
use crate::gate::{Missing, Permit, Reservation};
use crate::limits::ByteSize;
use crate::services::{AuditEvent, Services};

/// Host memory one request may take at once: a connection's buffer, a frame, what
/// is held back where it is searched for secrets, and what the guest wrote ahead.
pub(super) const EXCHANGE_BYTES: u64 = 4 * dial::READ_BYTES_MAX as u64;

/// How long connecting may take where the guest says nothing.
const CONNECT_TIME: Duration = Duration::from_secs(30);

/// The largest head of a request after secrets were put in, bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Made once per plugin and grants version.
pub struct Prepared {
    io: Handle,
    /// With a memory of TLS sessions of its own.
    tls: Arc<ClientConfig>,
    pool: Pool,
    rates: Rates,
    matchers: Matchers,
    /// The plugin's share of all lookups of names.
    lookups: Arc<Semaphore>,
}

impl Prepared {
    pub(super) fn new(services: &Services) -> Self {
        Self {
            pool: Pool::new(services.io.clone()),
            io: services.io.clone(),
            tls: services.network.tls(),
            rates: Rates::default(),
            matchers: Matchers::default(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_EACH_MAX)),
        }
    }

    /// The runtime that requests run on.
    pub(super) fn io(&self) -> &Handle {
        &self.io
    }

    #[cfg(test)]
    pub(super) fn matchers(&self) -> usize {
        self.matchers.count()
    }

    #[cfg(test)]
    pub(super) fn idle_connections(&self) -> usize {
        self.pool.idle()
    }
}

/// One request and all that belongs to it.
pub(super) struct Exchange {
    pub(super) services: Arc<Services>,
    pub(super) prepared: Arc<Prepared>,
    pub(super) permit: Arc<Permit<Http>>,
    pub(super) rule: Rule,
    pub(super) placeholders: Placeholders,
    /// Secrets in play; none where the call asked for none and no rule binds one to
    /// the host.
    pub(super) secrets: Vec<String>,
    /// Whether a rule binds one to the host.
    pub(super) bound: bool,
    pub(super) options: RequestOptions,
    pub(super) deadline: Instant,
    pub(super) headers_bytes_max: usize,
    pub(super) over: Arc<AtomicBool>,
    pub(super) reservation: Reservation,
}

impl Exchange {
    /// Sends the request and returns the response as soon as its head is there.
    pub(super) async fn run(
        self,
        parts: Parts,
        body: WasiBody,
    ) -> Result<Response<WasiBody>, Error> {
        self.take_rate()?;
        self.check_length(&parts.headers)?;
        let mut target = self.permit.op().target.clone();
        let connected = self.connect(false).await?;
        let mut headers = parts.headers;
        let watch = self.put_secret(&mut target, &mut headers).await?;
        let failure = Failure::default();
        let request = self.request(parts.method, &target, headers, body, &failure)?;
        let (response, lease) = self.exchange(connected, request, &failure).await?;
        self.receive(response, lease, watch)
    }

    fn deny(&self, needs: impl Into<String>, error: Error) -> Error {
        self.permit
            .gate()
            .deny(Http::NAME, self.permit.op(), Missing::new(needs));
        error
    }

    fn take_rate(&self) -> Result<(), Error> {
        self.prepared
            .rates
            .take(&self.rule, Instant::now())
            .map_err(|wait| {
                let rate = self
                    .rule
                    .rate
                    .map(|rate| rate.to_string())
                    .unwrap_or_default();
                let wait = wait.as_millis() + 1;
                let needs =
                    format!("a higher `rate` in the rule, or to wait {wait} ms; it is {rate}");
                self.deny(needs, Error::ConnectionLimitReached)
            })
    }

    fn check_length(&self, headers: &HeaderMap) -> Result<(), Error> {
        let limit = self.rule.request_bytes.0;
        if length(headers).is_some_and(|bytes| bytes > limit) {
            let needs = format!(
                "a larger `request_bytes` in the rule; it is {}",
                ByteSize(limit)
            );
            return Err(self.deny(needs, Error::HttpRequestBodySize(Some(limit))));
        }
        Ok(())
    }

    /// `asked`, but never longer than the call.
    fn patience(&self, asked: Option<Duration>, usual: Duration) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        asked.unwrap_or(usual).min(left)
    }

    fn key(&self) -> Key {
        let target = &self.permit.op().target;
        Key {
            https: target.https,
            host: target.host.clone(),
            port: target.port,
            allow_private: self.rule.allow_private,
            allow_own: self.rule.allow_own,
        }
    }

    /// A connection, and whether it was used before.
    async fn connect(&self, fresh: bool) -> Result<(Lease, bool), Error> {
        let patience = self.patience(self.options.connect_timeout, CONNECT_TIME);
        let place = timeout(patience, self.prepared.pool.place()).await;
        let place = place.ok().flatten().ok_or(Error::ConnectionLimitReached)?;
        self.connect_at(place, fresh).await
    }

    async fn connect_at(&self, place: Place, fresh: bool) -> Result<(Lease, bool), Error> {
        let key = self.key();
        if let Some(idle) = place.idle(&key).filter(|_| !fresh) {
            return Ok((place.lease(key, idle), true));
        }
        let dial = Dial {
            network: &self.services.network,
            tls: &self.prepared.tls,
            lookups: &self.prepared.lookups,
            permit: &self.permit,
            rule: &self.rule,
            key: &key,
            patience: self.patience(self.options.connect_timeout, CONNECT_TIME),
        };
        let connection: Connection = dial.connect().await?;
        Ok((place.lease(key, connection), false))
    }

    /// Puts the secret in, on record before it is sent, and returns what keeps
    /// it, and others that the server may know, out of the answer.
    async fn put_secret(
        &self,
        target: &mut Target,
        headers: &mut HeaderMap,
    ) -> Result<Watch, Error> {
        self.permit
            .recheck()
            .map_err(|_| Error::HttpRequestDenied)?;
        let (prepared, bound) = (&self.prepared, self.bound);
        let seen = prepared.matchers.changes();
        let mut in_play = Vec::new();
        for name in &self.secrets {
            in_play.extend(
                self.stored(name)?
                    .map(|(value, version)| (name, value, version)),
            );
        }
        if !in_play.is_empty() {
            self.ask_for_the_whole(headers)?;
        }
        if let Some(carried) = &self.permit.op().secret {
            let Some((name, value, version)) = in_play.iter().find(|one| one.0 == carried) else {
                let needs =
                    format!("the secret `{carried}` is not set: airlock secret set {carried}");
                return Err(self.deny(needs, Error::HttpRequestDenied));
            };
            let places = secret::places(&self.placeholders, target, headers);
            self.record_use(name, *version, places).await?;
            secret::substitute(&self.placeholders, name, value, target, headers)?;
        }
        let values: Vec<Secret> = in_play.into_iter().map(|(_, value, _)| value).collect();
        let redaction = prepared.matchers.redaction(&values);
        let placeholders = &self.placeholders;
        Ok(Watch::new(prepared, placeholders, bound, redaction, seen))
    }

    fn stored(&self, name: &str) -> Result<Option<(Secret, u64)>, Error> {
        self.services.vault.get(name).map_err(|error| {
            tracing::error!(secret = name, %error, "a secret could not be read");
            Error::ConfigurationError
        })
    }

    /// An answer in parts, or coded, could not be searched for a secret.
    fn ask_for_the_whole(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        if headers.contains_key(RANGE) {
            let needs = "a request without `Range`: a part of an answer could hide a secret";
            return Err(self.deny(needs, Error::HttpRequestDenied));
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(())
    }

    async fn record_use(&self, name: &str, version: u64, places: Vec<String>) -> Result<(), Error> {
        let info = self.permit.gate().info();
        let event = AuditEvent {
            action: "secret.use",
            call_id: info.call_id.clone(),
            plugin: info.plugin.to_string(),
            principal: info.caller.clone(),
            detail: json!({
                "secret": name,
                "version": version,
                "tool": info.tool,
                "rule": self.permit.rule_index(),
                "operation": self.permit.op().to_string(),
                "places": places,
            }),
        };
        self.services.audit.record(event).await.map_err(|error| {
            tracing::error!(secret = name, %error, "the use of a secret could not be recorded");
            Error::ConfigurationError
        })
    }

    fn request(
        &self,
        method: Method,
        target: &Target,
        mut headers: HeaderMap,
        body: WasiBody,
        failure: &Failure,
    ) -> Result<Request<RequestBody>, Error> {
        let path = match &target.query {
            Some(query) => format!("{}?{query}", target.path),
            None => target.path.clone(),
        };
        if path.len() > 2 * URL_BYTES_MAX {
            return Err(Error::HttpRequestUriTooLong);
        }
        let uri: Uri = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let host = HeaderValue::from_str(&target.authority());
        headers.insert(HOST, host.map_err(|_| Error::HttpRequestUriInvalid)?);
        let head_bytes = headers_bytes(&headers) + path.len();
        if head_bytes > HEAD_BYTES_MAX {
            return Err(Error::HttpRequestHeaderSectionSize(
                u32::try_from(HEAD_BYTES_MAX).ok(),
            ));
        }
        self.permit.count_out(head_bytes as u64);
        if http_body::Body::is_end_stream(&body) {
            // A length without a body would make the next request a part of this one.
            headers.remove(CONTENT_LENGTH);
            if method != Method::GET && method != Method::HEAD {
                headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
        }
        let mut request = Request::new(RequestBody {
            inner: body,
            permit: Arc::clone(&self.permit),
            limit: self.rule.request_bytes.0,
            sent: 0,
            placeholders: self.placeholders.clone(),
            tail: bytes::BytesMut::new(),
            failure: Arc::clone(failure),
            over: Arc::clone(&self.over),
        });
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// One try, and a second one on a new connection when an idle one turned out
    /// to be closed: before anything was sent, or as the request came, where that
    /// may be sent again.
    async fn exchange(
        &self,
        (mut lease, mut reused): (Lease, bool),
        mut request: Request<RequestBody>,
        failure: &Failure,
    ) -> Result<(Response<Incoming>, Lease), Error> {
        loop {
            self.permit
                .recheck()
                .map_err(|_| Error::HttpRequestDenied)?;
            let patience = self.patience(self.options.first_byte_timeout, Duration::MAX);
            let spare = Spare::of(&request).filter(|_| reused);
            let sent = lease.connection.sender.try_send_request(request);
            let mut error = match timeout(patience, sent).await {
                Err(_) => return Err(Error::ConnectionReadTimeout),
                Ok(Ok(response)) => return Ok((response, lease)),
                Ok(Err(error)) => error,
            };
            let unsent = error.take_message();
            let error = error.into_error();
            let again = unsent.or_else(|| {
                spare
                    .filter(|_| again::unanswered(&error))
                    .map(Spare::request)
            });
            request = match again.filter(|_| reused) {
                Some(request) => request,
                None => return Err(body::take(failure).unwrap_or(hyper_error(&error))),
            };
            (lease, reused) = self.connect_at(lease.fail(), true).await?;
        }
    }

    fn receive(
        self,
        response: Response<Incoming>,
        lease: Lease,
        watch: Watch,
    ) -> Result<Response<WasiBody>, Error> {
        let (parts, incoming) = response.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::HttpUpgradeFailed);
        }
        self.check_response(parts.status, &parts.headers)?;
        let is_over = http_body::Body::is_end_stream(&incoming);
        let mut unsearchable = unsearchable(parts.status, &parts.headers, is_over);
        if let Some(refused) = unsearchable.take_if(|_| watch.is_on()) {
            return Err(self.deny(refused.needs, refused.error));
        }
        self.permit.count_in(headers_bytes(&parts.headers) as u64);
        let between = self.patience(self.options.between_bytes_timeout, Duration::MAX);
        let body = ResponseBody {
            inner: Some((incoming, lease)),
            limit: self.rule.response_bytes.0,
            received: 0,
            headers_bytes_max: self.headers_bytes_max,
            search: Search::new(watch.clone(), unsearchable),
            trailers: None,
            clocks: Clocks::new(between, self.deadline),
            permit: self.permit,
            _reservation: self.reservation,
        };
        let mut response = Response::from_parts(parts, body.boxed_unsync());
        conceal(&mut response, watch);
        Ok(response)
    }

    fn check_response(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), Error> {
        if headers_bytes(headers) > self.headers_bytes_max {
            let limit = u32::try_from(self.headers_bytes_max).ok();
            return Err(Error::HttpResponseHeaderSectionSize(limit));
        }
        if !only(headers.get_all(TRANSFER_ENCODING), "chunked") {
            return Err(Error::HttpResponseTransferCoding(None));
        }
        let limit = self.rule.response_bytes.0;
        let has_body =
            self.permit.op().method != Method::HEAD && status != StatusCode::NOT_MODIFIED;
        if has_body && length(headers).is_some_and(|bytes| bytes > limit) {
            let needs = format!(
                "a larger `response_bytes` in the rule; it is {}",
                ByteSize(limit)
            );
            return Err(self.deny(needs, Error::HttpResponseBodySize(Some(limit))));
        }
        Ok(())
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn only(values: http::header::GetAll<'_, HeaderValue>, word: &str) -> bool {
    values
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(word.as_bytes()))
}

/// The code of a failed exchange; never its text, which may quote what was sent.
fn hyper_error(error: &hyper::Error) -> Error {
    if error.is_timeout() {
        Error::HttpResponseTimeout
    } else if error.is_incomplete_message() || cut_short(error) {
        Error::HttpResponseIncomplete
    } else if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_parse() || error.is_user() {
        Error::HttpProtocolError
    } else {
        Error::ConnectionTerminated
    }
}

/// Whether the connection ended within a body.
fn cut_short(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::UnexpectedEof)
}
