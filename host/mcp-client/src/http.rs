//! A server behind a URL: streamable HTTP, one connection for each request.
//!
//! What must stay true: a name is resolved once, every address is judged and the
//! one that was judged is dialled; no redirect is followed; nothing is sent twice; a
//! request is known to be written or not, which is why no connection is kept for
//! the next one.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use airlock_models::sse::SseParser;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming as Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use url::Host;

use crate::error::Fault;
use crate::link::Tell;
use crate::rpc::{self, Incoming};
use crate::server::Target;
use crate::stdio::{CLOSED, Unasked};
use crate::{MESSAGE_BYTES_MAX, Mask, Server, Surroundings, text};

/// How long a connection may take.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long a message may take that wants no answer.
const NOTIFY_WAIT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// The largest head of an answer, and the buffer of a connection, bytes.
const READ_BYTES_MAX: usize = 64 << 10;
/// Longest id of a session, bytes.
const SESSION_BYTES_MAX: usize = 1 << 10;
/// Requests of a server that are answered while one of ours is under way.
const REPLIES_MAX: u32 = 16;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// How a value begins that is in base64.
const ENCODED: &str = "=?base64?";
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Sends requests.
#[derive(Clone)]
pub struct Client(Arc<ClientConfig>);

impl Client {
    /// Trusts what `tls` trusts.
    #[must_use]
    pub fn new(tls: Arc<ClientConfig>) -> Self {
        Self(tls)
    }
}

/// A connection, as far as there is one over HTTP.
#[derive(Clone)]
pub(crate) struct Http(Arc<Inner>);

struct Inner {
    server: Server,
    target: Target,
    around: Surroundings,
    mask: Option<Mask>,
    state: Mutex<State>,
}

/// What is asked, for those in between who look at headers alone.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    method: &'a str,
    name: Option<&'a str>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(method: &'a str, name: Option<&'a str>) -> Self {
        Self { method, name }
    }
}

#[derive(Default)]
struct State {
    /// Whether requests say in headers what they ask.
    modern: bool,
    session: Option<HeaderValue>,
    version: Option<HeaderValue>,
    changed: bool,
    closed: Option<String>,
}

/// Takes a request back when its future is dropped before it was answered.
struct Taken<'a> {
    http: &'a Http,
    id: u64,
    armed: bool,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.armed
            && let Ok(runtime) = Handle::try_current()
        {
            let (http, line) = (self.http.clone(), rpc::cancel(self.id));
            runtime.spawn(async move { drop(http.notify(line).await) });
        }
    }
}

impl Http {
    pub(crate) fn new(
        server: &Server,
        around: &Surroundings,
        mask: Option<Mask>,
    ) -> Result<Self, Fault> {
        let target = server.target();
        let target = target.ok_or_else(|| Fault::NotSent("its URL is none".to_owned()))?;
        Ok(Self(Arc::new(Inner {
            mask,
            server: server.clone(),
            target,
            around: around.clone(),
            state: Mutex::default(),
        })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on each request names this version.
    pub(crate) fn set_version(&self, version: &str, modern: bool) {
        let mut state = self.state();
        state.version = HeaderValue::from_str(version).ok();
        state.modern = modern;
    }

    /// Ends the connection; a server that keeps a session is told.
    pub(crate) fn close(&self) {
        let session = {
            let mut state = self.state();
            state.closed.get_or_insert_with(|| CLOSED.to_owned());
            state.session.take()
        };
        if let (Some(session), Ok(runtime)) = (session, Handle::try_current()) {
            let http = self.clone();
            runtime.spawn(async move { drop(timeout(NOTIFY_WAIT, http.end(session)).await) });
        }
    }

    async fn end(&self, session: HeaderValue) -> Result<(), Fault> {
        let mut request = self.post(None, String::new())?;
        *request.method_mut() = Method::DELETE;
        request.headers_mut().remove(header::CONTENT_TYPE);
        request.headers_mut().insert(SESSION, session);
        self.connect().await?.send(request).await.map(drop)
    }

    pub(crate) fn closed(&self) -> Option<String> {
        self.state().closed.clone()
    }

    fn check_open(&self) -> Result<(), Fault> {
        self.closed().map_or(Ok(()), |why| Err(Fault::NotSent(why)))
    }

    pub(crate) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.state().changed)
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn request(
        &self,
        id: u64,
        asked: Asked<'_>,
        line: String,
        progress: Option<Tell>,
        until: Instant,
    ) -> Result<Box<RawValue>, Fault> {
        self.check_open()?;
        let request = self.post(Some(asked), line)?;
        let late = "it did not answer in time";
        let connecting = until.min(Instant::now() + CONNECT_WAIT);
        let connection = timeout_at(connecting, self.connect()).await;
        let mut connection = connection.map_err(|_| Fault::NotSent(late.to_owned()))??;
        self.check_open()?;
        let mut taken = Taken {
            http: self,
            id,
            armed: true,
        };
        let answered = async {
            let response = connection.send(request).await?;
            self.answer(id, response, progress).await
        };
        let answer = timeout_at(until, answered).await;
        let answer = answer.unwrap_or_else(|_| Err(Fault::Lost(late.to_owned())));
        taken.armed = matches!(&answer, Err(Fault::Lost(_)));
        answer
    }

    /// Sends what wants no answer.
    pub(crate) async fn notify(&self, line: String) -> Result<(), Fault> {
        let request = self.post(None, line)?;
        let sent = async {
            let mut connection = self.connect().await?;
            let response = connection.send(request).await?;
            self.check_head(&response)
        };
        let sent = timeout(NOTIFY_WAIT, sent).await;
        sent.unwrap_or_else(|_| Err(Fault::Lost("it did not answer in time".to_owned())))
    }

    fn post(&self, asked: Option<Asked<'_>>, line: String) -> Result<Request<Full<Bytes>>, Fault> {
        let (server, target) = (&self.0.server, &self.0.target);
        let none = || Fault::NotSent("its URL or a header makes no request".to_owned());
        let mut request = Request::post(&target.path)
            .header(header::HOST, &target.authority)
            .header(
                header::USER_AGENT,
                concat!("airlock/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::ACCEPT_ENCODING, "identity");
        for (name, secret) in &server.headers {
            let value = self.0.around.host.secret(secret);
            let value =
                value.ok_or_else(|| Fault::NotSent(format!("there is no secret `{secret}`")))?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| Fault::NotSent(format!("the secret `{secret}` can't be a header")))?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let state = self.state();
        if let Some(asked) = asked.filter(|_| state.modern) {
            request = request.header(METHOD, asked.method);
            if let Some(name) = asked.name {
                request = request.header(NAME, named(name));
            }
        }
        for (name, value) in [(SESSION, &state.session), (VERSION, &state.version)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request
            .body(Full::new(Bytes::from(line)))
            .map_err(|_| none())
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let inner = &*self.0;
        let mut last = Fault::NotSent("its name has no address".to_owned());
        for address in addresses(&inner.target)
            .await?
            .into_iter()
            .take(ADDRESSES_MAX)
        {
            let allow = inner.server.allow_private;
            let reach = |local| inner.around.host.may_reach(address, local, allow);
            if let Err(why) = reach(None) {
                last = Fault::NotSent(why);
                continue;
            }
            let stream = match TcpStream::connect(address).await {
                Ok(stream) => stream,
                Err(error) => {
                    last = Fault::NotSent(format!("it can't be reached ({})", error.kind()));
                    continue;
                }
            };
            // This machine may have been reached by an address of any class.
            reach(stream.local_addr().ok()).map_err(Fault::NotSent)?;
            return self.speak(stream).await;
        }
        Err(last)
    }

    async fn speak(&self, stream: TcpStream) -> Result<Connection, Fault> {
        let ended = |_| Fault::NotSent("the connection ended".to_owned());
        stream.set_nodelay(true).map_err(ended)?;
        if !self.0.target.https {
            return handshake(stream).await;
        }
        let name = airlock_tls::server_name(&self.0.target.host);
        let none = || Fault::NotSent("its name is none that TLS knows".to_owned());
        let name = name.ok_or_else(none)?;
        let connector = TlsConnector::from(Arc::clone(&self.0.around.client.0));
        let secured = connector.connect(name, stream).await;
        let failed = "TLS failed, or its certificate is not trusted";
        handshake(secured.map_err(|_| Fault::NotSent(failed.to_owned()))?).await
    }

    fn check_head(&self, response: &Response<Body>) -> Result<(), Fault> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let mut state = self.state();
        if status == StatusCode::NOT_FOUND && state.session.is_some() {
            let why = "it forgot the session";
            state.closed = Some(why.to_owned());
            return Err(Fault::NotSent(why.to_owned()));
        }
        let message = format!("HTTP {status}");
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => Fault::NotSent(message),
            // Whoever stands before it may have lost its answer.
            status if status.is_server_error() => Fault::Lost(message),
            _ => Fault::Refused {
                code: status.as_u16().into(),
                message,
            },
        })
    }

    async fn answer(
        &self,
        id: u64,
        response: Response<Body>,
        progress: Option<Tell>,
    ) -> Result<Box<RawValue>, Fault> {
        self.check_head(&response)?;
        let named = |name: HeaderName| response.headers().get(name);
        let encoding = named(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Fault::Broken(
                "its answer is compressed, which was not asked for".to_owned(),
            ));
        }
        if let Some(session) = named(SESSION) {
            if session.len() > SESSION_BYTES_MAX {
                return Err(Fault::Broken(
                    "its session has a name that is too long".to_owned(),
                ));
            }
            self.state().session.get_or_insert_with(|| session.clone());
        }
        let kind = named(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        let mut taking = Taking {
            http: self,
            id,
            progress,
            unasked: Unasked::new(),
            replies: 0,
        };
        match kind.trim() {
            "application/json" => taking.whole(response.into_body()).await,
            "text/event-stream" => taking.events(response.into_body()).await,
            other => Err(Fault::Broken(format!(
                "its answer is neither JSON nor events, but `{}`",
                text::line(&text::masked(self.0.mask.as_ref(), other))
            ))),
        }
    }
}

/// Takes what comes in answer to one request.
struct Taking<'a> {
    http: &'a Http,
    id: u64,
    progress: Option<Tell>,
    unasked: Unasked,
    replies: u32,
}

type Answer = Result<Box<RawValue>, Fault>;

impl Taking<'_> {
    async fn whole(&mut self, mut body: Body) -> Answer {
        let mut all = Vec::new();
        while let Some(data) = next(&mut body).await? {
            if all.len() + data.len() > MESSAGE_BYTES_MAX {
                return Err(too_large());
            }
            all.extend_from_slice(&data);
        }
        let message = std::str::from_utf8(&all);
        let message = message.map_err(|_| Fault::Broken("its answer is no UTF-8".to_owned()))?;
        match self.message(message)? {
            Some(answer) => answer,
            None => Err(Fault::Broken("its answer is no answer".to_owned())),
        }
    }

    async fn events(&mut self, mut body: Body) -> Answer {
        let mut parser = SseParser::new(MESSAGE_BYTES_MAX);
        while let Some(data) = next(&mut body).await? {
            let events = parser.push(&data);
            for event in events.map_err(|error| Fault::Broken(error.to_string()))? {
                if event.data.trim().is_empty() {
                    continue;
                }
                if let Some(answer) = self.message(&event.data)? {
                    return answer;
                }
            }
        }
        Err(Fault::Lost("its answer ended before the result".to_owned()))
    }

    fn message(&mut self, message: &str) -> Result<Option<Answer>, Fault> {
        let message = text::masked_message(self.http.0.mask.as_ref(), message.trim());
        match rpc::read(&message).map_err(Fault::Broken)? {
            Incoming::Answer(id, answer) if id == self.id => return Ok(Some(answer)),
            Incoming::Answer(id, _) => {
                return Err(Fault::Lost(format!(
                    "it answered the request {id}, which is another one"
                )));
            }
            Incoming::Asked { id, ping } => {
                self.replies += 1;
                if self.replies > REPLIES_MAX {
                    return Err(Fault::Lost("it asks too much".to_owned()));
                }
                let (http, line) = (self.http.clone(), rpc::reply(&id, ping));
                tokio::spawn(async move { drop(http.notify(line).await) });
            }
            Incoming::Progress(id, progress) if id == self.id => {
                if let Some(told) = &self.progress {
                    told(progress);
                }
            }
            Incoming::ToolsChanged => self.http.state().changed = true,
            Incoming::Progress(..) | Incoming::Other => {}
        }
        match self.unasked.admit(Instant::now()) {
            true => Ok(None),
            false => Err(Fault::Lost(
                "it floods with messages that nobody asked for".to_owned(),
            )),
        }
    }
}

fn too_large() -> Fault {
    Fault::Broken(format!(
        "its answer has more than {MESSAGE_BYTES_MAX} bytes"
    ))
}

async fn next(body: &mut Body) -> Result<Option<Bytes>, Fault> {
    loop {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let frame = frame.map_err(|_| Fault::Lost("its answer broke off".to_owned()))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// A connection for one request; it ends with it.
struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

/// A tool's name as a header: as the protocol has it, in base64 where it can't stand
/// there as it is.
fn named(name: &str) -> String {
    let plain = name.bytes().all(|c| matches!(c, b' '..=b'~'));
    let is_bare = plain && name.trim() == name && !name.starts_with(ENCODED);
    match is_bare {
        true => name.to_owned(),
        false => format!("{ENCODED}{}?=", STANDARD.encode(name)),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Body>, Fault> {
        let sent = self.sender.try_send_request(request).await;
        sent.map_err(|mut error| match error.take_message() {
            Some(_) => Fault::NotSent("the connection ended before the request".to_owned()),
            None => Fault::Lost("the connection ended before an answer".to_owned()),
        })
    }
}

async fn addresses(target: &Target) -> Result<Vec<SocketAddr>, Fault> {
    let name = match &target.host {
        Host::Ipv4(ip) => return Ok(vec![SocketAddr::new((*ip).into(), target.port)]),
        Host::Ipv6(ip) => return Ok(vec![SocketAddr::new((*ip).into(), target.port)]),
        Host::Domain(name) => name.as_str(),
    };
    let found = tokio::net::lookup_host((name, target.port)).await;
    let found = found.map_err(|_| Fault::NotSent("its name can't be resolved".to_owned()))?;
    Ok(found.collect())
}

async fn handshake<S>(stream: S) -> Result<Connection, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(READ_BYTES_MAX);
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (sender, connection) =
        opened.map_err(|_| Fault::NotSent("the connection ended".to_owned()))?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an MCP server ended");
        }
    });
    Ok(Connection { sender, task })
}
