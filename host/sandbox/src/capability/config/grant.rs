//! What an administrator may grant of `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Op;
use crate::gate::{Allowed, Missing};

const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 64 << 10;

/// One configuration value, e.g. `{ key = "currency", value = "CHF" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its key, at most 256 bytes.
    pub key: String,
    /// Its value as the plugin sees it, at most 64 KiB. Not for secrets.
    pub value: String,
}

impl Rule {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.key.is_empty() {
            return Err("key must not be empty".to_owned());
        }
        if self.key.len() > KEY_BYTES_MAX {
            return Err(format!("key is over {KEY_BYTES_MAX} bytes"));
        }
        if self.value.len() > VALUE_BYTES_MAX {
            return Err(format!(
                "value of `{}` is over {VALUE_BYTES_MAX} bytes",
                self.key
            ));
        }
        Ok(())
    }
}

pub(super) fn decide(rules: &[Rule], op: &Op) -> Result<Allowed, Missing> {
    let found = match op {
        Op::Get { key } => rules.iter().position(|rule| rule.key == *key),
        Op::GetAll => (!rules.is_empty()).then_some(0),
    };
    found.map(Allowed::Rule).ok_or_else(|| match op {
        Op::Get { key } => {
            let key = key.escape_debug();
            Missing::new(format!(
                "no config rule has key = \"{key}\"; needed: config = [{{ key = \"{key}\", value = … }}]"
            ))
        }
        Op::GetAll => Missing::new(
            "there is no config rule; needed: config = [{ key = …, value = … }], one for each value",
        ),
    })
}
