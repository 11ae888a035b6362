//! The records of a run's journal.
//!
//! What must stay true: a record that was written once is read for ever; what an
//! agent was given is kept byte for byte.

use airlock_sandbox::agent::{AgentTool, Answer, Memory, Note, Request, RequestId};
use airlock_sandbox::{CallError, EffectClass};
use serde::{Deserialize, Serialize};

use super::people::Terms;
use super::spending::{Budget, Spent};
use crate::principal::Role;

/// A record: what happened and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Milliseconds since 1970, never less than in the record before.
    pub(crate) at_ms: u64,
    #[serde(flatten)]
    pub(crate) event: Event,
}

/// How a run begins: all that decides what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    /// The agent's plugin.
    pub(crate) agent: String,
    /// Its component, pinned.
    pub(crate) digest: String,
    pub(crate) goal: String,
    /// A JSON value.
    pub(crate) input: String,
    /// Who started it: its calls are made in this name and scope.
    pub(crate) by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<std::collections::BTreeSet<String>>,
    /// What its randomness comes from, hexadecimal.
    pub(crate) seed: String,
    #[serde(default)]
    pub(crate) autonomy: Autonomy,
    #[serde(default)]
    pub(crate) budget: Budget,
    /// The run that goes on in this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) continues: Option<String>,
    /// The run and the step that it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forked_from: Option<super::ForkedFrom>,
    /// When the first of the runs began that this one continues, where it
    /// continues one; when it was forked, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) began_ms: Option<u64>,
    /// What the runs used that it continues.
    #[serde(default, skip_serializing_if = "Spent::is_nothing")]
    pub(crate) spent: Spent,
    /// The state that it begins with.
    #[serde(default, skip_serializing_if = "Memory::is_empty")]
    pub(crate) state: Memory,
    /// Signals that the run before had got and not waited for: name and payload,
    /// in the order they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) signals: Vec<(String, String)>,
    /// How its journal is read: [`RULES`] when it began.
    #[serde(default, skip_serializing_if = "is_oldest")]
    pub(crate) rules: u32,
    /// The run that started it as its child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<Parent>,
}

/// How journals that begin now are read. Before 1, a record told when a kept value
/// reached the agent; now it does as soon as the agent waits for it.
pub(crate) const RULES: u32 = 1;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_oldest(rules: &u32) -> bool {
    *rules == 0
}

/// Whose child a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    pub(crate) run: String,
    /// Its request.
    pub(crate) request: RequestId,
    /// How many runs stand above this one, and this one.
    pub(crate) depth: u32,
    /// The run above all of them, where that is not `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<String>,
}

impl Parent {
    /// The run above all.
    pub(crate) fn root(&self) -> &str {
        self.root.as_deref().unwrap_or(&self.run)
    }
}

impl Start {
    /// A run of the same agent in the same name that begins anew.
    pub(crate) fn successor(&self) -> Self {
        Self {
            seed: crate::ids::hex(&crate::ids::random::<16>()),
            continues: None,
            forked_from: None,
            began_ms: None,
            spent: Spent::default(),
            state: Memory::default(),
            signals: Vec::new(),
            rules: RULES,
            ..self.clone()
        }
    }
}

/// What a run does without asking a person.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Autonomy {
    /// Calls read-only tools. What else it would call is on record, and is not
    /// done.
    Observe,
    /// Calls read-only tools; asks before each other call.
    Ask,
    /// Asks before each call of a destructive tool.
    #[default]
    Supervised,
    /// Asks before none.
    Autonomous,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[expect(
    clippy::large_enum_variant,
    reason = "one record of a run is its start, and few are in memory"
)]
pub(crate) enum Event {
    /// The first record.
    Started(Start),
    /// The agent asked for something.
    Requested {
        id: RequestId,
        request: Request,
        /// For a call that waits for nothing: the intent, as in `begun`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begun: Option<EffectClass>,
    },
    /// What is set aside for the request before.
    Reserved { id: RequestId, spent: Spent },
    /// A value was kept: a request with its answer.
    Recorded {
        id: RequestId,
        /// A JSON value.
        value: String,
    },
    /// The agent was told which tools it may call; `None`: the same as before.
    ToolsTold { tools: Option<Vec<AgentTool>> },
    /// The agent set a key of its state, or removed it.
    StateSet {
        key: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// What was used that no other record tells: by an attempt of the agent's, or
    /// of a call, that did not come to an answer.
    Used { used: Spent },
    /// The intent of a call, durable before it is made: from here on it may have
    /// happened. It uses up its approval.
    Begun {
        id: RequestId,
        /// The class in force.
        class: EffectClass,
    },
    /// A person has to approve a call before it is made.
    ApprovalAsked {
        id: RequestId,
        /// What is approved: a hash of the tool, its input, its component and its
        /// grants.
        binding: String,
        #[serde(default, skip_serializing_if = "Terms::is_default")]
        terms: Terms,
    },
    /// A question was not decided in time: others decide it, until `due_ms`.
    QuestionEscalated {
        id: RequestId,
        role: Role,
        due_ms: u64,
    },
    /// A call was not made, since the run only observes: it would have been.
    Withheld { id: RequestId },
    /// The grant says that the run ends, since a call failed.
    GivenUp { end: End },
    /// A person approved a call.
    Approved {
        id: RequestId,
        binding: String,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// A person changed what it may use.
    Budgeted { budget: Budget, by: String },
    /// A person paused it.
    Paused { by: String },
    /// A person let it go on.
    Unpaused { by: String },
    /// A call that failed is tried again, not before `after_ms`.
    Retried {
        id: RequestId,
        /// From 2.
        attempt: u32,
        after_ms: u64,
        why: String,
        /// An attempt before may have happened, and nobody says what became of it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lost: bool,
    },
    /// A request has its answer: the outcome.
    Answered {
        id: RequestId,
        answer: Told,
        /// The person who gave it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// What it took; for a child, all that it used.
        #[serde(default, skip_serializing_if = "Spent::is_nothing")]
        used: Spent,
    },
    /// A poll of the agent reported these requests as ready.
    Woke {
        /// Number of the poll, from 0.
        poll: u64,
        ready: Vec<RequestId>,
        /// CPU time of the agent since the poll before, microseconds; none of it
        /// was catching up.
        #[serde(default, skip_serializing_if = "is_zero")]
        cpu_us: u64,
    },
    /// The agent asked for a request to end.
    CancelAsked { id: RequestId },
    /// The agent will not look at a request any more.
    Detached {
        id: RequestId,
        /// A timer, a question or a wait for a signal is over with that, and a
        /// signal that came for it is kept for the next. Without it, it goes on. A
        /// request to a model is ended, and answered with what it took.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ends: bool,
        /// The signal's payload, where a poll had reported it and the agent did not
        /// read it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unread: Option<String>,
    },
    /// The agent told something.
    Noted(Note),
    /// The run got a signal.
    Signalled {
        name: String,
        /// A JSON value.
        payload: String,
        by: String,
    },
    /// It does not go on until a person decides.
    Blocked { why: Block },
    /// A person let it go on.
    Unblocked { by: String },
    /// A person asked for it to end.
    CancelRequested { by: String, why: String },
    /// The last record.
    Ended {
        end: End,
        /// Requests whose effect may have happened, which nobody cleared up.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unknown: Vec<RequestId>,
    },
}

/// An answer as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    /// A JSON value, byte for byte.
    Ok(String),
    /// Why there is none.
    Error(CallError),
}

/// Why a run waits for a person to look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Block {
    /// A call may have happened or not, or a child may have been started.
    UnknownOutcome {
        /// The request.
        id: u64,
        /// What is known.
        detail: String,
    },
    /// The agent did something else than its journal says.
    Nondeterminism {
        /// What the journal has next.
        expected: String,
        /// What the agent did.
        found: String,
    },
    /// Its journal has as many records as its budget allows.
    Budget {
        /// The records.
        events: u64,
    },
    /// It comes from a backup: what it did since is not in its journal.
    Restored {
        /// When the backup was made, milliseconds since 1970.
        made_at_ms: u64,
    },
    /// Its journal can't be read.
    Journal {
        /// Where, and why.
        detail: String,
    },
    /// It has used what its budget allows.
    Spent {
        /// Which member of the budget.
        what: String,
        /// How much, set aside for its children included.
        used: u64,
    },
    /// It made the same call again and again, and got the same answer.
    Loop {
        /// The tool.
        tool: String,
        /// How often.
        times: u64,
    },
    /// The agent's component can't be run.
    Component {
        /// Why.
        detail: String,
    },
}

impl Block {
    /// Whether nothing that was asked for is done either before a person looked:
    /// it may have been done, should not have been asked for, is the trouble, or
    /// would have no place in the journal.
    pub(crate) fn holds_effects(&self) -> bool {
        match self {
            Self::Restored { .. }
            | Self::Nondeterminism { .. }
            | Self::Journal { .. }
            | Self::Loop { .. }
            | Self::Budget { .. } => true,
            // Its journal holds no more.
            Self::Spent { what, .. } => what == "journal_bytes",
            Self::UnknownOutcome { .. } | Self::Component { .. } => false,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum End {
    /// The goal is reached.
    Succeeded {
        /// A JSON value, as text.
        output: String,
    },
    /// It is given up.
    Failed {
        /// Code of the error taxonomy.
        code: String,
        /// Why.
        detail: String,
    },
    /// A person must take over.
    Escalated {
        /// The agent's reason.
        reason: String,
    },
    /// A person ended it.
    Cancelled {
        /// Requests whose effect may have happened.
        unknown: Vec<u64>,
    },
    /// It goes on as another run.
    Continued {
        /// That run.
        run: String,
    },
}

impl From<Told> for Answer {
    fn from(told: Told) -> Self {
        match told {
            Told::Ok(output) => Ok(output),
            Told::Error(error) => Err(error),
        }
    }
}

impl From<Answer> for Told {
    fn from(answer: Answer) -> Self {
        match answer {
            Ok(output) => Self::Ok(output),
            Err(error) => Self::Error(error),
        }
    }
}

impl End {
    /// The state's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Escalated { .. } => "escalated",
            Self::Cancelled { .. } => "cancelled",
            Self::Continued { .. } => "continued",
        }
    }
}

impl Event {
    /// The end of a run; what remains unknown is added when it is pushed.
    pub(crate) fn ended(end: End) -> Self {
        let unknown = Vec::new();
        Self::Ended { end, unknown }
    }

    /// The agent will not look at a request any more.
    pub(crate) fn detached(id: RequestId, unread: Option<String>) -> Self {
        let ends = true;
        Self::Detached { id, ends, unread }
    }

    /// Whether the agent itself did this: replay expects it again, in order.
    pub(crate) fn is_the_agents(&self) -> bool {
        matches!(
            self,
            Self::Requested { .. }
                | Self::Woke { .. }
                | Self::CancelAsked { .. }
                | Self::Detached { .. }
                | Self::Noted(_)
                | Self::Recorded { .. }
                | Self::ToolsTold { .. }
                | Self::StateSet { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::runs::ForkedFrom;
    use crate::runs::tests::begins;

    /// What it takes along after all is said where it is started.
    #[test]
    fn what_begins_anew_has_nothing_of_the_run_before() {
        let run = "run_1".to_owned();
        let parent = Parent {
            run: run.clone(),
            request: 0,
            depth: 2,
            root: None,
        };
        let before = Start {
            goal: "go".to_owned(),
            continues: Some(run.clone()),
            forked_from: Some(ForkedFrom { run, at: 1 }),
            began_ms: Some(1),
            spent: Spent {
                calls: 1,
                ..Spent::default()
            },
            state: serde_json::from_value(json!({ "k": "1" })).expect("a state"),
            signals: vec![("go".to_owned(), "1".to_owned())],
            parent: Some(parent),
            ..begins()
        };
        let next = before.successor();
        assert_ne!(next.seed, before.seed);
        let kept = Start {
            goal: before.goal,
            parent: before.parent,
            seed: next.seed.clone(),
            rules: RULES,
            ..begins()
        };
        assert_eq!(next, kept);
    }

    #[test]
    fn the_run_above_all_is_the_one_above_where_none_is_named() {
        for (root, expect) in [(None, "run_2"), (Some("run_1"), "run_1")] {
            let parent = Parent {
                run: "run_2".to_owned(),
                request: 0,
                depth: 2,
                root: root.map(str::to_owned),
            };
            assert_eq!(parent.root(), expect);
        }
    }
}
