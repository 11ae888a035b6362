//! A client of the Model Context Protocol that says exactly what it is told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::server::{Answer, Server};

/// The version without sessions.
pub const CURRENT: &str = "2026-07-28";
/// Those before, the newest first.
pub const EARLIER: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// What a client of the protocol accepts.
pub const ACCEPT: &str = "application/json, text/event-stream";
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(180);

/// A client of one token.
pub struct Client<'a> {
    server: &'a Server,
    token: String,
    version: &'static str,
    pub session: Option<String>,
    /// What the client says it can.
    pub capabilities: Value,
    ids: AtomicU64,
}

/// A stream as it is read.
pub struct Stream {
    pub status: u16,
    body: Incoming,
    text: String,
    driver: AbortHandle,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The messages of an answer, of whichever media type.
pub fn messages(answer: &Answer) -> Vec<Value> {
    let text = std::str::from_utf8(&answer.body).expect("utf-8");
    match answer.header("content-type") {
        Some("text/event-stream") => events(text),
        _ if text.is_empty() => Vec::new(),
        _ => vec![answer.json()],
    }
}

fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let said = data.map(str::trim).filter(|data| !data.is_empty());
    said.map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

impl<'a> Client<'a> {
    /// Without a session, as the current version is spoken.
    pub fn current(server: &'a Server, token: &str) -> Self {
        Self {
            server,
            token: token.to_owned(),
            version: CURRENT,
            session: None,
            capabilities: json!({}),
            ids: AtomicU64::new(1),
        }
    }

    /// With a session of an earlier version.
    pub async fn begin(server: &'a Server, token: &str, version: &'static str) -> Self {
        Self::begin_with(server, token, version, json!({})).await
    }

    pub async fn begin_with(
        server: &'a Server,
        token: &str,
        version: &'static str,
        capabilities: Value,
    ) -> Self {
        let mut client = Self {
            version,
            capabilities,
            ..Self::current(server, token)
        };
        let params = json!({
            "protocolVersion": version, "capabilities": client.capabilities,
            "clientInfo": { "name": "test", "version": "1" },
        });
        let begun = client.post("initialize", params).await;
        assert_eq!(begun.status, 200, "{begun:?}");
        let said = messages(&begun).pop().expect("an answer");
        assert_eq!(said["result"]["protocolVersion"], version, "{said}");
        client.session = begun.header("mcp-session-id").map(str::to_owned);
        assert!(client.session.is_some(), "{begun:?}");
        let noted = client.note("notifications/initialized", json!({})).await;
        assert_eq!(noted.status, 202, "{noted:?}");
        client
    }

    fn headers(&self, method: &str, params: &Value) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("authorization", format!("Bearer {}", self.token)),
            ("accept", ACCEPT.to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        if method != "initialize" {
            headers.push(("mcp-protocol-version", self.version.to_owned()));
        }
        headers.extend(self.session.clone().map(|id| ("mcp-session-id", id)));
        if self.version == CURRENT {
            headers.push(("mcp-method", method.to_owned()));
            let name = params["name"].as_str().map(str::to_owned);
            headers.extend(name.map(|name| ("mcp-name", name)));
        }
        headers
    }

    fn params(&self, mut params: Value) -> Value {
        if self.version == CURRENT {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(CURRENT);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
                self.capabilities.clone();
        }
        params
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn message(&self, method: &str, params: Value) -> Value {
        let (id, params) = (self.next_id(), self.params(params));
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
    }

    async fn send(&self, headers: &[(&'static str, String)], body: String) -> Answer {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.server.send("POST", "/mcp", &headers, body).await
    }

    /// A request, and all that it is answered.
    pub async fn post(&self, method: &str, params: Value) -> Answer {
        let headers = self.headers(method, &params);
        let message = self.message(method, params).to_string();
        self.send(&headers, message).await
    }

    /// A request with a part of it written otherwise.
    pub async fn post_written(&self, method: &str, params: Value, part: [&str; 2]) -> Answer {
        let headers = self.headers(method, &params);
        let message = self.message(method, params).to_string();
        assert!(message.contains(part[0]), "{message}");
        self.send(&headers, message.replace(part[0], part[1])).await
    }

    /// The next request has this id.
    pub fn go_back_to(&self, id: u64) {
        self.ids.store(id, Ordering::Relaxed);
    }

    /// A notification.
    pub async fn note(&self, method: &str, params: Value) -> Answer {
        let headers = self.headers(method, &params);
        let params = self.params(params);
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.send(&headers, message.to_string()).await
    }

    /// A request: what is notified, then its answer.
    pub async fn ask(&self, method: &str, params: Value) -> (Vec<Value>, Value) {
        let answer = self.post(method, params).await;
        let mut said = messages(&answer);
        let last = said
            .pop()
            .unwrap_or_else(|| panic!("no answer: {answer:?}"));
        (said, last)
    }

    /// The result of a request.
    pub async fn result(&self, method: &str, params: Value) -> Value {
        let (_, answer) = self.ask(method, params).await;
        let result = answer.get("result").cloned();
        result.unwrap_or_else(|| panic!("{method}: {answer}"))
    }

    /// The code of the error that a request ends with.
    pub async fn error(&self, method: &str, params: Value) -> i64 {
        let (_, answer) = self.ask(method, params).await;
        let code = answer["error"]["code"].as_i64();
        code.unwrap_or_else(|| panic!("{method}: {answer}"))
    }

    /// The result of a call.
    pub async fn call(&self, name: &str, arguments: Value) -> Value {
        let params = json!({ "name": name, "arguments": arguments });
        self.result("tools/call", params).await
    }

    /// The names of all tools, page by page.
    pub async fn tools(&self) -> Vec<Value> {
        let (mut tools, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let params = match &cursor {
                Some(cursor) => json!({ "cursor": cursor }),
                None => json!({}),
            };
            let page = self.result("tools/list", params).await;
            tools.extend(page["tools"].as_array().expect("a list").clone());
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return tools;
            }
        }
    }

    /// A request whose answer is read as it comes, and its id.
    pub async fn open(&self, method: &str, params: Value) -> (Stream, u64) {
        let headers = self.headers(method, &params);
        let message = self.message(method, params);
        let id = message["id"].as_u64().expect("an id");
        (self.stream("POST", &headers, message.to_string()).await, id)
    }

    /// What the server says of its own accord.
    pub async fn listen(&self) -> Stream {
        let headers = self.headers("", &Value::Null);
        self.stream("GET", &headers, String::new()).await
    }

    /// What came after an event of a stream that broke off.
    pub async fn resume(&self, last: &str) -> Stream {
        let mut headers = self.headers("", &Value::Null);
        headers.push(("last-event-id", last.to_owned()));
        self.stream("GET", &headers, String::new()).await
    }

    /// The answer to a request of the server's.
    pub async fn reply(&self, id: &Value, result: Value) -> Answer {
        let headers = self.headers("", &Value::Null);
        let message = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        self.send(&headers, message.to_string()).await
    }

    async fn stream(
        &self,
        method: &str,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Stream {
        let mut request = Request::builder()
            .method(method)
            .uri("/mcp")
            .header("host", self.server.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let stream = TcpStream::connect(self.server.address)
            .await
            .expect("connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("a connection");
        let driver = tokio::spawn(connection).abort_handle();
        let request = request
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        Stream {
            status: parts.status.as_u16(),
            body,
            text: String::new(),
            driver,
        }
    }
}

impl Stream {
    /// Reads until a message is the one; `None`: there is none until the end.
    pub async fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Option<Value> {
        let read = async {
            loop {
                let whole = self.text.rfind("\n\n").map_or("", |end| &self.text[..end]);
                if let Some(found) = events(whole).into_iter().find(|said| is_it(said)) {
                    return Some(found);
                }
                let frame = self.body.frame().await?;
                let Ok(frame) = frame else { return None };
                let data = frame.into_data().expect("data");
                self.text += std::str::from_utf8(&data).expect("utf-8");
            }
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.unwrap_or_else(|_| panic!("nothing more comes after {}", self.text))
    }

    /// Reads until an event has an id.
    pub async fn event_id(&mut self) -> String {
        loop {
            let ids = self.text.lines().find_map(|line| line.strip_prefix("id:"));
            if let Some(id) = ids.filter(|_| self.text.contains("\n\n")) {
                return id.trim().to_owned();
            }
            let frame = self.body.frame().await.expect("more").expect("a frame");
            let data = frame.into_data().expect("data");
            self.text += std::str::from_utf8(&data).expect("utf-8");
        }
    }

    /// Reads to the end; the messages.
    pub async fn rest(&mut self) -> Vec<Value> {
        assert_eq!(self.until(|_| false).await, None);
        events(&self.text)
    }
}
