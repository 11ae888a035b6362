//! Write tools for Airlock.
//!
//! A tool is a Rust function with an attribute. Its input and output schemas come
//! from its types, its description from its doc comment, and what it wants is
//! declared beside it. It runs in a sandbox that can touch only what an
//! administrator granted; natively, under `cargo test`, [`testing`] stands in for
//! the host.
//!
//! ```
//! use airlock_sdk::prelude::*;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Greet {
//!     /// Who to greet.
//!     name: String,
//! }
//!
//! #[derive(Serialize, JsonSchema)]
//! struct Greeting {
//!     text: String,
//! }
//!
//! /// Greets somebody by name.
//! #[tool(read_only)]
//! fn greet(input: Greet) -> Result<Greeting, Error> {
//!     if input.name.is_empty() {
//!         return Err(Error::invalid_input("name: must not be empty"));
//!     }
//!     Ok(Greeting { text: format!("Hello, {}!", input.name) })
//! }
//!
//! plugin! { tools: [greet], wants: [] }
//!
//! # fn main() {
//! let reply = airlock_sdk::testing::call(&PLUGIN, "greet", serde_json::json!({ "name": "Ada" }));
//! assert_eq!(reply.unwrap()["text"], "Hello, Ada!");
//! # }
//! ```
//!
//! Agents, which decide and call tools, are written with [`mod@agent`].
//!
//! A tool may take a `&Context` as its last parameter and may be an `async fn`.
//!
//! `plugin!` stands once in the crate's root. A tool of a module is listed with its
//! module, not imported, and is at least `pub(crate)`:
//!
//! ```
//! mod greetings {
//!     use airlock_sdk::prelude::*;
//!
//!     /// Greets everybody.
//!     #[tool(read_only)]
//!     pub(crate) fn greet() -> Result<String, Error> {
//!         Ok("Hello!".to_owned())
//!     }
//! }
//!
//! use airlock_sdk::prelude::*;
//!
//! plugin! { tools: [greetings::greet], wants: [] }
//!
//! # fn main() {
//! let reply = airlock_sdk::testing::call(&PLUGIN, "greet", serde_json::json!({}));
//! assert_eq!(reply.unwrap(), "Hello!");
//! # }
//! ```

mod backend;
mod context;
mod error;
mod input;
mod plugin;

pub mod agent;
pub mod config;
pub mod dynamic;
pub mod flow;
pub mod http;
pub mod kv;
pub mod log;
pub mod memory;
pub mod prompt;
pub mod retry;
pub mod schema;
pub mod secrets;
pub mod task;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use airlock_sdk_macros::{plugin, tool};
pub use context::Context;
pub use error::{Denial, Error};
pub use log::progress;
pub use plugin::{Effects, Plugin, Tool, Want};

// The derives of these crates are part of how a tool is written.
pub use {schemars, serde, serde_json};

/// What a tool's source needs: `use airlock_sdk::prelude::*;`.
pub mod prelude {
    pub use crate::{Context, Error, plugin, tool};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}

/// For the macros' expansions only.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_family = "wasm")]
    pub use crate::backend::{
        AgentComponent, Component, agent_bindings, bindings, call_dynamic, list_dynamic,
        wants_dynamic,
    };
    pub use crate::input::{
        NoInput, ToolResult, input_schema, or_fail, output_schema, read_input, write_output,
    };
    pub use crate::plugin::{ToolDefinition, ToolParts, name_is_new, plugin, tool};
}

/// The example in the README, tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Those of the documentation of agents, which is no part of what is copied.
#[cfg(doctest)]
#[doc = include_str!("../../docs/agents.md")]
struct Agents;
