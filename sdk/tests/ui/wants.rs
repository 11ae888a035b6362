use airlock_sdk::prelude::*;

/// Is a tool.
#[tool]
fn one() -> Result<u32, Error> {
    Ok(1)
}

mod secret {
    use super::*;
    plugin! { tools: [super::one], wants: [want!(secrets, r#"{ name = "key" }"#, "To log in.")] }
}

mod always {
    use super::*;
    plugin! { tools: [super::one], wants: [want!(clocks, "{}", "To know the time.")] }
}

mod not_a_rule {
    use super::*;
    plugin! { tools: [super::one], wants: [want!(files, "/data", "To read.")] }
}

mod without_scope {
    use super::*;
    plugin! { tools: [super::one], wants: [want!(kv)] }
}

fn main() {}
