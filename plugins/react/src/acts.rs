//! What a call that a model asked for comes to: a call of a tool, a question, an end,
//! or a word on why not.

use std::time::Duration;

use airlock_sdk::agent::{self, Fault, Finish, ModelCall, Reply};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, cut_end, cut_middle, fill};
use serde_json::{Value, json};

use crate::prompts::{self, advice};
use crate::reached::Reached;
use crate::task::Task;

/// Calls that are made at once.
pub(crate) const CALLS_MAX: usize = 16;
/// Bytes of all results of one answer: with all escapes it fits in a request.
const TURN_BYTES_MAX: usize = 128 << 10;
const QUESTION_BYTES_MAX: usize = 4 << 10;
const CHOICE_BYTES_MAX: usize = 128;

/// Asks a person to decide.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AskPerson {
    /// What is to be decided, with all that a person needs to know for it.
    #[schemars(length(min = 1))]
    pub(crate) question: String,
    /// The answers to choose from, short.
    #[schemars(length(min = 2, max = 16))]
    pub(crate) choices: Vec<String>,
}

/// Ends the work without a result.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GiveUp {
    /// Why the goal can't be reached, and what is missing.
    pub(crate) reason: String,
}

/// The result, as `finish` takes it.
#[derive(Debug, Deserialize)]
struct Finished {
    result: Value,
}

/// What is done about a call.
pub(crate) enum Act {
    /// The goal is reached.
    Finish(Value),
    /// It can't be.
    GiveUp(String),
    Ask(AskPerson),
    /// A granted tool is called.
    Call(Value),
    /// Nothing: why.
    Refuse(String),
}

/// What came of it.
pub(crate) struct Came {
    pub(crate) failed: bool,
    pub(crate) text: String,
    from: From,
    /// There is nothing left to call with.
    pub(crate) spent_up: Option<Error>,
}

/// Whose words a result is.
enum From {
    /// This agent's or a person's.
    Us,
    /// A tool's.
    Tool,
    /// Those of an error, with its code.
    Error(&'static str),
}

impl Act {
    /// What is to be done about the call at `index` of an answer.
    pub(crate) fn of(task: &Task, reply: &Reply, index: usize) -> Self {
        let call = &reply.calls[index];
        if reply.finish == Finish::Length {
            return Self::Refuse(prompts::CUT.trim().to_owned());
        }
        if index >= CALLS_MAX {
            let places = [("calls_max", &*CALLS_MAX.to_string())];
            return Self::Refuse(fill(prompts::TOO_MANY, &places));
        }
        if let Some(fault) = reply.fault_of(call) {
            return Self::Refuse(told(task, fault));
        }
        let is_end = matches!(&*call.name, "finish" | "give_up");
        if is_end && reply.calls.len() > 1 {
            return Self::Refuse(fill(prompts::ALONE, &[("name", &call.name)]));
        }
        let read = match &*call.name {
            "finish" => call.parse().map(|end: Finished| Self::Finish(end.result)),
            "give_up" => call.parse().map(|end: GiveUp| Self::GiveUp(end.reason)),
            "ask_person" => call.parse().and_then(checked).map(Self::Ask),
            _ => call.parse().map(Self::Call),
        };
        read.unwrap_or_else(|error| {
            let fault = error.to_string();
            Self::Refuse(fill(prompts::FAULT, &[("fault", &fault)]))
        })
    }

    /// Does it. An end is none of what is done here.
    pub(crate) async fn done(self, task: &Task, reached: &Reached, call: &ModelCall) -> Came {
        match self {
            Self::Refuse(why) => Came::of(true, From::Us, why),
            Self::Finish(_) | Self::GiveUp(_) => Came::of(false, From::Us, String::new()),
            Self::Ask(asked) => ask(task, reached, &asked).await,
            Self::Call(input) => match agent::call::<Value>(&call.name, &input).await {
                Ok(Value::String(text)) => Came::of(false, From::Tool, text),
                Ok(output) => Came::of(false, From::Tool, output.to_string()),
                Err(error) => failed(error),
            },
        }
    }
}

impl Came {
    fn of(failed: bool, from: From, text: String) -> Self {
        let spent_up = None;
        Self {
            failed,
            text,
            from,
            spent_up,
        }
    }

    /// As the model is told: what others wrote is data, cut to a size.
    pub(crate) fn told(&self, task: &Task, at_once: usize, number: usize) -> String {
        let bytes_max = task.result_bytes_max.min(TURN_BYTES_MAX / at_once.max(1));
        let text = cut_middle(&self.text, bytes_max);
        match self.from {
            From::Us => text,
            From::Tool => fill(prompts::RESULT, &[("data", &prompt::data(&text, number))]),
            From::Error(code) => {
                let data = prompt::data(&text, number);
                let places = [("code", code), ("advice", advice(code)), ("data", &data)];
                fill(prompts::FAILED, &places)
            }
        }
    }
}

/// A fault, in the words of this agent where it has better ones.
fn told(task: &Task, fault: &Fault) -> String {
    match fault {
        Fault::UnknownTool { name, .. } => {
            let (name, tools) = (cut_end(name, 200), task.offers());
            fill(prompts::UNKNOWN_TOOL, &[("name", &name), ("tools", &tools)])
        }
        other => fill(prompts::FAULT, &[("fault", &other.to_string())]),
    }
}

/// A call that failed.
fn failed(error: Error) -> Came {
    let mut came = Came::of(true, From::Error(error.code()), error.to_string());
    // The run's own budget, and no tool's limit.
    if matches!(&error, Error::Limit { limit, .. } if limit == "calls") {
        came.spent_up = Some(error);
    }
    came
}

/// Whether people can be asked so.
fn checked(asked: AskPerson) -> Result<AskPerson, Error> {
    let wrong = |what: &str| Err(Error::invalid_input(what));
    let choices = &asked.choices;
    let twice = |index: usize| choices[..index].contains(&choices[index]);
    if !(2..=16).contains(&choices.len()) {
        return wrong("choices: 2 to 16");
    }
    if choices
        .iter()
        .any(|choice| choice.is_empty() || choice.len() > CHOICE_BYTES_MAX)
    {
        return wrong("choices: each has 1 to 128 bytes");
    }
    match (0..choices.len()).any(twice) {
        true => wrong("choices: one is there twice"),
        false => Ok(asked),
    }
}

async fn ask(task: &Task, reached: &Reached, asked: &AskPerson) -> Came {
    let hours = task.patience_hours;
    let due = Duration::from_secs(u64::from(hours) * 3_600);
    let choices: Vec<&str> = asked.choices.iter().map(String::as_str).collect();
    let about = json!({ "goal": task.goal, "note": reached.note() });
    let question = cut_end(&asked.question, QUESTION_BYTES_MAX);
    match agent::ask_about(&question, &choices, Some(&about), Some(due)).await {
        Ok(decision) => {
            let mut text = fill(prompts::ANSWERED, &[("choice", &decision.choice)]);
            if let Some(note) = decision.note.filter(|note| !note.is_empty()) {
                text = format!("{text}\n{}", fill(prompts::NOTE, &[("note", &note)]));
            }
            Came::of(false, From::Us, text)
        }
        Err(Error::Transient { .. }) => {
            let text = fill(prompts::NOBODY, &[("hours", &*hours.to_string())]);
            Came::of(true, From::Us, text)
        }
        Err(error) => failed(error),
    }
}
