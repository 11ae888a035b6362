//! What would run: each step with its values, as far as they are known.

use std::collections::BTreeSet;

use airlock_workflow::{Action, Expression, Step, Template, Wait, Workflow};
use serde_json::{Map, Value, json};

use crate::state::{Knows, Status};

/// Everything of a workflow, in an order in which it may run.
pub(crate) fn told(
    flow: &Workflow,
    knows: &Knows<'_>,
    runs: &BTreeSet<usize>,
    missing: &[String],
) -> Value {
    let steps: Vec<Value> = order(knows, runs)
        .into_iter()
        .map(|index| step(knows, index))
        .collect();
    let outputs = knows.block.outputs.iter();
    let outputs: Map<String, Value> = outputs
        .map(|output| (output.name.clone(), value(knows, &output.value)))
        .collect();
    json!({
        "dry_run": true,
        "name": flow.name,
        "run": knows.about,
        "inputs": knows.input,
        "steps": steps,
        "outputs": outputs,
        "not_granted": missing,
    })
}

fn order(knows: &Knows<'_>, runs: &BTreeSet<usize>) -> Vec<usize> {
    let mut order = Vec::new();
    let mut left: Vec<usize> = runs.iter().copied().collect();
    while !left.is_empty() {
        let ready = |index: &usize| {
            knows.block.steps[*index]
                .needs
                .iter()
                .all(|need| !left.contains(need))
        };
        let next: Vec<usize> = left.iter().copied().filter(ready).collect();
        if next.is_empty() {
            break;
        }
        left.retain(|index| !next.contains(index));
        order.extend(next);
    }
    order
}

fn step(knows: &Knows<'_>, index: usize) -> Value {
    let step = &knows.block.steps[index];
    let needs: Vec<&str> = step
        .needs
        .iter()
        .map(|need| knows.block.steps[*need].id.as_str())
        .collect();
    let mut told = json!({ "id": step.id, "does": step.action.kind(), "needs": needs });
    if let Some(when) = &step.when {
        told["when"] = value(knows, &Template::Expression(when.clone()));
    }
    if let Some(over) = &step.for_each {
        told["for_each"] = value(knows, over);
    }
    for (name, given) in action(knows, step) {
        told[name] = given;
    }
    told
}

fn action(knows: &Knows<'_>, step: &Step) -> Vec<(&'static str, Value)> {
    let value = |template: &Template| value(knows, template);
    match &step.action {
        Action::Tool { tool, with } => vec![("tool", json!(tool)), ("with", value(with))],
        Action::Agent(agent) => {
            vec![
                ("agent", json!(agent.agent)),
                ("goal", value(&agent.goal)),
                ("with", value(&agent.with)),
            ]
        }
        Action::Model(model) => vec![
            ("role", json!(model.role)),
            (
                "system",
                model.system.as_ref().map(value).unwrap_or_default(),
            ),
            ("prompt", value(&model.prompt)),
        ],
        Action::Approval(approval) => vec![
            ("text", value(&approval.text)),
            ("choices", json!(approval.choices)),
            (
                "payload",
                approval.payload.as_ref().map(value).unwrap_or_default(),
            ),
        ],
        Action::Wait(Wait::For(time)) => vec![("for", value(time))],
        Action::Wait(Wait::Until(moment)) => vec![("until", value(moment))],
        Action::Wait(Wait::Signal(name)) => vec![("signal", json!(name))],
        Action::Workflow { name, with } => vec![("workflow", json!(name)), ("with", value(with))],
        Action::Value(template) => vec![("value", value(template))],
    }
}

/// What of it is known before anything runs; the rest stays as it is written.
fn value(knows: &Knows<'_>, template: &Template) -> Value {
    let known = |expression: &Expression| {
        let given = |id: String| {
            knows
                .block
                .step(&id)
                .is_some_and(|step| knows.status(step) == Status::Done)
        };
        expression.needs_only(&["input", "run", "steps"]) && expression.steps().all(given)
    };
    knows.with(&[], |scope| template.evaluate_known(scope, &known))
}
