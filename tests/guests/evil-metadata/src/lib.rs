//! Never answers when it is asked for its tools.

use std::hint::black_box;

use airlock_sdk::prelude::*;
use airlock_sdk::serde_json::Value;

struct Endless;

impl JsonSchema for Endless {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        let mut x = 1u64;
        loop {
            x = black_box(x.wrapping_mul(3));
        }
    }

    fn json_schema(
        _: &mut airlock_sdk::schemars::SchemaGenerator,
    ) -> airlock_sdk::schemars::Schema {
        airlock_sdk::schemars::Schema::default()
    }
}

impl<'de> Deserialize<'de> for Endless {
    fn deserialize<D: airlock_sdk::serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

/// Is never called.
#[tool]
fn never(_input: Endless) -> Result<Value, Error> {
    Ok(Value::Null)
}

plugin! { tools: [never], wants: [] }
