//! Spins while it is instantiated, before any of its tools is asked for.

use std::hint::black_box;

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::Value;

#[used]
#[cfg_attr(
    target_family = "wasm",
    expect(unsafe_code, reason = "the attack: a constructor")
)]
#[cfg_attr(target_family = "wasm", unsafe(link_section = ".init_array"))]
static SPIN: extern "C" fn() = {
    extern "C" fn spin() {
        let mut x = 1u64;
        loop {
            x = black_box(x.wrapping_mul(3));
        }
    }
    spin
};

/// Is never called.
#[tool]
fn never(_input: Value) -> Result<Value, Error> {
    Ok(Value::Null)
}

plugin! { tools: [never], wants: [] }
