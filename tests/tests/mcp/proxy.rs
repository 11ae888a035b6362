//! Stands between a client that can neither send a token nor be told a tool's
//! name, and the server: adds the one, and turns `test_x` into `fixture__test_x`.

use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::{Router, serve};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// The plugin whose tools have the names that the client knows.
pub const PLUGIN: &str = "fixture";
/// Largest message, bytes.
const BYTES_MAX: usize = 16 << 20;

#[derive(Clone)]
struct Behind {
    address: SocketAddr,
    token: String,
}

/// Serves until this process ends; the address.
pub async fn start(address: SocketAddr, token: &str) -> SocketAddr {
    let behind = Behind {
        address,
        token: token.to_owned(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let own = listener.local_addr().expect("an address");
    let router = Router::new().fallback(forward).with_state(behind);
    tokio::spawn(async move { serve(listener, router).await });
    own
}

/// A tool's own name for the one that the client knows, and the other way round.
fn behind(name: &str) -> Option<String> {
    let known = name.starts_with("test_") || name.starts_with("json_schema_");
    known.then(|| format!("{PLUGIN}__{name}"))
}

async fn forward(State(to): State<Behind>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, BYTES_MAX).await.expect("a body");
    let mut message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let name = message["params"]["name"].as_str().and_then(behind);
    let lists = message["method"] == "tools/list";
    let body = match name {
        Some(name) => {
            message["params"]["name"] = Value::from(name);
            Bytes::from(message.to_string())
        }
        None => body,
    };
    let mut onward = hyper::Request::builder()
        .method(parts.method)
        .uri(parts.uri.path());
    for (name, value) in &parts.headers {
        let named = (name == "mcp-name").then(|| value.to_str().ok().and_then(behind));
        match (name.as_str(), named.flatten()) {
            ("content-length" | "connection" | "transfer-encoding", _) => {}
            (_, Some(named)) => onward = onward.header(name, named),
            _ => onward = onward.header(name, value),
        }
    }
    let onward = onward
        .header("authorization", format!("Bearer {}", to.token))
        .body(Full::new(body))
        .expect("a request");
    let stream = TcpStream::connect(to.address).await.expect("connects");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("a connection");
    // It goes when nobody reads any more.
    tokio::spawn(connection);
    let response = sender.send_request(onward).await.expect("a response");
    let (mut head, body) = response.into_parts();
    if !lists {
        return Response::from_parts(head, Body::new(body));
    }
    let whole = body.collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&whole);
    let text = text.replace(&format!("\"{PLUGIN}__"), "\"");
    head.headers.remove("content-length");
    head.headers.remove("transfer-encoding");
    Response::from_parts(head, Body::from(text))
}
