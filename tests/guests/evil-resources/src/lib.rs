//! Takes all of a resource, one tool per way. Each tool should be ended by a
//! limit, or come back saying what it was refused.

use std::hint::black_box;
use std::time::{Duration, Instant};

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
struct Amount {
    /// How much, in the tool's own unit.
    #[serde(default)]
    amount: u64,
}

/// Spins for ever.
#[tool]
fn spin(_input: Amount) -> Result<Value, Error> {
    let mut x = 1u64;
    loop {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// Spins for `amount` milliseconds, then answers.
#[tool]
fn busy(input: Amount) -> Result<Value, Error> {
    let end = Instant::now() + Duration::from_millis(input.amount);
    let mut x = 1u64;
    while Instant::now() < end {
        for _ in 0..1000 {
            x = black_box(x.wrapping_mul(3));
        }
    }
    Ok(json!({ "done": true }))
}

/// Grows its memory until it can't, touching each page.
#[tool]
fn grow(_input: Amount) -> Result<Value, Error> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    loop {
        held.push(vec![1; 1 << 20]);
        black_box(&held);
    }
}

/// Takes `amount` bytes at once and says whether it got them.
#[tool]
fn take(input: Amount) -> Result<Value, Error> {
    let mut held: Vec<u8> = Vec::new();
    let got = held
        .try_reserve_exact(usize::try_from(input.amount).unwrap_or(usize::MAX))
        .is_ok();
    if got {
        held.resize(usize::try_from(input.amount).unwrap_or(0), 1);
    }
    Ok(json!({ "got": got, "sum": black_box(&held).len() }))
}

/// Keeps nothing in linear memory, so that the engine's own stack is what ends.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    if depth == u64::MAX {
        1
    } else {
        deeper(depth + 1).rotate_left(7) ^ depth
    }
}

/// Recurses until the stack is used up.
#[tool]
fn recurse(_input: Amount) -> Result<Value, Error> {
    Ok(json!(deeper(black_box(0))))
}

/// Answers with `amount` bytes.
#[tool]
fn output(input: Amount) -> Result<String, Error> {
    Ok("x".repeat(usize::try_from(input.amount).unwrap_or(usize::MAX)))
}

/// Fails with a message of `amount` bytes.
#[tool]
fn fail(input: Amount) -> Result<Value, Error> {
    Err(Error::permanent("x".repeat(
        usize::try_from(input.amount).unwrap_or(usize::MAX),
    )))
}

/// Sleeps for `amount` milliseconds in one host call.
#[tool]
fn sleep(input: Amount) -> Result<Value, Error> {
    std::thread::sleep(Duration::from_millis(input.amount));
    Ok(json!({ "done": true }))
}

/// Sleeps again and again, a little at a time, for ever.
#[tool]
fn nap(_input: Amount) -> Result<Value, Error> {
    loop {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Copies a large block of memory again and again: bulk operations, which are
/// interrupted only between each other.
#[tool]
fn bulk(input: Amount) -> Result<Value, Error> {
    let size = usize::try_from(input.amount)
        .unwrap_or(1 << 20)
        .max(1 << 20);
    let mut block = vec![1u8; size];
    loop {
        let half = size / 2;
        block.copy_within(..half, half);
        black_box(&block);
    }
}

/// Aborts.
#[tool]
fn abort(_input: Amount) -> Result<Value, Error> {
    std::process::abort()
}

/// Ends the process, as a program would.
#[tool]
fn exit(_input: Amount) -> Result<Value, Error> {
    std::process::exit(0)
}

static SEEN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Counts its calls in a static, and looks for what an earlier call left in
/// fresh memory.
#[tool]
fn residue(_input: Amount) -> Result<Value, Error> {
    let before = SEEN.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let mut block = vec![0u8; 1 << 20];
    let dirty = block.iter().filter(|byte| **byte != 0).count();
    block.fill(0xA5);
    black_box(&block);
    Ok(json!({ "calls_before": before, "dirty_bytes": dirty }))
}

plugin! {
    tools: [
        spin, busy, grow, take, recurse, output, fail, sleep, nap, bulk, abort, exit, residue,
    ],
    wants: []
}
