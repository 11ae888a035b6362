//! Attacks `wasi:filesystem` below the standard library, on the descriptors
//! themselves, one tool per kind of attack. Each says what it was told: `ok`, or
//! the error code.
#![cfg(target_family = "wasm")]

mod attempts;
mod floods;

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::Value;
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, ErrorCode};

use attempts::*;
use floods::*;

/// What the table of attacks tells the guest.
#[derive(Deserialize, JsonSchema)]
struct Attack {
    /// The guest path of the granted directory to attack from.
    #[serde(default)]
    dir: String,
    /// Paths relative to it.
    #[serde(default)]
    paths: Vec<String>,
    /// How much or how often, in the tool's own unit.
    #[serde(default)]
    amount: u64,
}

impl Attack {
    /// The preopened descriptor of the directory.
    fn preopen(&self) -> Result<Descriptor, Error> {
        preopen(&self.dir)
    }
}

fn preopen(dir: &str) -> Result<Descriptor, Error> {
    let found = get_directories().into_iter().find(|(_, path)| path == dir);
    found
        .map(|(descriptor, _)| descriptor)
        .ok_or_else(|| Error::not_found(format!("no preopen {dir}")))
}

/// `ok`, or the code's name.
fn told<T>(result: Result<T, ErrorCode>) -> Value {
    match result {
        Ok(_) => "ok".into(),
        Err(code) => code.name().into(),
    }
}

plugin! {
    tools: [
        preopens, open_each, readlink_each, link_each, change_each, rename_across, race, list,
        fill, inodes, deepen, open_many, write_without_waiting, read_until_stopped, error_text,
    ],
    wants: []
}
