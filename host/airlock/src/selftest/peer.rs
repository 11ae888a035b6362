//! Two real HTTP servers on loopback: a peer that a guest was granted, and a
//! canary that nobody was granted and that counts who reaches it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::any;
use base64::Engine as _;
use futures_util::stream;

/// The two servers.
pub(super) struct Peers {
    pub(super) granted: SocketAddr,
    pub(super) canary: SocketAddr,
    reached: Arc<AtomicU64>,
    _runtime: tokio::runtime::Runtime,
}

impl Peers {
    /// Starts both.
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let reached = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&reached);
        let count = move || {
            let counter = Arc::clone(&counter);
            async move {
                counter.fetch_add(1, Ordering::SeqCst);
                "the canary"
            }
        };
        let canary = serve(&runtime, Router::new().fallback(any(count)))?;
        let location = format!("http://{canary}/redirected");
        let redirect = move || async move { (StatusCode::FOUND, [(header::LOCATION, location)]) };
        let router = Router::new()
            .route("/ok", any(|| async { "ok" }))
            .route("/redirect", any(redirect))
            .route("/echo", any(echo))
            .route("/echo64", any(echo64))
            .route("/drip", any(drip))
            .route("/big", any(|| async { Body::from(vec![b'x'; 8 << 20]) }))
            .fallback(any(|| async { (StatusCode::NOT_FOUND, "no such page") }));
        let granted = serve(&runtime, router)?;
        Ok(Self {
            granted,
            canary,
            reached,
            _runtime: runtime,
        })
    }

    /// How often the canary was reached.
    pub(super) fn reached(&self) -> u64 {
        self.reached.load(Ordering::SeqCst)
    }
}

fn serve(runtime: &tokio::runtime::Runtime, router: Router) -> Result<SocketAddr> {
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .context("listening on loopback")?;
    let address = listener.local_addr()?;
    runtime.spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn credentials(headers: &HeaderMap) -> String {
    let value = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes().to_vec());
    String::from_utf8(value.unwrap_or_default()).unwrap_or_default()
}

async fn echo(request: Request) -> impl IntoResponse {
    format!("{} {}", request.uri(), credentials(request.headers()))
}

async fn echo64(request: Request) -> impl IntoResponse {
    let text = credentials(request.headers());
    base64::engine::general_purpose::STANDARD.encode(text.trim_start_matches("Bearer "))
}

/// A byte each 100 ms, for ever.
async fn drip() -> Body {
    let bytes = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((
            Ok::<_, std::io::Error>(axum::body::Bytes::from_static(b".")),
            (),
        ))
    });
    Body::from_stream(bytes)
}
