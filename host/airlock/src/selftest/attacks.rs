//! The table of attacks, class by class.

mod authority;
mod files;
mod network;
mod resources;

use std::fmt;

use serde_json::Value;

use super::ground::Ground;

/// One attack: a tool of a hostile guest, and what must come of it.
pub(super) struct Attack {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) guest: &'static str,
    pub(super) tool: &'static str,
    pub(super) input: fn(&Ground) -> Value,
    pub(super) expect: Expect,
}

/// What must come of an attack.
pub(super) enum Expect {
    /// The call ends at this limit.
    Limit(&'static str),
    /// The call fails with this code.
    Code(&'static str),
    /// A denial of this capability is reported.
    Denied(&'static str),
    /// The call answers, and the answer shows that the attack failed.
    Answer(&'static str, fn(&Value) -> bool),
    /// Whatever it answers, this holds afterwards.
    After(&'static str, fn(&Ground, u16, &Value) -> bool),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "limit {limit}"),
            Self::Code(code) => f.write_str(code),
            Self::Denied(capability) => write!(f, "{capability} denied"),
            Self::Answer(what, _) | Self::After(what, _) => f.write_str(what),
        }
    }
}

/// Classes whose parts do not exist yet, and with what they come.
pub(super) const LATER: &[(&str, &str)] = &[
    (
        "tools that call tools in a circle; a plugin using another's grant through a tool call",
        "agents",
    ),
    (
        "an approval used twice, or with other arguments; revocation on replay; another's run by its id",
        "durable runs",
    ),
    (
        "a model reaching the administration API or granting itself",
        "models",
    ),
    (
        "the host's own installer following a redirect inward",
        "installing from a registry",
    ),
];

/// All attacks.
pub(super) fn all() -> Vec<&'static Attack> {
    let tables: [&'static [Attack]; 4] = [
        network::ATTACKS,
        files::ATTACKS,
        resources::ATTACKS,
        authority::ATTACKS,
    ];
    tables.into_iter().flatten().collect()
}

/// The prober says that it failed.
fn refused(answer: &Value) -> bool {
    answer["ok"] == false
}
