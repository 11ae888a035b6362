//! A run: what it is given is looked at whole, before any step begins.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use airlock_sdk::agent::{self, Outcome};
use airlock_sdk::prelude::*;
use airlock_workflow::{Action, Block, Step, Workflow, time};
use serde_json::{Value, json};

use crate::block::{Run, steps};
use crate::fail::Fail;
use crate::plan::Plan;
use crate::pool::{Pool, Stop};
use crate::state::{Knows, Status};
use crate::{Input, dry};

/// Problems that an error names.
const TOLD_MAX: usize = 30;
/// As many tools as the host tells of at most.
const TOOLS_MAX: usize = 1_000;

pub(crate) async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
    let flow = read(&input.workflow)?;
    let about = about(&input)?;
    let mut inputs = Value::Object(input.inputs.clone());
    let schema = flow.main.input();
    schema.fill(&mut inputs);
    refused(schema.problems(&inputs, "inputs"))?;
    let knows = Knows::new(&flow.main, inputs, &about);
    let runs = selected(&flow.main, &input)?;
    for (index, step) in flow.main.steps.iter().enumerate() {
        if !runs.contains(&index) {
            match input.given.get(&step.id) {
                Some(output) => knows.set(index, Status::Done, output.clone(), None),
                None => knows.leave_out(index),
            }
        }
    }
    let missing = missing(&flow, &runs);
    if input.dry_run {
        return Outcome::done(&dry::told(&flow, &knows, &runs, &missing));
    }
    if !missing.is_empty() {
        let tools: Vec<String> = missing.iter().map(|tool| format!("`{tool}`")).collect();
        let rule = missing
            .iter()
            .map(|tool| format!("{{ tool = \"{tool}\" }}"));
        let rule = format!(
            "tools = [{}], and the plugin installed",
            rule.collect::<Vec<_>>().join(", ")
        );
        return Err(Error::denied(
            "tools",
            format!("call {}", tools.join(", ")),
            rule,
        ));
    }
    let run = Run {
        flow: &flow,
        about: &about,
        pool: Pool::new(flow.parallel),
        kept: Cell::new(0),
    };
    let plan = Plan::new(&flow.main);
    let ended = steps(&run, &knows, &Stop::default(), Some(&plan)).await;
    match ended.result {
        Ok(outputs) => Outcome::done(&outputs),
        Err(Fail::Error(error)) => Err(error),
        Err(Fail::Stopped | Fail::Skipped) => Err(Error::permanent("the workflow was stopped")),
    }
}

fn refused(problems: Vec<String>) -> Result<(), Error> {
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::invalid_input(problems.join("\n"))),
    }
}

/// The workflow, checked.
fn read(given: &Value) -> Result<Workflow, Error> {
    let checked = match given {
        Value::String(text) => airlock_workflow::check(text).map_err(|problems| {
            let problems = problems.iter();
            problems
                .map(|problem| format!("workflow:{problem}"))
                .collect::<Vec<_>>()
        }),
        Value::Object(_) => airlock_workflow::check_value(given),
        _ => Err(vec![
            "workflow: the text of a workflow, or an object, is needed".to_owned(),
        ]),
    };
    checked.map_err(|problems| {
        let more = problems.len().saturating_sub(TOLD_MAX);
        let mut lines: Vec<String> = problems.into_iter().take(TOLD_MAX).collect();
        if more > 0 {
            lines.push(format!(
                "and {more} more: `airlock workflow check` tells all"
            ));
        }
        Error::invalid_input(lines.join("\n"))
    })
}

/// What expressions see of the run.
fn about(input: &Input) -> Result<Value, Error> {
    let started = time::rfc3339(agent::now());
    let moment = |what: &str, text: &str| {
        let read = time::moment(text).map(time::rfc3339);
        read.map_err(|error| Error::invalid_input(format!("{what}: {error}")))
    };
    let logical = match (&input.logical_time, &input.interval) {
        (Some(text), _) => moment("logical_time", text)?,
        (None, Some(interval)) => moment("interval.start", &interval.start)?,
        (None, None) => started.clone(),
    };
    let (start, end) = match &input.interval {
        Some(interval) => (
            moment("interval.start", &interval.start)?,
            moment("interval.end", &interval.end)?,
        ),
        None => (logical.clone(), logical.clone()),
    };
    if time::moment(&start) > time::moment(&end) {
        return Err(Error::invalid_input("interval: it ends before it starts"));
    }
    Ok(
        json!({ "started": started, "logical_time": logical, "interval": { "start": start, "end": end } }),
    )
}

/// The steps that run.
fn selected(block: &Block, input: &Input) -> Result<BTreeSet<usize>, Error> {
    let place = |what: &str, name: &String| {
        let no_step = || Error::invalid_input(format!("{what}: the workflow has no step `{name}`"));
        block.step(name).ok_or_else(no_step)
    };
    let mut runs = BTreeSet::new();
    for name in &input.only {
        runs.insert(place("only", name)?);
    }
    for name in &input.from {
        runs.insert(place("from", name)?);
    }
    let from: BTreeSet<usize> = input
        .from
        .iter()
        .filter_map(|name| block.step(name))
        .collect();
    runs.extend(after(block, from));
    if input.only.is_empty() && input.from.is_empty() {
        runs = (0..block.steps.len()).collect();
    }
    for name in input.given.keys() {
        let index = place("given", name)?;
        if runs.contains(&index) {
            let message =
                format!("given.{name}: the step runs: say in `only` or `from` which steps do");
            return Err(Error::invalid_input(message));
        }
    }
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    for step in runs.iter().map(|index| &block.steps[*index]) {
        for need in step.needs.iter().filter(|need| !runs.contains(need)) {
            let id = block.steps[*need].id.as_str();
            if !input.given.contains_key(id) {
                wanted.insert(id, &step.id);
            }
        }
    }
    let wanted = wanted.iter().map(|(id, by)| {
        format!("given.{id}: `{by}` comes after this step: give its output, or run it too")
    });
    refused(wanted.collect())?;
    Ok(runs)
}

/// These and all that come after them.
fn after(block: &Block, mut found: BTreeSet<usize>) -> BTreeSet<usize> {
    loop {
        let before = found.len();
        let next = block.steps.iter().enumerate();
        let next: Vec<usize> = next
            .filter(|(_, step)| step.needs.iter().any(|need| found.contains(need)))
            .map(|(index, _)| index)
            .collect();
        found.extend(next);
        if found.len() == before {
            return found;
        }
    }
}

/// The tools that would be called and are not granted, or not there.
fn missing(flow: &Workflow, runs: &BTreeSet<usize>) -> Vec<String> {
    let mut wanted = BTreeSet::new();
    let mut known: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&Step> = runs.iter().map(|index| &flow.main.steps[*index]).collect();
    while let Some(step) = open.pop() {
        let undo = step.compensate.iter().map(|undo| &undo.action);
        for action in undo.chain([&step.action]) {
            match action {
                Action::Tool { tool, .. } => {
                    wanted.insert(tool.clone());
                }
                Action::Workflow { name, .. } if known.insert(name) => {
                    open.extend(flow.blocks.get(name).iter().flat_map(|block| &block.steps));
                }
                _ => {}
            }
        }
    }
    if wanted.is_empty() {
        return Vec::new();
    }
    let granted: BTreeSet<String> = agent::tools().into_iter().map(|tool| tool.name).collect();
    match granted.len() >= TOOLS_MAX {
        true => Vec::new(),
        false => wanted
            .into_iter()
            .filter(|tool| !granted.contains(tool))
            .collect(),
    }
}
