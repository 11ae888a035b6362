//! Agents that ship, in the real server: killed at
//! random moments, over many cycles, after a start on old data.

mod languages;
mod refund;
mod watch;

use std::path::Path;

use airlock::client::{Api, Request};
use airlock::commands::install;
use airlock::harness::Server;
use airlock_tests::{airlock, component};

/// Starts the server over `data`.
fn server(data: &Path) -> Server {
    Server::start(&airlock(), data, &[]).expect("the server starts")
}

/// Installs plugins that ship.
fn add(api: &Api, plugins: &[&str]) {
    for plugin in plugins {
        let file = component(&format!("airlock-plugin-{plugin}"));
        let bytes = std::fs::read(file).expect("a component");
        install(api, plugin, bytes, None).expect("installed");
    }
}

/// Applies a policy.
fn apply(api: &Api, policy: &str) {
    let path = "/v1/policy/apply?why=test";
    let request = Request::bytes("POST", path, "application/toml", policy.into());
    api.ok(&request).expect("applied");
}

/// Serves on loopback until the runtime is dropped; the address.
fn serve(runtime: &tokio::runtime::Runtime, router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
    let listener = runtime.block_on(listener).expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    runtime.spawn(async move { axum::serve(listener, router).await });
    base
}
