//! The HTTP API: a table of routes over the runtime. Who may do what, what a
//! body may be and what is replied stand in the table; one dispatcher keeps to
//! it, and the OpenAPI document is made from it.
//!
//! What must stay true: no handler runs before its caller is known to be allowed;
//! every error is a problem with a stable code; nothing a client does (slow,
//! large, many) takes more than it was given.

mod app;
mod bodies;
mod config;
mod dispatch;
mod front;
mod handlers;
mod in_process;
mod openapi;
mod reply;
mod routes;
mod serve;
mod stall;

pub use airlock_mcp::McpConfig;
pub use config::ServerConfig;
pub use in_process::{Answer, InProcess, InProcessError};
pub use openapi::document as openapi;
pub use routes::{Access, ROUTES, Route};
pub use serve::serve;
