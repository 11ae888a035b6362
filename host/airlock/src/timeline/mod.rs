//! A run as a person reads it: its journal, told step by step.
//!
//! What must stay true: the same records give the same text; each step stands
//! there once, where it began; what others wrote begins no line of its own and
//! nothing of it acts on a terminal; a record of a kind that is not known here
//! is shown as it is.

mod blocks;
mod words;

use std::collections::HashMap;

use serde_json::Value;

use crate::output::{cell, millionths, one_line, time};
pub use blocks::{way_on, why_blocked};
use words::{
    SHOWN_CHARS_MAX, answered, asked, budgeted, by, cut, ended, note, of_run, part, requested,
    set_aside, span, started, used, used_of_models,
};

/// What a record comes to, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The step it belongs to.
    pub step: Option<u64>,
    /// One line, safe for a terminal.
    pub text: String,
}

/// A step of a run.
#[derive(Debug, Default)]
struct Step {
    at_ms: u64,
    /// What was asked for.
    what: String,
    kind: String,
    /// What became of it, in order.
    then: Vec<String>,
    answered: bool,
    /// When a person was asked who has not decided.
    asked_ms: Option<u64>,
    /// Approvals that are still needed.
    needed: u64,
    /// It was asked for approval once.
    was_asked: bool,
}

impl Step {
    /// People are asked to approve it.
    fn is_asked(&mut self, at_ms: u64, terms: &Value) -> String {
        self.asked_ms = Some(at_ms);
        self.needed = terms["approvers"].as_u64().unwrap_or(1);
        asked(terms, std::mem::replace(&mut self.was_asked, true))
    }
}

/// In the order of the journal.
#[derive(Debug)]
enum Entry {
    Step(u64),
    Other(u64, String),
}

/// A run's journal so far.
#[derive(Debug, Default)]
pub struct Timeline {
    entries: Vec<Entry>,
    steps: HashMap<u64, Step>,
    /// Titles and states.
    plan: Vec<(String, String)>,
    progress: Option<String>,
    started_ms: u64,
    last_ms: u64,
    /// Records.
    len: u64,
    calls: u64,
    /// Of language models.
    tokens: u64,
    /// Of language models, millionths of the host's currency.
    micros: u64,
    budget: Value,
    blocks: blocks::Blocks,
    end: Option<Value>,
}

impl Timeline {
    /// Of these records, oldest first.
    pub fn of(records: &[Value]) -> Self {
        let mut timeline = Self::default();
        for record in records {
            timeline.apply(record);
        }
        timeline
    }

    /// Goes on by one record; gives what is new about it, if that is worth a line.
    pub fn apply(&mut self, record: &Value) -> Vec<Happening> {
        let at_ms = record["at_ms"].as_u64().unwrap_or_default();
        if self.len == 0 {
            self.started_ms = at_ms;
        }
        self.len += 1;
        self.last_ms = at_ms;
        self.blocks.apply(record);
        self.tokens += record["used"]["model_tokens"].as_u64().unwrap_or_default();
        self.micros += record["used"]["model_micros"].as_u64().unwrap_or_default();
        let step = record["id"].as_u64();
        let texts = match record["event"].as_str().unwrap_or_default() {
            "started" => {
                self.budget = record["budget"].clone();
                vec![started(record)]
            }
            "requested" => return vec![self.requested(record, at_ms)],
            "noted" if record["note"] == "plan" => self.planned(record),
            "noted" => vec![self.noted(record)],
            "budgeted" => {
                let before = std::mem::replace(&mut self.budget, record["budget"].clone());
                vec![format!(
                    "{} {}",
                    by(record),
                    budgeted(&before, &self.budget)
                )]
            }
            "recorded" => return vec![self.recorded(record, at_ms)],
            "woke" | "begun" | "used" => Vec::new(),
            // The last line of all says it.
            "ended" => {
                let mut end = record["end"].clone();
                if let Some(unknown) = record.get("unknown") {
                    end["unknown"] = unknown.clone();
                }
                let text = ended(&end);
                self.end = Some(end);
                return vec![Happening { at_ms, step, text }];
            }
            "blocked" if record["why"]["because"] == "unknown-outcome" => {
                let step = record["why"]["id"].as_u64();
                let text = format!(
                    "! nobody knows the outcome: {}",
                    part(record, &["why", "detail"])
                );
                return self.happened(at_ms, step, vec![text]);
            }
            _ => vec![match step.is_some_and(|id| self.steps.contains_key(&id)) {
                true => self.of_step(record, at_ms),
                false => of_run(record),
            }],
        };
        self.happened(at_ms, step, texts)
    }

    /// Whether it waits for a person, as far as the records tell: a step of it
    /// does, or it is blocked.
    pub fn asks(&self) -> bool {
        let mut steps = self.steps.values();
        self.blocks.any() || steps.any(|step| !step.answered && step.asked_ms.is_some())
    }

    /// How it ended.
    pub fn end(&self) -> Option<&Value> {
        self.end.as_ref()
    }

    /// What it is at and what it used, in one line.
    pub fn status(&self) -> String {
        let mut open: Vec<(&u64, &Step)> = self.steps.iter().collect();
        open.retain(|(_, step)| !step.answered);
        open.sort_by_key(|(id, _)| **id);
        let at: Vec<String> = open
            .iter()
            .take(3)
            .map(|(id, step)| format!("#{id} {}", cut(&step.what, 40)))
            .collect();
        let more = open.len().saturating_sub(at.len());
        let doing = self.plan.iter().find(|(_, state)| state == "doing");
        let parts = [
            doing.map(|(title, _)| cut(title, 40)),
            (!at.is_empty()).then(|| at.join(", ")),
            (more > 0).then(|| format!("and {more} more")),
            self.progress.clone(),
            Some(self.spent()),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }

    /// What it used of its budget.
    pub fn spent(&self) -> String {
        let of = |name: &str| match self.budget[name].as_u64() {
            Some(limit) => format!(" of {limit}"),
            None => String::new(),
        };
        let mut spent = format!(
            "{}{} calls, {}{} records",
            self.calls,
            of("calls"),
            self.len,
            of("events")
        );
        if self.tokens > 0 {
            spent.push_str(&format!(", {}{} tokens", self.tokens, of("model_tokens")));
        }
        if self.micros > 0 {
            spent.push_str(&format!(", cost {}", millionths(self.micros)));
        }
        spent
    }

    /// All of it; `run` is what the API tells of the run.
    pub fn text(&self, run: &Value) -> String {
        let mut lines = self.head(run);
        lines.push(String::new());
        for entry in &self.entries {
            match entry {
                Entry::Other(at_ms, text) => lines.push(format!("{}  {text}", time(*at_ms))),
                Entry::Step(id) => {
                    let step = &self.steps[id];
                    lines.push(format!("{}  #{id} {}", time(step.at_ms), step.what));
                    let then = step.then.iter();
                    lines.extend(then.map(|text| format!("{:>22}  {text}", "")));
                }
            }
        }
        lines.push(String::new());
        lines.push(self.foot(run));
        lines.join("\n")
    }

    fn head(&self, run: &Value) -> Vec<String> {
        let name = |name: &str| one_line(&cell(run, name));
        let mut lines = vec![format!(
            "{} · {} · {}",
            name("id"),
            name("agent"),
            status(run)
        )];
        let mut row = |label: &str, text: String| {
            if !text.is_empty() && text != "-" {
                lines.push(format!("  {label:<9} {text}"));
            }
        };
        row("goal", name("goal"));
        row("input", cut(&run["input"].to_string(), SHOWN_CHARS_MAX));
        let by = format!(
            "{} by {}, {}",
            time(self.started_ms),
            name("by"),
            name("autonomy")
        );
        row("started", by);
        row("component", name("digest"));
        row("continues", name("continues"));
        row("child of", name("parent"));
        let from = &run["forked_from"];
        if from.is_object() {
            let (other, at) = (part(from, &["run"]), part(from, &["at"]));
            row("fork of", format!("{other} at #{at}"));
        }
        let children = run["children"].as_array().into_iter().flatten();
        for (n, child) in children.filter_map(Value::as_str).enumerate() {
            let label = if n == 0 { "children" } else { "" };
            row(label, one_line(child));
        }
        row("budget", self.spent());
        row("progress", self.progress.clone().unwrap_or_default());
        for (n, (title, state)) in self.plan.iter().enumerate() {
            let label = if n == 0 { "plan" } else { "" };
            row(label, format!("[{state}] {title}"));
        }
        lines
    }

    /// How it ended, or what it waits for.
    fn foot(&self, run: &Value) -> String {
        let after = span(self.last_ms.saturating_sub(self.started_ms));
        if let Some(end) = &self.end {
            return format!("{} after {after}", ended(end));
        }
        let held = halted(run).map(|by| format!("halted: {by}"));
        let blocked = run.get("blocked");
        let blocked = blocked.map(|why| format!("blocked: {}", why_blocked(why)));
        if held.is_some() || blocked.is_some() {
            return held
                .into_iter()
                .chain(blocked)
                .collect::<Vec<_>>()
                .join("; ");
        }
        let mut open: Vec<(&u64, &Step)> = self.steps.iter().collect();
        open.retain(|(_, step)| !step.answered);
        open.sort_by_key(|(id, _)| **id);
        let waits = open
            .iter()
            .map(|(id, step)| match step.asked_ms {
                Some(_) => format!(
                    "#{id}: airlock approvals show {}.{id}",
                    one_line(&cell(run, "id"))
                ),
                None => format!("#{id}"),
            })
            .collect::<Vec<_>>();
        match waits.is_empty() {
            true => format!(
                "{}; its last record is of {}",
                one_line(&cell(run, "status")),
                time(self.last_ms)
            ),
            false => format!("waits for {}", waits.join(", ")),
        }
    }

    fn happened(&mut self, at_ms: u64, step: Option<u64>, texts: Vec<String>) -> Vec<Happening> {
        let known = step.filter(|id| self.steps.contains_key(id));
        for text in &texts {
            match known.and_then(|id| self.steps.get_mut(&id)) {
                Some(step) => step.then.push(text.clone()),
                None => self.entries.push(Entry::Other(at_ms, text.clone())),
            }
        }
        let happening = |text| Happening {
            at_ms,
            step: known,
            text,
        };
        texts.into_iter().map(happening).collect()
    }

    fn requested(&mut self, record: &Value, at_ms: u64) -> Happening {
        let id = record["id"].as_u64().unwrap_or_default();
        let request = &record["request"];
        let kind = cell(request, "kind");
        // One that is refused for want of budget is none.
        let left = self.budget["calls"]
            .as_u64()
            .is_none_or(|most| self.calls < most);
        self.calls += u64::from(kind == "call" && left);
        let step = Step {
            at_ms,
            what: requested(request),
            asked_ms: (kind == "ask").then_some(at_ms),
            kind,
            ..Step::default()
        };
        self.began(id, step)
    }

    /// A step that begins here.
    fn began(&mut self, id: u64, step: Step) -> Happening {
        let (at_ms, text) = (step.at_ms, step.what.clone());
        self.steps.insert(id, step);
        self.entries.push(Entry::Step(id));
        Happening {
            at_ms,
            step: Some(id),
            text,
        }
    }

    /// A value that was kept: a step that is over.
    fn recorded(&mut self, record: &Value, at_ms: u64) -> Happening {
        let id = record["id"].as_u64().unwrap_or_default();
        let step = Step {
            at_ms,
            what: format!("keeps {}", part(record, &["value"])),
            answered: true,
            ..Step::default()
        };
        self.began(id, step)
    }

    /// A record about a step that is known.
    fn of_step(&mut self, record: &Value, at_ms: u64) -> String {
        let id = record["id"].as_u64().unwrap_or_default();
        let Some(step) = self.steps.get_mut(&id) else {
            return String::new();
        };
        let waited = |step: &Step| {
            let asked = step.asked_ms.unwrap_or(step.at_ms);
            span(at_ms.saturating_sub(asked))
        };
        match record["event"].as_str().unwrap_or_default() {
            "approval-asked" => step.is_asked(at_ms, &record["terms"]),
            "question-escalated" => {
                let due = record["due_ms"].as_u64().map(time).unwrap_or_default();
                let role = part(record, &["role"]);
                format!("! nobody decided in time: {role} decides, until {due}")
            }
            "withheld" => "not made: the run only observes".to_owned(),
            "approved" => {
                let text = format!(
                    "{} approved after {}{}",
                    by(record),
                    waited(step),
                    note(record)
                );
                step.needed = step.needed.saturating_sub(1);
                if step.needed == 0 {
                    step.asked_ms = None;
                }
                text
            }
            "retried" => {
                let wait = record["after_ms"].as_u64().unwrap_or_default();
                let wait = span(wait.saturating_sub(at_ms));
                let attempt = part(record, &["attempt"]);
                format!(
                    "↻ attempt {attempt} after {wait}: {}",
                    part(record, &["why"])
                )
            }
            "answered" => {
                step.answered = true;
                let took = span(at_ms.saturating_sub(step.at_ms));
                let by = record["by"].as_str().unwrap_or_default();
                let told = answered(&step.kind, &record["answer"], by);
                let used = match step.kind.as_str() {
                    "start" => used(&record["used"]),
                    _ => used_of_models(&record["used"]),
                };
                format!("{told} ({took}{used})")
            }
            "reserved" => set_aside(&record["spent"]),
            "cancel-asked" => "the agent asked for it to end".to_owned(),
            "detached" => {
                let ends = record["ends"] == true;
                let kind = step.kind.as_str();
                let waits = ends && matches!(kind, "timer" | "ask" | "signal");
                step.answered |= waits;
                // A model's request still tells what it took.
                match waits || (ends && matches!(kind, "chat" | "embed")) {
                    true => "the agent let go of it, which ends it".to_owned(),
                    false => "the agent let go of it, and it goes on".to_owned(),
                }
            }
            _ => of_run(record),
        }
    }

    /// Tasks whose state is another one.
    fn planned(&mut self, record: &Value) -> Vec<String> {
        let tasks = record["tasks"].as_array().into_iter().flatten();
        let plan = tasks.map(|task| {
            (
                one_line(&cell(task, "title")),
                one_line(&cell(task, "state")),
            )
        });
        let plan: Vec<(String, String)> = plan.collect();
        let new = plan.iter().filter(|task| !self.plan.contains(task));
        let texts = new.map(|(title, state)| format!("plan [{state}] {title}"));
        let texts = texts.collect();
        self.plan = plan;
        texts
    }

    fn noted(&mut self, record: &Value) -> String {
        let message = part(record, &["message"]);
        if record["note"] != "progress" {
            return format!("{} {message}", one_line(&cell(record, "level")));
        }
        let total = record["total"].as_f64().map(|total| format!("/{total}"));
        let done = record["done"].as_f64().unwrap_or_default();
        let text = format!("{done}{} {message}", total.unwrap_or_default());
        self.progress = Some(text.clone());
        format!("progress {text}")
    }
}

/// What the kill switch holds of it, where it holds it.
fn halted(run: &Value) -> Option<String> {
    let parts = run["halted"].as_array().into_iter().flatten();
    let parts: Vec<String> = parts.filter_map(Value::as_str).map(one_line).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Where it stands.
fn status(run: &Value) -> String {
    match halted(run) {
        Some(_) => "halted".to_owned(),
        None => one_line(&cell(run, "status")),
    }
}

#[cfg(test)]
mod tests;
