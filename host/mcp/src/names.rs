//! The names under which tools and agents are offered.
//!
//! What must stay true: a name stands for one tool or agent whatever else is
//! installed, so that no plugin can take another's name; it stays the same; every
//! client and model takes it: 1 to 64 of `a-zA-Z0-9_-`.

use std::fmt::Write;

use airlock_runtime::{Offer, Principal, Runtime};
use sha2::{Digest, Sha256};

/// Longest name, bytes: what models take.
const NAME_BYTES_MAX: usize = 64;
/// What stands between a plugin's and a tool's name.
const BETWEEN: &str = "__";
/// The plugin whose regular names are Airlock's own tools'.
const OWN: &str = "airlock";
/// Bytes of the hash in a name that is not regular.
const HASH_BYTES: usize = 10;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    Tool { plugin: String, tool: String },
    Agent { agent: String },
    Own(Own),
}

/// Tools of Airlock's own: what follows and ends runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Status,
    Wait,
    Cancel,
}

impl Own {
    pub(crate) const ALL: [Self; 3] = [Self::Status, Self::Wait, Self::Cancel];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Status => "airlock__run_status",
            Self::Wait => "airlock__run_wait",
            Self::Cancel => "airlock__run_cancel",
        }
    }
}

/// The name of a tool: `plugin__tool`. Where that could be read in two ways, or is
/// too long, its beginning and a hash: `…-H` and 20 upper-case hexadecimal digits,
/// which no regular name has.
#[must_use]
pub fn tool_name(plugin: &str, tool: &str) -> String {
    let name = format!("{plugin}{BETWEEN}{tool}");
    let one_way = !plugin.contains(BETWEEN) && !plugin.ends_with('_') && plugin != OWN;
    match one_way && name.len() <= NAME_BYTES_MAX {
        true => name,
        false => hashed(&name, &format!("{plugin}/{tool}")),
    }
}

/// The name of an agent: its plugin's, which holds no `__`, or that with a hash.
#[must_use]
pub fn agent_name(agent: &str) -> String {
    match agent.contains(BETWEEN) {
        false => agent.to_owned(),
        true => hashed(agent, agent),
    }
}

fn hashed(beginning: &str, of: &str) -> String {
    let hash = Sha256::digest(of.as_bytes());
    let mut end = String::from("-H");
    for byte in hash.iter().take(HASH_BYTES) {
        // Writing to a string does not fail.
        let _ = write!(end, "{byte:02X}");
    }
    // Names are ASCII.
    let room = NAME_BYTES_MAX - end.len();
    let beginning = &beginning[..beginning.len().min(room)];
    format!("{beginning}{end}")
}

/// What `name` stands for, as far as the token reaches.
pub(crate) fn resolve(runtime: &Runtime, who: &Principal, name: &str) -> Option<Named> {
    if let Some(own) = Own::ALL.into_iter().find(|own| own.name() == name) {
        return Some(Named::Own(own));
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        let mut all = runtime.offers(who).into_iter();
        return all.find_map(|offer| named(&offer).filter(|(own, _)| own == name).map(|(_, n)| n));
    }
    match name.split_once(BETWEEN) {
        Some((plugin, tool)) => {
            let known = tool_name(plugin, tool) == name && runtime.offers_tool(who, plugin, tool);
            known.then(|| Named::Tool {
                plugin: plugin.to_owned(),
                tool: tool.to_owned(),
            })
        }
        None => runtime.offers_agent(who, name).then(|| Named::Agent {
            agent: name.to_owned(),
        }),
    }
}

/// The plugin that a name would be of, were there one.
pub(crate) fn plugin_of(name: &str) -> &str {
    name.split_once(BETWEEN).map_or(name, |(plugin, _)| plugin)
}

/// The name of what is offered, and what that stands for.
fn named(offer: &Offer) -> Option<(String, Named)> {
    Some(match offer {
        Offer::Tool(offered) => {
            let (plugin, tool) = (offered.tool.plugin.clone(), offered.tool.name.clone());
            (tool_name(&plugin, &tool), Named::Tool { plugin, tool })
        }
        Offer::Agent(offered) => {
            let agent = offered.name.clone();
            (agent_name(&agent), Named::Agent { agent })
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// All that could be mistaken for one another.
    const PARTS: [&str; 12] = [
        "a",
        "a_",
        "a__",
        "a__b",
        "a_b",
        "b",
        "b__c",
        "c",
        "airlock",
        "run_status",
        "a-h",
        "h",
    ];

    #[test]
    fn no_two_things_have_one_name() {
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let long = "l".repeat(64);
        let parts: Vec<&str> = PARTS.into_iter().chain([long.as_str()]).collect();
        let mut add = |name: String, of: String| {
            let fits = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
            assert!(fits && (1..=64).contains(&name.len()), "{name}");
            if let Some(other) = names.insert(name.clone(), of.clone()) {
                panic!("{name} is {other} and {of}");
            }
        };
        for own in Own::ALL {
            add(own.name().to_owned(), format!("{own:?}"));
        }
        for plugin in &parts {
            add(agent_name(plugin), format!("agent {plugin}"));
            for tool in &parts {
                add(tool_name(plugin, tool), format!("{plugin}/{tool}"));
            }
        }
    }

    #[test]
    fn names_stay_what_they_are() {
        let table = [
            (("files", "read"), "files__read"),
            (("my_files", "read__all"), "my_files__read__all"),
            (("a__b", "c"), "a__b__c-HE6F836044532044A42BE"),
            (
                ("airlock", "run_status"),
                "airlock__run_status-HAEDE15D69959ADC685ED",
            ),
        ];
        for ((plugin, tool), expect) in table {
            assert_eq!(tool_name(plugin, tool), expect);
        }
        assert_eq!(agent_name("reporter"), "reporter");
    }
}
