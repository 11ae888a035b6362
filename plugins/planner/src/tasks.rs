//! The tasks: which can begin, and what came of them.

use airlock_patterns::{sized, text};
use airlock_sdk::agent::{self, PlanTask, TaskState};
use airlock_sdk::prelude::*;
use airlock_sdk::prompt::{self, cut_end, cut_middle};
use serde_json::{Map, Value, json};

use crate::form::NewTask;

/// Of one result that the model sees, and of one that a task is given.
const TOLD_BYTES_MAX: usize = 8 << 10;
const GIVEN_BYTES_MAX: usize = 32 << 10;
/// Of all that the model is told at once.
const TOLD_ALL_BYTES_MAX: usize = 96 << 10;
const TITLE_BYTES_MAX: usize = 200;
const KEPT_BYTES_MAX: usize = 200;
/// The last so many are kept: with all escapes they fit in the state.
const KEPT_MAX: usize = 100;

/// What became of a task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    Todo,
    Doing,
    Done(Value),
    Failed(String),
    /// One that it needs did not get done: which.
    Skipped(String),
}

struct Task {
    new: NewTask,
    state: State,
    /// The model knows what came of it.
    told: bool,
}

/// All tasks, in the order they were planned.
pub(crate) struct Tasks {
    all: Vec<Task>,
    most: usize,
    /// Pieces of data so far.
    data: usize,
}

impl Tasks {
    pub(crate) fn new(most: usize) -> Self {
        let (all, data) = (Vec::new(), 0);
        Self { all, most, data }
    }

    /// How many more there may be.
    pub(crate) fn left(&self) -> usize {
        self.most - self.all.len()
    }

    pub(crate) fn knows(&self, id: &str) -> bool {
        self.find(id).is_some()
    }

    pub(crate) fn is_done(&self, id: &str) -> bool {
        matches!(self.find(id), Some(task) if matches!(task.state, State::Done(_)))
    }

    fn find(&self, id: &str) -> Option<&Task> {
        self.all.iter().find(|task| task.new.id == id)
    }

    pub(crate) fn add(&mut self, new: Vec<NewTask>) {
        let task = |new| Task {
            new,
            state: State::Todo,
            told: false,
        };
        self.all.extend(new.into_iter().map(task));
        self.publish();
    }

    /// The next task that can begin; it has begun with that.
    pub(crate) fn begin(&mut self) -> Option<(usize, NewTask)> {
        let can = |task: &Task| {
            task.state == State::Todo && task.new.after.iter().all(|id| self.is_done(id))
        };
        let index = self.all.iter().position(can)?;
        self.all[index].state = State::Doing;
        self.publish();
        Some((index, self.all[index].new.clone()))
    }

    /// What came of one. Those that need one that was not done are left out.
    pub(crate) fn end(&mut self, index: usize, ended: Result<Value, Error>) {
        self.all[index].state = match ended {
            Ok(result) => State::Done(result),
            Err(error) => State::Failed(cut_end(&error.to_string(), TOLD_BYTES_MAX)),
        };
        while let Some((index, why)) = self.hopeless() {
            self.all[index].state = State::Skipped(why);
        }
        self.publish();
    }

    fn hopeless(&self) -> Option<(usize, String)> {
        let undone = |id: &&String| {
            let state = self.find(id).map(|task| &task.state);
            matches!(state, Some(State::Failed(_) | State::Skipped(_)))
        };
        let todo = self.all.iter().enumerate();
        let mut todo = todo.filter(|(_, task)| task.state == State::Todo);
        todo.find_map(|(index, task)| Some((index, task.new.after.iter().find(undone)?.clone())))
    }

    /// The results that a task needs, by task, each of a size.
    pub(crate) fn results_for(&self, new: &NewTask) -> Map<String, Value> {
        let of = |id: &String| match &self.find(id)?.state {
            State::Done(result) => Some((id.clone(), sized(result, GIVEN_BYTES_MAX))),
            _ => None,
        };
        new.after.iter().filter_map(of).collect()
    }

    /// The whole results of those that it needs, for the input of a tool.
    pub(crate) fn whole_results_for(&self, new: &NewTask) -> Value {
        let of = |id: &String| match &self.find(id)?.state {
            State::Done(result) => Some((id.clone(), result.clone())),
            _ => None,
        };
        Value::Object(new.after.iter().filter_map(of).collect())
    }

    /// What the model does not know yet.
    pub(crate) fn news(&mut self) -> String {
        let new = self.all.iter().filter(|task| !task.told).count();
        let bytes_max = TOLD_BYTES_MAX.min(TOLD_ALL_BYTES_MAX / new.max(1));
        let mut lines = Vec::new();
        for task in self.all.iter_mut().filter(|task| !task.told) {
            task.told = true;
            let (what, about) = match &task.state {
                State::Done(result) => ("done", text(result)),
                State::Failed(why) => ("failed", why.clone()),
                State::Skipped(why) => ("left out, since this one was not done", why.clone()),
                State::Todo | State::Doing => continue,
            };
            self.data += 1;
            let about = prompt::data(&cut_middle(&about, bytes_max), self.data);
            lines.push(format!("`{}`: {what}\n{about}", task.new.id));
        }
        lines.join("\n\n")
    }

    /// How far all is, for people.
    fn publish(&self) {
        let task = |task: &Task| PlanTask {
            title: cut_end(
                &format!("{}: {}", task.new.id, task.new.goal),
                TITLE_BYTES_MAX,
            ),
            state: match task.state {
                State::Todo => TaskState::Todo,
                State::Doing => TaskState::Doing,
                State::Done(_) => TaskState::Done,
                State::Failed(_) => TaskState::Failed,
                State::Skipped(_) => TaskState::Skipped,
            },
        };
        let tasks: Vec<PlanTask> = self.all.iter().map(task).collect();
        agent::plan(&tasks);
    }

    /// What was reached, cut to what is kept.
    pub(crate) fn reached(&self) -> Vec<Value> {
        let one = |task: &Task| {
            let (state, about) = match &task.state {
                State::Todo => ("todo", String::new()),
                State::Doing => ("doing", String::new()),
                State::Done(result) => ("done", text(result)),
                State::Failed(why) => ("failed", why.clone()),
                State::Skipped(why) => ("skipped", why.clone()),
            };
            let about = cut_end(&about.replace(char::is_control, " "), KEPT_BYTES_MAX);
            json!({ "id": task.new.id, "state": state, "about": about })
        };
        let left_out = self.all.len().saturating_sub(KEPT_MAX);
        self.all.iter().skip(left_out).map(one).collect()
    }
}
