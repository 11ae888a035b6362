//! Airlock's way to language models.
//!
//! An agent asks for a role; the administrator says which models stand for it. The
//! [`Router`] asks them over HTTP, one after another where one fails, within bounds
//! in time, number and cost. What must not leave the host leaves it as a
//! placeholder, and keys of providers are the host's: no plugin, log or error text
//! ever has one.
//!
//! # Why no crate for the providers' protocols
//!
//! Three were looked at. `async-openai` and `genai` bring `reqwest`, and with it a
//! second TLS library in C (`aws-lc-sys`), 150 and 170 crates in all; they open
//! their own connections, so that "not sent" can't be told from "sent, no answer",
//! which decides what an attempt may have cost. The types of `async-openai` alone
//! are small, but closed: an unknown `finish_reason`, or a member that a compatible
//! server leaves out, loses an answer that was paid for; and they cover two of three
//! protocols. What is needed of the protocols is some structs each
//! (`src/protocol`), over the same `hyper` and `rustls` as the rest of Airlock.

mod answer;
mod at_length;
mod client;
pub mod config;
mod error;
mod faults;
mod json;
mod names;
mod price;
mod protocol;
mod redact;
mod request;
mod router;
mod schema;
mod secret;
pub mod sse;
#[cfg(test)]
mod tests;

pub use answer::{
    ANSWER_BYTES_MAX, Answer, Attempt, EmbedRequest, Embeddings, Event, Failure, Fault, Finish,
    Meter, Spent, Usage,
};
pub use at_length::at_length;
pub use client::Client;
pub use error::{Fate, ModelError, Why};
pub use redact::{ConversationKey, PatternError, Redactor};
pub use request::{
    Message, OutputSchema, Part, REQUEST_BYTES_MAX, Request, Tool, ToolCall, ToolChoice,
};
pub use router::{Allowance, Ask, Clock, Permitted, Router, SystemClock};
pub use schema::{STEPS_MAX as SCHEMA_STEPS_MAX, Schema, Violation};
pub use secret::{Key, Mask, Secret, Secrets};
