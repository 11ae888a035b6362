//! Attacks `wasi:http` on the interface itself, one tool per kind of attack. Each
//! says what it was told.
#![cfg(target_family = "wasm")]

mod exchange;
mod floods;
mod secret;

use airlock_sdk::prelude::*;

use exchange::*;
use floods::*;
use secret::*;

plugin! {
    tools: [
        ask, ask_each, append_each, hour, drip, half_a_body, headers_out, headers_in,
        many_fields, many_bodies, many_requests, read_nothing,
        place_secret, read_in_pieces,
    ],
    wants: []
}
