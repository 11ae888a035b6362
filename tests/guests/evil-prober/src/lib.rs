//! Tries whatever it is told and says how far it got. The table of attacks holds
//! the paths, addresses and names; this guest only does its worst with them.

mod files;
mod host;
mod network;

use std::fmt::Display;

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};

use files::*;
use host::*;
use network::*;

/// What became of an attempt, as data: that it failed is no error of the tool.
fn outcome<T: Into<Value>, E: Display>(result: Result<T, E>) -> Result<Value, Error> {
    Ok(match result {
        Ok(data) => json!({ "ok": true, "data": data.into() }),
        Err(error) => json!({ "ok": false, "error": error.to_string() }),
    })
}

plugin! {
    tools: [
        read, write, truncate, list, rename, hard_link, soft_link, remove, fill, many, fifo_like,
        request, secret, tcp, udp, resolve,
        environment, arguments, random, flood_log, flood_progress, handles, kv_get, kv_put,
    ],
    wants: []
}
