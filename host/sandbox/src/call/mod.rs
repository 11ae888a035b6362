//! What goes into a call and what comes out of it.

pub(crate) mod guard;
pub(crate) mod left;
pub(crate) mod meter;
pub(crate) mod outcome;
pub(crate) mod run;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::grants::EffectClass;

/// One execution of one tool.
#[derive(Debug, Clone)]
pub struct CallRequest {
    /// Unique to this call.
    pub call_id: String,
    /// The tool's name within its plugin.
    pub tool: String,
    /// The input, a JSON value.
    pub input: String,
    /// Opaque id of the caller, stable per (principal, plugin): what the plugin
    /// learns of it.
    pub principal: String,
    /// The caller's name, for the host's own records; no plugin learns it.
    pub caller: String,
    /// Equal for all attempts at the same work.
    pub idempotency_key: Option<String>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The effect class in force, see [`EffectClass`].
    pub class: EffectClass,
    /// The caller's own wall-time bound; the plugin's `wall` limit also holds.
    pub timeout: Option<Duration>,
}

/// What a call did and what it cost, whatever its end.
#[derive(Debug, Clone)]
pub struct CallReport {
    /// The output, a JSON value, or why there is none.
    pub result: Result<String, CallError>,
    /// Whether something of it may have happened that the result does not tell: a
    /// limit, a crash or the host ended it before its tool said anything, or nothing
    /// that can be told.
    pub lost: bool,
    /// What it used.
    pub usage: Usage,
    /// Denied operations, each distinct one once, at most 100.
    pub denials: Vec<Denial>,
    /// Log records, within the `log` limit.
    pub log: Vec<LogRecord>,
}

/// The error taxonomy of the contract (`wit/airlock-tool`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum CallError {
    /// The caller's fault; don't retry.
    #[error("invalid input: {message}")]
    InvalidInput {
        /// What is wrong, and where.
        message: String,
    },
    /// A grant is missing.
    #[error("denied: {0}")]
    Denied(Denial),
    /// What the input names does not exist.
    #[error("not found: {message}")]
    NotFound {
        /// What was not found.
        message: String,
    },
    /// Retry where the effect class allows it.
    #[error("transient: {message}")]
    Transient {
        /// What failed.
        message: String,
        /// Milliseconds to wait before the next attempt, where known.
        retry_after_ms: Option<u64>,
    },
    /// It will not work.
    #[error("permanent: {message}")]
    Permanent {
        /// Why.
        message: String,
    },
    /// A person must look at this.
    #[error("escalate: {message}")]
    Escalate {
        /// What the person should look at.
        message: String,
    },
    /// A limit ended the call.
    #[error("limit {limit} reached ({value})")]
    Limit {
        /// The limit's name as in a grants file.
        limit: String,
        /// Its value with its unit.
        value: String,
    },
    /// The host lost the component's bytes. Nothing of the call happened.
    #[error("{message}")]
    ComponentMissing {
        /// Which component, and what an administrator does.
        message: String,
    },
    /// The component's bytes on the host are not those of its digest. Nothing of
    /// the call happened.
    #[error("{message}")]
    ComponentAltered {
        /// Which component, and what an administrator does.
        message: String,
    },
    /// The call was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// It may or may not have happened.
    #[error("outcome unknown: {message}")]
    Unknown {
        /// What was under way.
        message: String,
    },
}

/// An operation that no grant allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{capability}: {operation}: {rule}")]
pub struct Denial {
    /// The capability's name, e.g. `files`.
    pub capability: String,
    /// What was tried, e.g. `read /etc/passwd`.
    pub operation: String,
    /// The rule that was missing, in words an administrator can act on.
    pub rule: String,
}

/// What a call used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall time, microseconds.
    pub wall_us: u64,
    /// CPU time of the guest and of the host functions it called, microseconds.
    pub cpu_us: u64,
    /// Highest sum over all linear memories, bytes.
    pub peak_memory_bytes: u64,
    /// Per capability and rule.
    pub capabilities: Vec<CapabilityUsage>,
}

/// Capabilities that only tell a guest something: no use of them is an effect.
const WITHOUT_EFFECT: [&str; 6] = ["clocks", "config", "env", "log", "random", "secrets"];

impl Usage {
    /// Whether it was allowed anything that may have had an effect.
    #[must_use]
    pub fn acts(&self) -> bool {
        let mut used = self.capabilities.iter();
        used.any(|used| used.allowed > 0 && !WITHOUT_EFFECT.contains(&&*used.capability))
    }
}

/// What a call used of one rule of one capability.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityUsage {
    /// The capability's name.
    pub capability: Cow<'static, str>,
    /// Index of the rule in the grants file; absent for what needs no rule and
    /// for denials.
    pub rule: Option<usize>,
    /// Operations allowed.
    pub allowed: u64,
    /// Operations denied.
    pub denied: u64,
    /// Bytes that came into the guest.
    pub bytes_in: u64,
    /// Bytes that left the guest.
    pub bytes_out: u64,
}

/// One log record of a call; control characters are escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Microseconds since the call began.
    pub at_us: u64,
    /// `trace`, `debug`, `info`, `warn` or `error`; `stdout` and `stderr` for
    /// what the guest wrote there.
    pub level: String,
    /// The text.
    pub message: String,
    /// Structured fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
}
