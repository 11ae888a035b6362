//! What can be known to be wrong before anything runs: names that lead nowhere,
//! circles, values of the wrong kind.
//!
//! What must stay true: a workflow that passes has steps in an order in which each
//! comes after those that it needs, and sub-workflows that end.

mod graph;
mod kinds;

use std::collections::BTreeMap;

use crate::cel::Type;
use crate::limits::WORKFLOW_DEPTH_MAX;
use crate::model::{Action, OnError, Workflow};
use crate::problem::{Problems, instead, shown};
use crate::read::{BlockDraft, Draft, FileDraft, no_step};
use crate::template::{Expression, Template};

/// Which of a step's values an expression stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before it runs: `when`, `for_each`.
    Head,
    /// What it does.
    Body,
    /// Of its result.
    Result,
    /// Of its error.
    Error,
}

/// All values of a step that may have expressions.
fn parts(draft: &Draft) -> Vec<(Part, &Template)> {
    let step = &draft.step;
    let mut parts = Vec::new();
    parts.extend(step.for_each.iter().map(|over| (Part::Head, over)));
    of_action(&step.action, &mut |template| {
        parts.push((Part::Body, template))
    });
    parts.extend(step.output.iter().map(|output| (Part::Result, output)));
    if let Some(compensate) = &step.compensate {
        of_action(&compensate.action, &mut |template| {
            parts.push((Part::Result, template))
        });
    }
    if let OnError::Value(value) = &step.on_error {
        parts.push((Part::Error, value));
    }
    parts
}

fn of_action<'a>(action: &'a Action, each: &mut dyn FnMut(&'a Template)) {
    match action {
        Action::Tool { with, .. } | Action::Workflow { with, .. } | Action::Value(with) => {
            each(with)
        }
        Action::Agent(agent) => {
            each(&agent.goal);
            each(&agent.with);
        }
        Action::Model(model) => {
            model.system.iter().for_each(&mut *each);
            each(&model.prompt);
        }
        Action::Approval(approval) => {
            each(&approval.text);
            approval.payload.iter().for_each(&mut *each);
        }
        Action::Wait(crate::model::Wait::For(value) | crate::model::Wait::Until(value)) => {
            each(value)
        }
        Action::Wait(crate::model::Wait::Signal(_)) => {}
    }
}

fn expressions(draft: &Draft) -> Vec<&Expression> {
    let mut found = Vec::new();
    found.extend(&draft.step.when);
    for (_, template) in parts(draft) {
        template.expressions(&mut |expression| found.push(expression));
    }
    found
}

/// Checks a file and puts it together.
pub(crate) fn check(draft: FileDraft, problems: &mut Problems) -> Workflow {
    let FileDraft {
        mut workflow,
        main,
        blocks,
    } = draft;
    for block in blocks.values().chain([&main]) {
        ids(block, problems);
    }
    let order = nested(&main, &blocks, problems);
    let mut kinds: BTreeMap<&str, Type> = BTreeMap::new();
    let mut needs: BTreeMap<&str, Vec<Vec<usize>>> = BTreeMap::new();
    for name in order {
        if let Some((name, block)) = blocks.get_key_value(&name) {
            let settled = graph::needs(block, problems);
            let kind = kinds::block(block, &settled, &blocks, &kinds, problems);
            kinds.insert(name, kind);
            needs.insert(name, settled);
        }
    }
    let main_needs = graph::needs(&main, problems);
    kinds::block(&main, &main_needs, &blocks, &kinds, problems);
    let mut needs: BTreeMap<String, Vec<Vec<usize>>> = needs
        .into_iter()
        .map(|(name, needs)| (name.to_owned(), needs))
        .collect();
    workflow.main = main.settled(main_needs);
    let settled = blocks.into_iter().map(|(name, block)| {
        let needs = needs
            .remove(&name)
            .unwrap_or_else(|| vec![Vec::new(); block.steps.len()]);
        (name, block.settled(needs))
    });
    workflow.blocks = settled.collect();
    workflow
}

/// Names of steps that stand twice or lead nowhere.
fn ids(block: &BlockDraft, problems: &mut Problems) {
    let mut known: BTreeMap<&str, &Draft> = BTreeMap::new();
    for draft in &block.steps {
        let id = draft.step.id.as_str();
        if id.is_empty() {
            continue;
        }
        if let Some(first) = known.get(id) {
            let message = format!(
                "the id `{}` is taken by the step at {}: choose another one",
                shown(id),
                first.step.at
            );
            problems.add(draft.step.at, message);
        } else {
            known.insert(id, draft);
        }
    }
    for draft in &block.steps {
        for (name, at) in &draft.undoes {
            match known.get(name.as_str()) {
                None => problems.add(*at, no_step(name, &block.steps)),
                Some(other) if other.step.compensate.is_none() => {
                    problems.add(*at, format!("the step `{name}` has no `compensate`"));
                }
                Some(_) => {}
            }
        }
    }
}

/// The names of sub-workflows, each after those that it runs.
fn nested(
    main: &BlockDraft,
    blocks: &BTreeMap<String, BlockDraft>,
    problems: &mut Problems,
) -> Vec<String> {
    let mut nesting = Nesting {
        blocks,
        problems,
        order: Vec::new(),
        path: Vec::new(),
    };
    nesting.steps(main);
    for name in blocks.keys() {
        nesting.block(name);
    }
    nesting.order
}

struct Nesting<'a> {
    blocks: &'a BTreeMap<String, BlockDraft>,
    problems: &'a mut Problems,
    order: Vec<String>,
    path: Vec<String>,
}

impl Nesting<'_> {
    fn block(&mut self, name: &str) {
        if self.order.iter().any(|done| done == name) || self.path.len() > WORKFLOW_DEPTH_MAX {
            return;
        }
        if let Some(block) = self.blocks.get(name) {
            self.path.push(name.to_owned());
            self.steps(block);
            self.path.pop();
            self.order.push(name.to_owned());
        }
    }

    fn steps(&mut self, block: &BlockDraft) {
        for draft in &block.steps {
            let (Action::Workflow { name, .. }, Some(at)) = (&draft.step.action, draft.runs) else {
                continue;
            };
            if !self.blocks.contains_key(name) {
                let known = instead(name, self.blocks.keys().map(String::as_str));
                self.problems.add(
                    at,
                    format!("there is no sub-workflow `{}`: {known}", shown(name)),
                );
            } else if let Some(from) = self.path.iter().position(|open| open == name) {
                let path: Vec<String> = self.path[from..]
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect();
                let message = format!(
                    "{} runs `{name}` again, which would never end",
                    path.join(" runs ")
                );
                self.problems.add(at, message);
            } else if self.path.len() == WORKFLOW_DEPTH_MAX {
                let message =
                    format!("more than {WORKFLOW_DEPTH_MAX} sub-workflows inside one another");
                self.problems.add(at, message);
            } else {
                self.block(name);
            }
        }
    }
}
