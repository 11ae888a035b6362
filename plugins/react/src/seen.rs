//! Whether the work gets anywhere: the same calls with the same results are no
//! progress, however many others were made in between.

use std::collections::BTreeMap;

use serde_json::Value;

/// What was called, and what came of it the last time.
#[derive(Default)]
pub(crate) struct Seen(BTreeMap<String, String>);

impl Seen {
    /// Notes a call and its result; whether both were there before.
    pub(crate) fn again(&mut self, tool: &str, arguments: &str, result: &str) -> bool {
        let arguments = serde_json::from_str::<Value>(arguments);
        let arguments =
            arguments.map_or_else(|_| String::new(), |value| sorted(&value).to_string());
        let key = format!("{tool} {arguments}");
        let before = self.0.insert(key, result.to_owned());
        before.is_some_and(|before| before == result)
    }
}

/// The same value, its members in one order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&String, Value> = members
                .iter()
                .map(|(name, value)| (name, sorted(value)))
                .collect();
            members
                .into_iter()
                .map(|(name, value)| (name.clone(), value))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
