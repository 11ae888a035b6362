//! What a run may use and what it used.
//!
//! What must stay true: what was used follows from the journal alone, so that a
//! crash neither loses nor doubles any of it; what a child may use is taken from
//! its parent with the intent to start it, so that children can't use more
//! together than there is.

use airlock_sandbox::agent::{ChildBudget, Request};
use airlock_sandbox::{CallError, Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::event::{Block, Start};
use super::fold::RunState;
use super::people::QUESTIONS_MAX;

/// Children that one run may start.
const CHILDREN_MAX: u64 = 1_000;

/// The part of what is left that a child gets for which nothing is said.
const CHILD_PART: u64 = 4;

/// What a run may use, with the runs that continue it, and with its children,
/// whose share is taken from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Calls of tools, attempts apart. The agent is told `limit` for one more.
    pub calls: u64,
    /// Records of its journal, which is each run's own. At its end the run is
    /// blocked. An agent that works for longer continues as new.
    pub events: u64,
    /// Bytes of its journal, which is each run's own: what the agent says, keeps
    /// and is answered. As `events`.
    pub journal_bytes: u64,
    /// Requests of any kind. At its end the run is blocked.
    pub steps: u64,
    /// Milliseconds from its start; waiting counts. A run that does something
    /// after that is blocked.
    pub wall_ms: u64,
    /// Microseconds of CPU time, that of the tools it calls included, catching up
    /// after a restart not. A run that does something after that is blocked; what
    /// is under way then ends.
    pub cpu_us: u64,
    /// Bytes that its tools sent or wrote outside. As `cpu_us`.
    pub bytes_out: u64,
    /// Tokens of language models, in and out. The agent is told `limit` where a
    /// request might take more than is left.
    pub model_tokens: u64,
    /// Cost of language models, millionths of the host's currency. As
    /// `model_tokens`.
    pub model_micros: u64,
    /// How often the same call may give the same answer before the run is
    /// blocked.
    pub repeats: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            calls: 10_000,
            events: 50_000,
            journal_bytes: 64 << 20,
            steps: 1_000_000,
            wall_ms: 10 * 365 * 24 * 3_600_000,
            cpu_us: 3_600_000_000,
            bytes_out: 1 << 40,
            model_tokens: 5_000_000,
            model_micros: 5_000_000,
            repeats: 20,
        }
    }
}

/// Changes to a budget; what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetChange {
    /// As in [`Budget`].
    pub calls: Option<u64>,
    /// As in [`Budget`].
    pub events: Option<u64>,
    /// As in [`Budget`].
    pub journal_bytes: Option<u64>,
    /// As in [`Budget`].
    pub steps: Option<u64>,
    /// As in [`Budget`].
    pub wall_ms: Option<u64>,
    /// As in [`Budget`].
    pub cpu_us: Option<u64>,
    /// As in [`Budget`].
    pub bytes_out: Option<u64>,
    /// As in [`Budget`].
    pub model_tokens: Option<u64>,
    /// As in [`Budget`].
    pub model_micros: Option<u64>,
    /// As in [`Budget`].
    pub repeats: Option<u64>,
}

impl BudgetChange {
    /// The budget with these changes.
    pub(super) fn of(&self, budget: &Budget) -> Budget {
        Budget {
            calls: self.calls.unwrap_or(budget.calls),
            events: self.events.unwrap_or(budget.events),
            journal_bytes: self.journal_bytes.unwrap_or(budget.journal_bytes),
            steps: self.steps.unwrap_or(budget.steps),
            wall_ms: self.wall_ms.unwrap_or(budget.wall_ms),
            cpu_us: self.cpu_us.unwrap_or(budget.cpu_us),
            bytes_out: self.bytes_out.unwrap_or(budget.bytes_out),
            model_tokens: self.model_tokens.unwrap_or(budget.model_tokens),
            model_micros: self.model_micros.unwrap_or(budget.model_micros),
            repeats: self.repeats.unwrap_or(budget.repeats),
        }
    }
}

/// What was used, or is set aside.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct Spent {
    /// Calls of tools.
    #[serde(skip_serializing_if = "is_zero")]
    pub calls: u64,
    /// Requests of any kind.
    #[serde(skip_serializing_if = "is_zero")]
    pub steps: u64,
    /// CPU time, microseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu_us: u64,
    /// Bytes sent or written outside.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_out: u64,
    /// Tokens of language models, in and out.
    #[serde(skip_serializing_if = "is_zero")]
    pub model_tokens: u64,
    /// Cost of language models, millionths of the host's currency.
    #[serde(skip_serializing_if = "is_zero")]
    pub model_micros: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Spent {
    /// Of one call of a tool, beside the call itself.
    pub(super) fn of_call(usage: &Usage) -> Self {
        let bytes = usage.capabilities.iter().map(|used| used.bytes_out);
        Self {
            cpu_us: usage.cpu_us,
            bytes_out: bytes.sum(),
            ..Self::default()
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.each(other, u64::saturating_add);
    }

    fn each(&mut self, other: &Self, of: impl Fn(u64, u64) -> u64) {
        self.calls = of(self.calls, other.calls);
        self.steps = of(self.steps, other.steps);
        self.cpu_us = of(self.cpu_us, other.cpu_us);
        self.bytes_out = of(self.bytes_out, other.bytes_out);
        self.model_tokens = of(self.model_tokens, other.model_tokens);
        self.model_micros = of(self.model_micros, other.model_micros);
    }
}

impl RunState {
    /// What is used and set aside.
    pub(super) fn used(&self) -> Spent {
        let mut used = self.spent;
        for reserved in self.reserved.values() {
            used.add(reserved);
        }
        used
    }

    fn left(&self, budget: &Budget) -> Spent {
        let mut left = Spent {
            calls: budget.calls,
            steps: budget.steps,
            cpu_us: budget.cpu_us,
            bytes_out: budget.bytes_out,
            model_tokens: budget.model_tokens,
            model_micros: budget.model_micros,
        };
        left.each(&self.used(), u64::saturating_sub);
        left
    }

    /// What of its budget is neither used nor set aside.
    pub(super) fn left_now(&self) -> Spent {
        self.budget()
            .map_or_else(Spent::default, |budget| self.left(budget))
    }

    /// Calls that may still be made.
    pub(super) fn left_calls(&self) -> u64 {
        self.budget().map_or(0, |budget| self.left(budget).calls)
    }

    fn budget(&self) -> Option<&Budget> {
        self.start.as_ref().map(|start| &start.budget)
    }

    /// Milliseconds since the first of the runs that this one continues began.
    fn wall_ms(&self, start: &Start, now_ms: u64) -> u64 {
        let began_ms = start.began_ms.unwrap_or(self.started_ms);
        now_ms.saturating_sub(began_ms)
    }
}

/// Why no call and no child of the run begins until a person gives it more: its
/// journal would grow beyond what it may, whatever the agent does.
pub(super) fn outgrown(state: &RunState) -> Option<Block> {
    let budget = &state.start.as_ref()?.budget;
    if state.len >= budget.events {
        let events = state.len;
        return Some(Block::Budget { events });
    }
    (state.bytes >= budget.journal_bytes).then(|| Block::Spent {
        what: "journal_bytes".to_owned(),
        used: state.bytes,
    })
}

/// Why the run does nothing more until a person gives it more.
pub(super) fn over(state: &RunState, now_ms: u64) -> Option<Block> {
    if let Some(why) = outgrown(state) {
        return Some(why);
    }
    let start = state.start.as_ref()?;
    let budget = &start.budget;
    let used = state.used();
    let limits = [
        ("steps", used.steps, budget.steps),
        ("cpu_us", used.cpu_us, budget.cpu_us),
        ("bytes_out", used.bytes_out, budget.bytes_out),
        ("wall_ms", state.wall_ms(start, now_ms), budget.wall_ms),
    ];
    let over = limits.into_iter().find(|(_, used, most)| used >= most);
    over.map(|(what, used, _)| Block::Spent {
        what: what.to_owned(),
        used,
    })
}

/// Records that the block itself, and the word that lifts it, take.
const RESUME_EVENTS: u64 = 3;

/// Whether a larger budget lets a run go on that is blocked for this one.
pub(super) fn suffices(block: &Block, budget: &Budget) -> Result<(), String> {
    let (what, used, given) = match block {
        Block::Budget { events } => ("events", events + RESUME_EVENTS, budget.events),
        Block::Spent { what, used } => (
            what.as_str(),
            *used,
            match what.as_str() {
                "journal_bytes" => budget.journal_bytes,
                "steps" => budget.steps,
                "cpu_us" => budget.cpu_us,
                "bytes_out" => budget.bytes_out,
                _ => budget.wall_ms,
            },
        ),
        _ => return Ok(()),
    };
    match given > used {
        true => Ok(()),
        false => Err(format!("budget: give it more than {used} {what}")),
    }
}

/// What a new request sets aside, if anything.
///
/// # Errors
/// What the agent is told at once: there is not enough left.
pub(super) fn admit(state: &RunState, request: &Request) -> Result<Option<Spent>, CallError> {
    let Some(budget) = state.budget() else {
        return Ok(None);
    };
    let left = state.left(budget);
    match request {
        Request::Call { .. } if left.calls == 0 => Err(limit("calls", budget.calls)),
        Request::Ask { .. } if state.questions.len() >= QUESTIONS_MAX => {
            Err(limit("questions", QUESTIONS_MAX as u64))
        }
        Request::Start { budget: asked, .. } => {
            if state.children.len() as u64 >= CHILDREN_MAX {
                return Err(limit("children", CHILDREN_MAX));
            }
            share(&left, asked).map(Some)
        }
        _ => Ok(None),
    }
}

/// What a child gets of what is left.
fn share(left: &Spent, asked: &ChildBudget) -> Result<Spent, CallError> {
    let part = |name, left: u64, asked: Option<u64>| match asked {
        Some(asked) if asked > left => Err(limit(name, left)),
        Some(asked) => Ok(asked),
        None => Ok(left.div_ceil(CHILD_PART)),
    };
    Ok(Spent {
        calls: part("calls", left.calls, asked.calls)?,
        steps: part("steps", left.steps, asked.steps)?,
        cpu_us: part("cpu_us", left.cpu_us, asked.cpu_us)?,
        bytes_out: left.bytes_out.div_ceil(CHILD_PART),
        model_tokens: part("model_tokens", left.model_tokens, asked.model_tokens)?,
        model_micros: part("model_micros", left.model_micros, asked.model_micros)?,
    })
}

/// The budget of a child for which `reserved` was set aside.
pub(super) fn of_child(
    parent: &Start,
    left_ms: u64,
    asked: &ChildBudget,
    reserved: &Spent,
) -> Budget {
    let events = asked.events.unwrap_or(parent.budget.events);
    Budget {
        calls: reserved.calls,
        events: events.min(parent.budget.events),
        journal_bytes: parent.budget.journal_bytes,
        steps: reserved.steps,
        wall_ms: asked.wall_ms.unwrap_or(left_ms).min(left_ms),
        cpu_us: reserved.cpu_us,
        bytes_out: reserved.bytes_out,
        model_tokens: reserved.model_tokens,
        model_micros: reserved.model_micros,
        repeats: parent.budget.repeats,
    }
}

/// Milliseconds that a run has left at `now_ms`.
pub(super) fn left_ms(state: &RunState, now_ms: u64) -> u64 {
    state.start.as_ref().map_or(0, |start| {
        let wall_ms = state.wall_ms(start, now_ms);
        start.budget.wall_ms.saturating_sub(wall_ms)
    })
}

pub(super) fn limit(name: &str, value: u64) -> CallError {
    CallError::Limit {
        limit: name.to_owned(),
        value: value.to_string(),
    }
}

/// CPU time of an attempt, catching up left out.
#[derive(Default)]
pub(crate) struct Meter {
    last_us: u64,
    untold_us: u64,
}

impl Meter {
    /// The attempt has taken `cpu_us` so far.
    pub(super) fn at(&mut self, cpu_us: u64, counts: bool) {
        if counts {
            self.untold_us += cpu_us.saturating_sub(self.last_us);
        }
        self.last_us = cpu_us;
    }

    /// As [`Meter::take`], where it is enough for a record of its own.
    pub(super) fn take_much(&mut self) -> Option<Spent> {
        const MUCH_US: u64 = 1_000;
        let much = self.untold_us >= MUCH_US;
        much.then(|| Spent {
            cpu_us: self.take(),
            ..Spent::default()
        })
    }

    /// What no record tells yet.
    pub(super) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.untold_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A larger budget of another kind does not let it go on.
    #[test]
    fn a_block_is_lifted_by_more_of_what_was_spent() {
        let spent = |what: &str| Block::Spent {
            what: what.to_owned(),
            used: 10,
        };
        let none = Budget {
            events: 0,
            journal_bytes: 0,
            steps: 0,
            wall_ms: 0,
            cpu_us: 0,
            bytes_out: 0,
            ..Budget::default()
        };
        type Part = fn(&mut Budget) -> &mut u64;
        let events = Block::Budget {
            events: 10 - RESUME_EVENTS,
        };
        let table: [(Block, Part); 6] = [
            (events, |budget| &mut budget.events),
            (spent("journal_bytes"), |budget| &mut budget.journal_bytes),
            (spent("steps"), |budget| &mut budget.steps),
            (spent("cpu_us"), |budget| &mut budget.cpu_us),
            (spent("bytes_out"), |budget| &mut budget.bytes_out),
            (spent("wall_ms"), |budget| &mut budget.wall_ms),
        ];
        for (block, part) in table {
            for (given, lets) in [(10, false), (11, true)] {
                let mut budget = none.clone();
                *part(&mut budget) = given;
                assert_eq!(suffices(&block, &budget).is_ok(), lets, "{block:?} {given}");
            }
        }
    }
}
