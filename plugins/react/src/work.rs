//! The loop: ask the model, do what it asks for, tell it what came of it.

use airlock_sdk::agent::{self, Chat, Finish, Outcome, PlanTask, Reply, TaskState, ToolChoice};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, cut_end, cut_middle, fill};
use serde_json::Value;

use crate::Input;
use crate::acts::{Act, Came};
use crate::prompts;
use crate::reached::Reached;
use crate::seen::Seen;
use crate::task::Task;

/// Answers without a call, one after the other, that a model may give.
const IDLE_MAX: u32 = 3;
/// Turns before a conversation may be begun anew.
const TURNS_MIN: u32 = 3;
const TITLE_BYTES_MAX: usize = 200;
const SUMMARY_BYTES_MAX: usize = 32 << 10;
const REASON_BYTES_MAX: usize = 4 << 10;
/// The last turns that the plan shows.
const PLAN_MAX: usize = 60;
const LOG_BYTES_MAX: usize = 4 << 10;
/// How a conversation ended whose place a summary takes.
const TOO_LONG: &str = "a conversation that became too long";

pub(crate) async fn run(goal: String, input: Input) -> Result<Outcome, Error> {
    let task = Task::read(goal, input, &agent::tools())?;
    agent::log(&format!(
        "prompts {}, {} tools: {}",
        prompts::VERSION,
        task.tools().len(),
        cut_end(&task.tools().join(", "), LOG_BYTES_MAX)
    ));
    let mut work = Work {
        chat: task.chat(),
        task,
        seen: Seen::default(),
        reached: Reached::default(),
        plan: Vec::new(),
        idle: 0,
        warned: false,
        turns_here: 0,
        data: 0,
    };
    let ended = work.turns().await;
    agent::plan(&work.plan);
    match ended {
        Ok(result) => {
            work.reached.done()?;
            Outcome::done(&result)
        }
        Err(error) => {
            work.reached.keep(&error).await;
            Err(error)
        }
    }
}

struct Work {
    task: Task,
    chat: Chat,
    seen: Seen,
    reached: Reached,
    plan: Vec<PlanTask>,
    /// Answers without a call, one after the other.
    idle: u32,
    /// It was told that it goes in circles.
    warned: bool,
    /// Turns of this conversation.
    turns_here: u32,
    /// Pieces of data so far.
    data: usize,
}

impl Work {
    /// Until there is a result.
    async fn turns(&mut self) -> Result<Value, Error> {
        for turn in 1..=self.task.turns_max {
            let reply = self.asked().await;
            let reply = reply.map_err(|error| error.context("asking the model"))?;
            self.turns_here += 1;
            self.reached.turn(&reply.text, reply.spent);
            if let Some(why) = reply.declined() {
                let why = cut_end(why, TITLE_BYTES_MAX);
                return Err(Error::escalate(format!("the model declined: {why}")));
            }
            self.publish(turn, &reply);
            match reply.calls.is_empty() {
                true => self.idles(&reply)?,
                false => {
                    if let Some(result) = self.acts(&reply).await? {
                        return Ok(result);
                    }
                }
            }
            let used = reply.usage.input_tokens + reply.usage.output_tokens;
            if used >= self.task.summarise_after && self.turns_here >= TURNS_MIN {
                self.begin_anew().await?;
            }
        }
        Err(Error::limit("turns", self.task.turns_max.to_string()))
    }

    /// The model's answer. A conversation that is too long for it is begun anew, once.
    async fn asked(&mut self) -> Result<Reply, Error> {
        match self.chat.ask().await {
            Err(error) if is_too_long(&error) && self.turns_here > 0 => {
                agent::log(&format!("the conversation is too long: {error}"));
                let summary = self.reached.told(TOO_LONG).to_string();
                self.go_on_from(&summary);
                self.chat.ask().await
            }
            asked => asked,
        }
    }

    /// Says how far it is.
    fn publish(&mut self, turn: u32, reply: &Reply) {
        let names: Vec<&str> = reply.calls.iter().map(|call| &*call.name).collect();
        let names = match names.as_slice() {
            [] => "no call".to_owned(),
            names => cut_end(&names.join(", "), TITLE_BYTES_MAX),
        };
        let title = reply.text.lines().find(|line| !line.trim().is_empty());
        let title = title.map_or_else(|| names.clone(), |line| cut_end(line, TITLE_BYTES_MAX));
        let state = TaskState::Doing;
        self.plan.push(PlanTask { title, state });
        if self.plan.len() > PLAN_MAX {
            self.plan.remove(0);
        }
        agent::plan(&self.plan);
        let total = Some(f64::from(self.task.turns_max));
        agent::progress(f64::from(turn - 1), total, &format!("turn {turn}: {names}"));
        if !reply.text.is_empty() {
            agent::log(&cut_end(&reply.text, LOG_BYTES_MAX));
        }
    }

    /// How the turn ended; the plan is published with the next one, or at the end.
    fn settle(&mut self, state: TaskState) {
        if let Some(task) = self.plan.last_mut() {
            task.state = state;
        }
    }

    /// An answer that asks for nothing.
    fn idles(&mut self, reply: &Reply) -> Result<(), Error> {
        self.settle(TaskState::Failed);
        self.idle += 1;
        if self.idle >= IDLE_MAX {
            let note = cut_end(self.reached.note(), TITLE_BYTES_MAX);
            return Err(Error::escalate(format!(
                "the model gave {IDLE_MAX} answers without a call; the last thing it said: {note}"
            )));
        }
        let text = match reply.finish {
            Finish::Length => prompts::CUT,
            _ => prompts::NO_CALL,
        };
        self.chat.user(text.trim());
        Ok(())
    }

    /// Does what an answer asks for; gives the result where that is an end.
    async fn acts(&mut self, reply: &Reply) -> Result<Option<Value>, Error> {
        self.idle = 0;
        let mut acts = Vec::new();
        for index in 0..reply.calls.len() {
            match Act::of(&self.task, reply, index) {
                Act::Finish(result) => {
                    self.settle(TaskState::Done);
                    return Ok(Some(result));
                }
                Act::GiveUp(reason) => {
                    self.settle(TaskState::Failed);
                    let reason = cut_end(&reason, REASON_BYTES_MAX);
                    return Err(Error::escalate(format!("the model gave up: {reason}")));
                }
                act => acts.push(act),
            }
        }
        let (task, reached) = (&self.task, &self.reached);
        let acts = acts.into_iter().zip(&reply.calls);
        let came = agent::join_all(acts.map(|(act, call)| act.done(task, reached, call))).await;
        self.tell(reply, came)
    }

    /// Tells the model what came of its calls.
    fn tell(&mut self, reply: &Reply, came: Vec<Came>) -> Result<Option<Value>, Error> {
        let at_once = came.len();
        let (mut circles, mut failed) = (true, 0);
        let mut spent_up = None;
        for (call, came) in reply.calls.iter().zip(came) {
            self.data += 1;
            let told = came.told(&self.task, at_once, self.data);
            circles &= self.seen.again(&call.name, &call.arguments, &came.text);
            failed += usize::from(came.failed);
            let (name, input) = (&call.name, &call.arguments);
            self.reached.call(name, input, came.failed, &came.text);
            match came.failed {
                true => self.chat.failed(call, &told),
                false => self.chat.result(call, &told),
            };
            spent_up = spent_up.or(came.spent_up);
        }
        self.settle(match failed == at_once {
            true => TaskState::Failed,
            false => TaskState::Done,
        });
        if let Some(error) = spent_up {
            return Err(error);
        }
        match circles {
            true if self.warned => Err(Error::escalate(format!(
                "the work goes in circles: {} gave the same again",
                self.plan.last().map_or("it", |task| &*task.title)
            ))),
            true => {
                self.chat.user(prompts::NO_PROGRESS.trim());
                self.warned = true;
                Ok(None)
            }
            false => {
                self.warned = false;
                Ok(None)
            }
        }
    }

    /// Has the conversation summed up, and begins it anew with that. Where the model
    /// gives no summary, the last calls stand in for it.
    async fn begin_anew(&mut self) -> Result<(), Error> {
        let mut asking = self.chat.clone().tool_choice(ToolChoice::None);
        let summary = match asking.user(prompts::SUMMARISE.trim()).ask().await {
            Ok(reply) => {
                self.reached.paid(reply.spent);
                let is_summary = reply.declined().is_none() && reply.calls.is_empty();
                (is_summary && !reply.text.is_empty()).then_some(reply.text)
            }
            Err(error) if is_too_long(&error) => None,
            Err(error) => return Err(error.context("summing up")),
        };
        let summary = match summary {
            Some(text) => cut_middle(&text, SUMMARY_BYTES_MAX),
            None => self.reached.told(TOO_LONG).to_string(),
        };
        self.go_on_from(&summary);
        Ok(())
    }

    /// Begins the conversation anew with what was reached.
    fn go_on_from(&mut self, summary: &str) {
        self.data += 1;
        let data = prompt::data(summary, self.data);
        self.chat = self.task.chat();
        self.chat.user(&fill(prompts::RESUMED, &[("data", &data)]));
        self.turns_here = 0;
        agent::log(&format!("begun anew: {}", cut_end(summary, LOG_BYTES_MAX)));
    }
}

/// Whether a provider refused a conversation for its length.
fn is_too_long(error: &Error) -> bool {
    matches!(error, Error::Limit { limit, .. } if limit == "context_tokens")
}

airlock_sdk::agent! {
    description: "Reaches a goal with a language model: it thinks, calls the tools that this agent was granted, looks at what they give, and goes on until the goal is reached. It asks a person where a decision is not its own, and hands over when it gets nowhere.",
    input: Input,
    run: run,
    wants: [
        want!(models, r#"{ role = "fast" }"#, "To decide what to do next; another role where the input names one."),
    ],
}
