//! The agent: plan, have it done, look, and go on.

use std::pin::Pin;

use airlock_sdk::agent::{self, Chat, Outcome, Spent, ToolInfo, Unusable};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, cut_end, fill};
use serde_json::{Value, json};

use crate::form::{NewTask, Step, schema_of};
use crate::pointers::filled;
use crate::tasks::Tasks;
use crate::{Input, prompts};

/// What an answer has room for: what it may have is set aside before it is asked for.
const ANSWER_TOKENS: u32 = 8_192;
const ROLE: &str = "careful";
const WORKER: &str = "react";
const ROUNDS: u32 = 5;
const TASKS: u32 = 30;
const PARALLEL: u32 = 4;
/// How often an answer that can't be used is asked for again.
const REPAIRS: u32 = 3;
const CONTEXT_BYTES_MAX: usize = 128 << 10;
const INSTRUCTIONS_BYTES_MAX: usize = 8 << 10;
const SCHEMA_BYTES_MAX: usize = 32 << 10;
const CRITERIA_BYTES_MAX: usize = 64 << 10;
const TOOLS_MAX: usize = 30;
const TOOL_BYTES_MAX: usize = 2 << 10;
const ERROR_BYTES_MAX: usize = 4 << 10;
const LOG_BYTES_MAX: usize = 4 << 10;

type Running<'a> = (
    usize,
    Pin<Box<dyn Future<Output = Result<Value, Error>> + 'a>>,
);

pub(crate) async fn run(goal: String, input: Input) -> Result<Outcome, Error> {
    let tools = match &input.tools {
        Some(names) => offered(names, agent::tools())?,
        None => Vec::new(),
    };
    let bounds = Bounds::read(&goal, &input)?;
    agent::log(&format!("prompts {}", prompts::VERSION));
    let mut work = Work {
        chat: begin(&goal, &input, &tools),
        tools: tools.into_iter().map(|tool| tool.name).collect(),
        tasks: Tasks::new(bounds.tasks),
        input,
        bounds,
        spent: Spent::default(),
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
    rounds: u32,
    tasks: usize,
    parallel: usize,
}

impl Bounds {
    /// Checks an input.
    fn read(goal: &str, input: &Input) -> Result<Self, Error> {
        let sizes = [
            (
                "context",
                input.context.as_ref().map_or(0, size),
                CONTEXT_BYTES_MAX,
            ),
            (
                "instructions",
                input.instructions.as_ref().map_or(0, String::len),
                INSTRUCTIONS_BYTES_MAX,
            ),
            (
                "output_schema",
                input.output_schema.as_ref().map_or(0, size),
                SCHEMA_BYTES_MAX,
            ),
            (
                "criteria",
                input.criteria.as_ref().map_or(0, |all| size(&json!(all))),
                CRITERIA_BYTES_MAX,
            ),
        ];
        for (what, bytes, most) in sizes {
            if bytes > most {
                return wrong(format!("{what}: it has {bytes} bytes; at most {most}"));
            }
        }
        if goal.trim().is_empty() {
            return wrong("goal: it is empty; say what is to be reached".to_owned());
        }
        if input
            .output_schema
            .as_ref()
            .is_some_and(|schema| !schema.is_object())
        {
            return wrong("output_schema: a JSON Schema is an object".to_owned());
        }
        if input.verifier.is_some() && input.criteria.as_ref().is_none_or(Vec::is_empty) {
            return wrong("verifier: there are no criteria to judge by".to_owned());
        }
        if let Some(tokens) = input.answer_tokens_max
            && !(256..=1_000_000).contains(&tokens)
        {
            return wrong("answer_tokens_max: 256 to 1000000".to_owned());
        }
        Ok(Self {
            rounds: within("max_rounds", input.max_rounds, ROUNDS, 20)?,
            tasks: within("max_tasks", input.max_tasks, TASKS, 200)? as usize,
            parallel: within("parallel", input.parallel, PARALLEL, 16)? as usize,
        })
    }
}

fn wrong<T>(what: String) -> Result<T, Error> {
    Err(Error::InvalidInput(what))
}

fn size(value: &Value) -> usize {
    value.to_string().len()
}

fn within(what: &str, given: Option<u32>, usual: u32, most: u32) -> Result<u32, Error> {
    match given.unwrap_or(usual) {
        given if (1..=most).contains(&given) => Ok(given),
        _ => wrong(format!("{what}: 1 to {most}")),
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
fn begin(goal: &str, input: &Input, tools: &[ToolInfo]) -> Chat {
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
        .max_tokens(input.answer_tokens_max.unwrap_or(ANSWER_TOKENS))
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
    spent: Spent,
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
                let why = cut_end(&why, ERROR_BYTES_MAX);
                return Err(Error::escalate(format!("the goal can't be reached: {why}")));
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
            self.have_done().await;
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
        let mut last = String::new();
        for _ in 0..=REPAIRS {
            let reply = self.chat.ask_repaired(REPAIRS).await;
            self.spent = self.chat.spent();
            let reply = match reply {
                Ok(reply) => reply,
                Err(Unusable::Asking(error)) => return Err(error.context("asking the model")),
                Err(unusable) => return Err(Error::escalate(unusable.to_string())),
            };
            let problems = match reply.parse::<Step>() {
                Ok(step) => match step.problems(&self.tasks, &self.tools) {
                    problems if problems.is_empty() => return Ok(step),
                    problems => problems.join("\n"),
                },
                Err(error) => format!("- {error}"),
            };
            self.chat
                .user(&fill(prompts::AGAIN, &[("problems", &problems)]));
            last = problems;
        }
        let last = cut_end(&last, ERROR_BYTES_MAX);
        Err(Error::escalate(format!(
            "the model's plan stays wrong: {last}"
        )))
    }

    /// Has all tasks done that can be, as many at once as there may be.
    async fn have_done(&mut self) {
        let mut running: Vec<Running<'_>> = Vec::new();
        loop {
            while running.len() < self.bounds.parallel {
                let Some((index, task)) = self.tasks.begin() else {
                    break;
                };
                running.push((index, self.start(&task)));
            }
            if running.is_empty() {
                return;
            }
            let futures = running.iter_mut().map(|(_, future)| future);
            let (at, ended) = agent::select_all(futures).await;
            let (index, _) = running.swap_remove(at);
            self.tasks.end(index, ended);
        }
    }

    /// Begins a task.
    fn start(&self, task: &NewTask) -> Pin<Box<dyn Future<Output = Result<Value, Error>>>> {
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
        let reached = json!({ "ended": ended, "rounds": self.round, "spent": self.spent,
            "tasks": self.tasks.reached() });
        let kept = agent::set_state("reached", &reached);
        let recorded = agent::record(&reached).await;
        if let Err(error) = kept.and(recorded.map(drop)) {
            agent::log(&format!("what was reached is in the state alone: {error}"));
        }
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
