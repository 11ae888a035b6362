//! Runs as the API shows them.

use airlock_sandbox::EffectClass;
use airlock_sandbox::agent::PlanTask;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ForkedFrom;
use super::event::{Autonomy, Block, End, Record};
use super::people::Approval;
use super::spending::{Budget, BudgetChange, Spent};
use crate::plugins::{is_yes, yes};
use crate::principal::Role;

/// Starts a run.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRun {
    /// The agent's plugin.
    pub agent: String,
    /// What is to be reached, in words, at most 8 KiB.
    #[serde(default)]
    pub goal: String,
    /// The agent's input, a JSON object, at most 1 MiB.
    #[serde(default = "empty")]
    pub input: Value,
    /// What it does without asking a person.
    #[serde(default)]
    pub autonomy: Autonomy,
    /// What it may use.
    #[serde(default)]
    pub budget: Budget,
}

fn empty() -> Value {
    Value::Object(serde_json::Map::new())
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// Its agent works.
    Running,
    /// Its agent waits for an answer.
    Waiting,
    /// A person paused it.
    Paused,
    /// A person has to look at it.
    Blocked,
    /// It is being ended.
    Cancelling,
    /// The goal is reached.
    Succeeded,
    /// It is given up.
    Failed,
    /// A person must take over.
    Escalated,
    /// A person ended it.
    Cancelled,
    /// It goes on as another run.
    Continued,
}

/// A run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunView {
    /// Its id.
    pub id: String,
    /// The agent's plugin.
    pub agent: String,
    /// What is to be reached.
    pub goal: String,
    /// Who started it.
    pub by: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    /// When something was last written into its journal, milliseconds since 1970.
    pub updated_ms: u64,
}

/// A run with what it did.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunDetail {
    /// What listings show.
    #[serde(flatten)]
    pub run: RunView,
    /// The component it began with.
    pub digest: String,
    /// The agent's input, JSON.
    pub input: Value,
    /// The run that goes on in this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// The run and the step that it was forked from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkedFrom>,
    /// Runs before, after or above it that were removed (pruned): that it
    /// continues, was forked from, that continues it, or that started it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pruned: Vec<String>,
    /// What it does without asking a person.
    pub autonomy: Autonomy,
    /// What it may use.
    pub budget: Budget,
    /// Calls of tools so far.
    pub calls: u64,
    /// What it used so far, with the runs that it continues, and, until it has
    /// ended, what is set aside for its children.
    pub used: Spent,
    /// The run that started it as its child.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The runs that it started as its children.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<String>,
    /// What its agent keeps.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub state: serde_json::Map<String, Value>,
    /// Records in its journal.
    pub events: u64,
    /// About how many bytes they have.
    pub journal_bytes: u64,
    /// Its plan.
    #[schemars(with = "Vec<Value>")]
    pub plan: Vec<PlanTask>,
    /// Its latest report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// Requests without an answer.
    pub waits_for: Vec<OpenRequest>,
    /// Why a person has to look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Block>,
    /// What the kill switch holds of it: `everything`, or its agent, itself, a
    /// plugin whose tool it calls, as `agent NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub halted: Vec<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// Requests whose effect may have happened, as its agent was told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<u64>,
}

/// How far a run is, as its agent says.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProgressView {
    /// In units of the agent's own choosing.
    pub done: f64,
    /// All there is to do, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// For people.
    pub message: String,
}

/// A request without an answer.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct OpenRequest {
    /// Its number within the run.
    pub id: u64,
    /// What was asked for; without its long members where the open requests have
    /// more than 1 MiB together.
    pub request: Value,
    /// Its bytes where something was left out; the journal has it whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<u64>,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// From 1.
    pub attempt: u32,
    /// A person has to approve it first.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub to_approve: bool,
}

/// A record of a run's journal.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunEvent {
    /// Its number, from 0.
    pub seq: u64,
    /// What happened, and when.
    #[serde(flatten)]
    #[schemars(with = "Value")]
    pub(crate) record: Record,
}

/// A question that waits for a person: an agent's own, or whether a call is
/// made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ApprovalView {
    /// `run.request`: what a decision names.
    pub id: String,
    /// The run.
    pub run: String,
    /// Its agent.
    pub agent: String,
    /// Who started it.
    #[serde(default)]
    pub by: String,
    /// What is asked.
    pub text: String,
    /// For a call: the tool, `plugin/tool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// For a call: the effect class of its tool now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_class: Option<EffectClass>,
    /// For a call, where the one question is asked for: what its tool does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_description: Option<String>,
    /// `false`: the tool is an MCP server's, outside of any sandbox; absent
    /// otherwise.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub sandboxed: bool,
    /// The answers to choose from.
    pub choices: Vec<String>,
    /// A JSON value to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// In a listing, where the value is too large for one: its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
    /// For a call: the hash of what is approved, the tool, its input, its
    /// component and its grants. When one of these changes, it is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    /// Whose tokens may decide: those with this role, and administrators'.
    pub role: Role,
    /// How many people have to approve, each another one; one denies.
    pub approvers: u32,
    /// Who approved so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// When it was asked, milliseconds since 1970.
    pub at_ms: u64,
    /// Until when it may be decided, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// What happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_due: Option<AtDue>,
    /// Who decides then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalates_to: Option<Role>,
}

/// What happens when a question was not decided in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AtDue {
    /// The call is denied.
    Denies,
    /// Others decide, for as long again.
    Escalates,
    /// The agent is told that nobody answered.
    TellsAgent,
}

/// A person's decision.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decide {
    /// One of the choices.
    pub decision: String,
    /// For a call: the hash of what was looked at, as the question has it; without
    /// it, whatever is asked now.
    #[serde(default)]
    pub binding: Option<String>,
    /// For the agent and the record, at most 8 KiB.
    #[serde(default)]
    pub note: Option<String>,
}

/// What becomes of a blocked or paused run; each member belongs to a kind of block.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// For a run that is at the end of its budget: more of what it ran out of.
    #[serde(default)]
    pub budget: Option<BudgetChange>,
    /// For an unknown outcome: the request it is about.
    #[serde(default)]
    pub request: Option<u64>,
    /// For an unknown outcome: what became of the call.
    #[serde(default)]
    pub outcome: Option<Outcome>,
}

/// What a person knows of a call whose outcome was lost.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// It did not happen: it is made (again).
    Retry,
    /// It is not made again; the agent is told `unknown`.
    Fail,
    /// It happened, and this was its output.
    Record(Value),
}
