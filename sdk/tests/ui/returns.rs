use airlock_sdk::prelude::*;

/// Returns no result.
#[tool]
fn plain() -> u32 {
    1
}

/// Returns nothing.
#[tool]
fn nothing() {}

/// Has an error that is none of the SDK's.
#[tool]
fn other_error() -> Result<u32, String> {
    Ok(1)
}

fn main() {}
