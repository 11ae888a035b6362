//! Tests of agents: a stand-in for the host of one run, which a test scripts.
//!
//! ```
//! use airlock_sdk::agent::{self, Outcome};
//! use airlock_sdk::prelude::*;
//! use airlock_sdk::serde_json::{Value, json};
//! use airlock_sdk::testing;
//! use std::time::Duration;
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Input {
//!     folder: String,
//! }
//!
//! async fn run(_goal: String, input: Input) -> Result<Outcome, Error> {
//!     let list: Value = agent::call("files/list", &json!({ "path": input.folder })).await?;
//!     let day = Some(Duration::from_secs(24 * 3600));
//!     let choices = ["send", "drop"];
//!     match agent::ask_about("Send the report?", &choices, Some(&list), day).await {
//!         Ok(decided) => Outcome::done(&decided.choice),
//!         Err(Error::Transient { .. }) => Outcome::done("nobody answered"),
//!         Err(error) => Err(error),
//!     }
//! }
//!
//! let reporter = || testing::agent().tool("files/list", |_| Ok(json!(["a.csv"])));
//!
//! let sent = reporter()
//!     .decides(|question| {
//!         assert_eq!(question.payload, Some(json!(["a.csv"])));
//!         "send"
//!     })
//!     .run(run, "report", json!({ "folder": "/invoices" }));
//! assert_eq!(sent.output(), "send");
//! assert_eq!(sent.calls(), [("files/list".to_owned(), json!({ "path": "/invoices" }))]);
//!
//! // Nobody answers, and a day goes by: on the run's clock alone.
//! let left = reporter().run(run, "report", json!({ "folder": "/invoices" }));
//! assert_eq!(left.output(), "nobody answered");
//! assert_eq!(left.took(), Duration::from_secs(24 * 3600));
//!
//! // What was not given is not granted.
//! let denied = testing::agent().run(run, "report", json!({ "folder": "/invoices" }));
//! assert_eq!(denied.error().code(), "denied");
//! ```

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::bounds;
use super::memory::Memory;
use super::models::{ModelRequest, Says};
use super::people::{Answer, Question};
use super::result::AgentRun;
use super::run::{Before, Begins, Run};
use super::script::{Script, ms};
use super::signals::Signals;
use crate::agent::{Agent, EffectClass, Outcome, ToolInfo};
use crate::backend::execute;
use crate::{Effects, Error, Plugin};

/// When a run begins, unless a test says otherwise: 15 January 2027, 08:00 UTC.
const BEGINS_MS: u64 = 1_800_000_000_000;

/// How often the agent is run again over the answers it was given: what depends on
/// the order of a map of two differs in one of two runs.
const AGAIN: usize = 8;

/// The machine's clock goes on by so much before the agent is run again: whatever
/// it reads there is another moment then.
const CLOCK_STEP: Duration = Duration::from_millis(2);

/// A stand-in for the host of one run of an agent, see [`AgentHost`].
///
/// Nothing is granted by default: no tool, no child, no model, and no person
/// answers.
pub fn agent() -> AgentHost {
    let script = Rc::default();
    AgentHost {
        begins: Begins {
            at_ms: BEGINS_MS,
            signals: Signals::default(),
            state: std::collections::BTreeMap::default(),
            script,
        },
        signals: Vec::new(),
        again: AGAIN,
    }
}

/// A stand-in for the host of one run: what it is given answers the agent.
///
/// The run has a clock of its own ([`agent::now`](crate::agent::now)), which stands
/// still while the agent works, and goes on at once to the next thing that comes
/// when it waits: [`sleep`](crate::agent::sleep), `timeout` and `Retry` take no time
/// of the test's.
#[must_use = "it does nothing until `run`"]
pub struct AgentHost {
    begins: Begins,
    /// Each with how long after the beginning it comes.
    signals: Vec<(Duration, String, String)>,
    again: usize,
}

impl AgentHost {
    fn script(&self) -> std::cell::RefMut<'_, Script> {
        self.begins.script.borrow_mut()
    }

    /// Grants a tool, `plugin/tool`, and answers its calls. It is what the agent is
    /// told in the end: the host has tried again by then what may be repeated, and
    /// asked who has to approve it; [`not_approved`] is their no.
    ///
    /// A tool that was not given is denied, as one that was not granted.
    pub fn tool(
        self,
        name: &str,
        answer: impl FnMut(Value) -> Result<Value, Error> + 'static,
    ) -> Self {
        self.script().tool(name, Box::new(answer));
        self
    }

    /// Grants all tools of a plugin, which are called as the host calls them. What
    /// they need themselves, [`Host`](super::Host) gives.
    pub fn plugin(self, name: &str, plugin: &'static Plugin) -> Self {
        for tool in plugin.tools() {
            let (full, own) = (format!("{name}/{}", tool.name()), tool.name());
            let schema = |text: &str| serde_json::from_str(text).unwrap_or_default();
            let mut script = self.script();
            let call = move |input| super::call(plugin, own, input);
            script.tool(&full, Box::new(call));
            let info = ToolInfo {
                name: full.clone(),
                description: tool.description().to_owned(),
                input_schema: schema(&tool.input_schema()),
                output_schema: tool.output_schema().as_deref().map(schema),
                class: class(tool.effects()),
            };
            script.infos.insert(full, info);
        }
        self
    }

    /// What [`tools`](crate::agent::tools) says of a tool that [`Self::tool`] gives,
    /// and the class it is called under; without it, no description, any object as
    /// input, and plain.
    pub fn tool_info(self, info: ToolInfo) -> Self {
        self.script().infos.insert(info.name.clone(), info);
        self
    }

    /// Grants what a memory grants; its documents are those of the run.
    pub fn memory(self, memory: &Memory) -> Self {
        self.script().memory = memory.clone();
        self
    }

    /// Grants a child agent, and answers for it: from its goal and its input, which
    /// is an object. One that was not given is denied.
    pub fn child(
        self,
        agent: &str,
        answer: impl FnMut(&str, Value) -> Result<Value, Error> + 'static,
    ) -> Self {
        let answer = Box::new(answer);
        self.script().children.insert(agent.to_owned(), answer);
        self
    }

    /// Grants the role of a language model, and answers for it. What it says is held
    /// against the request: the faults that the host would find are in the answer, as
    /// far as a schema needs no regular expression. What the host refuses of a request
    /// is refused before this is asked. A role that was not given is denied.
    pub fn model<S: Into<Says>>(
        self,
        role: &str,
        mut says: impl FnMut(&ModelRequest) -> S + 'static,
    ) -> Self {
        let model = Box::new(move |request: &ModelRequest| says(request).into());
        self.script().models.insert(role.to_owned(), model);
        self
    }

    /// As [`Self::model`], with what it says, one answer after the other.
    ///
    /// # Panics
    /// Then in [`Self::run`], when it is asked for one more.
    pub fn says<S: Into<Says>>(self, role: &str, says: impl IntoIterator<Item = S>) -> Self {
        let says: Vec<Says> = says.into_iter().map(Into::into).collect();
        let (most, mut says) = (says.len(), says.into_iter());
        let name = role.to_owned();
        self.model(role, move |request| {
            says.next().unwrap_or_else(|| {
                panic!(
                    "the script of the model `{name}` has {most} answers, and it is asked for \
                     one more: {}",
                    request.last_text()
                )
            })
        })
    }

    /// Grants the role of a model that makes vectors, and makes them.
    pub fn embeds(self, role: &str, embeds: impl FnMut(&str) -> Vec<f32> + 'static) -> Self {
        let embeds = Box::new(embeds);
        self.script().embeds.insert(role.to_owned(), embeds);
        self
    }

    /// How long each call of a tool, or each run of a child, takes on the run's
    /// clock; no time unless given. One that the agent cancels meanwhile has
    /// happened: a child and a read-only tool tell [`Error::Cancelled`], another
    /// tool [`Error::Unknown`].
    pub fn takes(self, name: &str, time: Duration) -> Self {
        self.script().takes.insert(name.to_owned(), ms(time));
        self
    }

    /// The people who are asked: give one of the choices, or an [`Answer`]. Unless
    /// given, nobody answers.
    ///
    /// # Panics
    /// Then in [`Self::run`], for what is none of the question's choices.
    pub fn decides<A: Into<Answer>>(
        self,
        mut decide: impl FnMut(&Question) -> A + 'static,
    ) -> Self {
        self.script().decides = Some(Box::new(move |question| decide(question).into()));
        self
    }

    /// Gives a signal when the run begins; it is kept until it is asked for.
    pub fn signal(self, name: &str, payload: Value) -> Self {
        self.signal_after(Duration::ZERO, name, payload)
    }

    /// Gives a signal so long after the run began.
    pub fn signal_after(mut self, time: Duration, name: &str, payload: Value) -> Self {
        let signal = (time, name.to_owned(), payload.to_string());
        self.signals.push(signal);
        self
    }

    /// Sets a key of the state that the run begins with.
    pub fn state(mut self, key: &str, value: Value) -> Self {
        self.begins.state.insert(key.to_owned(), value.to_string());
        self
    }

    /// When the run begins, on its clock, to the millisecond; 15 January 2027, 08:00
    /// UTC, unless given.
    pub fn at(mut self, moment: SystemTime) -> Self {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.begins.at_ms = ms(since);
        self
    }

    /// Goes on where another run ended, as one that continues it as new: with its
    /// state, its clock, and the signals that nobody waited for. The input is the
    /// test's to pass on, see [`AgentRun::next_input`].
    pub fn continues(mut self, run: &AgentRun) -> Self {
        let run = run.run.borrow();
        self.begins.at_ms = run.now_ms;
        self.begins.state.clone_from(&run.state);
        for signal in run.signals.left() {
            let at_ms = signal.at_ms(run.now_ms);
            let payload = signal.payload.clone();
            self.begins.signals.add(at_ms, &signal.name, payload);
        }
        self
    }

    /// Runs the agent once, and not again over the answers it was given: for one
    /// that reads clocks or randomness of the standard library, which are the run's
    /// own in the sandbox and the machine's here.
    pub fn once(mut self) -> Self {
        self.again = 0;
        self
    }

    /// Runs an agent, the function that `agent!` takes, from its goal and its input,
    /// a JSON object, until its run ends, or waits for what never comes.
    ///
    /// Then it is run again over the answers that it was given, which are not asked
    /// of the test again, and has to do the same: after a crash a run goes on by
    /// that, and whoever replays it with another version compares it.
    ///
    /// # Panics
    /// When it does something else when it is run again; when it panics itself,
    /// which in the sandbox ends the run as failed.
    #[track_caller]
    pub fn run<I, F>(mut self, run: impl Fn(String, I) -> F, goal: &str, input: Value) -> AgentRun
    where
        I: DeserializeOwned,
        F: Future<Output = Result<Outcome, Error>>,
    {
        for (time, name, payload) in std::mem::take(&mut self.signals) {
            let at_ms = self.begins.at_ms.saturating_add(ms(time));
            self.begins.signals.add(at_ms, &name, payload);
        }
        let text = input.to_string();
        let attempt = |before: Option<Rc<Before>>| {
            let attempt = Rc::new(RefCell::new(Run::new(&self.begins, before)));
            match begins(goal, &input) {
                Ok(()) => execute(&attempt, || {
                    crate::agent::run(&run, goal.to_owned(), text.clone())
                }),
                Err(error) => attempt.borrow_mut().ended(Err(error)),
            }
            attempt.borrow_mut().ended_as_before();
            attempt
        };
        let first = attempt(None);
        let before = Rc::new(first.borrow().as_before());
        if self.again > 0 {
            std::thread::sleep(CLOCK_STEP);
        }
        for _ in 0..self.again {
            let differs = attempt(Some(Rc::clone(&before))).borrow().differs.clone();
            if let Some(differs) = differs {
                panic!("{UNLIKE}\n  {differs}\n{MENDED}");
            }
        }
        AgentRun::new(&before, first)
    }
}

const UNLIKE: &str = "the agent does something else when it is run again over the same answers:";

const MENDED: &str = "It decides by something that it was not given: the order of a HashMap or a \
    HashSet (take a BTreeMap), a clock of the standard library (take `agent::now`), random \
    numbers, a static. Where that is the run's own in the sandbox and is meant, `once()` runs it \
    once.";

/// What the host checks before there is a run.
fn begins(goal: &str, input: &Value) -> Result<(), Error> {
    if goal.len() > bounds::GOAL_BYTES_MAX {
        let most = bounds::GOAL_BYTES_MAX;
        return Err(Error::invalid_input(format!(
            "goal: more than {most} bytes"
        )));
    }
    bounds::input(input)
}

/// Read-only implies idempotent, and excludes destructive.
fn class(effects: Effects) -> EffectClass {
    match effects {
        Effects {
            read_only: true, ..
        } => EffectClass::ReadOnly,
        Effects {
            destructive: true, ..
        } => EffectClass::Destructive,
        Effects {
            idempotent: true, ..
        } => EffectClass::Idempotent,
        _ => EffectClass::Plain,
    }
}

/// What an agent is told of a call that a person did not approve, with their note.
#[must_use]
pub fn not_approved(tool: &str, note: &str) -> Error {
    let rule = format!("a person said no: {note}");
    Error::denied("approval", format!("call {tool}"), rule)
}

const DESCRIPTION_BYTES_MAX: usize = 8 << 10;

/// Checks what the host checks of an agent at install, as [`check`](super::check)
/// does of a plugin. `agent!` makes it a test.
///
/// # Errors
/// What is wrong.
pub fn check_agent(agent: &Agent) -> Result<(), String> {
    let bytes = agent.description.len();
    if bytes > DESCRIPTION_BYTES_MAX {
        return Err(format!(
            "the description is larger than {DESCRIPTION_BYTES_MAX} bytes"
        ));
    }
    super::check_input_schema(&(agent.input_schema)())?;
    super::check_wants(agent.wants)
}
