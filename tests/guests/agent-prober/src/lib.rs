//! An agent that does what its input says, step by step: for tests of runs.
#![cfg(target_family = "wasm")]

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use airlock_sdk::agent::{self, Budget, Outcome, PlanTask, TaskState};
use airlock_sdk::prelude::*;
use airlock_sdk::serde::Serializer;
use airlock_sdk::serde_json::{Value, json};

/// Tests make another version by changing the digit in the component.
static VERSION: &str = "prober-version-1";

/// One step.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
enum Step {
    /// Calls a tool.
    Call { tool: String, input: Value },
    /// Calls a tool with these members, whatever their names.
    CallWith {
        tool: String,
        members: Vec<(String, Value)>,
    },
    /// Waits by the host's timer.
    Sleep { ms: u64 },
    /// Waits as the standard library does.
    StdSleep { ms: u64 },
    /// Waits for a signal.
    Signal { name: String },
    /// Asks a person.
    Ask {
        text: String,
        choices: Vec<String>,
        #[serde(default)]
        due_ms: Option<u64>,
    },
    /// All of these, side by side.
    Join(Vec<Step>),
    /// These, side by side, until the first is done; gives its index too.
    Select(Vec<Step>),
    /// Asks for a timer, cancels it and tells how it ended.
    CancelSleep { ms: u64 },
    /// Asks models of a role, one user's message after the other in one
    /// conversation; `tools`: all that it may call are offered. What the last said.
    Chat {
        role: String,
        turns: Vec<String>,
        #[serde(default)]
        tools: bool,
    },
    /// Asks for a vector.
    Embed { role: String, text: String },
    /// Asks the memory.
    Memory { request: Value },
    /// Keeps a value.
    Record { value: Value },
    /// What it may call: the names and their classes.
    Tools {},
    /// What a key of the state holds.
    Get { key: String },
    /// Sets a key of the state; `null` removes it.
    Set { key: String, value: Value },
    /// Starts a child agent, of the prober's own kind unless `agent` says, and
    /// waits for it.
    Start {
        agent: Option<String>,
        steps: Value,
        calls: Option<u64>,
    },
    /// Starts one and lets go of it.
    StartAndLeave { steps: Value },
    /// Starts one, asks for it to end and tells how it ended.
    StartAndCancel { steps: Value },
    /// Waits no longer than this for the steps.
    Within { ms: u64, steps: Vec<Step> },
    /// Ends the run from deep inside.
    Finish { output: Value },
    /// Ends it from there and goes on with these.
    FinishAsNew { steps: Value },
    /// Asks so often for a signal, looks at none of them and does the steps.
    Hold {
        name: String,
        times: u64,
        steps: Vec<Step>,
    },
    /// Ends with a call that it neither awaits nor lets go of.
    Forget { tool: String, input: Value },
    /// Randomness and clocks.
    Look {},
    /// Writes to stdout, the log, the plan and the progress.
    Tell { text: String },
    /// Fails.
    Fail { text: String },
    /// Asks for a person to look.
    Escalate { text: String },
    /// Panics.
    Panic {},
    /// Computes for so many rounds, some nanoseconds each.
    Burn { rounds: u64 },
    /// Never ends and never waits.
    Spin {},
    /// The steps so often.
    Repeat { times: u64, steps: Vec<Step> },
    /// The steps of this component's version, see [`VERSION`].
    ByVersion(BTreeMap<String, Vec<Step>>),
    /// Ends the run and goes on with these.
    ContinueAsNew { steps: Vec<Value> },
}

#[derive(Deserialize, JsonSchema)]
struct Input {
    /// What to do, in order.
    steps: Vec<Step>,
    /// A schedule fills this in.
    #[serde(default)]
    #[expect(dead_code, reason = "tests look at the input of the run")]
    logical_time: Option<String>,
    /// And this.
    #[serde(default)]
    #[expect(dead_code, reason = "tests look at the input of the run")]
    interval: Option<Value>,
}

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a step gives; an error of a request is part of it.
fn told<T: Serialize>(result: Result<T, Error>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn step(step: Step) -> Boxed<Result<Value, Error>> {
    Box::pin(async move {
        Ok(match step {
            Step::Call { tool, input } => told(agent::call::<Value>(&tool, &input).await),
            Step::CallWith { tool, members } => {
                told(agent::call::<Value>(&tool, &Members(members)).await)
            }
            Step::Sleep { ms } => told(agent::sleep(Duration::from_millis(ms)).await),
            Step::StdSleep { ms } => {
                std::thread::sleep(Duration::from_millis(ms));
                Value::Null
            }
            Step::Signal { name } => told(agent::signal::<Value>(&name).await),
            Step::Ask {
                text,
                choices,
                due_ms,
            } => {
                let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
                let due = due_ms.map(Duration::from_millis);
                told(agent::ask_about(&text, &choices, None, due).await)
            }
            Step::Join(steps) => join(steps).await?,
            Step::Select(steps) => select(steps).await?,
            Step::CancelSleep { ms } => {
                let request = agent::sleep(Duration::from_millis(ms));
                request.cancel();
                told(request.into_future().await)
            }
            Step::Chat { role, turns, tools } => told(chat(&role, &turns, tools).await),
            Step::Embed { role, text } => {
                let vectors = agent::embed(&role, &[text]).await;
                told(vectors.map(|got| got.vectors))
            }
            Step::Memory { request } => told(agent::memory::ask::<Value>(&request).await),
            Step::Record { value } => told(agent::record(&value).await),
            Step::Tools {} => tools(),
            Step::Get { key } => told(agent::state::<Value>(&key)),
            Step::Set { key, value } => set(&key, &value),
            Step::Start {
                agent,
                steps,
                calls,
            } => told(child(agent.as_deref(), &steps, calls).await),
            Step::StartAndLeave { steps } => {
                child(None, &steps, None).detach();
                Value::Null
            }
            Step::StartAndCancel { steps } => {
                let request = child(None, &steps, None);
                request.cancel();
                told(request.await)
            }
            Step::Within { ms, steps } => {
                let time = Duration::from_millis(ms);
                match agent::timeout(repeat(1, steps), time).await {
                    Ok(value) => value?,
                    Err(late) => told::<Value>(Err(late.into())),
                }
            }
            Step::Finish { output } => agent::finish(Outcome::done(&output)),
            Step::FinishAsNew { steps } => {
                agent::finish(Outcome::continue_as_new(&json!({ "steps": steps })))
            }
            Step::Hold { name, times, steps } => {
                let held: Vec<_> = (0..times).map(|_| agent::signal::<Value>(&name)).collect();
                let last = repeat(1, steps).await?;
                drop(held);
                last
            }
            Step::Forget { tool, input } => {
                std::mem::forget(agent::call::<Value>(&tool, &input));
                Value::Null
            }
            Step::Look {} => look(),
            Step::Tell { text } => tell(&text),
            Step::Fail { text } => return Err(Error::Permanent(text)),
            Step::Escalate { text } => return Err(Error::Escalate(text)),
            Step::Panic {} => panic!("as asked"),
            Step::Burn { rounds } => {
                let mix =
                    |mixed: u64, round: u64| std::hint::black_box(mixed ^ round).rotate_left(7);
                json!((0..rounds).fold(0, mix))
            }
            Step::Spin {} => loop {
                std::hint::spin_loop();
            },
            Step::ByVersion(mut versions) => {
                let version = std::hint::black_box(VERSION).rsplit('-').next();
                let steps = versions.remove(version.unwrap_or_default());
                repeat(1, steps.unwrap_or_default()).await?
            }
            Step::Repeat { times, steps } => repeat(times, steps).await?,
            Step::ContinueAsNew { .. } => Value::Null,
        })
    })
}

/// An object with these members, in this order.
struct Members(Vec<(String, Value)>);

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

async fn chat(role: &str, turns: &[String], tools: bool) -> Result<Value, Error> {
    let mut chat = agent::Chat::new(role).max_tokens(50);
    if tools {
        chat = chat.tools(&agent::tools());
    }
    let mut last = Value::Null;
    for turn in turns {
        chat.user(turn);
        let reply = chat.ask().await?;
        let calls: Vec<&str> = reply.calls.iter().map(|call| &*call.name).collect();
        let faults = reply.faults.len();
        last = json!({ "text": reply.text, "calls": calls, "faults": faults });
    }
    Ok(last)
}

fn tools() -> Value {
    let told = agent::tools().into_iter().map(|tool| {
        let input = tool.input_schema["type"].clone();
        json!([tool.name, format!("{:?}", tool.class), input])
    });
    told.collect()
}

fn set(key: &str, value: &Value) -> Value {
    match value {
        Value::Null => {
            agent::remove_state(key);
            Value::Null
        }
        value => told(agent::set_state(key, value)),
    }
}

fn child(agent: Option<&str>, steps: &Value, calls: Option<u64>) -> agent::Request<Value> {
    let budget = Budget {
        calls,
        ..Budget::default()
    };
    let input = json!({ "steps": steps });
    agent::start_with(agent.unwrap_or("prober"), "as a child", &input, budget)
}

async fn repeat(times: u64, steps: Vec<Step>) -> Result<Value, Error> {
    let mut last = Value::Null;
    for _ in 0..times {
        for one in steps.clone() {
            last = step(one).await?;
        }
    }
    Ok(last)
}

async fn join(steps: Vec<Step>) -> Result<Value, Error> {
    Ok(json!(
        agent::try_join_all(steps.into_iter().map(step)).await?
    ))
}

async fn select(steps: Vec<Step>) -> Result<Value, Error> {
    let all = steps.len();
    let (first, result) = agent::select_all(steps.into_iter().map(step)).await;
    let mut results = vec![Value::Null; all];
    results[first] = result?;
    Ok(json!({ "first": first, "results": results }))
}

fn look() -> Value {
    let wall = std::time::SystemTime::now();
    let since = wall.duration_since(std::time::UNIX_EPOCH);
    let order = std::collections::HashMap::from([(1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')]);
    let order: String = order.values().collect();
    json!({
        "now_ms": since.map(|since| since.as_millis() as u64).unwrap_or_default(),
        "order": order,
        "args": std::env::args().count(),
        "vars": std::env::vars().count(),
        "file": std::fs::read("/etc/passwd").is_ok(),
        "sockets": sockets(),
    })
}

/// What a standard library gets of the network: how many ways are open.
fn sockets() -> usize {
    use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
    let ways = [
        TcpListener::bind("127.0.0.1:0").is_ok(),
        TcpStream::connect("127.0.0.1:9").is_ok(),
        UdpSocket::bind("127.0.0.1:0").is_ok(),
        ("localhost", 80).to_socket_addrs().is_ok(),
    ];
    ways.iter().filter(|open| **open).count()
}

fn tell(text: &str) -> Value {
    println!("{text}");
    agent::log(text);
    agent::progress(1.0, Some(2.0), text);
    agent::plan(&[PlanTask {
        title: text.to_owned(),
        state: TaskState::Doing,
    }]);
    Value::Null
}

async fn run(goal: String, input: Input) -> Result<Outcome, Error> {
    let mut results = Vec::new();
    for one in input.steps {
        if let Step::ContinueAsNew { steps } = &one {
            return Outcome::continue_as_new(&json!({ "steps": steps }));
        }
        results.push(step(one).await?);
    }
    Outcome::done(&json!({ "goal": goal, "results": results }))
}

airlock_sdk::agent! {
    description: "Does what its input says.",
    input: Input,
    run: run,
}
