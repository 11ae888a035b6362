//! From what an agent asks for, in the contract's words, to a [`Request`]; the
//! sizes are checked here.

use crate::capability::log::escape;
use crate::gate::LimitReached;

use super::contract::host::Question;
use super::contract::types::{Budget, EffectClass as Class, ToolInfo};
use super::{AgentTool, ChildBudget, Request};
use crate::grants::EffectClass;

pub(super) const INPUT_BYTES_MAX: usize = 1 << 20;
pub(super) const NAME_BYTES_MAX: usize = 160;
pub(super) const TEXT_BYTES_MAX: usize = 8 << 10;
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 10;
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
const CHOICES: std::ops::RangeInclusive<usize> = 2..=16;
const CHOICE_BYTES_MAX: usize = 128;

/// An agent that asks for more than the contract allows ends, and is told which
/// bound it was.
pub(super) fn bound(what: &'static str, len: usize, max: usize) -> Result<(), LimitReached> {
    match len > max {
        true => Err(over(format!("{what}: {max} bytes"))),
        false => Ok(()),
    }
}

fn over(value: String) -> LimitReached {
    LimitReached {
        limit: "request",
        value,
    }
}

/// A question; `now_ms` is the run's clock.
pub(super) fn question(question: Question, now_ms: u64) -> Result<Request, LimitReached> {
    bound("the question", question.text.len(), TEXT_BYTES_MAX)?;
    let payload = question.payload.as_ref().map_or(0, String::len);
    bound("the payload", payload, PAYLOAD_BYTES_MAX)?;
    for choice in &question.choices {
        bound("a choice", choice.len(), CHOICE_BYTES_MAX)?;
    }
    if !CHOICES.contains(&question.choices.len()) {
        return Err(over("2 to 16 choices".to_owned()));
    }
    Ok(Request::Ask {
        text: escape(&question.text),
        choices: question.choices.iter().map(|c| escape(c)).collect(),
        payload: question.payload,
        due_ms: question.due_ms.map(|due| now_ms.saturating_add(due)),
    })
}

/// A child agent.
pub(super) fn start(
    agent: String,
    goal: String,
    input: String,
    budget: Budget,
) -> Result<Request, LimitReached> {
    bound("the agent's name", agent.len(), NAME_BYTES_MAX)?;
    bound("the goal", goal.len(), TEXT_BYTES_MAX)?;
    bound("the input", input.len(), INPUT_BYTES_MAX)?;
    Ok(Request::Start {
        agent,
        goal,
        input,
        budget: budget.into(),
    })
}

impl From<Budget> for ChildBudget {
    fn from(budget: Budget) -> Self {
        Self {
            calls: budget.calls,
            steps: budget.steps,
            events: budget.events,
            wall_ms: budget.wall_ms,
            cpu_us: budget.cpu_us,
            model_tokens: budget.model_tokens,
            model_micros: budget.model_micros,
        }
    }
}

impl From<AgentTool> for ToolInfo {
    fn from(tool: AgentTool) -> Self {
        Self {
            name: tool.name,
            description: tool.description,
            input_schema: tool.input_schema,
            output_schema: tool.output_schema,
            class: match tool.class {
                EffectClass::ReadOnly => Class::ReadOnly,
                EffectClass::Idempotent => Class::Idempotent,
                EffectClass::Destructive => Class::Destructive,
                EffectClass::Plain => Class::Plain,
            },
        }
    }
}
