//! A step, or each item of its loop.

use airlock_sdk::prelude::*;
use airlock_workflow::limits::ITEMS_MAX;
use airlock_workflow::{Cost, OnError, Step};
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;

use crate::act::{Act, bounded, prepare};
use crate::attempt::again;
use crate::block::{Ended, Run, block};
use crate::fail::{Fail, unknown, within};
use crate::pool::Stop;
use crate::state::{Knows, Status, told};
use crate::undo::{Undo, undo};

/// A step of a run.
pub(crate) struct Doing<'a, 'w> {
    pub(crate) run: &'a Run<'w>,
    pub(crate) knows: &'a Knows<'w>,
    pub(crate) index: usize,
    pub(crate) step: &'w Step,
}

/// An item of a loop.
struct Item {
    index: Value,
    item: Value,
}

impl<'w> Doing<'_, 'w> {
    /// Does the step.
    pub(crate) async fn step(&self, stop: &Stop) -> Result<Value, Fail> {
        if let Some(when) = &self.step.when {
            let wanted = self
                .knows
                .with(&[], |scope| when.evaluate(scope, &mut Cost::default()));
            match wanted.map_err(|problem| unknown(&problem))? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Err(Fail::Skipped),
                _ => return Err(Error::permanent("`when` gave no boolean").into()),
            }
        }
        let Some(over) = &self.step.for_each else {
            return self.one(None, stop).await;
        };
        let items = self
            .knows
            .with(&[], |scope| over.evaluate(scope, &mut Cost::default()));
        match items.map_err(|problem| unknown(&problem))? {
            Value::Array(items) if items.len() > ITEMS_MAX => {
                Err(Error::limit("items of a loop", format!("{ITEMS_MAX}")).into())
            }
            Value::Array(items) => self.each(items, stop).await,
            _ => Err(Error::permanent("`for_each` gave no list").into()),
        }
    }

    /// Runs it for each item, some at once; what each gives stands in its place.
    async fn each(&self, items: Vec<Value>, above: &Stop) -> Result<Value, Fail> {
        let stop = above.below();
        let most = self.step.max_parallel.unwrap_or(self.run.flow.parallel);
        let mut outputs = vec![Value::Null; items.len()];
        let mut waiting = items.into_iter().enumerate();
        let mut running = FuturesUnordered::new();
        let mut failed: Option<Fail> = None;
        loop {
            while running.len() < most && !stop.is_said() {
                let Some((at, item)) = waiting.next() else {
                    break;
                };
                let item = Item {
                    index: at.into(),
                    item,
                };
                let stop = &stop;
                running.push(async move { (at, self.one(Some(item), stop).await) });
            }
            let Some((at, ended)) = running.next().await else {
                break;
            };
            match ended {
                Ok(output) => outputs[at] = output,
                Err(Fail::Skipped) => {}
                Err(fail) => {
                    let fail = match fail {
                        Fail::Error(error) => Fail::Error(within(error, &format!("item {at}"))),
                        fail => fail,
                    };
                    if !matches!(self.step.on_error, OnError::Continue) {
                        stop.say();
                    }
                    // The first that failed by itself is why.
                    failed = match (failed, fail) {
                        (None | Some(Fail::Stopped), fail) => Some(fail),
                        (failed, _) => failed,
                    };
                }
            }
        }
        match failed {
            Some(fail) => {
                let partly = Value::Array(outputs);
                self.knows.set(self.index, Status::Running, partly, None);
                Err(fail)
            }
            None if above.is_said() && waiting.next().is_some() => Err(Fail::Stopped),
            None => Ok(Value::Array(outputs)),
        }
    }

    /// Does it once: what it gives, as the step says.
    async fn one(&self, item: Option<Item>, stop: &Stop) -> Result<Value, Fail> {
        let mut names: Vec<(&str, &Value)> = Vec::new();
        if let Some(item) = &item {
            names.extend([("item", &item.item), ("index", &item.index)]);
        }
        let made = self.made(&names, stop).await;
        let (Err(Fail::Error(error)), OnError::Value(instead)) = (&made, &self.step.on_error)
        else {
            return made;
        };
        if stop.is_said() {
            return made;
        }
        let error = told(error);
        names.push(("error", &error));
        let value = self.knows.with(&names, |scope| {
            instead.evaluate(scope, &mut Cost::default())
        });
        value.map_err(|problem| Fail::Error(unknown(&problem)))
    }

    async fn made(&self, names: &[(&str, &Value)], stop: &Stop) -> Result<Value, Fail> {
        let act = self
            .knows
            .with(names, |scope| prepare(&self.step.action, scope))?;
        let attempt = async || match &act {
            Act::Workflow { name, input } => self.workflow(name, input, stop).await,
            act => Ok((
                act.perform(self.run, self.step.timeout, stop).await?,
                Vec::new(),
            )),
        };
        let (result, below) = match again(&self.step.retry, stop, attempt).await {
            Ok(done) => done,
            Err(fail) => {
                self.note_unknown(&fail);
                return Err(fail);
            }
        };
        self.note(names, &result, below);
        let output = match &self.step.output {
            None => result,
            Some(output) => {
                let mut names = names.to_vec();
                names.push(("result", &result));
                let made = self
                    .knows
                    .with(&names, |scope| output.evaluate(scope, &mut Cost::default()));
                made.map_err(|problem| unknown(&problem))?
            }
        };
        if let Some(schema) = self.returns() {
            let problems = schema.problems(&output, "output");
            if !problems.is_empty() {
                return Err(Error::permanent(format!(
                    "it gave something else: {}",
                    problems.join("; ")
                ))
                .into());
            }
        }
        self.run.kept(&output)?;
        Ok(output)
    }

    /// What its output has to be.
    fn returns(&self) -> Option<&'w airlock_workflow::Schema> {
        let of_model = match (&self.step.action, &self.step.output) {
            (airlock_workflow::Action::Model(model), None) => model.schema.as_ref(),
            _ => None,
        };
        self.step.returns.as_ref().or(of_model)
    }

    /// Notes what undoes it: its own way, or that of what it ran.
    fn note(&self, names: &[(&str, &Value)], result: &Value, below: Vec<Undo<'w>>) {
        let mut log = self.knows.undo.borrow_mut();
        let Some(compensate) = &self.step.compensate else {
            log.extend(below.into_iter().map(|one| Undo {
                step: self.index,
                ..one
            }));
            return;
        };
        let mut names = names.to_vec();
        names.push(("result", result));
        let act = self
            .knows
            .with(&names, |scope| prepare(&compensate.action, scope));
        let name = self.step.id.clone();
        log.push(Undo {
            step: self.index,
            name,
            act,
            retry: &compensate.retry,
        });
    }

    /// What may have happened would have to be undone, and nobody knows whether, or
    /// what it gave.
    fn note_unknown(&self, fail: &Fail) {
        let (Fail::Error(error @ Error::Unknown(_)), Some(compensate)) =
            (fail, &self.step.compensate)
        else {
            return;
        };
        self.knows.undo.borrow_mut().push(Undo {
            step: self.index,
            name: self.step.id.clone(),
            act: Err(error.clone()),
            retry: &compensate.retry,
        });
    }

    /// Runs a sub-workflow. What an attempt did that failed is undone.
    async fn workflow(
        &self,
        name: &str,
        input: &Value,
        stop: &Stop,
    ) -> Result<(Value, Vec<Undo<'w>>), Fail> {
        let Some(flow) = self.run.flow.blocks.get(name) else {
            return Err(Error::permanent(format!("there is no sub-workflow `{name}`")).into());
        };
        let inner = stop.below();
        let mut running = Box::pin(block(self.run, flow, input.clone(), &inner));
        let (Ended { result, undo: log }, cut) =
            match bounded(&mut running, self.step.timeout, stop).await {
                Ok(ended) => (ended, None),
                Err(cut) => {
                    inner.say();
                    (running.await, Some(cut))
                }
            };
        let fail = match result {
            Ok(value) => return Ok((value, log)),
            Err(fail) => fail,
        };
        if stop.is_said() {
            // Whoever stopped it undoes it too.
            let log = log.into_iter().map(|one| Undo {
                step: self.index,
                ..one
            });
            self.knows.undo.borrow_mut().extend(log);
            return Err(fail);
        }
        let fail = match (fail, cut) {
            (Fail::Stopped, Some(cut)) => Fail::from(cut),
            (fail, _) => fail,
        };
        let (undone, left) = undo(self.run, log).await;
        Err(match fail {
            Fail::Error(error) => crate::undo::told(error, &undone, &left).into(),
            fail => fail,
        })
    }
}
