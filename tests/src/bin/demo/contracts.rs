//! The service that knows the contracts: a real HTTP server on loopback, which
//! answers one request after the other, slowly enough that a crash meets it at
//! work, and counts what it is asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::Path as PathOf;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;

/// How long an answer takes.
const SLOW: Duration = Duration::from_millis(50);

/// How often each contract was asked for.
type Counts = Arc<Mutex<BTreeMap<String, u32>>>;

/// A running service.
pub(crate) struct Service {
    base: String,
    counts: Counts,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    /// Serves each contract of the file at `/v1/contracts/{id}` on a free port.
    pub(crate) fn start(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let list: Vec<Value> =
            serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let base = format!("http://{}", listener.local_addr()?);
        let counts = Counts::default();
        let (list, counted) = (Arc::new(list), Arc::clone(&counts));
        let one_by_one = Arc::new(tokio::sync::Mutex::new(()));
        let answer = move |PathOf(id): PathOf<String>| async move {
            *lock(&counted).entry(id.clone()).or_default() += 1;
            let turn = one_by_one.lock().await;
            tokio::time::sleep(SLOW).await;
            drop(turn);
            match list.iter().find(|contract| contract["contract_id"] == *id) {
                Some(found) => {
                    ([(CONTENT_TYPE, "application/json")], found.to_string()).into_response()
                }
                None => StatusCode::NOT_FOUND.into_response(),
            }
        };
        let router = Router::new().route("/v1/contracts/{id}", get(answer));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            base,
            counts,
            _runtime: runtime,
        })
    }

    /// Its address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// How often each contract was asked for.
    pub(crate) fn counts(&self) -> BTreeMap<String, u32> {
        lock(&self.counts).clone()
    }
}

fn lock(counts: &Mutex<BTreeMap<String, u32>>) -> std::sync::MutexGuard<'_, BTreeMap<String, u32>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
