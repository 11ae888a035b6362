//! What the examples work with on one machine: a model server and services that stand
//! in for real ones, and the stage on which tests run an example as its README says.
//!
//! What must stay true: nothing here is the host or a part of it. An example is run by
//! the binary `airlock`, with the commands that a person types.

mod ask;
pub mod ledger;
pub mod models;
pub mod runs;
pub mod services;
pub mod stage;

use std::path::{Path, PathBuf};

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.parent().and_then(Path::parent);
    root.map(Path::to_path_buf).unwrap_or_default()
}

/// Where the examples' models are, as their files say.
pub const MODELS: &str = "127.0.0.1:7701";

/// Where the examples' services are, as their files say.
pub const SERVICES: &str = "127.0.0.1:7702";
