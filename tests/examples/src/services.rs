//! Services that stand in for those an example would have in real life: what they
//! serve is in `services.json` of its folder, and what they are sent is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::ledger::Ledger;

/// The key that the payments service asks for; no plugin and no model may see it.
pub const KEY: &str = "key-7d1e-of-the-payments-service";

const BODY_BYTES_MAX: usize = 8 << 20;

/// `services.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// Orders that the payments service has.
    orders: Vec<Order>,
    /// What is served at a path.
    serves: BTreeMap<String, Page>,
    /// Paths that take what is sent by POST or PUT.
    takes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    id: String,
    customer: String,
    paid: u64,
    days: u64,
}

/// What is served at a path.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// A file of the example's folder.
    pub file: Option<PathBuf>,
    /// The body, where there is no file.
    pub body: String,
    /// Headers; the content type goes by the path unless it is here.
    pub headers: BTreeMap<String, String>,
    /// 200 where 0.
    pub status: u16,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Came {
    /// `POST`, for example.
    pub method: String,
    /// With its query.
    pub path: String,
    /// In order.
    pub headers: Vec<(String, String)>,
    /// As text.
    pub body: String,
}

/// The services.
#[derive(Clone, Default)]
pub struct Services {
    /// The books of the payments service.
    pub ledger: Ledger,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    pages: Mutex<BTreeMap<String, Page>>,
    takes: Vec<String>,
    came: Mutex<Vec<Came>>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Services {
    /// The services of an example.
    ///
    /// # Errors
    /// `services.json`, or a file that it names, can't be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("services.json");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("reading {}", file.display()))?;
        let settings: Settings =
            serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))?;
        let ledger = Ledger::new(Duration::ZERO);
        for order in settings.orders {
            ledger.order(&order.id, &order.customer, order.paid, order.days);
        }
        let mut pages = settings.serves;
        for page in pages.values_mut() {
            if let Some(file) = &page.file {
                let file = folder.join(file);
                page.body = std::fs::read_to_string(&file)
                    .with_context(|| format!("reading {}", file.display()))?;
            }
        }
        let shared = Arc::new(Shared {
            pages: Mutex::new(pages),
            takes: settings.takes,
            came: Mutex::default(),
        });
        Ok(Self { ledger, shared })
    }

    /// Serves at an address.
    ///
    /// # Errors
    /// It is taken.
    pub async fn serve(&self, address: &str) -> Result<impl Future<Output = std::io::Result<()>>> {
        let listener = tokio::net::TcpListener::bind(address).await;
        let listener = listener.with_context(|| format!("listening on {address}"))?;
        Ok(self.clone().serve_on(listener))
    }

    /// Serves on a listener.
    ///
    /// # Errors
    /// As the system says.
    pub async fn serve_on(self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        let kept = self.clone();
        let router = Router::new()
            .fallback(answer)
            .with_state(self.clone())
            .merge(self.ledger.router(KEY))
            .layer(middleware::from_fn_with_state(kept, keep));
        axum::serve(listener, router).await
    }

    /// Serves something else at a path.
    pub fn put(&self, path: &str, page: Page) {
        lock(&self.shared.pages).insert(path.to_owned(), page);
    }

    /// What is served at a path.
    #[must_use]
    pub fn page(&self, path: &str) -> Option<Page> {
        lock(&self.shared.pages).get(path).cloned()
    }

    /// All that is served.
    #[must_use]
    pub fn pages(&self) -> BTreeMap<String, Page> {
        lock(&self.shared.pages).clone()
    }

    /// Serves these and nothing else.
    pub fn put_all(&self, pages: BTreeMap<String, Page>) {
        *lock(&self.shared.pages) = pages;
    }

    /// What came so far, in order.
    #[must_use]
    pub fn came(&self) -> Vec<Came> {
        lock(&self.shared.came).clone()
    }

    /// Forgets what came so far.
    pub fn forget(&self) {
        lock(&self.shared.came).clear();
    }
}

/// Keeps each request before it is answered.
async fn keep(State(services): State<Services>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = parts.headers.iter();
    lock(&services.shared.came).push(Came {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: headers
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect(),
        body: text(&body),
    });
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// What is no payments service's.
async fn answer(State(services): State<Services>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if matches!(request.method().as_str(), "POST" | "PUT") {
        return match services.shared.takes.contains(&path) {
            true => (StatusCode::CREATED, "{\"taken\":true}").into_response(),
            false => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let Some(page) = services.page(&path) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let status = StatusCode::from_u16(page.status).unwrap_or(StatusCode::OK);
    let mut headers = HeaderMap::new();
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("md" | "txt" | "jsonl" | "csv") => "text/plain; charset=utf-8",
        _ => "application/json",
    };
    let kind = BTreeMap::from([("content-type".to_owned(), kind.to_owned())]);
    for (name, value) in kind.iter().chain(&page.headers) {
        let name = axum::http::HeaderName::try_from(name.as_str());
        let value = axum::http::HeaderValue::try_from(value.as_str());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    (status, headers, Bytes::from(page.body)).into_response()
}
