use airlock_sdk::prelude::*;

/// Is a tool.
#[tool]
fn one() -> Result<u32, Error> {
    Ok(1)
}

/// Is another one.
#[tool(name = "one")]
fn two() -> Result<u32, Error> {
    Ok(1)
}

plugin! { tools: [one, two], wants: [] }

fn main() {}
