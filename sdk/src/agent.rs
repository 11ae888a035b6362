//! Write agents for Airlock: components that decide.
//!
//! An agent is an `async fn` from a goal and an input to an [`Outcome`]. It has
//! no effects of its own: it calls tools it was granted, waits for timers and
//! signals, and asks people. The host keeps each request and each answer, so the
//! run goes on after a crash: the function is run again from its start and is
//! given the same answers, in the same order, until it has caught up. So it must
//! decide by what it was given alone; clocks and randomness of the standard
//! library are such things here.
//!
//! A request is under way as soon as it is made; several wait side by side:
//!
//! ```ignore
//! use airlock_sdk::agent::{self, Outcome};
//! use airlock_sdk::prelude::*;
//!
//! async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
//!     let list: List = agent::call("files/list", &input.folder).await?;
//!     let sent = agent::ask("Send the report?", &["send", "drop"]).await?;
//!     Outcome::done(&sent.choice)
//! }
//!
//! airlock_sdk::agent! {
//!     description: "Sends reports.",
//!     input: Input,
//!     run: run,
//! }
//! ```

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::backend::host::{self, Handle, Question};
use crate::input::input_schema;
use crate::task;

pub use crate::backend::host::{PlanTask, TaskState};

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

/// Reads an agent's input and runs it. For `agent!` only.
#[doc(hidden)]
pub async fn run<I, F>(
    run: fn(String, I) -> F,
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
}

impl<T: DeserializeOwned + 'static> IntoFuture for Request<T> {
    type Output = Result<T, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            task::ready(self.handle.subscribe()).await;
            let Some(answer) = self.handle.answer() else {
                let text = "the host reported an answer and has none";
                return Err(Error::Permanent(text.to_owned()));
            };
            let answer = answer.map_err(Error::from)?;
            serde_json::from_str(&answer)
                .map_err(|error| Error::Permanent(format!("an answer of another shape: {error}")))
        })
    }
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
    Request::new(host::ask(&Question {
        text: text.to_owned(),
        choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
        payload: payload.map(ToString::to_string),
        due_ms: due.map(|due| u64::try_from(due.as_millis()).unwrap_or(u64::MAX)),
    }))
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
    host::log(host::Level::Info, message);
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
        struct AirlockAgent;

        impl $crate::__private::AgentComponent for AirlockAgent {
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

        #[allow(
            unsafe_code,
            missing_docs,
            reason = "the canonical ABI's entry points, generated by wit-bindgen"
        )]
        const _: () = {
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
