//! The service that knows the contracts: a real HTTP server on loopback.

use std::path::Path;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

/// A running service.
pub(crate) struct Service {
    base: String,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    /// Serves the file at `/v1/contracts` on a free port.
    pub(crate) fn start(file: &Path) -> Result<Self> {
        let body =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let base = format!("http://{}", listener.local_addr()?);
        let answer = move || async move { ([(CONTENT_TYPE, "application/json")], body) };
        let router = Router::new().route("/v1/contracts", get(answer));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self {
            base,
            _runtime: runtime,
        })
    }

    /// Its address.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }
}
