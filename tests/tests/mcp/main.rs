//! The Model Context Protocol, spoken by clients that others wrote, with the real
//! server and the real command.

mod clients;
mod proxy;
mod stdio;

use std::path::Path;

use airlock::client::{Api, Request};
use airlock::commands::install;
use airlock::harness::Server;
use airlock_tests::{airlock, component};
use serde_json::{Value, json};

/// Starts the server over `data`.
fn server(data: &Path) -> Server {
    Server::start(&airlock(), data, &[]).expect("the server starts")
}

/// Installs a component as a plugin.
fn add(api: &Api, plugin: &str, package: &str) {
    let bytes = std::fs::read(component(package)).expect("a component");
    install(api, plugin, bytes, None).expect("installed");
}

/// Grants.
fn grant(api: &Api, plugin: &str, grants: Value) {
    let body = json!({ "grants": grants });
    let path = format!("/v1/plugins/{plugin}/grants");
    api.ok(&Request::json("PUT", path, &body)).expect("granted");
}
