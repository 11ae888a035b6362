//! One request to a provider, over a connection of its own.
//!
//! What must stay true: every wait has a bound, and so has an answer's size; no
//! redirect is followed; a request goes in clear text only where the URL says so.
//! What failed before anything was sent is told apart from what may have been
//! worked on. That is why no connection is kept for the next request: one that its
//! peer closed meanwhile can't be told from a request that was lost.

mod dial;
mod url;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use airlock_tls::TlsError;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use rustls::ClientConfig;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::url::BaseUrl;
use crate::error::{Failed, Fate, ModelError, Why};

/// Largest answer to a request that failed, bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Sends requests.
#[derive(Clone)]
pub struct Client {
    tls: Arc<ClientConfig>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// A request.
pub(crate) struct Outgoing<'a> {
    pub(crate) base: &'a BaseUrl,
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: String,
}

/// Bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) connect: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Duration,
    pub(crate) answer_bytes_max: usize,
}

/// An answer that comes.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    idle: Duration,
    ends: Instant,
    bytes_max: usize,
    bytes: usize,
    _connection: Connection,
}

/// What drives a connection; it ends with the answer's reader.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// Trusts the roots of Mozilla's programme and, besides, the certificates in
    /// `ca_file` (PEM).
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let tls = airlock_tls::client(ca_file)?;
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Sends a request; its answer's head.
    pub(crate) async fn send(
        &self,
        outgoing: Outgoing<'_>,
        bounds: Bounds,
    ) -> Result<Reply, Failed> {
        let ends = Instant::now() + bounds.total;
        let base = outgoing.base;
        let request = request(outgoing)?;
        let connecting = dial::connect(base, &self.tls);
        let until = ends.min(Instant::now() + bounds.connect);
        let (mut sender, task) = timeout_at(until, connecting)
            .await
            .map_err(|_| Failed::transient(Why::Timeout, "no connection in time"))??;
        let connection = Connection(task);
        let until = ends.min(Instant::now() + bounds.first_byte);
        let response = timeout_at(until, sender.try_send_request(request))
            .await
            .map_err(|_| Failed::unknown(Why::Timeout, "no answer in time"))?;
        let response = response.map_err(|mut error| match error.take_message() {
            Some(_) => Failed::transient(Why::Connect, "the connection ended before the request"),
            None => Failed::unknown(Why::Cut, "the connection ended before an answer"),
        })?;
        let (head, body) = response.into_parts();
        let mut reply = Reply {
            status: head.status,
            headers: head.headers,
            body,
            idle: bounds.idle,
            ends,
            bytes_max: bounds.answer_bytes_max,
            bytes: 0,
            _connection: connection,
        };
        reply.check_head()?;
        Ok(reply)
    }
}

fn request(outgoing: Outgoing<'_>) -> Result<Request<Full<Bytes>>, Failed> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(outgoing.base.path(outgoing.path))
        .header(header::HOST, outgoing.base.authority())
        .header(
            header::USER_AGENT,
            concat!("airlock/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT_ENCODING, "identity");
    for (name, value) in outgoing.headers {
        request = request.header(name, value);
    }
    let body = Full::new(Bytes::from(outgoing.body));
    request.body(body).map_err(|_| Failed {
        why: Why::Rejected,
        fate: Fate::NotSent,
        error: ModelError::Permanent {
            message: "the provider's URL makes no request".to_owned(),
        },
    })
}

impl Reply {
    /// Answers that failed are short; none is compressed, since that was not asked
    /// for and a bound on bytes would say nothing.
    fn check_head(&mut self) -> Result<(), Failed> {
        if !self.status.is_success() {
            self.bytes_max = self.bytes_max.min(ERROR_BYTES_MAX);
        }
        let encoding = self.headers.get(header::CONTENT_ENCODING);
        match encoding.is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            true => Ok(()),
            false => Err(Failed::garbled(format!(
                "the answer ({}) is compressed, which was not asked for",
                self.status
            ))),
        }
    }

    /// Whether the answer is a stream of events.
    pub(crate) fn is_stream(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/event-stream")
    }

    /// The next piece, `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failed> {
        loop {
            let until = self.ends.min(Instant::now() + self.idle);
            let frame = timeout_at(until, self.body.frame())
                .await
                .map_err(|_| Failed::unknown(Why::Timeout, "the answer did not end in time"))?;
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|_| Failed::unknown(Why::Cut, "the answer broke off"))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.bytes += data.len();
            if self.bytes > self.bytes_max {
                let most = self.bytes_max;
                return Err(Failed::garbled(format!(
                    "the answer is larger than {most} bytes"
                )));
            }
            return Ok(Some(data));
        }
    }

    /// All of it.
    pub(crate) async fn all(&mut self) -> Result<Vec<u8>, Failed> {
        let mut all = Vec::new();
        while let Some(data) = self.next().await? {
            all.extend_from_slice(&data);
        }
        Ok(all)
    }
}
