//! What rules name that is not there: a rule may be granted before its plugin is
//! installed or its secret set, and a name may also be mistyped.

use serde_json::Value;

use super::Session;
use super::plugins::list_of;
use crate::output::{cell, one_line};

/// What there is, as far as the token may see it.
struct There {
    plugins: Option<Vec<Value>>,
    secrets: Option<Vec<Value>>,
}

/// A line for each rule of these grants that names what is not there.
pub(super) fn missing(session: &Session, grants: &Value) -> Vec<String> {
    let rules = |capability: &str| grants[capability].as_array().cloned().unwrap_or_default();
    let has = |capability: &str| !rules(capability).is_empty();
    let listed = |path: &str, name: &str| {
        let answer = session.api.get(path).ok()?;
        list_of(&answer, name).as_array().cloned()
    };
    let there = There {
        plugins: (has("tools") || has("agents"))
            .then(|| listed("/v1/plugins", "plugins"))
            .flatten(),
        secrets: has("http")
            .then(|| listed("/v1/secrets", "secrets"))
            .flatten(),
    };
    let mut found = Vec::new();
    for (capability, check) in [
        ("tools", There::tool as fn(&There, &Value) -> Option<String>),
        ("agents", There::agent),
        ("http", There::secret),
    ] {
        for (at, rule) in rules(capability).iter().enumerate() {
            let told = check(&there, rule);
            found.extend(told.map(|text| format!("{capability} rule {at}: {text}")));
        }
    }
    found
}

impl There {
    fn tool(&self, rule: &Value) -> Option<String> {
        let (plugin, tool) = rule["tool"].as_str()?.split_once('/')?;
        let Some(found) = self.plugin(plugin)? else {
            return Some(not_installed(plugin));
        };
        let mut tools = found["tools"].as_array()?.iter();
        let is_there = tool == "*" || tools.any(|name| name == tool);
        (!is_there).then(|| {
            let (plugin, tool) = (one_line(plugin), one_line(tool));
            format!("{plugin} has no tool {tool}; see airlock tool list --plugin {plugin}")
        })
    }

    fn agent(&self, rule: &Value) -> Option<String> {
        let agent = rule["agent"].as_str()?;
        match self.plugin(agent)? {
            None => Some(not_installed(agent)),
            Some(found) if found["is_agent"] != true => {
                Some(format!("{} is no agent", one_line(agent)))
            }
            Some(_) => None,
        }
    }

    fn secret(&self, rule: &Value) -> Option<String> {
        let name = rule["secret"].as_str()?;
        let mut secrets = self.secrets.as_ref()?.iter();
        let is_set = secrets.any(|secret| cell(secret, "name") == name);
        let name = one_line(name);
        (!is_set).then(|| {
            format!("the secret {name} is not set, and requests with it are refused: airlock secret set {name}")
        })
    }

    /// `None`: it is not known which plugins there are.
    #[expect(clippy::option_option, reason = "unknown is not absent")]
    fn plugin(&self, name: &str) -> Option<Option<&Value>> {
        let mut plugins = self.plugins.as_ref()?.iter();
        Some(plugins.find(|plugin| plugin["name"] == name))
    }
}

fn not_installed(plugin: &str) -> String {
    let plugin = one_line(plugin);
    format!("no plugin {plugin} is installed; see airlock plugin list")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_told_and_what_is_unknown_is_not() {
        let there = There {
            plugins: Some(vec![
                json!({ "name": "weather", "tools": ["now"] }),
                json!({ "name": "bot", "tools": [], "is_agent": true }),
            ]),
            secrets: Some(vec![json!({ "name": "key" })]),
        };
        let tool = |tool: &str| there.tool(&json!({ "tool": tool }));
        let agent = |agent: &str| there.agent(&json!({ "agent": agent }));
        let secret = |secret: Value| there.secret(&json!({ "secret": secret }));
        let table = [
            (tool("weather/now"), None),
            (tool("weather/*"), None),
            (tool("wether/now"), Some("no plugin wether")),
            (tool("weather/then"), Some("weather has no tool then")),
            (agent("bot"), None),
            (agent("bat"), Some("no plugin bat")),
            (agent("weather"), Some("weather is no agent")),
            (secret(json!("key")), None),
            (secret(Value::Null), None),
            (secret(json!("quay")), Some("the secret quay is not set")),
        ];
        for (told, expect) in table {
            match expect {
                None => assert_eq!(told, None),
                Some(text) => assert!(
                    told.as_ref().is_some_and(|told| told.starts_with(text)),
                    "{told:?}: {text}"
                ),
            }
        }
        let unknown = There {
            plugins: None,
            secrets: None,
        };
        let rule = json!({ "tool": "a/b", "agent": "a", "secret": "s" });
        assert_eq!(unknown.tool(&rule), None);
        assert_eq!(unknown.agent(&rule), None);
        assert_eq!(unknown.secret(&rule), None);
    }
}
