//! What people see: a task for each step.

use std::cell::{Cell, RefCell};

use airlock_sdk::agent::{self, PlanTask, TaskState};
use airlock_workflow::Block;

use crate::state::Status;

const TITLE_CHARS_MAX: usize = 120;

/// The plan of a run.
pub(crate) struct Plan {
    titles: Vec<String>,
    shown: RefCell<Vec<TaskState>>,
    ended: Cell<usize>,
}

impl Plan {
    pub(crate) fn new(block: &Block) -> Self {
        let titles = block
            .steps
            .iter()
            .map(|step| step.title().chars().take(TITLE_CHARS_MAX).collect());
        Self {
            titles: titles.collect(),
            shown: RefCell::default(),
            ended: Cell::new(0),
        }
    }

    /// Publishes it, where something has changed.
    pub(crate) fn show(&self, status: &[Status]) {
        let states: Vec<TaskState> = status.iter().map(|status| state(*status)).collect();
        if *self.shown.borrow() == states {
            return;
        }
        let tasks = self.titles.iter().zip(&states);
        let tasks: Vec<PlanTask> = tasks
            .map(|(title, state)| PlanTask {
                title: title.clone(),
                state: *state,
            })
            .collect();
        agent::plan(&tasks);
        *self.shown.borrow_mut() = states;
        let ended = status.iter().filter(|status| status.has_ended()).count();
        if self.ended.replace(ended) != ended {
            let running = status
                .iter()
                .zip(&self.titles)
                .filter(|(status, _)| **status == Status::Running);
            let running: Vec<&str> = running.map(|(_, title)| title.as_str()).take(5).collect();
            agent::progress(ended as f64, Some(status.len() as f64), &running.join(", "));
        }
    }
}

fn state(status: Status) -> TaskState {
    match status {
        Status::Waiting => TaskState::Todo,
        Status::Running => TaskState::Doing,
        Status::Done => TaskState::Done,
        Status::Failed => TaskState::Failed,
        Status::Skipped | Status::UpstreamFailed => TaskState::Skipped,
    }
}
