use airlock_sdk::prelude::*;

fn helper() -> Result<u32, Error> {
    Ok(1)
}

plugin! { tools: [helper], wants: [] }

fn main() {}
