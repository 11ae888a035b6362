//! OpenAPI documents as tools. [`compile()`] reads a document and makes of each
//! operation a tool: what it tells of itself, and a [`Plan`] that says how a
//! request is made of an input. [`pack()`] puts them into the component that serves
//! them; there, [`request()`] and [`outcome()`] are all that a call does beside
//! sending.
//!
//! It has no effects. What must stay true: no input makes a request to another
//! server, to a path outside of the operation's own, or with a header that the
//! document does not name; any document is read or refused, within the [`limits`].
//!
//! ```
//! use airlock_openapi::{Options, compile, request};
//!
//! let document = r#"{
//!     "openapi": "3.1.0", "info": { "title": "Orders", "version": "1" },
//!     "servers": [{ "url": "https://api.example.com/v1" }],
//!     "paths": { "/orders/{id}": { "get": {
//!         "operationId": "getOrder",
//!         "parameters": [{ "name": "id", "in": "path", "required": true }]
//!     } } }
//! }"#;
//! let compiled = compile(document, &Options::default()).unwrap();
//! let tool = &compiled.tools[0];
//! assert_eq!((compiled.plugin.as_str(), tool.name.as_str()), ("orders", "get_order"));
//!
//! let made = request(&tool.plan, r#"{ "id": "O-7" }"#, None, None).unwrap();
//! assert_eq!(made.url, "https://api.example.com/v1/orders/O-7");
//! assert!(request(&tool.plan, r#"{ "id": "../users" }"#, None, None).is_err());
//! ```

mod compile;
pub mod image;
pub mod limits;
mod pack;
pub mod plan;
mod problem;
mod read;
mod request;
mod response;
mod schema;
mod spec;

pub use compile::{Compiled, Options, compile};
pub use image::{Image, Listing, Source, Tool, Want};
pub use pack::{MARKER, PackError, pack};
pub use plan::{Auth, Carrier, Plan};
pub use problem::{At, Problem};
pub use request::{Request, request};
pub use response::{Outcome, Response, outcome};

#[cfg(test)]
mod tests;
