use airlock_sdk::prelude::*;

/// Is a tool.
#[tool]
fn one() -> Result<u32, Error> {
    Ok(1)
}

plugin! { tools: [one, one], wants: [] }

fn main() {}
