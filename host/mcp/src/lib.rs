//! The Model Context Protocol over the runtime: a token's tools, its agents and
//! the runs it may follow, over streamable HTTP and over standard input and
//! output.
//!
//! What must stay true: nothing here administers anything, and no tool answers
//! for a person; what a request may do is what its token may do when the request
//! comes, whatever session it comes in; a call is made by the same function of
//! the runtime as over `/v1`.

mod agents;
mod ask;
mod call;
mod direct;
mod follow;
mod handler;
mod http;
mod left;
mod listing;
mod names;
mod once;
mod outcome;
mod sessions;
mod stdio;

pub use ask::is_unseen;
pub use http::{Mcp, McpConfig, SessionRefused, is_id_in_use};
pub use names::{agent_name, tool_name};
pub use stdio::serve_stdio;
