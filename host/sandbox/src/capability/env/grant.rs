//! What an administrator may grant of `env`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Op;
use crate::gate::{Allowed, Missing};

const NAME_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 32 << 10;

/// One environment variable, e.g. `{ name = "TZ", value = "Europe/Zurich" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, at most 256 bytes.
    pub name: String,
    /// Its value as the plugin sees it, at most 32 KiB. Not for secrets.
    pub value: String,
}

impl Rule {
    pub(super) fn validate(&self) -> Result<(), String> {
        let Self { name, value } = self;
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!(
                "name `{}` must not be empty nor contain `=` or NUL",
                name.escape_debug()
            ));
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("name is over {NAME_BYTES_MAX} bytes"));
        }
        if value.contains('\0') {
            return Err(format!("value of `{name}` must not contain NUL"));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(format!("value of `{name}` is over {VALUE_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

pub(super) fn decide(rules: &[Rule], op: &Op) -> Result<Allowed, Missing> {
    let index = rules.iter().position(|rule| rule.name == op.name);
    index.map(Allowed::Rule).ok_or_else(|| {
        let name = op.name.escape_debug();
        Missing::new(format!(
            "no env rule has name = \"{name}\"; needed: env = [{{ name = \"{name}\", value = … }}]"
        ))
    })
}
