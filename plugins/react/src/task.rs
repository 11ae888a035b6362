//! The task: an input that was checked, and the conversation that it begins.

use airlock_patterns::{at_most, within, wrong};
use airlock_sdk::agent::{Chat, ToolInfo};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, fill};
use airlock_sdk::schema;
use serde_json::{Value, json};

use crate::Input;
use crate::acts::{AskPerson, CALLS_MAX, GiveUp};
use crate::pattern::fits;
use crate::prompts;

const ROLE: &str = "fast";
const TURNS: u32 = 40;
const TURNS_MAX: u32 = 200;
const RESULT_BYTES: u32 = 16 << 10;
const RESULT_BYTES_MAX: u32 = 128 << 10;
const SUMMARISE_AFTER: u64 = 60_000;
const PATIENCE_HOURS: u32 = 72;
const CONTEXT_BYTES_MAX: usize = 256 << 10;
const INSTRUCTIONS_BYTES_MAX: usize = 16 << 10;
const SCHEMA_BYTES_MAX: usize = 32 << 10;
/// What a request takes, less the agent's own.
const TOOLS_MAX: usize = 120;

/// What is to be done, and within which bounds.
pub(crate) struct Task {
    pub(crate) goal: String,
    role: String,
    /// The granted tools that the model is offered.
    tools: Vec<String>,
    first: String,
    finish_schema: Value,
    answer_tokens: u32,
    pub(crate) turns_max: u32,
    pub(crate) result_bytes_max: usize,
    pub(crate) summarise_after: u64,
    pub(crate) patience_hours: u32,
}

impl Task {
    /// Checks an input.
    pub(crate) fn read(goal: String, input: Input, granted: &[ToolInfo]) -> Result<Self, Error> {
        let turns = within("max_turns", input.max_turns, TURNS, 1..=TURNS_MAX)?;
        let bytes = 256..=RESULT_BYTES_MAX;
        let bytes = within(
            "result_bytes_max",
            input.result_bytes_max,
            RESULT_BYTES,
            bytes,
        )?;
        let answer_tokens = airlock_patterns::answer_tokens(input.answer_tokens_max)?;
        let summarise = input.summarise_after_tokens.unwrap_or(SUMMARISE_AFTER);
        if summarise < 1_000 {
            return wrong("summarise_after_tokens: at least 1000");
        }
        airlock_patterns::goal(&goal)?;
        let tools = offered(input.tools.as_deref(), granted)?;
        let first = first(&goal, &input)?;
        Ok(Self {
            goal,
            role: input.role.unwrap_or_else(|| ROLE.to_owned()),
            tools,
            first,
            finish_schema: finish_schema(input.output_schema)?,
            answer_tokens,
            turns_max: turns,
            result_bytes_max: bytes as usize,
            summarise_after: summarise,
            patience_hours: input.patience_hours.unwrap_or(PATIENCE_HOURS),
        })
    }

    /// The conversation at its beginning.
    pub(crate) fn chat(&self) -> Chat {
        let calls_max = CALLS_MAX.to_string();
        let mut chat = Chat::new(&self.role)
            .max_tokens(self.answer_tokens)
            .system(&fill(prompts::SYSTEM, &[("calls_max", &calls_max)]))
            .own_tool_with("finish", prompts::FINISH.trim(), &self.finish_schema)
            .own_tool::<AskPerson>("ask_person", prompts::ASK_PERSON.trim())
            .own_tool::<GiveUp>("give_up", prompts::GIVE_UP.trim());
        for tool in &self.tools {
            chat = chat.tool(tool);
        }
        chat.user(&self.first);
        chat
    }

    /// What the model may call, for one that called something else.
    pub(crate) fn offers(&self) -> String {
        let own = ["finish", "ask_person", "give_up"].map(str::to_owned);
        let all: Vec<String> = self.tools.iter().cloned().chain(own).collect();
        all.join(", ")
    }

    pub(crate) fn tools(&self) -> &[String] {
        &self.tools
    }
}

/// The granted tools that a pattern names; a pattern that names none is a mistake.
fn offered(patterns: Option<&[String]>, granted: &[ToolInfo]) -> Result<Vec<String>, Error> {
    let names = || granted.iter().map(|tool| tool.name.as_str());
    for (at, pattern) in patterns.unwrap_or_default().iter().enumerate() {
        if !names().any(|name| fits(pattern, name)) {
            let granted: Vec<&str> = names().take(20).collect();
            return wrong(format!(
                "tools[{at}]: `{pattern}` is none of the granted tools; these are: {}",
                granted.join(", ")
            ));
        }
    }
    let named = |name: &&str| patterns.is_none_or(|all| all.iter().any(|one| fits(one, name)));
    let named: Vec<String> = names().filter(named).map(str::to_owned).collect();
    match named.len() > TOOLS_MAX {
        true => wrong(format!(
            "tools: {} tools are granted, and a model is offered at most {TOOLS_MAX}; name those \
             that it needs",
            named.len()
        )),
        false => Ok(named),
    }
}

/// The first message.
fn first(goal: &str, input: &Input) -> Result<String, Error> {
    let mut parts = vec![fill(prompts::GOAL, &[("goal", goal)])];
    if let Some(instructions) = &input.instructions {
        at_most("instructions", instructions.len(), INSTRUCTIONS_BYTES_MAX)?;
        let places = [("instructions", instructions.as_str())];
        parts.push(fill(prompts::INSTRUCTIONS, &places));
    }
    if let Some(context) = &input.context {
        let context = context.to_string();
        at_most("context", context.len(), CONTEXT_BYTES_MAX)?;
        let context = prompt::data(&context, 0);
        parts.push(fill(prompts::CONTEXT, &[("context", &context)]));
    }
    Ok(parts.join("\n\n"))
}

/// The schema of `finish`, with the result's inside.
fn finish_schema(output: Option<Value>) -> Result<Value, Error> {
    airlock_patterns::schema(output.as_ref(), SCHEMA_BYTES_MAX)?;
    let result = match output {
        None => json!({ "description": "What was reached." }),
        Some(schema) => schema::moved(schema, "/properties/result"),
    };
    Ok(
        json!({ "type": "object", "properties": { "result": result },
        "required": ["result"], "additionalProperties": false }),
    )
}
