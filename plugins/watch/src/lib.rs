//! An agent that reports, cycle after cycle, which security advisories apply to a
//! project, and which of them are new. Each cycle is a run of its own, which goes
//! on as the next one.
//!
//! What must stay true: what a cycle leaves to the next is bounded, and so is the
//! journal of each; one cycle that fails stops none of those after it.

mod cycle;
#[cfg(test)]
mod tests;
mod work;

use airlock_sdk::prelude::*;

/// What to watch.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The feed's address, as `advisories` takes it.
    pub feed: String,
    /// The `Cargo.lock`, as `advisories` sees it, e.g. `/project/Cargo.lock`.
    pub lock: String,
    /// The file to write as `files` sees it, e.g. `/out/advisories.md`. It is
    /// replaced in each cycle.
    pub report: String,
    /// Seconds from one cycle to the next, at least 1; a week unless given.
    #[serde(default = "week")]
    #[schemars(range(min = 1))]
    pub every_s: u64,
    /// What the cycle before left; not for whoever starts a run.
    #[serde(default)]
    pub state: State,
}

fn week() -> u64 {
    7 * 24 * 3_600
}

/// What one cycle leaves to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Cycles so far.
    pub cycles: u64,
    /// When the next one is due, milliseconds since 1970.
    pub due_ms: u64,
    /// What applied last time, at most 1,000.
    pub known: Vec<String>,
    /// Cycles in a row that failed.
    pub failed: u32,
}
