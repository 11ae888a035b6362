//! Requests to a server's `/mcp`, each over a connection of its own, so that one
//! that is left is closed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::message::Message;
use crate::config::Settings;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest answer that is no stream, and longest event, bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const EVENTS: &str = "text/event-stream";
const MESSAGES: &str = "application/json";

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Where a server is.
pub enum Place {
    /// At this address.
    At(String),
    /// Wherever the one is that owns a data directory. That is asked before each
    /// request: once it is gone, anybody may listen where it did.
    OfOwner(Box<Settings>),
}

/// A server's `/mcp` and a token for it.
pub struct Endpoint {
    place: Place,
    authorization: HeaderValue,
    tls: Option<TlsConnector>,
}

/// A request that is to be sent.
pub(super) struct Request {
    method: Method,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Request {
    /// One message.
    pub(super) fn message(message: &Message, session: Option<&str>, version: Option<&str>) -> Self {
        let own = message.version.as_deref();
        let mut headers = vec![("content-type", MESSAGES.to_owned())];
        if message.is_sessionless() {
            let method = message.method.clone().unwrap_or_default();
            headers.push(("mcp-method", method));
            if let Some(name) = &message.name {
                headers.push(("mcp-name", header(name)));
            }
        }
        // The message that begins a session is in none.
        let begins = message.is("initialize");
        let session = session.filter(|_| !begins && !message.is_sessionless());
        let version = own.or(version).filter(|_| !begins);
        Self::new(
            Method::POST,
            headers,
            session,
            version,
            message.text.clone(),
        )
    }

    /// What the server says of its own accord.
    pub(super) fn stream(session: Option<&str>, version: Option<&str>) -> Self {
        Self::new(Method::GET, Vec::new(), session, version, Vec::new())
    }

    /// The session's end.
    pub(super) fn end(session: &str, version: Option<&str>) -> Self {
        Self::new(
            Method::DELETE,
            Vec::new(),
            Some(session),
            version,
            Vec::new(),
        )
    }

    fn new(
        method: Method,
        mut headers: Vec<(&'static str, String)>,
        session: Option<&str>,
        version: Option<&str>,
        body: Vec<u8>,
    ) -> Self {
        headers.extend(session.map(|session| ("mcp-session-id", session.to_owned())));
        headers.extend(version.map(|version| ("mcp-protocol-version", version.to_owned())));
        Self {
            method,
            headers,
            body,
        }
    }
}

/// A text as a header has it: encoded where a header could not hold it.
fn header(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    match plain && text.trim() == text && !text.starts_with("=?") {
        true => text.to_owned(),
        false => format!("=?base64?{}?=", STANDARD.encode(text)),
    }
}

impl Endpoint {
    /// Of the server there.
    ///
    /// # Errors
    /// That is no address, or the token is none.
    pub fn new(place: Place, token: &str) -> Result<Self> {
        let tls = match &place {
            Place::At(base) => match address(base)?.scheme_str() {
                Some("http") => None,
                Some("https") => Some(tls()?),
                _ => anyhow::bail!(
                    "{base} is not a server's address: it begins with http:// or https://"
                ),
            },
            Place::OfOwner(_) => None,
        };
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).context("the token is not one")?;
        authorization.set_sensitive(true);
        Ok(Self {
            place,
            authorization,
            tls,
        })
    }

    /// Where the server is now.
    fn uri(&self) -> Result<Uri> {
        match &self.place {
            Place::At(base) => address(base),
            Place::OfOwner(settings) => {
                let base = settings.running_server()?;
                address(&base.context("no server owns the data directory any more")?)
            }
        }
    }

    /// Sends a request; the answer's body is read as it comes.
    pub(super) async fn send(&self, request: Request) -> Result<Answer> {
        let uri = self.uri()?;
        let connection = tokio::time::timeout(CONNECT, self.connect(&uri)).await;
        let connection = connection.map_err(|_| anyhow!("connecting took too long"))??;
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
            .await
            .context("asking the server")?;
        let driver = Driver(tokio::spawn(async move { drop(driver.await) }).abort_handle());
        let path = uri.path_and_query().map_or("/mcp", |path| path.as_str());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let mut builder = hyper::Request::builder()
            .method(request.method)
            .uri(path)
            .header(HOST, authority)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, format!("{MESSAGES}, {EVENTS}"));
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        let request = builder
            .body(Full::new(Bytes::from(request.body)))
            .context("building the request")?;
        let response = sender.send_request(request).await;
        Ok(Answer::new(response.context("asking the server")?, driver))
    }

    async fn connect(&self, uri: &Uri) -> Result<Pin<Box<dyn Connection>>> {
        let host = uri.host().unwrap_or_default();
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let default = if self.tls.is_some() { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        let stream = TcpStream::connect((name, port))
            .await
            .with_context(|| format!("asking the server at {host}:{port}"))?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Ok(Box::pin(stream));
        };
        let name = ServerName::try_from(name.to_owned()).context("the server's name")?;
        let stream = tls.connect(name, stream).await;
        Ok(Box::pin(stream.context("the server's certificate")?))
    }
}

fn address(base: &str) -> Result<Uri> {
    let uri = format!("{}/mcp", base.trim_end_matches('/')).parse();
    uri.with_context(|| format!("{base} is not a server's address"))
}

fn tls() -> Result<TlsConnector> {
    let config = airlock_tls::client(None).context("TLS")?;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The task that drives a connection, which is closed with this.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer, as it comes.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The session that begins with it.
    pub(super) session: Option<String>,
    media: String,
    body: Incoming,
    events: Events,
    ready: VecDeque<Vec<u8>>,
    over: bool,
    _driver: Driver,
}

impl Answer {
    fn new(response: hyper::Response<Incoming>, driver: Driver) -> Self {
        let text = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let media = text(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media = media
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        Self {
            status: response.status().as_u16(),
            session: text("mcp-session-id"),
            media,
            body: response.into_body(),
            events: Events::default(),
            ready: VecDeque::new(),
            over: false,
            _driver: driver,
        }
    }

    /// Whether it is no success. A message of the protocol that says so is none.
    pub(super) fn is_refused(&self) -> bool {
        self.status >= 400 && self.media != MESSAGES
    }

    /// Why the server did not take the message, where it did not.
    pub(super) async fn problem(&mut self) -> Result<Option<Value>> {
        if !self.is_refused() {
            return Ok(None);
        }
        let body = self.whole().await?;
        let read = serde_json::from_slice(&body);
        let unknown = || {
            let detail = format!("the server answered with status {}", self.status);
            json!({ "status": self.status, "code": "unreachable", "detail": detail })
        };
        Ok(Some(read.unwrap_or_else(|_| unknown())))
    }

    /// The next message; `None`: that was all.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        if self.media == MESSAGES {
            let body = self.whole().await?;
            return Ok(Some(body.to_vec()).filter(|body| !body.is_empty()));
        }
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            let Some(data) = self.frame().await? else {
                return Ok(None);
            };
            if self.media == EVENTS {
                self.events.push(&data, &mut self.ready)?;
            }
        }
    }

    async fn frame(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.over {
                return Ok(None);
            }
            let Some(frame) = self.body.frame().await else {
                self.over = true;
                continue;
            };
            if let Ok(data) = frame.context("reading the answer")?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    async fn whole(&mut self) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(data) = self.frame().await? {
            whole.extend_from_slice(&data);
            if whole.len() > ANSWER_BYTES_MAX {
                anyhow::bail!("the answer has more than {ANSWER_BYTES_MAX} bytes");
            }
        }
        Ok(whole.freeze())
    }
}

/// Takes the bytes of a stream in any pieces and gives the data of its events.
#[derive(Default)]
struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    lines: usize,
}

impl Events {
    fn push(&mut self, piece: &[u8], ready: &mut VecDeque<Vec<u8>>) -> Result<()> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.len() + self.data.len() > ANSWER_BYTES_MAX {
                anyhow::bail!("an event has more than {ANSWER_BYTES_MAX} bytes");
            }
            if self.line.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.line);
                self.end_line(line.trim_ascii_end(), ready);
            }
        }
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], ready: &mut VecDeque<Vec<u8>>) {
        if line.is_empty() {
            self.lines = 0;
            let data = std::mem::take(&mut self.data);
            // The first event of a stream may say nothing.
            ready.extend(Some(data).filter(|data| !data.is_empty()));
        } else if let Some(data) = line.strip_prefix(b"data:") {
            if self.lines > 0 {
                self.data.push(b'\n');
            }
            self.lines += 1;
            self.data
                .extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_in_whatever_pieces_they_come() {
        let text = b"id: 0\nretry: 3000\ndata:\n\n: there\n\ndata: {\"a\":\r\ndata: 1}\r\n\r\n\
            event: message\ndata:{}\n\ndata: cut";
        for size in 1..text.len() {
            let (mut events, mut ready) = (Events::default(), VecDeque::new());
            for piece in text.chunks(size) {
                events.push(piece, &mut ready).expect("it is short");
            }
            assert_eq!(ready, [b"{\"a\":\n1}".to_vec(), b"{}".to_vec()], "{size}");
        }
    }

    #[test]
    fn a_name_is_a_header_whatever_it_is() {
        let table = [
            ("files__read", "files__read"),
            ("a b", "a b"),
            (" a", "=?base64?IGE=?="),
            ("é", "=?base64?w6k=?="),
            ("=?base64?x?=", "=?base64?PT9iYXNlNjQ/eD89?="),
        ];
        for (name, expect) in table {
            assert_eq!(header(name), expect);
        }
    }

    /// A note that a server left behind, which nobody serves any more: the token
    /// goes nowhere.
    #[test]
    fn where_no_server_owns_the_data_nothing_is_sent() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("a directory");
        std::fs::write(data.join("server.address"), "1 http://127.0.0.1:9\n").expect("a note");
        let settings = Settings {
            keys: dir.path().join("keys"),
            data,
            file: crate::config::File::default(),
        };
        let endpoint = Endpoint::new(Place::OfOwner(Box::new(settings)), "t").expect("an endpoint");
        let refused = endpoint.uri().expect_err("nobody serves");
        assert!(refused.to_string().contains("no server owns"), "{refused}");
    }

    #[test]
    fn only_addresses_of_servers_are_taken() {
        let at = |base: &str, token| Endpoint::new(Place::At(base.to_owned()), token);
        for base in [
            "http://127.0.0.1:7480",
            "https://a.example/x/",
            "http://[::1]:1",
        ] {
            assert!(at(base, "t").is_ok(), "{base}");
        }
        for base in ["", "127.0.0.1:7480", "ftp://a", "http://a b"] {
            assert!(at(base, "t").is_err(), "{base}");
        }
        assert!(at("http://a", "t\n").is_err());
    }
}
