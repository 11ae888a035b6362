use airlock_sdk::prelude::*;

#[tool]
fn undescribed() -> Result<u32, Error> {
    Ok(1)
}

/// Described in the attribute.
#[tool(description = "twice")]
fn described() -> Result<u32, Error> {
    Ok(1)
}

fn main() {}
