use airlock_sdk::prelude::*;

/// Is a tool.
#[tool]
fn one() -> Result<u32, Error> {
    Ok(1)
}

plugin! { tools: [], wants: [] }

fn main() {}
