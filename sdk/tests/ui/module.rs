use airlock_sdk::prelude::*;

mod tools {
    use airlock_sdk::prelude::*;

    /// Is a tool of a module.
    #[tool]
    pub fn one() -> Result<u32, Error> {
        Ok(1)
    }
}

use tools::one;

plugin! { tools: [one], wants: [] }

fn main() {}
