//! The table of attacks, class by class.

mod authority;
mod files;
mod network;
mod resources;

use std::fmt;
use std::sync::atomic::AtomicBool;

use serde_json::Value;

use super::ground::Ground;

/// As many calls at once as keep every worker busy twice over.
pub(super) const EVERY_WORKER: usize = 0;

/// One attack: a tool of a hostile guest, and what must come of it.
pub(super) struct Attack {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) guest: &'static str,
    pub(super) tool: &'static str,
    pub(super) input: fn(&Ground) -> Value,
    pub(super) expect: Expect,
    /// How many calls at once, or [`EVERY_WORKER`].
    pub(super) calls: usize,
    /// What happens beside it until it is told to stop.
    pub(super) beside: Option<fn(&Ground, &AtomicBool)>,
}

impl Attack {
    const fn new(
        class: &'static str,
        guest: &'static str,
        (name, tool): (&'static str, &'static str),
        input: fn(&Ground) -> Value,
        expect: Expect,
    ) -> Self {
        Self {
            class,
            name,
            guest,
            tool,
            input,
            expect,
            calls: 1,
            beside: None,
        }
    }

    const fn calls(mut self, calls: usize) -> Self {
        self.calls = calls;
        self
    }

    const fn beside(mut self, what: fn(&Ground, &AtomicBool)) -> Self {
        self.beside = Some(what);
        self
    }
}

/// What there is to judge an attack by.
pub(super) struct Seen<'a> {
    pub(super) ground: &'a Ground,
    pub(super) status: u16,
    pub(super) body: &'a Value,
    /// How much the server's resident memory grew meanwhile.
    pub(super) grown_bytes: u64,
}

/// What must come of an attack.
pub(super) enum Expect {
    /// The call ends at this limit.
    Limit(&'static str),
    /// The call ends at one of these limits: which of them is reached first
    /// depends on how busy the machine is.
    LimitOf(&'static [&'static str]),
    /// The call fails with this code.
    Code(&'static str),
    /// It fails, and a denial of this capability is reported.
    Denied(&'static str),
    /// The call answers, and the answer shows that the attack failed.
    Answer(&'static str, fn(&Value) -> bool),
    /// Whatever it answers, this holds afterwards.
    After(&'static str, fn(&Seen<'_>) -> bool),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(limit) => write!(f, "limit {limit}"),
            Self::LimitOf(limits) => write!(f, "limit {}", limits.join(" or ")),
            Self::Code(code) => f.write_str(code),
            Self::Denied(capability) => write!(f, "{capability} denied"),
            Self::Answer(what, _) | Self::After(what, _) => f.write_str(what),
        }
    }
}

/// What it does not try, and what does.
pub(super) const ELSEWHERE: &[(&str, &str)] = &[
    (
        "tools that call tools in a circle; a plugin using another's grant through a tool call",
        "nothing yet: no tool calls another",
    ),
    (
        "an approval used twice, or with other arguments; revocation on replay; another's run by its id",
        "tests that docs/security.md names",
    ),
    (
        "a model reaching the administration API or granting itself",
        "tests that docs/security.md names",
    ),
    (
        "the host's own installer following a redirect inward",
        "nothing yet: it fetches from no address",
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

/// An attack whose input needs nothing.
fn nothing(_: &Ground) -> Value {
    serde_json::json!({})
}

/// The guest got what it asked for.
fn got(answer: &Value) -> bool {
    answer["ok"] == true
}

/// The guest was refused, by these words.
fn refused_by(answer: &Value, words: &[&str]) -> bool {
    let error = answer["error"].as_str().unwrap_or_default();
    answer["ok"] == false && words.iter().any(|word| error.contains(word))
}

/// The members of an answer, of which there must be some.
fn members(answer: &Value) -> Option<impl Iterator<Item = (&String, &Value)>> {
    answer
        .as_object()
        .filter(|members| !members.is_empty())
        .map(|members| members.iter())
}
