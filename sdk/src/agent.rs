//! Write agents for Airlock: components that decide.
//!
//! An agent is an `async fn` from a goal and an input to an [`Outcome`]. It has
//! no effects of its own: it calls tools it was granted, asks language models
//! ([`Chat`]), keeps documents and looks them up ([`memory`]), waits for timers and signals, and asks people. The host keeps each request and each answer, so the
//! run goes on after a crash: the function is run again from its start and is
//! given the same answers, in the same order, until it has caught up. So it must
//! decide by what it was given alone; clocks and randomness of the standard
//! library are such things here.
//!
//! Natively, under `cargo test`, [`testing::agent`](crate::testing::agent) stands
//! in for the host.
//!
//! A request is under way as soon as it is made; several wait side by side, and
//! [`join_all`], [`select`] and [`timeout`] take any mix of them:
//!
//! ```no_run
//! use airlock_sdk::agent::{self, Outcome, Retry};
//! use airlock_sdk::prelude::*;
//! use airlock_sdk::serde_json::{Value, json};
//! use std::time::Duration;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Input {
//!     folders: Vec<String>,
//! }
//!
//! async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
//!     let list = |folder| agent::call::<Value>("files/list", &json!({ "path": folder }));
//!     let lists = agent::try_join_all(input.folders.iter().map(list)).await?;
//!     let checked = agent::start::<Value>("checker", "check the lists", &json!({ "lists": lists }));
//!     let checked = agent::timeout(checked, Duration::from_secs(3600)).await??;
//!     let sent = agent::ask("Send the report?", &["send", "drop"]).await?;
//!     if sent.choice == "send" {
//!         let send = || agent::call::<Value>("mail/send", &checked);
//!         Retry::new().attempts(5).run(send).await?;
//!     }
//!     agent::set_state("last", &agent::record(&checked).await?)?;
//!     Outcome::done(&sent.choice)
//! }
//!
//! airlock_sdk::agent! {
//!     description: "Sends reports.",
//!     input: Input,
//!     run: run,
//! }
//! # fn main() {}
//! ```

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::backend::host::{self, Handle};
use crate::input::input_schema;
use crate::log::Level;
use crate::task;

pub(crate) mod chat;
pub mod memory;
mod types;

pub use chat::{
    Chat, Embeddings, Fault, Finish, ModelCall, Reply, Spent, ToolChoice, Unusable, Usage, embed,
    embed_with,
};
pub(crate) use types::Question;
pub use types::{Budget, EffectClass, PlanTask, TaskState, ToolInfo};

pub use crate::flow::{
    Either, TimedOut, join, join_all, select, select_all, timeout, try_join_all,
};
pub use crate::retry::Retry;

/// How a run ends that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It reached its goal: a JSON value.
    Done(String),
    /// It goes on as a new run with an empty journal: its input.
    ContinueAsNew(String),
}

impl Outcome {
    /// The goal is reached, with this result.
    ///
    /// # Errors
    /// The value can't be written as JSON.
    pub fn done<T: Serialize + ?Sized>(output: &T) -> Result<Self, Error> {
        json(output).map(Self::Done)
    }

    /// Goes on as a new run with this input, leaving the journal so far behind.
    ///
    /// # Errors
    /// The value can't be written as JSON.
    pub fn continue_as_new<T: Serialize + ?Sized>(input: &T) -> Result<Self, Error> {
        json(input).map(Self::ContinueAsNew)
    }
}

/// A run under way in the component.
type Running = Pin<Box<dyn Future<Output = Result<Outcome, Error>>>>;

/// What `agent!` knows of an agent.
#[doc(hidden)]
pub struct Agent {
    pub description: &'static str,
    pub input_schema: fn() -> String,
    pub wants: &'static [crate::Want],
    pub run: fn(String, String) -> Running,
}

/// Reads an agent's input and runs it. For `agent!` and tests only.
#[doc(hidden)]
pub async fn run<I, F>(
    run: impl FnOnce(String, I) -> F,
    goal: String,
    input: String,
) -> Result<Outcome, Error>
where
    I: DeserializeOwned,
    F: Future<Output = Result<Outcome, Error>>,
{
    let input = serde_json::from_str(&input)
        .map_err(|error| Error::InvalidInput(format!("the input: {error}")))?;
    run(goal, input).await
}

/// The schema of an agent's input. For `agent!` only.
#[doc(hidden)]
pub fn schema<I: crate::input::ToolInput>() -> String {
    input_schema::<I>()
}

/// A request that is under way. Await it for its answer; drop it to detach.
#[must_use = "await the request for its answer; dropping it detaches from it"]
pub struct Request<T> {
    handle: Handle,
    answer: PhantomData<fn() -> T>,
}

impl<T> Request<T> {
    fn new(handle: Handle) -> Self {
        let answer = PhantomData;
        Self { handle, answer }
    }

    /// Asks for it to end; the answer tells how it ended.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// Its answer, where it may still be cancelled meanwhile: the request is not let
    /// go of when this is dropped, and tells the same each time.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn answer(&self) -> Result<T, Error>
    where
        T: DeserializeOwned,
    {
        task::ready(self.handle.subscribe()).await;
        answered(&self.handle)
    }

    /// Lets go of it: it goes on, and its answer is not looked at. Dropping it
    /// does the same.
    pub fn detach(self) {
        drop(self);
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for Request<T> {
    type Output = Result<T, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            task::ready(self.handle.subscribe()).await;
            answered(&self.handle)
        })
    }
}

/// The answer that a wait reported.
fn answered<T: DeserializeOwned>(handle: &Handle) -> Result<T, Error> {
    let Some(answer) = handle.answer() else {
        let text = "the host reported an answer and has none";
        return Err(Error::Permanent(text.to_owned()));
    };
    serde_json::from_str(&answer?)
        .map_err(|error| Error::Permanent(format!("an answer of another shape: {error}")))
}

/// Calls a tool, `plugin/tool`, that this agent was granted.
pub fn call<T: DeserializeOwned>(tool: &str, input: &(impl Serialize + ?Sized)) -> Request<T> {
    // What can't be written is refused by the tool, which wants an object.
    let input = serde_json::to_string(input).unwrap_or_else(|_| "null".to_owned());
    Request::new(host::call(tool, &input))
}

/// Waits; the time goes on while the host is down.
pub fn sleep(time: Duration) -> Request<()> {
    Request::new(host::sleep(
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
    ))
}

/// The run's clock: it stands still between waits, never goes back, and is the same
/// again when the run catches up. In a run it is what [`SystemTime::now`] says; in a
/// test of an agent it is the test's, and outside of both the machine's.
#[must_use]
pub fn now() -> SystemTime {
    host::now()
}

/// Waits until a moment of the run's clock, see [`now`].
pub fn sleep_until(moment: SystemTime) -> Request<()> {
    let left = moment.duration_since(now());
    sleep(left.unwrap_or_default())
}

/// The next signal of this name.
pub fn signal<T: DeserializeOwned>(name: &str) -> Request<T> {
    Request::new(host::signal(name))
}

/// What a person decided.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Decision {
    /// One of the choices.
    pub choice: String,
    /// What the person added.
    #[serde(default)]
    pub note: Option<String>,
}

/// Asks a person to choose.
pub fn ask(text: &str, choices: &[&str]) -> Request<Decision> {
    ask_about(text, choices, None, None)
}

/// Asks a person to choose, with a JSON value shown beside the question, and the
/// time after which nobody need answer any more.
pub fn ask_about(
    text: &str,
    choices: &[&str],
    payload: Option<&serde_json::Value>,
    due: Option<Duration>,
) -> Request<Decision> {
    Request::new(host::ask(Question {
        text: text.to_owned(),
        choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
        payload: payload.map(ToString::to_string),
        due_ms: due.map(|due| u64::try_from(due.as_millis()).unwrap_or(u64::MAX)),
    }))
}

/// The tools that are granted to this agent and installed now, by name. What it
/// is told is kept: after a crash it sees the same.
#[must_use]
pub fn tools() -> Vec<ToolInfo> {
    host::tools()
}

/// Keeps a value and gives it back once it is durable: a point that the run does
/// not go behind. For what must not be worked out twice with different results.
pub fn record<T: Serialize + DeserializeOwned>(value: &T) -> Request<T> {
    let value = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    Request::new(host::record(&value))
}

/// Starts another agent that was granted to this one, with a quarter of what this
/// run has left of its budget. Dropping the request lets the child go on by
/// itself; cancelling it ends the child.
pub fn start<T: DeserializeOwned>(
    agent: &str,
    goal: &str,
    input: &(impl Serialize + ?Sized),
) -> Request<T> {
    start_with(agent, goal, input, Budget::default())
}

/// As [`start`], with a budget: what is absent of it is a quarter of what this run
/// has left.
pub fn start_with<T: DeserializeOwned>(
    agent: &str,
    goal: &str,
    input: &(impl Serialize + ?Sized),
    budget: Budget,
) -> Request<T> {
    let input = serde_json::to_string(input).unwrap_or_else(|_| "null".to_owned());
    Request::new(host::start(agent, goal, &input, budget))
}

/// What a key of the run's state holds.
///
/// # Errors
/// [`Error::Permanent`]: it holds something of another shape.
pub fn state<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Error> {
    let Some(value) = host::get_state(key) else {
        return Ok(None);
    };
    let value = serde_json::from_str(&value);
    value
        .map(Some)
        .map_err(|error| Error::Permanent(format!("the state `{key}`: {error}")))
}

/// Sets a key of the run's state, which the next run has too when this one
/// continues as new. At most 64 keys of 128 bytes, 64 KiB of JSON a value and
/// 256 KiB in all; an agent that sets more ends with `limit`.
///
/// # Errors
/// The value can't be written as JSON.
pub fn set_state<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<(), Error> {
    host::set_state(key, Some(&json(value)?));
    Ok(())
}

/// Removes a key of the run's state.
pub fn remove_state(key: &str) {
    host::set_state(key, None);
}

/// Ends the run at once, from wherever this is called. Requests that were not
/// awaited are let go of.
pub fn finish(end: Result<Outcome, Error>) -> ! {
    host::finish(end)
}

/// Publishes the plan; it replaces the one before.
pub fn plan(tasks: &[PlanTask]) {
    host::plan(tasks);
}

/// Says how far the run is.
pub fn progress(done: f64, total: Option<f64>, message: &str) {
    host::progress(done, total, message);
}

/// Writes to the run's log.
pub fn log(message: &str) {
    host::log(Level::Info, message);
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::Permanent(format!("the result can't be written as JSON: {error}")))
}

/// Makes the crate an agent: `description`, the `input`'s type, `run`, an
/// `async fn(goal: String, input: Input) -> Result<Outcome, Error>`, and what it
/// `wants`, written as in `plugin!`:
///
/// ```ignore
/// wants: [want!(tools, r#"{ tool = "files/list" }"#, "To see what there is.")],
/// ```
///
/// It makes a test of the contract's limits, too.
#[macro_export]
macro_rules! agent {
    (
        description: $description:expr,
        input: $input:ty,
        run: $run:path
        $(, wants: [$(
            want!($capability:ident, $scope:expr, $reason:expr $(, $optional:ident)? $(,)?)
        ),* $(,)?])? $(,)?
    ) => {
        #[allow(dead_code, reason = "natively only its test uses it")]
        struct AirlockAgent;

        #[allow(dead_code, reason = "natively only its test uses it")]
        impl AirlockAgent {
            fn agent() -> $crate::agent::Agent {
                $crate::agent::Agent {
                    description: $description,
                    input_schema: $crate::agent::schema::<$input>,
                    wants: &[$($($crate::Want {
                        capability: stringify!($capability),
                        scope: $scope,
                        reason: $reason,
                        optional: $crate::__optional!($($optional)?),
                    }),*)?],
                    run: |goal, input| Box::pin($crate::agent::run::<$input, _>($run, goal, input)),
                }
            }
        }

        #[cfg(test)]
        #[test]
        fn agent_keeps_the_contract() {
            if let ::core::result::Result::Err(problem) =
                $crate::testing::check_agent(&AirlockAgent::agent())
            {
                ::core::panic!("{problem}");
            }
        }

        #[cfg(target_family = "wasm")]
        #[allow(
            unsafe_code,
            missing_docs,
            reason = "the canonical ABI's entry points, generated by wit-bindgen"
        )]
        const _: () = {
            impl $crate::__private::AgentComponent for AirlockAgent {
                fn agent() -> $crate::agent::Agent {
                    AirlockAgent::agent()
                }
            }
            $crate::__private::agent_bindings::export!(
                AirlockAgent with_types_in $crate::__private::agent_bindings
            );
        };
    };
}

/// Whether a want ends in `optional`. For `agent!` only.
#[doc(hidden)]
#[macro_export]
macro_rules! __optional {
    () => {
        false
    };
    (optional) => {
        true
    };
}
