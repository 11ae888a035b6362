//! The agent: split, have it done, compare, have it settled, merge.

use std::time::Duration;

use airlock_patterns::{
    Asked, Queue, Started, at_most, keep, next_step, size, sized, within, wrong,
};
use airlock_sdk::agent::{self, Budget, Chat, Outcome};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, cut_end, fill};
use serde_json::{Value, json};

use crate::conflicts::{Conflict, Settled, found};
use crate::form::{NewPart, Step, schema_of};
use crate::parts::Parts;
use crate::{Input, Specialist, prompts};

const ROLE: &str = "careful";
const ROUNDS: u32 = 6;
const PARTS: u32 = 12;
const PARALLEL: u32 = 4;
const PATIENCE_HOURS: u32 = 72;
const CONTEXT_BYTES_MAX: usize = 128 << 10;
const INSTRUCTIONS_BYTES_MAX: usize = 8 << 10;
const SCHEMA_BYTES_MAX: usize = 32 << 10;
const SPECIALISTS_MAX: usize = 8;
const ABOUT_BYTES_MAX: usize = 2 << 10;
const PLACES_MAX: usize = 20;
const GIVEN_BYTES_MAX: usize = 32 << 10;
const PAYLOAD_BYTES_MAX: usize = 8 << 10;
const LOG_BYTES_MAX: usize = 4 << 10;
const STEP: Asked = Asked {
    what: "answer",
    again: prompts::AGAIN,
};
/// What a person chooses where no result holds.
const NONE: &str = "none of them";

pub(crate) async fn run(goal: String, input: Input) -> Result<Outcome, Error> {
    let bounds = Bounds::read(&goal, &input)?;
    agent::log(&format!("prompts {}", prompts::VERSION));
    let mut work = Work {
        chat: begin(&goal, &input, &bounds),
        parts: Parts::new(bounds.parts),
        settled: Settled::default(),
        input,
        bounds,
        round: 0,
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
    parts: usize,
    parallel: usize,
    patience: Duration,
}

impl Bounds {
    /// Checks an input.
    fn read(goal: &str, input: &Input) -> Result<Self, Error> {
        airlock_patterns::goal(goal)?;
        let context = input.context.as_ref().map_or(0, size);
        at_most("context", context, CONTEXT_BYTES_MAX)?;
        let instructions = input.instructions.as_ref().map_or(0, String::len);
        at_most("instructions", instructions, INSTRUCTIONS_BYTES_MAX)?;
        airlock_patterns::schema(input.output_schema.as_ref(), SCHEMA_BYTES_MAX)?;
        if !(1..=SPECIALISTS_MAX).contains(&input.specialists.len()) {
            return wrong(format!("specialists: 1 to {SPECIALISTS_MAX}"));
        }
        for (name, specialist) in &input.specialists {
            if name.is_empty() || specialist.about.len() > ABOUT_BYTES_MAX {
                return wrong(format!(
                    "specialists.{name}: it has a name, and `about` at most {ABOUT_BYTES_MAX} bytes"
                ));
            }
        }
        let places = input.agree.iter().flatten();
        if places.clone().any(|place| !place.starts_with('/')) || places.count() > PLACES_MAX {
            return wrong(format!(
                "agree: at most {PLACES_MAX} JSON pointers, such as `/total`"
            ));
        }
        let hours = 1..=8_760;
        let patience = within(
            "patience_hours",
            input.patience_hours,
            PATIENCE_HOURS,
            hours,
        )?;
        Ok(Self {
            answer_tokens: airlock_patterns::answer_tokens(input.answer_tokens_max)?,
            rounds: within("max_rounds", input.max_rounds, ROUNDS, 2..=20)?,
            parts: within("max_parts", input.max_parts, PARTS, 1..=60)? as usize,
            parallel: within("parallel", input.parallel, PARALLEL, 1..=8)? as usize,
            patience: Duration::from_secs(u64::from(patience) * 3_600),
        })
    }
}

fn names(input: &Input) -> Vec<&str> {
    input.specialists.keys().map(String::as_str).collect()
}

/// The conversation at its beginning.
fn begin(goal: &str, input: &Input, bounds: &Bounds) -> Chat {
    let line =
        |(name, specialist): (&String, &Specialist)| format!("- {name}: {}", specialist.about);
    let lines: Vec<String> = input.specialists.iter().map(line).collect();
    let places = [("specialists", &*lines.join("\n"))];
    let mut parts = vec![
        fill(prompts::GOAL, &[("goal", goal)]),
        fill(prompts::SPECIALISTS, &places),
    ];
    if let Some(instructions) = &input.instructions {
        let places = [("instructions", instructions.as_str())];
        parts.push(fill(prompts::INSTRUCTIONS, &places));
    }
    if let Some(context) = &input.context {
        let context = prompt::data(&context.to_string(), 0);
        parts.push(fill(prompts::CONTEXT, &[("context", &context)]));
    }
    let role = input.role.as_deref().unwrap_or(ROLE);
    let schema = schema_of(input.output_schema.clone(), &names(input));
    let mut chat = Chat::new(role)
        .max_tokens(bounds.answer_tokens)
        .system(prompts::SYSTEM.trim())
        .output_with("step", &schema);
    chat.user(&parts.join("\n\n"));
    chat
}

struct Work {
    input: Input,
    bounds: Bounds,
    chat: Chat,
    parts: Parts,
    settled: Settled,
    round: u32,
}

impl Work {
    /// Until there is a result.
    async fn rounds(&mut self) -> Result<Value, Error> {
        while self.round < self.bounds.rounds {
            self.round += 1;
            let step = self.step().await?;
            let total = Some(f64::from(self.bounds.rounds));
            agent::progress(f64::from(self.round - 1), total, &cut_end(&step.why, 200));
            agent::log(&cut_end(&step.why, LOG_BYTES_MAX));
            if let Some(why) = step.give_up {
                return Err(airlock_patterns::gave_up(&why));
            }
            let mut told = Vec::new();
            if !step.parts.is_empty() {
                self.parts.add(step.parts);
                let most = self.bounds.parallel;
                airlock_patterns::side_by_side(self, most).await;
                told.push(self.news(prompts::DONE));
            }
            let mut conflicts = step.conflicts;
            conflicts.extend(self.by_rule());
            match (step.result, conflicts.is_empty()) {
                (Some(result), true) => return Ok(result),
                (_, true) => {}
                (_, false) => told.extend(self.settle(conflicts).await?),
            }
            self.chat.user(&told.join("\n\n"));
        }
        Err(Error::limit("rounds", self.bounds.rounds.to_string()))
    }

    fn by_rule(&self) -> Vec<Conflict> {
        let places = self.input.agree.as_deref().unwrap_or_default();
        let results: Vec<(&str, &Value)> = self.parts.results().collect();
        found(places, &results, &self.settled)
    }

    fn news(&mut self, text: &str) -> String {
        let rounds = (self.bounds.rounds - self.round).to_string();
        let left = self.parts.left().to_string();
        let left = fill(prompts::LEFT, &[("rounds", &rounds), ("parts", &left)]);
        fill(text, &[("results", &self.parts.news()), ("left", &left)])
    }

    /// The next answer that can be done.
    async fn step(&mut self) -> Result<Step, Error> {
        let (parts, names) = (&self.parts, names(&self.input));
        next_step(&mut self.chat, STEP, |step: &Step| {
            step.problems(parts, &names)
        })
        .await
    }

    /// Has a specialist work on something.
    fn start(&self, part: &NewPart, goal: &str, mut context: Value) -> Started {
        // Each part was looked at: there is one of this name.
        let specialist = self.input.specialists.get(&part.specialist).cloned();
        let specialist = specialist.unwrap_or_default();
        if let Some(given) = &self.input.context {
            context["context"] = given.clone();
        }
        let mut input = specialist.input.unwrap_or_default();
        input.insert("context".to_owned(), context);
        if let Some(instructions) = &self.input.instructions {
            let instructions = instructions.as_str().into();
            input.entry("instructions").or_insert(instructions);
        }
        let budget = Budget {
            calls: specialist.budget.calls,
            model_tokens: specialist.budget.model_tokens,
            model_micros: specialist.budget.model_micros,
            ..Budget::default()
        };
        agent::start_with(&specialist.agent, goal, &input, budget).into_future()
    }

    /// Has contradictions settled; what the model is told of it.
    async fn settle(&mut self, conflicts: Vec<Conflict>) -> Result<Vec<String>, Error> {
        let todo = self.settled.divide(conflicts);
        let mut told = Vec::new();
        if !todo.look.is_empty() {
            self.look_again(&todo.look).await;
            told.push(self.news(prompts::LOOKED));
        }
        let mut ask = todo.ask;
        // What a rule finds the same after a second look is not left to the model.
        let still = self.by_rule().into_iter();
        ask.extend(
            still.filter(|one| todo.look.iter().any(|looked| looked.between == one.between)),
        );
        for conflict in ask {
            let decided = self.decision(&conflict).await?;
            self.settled.decided(&conflict);
            told.push(decided);
        }
        Ok(told)
    }

    /// Those who contradict one another look again, each once, side by side.
    async fn look_again(&mut self, conflicts: &[Conflict]) {
        let mut running: Vec<(String, Started)> = Vec::new();
        for conflict in conflicts {
            for id in &conflict.between {
                let Some(part) = self.parts.get(id) else {
                    continue;
                };
                if running.iter().any(|(looking, _)| looking == id) {
                    continue;
                }
                let places = [("goal", &*part.goal), ("about", &*conflict.about)];
                let goal = fill(prompts::LOOK_AGAIN, &places);
                let yours = self.parts.result(id).map(|own| sized(own, GIVEN_BYTES_MAX));
                let others = self.parts.others(id, &conflict.between);
                let context = json!({ "yours": yours, "others": others });
                running.push((id.clone(), self.start(part, &goal, context)));
            }
        }
        let (ids, futures): (Vec<String>, Vec<_>) = running.into_iter().unzip();
        let ended = agent::join_all(futures).await;
        for (id, ended) in ids.into_iter().zip(ended) {
            self.parts.end(&id, ended);
        }
    }

    /// What a person says about one.
    async fn decision(&self, conflict: &Conflict) -> Result<String, Error> {
        let results: serde_json::Map<String, Value> = conflict
            .between
            .iter()
            .filter_map(|id| Some((id.clone(), sized(self.parts.result(id)?, PAYLOAD_BYTES_MAX))))
            .collect();
        let about = cut_end(&conflict.about, 1_000);
        let text = fill(prompts::QUESTION, &[("about", &about)]);
        let mut choices: Vec<&str> = conflict.between.iter().map(String::as_str).collect();
        choices.truncate(15);
        choices.push(NONE);
        let payload = json!({ "about": about, "results": results });
        let asked = agent::ask_about(&text, &choices, Some(&payload), Some(self.bounds.patience));
        let decision = asked.await.map_err(|error| match error {
            Error::Transient { .. } => {
                Error::escalate(format!("nobody decided about a contradiction: {about}"))
            }
            other => other,
        })?;
        let note = decision.note.filter(|note| !note.is_empty());
        let note = note.map_or(String::new(), |note| format!("\nThey added: {note}"));
        let places = [
            ("about", &*about),
            ("choice", &*decision.choice),
            ("note", &*note),
        ];
        Ok(fill(prompts::DECIDED, &places))
    }

    /// Keeps what was reached: as the state `reached`, and as a record.
    async fn keep(&self, error: &Error) {
        let ended = cut_end(&error.to_string(), 1_000);
        keep(
            &json!({ "ended": ended, "rounds": self.round, "spent": self.chat.spent(),
            "parts": self.parts.reached() }),
        )
        .await;
    }
}

impl Queue for Work {
    type Key = String;

    fn begin(&mut self) -> Option<(String, Started)> {
        let part = self.parts.begin()?;
        let started = self.start(&part, &part.goal, json!({}));
        Some((part.id, started))
    }

    fn end(&mut self, id: String, ended: Result<Value, Error>) {
        self.parts.end(&id, ended);
    }
}
