use airlock_sdk::prelude::*;

struct Shop;

impl Shop {
    /// Is a method.
    #[tool]
    fn method(&self) -> Result<u32, Error> {
        Ok(1)
    }
}

/// Is generic.
#[tool]
fn generic<T>(_input: T) -> Result<u32, Error> {
    Ok(1)
}

/// Takes two inputs.
#[tool]
fn two(_a: u32, _b: u32) -> Result<u32, Error> {
    Ok(1)
}

/// Takes a borrowed input.
#[tool]
fn borrowed(_text: &str, _context: &Context) -> Result<u32, Error> {
    Ok(1)
}

/// Takes nothing but a borrowed input.
#[tool]
fn only_borrowed(_text: &str) -> Result<u32, Error> {
    Ok(1)
}

/// Is no function.
#[tool]
struct NoFunction;

fn main() {}
