use airlock_sdk::prelude::*;

/// Is a tool.
#[tool]
fn one() -> Result<u32, Error> {
    Ok(1)
}

plugin! { tools: [one], wants: [want!(http, r#"{ url = "https://a.test/*" }"#)] }

fn main() {}
