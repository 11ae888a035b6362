//! Waiting for too long and for too many things, and too much randomness.

use wasip2::cli::stdout::get_stdout;
use wasip2::clocks::monotonic_clock::{now, resolution, subscribe_duration, subscribe_instant};
use wasip2::clocks::wall_clock;
use wasip2::io::poll::poll;
use wasip2::random::{insecure, random};

use super::*;

/// Sleeps for `amount` nanoseconds in one host call.
#[tool]
pub(crate) fn sleep_for(input: Amount) -> Result<Value, Error> {
    subscribe_duration(input.amount).block();
    Ok(json!({ "woke": true }))
}

/// Sleeps until the monotonic clock shows `amount`.
#[tool]
pub(crate) fn sleep_until(input: Amount) -> Result<Value, Error> {
    subscribe_instant(input.amount).block();
    Ok(json!({ "woke": true }))
}

/// Holds `amount` pollables at once.
#[tool]
pub(crate) fn pollables(input: Amount) -> Result<Value, Error> {
    let held: Vec<_> = (0..input.amount)
        .map(|_| subscribe_duration(u64::MAX))
        .collect();
    Ok(json!({ "held": held.len() }))
}

/// Polls one pollable, `amount` times in one list.
#[tool]
pub(crate) fn poll_list(input: Amount) -> Result<Value, Error> {
    let ready = subscribe_duration(0);
    let list = vec![&ready; input.count()];
    Ok(json!({ "ready": poll(&list).len() }))
}

/// Holds `amount` handles to stdout at once.
#[tool]
pub(crate) fn streams(input: Amount) -> Result<Value, Error> {
    let held: Vec<_> = (0..input.amount).map(|_| get_stdout()).collect();
    Ok(json!({ "held": held.len() }))
}

/// Reads the clocks.
#[tool(read_only)]
pub(crate) fn clocks(_input: Amount) -> Result<Value, Error> {
    let monotonic = now();
    Ok(json!({
        "monotonic_ns": monotonic,
        "resolution_ns": resolution(),
        "went_back": now() < monotonic,
        "wall_s": wall_clock::now().seconds,
    }))
}

/// Asks for `amount` random bytes at once.
#[tool]
pub(crate) fn random_bytes(input: Amount) -> Result<Value, Error> {
    Ok(json!({ "bytes": random::get_random_bytes(input.amount).len() }))
}

/// Asks for `amount` insecure random bytes at once.
#[tool]
pub(crate) fn insecure_bytes(input: Amount) -> Result<Value, Error> {
    Ok(json!({ "bytes": insecure::get_insecure_random_bytes(input.amount).len() }))
}

/// Asks for 4 KiB of randomness `amount` times.
#[tool]
pub(crate) fn random_many(input: Amount) -> Result<Value, Error> {
    for _ in 0..input.amount {
        random::get_random_bytes(4096);
    }
    Ok(json!({ "bytes": input.amount * 4096 }))
}
