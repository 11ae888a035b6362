//! What the model of an example says, as its `script.json` has it.

use std::path::Path;

use airlock_fake_models::{Call, Counted, Reply, Script, Step, What};
use anyhow::{Context, Result};
use serde_json::Value;

/// Reads a script. `say` in a step is short for an answer: a text as it is, any other
/// JSON as the text of it. `call` is one for a call of a tool: `[name, arguments]`, or
/// a list of such.
///
/// # Errors
/// It is not there, or is no script; with its place.
pub fn read(file: &Path) -> Result<Script> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let all: Vec<Value> =
        serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    let steps = all.into_iter().enumerate().map(|(at, step)| {
        step_of(step).with_context(|| format!("in {}: step {at}", file.display()))
    });
    let steps = steps.collect::<Result<_>>()?;
    Ok(Script { key: None, steps })
}

/// One step of a script.
///
/// # Errors
/// It is none.
pub fn step_of(mut step: Value) -> Result<Step> {
    let members = step.as_object_mut().context("a step is an object")?;
    let answer = match (members.remove("say"), members.remove("call")) {
        (None, None) => None,
        (say, calls) => Some(reply(say, calls)?),
    };
    if let Some(answer) = answer {
        members.insert("answer".to_owned(), serde_json::to_value(answer)?);
    }
    Ok(serde_json::from_value(step)?)
}

fn reply(say: Option<Value>, calls: Option<Value>) -> Result<Reply> {
    let text = match say {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
    };
    let calls = match calls {
        None => Vec::new(),
        Some(Value::Array(calls)) if calls.first().is_some_and(Value::is_string) => {
            vec![Value::Array(calls)]
        }
        Some(Value::Array(calls)) => calls,
        Some(_) => anyhow::bail!("call: a list"),
    };
    let calls = calls.iter().enumerate().map(|(at, call)| {
        let name = call[0].as_str().context("call: its name is missing")?;
        let arguments = match &call[1] {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        // As providers spell it, which take no `/`.
        let name = name.replace('/', "_");
        // Counted from the start in each answer, as some servers do.
        let id = format!("call_{at}");
        Ok(Call {
            id,
            name,
            arguments,
        })
    });
    let usage = Some(Counted {
        input: 200,
        cached: 0,
        output: 50,
    });
    Ok(Reply {
        text,
        calls: calls.collect::<Result<_>>()?,
        usage,
        ..Reply::default()
    })
}

/// A step that answers with this text, or with this JSON as text.
#[must_use]
pub fn says(value: impl Into<Value>) -> Step {
    answer(Some(value.into()), None)
}

/// A step that asks for this call.
#[must_use]
pub fn calls(tool: &str, arguments: Value) -> Step {
    answer(None, Some(serde_json::json!([[tool, arguments]])))
}

fn answer(say: Option<Value>, calls: Option<Value>) -> Step {
    // Made here, so it is right.
    let reply = reply(say, calls).unwrap_or_default();
    What::Answer(reply).into()
}
