//! What a workflow knows while it runs: how its steps ended.

use std::cell::RefCell;
use std::collections::BTreeSet;

use airlock_sdk::prelude::*;
use airlock_workflow::{Block, Scope, Template, Trigger};
use serde_json::{Map, Value, json};

use crate::undo::Undo;

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Waiting,
    Running,
    Done,
    Failed,
    Skipped,
    /// A step that it needs has failed.
    UpstreamFailed,
}

impl Status {
    pub(crate) fn has_ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::UpstreamFailed => "upstream_failed",
        }
    }
}

/// What became of a step: whether it may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    NotYet,
    Begins,
    /// It never will.
    Ends(Status),
}

/// Whether a step begins, by how those that it needs have ended.
pub(crate) fn due(trigger: Trigger, needs: &[Status]) -> Due {
    if needs.iter().any(|status| !status.has_ended()) {
        return Due::NotYet;
    }
    let any = |wanted: fn(&Status) -> bool| needs.iter().any(wanted);
    let failed = any(|status| matches!(status, Status::Failed | Status::UpstreamFailed));
    let skipped = any(|status| *status == Status::Skipped);
    let done = any(|status| *status == Status::Done);
    let otherwise = match failed {
        true => Due::Ends(Status::UpstreamFailed),
        false => Due::Ends(Status::Skipped),
    };
    let begins = match trigger {
        Trigger::AllSuccess => !failed && !skipped,
        Trigger::AllDone => true,
        Trigger::NoneFailed => !failed,
        Trigger::OneSuccess => done || needs.is_empty(),
        // Nothing has failed: nothing is to be done about it.
        Trigger::OneFailed if !failed => return Due::Ends(Status::Skipped),
        Trigger::OneFailed => true,
    };
    if begins { Due::Begins } else { otherwise }
}

/// What one run of a workflow's steps knows.
pub(crate) struct Knows<'w> {
    pub(crate) block: &'w Block,
    pub(crate) input: Value,
    /// What expressions see of the run.
    pub(crate) about: &'w Value,
    steps: RefCell<Value>,
    status: RefCell<Vec<Status>>,
    /// Steps that this run does without, and nobody gave the outputs of.
    left_out: RefCell<BTreeSet<String>>,
    /// What undoes what was done, in the order it was done.
    pub(crate) undo: RefCell<Vec<Undo<'w>>>,
}

impl<'w> Knows<'w> {
    pub(crate) fn new(block: &'w Block, input: Value, about: &'w Value) -> Self {
        let waiting = block
            .steps
            .iter()
            .map(|step| (step.id.clone(), entry(Status::Waiting, Value::Null, None)));
        Self {
            block,
            input,
            about,
            steps: RefCell::new(Value::Object(waiting.collect::<Map<_, _>>())),
            status: RefCell::new(vec![Status::Waiting; block.steps.len()]),
            left_out: RefCell::default(),
            undo: RefCell::default(),
        }
    }

    pub(crate) fn status(&self, step: usize) -> Status {
        self.status.borrow()[step]
    }

    pub(crate) fn all(&self) -> Vec<Status> {
        self.status.borrow().clone()
    }

    pub(crate) fn due(&self, step: usize) -> Due {
        let status = self.status.borrow();
        let needs = &self.block.steps[step].needs;
        let needs: Vec<Status> = needs.iter().map(|need| status[*need]).collect();
        due(self.block.steps[step].trigger, &needs)
    }

    pub(crate) fn set(&self, step: usize, status: Status, output: Value, error: Option<&Error>) {
        self.status.borrow_mut()[step] = status;
        if let Value::Object(steps) = &mut *self.steps.borrow_mut() {
            let id = self.block.steps[step].id.clone();
            steps.insert(id, entry(status, output, error));
        }
    }

    /// A step is none of this run.
    pub(crate) fn leave_out(&self, step: usize) {
        self.set(step, Status::Skipped, Value::Null, None);
        let id = self.block.steps[step].id.clone();
        self.left_out.borrow_mut().insert(id);
    }

    /// Whether a value looks at a step that is none of this run.
    pub(crate) fn lacks(&self, value: &Template) -> bool {
        let left_out = self.left_out.borrow();
        !left_out.is_empty() && value.steps().iter().any(|id| left_out.contains(id))
    }

    /// What a step gave.
    pub(crate) fn output(&self, step: usize) -> Value {
        self.steps.borrow()[&self.block.steps[step].id]["output"].clone()
    }

    /// Looks at values with what expressions see: this and `more`.
    pub(crate) fn with<T>(&self, more: &[(&str, &Value)], look: impl FnOnce(&Scope<'_>) -> T) -> T {
        let steps = self.steps.borrow();
        let scope = Scope::new()
            .with("input", &self.input)
            .with("run", self.about)
            .with("steps", &steps);
        let scope = more
            .iter()
            .fold(scope, |scope, (name, value)| scope.with(name, value));
        look(&scope)
    }
}

/// What expressions see of a step.
fn entry(status: Status, output: Value, error: Option<&Error>) -> Value {
    json!({ "status": status.word(), "output": output, "error": error.map(told) })
}

/// What expressions see of an error.
pub(crate) fn told(error: &Error) -> Value {
    let message = error.to_string();
    let prefix = format!("{}: ", error.code());
    json!({ "code": error.code(), "message": message.strip_prefix(&prefix).unwrap_or(&message) })
}

#[cfg(test)]
mod tests {
    use super::Status::{Done, Failed, Running, Skipped, UpstreamFailed};
    use super::*;

    #[test]
    fn triggers_decide_by_how_the_steps_before_ended() {
        use Trigger::{AllDone, AllSuccess, NoneFailed, OneFailed, OneSuccess};
        let begins = Due::Begins;
        let (skips, upstream) = (Due::Ends(Skipped), Due::Ends(UpstreamFailed));
        // Each trigger's answer, in this order.
        let triggers = [AllSuccess, AllDone, NoneFailed, OneSuccess, OneFailed];
        for (needs, expect) in [
            (vec![], [begins, begins, begins, begins, skips]),
            (vec![Running, Failed], [Due::NotYet; 5]),
            (vec![Done, Done], [begins, begins, begins, begins, skips]),
            (vec![Done, Skipped], [skips, begins, begins, begins, skips]),
            (vec![Skipped], [skips, begins, begins, skips, skips]),
            (
                vec![Done, Failed],
                [upstream, begins, upstream, begins, begins],
            ),
            (
                vec![Failed, Skipped],
                [upstream, begins, upstream, upstream, begins],
            ),
            (
                vec![UpstreamFailed],
                [upstream, begins, upstream, upstream, begins],
            ),
        ] {
            let found = triggers.map(|trigger| due(trigger, &needs));
            assert_eq!(found, expect, "{needs:?}");
        }
    }
}
