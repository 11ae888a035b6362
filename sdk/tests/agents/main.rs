//! Agents as an author tests them: natively, over a scripted host.

mod again;
mod answers;
mod ends;
mod memory;
mod models;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use airlock_sdk::agent::{
    self, Budget, Decision, EffectClass, Either, Outcome, PlanTask, Request, Retry, TaskState,
    ToolInfo,
};
use airlock_sdk::prelude::*;
use airlock_sdk::testing::{self, AgentHost, Answer, End, Host, Note, not_approved};
use airlock_sdk::{Want, kv};
use serde_json::{Value, json};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

const S: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// Runs something as an agent without input.
fn run<F: Future<Output = Result<Outcome, Error>>>(
    host: AgentHost,
    agent: impl Fn() -> F,
) -> testing::AgentRun {
    host.run(|_, _: Nothing| agent(), "", json!({}))
}

/// What it panics with.
fn panics<F: Future<Output = Result<Outcome, Error>>>(
    host: AgentHost,
    agent: impl Fn() -> F,
) -> String {
    let ran = catch_unwind(AssertUnwindSafe(|| run(host, agent)));
    let panic = ran.err().expect("it panics");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .expect("with a message")
}

mod reporter {
    use super::*;

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Input {
        pub(super) folders: Vec<String>,
    }

    /// Uses most of what there is.
    pub(super) async fn run(goal: String, input: Input) -> Result<Outcome, Error> {
        agent::plan(&[PlanTask {
            title: goal.clone(),
            state: TaskState::Doing,
        }]);
        let list = |folder| agent::call::<Value>("files/list", &json!({ "path": folder }));
        let lists = agent::try_join_all(input.folders.iter().map(list)).await?;
        agent::progress(1.0, Some(3.0), "listed");
        let child = agent::start::<Value>("checker", "check the lists", &json!({ "lists": lists }));
        let checked = agent::timeout(child, HOUR).await??;
        let kept: Value = agent::record(&checked).await?;
        agent::set_state("last", &kept)?;
        let go: Value = agent::signal("go").await?;
        let day = Some(24 * HOUR);
        let decided = agent::ask_about("Send?", &["send", "drop"], Some(&go), day).await?;
        agent::log(&format!("decided: {}", decided.choice));
        agent::sleep(HOUR).await?;
        Outcome::done(&json!({ "checked": checked, "decided": decided }))
    }

    airlock_sdk::agent! {
        description: "Sends reports.",
        input: Input,
        run: run,
        wants: [
            want!(tools, r#"{ tool = "files/list" }"#, "To see what there is."),
            want!(agents, r#"{ agent = "checker" }"#, "To check it.", optional),
        ],
    }
}

fn scripted() -> AgentHost {
    testing::agent()
        .tool("files/list", |input| Ok(json!([input["path"]])))
        .child("checker", |goal, input| {
            Ok(json!(format!("{goal}: {}", input["lists"])))
        })
        .takes("checker", 60 * S)
        .signal_after(2 * HOUR, "go", json!(7))
        .decides(|question| {
            assert_eq!(question.payload, Some(json!(7)));
            Answer::choice("send").note("fine").after(HOUR)
        })
}

#[test]
fn a_run_is_scripted_from_its_goal_to_its_result() {
    let start = Instant::now();
    let run = scripted().run(reporter::run, "report", json!({ "folders": ["a", "b"] }));
    let checked = r#"check the lists: [["a"],["b"]]"#;
    let decided = json!({ "choice": "send", "note": "fine" });
    assert_eq!(
        run.output(),
        json!({ "checked": checked, "decided": decided })
    );
    assert_eq!(
        run.calls_of("files/list"),
        [&json!({ "path": "a" }), &json!({ "path": "b" })]
    );
    assert_eq!(run.calls().len(), 2);
    let [child] = run.children() else {
        panic!("one child")
    };
    assert_eq!(
        (&*child.agent, child.budget),
        ("checker", Budget::default())
    );
    let [asked] = run.asked() else {
        panic!("one question")
    };
    assert_eq!((&*asked.text, asked.due), ("Send?", Some(24 * HOUR)));
    assert_eq!((run.slept(), run.took()), (&[HOUR][..], 4 * HOUR));
    assert_eq!(run.state("last"), Some(json!(checked)));
    assert_eq!(run.records(), [json!(checked)]);
    assert_eq!(run.logs(), ["decided: send"]);
    assert_eq!(run.plan()[0].title, "report");
    assert!(matches!(&run.notes()[1], Note::Progress(at) if at.message == "listed"));
    assert!(start.elapsed() < HOUR, "on its own clock");
}

#[test]
fn an_input_is_checked_as_by_the_host() {
    for (input, problem) in [
        (json!([]), "input: a JSON object is needed"),
        (json!({}), "the input: missing field `folders`"),
        (json!({ "folders": 5 }), "the input: invalid type"),
        (
            json!({ "folders": [], "x": 1 }),
            "the input: unknown field `x`",
        ),
        (
            json!({ "folders": ["x".repeat(1 << 20)] }),
            "input: more than",
        ),
    ] {
        let refused = scripted().run(reporter::run, "", input).error();
        assert_eq!(refused.code(), "invalid-input");
        assert!(refused.to_string().contains(problem), "{refused}");
    }
}

/// Asks for one thing and gives the code of what it is told, or what it is given.
async fn told<T: Serialize>(
    request: impl IntoFuture<Output = Result<T, Error>>,
) -> Result<Outcome, Error> {
    match request.await {
        Ok(value) => Outcome::done(&value),
        Err(error) => Outcome::done(&error.to_string()),
    }
}

pub(crate) type Asks = fn() -> Request<Value>;

fn begin() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// Counts its calls in a bucket, after a while.
#[tool(read_only, name = "count")]
async fn counted() -> Result<i64, Error> {
    airlock_sdk::task::sleep(Duration::from_millis(1)).await;
    kv::Bucket::open("seen")?.increment("n", 1)
}

plugin! { tools: [counted], wants: [] }

#[test]
fn tools_of_a_plugin_are_called_as_they_are() {
    async fn calls(_: String, _: Nothing) -> Result<Outcome, Error> {
        let tools = agent::tools();
        let count = || agent::call::<i64>("own/count", &json!({}));
        let two = agent::join_all([count(), count()]).await;
        let wrong = agent::call::<i64>("own/count", &json!({ "x": 1 })).await;
        assert_eq!(wrong.map_err(|error| error.code()), Err("invalid-input"));
        let two = two.into_iter().collect::<Result<Vec<i64>, Error>>()?;
        Outcome::done(&json!([tools[0].name, tools[0].description, two]))
    }
    let host = Host::new().kv("seen");
    let ran = host.run(|| {
        let agent = testing::agent().plugin("own", &PLUGIN);
        agent.run(calls, "", json!({}))
    });
    let said = "Counts its calls in a bucket, after a while.";
    assert_eq!(ran.output(), json!(["own/count", said, [1, 2]]));
    assert_eq!(host.value("seen", "n").as_deref(), Some(&b"2"[..]));
    let child = testing::agent().child("c", |goal, input| {
        let child = testing::agent().tool("a/b", |_| Ok(json!("from a child")));
        let agent = |_, _: Nothing| async { agent::call::<Value>("a/b", &json!({})).await };
        let agent = |goal, input| async move { Outcome::done(&agent(goal, input).await?) };
        Ok(child.run(agent, goal, input).output())
    });
    let ran = run(child, || told(agent::start::<Value>("c", "", &json!({}))));
    assert_eq!(ran.output(), "from a child");
}

#[test]
fn the_check_finds_what_the_host_would_refuse_of_an_agent() {
    let agent = |description, schema, scope| agent::Agent {
        description,
        input_schema: schema,
        wants: Vec::leak(vec![Want {
            capability: "tools",
            scope,
            reason: "To act.",
            optional: false,
        }]),
        run: |_, _| Box::pin(async { Outcome::done(&1) }),
    };
    let object = || r#"{"type":"object"}"#.to_owned();
    let long = Box::leak("x".repeat(9_000).into_boxed_str());
    for (agent, problem) in [
        (agent("a", object, r#"{ tool = "a/b" }"#), None),
        (
            agent(long, object, "1"),
            Some("the description is larger than 8192 bytes"),
        ),
        (
            agent("a", || "{}".to_owned(), "1"),
            Some("its input is not an object"),
        ),
        (agent("a", object, "{"), Some("not TOML")),
    ] {
        let found = testing::check_agent(&agent).err();
        match problem {
            None => assert_eq!(found, None),
            Some(problem) => assert!(
                found.as_ref().is_some_and(|f| f.contains(problem)),
                "{found:?}"
            ),
        }
    }
}
