//! What a replay tells, as the API shows it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::event::End;

/// Replays a run.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRun {
    /// What it is replayed against: `sha256:…` of an installed version of the
    /// run's agent, or a plugin, whose active version is taken. Absent: the
    /// component that the run began with.
    #[serde(default)]
    pub agent: Option<String>,
}

/// What a replay came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayVerdict {
    /// The agent did the same and ended the same.
    Same,
    /// The agent did the same up to the end of the journal; the run had not come
    /// to an end by itself there.
    SameSoFar,
    /// The run would be blocked, or end otherwise.
    Differs,
}

/// A replay: what the agent did the same and what not.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RunReplay {
    /// The run.
    pub run: String,
    /// The component that it was replayed against.
    pub digest: String,
    /// The component that the run began with.
    pub recorded_digest: String,
    /// What it came to.
    pub verdict: ReplayVerdict,
    /// Steps of the agent in the journal: what it asked for, told, waited for and
    /// let go of.
    pub steps: u64,
    /// Those that were the same.
    pub same: u64,
    /// Those that were not, in the order of the replay, at most 1,000.
    pub differences: Vec<Difference>,
    /// Differences over that limit.
    pub more_differences: u64,
    /// Steps of the journal that the replay did not come to.
    pub not_reached: u64,
    /// Why the replay could not go on to the agent's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// How the run ended, where its agent ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_end: Option<ReplayEnd>,
    /// How the replay ended, where it came to an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_end: Option<ReplayEnd>,
    /// CPU time of the agent, microseconds.
    pub cpu_us: u64,
    /// Time it took, loading the component included, microseconds.
    pub elapsed_us: u64,
}

/// One step that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// How it differs.
    pub kind: DifferenceKind,
    /// Steps of the replay before it.
    pub after: u64,
    /// What the journal has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<ReplayStep>,
    /// What the agent did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<ReplayStep>,
}

/// How a step differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// It asks for the same kind of thing with other arguments.
    ChangedArguments,
    /// The journal does not have it.
    Inserted,
    /// The agent no longer does it.
    Removed,
    /// Both have it, and not in the same place.
    OtherOrder,
    /// The agent ends otherwise.
    OtherOutcome,
}

/// A step, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReplayStep {
    /// The number of the request, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// What it is, cut at 2 KiB.
    pub what: String,
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReplayEnd {
    /// `succeeded`, `failed`, `escalated` or `continued`.
    pub state: String,
    /// Its result, why it failed, its reason, or the input it goes on with.
    pub detail: String,
}

impl ReplayEnd {
    pub(super) fn of(end: &End) -> Self {
        let detail = match end {
            End::Succeeded { output } => output.clone(),
            End::Failed { code, detail } => format!("{code}: {detail}"),
            End::Escalated { reason } => reason.clone(),
            End::Cancelled { .. } | End::Continued { .. } => String::new(),
        };
        Self {
            state: end.name().to_owned(),
            detail,
        }
    }

    pub(super) fn continued(input: String) -> Self {
        Self {
            state: "continued".to_owned(),
            detail: input,
        }
    }
}
