//! A shop's service, as the example document says it is, that remembers what was
//! asked of it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What the service asks for; no plugin may ever see it.
pub(crate) const KEY: &str = "key-77c1-not-for-plugins";

/// A request that came.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) body: Vec<u8>,
    headers: HeaderMap,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

#[derive(Default)]
struct Known {
    seen: Vec<Seen>,
    elsewhere: String,
}

type Books = Arc<Mutex<Known>>;

pub(crate) struct Shop {
    books: Books,
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Shop {
    pub(crate) fn open() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let books = Books::default();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&books));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            books,
            address,
            _runtime: runtime,
        }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn redirects_to(&self, url: &str) {
        url.clone_into(&mut lock(&self.books).elsewhere);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.books).seen.clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }
}

fn lock(books: &Books) -> std::sync::MutexGuard<'_, Known> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    State(books): State<Books>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let elsewhere = {
        let mut known = lock(&books);
        known.seen.push(Seen {
            line: format!("{method} {uri}"),
            body: body.to_vec(),
            headers: headers.clone(),
        });
        known.elsewhere.clone()
    };
    let path = uri.path().strip_prefix("/v1").unwrap_or_default();
    if path == "/health" {
        return "well".into_response();
    }
    let known = headers
        .get("authorization")
        .is_some_and(|value| value == format!("Bearer {KEY}").as_str());
    // A document without a secret is another one than the shop's.
    if !known && !path.starts_with("/orders/x") {
        return problem(401, "who are you?");
    }
    answer(method.as_str(), path, &body, &elsewhere)
}

fn answer(method: &str, path: &str, body: &[u8], elsewhere: &str) -> Response {
    let order = json!({ "id": "O-1", "status": "open", "customer": "ada", "lines": [] });
    match (method, path) {
        ("GET", "/orders") => {
            let page = json!({ "orders": [order], "next": null });
            ([("x-total-count", "1")], axum::Json(page)).into_response()
        }
        ("POST", "/orders") => place(body, order),
        ("GET", "/orders/O-1") => ([("etag", "\"1\"")], axum::Json(order)).into_response(),
        ("GET", "/orders/O-429") => {
            ([("retry-after", "2")], problem(429, "slowly")).into_response()
        }
        ("GET", "/orders/O-500") => problem(500, "it broke"),
        ("GET", "/orders/O-302") => (
            axum::http::StatusCode::FOUND,
            [("location", elsewhere.to_owned())],
        )
            .into_response(),
        ("GET", "/orders/O-long") => "x".repeat(2 << 20).into_response(),
        ("PUT" | "PATCH", "/orders/O-1") => axum::Json(order).into_response(),
        ("DELETE", "/orders/O-1") => axum::http::StatusCode::NO_CONTENT.into_response(),
        ("POST", "/orders/O-1/notes" | "/orders/O-1/attachments") => {
            axum::http::StatusCode::CREATED.into_response()
        }
        ("GET", "/orders/O-1/label.pdf") => {
            ([("content-type", "application/pdf")], b"%PDF\xff".to_vec()).into_response()
        }
        ("GET", "/categories") => axum::Json(json!({ "name": "all" })).into_response(),
        _ => problem(404, "no such order"),
    }
}

fn place(body: &[u8], mut order: Value) -> Response {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    match asked["customer"].as_str() {
        Some("nobody") => problem(422, "no such customer"),
        Some("crash") => problem(500, "it broke"),
        Some("twice") => problem(409, "it is there"),
        _ => {
            order["id"] = json!("O-2");
            let created = axum::http::StatusCode::CREATED;
            (created, [("location", "/v1/orders/O-2")], axum::Json(order)).into_response()
        }
    }
}

fn problem(status: u16, detail: &str) -> Response {
    let status = axum::http::StatusCode::from_u16(status).expect("a status");
    // Of two lines, as some servers write it.
    let text = format!("{{\"detail\":\n  \"{detail}\"}}");
    (status, [("content-type", "application/problem+json")], text).into_response()
}
