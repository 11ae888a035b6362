//! A server for one test, and a client that says exactly what it is told to.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use airlock_journal::StoreError;
use airlock_runtime::{OpenError, Principal, Role, Runtime, RuntimeConfig, TokenRequest};
use airlock_server::ServerConfig;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server; its directories go with it.
pub struct Server {
    pub runtime: Arc<Runtime>,
    pub address: SocketAddr,
    pub admin: String,
    pub dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<std::io::Result<()>>,
}

/// A reply.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.body))
    }

    /// `status code`, where there is a code.
    pub fn verdict(&self) -> String {
        let code = serde_json::from_slice::<Value>(&self.body).ok();
        let code = code.and_then(|body| body["code"].as_str().map(str::to_owned));
        if code.is_some() || self.status >= 400 {
            let media = self.headers["content-type"].to_str().expect("text");
            assert_eq!(media, "application/problem+json", "{self:?}");
        }
        format!("{} {}", self.status, code.unwrap_or_default())
            .trim_end()
            .to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("text"))
    }
}

pub fn config(dir: &Path) -> RuntimeConfig {
    RuntimeConfig {
        compiler: PathBuf::new(),
        compiler_args: Vec::new(),
        guest_workers: Some(2),
        calls_max: 32,
        // Where a test writes one.
        models_beside: Some(dir.join("models.toml")),
        ..RuntimeConfig::new(dir.join("data"), dir.join("keys"))
    }
}

/// A runtime over the directories of a test. What is left of one that was stopped
/// over them has its moment to let go of them.
pub async fn open(dir: &Path) -> Arc<Runtime> {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        match Runtime::open(config(dir)).await {
            Err(OpenError::Store(StoreError::InUse { .. }))
                if tokio::time::Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            opened => return opened.expect("the runtime opens"),
        }
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(ServerConfig::default()).await
    }

    pub async fn start_with(config: ServerConfig) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self::start_in(dir, config).await
    }

    pub async fn start_in(dir: TempDir, config: ServerConfig) -> Self {
        let runtime = open(dir.path()).await;
        let token = std::fs::read_to_string(runtime.config().admin_token_file());
        let admin = token.expect("the first token").trim().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let served = airlock_server::serve(Arc::clone(&runtime), listener, config, shutdown);
        Self {
            runtime,
            address,
            admin,
            dir,
            stop: Some(stop),
            served: tokio::spawn(served),
        }
    }

    /// Asks the server to stop; see [`Self::stopped`].
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has stopped, and gives its directories.
    pub async fn stopped(mut self) -> TempDir {
        self.stop();
        self.served.await.expect("no panic").expect("serves");
        drop(self.runtime);
        self.dir
    }

    /// A token.
    pub async fn token(&self, principal: &str, roles: &[Role], plugins: Option<&[&str]>) -> String {
        let request = TokenRequest {
            principal: principal.to_owned(),
            roles: roles.iter().copied().collect(),
            plugins: plugins.map(|names| {
                names
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<BTreeSet<_>>()
            }),
            ..TokenRequest::default()
        };
        let who = Principal::local_admin("test");
        self.runtime
            .create_token(&who, request)
            .await
            .expect("a token")
            .token
    }

    /// A request with any headers; `Host` is the server's unless given.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        let host = self.address.to_string();
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            request = request.header("host", host);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        drop(sender);
        let _ = connection.await;
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    /// A request with a token.
    pub async fn with(
        &self,
        token: &str,
        method: &str,
        target: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(method, target, &[("authorization", &bearer)], body)
            .await
    }

    /// A request by the administrator.
    pub async fn admin(&self, method: &str, target: &str, body: impl Into<Bytes>) -> Answer {
        self.with(&self.admin, method, target, body).await
    }

    /// Installs a component, and waits.
    pub async fn install(&self, name: &str, component: Bytes) -> Value {
        let target = format!("/v1/plugins?name={name}&wait=true&activate=true");
        let answer = self.admin("POST", &target, component).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Grants, and sets limits.
    pub async fn grant(&self, name: &str, grants: Value, limits: Value) -> Value {
        let body = json!({ "grants": grants, "limits": limits }).to_string();
        let answer = self
            .admin("PUT", &format!("/v1/plugins/{name}/grants"), body)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Records of the audit with this action.
    pub async fn audited(&self, action: &str) -> Vec<Value> {
        let answer = self.admin("GET", "/v1/audit?from=0&limit=1000", "").await;
        let records = answer.json()["records"]
            .as_array()
            .cloned()
            .expect("records");
        records
            .into_iter()
            .filter(|record| record["action"] == action)
            .collect()
    }

    /// Waits until `check` holds, at most three minutes.
    pub async fn eventually(&self, what: &str, mut check: impl AsyncFnMut() -> bool) {
        for _ in 0..1_800 {
            if check().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never: {what}");
    }

    /// Waits until a call runs. It is in flight a moment before: it has its place, and
    /// may still be refused.
    pub async fn a_call_runs(&self) {
        self.eventually("a call runs", async || {
            self.figure("airlock_sandbox_calls").await > 0
        })
        .await;
    }

    /// A figure of `/metrics`.
    pub async fn figure(&self, name: &str) -> u64 {
        let answer = self.admin("GET", "/metrics", "").await;
        let text = String::from_utf8(answer.body.to_vec()).expect("utf-8");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }
}
