//! A call's records in the audit.

use airlock_journal::Op;
use airlock_journal::audit::{Audit, Draft};
use airlock_sandbox::agent::RequestId;
use airlock_sandbox::{CallReport, CapabilityUsage, Denial};
use serde::Serialize;

use crate::calls::{Step, reply};
use crate::principal::Principal;

/// Who called what.
#[derive(Debug, Clone)]
pub(crate) struct CallInfo {
    pub(crate) call_id: String,
    pub(crate) plugin: String,
    pub(crate) tool: String,
    pub(crate) digest: String,
    pub(crate) grants_version: u64,
    pub(crate) subject: String,
    /// Whether it was made in a sandbox.
    pub(crate) sandboxed: bool,
    /// Whether the caller asked for what the tool writes.
    pub(crate) with_log: bool,
    /// The request of a run that it is made for.
    pub(crate) step: Option<OfStep>,
}

/// The request of a run, as its journal numbers it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct OfStep {
    run: String,
    request: RequestId,
}

impl From<&Step<'_>> for OfStep {
    fn from(step: &Step<'_>) -> Self {
        Self {
            run: step.run.id.to_owned(),
            request: step.request,
        }
    }
}

/// What is recorded of an ended call. Nothing in it is as long as the plugin
/// likes, or it could have its usage left out of the record for its size; its
/// denials have records of their own.
#[derive(Serialize)]
struct Done<'a> {
    call_id: &'a str,
    plugin: &'a str,
    tool: &'a str,
    digest: &'a str,
    grants_version: u64,
    outcome: &'a str,
    wall_us: u64,
    cpu_us: u64,
    peak_memory_bytes: u64,
    usage: &'a [CapabilityUsage],
    /// `false`, or not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandboxed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'a str>,
    #[serde(flatten)]
    step: Option<&'a OfStep>,
}

/// What is recorded of a denied operation.
#[derive(Serialize)]
struct Denied<'a> {
    call_id: &'a str,
    #[serde(flatten)]
    denial: &'a Denial,
    #[serde(flatten)]
    step: Option<&'a OfStep>,
}

/// The record of an ended call: the last of its batch.
pub(crate) fn done(who: &Principal, info: &CallInfo, report: &CallReport) -> Op {
    let (usage, outcome) = (&report.usage, reply::outcome(&report.result));
    let detail = Done {
        call_id: &info.call_id,
        plugin: &info.plugin,
        tool: &info.tool,
        digest: &info.digest,
        grants_version: info.grants_version,
        outcome,
        wall_us: usage.wall_us,
        cpu_us: usage.cpu_us,
        peak_memory_bytes: usage.peak_memory_bytes,
        usage: &usage.capabilities,
        sandboxed: (!info.sandboxed).then_some(false),
        token_id: who.token_id.as_deref(),
        step: info.step.as_ref(),
    };
    Audit::draft_op(&Draft {
        outcome,
        ..Draft::now(&who.name, "call.done", &info.subject, detail)
    })
}

/// One record per denied operation.
pub(crate) fn denials<'a>(
    who: &'a Principal,
    info: &'a CallInfo,
    denials: &'a [Denial],
) -> impl Iterator<Item = Op> + 'a {
    denials.iter().map(move |denial| {
        let detail = Denied {
            call_id: &info.call_id,
            denial,
            step: info.step.as_ref(),
        };
        Audit::draft_op(&Draft {
            outcome: "denied",
            ..Draft::now(&who.name, "denied", &info.subject, detail)
        })
    })
}
