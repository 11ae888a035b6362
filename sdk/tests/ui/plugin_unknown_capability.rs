use airlock_sdk::prelude::*;

/// Is a tool.
#[tool]
fn one() -> Result<u32, Error> {
    Ok(1)
}

plugin! { tools: [one], wants: [want!(sockets, r#"{}"#, "To talk.")] }

fn main() {}
