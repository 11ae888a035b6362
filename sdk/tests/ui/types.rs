use airlock_sdk::prelude::*;

struct Unreadable;

#[derive(Deserialize)]
struct WithoutSchema {}

struct Unwritable;

/// Takes what cannot be read from JSON.
#[tool]
fn unreadable(_input: Unreadable) -> Result<u32, Error> {
    Ok(1)
}

/// Takes what has no schema.
#[tool]
fn without_schema(_input: WithoutSchema) -> Result<u32, Error> {
    Ok(1)
}

/// Gives what cannot be written as JSON.
#[tool]
fn unwritable() -> Result<Unwritable, Error> {
    Ok(Unwritable)
}

fn main() {}
