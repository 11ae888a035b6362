//! What a step does: its values worked out, and then done.

use std::time::{Duration, SystemTime};

use airlock_sdk::agent::{self, Request};
use airlock_sdk::flow::{Either, select};
use airlock_sdk::prelude::*;
use airlock_sdk::task;
use airlock_workflow::{
    Action, AgentAction, Approval, Cost, OnChoice, OnDue, Scope, Template, Wait, time,
};
use serde_json::{Value, json};

use crate::block::Run;
use crate::fail::{Fail, unknown};
use crate::model::{self, Question};
use crate::pool::Stop;

/// What the host takes.
const INPUT_BYTES_MAX: usize = 1 << 20;
const TEXT_BYTES_MAX: usize = 8 << 10;
const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// An action with its values.
pub(crate) enum Act<'w> {
    Tool {
        tool: &'w str,
        input: Value,
    },
    Agent {
        action: &'w AgentAction,
        goal: String,
        input: Value,
    },
    Model(Question<'w>),
    Ask {
        action: &'w Approval,
        text: String,
        payload: Option<Value>,
    },
    For(Duration),
    Until(SystemTime),
    Signal(&'w str),
    Workflow {
        name: &'w str,
        input: Value,
    },
    Value(Value),
}

/// Works out the values of an action.
pub(crate) fn prepare<'w>(action: &'w Action, scope: &Scope<'_>) -> Result<Act<'w>, Error> {
    let mut cost = Cost::default();
    let mut value = |template: &Template| {
        template
            .evaluate(scope, &mut cost)
            .map_err(|problem| unknown(&problem))
    };
    Ok(match action {
        Action::Tool { tool, with } => Act::Tool {
            tool,
            input: input(value(with)?)?,
        },
        Action::Agent(agent) => Act::Agent {
            action: agent,
            goal: text("goal", value(&agent.goal)?)?,
            input: input(value(&agent.with)?)?,
        },
        Action::Model(model) => Act::Model(Question {
            action: model,
            system: model
                .system
                .as_ref()
                .map(|system| plain(value(system)?))
                .transpose()?,
            prompt: plain(value(&model.prompt)?)?,
        }),
        Action::Approval(approval) => {
            let payload = approval.payload.as_ref().map(&mut value).transpose()?;
            if payload
                .as_ref()
                .is_some_and(|payload| payload.to_string().len() > PAYLOAD_BYTES_MAX)
            {
                return Err(Error::permanent(format!(
                    "`payload` has more than {PAYLOAD_BYTES_MAX} bytes"
                )));
            }
            Act::Ask {
                action: approval,
                text: text("text", value(&approval.text)?)?,
                payload,
            }
        }
        Action::Wait(Wait::For(time)) => Act::For(duration(&value(time)?)?),
        Action::Wait(Wait::Until(moment)) => {
            let moment = plain(value(moment)?)?;
            Act::Until(time::moment(&moment).map_err(Error::permanent)?)
        }
        Action::Wait(Wait::Signal(name)) => Act::Signal(name),
        Action::Workflow { name, with } => Act::Workflow {
            name,
            input: input(value(with)?)?,
        },
        Action::Value(template) => Act::Value(value(template)?),
    })
}

fn input(value: Value) -> Result<Value, Error> {
    if !value.is_object() {
        return Err(Error::permanent("`with` gave no map"));
    }
    match value.to_string().len() > INPUT_BYTES_MAX {
        true => Err(Error::permanent(format!(
            "`with` has more than {INPUT_BYTES_MAX} bytes"
        ))),
        false => Ok(value),
    }
}

fn plain(value: Value) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(Error::permanent("an expression gave no text"))
        }
        other => Ok(other.to_string()),
    }
}

fn text(what: &str, value: Value) -> Result<String, Error> {
    let text = plain(value)?;
    match text.len() > TEXT_BYTES_MAX {
        true => Err(Error::permanent(format!(
            "`{what}` has more than {TEXT_BYTES_MAX} bytes"
        ))),
        false => Ok(text),
    }
}

/// A text such as `5m`, or seconds.
fn duration(value: &Value) -> Result<Duration, Error> {
    match (value, value.as_u64()) {
        (Value::String(text), _) => time::duration(text).map_err(Error::permanent),
        (_, Some(seconds)) => time::duration(&format!("{seconds}s")).map_err(Error::permanent),
        _ => Err(Error::permanent(
            "a wait is a duration, e.g. `5m`, or seconds",
        )),
    }
}

/// Why something was cut off.
pub(crate) enum Cut {
    Stopped,
    TimedOut(Duration),
}

impl From<Cut> for Fail {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Stopped => Self::Stopped,
            Cut::TimedOut(time) => {
                let text = format!("no answer within {}", time::spelled(time));
                Self::Error(Error::transient(text, None))
            }
        }
    }
}

/// Waits for something, no longer than that and until it is stopped.
pub(crate) async fn bounded<F: Future>(
    future: F,
    most: Option<Duration>,
    stop: &Stop,
) -> Result<F::Output, Cut> {
    let cut = async {
        let Some(most) = most else {
            stop.said().await;
            return Cut::Stopped;
        };
        match select(stop.said(), task::sleep(most)).await {
            Either::Left(()) => Cut::Stopped,
            Either::Right(()) => Cut::TimedOut(most),
        }
    };
    match select(future, cut).await {
        Either::Left(output) => Ok(output),
        Either::Right(cut) => Err(cut),
    }
}

/// What has effects is cancelled, and then tells what became of it.
async fn effect(
    request: Request<Value>,
    most: Option<Duration>,
    stop: &Stop,
) -> Result<Value, Fail> {
    let cut = match bounded(request.answer(), most, stop).await {
        Ok(answer) => return answer.map_err(Fail::Error),
        Err(cut) => cut,
    };
    request.cancel();
    match request.answer().await {
        Err(Error::Cancelled) => Err(cut.into()),
        ended => ended.map_err(Fail::Error),
    }
}

impl Act<'_> {
    /// Does it, but for workflows.
    pub(crate) async fn perform(
        &self,
        run: &Run<'_>,
        most: Option<Duration>,
        stop: &Stop,
    ) -> Result<Value, Fail> {
        match self {
            Self::Tool { tool, input } => {
                let _place = bounded(run.pool.take(), None, stop).await?;
                effect(agent::call(tool, input), most, stop).await
            }
            Self::Agent {
                action,
                goal,
                input,
            } => {
                let _place = bounded(run.pool.take(), None, stop).await?;
                let budget = budget(action);
                effect(
                    agent::start_with(&action.agent, goal, input, budget),
                    most,
                    stop,
                )
                .await
            }
            Self::Model(question) => {
                let _place = bounded(run.pool.take(), None, stop).await?;
                Ok(bounded(model::ask(question), most, stop).await??)
            }
            Self::Ask {
                action,
                text,
                payload,
            } => {
                let asked = ask(action, text, payload.as_ref());
                bounded(asked, most, stop).await?
            }
            Self::For(time) => waited(agent::sleep(*time), most, stop).await,
            Self::Until(moment) => waited(agent::sleep_until(*moment), most, stop).await,
            Self::Signal(name) => {
                let signal = agent::signal::<Value>(name);
                Ok(bounded(signal.into_future(), most, stop).await??)
            }
            Self::Value(value) => Ok(value.clone()),
            Self::Workflow { name, .. } => {
                Err(Error::permanent(format!("`{name}` is run by its step")).into())
            }
        }
    }
}

async fn waited(request: Request<()>, most: Option<Duration>, stop: &Stop) -> Result<Value, Fail> {
    bounded(request.into_future(), most, stop).await??;
    Ok(Value::Null)
}

fn budget(action: &AgentAction) -> agent::Budget {
    let given = action.budget;
    let wall = given
        .wall
        .map(|wall| u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
    let cpu = given
        .cpu
        .map(|cpu| u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX));
    agent::Budget {
        calls: given.calls,
        steps: given.steps,
        events: given.events,
        wall_ms: wall,
        cpu_us: cpu,
        model_tokens: given.model_tokens,
        model_micros: given.model_micros,
    }
}

async fn ask(action: &Approval, text: &str, payload: Option<&Value>) -> Result<Value, Fail> {
    let choices: Vec<&str> = action.choices.iter().map(String::as_str).collect();
    let decided = agent::ask_about(text, &choices, payload, action.due).await;
    let (choice, note) = match decided {
        Ok(decision) => (decision.choice, decision.note),
        Err(Error::Transient { .. }) if action.due.is_some() => match &action.on_due {
            OnDue::Choice(choice) => (choice.clone(), None),
            OnDue::As(OnChoice::Skip) => return Err(Fail::Skipped),
            OnDue::As(OnChoice::Escalate) => {
                return Err(Error::escalate("nobody decided in time").into());
            }
            OnDue::As(_) => return Err(Error::transient("nobody decided in time", None).into()),
        },
        Err(error) => return Err(error.into()),
    };
    let said = || {
        let note = note
            .as_deref()
            .map(|note| format!(": {note}"))
            .unwrap_or_default();
        format!("`{choice}` was decided{note}")
    };
    match action
        .on
        .get(&choice)
        .copied()
        .unwrap_or(OnChoice::Continue)
    {
        OnChoice::Continue => Ok(json!({ "choice": choice, "note": note })),
        OnChoice::Skip => Err(Fail::Skipped),
        OnChoice::Fail => Err(Error::permanent(said()).into()),
        OnChoice::Escalate => Err(Error::escalate(said()).into()),
    }
}
