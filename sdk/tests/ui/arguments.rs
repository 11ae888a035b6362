use airlock_sdk::prelude::*;

/// Has an argument that does not exist.
#[tool(readonly)]
fn unknown() -> Result<u32, Error> {
    Ok(1)
}

/// Has an argument twice.
#[tool(idempotent, idempotent)]
fn twice() -> Result<u32, Error> {
    Ok(1)
}

/// Contradicts itself.
#[tool(read_only, destructive)]
fn contradiction() -> Result<u32, Error> {
    Ok(1)
}

/// Has a name that the contract does not allow.
#[tool(name = "Not A Name")]
fn named() -> Result<u32, Error> {
    Ok(1)
}

/// Has a name that does not start with a letter.
#[tool]
fn _hidden() -> Result<u32, Error> {
    Ok(1)
}

fn main() {}
