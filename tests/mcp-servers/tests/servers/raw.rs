//! A server over HTTP that answers calls with bytes of the tests' choosing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use airlock_mcp_client::{Fault, Host, Mask, Server};
use serde_json::{Value, json};
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::{Secrets, around, connect, shown};

/// What a call is answered with.
enum Said {
    Bytes(Vec<u8>),
    /// A head, and then zeros without end.
    Endless(String),
    /// Nothing, and the connection stays open.
    Nothing,
}

/// What was asked: method, path and headers of a request, and its body.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

struct Raw {
    server: Server,
    asked: Asked,
}

fn raw(said: Said) -> Raw {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (asked, said) = (Asked::default(), Arc::new(said));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (seen, said) = (Arc::clone(&seen), Arc::clone(&said));
            std::thread::spawn(move || answer(stream, &seen, &said));
        }
    });
    let server = Server {
        url: Some(format!("http://{address}/mcp")),
        allow_private: true,
        ..Server::default()
    };
    Raw { server, asked }
}

fn json_reply(id: &Value, result: &Value) -> Vec<u8> {
    let body = json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: s-1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn answer(mut stream: TcpStream, seen: &Asked, said: &Said) {
    let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        head.push_str(&line.to_ascii_lowercase());
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    let text = String::from_utf8_lossy(&body).into_owned();
    seen.lock().expect("unpoisoned").push((head, text.clone()));
    let message: Value = serde_json::from_str(&text).unwrap_or_default();
    let schema = json!({ "type": "object", "properties": { "key-of-first": {} } });
    let tool = json!({ "name": "do", "inputSchema": schema });
    let ready = json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} } });
    let bytes = match message["method"].as_str() {
        Some("initialize") => json_reply(&message["id"], &ready),
        Some("tools/list") => json_reply(&message["id"], &json!({ "tools": [tool] })),
        Some("tools/call") => return call(&mut stream, said),
        _ => b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec(),
    };
    let _ = stream.write_all(&bytes);
}

fn call(stream: &mut TcpStream, said: &Said) {
    match said {
        Said::Bytes(bytes) => drop(stream.write_all(bytes)),
        Said::Endless(head) => {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&[b'0'; 64 << 10]).is_ok() {}
        }
        Said::Nothing => std::thread::sleep(Duration::from_secs(20)),
    }
}

fn reply(status: &str, kind: &str, body: &str) -> Said {
    let length = body.len();
    Said::Bytes(
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

/// Events that end with the connection.
fn events(all: &[Value]) -> Said {
    let all: String = all
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect();
    Said::Bytes(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{all}"
        )
        .into_bytes(),
    )
}

fn done(id: u64) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": { "content": [{ "type": "text", "text": "done" }] } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_misbehaviour_over_http_is_told_as_what_it_is() {
    const JSON: &str = "application/json";
    const DONE: &str = r#"{"content":[{"type":"text","text":"done"}]}"#;
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": {} });
    let asks = json!({ "jsonrpc": "2.0", "id": "mine", "method": "sampling/createMessage" });
    // The call is the third request.
    let table = [
        ("well", reply("200 OK", JSON, &done(3).to_string()), DONE),
        ("well, as events", events(&[note.clone(), done(3)]), DONE),
        ("asks for sampling", events(&[asks.clone(), done(3)]), DONE),
        ("asks without end", events(&vec![asks; 30]), "lost: it asks too much"),
        ("floods", events(&vec![note.clone(); 4_000]), "lost: it floods"),
        ("another id", reply("200 OK", JSON, &done(4).to_string()), "lost: it answered the request 4, which is another one"),
        ("another id, as an event", events(&[done(4)]), "lost: it answered the request 4"),
        ("ends before the result", events(&[note]), "lost: its answer ended before the result"),
        ("a list", reply("200 OK", JSON, "[]"), "broken: it wrote what is no message"),
        ("no JSON", reply("200 OK", JSON, "<html>"), "broken: it wrote what is no message"),
        ("a page", reply("200 OK", "text/html", "hello"), "broken: its answer is neither JSON nor events, but `text/html`"),
        ("nothing in it", reply("202 Accepted", JSON, ""), "broken: it wrote what is no message"),
        ("a redirect", Said::Bytes(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec()), "refused it (302)"),
        ("asks for a key", reply("401 Unauthorized", JSON, "{}"), "refused it (401)"),
        ("fails", reply("500 Internal Server Error", JSON, "{}"), "lost: HTTP 500"),
        ("a gateway lost it", reply("503 Service Unavailable", JSON, "{}"), "lost: HTTP 503"),
        ("has too many", reply("429 Too Many Requests", JSON, "{}"), "not sent: HTTP 429"),
        ("says no, with a number of HTTP's", reply("200 OK", JSON, r#"{"jsonrpc":"2.0","id":3,"error":{"code":503,"message":"done in part"}}"#), "refused it (503): done in part"),
        ("forgot the session", reply("404 Not Found", JSON, "{}"), "not sent: it forgot the session"),
        ("compressed", Said::Bytes(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_vec()), "broken: its answer is compressed"),
        ("cut off", Said::Bytes(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{".to_vec()), "lost: its answer broke off"),
        ("hangs up", Said::Bytes(Vec::new()), "lost: the connection ended before an answer"),
        ("no HTTP", Said::Bytes(b"hello\r\n\r\n".to_vec()), "lost: the connection ended before an answer"),
        ("never answers", Said::Nothing, "lost: it did not answer in time"),
        ("a body without end", Said::Endless("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_owned()), "broken: its answer has more than 8388608 bytes"),
        ("an event without end", Said::Endless("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ".to_owned()), "broken: an event of the stream is larger"),
        ("a head without end", Said::Endless("HTTP/1.1 200 OK\r\nx: ".to_owned()), "lost: the connection ended before an answer"),
    ];
    let dir = tempfile::tempdir().expect("a directory");
    for (case, said, expect) in table {
        let began = Instant::now();
        let raw = raw(said);
        let connected = connect(&raw.server, &around(dir.path()))
            .await
            .expect("connects");
        let wait = Duration::from_secs(2);
        let found = shown(
            connected
                .told("do", "{}", wait, watch::Sender::new(None))
                .await,
        );
        assert!(found.contains(expect), "{case}: {found}");
        assert!(began.elapsed() < Duration::from_secs(6), "{case}");
        let calls = raw.asked.lock().expect("unpoisoned");
        let calls = calls.iter().filter(|(_, body)| body.contains("tools/call"));
        assert_eq!(calls.count(), 1, "{case}: nothing is sent twice");
    }
}

/// What was asked later than now, as soon as it is there.
async fn asks(asked: &Asked, what: &str) -> (String, String) {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let found = asked
            .lock()
            .expect("unpoisoned")
            .iter()
            .find(|(head, body)| head.contains(what) || body.contains(what))
            .cloned();
        if let Some(found) = found {
            return found;
        }
        assert!(Instant::now() < until, "nobody asked for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_named_answered_in_and_ended() {
    let sampling = json!({ "jsonrpc": "2.0", "id": "mine", "method": "sampling/createMessage" });
    let raw = raw(events(&[sampling, done(3)]));
    let dir = tempfile::tempdir().expect("a directory");
    let connected = connect(&raw.server, &around(dir.path()))
        .await
        .expect("connects");
    connected.text("do", "{}").await;
    let (head, _) = asks(&raw.asked, "tools/call").await;
    for expect in [
        "post /mcp http/1.1",
        "mcp-session-id: s-1",
        "mcp-protocol-version: 2025-06-18",
        "accept: application/json, text/event-stream",
    ] {
        assert!(head.contains(expect), "{head}");
    }
    let (_, refusal) = asks(&raw.asked, "-32601").await;
    assert!(refusal.contains(r#""id":"mine""#), "{refusal}");
    drop(connected);
    let (ended, _) = asks(&raw.asked, "delete /mcp").await;
    assert!(ended.contains("mcp-session-id: s-1"), "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_forgotten_is_not_used_again() {
    let raw = raw(reply("404 Not Found", "application/json", "{}"));
    let dir = tempfile::tempdir().expect("a directory");
    let connected = connect(&raw.server, &around(dir.path()))
        .await
        .expect("connects");
    let refused = connected.call("do", "{}").await;
    assert!(matches!(refused, Err(Fault::NotSent(_))), "{refused:?}");
    assert!(connected.link.closed().is_some());
    let again = connected.text("do", "{}").await;
    assert_eq!(again, "not sent: it forgot the session");
    let calls = raw.asked.lock().expect("unpoisoned");
    let calls = calls.iter().filter(|(_, body)| body.contains("tools/call"));
    assert_eq!(calls.count(), 1, "a closed connection sends nothing");
}

/// A secret that is changed while a connection is there.
struct Changing(Mutex<&'static str>);

impl Host for Changing {
    fn secret(&self, _: &str) -> Option<Zeroizing<String>> {
        let value = *self.0.lock().expect("unpoisoned");
        Some(Zeroizing::new(value.to_owned()))
    }

    fn may_reach(&self, _: SocketAddr, _: Option<SocketAddr>, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn mask(&self, values: &[&str]) -> Option<Mask> {
        Secrets.mask(values)
    }
}

/// What is sent over a connection is what is masked on it, in names too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_knows_the_secrets_that_it_sends() {
    let dir = tempfile::tempdir().expect("a directory");
    let result = json!({ "content": [{ "type": "text", "text": "key-of-first or key-of-other" }] });
    let body = json!({ "jsonrpc": "2.0", "id": 3, "result": result }).to_string();
    let mut raw = raw(reply("200 OK", "application/json", &body));
    let named = ("x-key".to_owned(), "token".to_owned());
    raw.server.headers.extend([named]);
    let host = Arc::new(Changing(Mutex::new("key-of-first")));
    let mut around = around(dir.path());
    around.host = Arc::clone(&host) as Arc<dyn Host>;
    let connected = connect(&raw.server, &around).await.expect("it connects");
    let schema = connected.tools[0].input_schema.to_string();
    assert!(schema.contains("************"), "{schema}");
    assert!(!schema.contains("key-of-first"), "{schema}");
    *host.0.lock().expect("unpoisoned") = "key-of-other";
    let said = connected.text("do", "{}").await;
    assert!(said.contains("************ or key-of-other"), "{said}");
    let asked = raw.asked.lock().expect("unpoisoned");
    assert!(asked.len() >= 4, "{asked:?}");
    for (head, _) in asked.iter() {
        assert!(head.contains("x-key: key-of-first"), "{head}");
    }
}
