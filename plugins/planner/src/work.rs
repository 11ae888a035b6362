//! The agent: plan, have it done, look, and go on.

use airlock_patterns::{Asked, Queue, Started, at_most, keep, next_step, size, within, wrong};
use airlock_sdk::agent::{self, Chat, Outcome, ToolInfo};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, cut_end, fill};
use serde_json::{Value, json};

use crate::form::{NewTask, Step, schema_of};
use crate::pointers::filled;
use crate::tasks::Tasks;
use crate::{Input, prompts};

const ROLE: &str = "careful";
const WORKER: &str = "react";
const ROUNDS: u32 = 5;
const TASKS: u32 = 30;
const PARALLEL: u32 = 4;
const CONTEXT_BYTES_MAX: usize = 128 << 10;
const INSTRUCTIONS_BYTES_MAX: usize = 8 << 10;
const SCHEMA_BYTES_MAX: usize = 32 << 10;
const CRITERIA_BYTES_MAX: usize = 64 << 10;
const TOOLS_MAX: usize = 30;
const TOOL_BYTES_MAX: usize = 2 << 10;
const LOG_BYTES_MAX: usize = 4 << 10;
const STEP: Asked = Asked {
    what: "plan",
    again: prompts::AGAIN,
};

pub(crate) async fn run(goal: String, input: Input) -> Result<Outcome, Error> {
    let tools = match &input.tools {
        Some(names) => offered(names, agent::tools())?,
        None => Vec::new(),
    };
    let bounds = Bounds::read(&goal, &input)?;
    agent::log(&format!("prompts {}", prompts::VERSION));
    let mut work = Work {
        chat: begin(&goal, &input, &bounds, &tools),
        tools: tools.into_iter().map(|tool| tool.name).collect(),
        tasks: Tasks::new(bounds.tasks),
        input,
        bounds,
        round: 0,
        judgements: 0,
    };
    match work.rounds().await {
        Ok(result) => Outcome::done(&result),
        Err(error) => {
            work.keep(&error).await;
            Err(error)
        }
    }
}

struct Bounds {
    answer_tokens: u32,
    rounds: u32,
    tasks: usize,
    parallel: usize,
}

impl Bounds {
    /// Checks an input.
    fn read(goal: &str, input: &Input) -> Result<Self, Error> {
        let context = input.context.as_ref().map_or(0, size);
        at_most("context", context, CONTEXT_BYTES_MAX)?;
        let instructions = input.instructions.as_ref().map_or(0, String::len);
        at_most("instructions", instructions, INSTRUCTIONS_BYTES_MAX)?;
        let criteria = input.criteria.as_ref().map_or(0, |all| size(&json!(all)));
        at_most("criteria", criteria, CRITERIA_BYTES_MAX)?;
        airlock_patterns::schema(input.output_schema.as_ref(), SCHEMA_BYTES_MAX)?;
        airlock_patterns::goal(goal)?;
        if input.verifier.is_some() && input.criteria.as_ref().is_none_or(Vec::is_empty) {
            return wrong("verifier: there are no criteria to judge by");
        }
        Ok(Self {
            answer_tokens: airlock_patterns::answer_tokens(input.answer_tokens_max)?,
            rounds: within("max_rounds", input.max_rounds, ROUNDS, 1..=20)?,
            tasks: within("max_tasks", input.max_tasks, TASKS, 1..=200)? as usize,
            parallel: within("parallel", input.parallel, PARALLEL, 1..=16)? as usize,
        })
    }
}

/// The granted tools of these names.
fn offered(names: &[String], granted: Vec<ToolInfo>) -> Result<Vec<ToolInfo>, Error> {
    if names.len() > TOOLS_MAX {
        return wrong(format!("tools: at most {TOOLS_MAX}"));
    }
    for (at, name) in names.iter().enumerate() {
        if !granted.iter().any(|tool| tool.name == *name) {
            return wrong(format!(
                "tools[{at}]: `{name}` is none of the granted tools"
            ));
        }
    }
    let named = granted
        .into_iter()
        .filter(|tool| names.contains(&tool.name));
    Ok(named.collect())
}

/// The conversation at its beginning.
fn begin(goal: &str, input: &Input, bounds: &Bounds, tools: &[ToolInfo]) -> Chat {
    let mut parts = vec![fill(prompts::GOAL, &[("goal", goal)])];
    if let Some(instructions) = &input.instructions {
        let places = [("instructions", instructions.as_str())];
        parts.push(fill(prompts::INSTRUCTIONS, &places));
    }
    if let Some(criteria) = &input.criteria {
        let line = |one: &serde_json::Map<String, Value>| {
            format!(
                "- {}",
                one.get("text").and_then(Value::as_str).unwrap_or_default()
            )
        };
        let lines: Vec<String> = criteria.iter().map(line).collect();
        parts.push(fill(prompts::CRITERIA, &[("criteria", &lines.join("\n"))]));
    }
    if !tools.is_empty() {
        let line = |tool: &ToolInfo| {
            let about = format!("{}\n{}", tool.description, tool.input_schema);
            format!("{}: {}", tool.name, cut_end(&about, TOOL_BYTES_MAX))
        };
        let lines: Vec<String> = tools.iter().map(line).collect();
        let lines = prompt::data(&lines.join("\n"), 0);
        parts.push(fill(prompts::TOOLS, &[("tools", &lines)]));
    }
    if let Some(context) = &input.context {
        let context = prompt::data(&context.to_string(), 0);
        parts.push(fill(prompts::CONTEXT, &[("context", &context)]));
    }
    let role = input.role.as_deref().unwrap_or(ROLE);
    let mut chat = Chat::new(role)
        .max_tokens(bounds.answer_tokens)
        .system(prompts::SYSTEM.trim())
        .output_with("step", &schema_of(input.output_schema.clone()));
    chat.user(&parts.join("\n\n"));
    chat
}

struct Work {
    input: Input,
    bounds: Bounds,
    tools: Vec<String>,
    chat: Chat,
    tasks: Tasks,
    round: u32,
    judgements: usize,
}

impl Work {
    /// Until there is a result.
    async fn rounds(&mut self) -> Result<Value, Error> {
        while self.round < self.bounds.rounds {
            self.round += 1;
            let step = self.step().await?;
            let total = Some(f64::from(self.bounds.rounds));
            let why = cut_end(&step.why, 200);
            agent::progress(f64::from(self.round - 1), total, &why);
            agent::log(&cut_end(&step.why, LOG_BYTES_MAX));
            if let Some(why) = step.give_up {
                return Err(airlock_patterns::gave_up(&why));
            }
            if let Some(result) = step.result {
                match self.judgement(&result).await? {
                    None => return Ok(result),
                    Some(judgement) => {
                        let places = [("judgement", &*judgement), ("left", &*self.left())];
                        self.chat.user(&fill(prompts::JUDGED, &places));
                        continue;
                    }
                }
            }
            self.tasks.add(step.tasks);
            let most = self.bounds.parallel;
            airlock_patterns::side_by_side(self, most).await;
            let (results, left) = (self.tasks.news(), self.left());
            let places = [("results", &*results), ("left", &*left)];
            self.chat.user(&fill(prompts::DONE, &places));
        }
        Err(Error::limit("rounds", self.bounds.rounds.to_string()))
    }

    fn left(&self) -> String {
        let rounds = (self.bounds.rounds - self.round).to_string();
        let tasks = self.tasks.left().to_string();
        fill(prompts::LEFT, &[("rounds", &rounds), ("tasks", &tasks)])
    }

    /// The next answer that can be done.
    async fn step(&mut self) -> Result<Step, Error> {
        let (tasks, tools) = (&self.tasks, &self.tools);
        next_step(&mut self.chat, STEP, |step: &Step| {
            step.problems(tasks, tools)
        })
        .await
    }

    /// Begins a task.
    fn start(&self, task: &NewTask) -> Started {
        if let Some(tool) = &task.tool {
            let input = task.input.clone().unwrap_or_else(|| json!({}));
            return match filled(&input, &self.tasks.whole_results_for(task)) {
                Ok(input) => agent::call(tool, &input).into_future(),
                Err(problem) => Box::pin(std::future::ready(Err(Error::InvalidInput(problem)))),
            };
        }
        let mut context = json!({ "results": self.tasks.results_for(task) });
        if let Some(given) = &self.input.context {
            context["context"] = given.clone();
        }
        let mut input = self.input.worker_input.clone().unwrap_or_default();
        input.insert("context".to_owned(), context);
        if let Some(instructions) = &self.input.instructions {
            let instructions = instructions.as_str().into();
            input.entry("instructions").or_insert(instructions);
        }
        let worker = self.input.worker.as_deref().unwrap_or(WORKER);
        agent::start(worker, &task.goal, &input).into_future()
    }

    /// What speaks against a result; nothing: it stands.
    async fn judgement(&mut self, result: &Value) -> Result<Option<String>, Error> {
        let Some(verifier) = &self.input.verifier else {
            return Ok(None);
        };
        let input = json!({ "outcome": result, "criteria": self.input.criteria });
        let judged = agent::start::<Value>(verifier, "Judge the outcome.", &input).await;
        let judged = judged.map_err(|error| error.context("judging the result"))?;
        if judged["verdict"] == "pass" {
            return Ok(None);
        }
        self.judgements += 1;
        let judged = prompt::cut_middle(&judged.to_string(), 32 << 10);
        Ok(Some(prompt::data(&judged, self.judgements)))
    }

    /// Keeps what was reached: as the state `reached`, and as a record.
    async fn keep(&self, error: &Error) {
        let ended = cut_end(&error.to_string(), 1_000);
        keep(
            &json!({ "ended": ended, "rounds": self.round, "spent": self.chat.spent(),
            "tasks": self.tasks.reached() }),
        )
        .await;
    }
}

impl Queue for Work {
    type Key = usize;

    fn begin(&mut self) -> Option<(usize, Started)> {
        let (index, task) = self.tasks.begin()?;
        Some((index, self.start(&task)))
    }

    fn end(&mut self, index: usize, ended: Result<Value, Error>) {
        self.tasks.end(index, ended);
    }
}

airlock_sdk::agent! {
    description: "Plans a goal as tasks, has those that do not need one another done at the same time by another agent or a tool, looks at what came of them, revises the plan, and has the result judged where there are criteria.",
    input: Input,
    run: run,
    wants: [
        want!(models, r#"{ role = "careful" }"#, "To plan and to look at results; another role where the input names one."),
        want!(agents, r#"{ agent = "react" }"#, "To do the tasks; another agent where the input names one."),
        want!(agents, r#"{ agent = "verifier" }"#, "To judge the result by criteria.", optional),
    ],
}
