//! What an administrator may grant of `tools`.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Op;
use crate::capability::Given;
use crate::gate::{Allowed, Missing};
use crate::limits::Span;

const TOOL_BYTES_MAX: usize = 160;

/// Most people who have to approve one call.
const APPROVERS_MAX: u32 = 10;

/// Most attempts of one call.
const ATTEMPTS_MAX: u32 = 100;

/// Longest time to decide, and longest wait between two attempts.
const DUE_MAX: Duration = Duration::from_secs(366 * 86_400);
const BACKOFF_MAX: Duration = Duration::from_secs(86_400);

/// One tool, or all tools of a plugin, e.g. `{ tool = "files/read" }` or
/// `{ tool = "table/*" }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `plugin/tool`, or `plugin/*` for all tools the plugin has and will have.
    pub tool: String,
    /// Whether a person is asked before each call.
    #[serde(default, skip_serializing_if = "Approval::is_default")]
    pub approval: Approval,
    /// Whether whoever started the run may approve its calls.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_approval: bool,
    /// How many people have to approve a call, each another one, 1 to 10.
    /// Default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub approvers: u32,
    /// Whose tokens may approve: those with this role, and administrators'.
    /// Default approver.
    #[serde(default, skip_serializing_if = "Approver::is_default")]
    pub approver_role: Approver,
    /// How long a question waits for a decision. Without it: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Span>,
    /// What becomes of a question that is not decided in time. Default deny.
    #[serde(default, skip_serializing_if = "OnDue::is_default")]
    pub on_due: OnDue,
    /// Who decides a question that was not decided in time, with `on_due =
    /// "escalate"`; for as long again, then it is denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalate_to: Option<Approver>,
    /// What becomes of a call that may have happened and may not be repeated.
    /// Default ask.
    #[serde(default, skip_serializing_if = "OnUnknown::is_default")]
    pub on_unknown: OnUnknown,
    /// How calls that may be repeated, or were not made, are tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What becomes of the run when a call fails for good, by the error's code,
    /// e.g. `{ permanent = "escalate" }`; the agent is told of others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on_error: BTreeMap<ErrorCode, OnError>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

/// Whether a person is asked before a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// As the run's autonomy says.
    #[default]
    ByAutonomy,
    /// Always, also in an autonomous run.
    Always,
    /// Never, also for a destructive tool.
    Never,
}

/// Who may approve a call: tokens with this role, and administrators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approver {
    /// The role `approver`.
    #[default]
    Approver,
    /// The role `operator`.
    Operator,
    /// Administrators alone.
    Admin,
}

/// What becomes of a question that nobody decided in time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnDue {
    /// The call is denied.
    #[default]
    Deny,
    /// Others decide.
    Escalate,
}

/// What becomes of a call of which nobody knows whether it happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// The run stands still until a person says.
    #[default]
    Ask,
    /// It is made again: it may happen twice.
    Retry,
    /// The agent is told `unknown`.
    Fail,
}

/// How a call is tried again that failed for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, the first included, 1 to 100.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles with each further one, and
    /// a random part of up to half is added.
    pub backoff: Span,
    /// The longest wait, also where the tool asks for more.
    pub backoff_max: Span,
}

/// Codes of the error taxonomy that a call can fail with.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "they are those of `airlock:tool`")]
pub enum ErrorCode {
    InvalidInput,
    Denied,
    NotFound,
    Transient,
    Permanent,
    Escalate,
    Limit,
    Unknown,
}

/// What becomes of a run whose call failed for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The agent is told.
    #[default]
    Tell,
    /// The run ends: a person must take over.
    Escalate,
    /// The run ends as failed.
    Abort,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            backoff: Span(Duration::from_millis(200)),
            backoff_max: Span(Duration::from_secs(30)),
        }
    }
}

macro_rules! is_default {
    ($($kind:ident),*) => {
        $(impl $kind {
            fn is_default(&self) -> bool {
                *self == Self::default()
            }
        })*
    };
}

is_default!(Approval, Approver, OnDue, OnUnknown);

impl Rule {
    pub(super) fn validate(&self) -> Result<(), String> {
        let tool = &self.tool;
        if tool.len() > TOOL_BYTES_MAX {
            return Err(format!("tool is over {TOOL_BYTES_MAX} bytes"));
        }
        let name = |name: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            !name.is_empty() && name.chars().all(allowed)
        };
        match tool.split_once('/') {
            Some((plugin, tool)) if name(plugin) && (tool == "*" || name(tool)) => {}
            _ => {
                return Err(format!(
                    "tool `{}` is not `plugin/tool` or `plugin/*`",
                    tool.escape_debug()
                ));
            }
        }
        self.validate_people()?;
        self.retry.map_or(Ok(()), Retry::validate)
    }

    fn validate_people(&self) -> Result<(), String> {
        if !(1..=APPROVERS_MAX).contains(&self.approvers) {
            return Err(format!("approvers is 1 to {APPROVERS_MAX}"));
        }
        if self
            .due
            .is_some_and(|due| due.0.is_zero() || due.0 > DUE_MAX)
        {
            return Err("due is more than nothing and at most 366 days".to_owned());
        }
        match (self.on_due, self.due, self.escalate_to) {
            (OnDue::Escalate, Some(_), Some(to)) if to == self.approver_role => {
                Err("escalate_to is another role than approver_role".to_owned())
            }
            (OnDue::Escalate, Some(_), Some(_)) | (OnDue::Deny, _, None) => Ok(()),
            (OnDue::Escalate, ..) => {
                Err("on_due = \"escalate\" needs due and escalate_to".to_owned())
            }
            (OnDue::Deny, _, Some(_)) => Err("escalate_to needs on_due = \"escalate\"".to_owned()),
        }
    }

    /// How near it comes to a rule that a component asks for. Who approves, and what
    /// becomes of failures, is for the administrator to say; that nobody is asked is
    /// a thing to ask for.
    pub(super) fn gives(&self, wanted: &Self) -> Given {
        let op = Op {
            tool: wanted.tool.clone(),
        };
        let unasked = self.approval == Approval::Never || wanted.approval != Approval::Never;
        Given::all_if(self.covers(&op) && unasked)
    }

    fn covers(&self, op: &Op) -> bool {
        match (self.tool.strip_suffix("/*"), op.tool.split_once('/')) {
            (Some(plugin), Some((asked, tool))) => plugin == asked && !tool.is_empty(),
            (Some(_), None) => false,
            (None, _) => self.tool == op.tool,
        }
    }
}

impl Retry {
    pub(in crate::capability) fn validate(self) -> Result<(), String> {
        if !(1..=ATTEMPTS_MAX).contains(&self.attempts) {
            return Err(format!("retry.attempts is 1 to {ATTEMPTS_MAX}"));
        }
        if self.backoff > self.backoff_max || self.backoff_max.0 > BACKOFF_MAX {
            return Err("retry.backoff is at most backoff_max, and that 24h".to_owned());
        }
        Ok(())
    }
}

pub(super) fn decide(rules: &[Rule], op: &Op) -> Result<Allowed, Missing> {
    let index = rules.iter().position(|rule| rule.covers(op));
    index.map(Allowed::Rule).ok_or_else(|| {
        let tool = op.tool.escape_debug();
        Missing::new(format!(
            "no tools rule covers `{tool}`; needed: tools = [{{ tool = \"{tool}\" }}]"
        ))
    })
}
