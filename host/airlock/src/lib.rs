//! The `airlock` binary as a library: the command line, the client of the HTTP
//! API that the commands, the self-test, the demo and the tests share, and the
//! composition root.

pub mod bridge;
#[expect(
    missing_docs,
    reason = "doc comments here are the help text; what the help needs is there"
)]
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
mod events;
pub mod exit;
mod flags;
pub mod harness;
pub mod local;
pub mod logging;
mod open;
pub mod output;
mod packed;
pub mod place;
pub mod selftest;
mod timeline;
