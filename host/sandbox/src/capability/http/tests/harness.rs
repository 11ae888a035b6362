//! One host with its services, plugins' calls that send requests through the
//! room's own hook, and servers on loopback that answer as a test wants.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use airlock_journal::store::BoxFuture;
use airlock_journal::{MemoryStore, StoreError};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::capability::http::backend::watch::reveal;
use crate::capability::http::network::{Network, Resolver};
use crate::capability::http::{Http, Prepared, State};
use crate::capability::secrets::{Placeholders, Secret, Vault};
use crate::capability::{CallContext, Capability, Grants, PrepareContext};
use crate::gate::{CallInfo, Gate};
use crate::grants::{EffectClass, GrantsCell};
use crate::limits::{ByteSize, Limits};
use crate::services::{AuditEvent, AuditSink, Services};

/// Answers from a list, in order; the last answer again and again.
#[derive(Default)]
pub(super) struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<SocketAddr>>>>,
    /// A name that nobody ever answers for.
    pub(super) silent: Mutex<String>,
    pub(super) asked: Mutex<Vec<String>>,
    /// The threads that asked.
    pub(super) threads: Mutex<Vec<String>>,
}

impl Names {
    pub(super) fn add(&self, name: &str, answers: &[&[&str]]) {
        let parse = |ip: &&str| SocketAddr::new(ip.parse().unwrap(), 0);
        let answers = answers
            .iter()
            .map(|ips| ips.iter().map(parse).collect())
            .collect();
        self.answers
            .lock()
            .unwrap()
            .insert(name.to_owned(), answers);
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.asked.lock().unwrap().push(host.to_owned());
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        self.threads.lock().unwrap().push(thread);
        if *self.silent.lock().unwrap() == host {
            return Box::pin(std::future::pending());
        }
        let mut answers = self.answers.lock().unwrap();
        let answer = match answers.get_mut(host) {
            Some(list) if list.len() > 1 => Ok(list.remove(0)),
            Some(list) => Ok(list[0].clone()),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such name")),
        };
        Box::pin(std::future::ready(answer))
    }
}

#[derive(Default)]
pub(super) struct Records {
    pub(super) events: Mutex<Vec<AuditEvent>>,
    pub(super) broken: Mutex<bool>,
}

impl AuditSink for Records {
    fn record(&self, event: AuditEvent) -> BoxFuture<'_, Result<(), StoreError>> {
        if *self.broken.lock().unwrap() {
            let poisoned = StoreError::Poisoned {
                cause: "test".into(),
            };
            return Box::pin(std::future::ready(Err(poisoned)));
        }
        self.events.lock().unwrap().push(event);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A host: services, and what they noticed.
pub(super) struct World {
    pub(super) services: Arc<Services>,
    pub(super) names: Arc<Names>,
    pub(super) audit: Arc<Records>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_ca(None)
    }

    pub(super) fn with_ca(ca: Option<&std::path::Path>) -> Self {
        Self::with(ca, tokio::runtime::Handle::current())
    }

    pub(super) fn with(ca: Option<&std::path::Path>, io: tokio::runtime::Handle) -> Self {
        let (names, audit) = (Arc::new(Names::default()), Arc::new(Records::default()));
        let store = MemoryStore::new();
        let vault = Vault::with_key(store.clone(), &zeroize::Zeroizing::new([7; 32])).unwrap();
        let network = Network::new(ca).unwrap().with_resolver(names.clone());
        let shared = Arc::clone(&store) as Arc<dyn airlock_journal::Store>;
        let services = Arc::new(Services {
            memory: crate::testing::memory_of(&shared),
            store,
            audit: audit.clone(),
            vault: Arc::new(vault),
            network: Arc::new(network),
            reserved: Default::default(),
            io,
        });
        Self {
            services,
            names,
            audit,
        }
    }

    pub(super) async fn set_secret(&self, name: &str, value: &str) {
        self.services
            .vault
            .set(name, &Secret::new(value))
            .await
            .unwrap();
    }

    pub(super) fn plugin(&self, grants: &str) -> Plugin {
        let grants: Grants = toml::from_str(grants).unwrap();
        grants.validate().unwrap();
        let cx = PrepareContext {
            plugin: "p",
            grants: &grants,
            version: 1,
            limits: &Limits::default(),
            services: &self.services,
        };
        Plugin {
            prepared: Arc::new(Http::prepare(&cx).unwrap()),
            cell: Arc::new(GrantsCell::new(1, grants)),
            services: Arc::clone(&self.services),
        }
    }
}

/// One plugin under one version of its grants.
pub(super) struct Plugin {
    pub(super) prepared: Arc<Prepared>,
    pub(super) cell: Arc<GrantsCell>,
    services: Arc<Services>,
}

impl Plugin {
    pub(super) fn call(&self) -> Call {
        self.call_with(EffectClass::Plain, Duration::from_secs(60))
    }

    pub(super) fn call_with(&self, class: EffectClass, wall: Duration) -> Call {
        let info = CallInfo {
            call_id: "c1".into(),
            plugin: "p".into(),
            tool: "t".into(),
            principal: "u1".into(),
            caller: "ann".into(),
            class,
        };
        let limits = Arc::new(Limits::default());
        let gate = Gate::new(info, Arc::clone(&self.cell), limits.host_memory.0);
        let started = Instant::now();
        let cx = CallContext {
            gate: gate.clone(),
            limits,
            services: Arc::clone(&self.services),
            started,
            deadline: started + wall,
        };
        let mut state = Http::state(&cx, &self.prepared);
        let placeholders = Placeholders::default();
        state.hooks_mut().set_placeholders(placeholders.clone());
        Call {
            state,
            gate,
            placeholders,
        }
    }

    /// A call's one request.
    pub(super) async fn get(&self, url: &str) -> Result<Reply, Error> {
        self.call().get(url).await
    }
}

/// One call.
pub(super) struct Call {
    pub(super) state: State,
    pub(super) gate: Gate,
    pub(super) placeholders: Placeholders,
}

/// A whole response, or what its body ended with.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<String, Error>,
    pub(super) trailers: Option<HeaderMap>,
}

impl Reply {
    /// Reads an answer to its end.
    pub(super) async fn of(response: http::Response<WasiBody>) -> Self {
        let (parts, mut body) = response.into_parts();
        let (mut text, mut trailers) = (Vec::new(), None);
        let mut end = Ok(());
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => text.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(error) => {
                    end = Err(error);
                    break;
                }
            }
        }
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: end.map(|()| String::from_utf8_lossy(&text).into_owned()),
            trailers,
        }
    }

    pub(super) fn text(&self) -> &str {
        self.body.as_ref().unwrap()
    }
}

pub(super) fn full(body: impl Into<Bytes>) -> WasiBody {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(super) fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> http::request::Builder {
    let request = Request::builder().method(method).uri(url);
    headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    })
}

impl Call {
    pub(super) async fn get(&mut self, url: &str) -> Result<Reply, Error> {
        self.send(request("GET", url, &[]).body(full("")).unwrap())
            .await
    }

    pub(super) async fn send(&mut self, request: Request<WasiBody>) -> Result<Reply, Error> {
        self.send_with(request, RequestOptions::default()).await
    }

    pub(super) async fn send_with(
        &mut self,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Reply, Error> {
        let response = self.begin(request, options).await?;
        Ok(Reply::of(response).await)
    }

    pub(super) async fn begin(
        &mut self,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<http::Response<WasiBody>, Error> {
        let mut response = self.begin_unseen(request, options).await?;
        reveal(&mut response);
        Ok(response)
    }

    /// An answer as it is before the guest takes it.
    pub(super) async fn begin_unseen(
        &mut self,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<http::Response<WasiBody>, Error> {
        let hooks = self.state.hooks_mut();
        hooks.reserve().unwrap();
        let sent = hooks.send_request(request, Some(options), Box::new(async { Ok(()) }));
        Ok(Box::into_pin(sent).await?.0)
    }

    /// The rule named by the last denial, and `-` where nothing was denied.
    pub(super) fn denied(&self) -> String {
        self.gate
            .last_denial()
            .map_or("-".into(), |denial| denial.rule)
    }
}

/// What a server was sent: the head, and the body as it stood on the wire.
pub(super) type Sent = Arc<Mutex<Vec<String>>>;

/// Parts of an answer, and pauses between them.
#[derive(Clone)]
pub(super) enum Say {
    Bytes(Vec<u8>),
    Pause(Duration),
    /// Goes on reading until the client ends.
    Wait,
    Close,
}

impl Say {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Bytes(text.into().into_bytes())
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) sent: Sent,
    pub(super) connections: Arc<Mutex<u32>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers each request by what `answer` makes of its text.
    pub(super) async fn new(
        answer: impl Fn(&str) -> Vec<Say> + Send + Sync + Clone + 'static,
    ) -> Self {
        Self::start(None, answer).await
    }

    pub(super) async fn start(
        tls: Option<tokio_rustls::TlsAcceptor>,
        answer: impl Fn(&str) -> Vec<Say> + Send + Sync + Clone + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sent, connections) = (Sent::default(), Arc::new(Mutex::new(0)));
        let (log, count) = (Arc::clone(&sent), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let mut clients = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let (answer, log, tls) = (answer.clone(), Arc::clone(&log), tls.clone());
                clients.spawn(async move {
                    match tls {
                        None => talk(stream, &log, answer).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => talk(stream, &log, answer).await,
                            Err(error) => Err(error),
                        },
                    }
                });
            }
        });
        Self {
            address,
            sent,
            connections,
            task,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn connections(&self) -> u32 {
        *self.connections.lock().unwrap()
    }

    pub(super) fn last(&self) -> String {
        self.sent
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }

    /// A grant of everything on this server.
    pub(super) fn grant(&self, more: &str) -> String {
        format!(
            "http = [{{ url = \"http://{}/**\", allow_private = true, methods = [\"GET\", \
             \"POST\", \"HEAD\"] {more} }}]",
            self.address
        )
    }
}

/// An ordinary answer.
pub(super) fn ok(body: &str) -> Vec<Say> {
    let length = body.len();
    vec![Say::text(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
    ))]
}

async fn talk<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    mut stream: S,
    sent: &Sent,
    answer: impl Fn(&str) -> Vec<Say>,
) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    while let Some(request) = hear(&mut stream, sent).await? {
        for say in answer(&request) {
            match say {
                Say::Bytes(bytes) => stream.write_all(&bytes).await?,
                Say::Pause(time) => tokio::time::sleep(time).await,
                Say::Wait => while stream.read(&mut [0; 1024]).await? > 0 {},
                Say::Close => return stream.shutdown().await,
            }
            stream.flush().await?;
        }
    }
    Ok(())
}

/// Reads one request, as far as it comes; what was read is in `sent` even when
/// the client broke off.
async fn hear<S: tokio::io::AsyncRead + Unpin>(
    stream: &mut S,
    sent: &Sent,
) -> io::Result<Option<String>> {
    use tokio::io::AsyncReadExt;
    let mut text = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    let mut entry = None;
    loop {
        if is_whole(&text) {
            return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
        }
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        text.extend_from_slice(&buffer[..read]);
        let mut sent = sent.lock().unwrap();
        let at = *entry.get_or_insert_with(|| {
            sent.push(String::new());
            sent.len() - 1
        });
        sent[at] = String::from_utf8_lossy(&text).into_owned();
    }
}

pub(super) fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return body.ends_with("0\r\n\r\n") || body.contains("\r\n0\r\n");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

/// Host memory that is held by the call.
pub(super) fn held(call: &Call) -> ByteSize {
    ByteSize(call.gate.budget().held())
}

/// Waits until `test` holds.
pub(super) async fn until(test: impl Fn() -> bool) {
    for _ in 0..1000 {
        if test() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be");
}
