//! What the routes do: each takes its parameters from the call, asks the runtime,
//! and shapes the reply.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod events;
pub(crate) mod grants;
pub(crate) mod health;
pub(crate) mod hooks;
pub(crate) mod mcp;
pub(crate) mod memory;
pub(crate) mod models;
pub(crate) mod operations;
pub(crate) mod plugins;
pub(crate) mod policy;
pub(crate) mod run_events;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod secrets;
pub(crate) mod tokens;
pub(crate) mod tools;
pub(crate) mod views;
