//! A workflow's steps: each begins once those that it needs have ended, side by
//! side with all others that may.
//!
//! What must stay true: steps begin in the order of the file; once one has failed
//! for good no other begins, those under way are stopped and waited for, and only
//! then is undone what was done.

use std::cell::Cell;

use airlock_sdk::prelude::*;
use airlock_workflow::limits::OUTPUTS_BYTES_MAX;
use airlock_workflow::{Block, Cost, OnError, Workflow, time};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::{Map, Value};

use crate::act::bounded;
use crate::fail::{Fail, of_step, unknown};
use crate::item::Doing;
use crate::plan::Plan;
use crate::pool::{Pool, Stop};
use crate::state::{Due, Knows, Status};
use crate::undo::{Undo, told, undo};

/// JSON inside JSON: as deep as the host reads it.
const DEPTH_MAX: usize = 120;

/// What all workflows of a run share.
pub(crate) struct Run<'w> {
    pub(crate) flow: &'w Workflow,
    /// What expressions see of it.
    pub(crate) about: &'w Value,
    pub(crate) pool: Pool,
    pub(crate) kept: Cell<usize>,
}

impl Run<'_> {
    /// Notes that an output is kept.
    pub(crate) fn kept(&self, output: &Value) -> Result<(), Error> {
        if is_deeper(output, DEPTH_MAX) {
            return Err(Error::limit(
                "output",
                format!("{DEPTH_MAX} lists and maps inside one another"),
            ));
        }
        let kept = self.kept.get().saturating_add(output.to_string().len());
        if kept > OUTPUTS_BYTES_MAX {
            return Err(Error::limit(
                "all outputs of a run",
                format!("{OUTPUTS_BYTES_MAX} bytes"),
            ));
        }
        self.kept.set(kept);
        Ok(())
    }
}

fn is_deeper(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth == 0 || items.iter().any(|item| is_deeper(item, depth - 1)),
        Value::Object(members) => {
            depth == 0 || members.values().any(|member| is_deeper(member, depth - 1))
        }
        _ => false,
    }
}

/// How a workflow ended, and what undoes what it did and did not undo itself.
pub(crate) struct Ended<'w> {
    pub(crate) result: Result<Value, Fail>,
    pub(crate) undo: Vec<Undo<'w>>,
}

/// Why no further step begins.
struct Failure<'w> {
    fail: Fail,
    /// What is undone of what was done.
    undoes: Undoes<'w>,
}

enum Undoes<'w> {
    All,
    None,
    These(&'w [String]),
}

/// Runs a sub-workflow, or the main one.
pub(crate) async fn block<'w>(
    run: &Run<'w>,
    block: &'w Block,
    mut input: Value,
    stop: &Stop,
) -> Ended<'w> {
    let schema = block.input();
    schema.fill(&mut input);
    let problems = schema.problems(&input, "inputs");
    if !problems.is_empty() {
        let result = Err(Error::invalid_input(problems.join("\n")).into());
        return Ended {
            result,
            undo: Vec::new(),
        };
    }
    let knows = Knows::new(block, input, run.about);
    steps(run, &knows, stop, None).await
}

/// Runs the steps of a workflow that have not ended.
pub(crate) async fn steps<'w>(
    run: &Run<'w>,
    knows: &Knows<'w>,
    above: &Stop,
    plan: Option<&Plan>,
) -> Ended<'w> {
    let stop = above.below();
    let mut timed_out = None;
    let mut running = Box::pin(scheduled(run, knows, &stop, plan));
    let failure = match bounded(&mut running, knows.block.timeout, above).await {
        Ok(failure) => failure,
        Err(cut) => {
            timed_out = match Fail::from(cut) {
                Fail::Error(_) => knows.block.timeout,
                _ => None,
            };
            stop.say();
            running.await
        }
    };
    let failure = match (timed_out, failure) {
        // What had ended by then has.
        (
            Some(time),
            Some(Failure {
                fail: Fail::Stopped,
                ..
            }),
        ) => {
            let fail = Error::limit("timeout of the workflow", time::spelled(time)).into();
            Some(Failure {
                fail,
                undoes: Undoes::All,
            })
        }
        (_, failure) => failure,
    };
    ended(run, knows, above, failure).await
}

async fn ended<'w>(
    run: &Run<'w>,
    knows: &Knows<'w>,
    above: &Stop,
    failure: Option<Failure<'w>>,
) -> Ended<'w> {
    let log = knows.undo.take();
    let Some(Failure { fail, undoes }) = failure else {
        return match outputs(knows) {
            Ok(value) => Ended {
                result: Ok(value),
                undo: log,
            },
            Err(error) => failed(run, error, log).await,
        };
    };
    let error = match fail {
        Fail::Error(error) if !above.is_said() => error,
        // Whoever stopped it undoes it too.
        fail => {
            return Ended {
                result: Err(fail),
                undo: log,
            };
        }
    };
    let log = match undoes {
        Undoes::All => log,
        Undoes::None => Vec::new(),
        Undoes::These(names) => {
            let named = |one: &Undo<'_>| names.contains(&knows.block.steps[one.step].id);
            log.into_iter().filter(named).collect()
        }
    };
    failed(run, error, log).await
}

async fn failed<'w>(run: &Run<'w>, error: Error, log: Vec<Undo<'w>>) -> Ended<'w> {
    let (undone, left) = undo(run, log).await;
    let result = Err(told(error, &undone, &left).into());
    Ended {
        result,
        undo: Vec::new(),
    }
}

/// Begins steps and waits for them until none is left; why, where one has failed.
async fn scheduled<'w>(
    run: &Run<'w>,
    knows: &Knows<'w>,
    stop: &Stop,
    plan: Option<&Plan>,
) -> Option<Failure<'w>> {
    let mut running = FuturesUnordered::new();
    let mut failure: Option<Failure<'w>> = None;
    loop {
        if !stop.is_said() {
            for index in begin(knows) {
                let step = &knows.block.steps[index];
                let doing = Doing {
                    run,
                    knows,
                    index,
                    step,
                };
                running.push(async move { (index, doing.step(stop).await) });
            }
        }
        if let Some(plan) = plan {
            plan.show(&knows.all());
        }
        let Some((index, ended)) = running.next().await else {
            break;
        };
        if let Some(found) = settle(knows, index, ended) {
            stop.say();
            // The first that failed by itself is why.
            let replaces = failure
                .as_ref()
                .is_none_or(|failure| matches!(failure.fail, Fail::Stopped));
            if replaces {
                failure = Some(found);
            }
        }
    }
    let unfinished = knows.all().iter().any(|status| !status.has_ended());
    match failure {
        None if unfinished => Some(Failure {
            fail: Fail::Stopped,
            undoes: Undoes::All,
        }),
        failure => failure,
    }
}

/// The steps that begin now; those that never will are settled.
fn begin(knows: &Knows<'_>) -> Vec<usize> {
    let mut begins = Vec::new();
    let mut changed = true;
    while changed {
        changed = false;
        for index in 0..knows.block.steps.len() {
            if knows.status(index) != Status::Waiting {
                continue;
            }
            match knows.due(index) {
                Due::NotYet => {}
                Due::Begins => {
                    knows.set(index, Status::Running, Value::Null, None);
                    begins.push(index);
                }
                Due::Ends(status) => {
                    knows.set(index, status, Value::Null, None);
                    changed = true;
                }
            }
        }
    }
    begins.sort_unstable();
    begins
}

/// Notes how a step ended; what follows, where it ends the run.
fn settle<'w>(knows: &Knows<'w>, index: usize, ended: Result<Value, Fail>) -> Option<Failure<'w>> {
    let step = &knows.block.steps[index];
    let error = match ended {
        Ok(output) => {
            knows.set(index, Status::Done, output, None);
            return None;
        }
        Err(Fail::Skipped) => {
            knows.set(index, Status::Skipped, Value::Null, None);
            return None;
        }
        Err(Fail::Stopped) => {
            knows.set(index, Status::Failed, Value::Null, None);
            return Some(Failure {
                fail: Fail::Stopped,
                undoes: Undoes::All,
            });
        }
        Err(Fail::Error(error)) => error,
    };
    // Of a loop, what its items gave.
    let partly = knows.output(index);
    knows.set(index, Status::Failed, partly, Some(&error));
    let (fail, undoes) = match &step.on_error {
        OnError::Continue => {
            airlock_sdk::agent::log(&format!(
                "step `{}` failed, and the run goes on: {error}",
                step.id
            ));
            return None;
        }
        OnError::Escalate => (
            Error::escalate(format!("step `{}`: {error}", step.id)),
            Undoes::None,
        ),
        OnError::Compensate(names) => (of_step(error, &step.id), Undoes::These(names)),
        OnError::Fail | OnError::Value(_) => (of_step(error, &step.id), Undoes::All),
    };
    Some(Failure {
        fail: fail.into(),
        undoes,
    })
}

/// What a workflow gives.
fn outputs(knows: &Knows<'_>) -> Result<Value, Error> {
    let mut given = Map::new();
    for output in &knows.block.outputs {
        // A run of a part of the steps does not fail over what the others would give.
        if knows.lacks(&output.value) {
            given.insert(output.name.clone(), Value::Null);
            continue;
        }
        let place = |error: Error| error.context(format!("the output `{}`", output.name));
        let value = knows.with(&[], |scope| {
            output.value.evaluate(scope, &mut Cost::default())
        });
        let value = value.map_err(|problem| place(unknown(&problem)))?;
        if let Some(schema) = &output.schema {
            let problems = schema.problems(&value, &output.name);
            if !problems.is_empty() {
                return Err(place(Error::permanent(problems.join("; "))));
            }
        }
        given.insert(output.name.clone(), value);
    }
    Ok(Value::Object(given))
}
