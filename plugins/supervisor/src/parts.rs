//! The parts: who does them, and what came of each.

use airlock_patterns::{sized, text};
use airlock_sdk::agent::{self, PlanTask, TaskState};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, cut_end, cut_middle};
use serde_json::{Map, Value, json};

use crate::form::NewPart;

/// Of one result that the model sees, and of one that another specialist sees.
const TOLD_BYTES_MAX: usize = 12 << 10;
const GIVEN_BYTES_MAX: usize = 32 << 10;
/// Of all that the model is told at once.
const TOLD_ALL_BYTES_MAX: usize = 96 << 10;
const TITLE_BYTES_MAX: usize = 200;
const KEPT_BYTES_MAX: usize = 300;

/// What became of a part.
#[derive(Clone, Debug, PartialEq)]
enum State {
    Todo,
    Doing,
    Done(Value),
    Failed(String),
}

struct Part {
    new: NewPart,
    state: State,
    /// How looking again failed, where it did; what was given before stays.
    again_failed: Option<String>,
    /// The model knows what came of it.
    told: bool,
}

/// All parts, in the order they were given out.
pub(crate) struct Parts {
    all: Vec<Part>,
    most: usize,
    /// Pieces of data so far.
    data: usize,
}

impl Parts {
    pub(crate) fn new(most: usize) -> Self {
        let (all, data) = (Vec::new(), 0);
        Self { all, most, data }
    }

    /// How many more there may be.
    pub(crate) fn left(&self) -> usize {
        self.most.saturating_sub(self.all.len())
    }

    pub(crate) fn knows(&self, id: &str) -> bool {
        self.all.iter().any(|part| part.new.id == id)
    }

    pub(crate) fn is_done(&self, id: &str) -> bool {
        self.result(id).is_some()
    }

    pub(crate) fn any_done(&self) -> bool {
        self.results().next().is_some()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&NewPart> {
        let mut all = self.all.iter();
        all.find(|part| part.new.id == id).map(|part| &part.new)
    }

    pub(crate) fn result(&self, id: &str) -> Option<&Value> {
        self.results()
            .find_map(|(of, result)| (of == id).then_some(result))
    }

    /// What was given, by part.
    pub(crate) fn results(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.all.iter().filter_map(|part| match &part.state {
            State::Done(result) => Some((&*part.new.id, result)),
            _ => None,
        })
    }

    pub(crate) fn add(&mut self, new: Vec<NewPart>) {
        let part = |new| Part {
            new,
            state: State::Todo,
            again_failed: None,
            told: false,
        };
        self.all.extend(new.into_iter().map(part));
        self.publish();
    }

    /// The next part that nobody does yet; somebody does it with that.
    pub(crate) fn begin(&mut self) -> Option<NewPart> {
        let part = self.all.iter_mut().find(|part| part.state == State::Todo)?;
        part.state = State::Doing;
        let new = part.new.clone();
        self.publish();
        Some(new)
    }

    /// What came of one, for the first time or by looking again.
    pub(crate) fn end(&mut self, id: &str, ended: Result<Value, Error>) {
        let Some(part) = self.all.iter_mut().find(|part| part.new.id == id) else {
            return;
        };
        part.told = false;
        match (ended, &part.state) {
            (Ok(result), _) => part.state = State::Done(result),
            (Err(error), State::Done(_)) => {
                part.again_failed = Some(cut_end(&error.to_string(), TOLD_BYTES_MAX));
            }
            (Err(error), _) => {
                part.state = State::Failed(cut_end(&error.to_string(), TOLD_BYTES_MAX));
            }
        }
        self.publish();
    }

    /// What those who look again see of others.
    pub(crate) fn others(&self, id: &str, between: &[String]) -> Map<String, Value> {
        let others = between.iter().filter(|other| *other != id);
        let of = |id: &String| Some((id.clone(), sized(self.result(id)?, GIVEN_BYTES_MAX)));
        others.filter_map(of).collect()
    }

    /// What the model does not know yet.
    pub(crate) fn news(&mut self) -> String {
        let new = self.all.iter().filter(|part| !part.told).count();
        let bytes_max = TOLD_BYTES_MAX.min(TOLD_ALL_BYTES_MAX / new.max(1));
        let mut lines = Vec::new();
        for part in self.all.iter_mut().filter(|part| !part.told) {
            part.told = true;
            let (what, about) = match (&part.state, &part.again_failed) {
                (State::Done(result), None) => ("done", text(result)),
                (State::Done(_), Some(why)) => {
                    ("its result stays; looking again failed", why.clone())
                }
                (State::Failed(why), _) => ("failed", why.clone()),
                (State::Todo | State::Doing, _) => continue,
            };
            self.data += 1;
            let data = prompt::data(&cut_middle(&about, bytes_max), self.data);
            let by = &part.new.specialist;
            lines.push(format!("`{}` by {by}: {what}\n{data}", part.new.id));
        }
        lines.join("\n")
    }

    /// How far all is, for people.
    fn publish(&self) {
        let part = |part: &Part| PlanTask {
            title: cut_end(
                &format!("{}: {}", part.new.specialist, part.new.goal),
                TITLE_BYTES_MAX,
            ),
            state: match part.state {
                State::Todo => TaskState::Todo,
                State::Doing => TaskState::Doing,
                State::Done(_) => TaskState::Done,
                State::Failed(_) => TaskState::Failed,
            },
        };
        let parts: Vec<PlanTask> = self.all.iter().map(part).collect();
        agent::plan(&parts);
    }

    /// What was reached, cut to what is kept.
    pub(crate) fn reached(&self) -> Vec<Value> {
        let one = |part: &Part| {
            let (state, about) = match &part.state {
                State::Todo => ("todo", String::new()),
                State::Doing => ("doing", String::new()),
                State::Done(result) => ("done", text(result)),
                State::Failed(why) => ("failed", why.clone()),
            };
            let about = cut_end(&about.replace(char::is_control, " "), KEPT_BYTES_MAX);
            json!({ "id": part.new.id, "specialist": part.new.specialist, "state": state, "about": about })
        };
        self.all.iter().map(one).collect()
    }
}
