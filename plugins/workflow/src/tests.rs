//! Workflows over scripted tools, people, children, signals and a clock. Each run is
//! run again over its own answers, as after a crash, and has to do the same.

use std::time::Duration;

use airlock_sdk::agent::TaskState;
use airlock_sdk::prelude::*;
use airlock_sdk::testing::{self, AgentHost, AgentRun, Answer, End};
use serde_json::{Value, json};

use crate::work::run;

mod examples;
mod flow;
mod given;
mod graphs;
mod kinds;
mod saga;

const S: Duration = Duration::from_secs(1);

fn runs(host: AgentHost, workflow: &str, inputs: Value) -> AgentRun {
    runs_with(host, json!({ "workflow": workflow, "inputs": inputs }))
}

fn runs_with(host: AgentHost, input: Value) -> AgentRun {
    host.run(run, "", input)
}

/// Tools that give back what they are given.
fn echo(names: &[&str]) -> AgentHost {
    names
        .iter()
        .fold(testing::agent(), |host, name| host.tool(name, Ok))
}

/// The names of the tools that were called, in order.
fn called(run: &AgentRun) -> Vec<&str> {
    run.calls().iter().map(|(tool, _)| tool.as_str()).collect()
}

/// How the plan's tasks ended.
fn states(run: &AgentRun) -> Vec<TaskState> {
    run.plan().iter().map(|task| task.state).collect()
}

/// Fails so often, then gives this.
fn flaky(times: usize, error: Error, then: Value) -> impl FnMut(Value) -> Result<Value, Error> {
    let mut left = times;
    move |_| match left {
        0 => Ok(then.clone()),
        _ => {
            left -= 1;
            Err(error.clone())
        }
    }
}
