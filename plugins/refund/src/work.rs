//! The agent: what it asks for, in order.

use std::time::{Duration, UNIX_EPOCH};

use airlock_sdk::agent::{self, Outcome, PlanTask, TaskState};
use airlock_sdk::prelude::*;
use serde_json::{Value, json};

use crate::policy::{self, Order, Verdict};
use crate::{Answered, Input};

const PATIENCE_HOURS: u32 = 72;

const REFUND: &str = "refund";
const DECLINE: &str = "decline";

const STEPS: [&str; 3] = [
    "Look up the order",
    "Hold it against the policy",
    "Settle it",
];

/// Publishes the plan with the steps before `at` done.
fn at_step(at: usize) {
    let state = |index: usize| match index.cmp(&at) {
        std::cmp::Ordering::Less => TaskState::Done,
        std::cmp::Ordering::Equal => TaskState::Doing,
        std::cmp::Ordering::Greater => TaskState::Todo,
    };
    let tasks: Vec<PlanTask> = STEPS
        .iter()
        .enumerate()
        .map(|(index, step)| PlanTask {
            title: (*step).to_owned(),
            state: state(index),
        })
        .collect();
    agent::plan(&tasks);
}

pub(crate) async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
    at_step(0);
    let lookup = json!({ "id": input.request.order });
    let order = match agent::call::<Order>("payments/order", &lookup).await {
        Ok(order) => order,
        Err(Error::NotFound(_) | Error::InvalidInput(_)) => {
            return declined(&input, "we know of no such order");
        }
        Err(error) => return Err(error.context("looking up the order")),
    };
    at_step(1);
    let now = agent::now().duration_since(UNIX_EPOCH);
    let now = now.map(|now| now.as_secs()).unwrap_or_default();
    let verdict = policy::judge(&input.request, &order, &input.policy, now);
    at_step(2);
    match verdict {
        Verdict::Refund(amount) => refund(&input, &order, amount, "within the policy").await,
        Verdict::Ask(amount) => ask(&input, &order, amount).await,
        Verdict::Decline(why) => declined(&input, why),
        Verdict::Escalate(why) => Err(Error::escalate(format!("{}: {why}", input.request.id))),
    }
}

fn declined(input: &Input, why: &str) -> Result<Outcome, Error> {
    at_step(STEPS.len());
    Outcome::done(&Answered {
        decision: "declined",
        reason: why.to_owned(),
        refund: None,
        amount: 0,
        answer: policy::no(&input.request, why),
    })
}

/// Asks a person, with all there is to know and the draft of the answer.
async fn ask(input: &Input, order: &Order, amount: u64) -> Result<Outcome, Error> {
    let payload = json!({
        "request": input.request,
        "order": order,
        "answer": policy::yes(&input.request, amount, &order.currency),
    });
    let text = format!("Refund {}?", policy::money(amount, &order.currency));
    let hours = input.patience_hours.unwrap_or(PATIENCE_HOURS);
    let due = Duration::from_secs(u64::from(hours) * 3_600);
    let asked = agent::ask_about(&text, &[REFUND, DECLINE], Some(&payload), Some(due));
    let Ok(decision) = asked.await else {
        let id = &input.request.id;
        return Err(Error::escalate(format!(
            "{id}: nobody decided within {hours} hours"
        )));
    };
    let note = decision.note.unwrap_or_default();
    match &*decision.choice {
        REFUND => refund(input, order, amount, &format!("approved: {note}")).await,
        _ => declined(input, "we can't refund it"),
    }
}

/// The one effect.
async fn refund(input: &Input, order: &Order, amount: u64, why: &str) -> Result<Outcome, Error> {
    let asked = json!({
        "order": input.request.order,
        "amount": amount,
        "currency": order.currency,
        "reason": bounded(&format!("{}: {why}", input.request.id)),
    });
    let made: Value = agent::call("payments/refund", &asked)
        .await
        .map_err(|error| Error::escalate(format!("{}: refunding: {error}", input.request.id)))?;
    at_step(STEPS.len());
    Outcome::done(&Answered {
        decision: "refunded",
        reason: why.to_owned(),
        refund: made["id"].as_str().map(str::to_owned),
        amount,
        answer: policy::yes(&input.request, amount, &order.currency),
    })
}

/// What the tool takes as a reason.
fn bounded(text: &str) -> String {
    text.chars().take(250).collect()
}

airlock_sdk::agent! {
    description: "Answers one request for a refund: refunds within the policy, asks a person above a threshold, and hands over what falls outside.",
    input: Input,
    run: run,
    wants: [
        want!(tools, r#"{ tool = "payments/order" }"#, "To look up the order that the request is about."),
        want!(tools, r#"{ tool = "payments/refund" }"#, "To refund it, once."),
    ],
}
