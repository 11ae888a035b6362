//! Two real HTTP servers on loopback: a peer that a guest was granted, which
//! notes where a secret arrived, and a canary that nobody was granted and that
//! counts who connects to it.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::serve::ListenerExt;
use base64::Engine as _;
use futures_util::stream;
use tokio::net::TcpListener;

use super::ground::CANARY;

/// Longest request body that is looked into.
const BODY_BYTES_MAX: usize = 1 << 20;

/// Paths whose requests may carry the secret.
const BOUND: [&str; 3] = ["/echo", "/echo64", "/pieces"];

/// The two servers.
pub(super) struct Peers {
    pub(super) granted: SocketAddr,
    pub(super) canary: SocketAddr,
    seen: Arc<Arrived>,
    _runtime: tokio::runtime::Runtime,
}

/// What arrived at the servers.
#[derive(Default)]
struct Arrived {
    at_canary: AtomicU64,
    in_header: AtomicU64,
    in_query: AtomicU64,
    elsewhere: AtomicU64,
}

impl Peers {
    /// Starts both.
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let seen = Arc::<Arrived>::default();
        let canary = start_canary(&runtime, &seen)?;
        let location = format!("http://{canary}/redirected");
        let redirect = move || async move { (StatusCode::FOUND, [(header::LOCATION, location)]) };
        let router = Router::new()
            .route("/ok", any(|| async { "ok" }))
            .route("/redirect", any(redirect))
            .route("/echo", any(echo))
            .route("/echo64", any(echo64))
            .route("/pieces", any(pieces))
            .route("/drip", any(drip))
            .route("/never", any(std::future::pending::<()>))
            .route(
                "/headers",
                any(|| async { [("x-long", "y".repeat(30_000))] }),
            )
            .route("/big", any(|| async { Body::from(vec![b'x'; 8 << 20]) }))
            .fallback(any(|| async { (StatusCode::NOT_FOUND, "no such page") }))
            .layer(from_fn_with_state(Arc::clone(&seen), note));
        let listener = listen(&runtime, ([127, 0, 0, 1], 0).into())?;
        let granted = listener.local_addr()?;
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            granted,
            canary,
            seen,
            _runtime: runtime,
        })
    }

    /// How often somebody connected to the canary since this was last asked.
    pub(super) fn take_reached(&self) -> u64 {
        self.seen.at_canary.swap(0, Ordering::SeqCst)
    }

    /// How often the secret came in a header, and in a query, that it is bound to.
    pub(super) fn used(&self) -> (u64, u64) {
        let Arrived {
            in_header,
            in_query,
            ..
        } = &*self.seen;
        (
            in_header.load(Ordering::SeqCst),
            in_query.load(Ordering::SeqCst),
        )
    }

    /// How often the secret came anywhere else since this was last asked.
    pub(super) fn take_misplaced(&self) -> u64 {
        self.seen.elsewhere.swap(0, Ordering::SeqCst)
    }
}

fn listen(runtime: &tokio::runtime::Runtime, address: SocketAddr) -> Result<TcpListener> {
    runtime
        .block_on(TcpListener::bind(address))
        .with_context(|| format!("listening on {address}"))
}

/// The canary listens at one port of both loopback addresses, of the second
/// where this machine has it.
fn start_canary(runtime: &tokio::runtime::Runtime, seen: &Arc<Arrived>) -> Result<SocketAddr> {
    let listener = listen(runtime, ([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr()?;
    let second = listen(runtime, (Ipv6Addr::LOCALHOST, address.port()).into()).ok();
    for listener in [Some(listener), second].into_iter().flatten() {
        let seen = Arc::clone(seen);
        let counted = listener.tap_io(move |_| {
            seen.at_canary.fetch_add(1, Ordering::SeqCst);
        });
        let router = Router::new().fallback(any(|| async { "the canary" }));
        runtime.spawn(async move { axum::serve(counted, router).await });
    }
    Ok(address)
}

/// Notes where in a request the secret is.
async fn note(State(seen): State<Arc<Arrived>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    let bound = BOUND.contains(&parts.uri.path());
    let add = |to: &AtomicU64, text: &[u8]| {
        let found = text
            .windows(CANARY.len())
            .any(|part| part == CANARY.as_bytes());
        to.fetch_add(u64::from(found), Ordering::SeqCst);
    };
    let (header, query) = match bound {
        true => (&seen.in_header, &seen.in_query),
        false => (&seen.elsewhere, &seen.elsewhere),
    };
    for value in parts.headers.values() {
        add(header, value.as_bytes());
    }
    add(query, parts.uri.query().unwrap_or_default().as_bytes());
    add(&seen.elsewhere, parts.uri.path().as_bytes());
    add(&seen.elsewhere, &body);
    next.run(Request::from_parts(parts, Body::from(body))).await
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

/// The credentials, a byte at a time.
async fn pieces(request: Request) -> Body {
    let bytes = credentials(request.headers()).into_bytes();
    let frames = bytes
        .into_iter()
        .map(|byte| Ok::<_, std::io::Error>(Bytes::copy_from_slice(&[byte])));
    Body::from_stream(stream::iter(frames))
}

/// A byte each 100 ms, for ever.
async fn drip() -> Body {
    let bytes = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b".")), ()))
    });
    Body::from_stream(bytes)
}
