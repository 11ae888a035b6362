//! What stands behind the helpers: the host's interfaces in a component, and
//! `testing`'s stand-in natively. Both offer the same functions.

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(not(target_family = "wasm"))]
mod native_agent;
#[cfg(target_family = "wasm")]
mod wasi;
#[cfg(target_family = "wasm")]
mod wasi_agent;
#[cfg(target_family = "wasm")]
mod wasi_http;

#[cfg(not(target_family = "wasm"))]
pub(crate) use native::*;
#[cfg(not(target_family = "wasm"))]
pub(crate) use native_agent::{execute, host};
#[cfg(target_family = "wasm")]
pub(crate) use wasi::{
    Bucket, Source, config_all, config_get, is_ready, jitter, last_denial, log, memory,
    placeholder, progress, timer, wait_any,
};
#[cfg(target_family = "wasm")]
pub use wasi::{Component, bindings, call_dynamic, list_dynamic, wants_dynamic};
#[cfg(target_family = "wasm")]
pub(crate) use wasi_agent::host;
#[cfg(target_family = "wasm")]
pub use wasi_agent::{AgentComponent, bindings as agent_bindings};
#[cfg(target_family = "wasm")]
pub(crate) use wasi_http::send;
