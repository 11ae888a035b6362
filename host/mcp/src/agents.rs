//! Agents as tools that start runs, and the tools that follow and end runs.
//!
//! What must stay true: none of them answers a question of a run; that is a
//! person's, see `ask.rs`.

use std::sync::Arc;
use std::time::Duration;

use airlock_runtime::{
    Autonomy, Budget, End, Hints, Principal, Problem, RunDetail, RunError, RunStatus, Runtime,
    StartRun,
};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::listing::annotations;
use crate::names::Own;
use crate::outcome;

/// In a result's `_meta`: the run that it is about.
pub(crate) const RUN: &str = "airlock/run";

/// How long a run is waited for, unless the arguments say.
const WAIT: Duration = Duration::from_secs(10);
/// The longest that a run is waited for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(300);

/// The arguments of an agent's tool.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    #[serde(default)]
    goal: String,
    #[serde(default)]
    input: Map<String, Value>,
    #[serde(default)]
    wait_seconds: Option<f64>,
}

/// The arguments of what follows a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wait {
    pub(crate) run: String,
    #[serde(default)]
    wait_seconds: Option<f64>,
}

/// The arguments of what shows a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Show {
    pub(crate) run: String,
}

/// The arguments of what ends a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cancel {
    pub(crate) run: String,
    #[serde(default)]
    pub(crate) why: String,
}

impl Start {
    /// As a run of `agent`, and how long it is waited for.
    pub(crate) fn of(self, agent: String) -> Result<(StartRun, Duration), Box<Problem>> {
        let wait = wait(self.wait_seconds)?;
        let request = StartRun {
            agent,
            goal: self.goal,
            input: Value::Object(self.input),
            autonomy: Autonomy::default(),
            budget: Budget::default(),
        };
        Ok((request, wait))
    }
}

impl Wait {
    pub(crate) fn wait(&self) -> Result<Duration, Box<Problem>> {
        wait(self.wait_seconds)
    }
}

fn wait(seconds: Option<f64>) -> Result<Duration, Box<Problem>> {
    let Some(seconds) = seconds else {
        return Ok(WAIT);
    };
    let wait = Duration::try_from_secs_f64(seconds).ok();
    wait.filter(|wait| *wait <= WAIT_MAX).ok_or_else(|| {
        let detail = format!("`wait_seconds` is 0 to {}", WAIT_MAX.as_secs());
        invalid(detail)
    })
}

/// Reads a tool's arguments.
pub(crate) fn arguments<T: for<'de> Deserialize<'de>>(
    arguments: Option<JsonObject>,
) -> Result<T, Box<Problem>> {
    let value = Value::Object(arguments.unwrap_or_default());
    serde_json::from_value(value).map_err(|error| invalid(error.to_string()))
}

fn invalid(detail: impl Into<String>) -> Box<Problem> {
    Box::new(Problem::new(422, "invalid-input", detail))
}

/// The input schema of an agent's tool: around the agent's own.
pub(crate) fn start_schema(mut own: JsonObject) -> JsonObject {
    own.remove("$schema");
    let mut schema = object(json!({
        "type": "object",
        "properties": {
            "goal": { "type": "string", "description": "What is to be reached, in words." },
            "wait_seconds": wait_schema(),
        },
        "additionalProperties": false,
    }));
    // What the agent's schema refers to by `#/…` has to stay where it is.
    for definitions in ["$defs", "definitions"] {
        if let Some(found) = own.remove(definitions) {
            schema.insert(definitions.to_owned(), found);
        }
    }
    let needed = own.get("required").and_then(Value::as_array);
    if needed.is_some_and(|needed| !needed.is_empty()) {
        schema.insert("required".to_owned(), json!(["input"]));
    }
    schema["properties"]["input"] = Value::Object(own);
    schema
}

fn wait_schema() -> Value {
    json!({
        "type": "number", "minimum": 0, "maximum": WAIT_MAX.as_secs(), "default": WAIT.as_secs(),
        "description": "How long to wait for the run's end before answering where it stands.",
    })
}

fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(members) => members,
        _ => JsonObject::new(),
    }
}

/// What is told of a run, as a schema.
pub(crate) fn run_schema() -> Arc<JsonObject> {
    Arc::new(object(json!({
        "type": "object",
        "properties": {
            "run": { "type": "string" },
            "agent": { "type": "string" },
            "status": { "enum": [
                "running", "waiting", "paused", "blocked", "cancelling",
                "succeeded", "failed", "escalated", "cancelled", "continued",
            ] },
            "output": { "description": "What a run that succeeded came to." },
            "code": { "type": "string" },
            "detail": { "type": "string" },
            "progress": { "type": "object" },
            "waits_for": { "type": "array", "items": { "type": "object" } },
            "blocked": { "description": "Why a person has to look at it." },
            "halted": { "type": "array", "items": { "type": "string" } },
            "unknown": { "type": "array", "items": { "type": "integer" } },
            "continued_by": { "type": "string" },
        },
        "required": ["run", "agent", "status"],
    })))
}

/// A tool of Airlock's own.
pub(crate) fn own_tool(own: Own) -> Tool {
    let run = json!({ "type": "string", "description": "The run's id." });
    let (description, properties, read_only) = match own {
        Own::Status => (
            "Tells where a run of an agent stands: what it waits for, or how it ended.",
            json!({ "run": run }),
            true,
        ),
        Own::Wait => (
            "Waits for the end of a run of an agent, and tells where it stands.",
            json!({ "run": run, "wait_seconds": wait_schema() }),
            true,
        ),
        Own::Cancel => (
            "Ends a run of an agent: what is under way first. What it did stays done.",
            json!({ "run": run, "why": { "type": "string", "description": "For the record." } }),
            false,
        ),
    };
    let schema = object(json!({
        "type": "object", "properties": properties,
        "required": ["run"], "additionalProperties": false,
    }));
    let mut tool = Tool::new(own.name(), description, schema);
    tool.output_schema = Some(run_schema());
    tool.annotations = Some(annotations(Hints {
        read_only,
        idempotent: true,
        destructive: !read_only,
        open_world: false,
    }));
    tool
}

/// A run, read where that holds nobody up.
pub(crate) async fn detail(
    runtime: &Arc<Runtime>,
    who: &Arc<Principal>,
    run: &str,
) -> Result<RunDetail, RunError> {
    let (who, run) = (Arc::clone(who), run.to_owned());
    let looked = runtime.looking(move |runtime| runtime.run_detail(&who, &run));
    looked.await?
}

/// The same as a result.
pub(crate) async fn shown(
    runtime: &Arc<Runtime>,
    who: &Arc<Principal>,
    run: &str,
    ended_well: bool,
) -> CallToolResult {
    match detail(runtime, who, run).await {
        Ok(detail) => told(&detail, ended_well),
        Err(error) => outcome::refused(&error),
    }
}

/// A run as a result; `ended_well`: one that ended otherwise is a failure.
fn told(detail: &RunDetail, ended_well: bool) -> CallToolResult {
    let run = run_value(detail);
    let bad_end = matches!(
        detail.run.status,
        RunStatus::Failed | RunStatus::Escalated | RunStatus::Cancelled
    );
    let content = vec![ContentBlock::text(run.to_string())];
    let mut result = match ended_well && bad_end {
        true => CallToolResult::error(content),
        false => CallToolResult::success(content),
    };
    result.structured_content = Some(run);
    let members = outcome::meta(&mut result);
    members.insert(RUN.to_owned(), json!(detail.run.id));
    result
}

fn run_value(detail: &RunDetail) -> Value {
    let mut run = json!({
        "run": detail.run.id, "agent": detail.run.agent, "status": detail.run.status,
    });
    match &detail.end {
        Some(End::Succeeded { output }) => {
            run["output"] = serde_json::from_str(output).unwrap_or_else(|_| json!(output));
        }
        Some(End::Failed { code, detail }) => {
            run["code"] = json!(code);
            run["detail"] = json!(detail);
        }
        Some(End::Escalated { reason }) => {
            run["code"] = json!("escalate");
            run["detail"] = json!(reason);
        }
        Some(End::Continued { run: next }) => run["continued_by"] = json!(next),
        Some(End::Cancelled { .. }) | None => {}
    }
    if !detail.unknown.is_empty() {
        run["unknown"] = json!(detail.unknown);
    }
    if detail.end.is_some() {
        return run;
    }
    if let Some(progress) = &detail.progress {
        run["progress"] = json!(progress);
    }
    if let Some(blocked) = &detail.blocked {
        run["blocked"] = json!(blocked);
    }
    if !detail.halted.is_empty() {
        run["halted"] = json!(detail.halted);
    }
    if !detail.waits_for.is_empty() {
        run["waits_for"] = json!(detail.waits_for);
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agents_schema_refers_to_stays_in_its_place() {
        let own = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { "item": { "$ref": "#/$defs/Item" } },
            "required": ["item"],
            "$defs": { "Item": { "type": "string" } },
        });
        let schema = Value::Object(start_schema(object(own)));
        assert_eq!(schema["$defs"]["Item"]["type"], "string");
        let input = &schema["properties"]["input"];
        assert_eq!(input["properties"]["item"]["$ref"], "#/$defs/Item");
        assert_eq!(input.get("$defs"), None);
        assert_eq!(schema["required"], json!(["input"]));
        let without = Value::Object(start_schema(object(json!({ "type": "object" }))));
        assert_eq!(without.get("required"), None);
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        let start = |value: Value| arguments::<Start>(Some(object(value)));
        let wait = |value: Value| start(json!({ "wait_seconds": value }))?.of("a".to_owned());
        let table = [
            (json!(0), Some(Duration::ZERO)),
            (json!(1.5), Some(Duration::from_millis(1_500))),
            (json!(300), Some(WAIT_MAX)),
            (json!(null), Some(WAIT)),
            (json!(301), None),
            (json!(-1), None),
            (json!(1e300), None),
            (json!("1"), None),
        ];
        for (value, expect) in table {
            let found = wait(value.clone()).ok().map(|(_, wait)| wait);
            assert_eq!(found, expect, "{value}");
        }
        for bad in [
            json!({ "gaol": "" }),
            json!({ "input": [] }),
            json!({ "goal": 1 }),
        ] {
            let problem = start(bad.clone()).err().map(|problem| problem.code);
            assert_eq!(problem.as_deref(), Some("invalid-input"), "{bad}");
        }
    }
}
