//! The API over a real socket, a real SQLite store and real sandboxes.

mod admin;
mod approvals;
mod calls;
mod cut_short;
mod errors;
mod events;
mod guests;
mod hostile;
mod idempotency;
mod leaving;
mod lists;
mod mcp;
mod mcp_client;
mod mcp_hostile;
mod mcp_runs;
mod memory;
mod policy;
mod routes;
mod run_events;
mod scopes;
mod server;
mod stopping;
mod triggers;
mod unseen;
