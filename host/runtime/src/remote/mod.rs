//! MCP servers of others as plugins: a server and its tools, as an administrator
//! took them, are a version; its tools are granted, called and recorded like those
//! of a component.
//!
//! What must stay true: a server is never taken for sandboxed; whoever installs it
//! may reach the whole host; a tool that says something else than when it was
//! pinned is not called before an administrator took that too.

mod admin;
mod dirs;
mod host;
mod manifest;
mod serve;
mod server;
mod view;

pub use admin::InstallServer;
pub(crate) use admin::{Asked, check_reach, is_server, mark};
pub(crate) use host::Remotes;
pub(crate) use manifest::manifest;
pub(crate) use serve::{Served, ServedWatch, Serving};
pub(crate) use server::{Linked, Remote, Withheld};
pub use view::{FoundView, McpServerView};
